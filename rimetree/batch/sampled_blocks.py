"""Blocks of the normal matrix for preconditioning where it is never made: which, and from how many samples (see `plan.residuals`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..plan.residuals import Group, Residuals, Solved
from .fit import ClassFit
from .joint_grid import Axis

ENOUGH = 64
"""Independent numbers of which a block is the mean, at least; and so many per unknown of it: SIZES."""
SIZES = 8

MOST = 24
"""Samples, at most."""

LARGEST = 400
"""Unknowns of a block of several Parms; beyond, each Parm is a block."""

ROOM = 0.1
"""Of the memory, for blocks."""


def groups_of(own: ClassFit, solved: dict[int, Solved], time: Axis, freq: Axis, memory: float) -> list[Group]:
    """The blocks of a class that precondition it: of all Parms of a station or source; where samples do not determine that, or it takes
    too much of the memory (bytes), of each Parm; or diagonals."""
    numbers = _numbers(solved[own.parms[0]], time, freq)
    family = np.concatenate([np.full(own.unknowns.shapes[n][0], n) for n in own.parms])
    member = np.concatenate([np.arange(own.unknowns.shapes[n][0]) for n in own.parms])
    first = np.concatenate([own.unknowns.index(n, np.arange(own.unknowns.shapes[n][0]), 0, 0) for n in own.parms])
    for label in (own.blocks[first], np.arange(len(family))):
        groups = _alike(family, member, label)
        unknowns = [g.unknowns(solved) for g in groups]
        widest, size = max(map(len, unknowns)), 24.0 * sum(len(u) * u.size for u in unknowns)
        if widest <= min(LARGEST, MOST * numbers / SIZES) and size <= ROOM * memory:
            return groups
    return [replace(g, diagonal=True) for g in groups]


def _alike(family: np.ndarray, member: np.ndarray, label: np.ndarray) -> list[Group]:
    """Blocks with the same families, in the order of these."""
    order = np.lexsort((member, family, label))
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    found: dict[tuple[int, ...], list[np.ndarray]] = {}
    for rows in np.split(order, starts[1:]):
        found.setdefault(tuple(family[rows].tolist()), []).append(member[rows])
    groups = []
    for families, blocks in found.items():
        whole = np.stack(blocks)
        groups.append(Group([(n, whole[:, np.array(families) == n]) for n in dict.fromkeys(families)]))
    return groups


def samples(residuals: Residuals, time: Axis, freq: Axis) -> int:
    """How many samples the blocks need."""
    wanted = [
        max(ENOUGH, SIZES * (1 if g.diagonal else len(g.unknowns(residuals.solved))))
        / _numbers(residuals.solved[g.members[0][0]], time, freq)
        for g in residuals.groups
    ]
    return int(np.clip(np.ceil(max(wanted)), 1, MOST))


def _numbers(own: Solved, time: Axis, freq: Axis) -> float:
    """Independent numbers in a sample, per interval: its cells of slots and channels."""
    return time.label.size * freq.label.size / (own.shape[3] * own.shape[4])
