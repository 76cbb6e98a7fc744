"""The datum of a coupled fit: an antenna whose phases, or values, are zero where data do not tell what all stations have in common.

Estimates along null directions, and so their covariance, are those of a stated datum only (S-transformations: Baarda 1973, Publications
on Geodesy 5). Here it is a reference antenna, in each interval of each class in which a phase of all Parms of a name, a common value of
real ones, or a combination of these changes nothing. What classes exchange with one another has a convention of its own (`exchange`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csc_array, hstack

from ..result.gauges import Meaning
from .coarse import NULL
from .coupled_fit import Minimum
from .joined import Joined

TAKES_PART = 1e-3
"""Part of a null direction, of unit length, that a move must have to be fixed instead of it."""

SMALL = 0.5
"""Phases of what is less than this times the largest value of the reference antenna are fixed last: of elements off a diagonal."""


@dataclass(frozen=True, slots=True, eq=False)
class Datum:
    """Per freedom a column: `directions` (unknowns, m), the change of all that turn or shift together, by 1 rad or 1 at the reference;
    `pins` (unknowns, m), of unit length: along which change of which unknown the reference stays where it is. `reals`: unknowns that are
    zero as a whole. `names`: the Parms that are zero, and in how many intervals."""

    directions: csc_array
    pins: csc_array
    reals: np.ndarray
    names: Counter[str]

    @classmethod
    def none(cls, count: int) -> Datum:
        """Nothing is fixed, of `count` unknowns."""
        return cls(csc_array((count, 0)), csc_array((count, 0)), np.empty(0, int), Counter())

    def turned(self, x: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """x with the reference's phases and values zero; `pairs` (2, n): unknowns that are the parts of complex numbers."""
        if not self.pins.shape[1]:
            return x
        value = x.astype(complex)
        value[pairs[0]] += 1j * x[pairs[1]]
        row = self.pins.tocoo()
        complex_ = np.zeros(len(x), bool)
        complex_[pairs[0]] = True
        first = np.full(self.pins.shape[1], len(x))
        np.minimum.at(first, row.col, row.row)
        away = np.where(complex_[first], np.angle(value[first]), x[first])
        change = self.directions @ -away
        result = x + change
        turn = (change[pairs[0]] + 1j * change[pairs[1]]) / np.where(value[pairs[0]] == 0, np.inf, value[pairs[0]])
        turned = value[pairs[0]] * np.exp(turn)
        result[pairs[0]], result[pairs[1]] = turned.real, turned.imag
        return result

    def without(self, directions: csc_array) -> csc_array:
        """Directions of no change of chi2 with as much of these added that the reference stays where it is."""
        scale = np.asarray(self.pins.multiply(self.directions).sum(0)).ravel()
        return csc_array(directions - self.directions @ (self.pins.multiply(1 / scale[None]).T @ directions))


def pairs(problem: Joined, meanings: Sequence[Meaning]) -> np.ndarray:
    """(2, n): all unknowns that are real and imaginary parts of one number."""
    rows, start = [], 0
    for c, meaning in zip(problem.classes, meanings, strict=True):
        own = start + np.flatnonzero(meaning.part == 1)[:, None] * c.intervals + np.arange(c.intervals)
        rows.append(np.stack([own.ravel(), own.ravel() + c.intervals]))
        start += c.size
    return np.concatenate(rows, 1)


def datum(problem: Joined, at: Minimum, meanings: Sequence[Meaning], wanted: str) -> Datum:
    """What is free at a minimum, fixed at the antenna `wanted`, or where that has no solution at the one known best."""
    parts, start = [Datum.none(problem.count)], 0
    for c, meaning, value in zip(problem.classes, meanings, problem.split(at.x), strict=True):
        groups = list(_groups(meaning, wanted))
        if groups:
            parts.append(_of_class(problem, at, meaning, groups, value, start, wanted))
        start += c.size
    return _together(parts)


def _together(parts: Sequence[Datum]) -> Datum:
    directions, pins = (csc_array(hstack([getattr(p, name) for p in parts])) for name in ("directions", "pins"))
    names = sum((p.names for p in parts), Counter[str]())
    return Datum(directions, pins, np.concatenate([p.reals for p in parts]), names)


def _groups(meaning: Meaning, wanted: str) -> Iterator[np.ndarray]:
    """Unknowns (real parts of complex ones) that may turn or shift together: of Parms of one name that differ in the antenna only, and of
    real ones the same coefficient."""
    nodes = [str(node).split(":") for node in meaning.node.tolist()]
    place = {n[0]: n.index(wanted, 1) for n in nodes if wanted in n[1:]}
    found: dict[tuple[object, ...], list[int]] = {}
    for i, (node, part, coefficient) in enumerate(
        zip(nodes, meaning.part.tolist(), meaning.coefficient.tolist(), strict=True)
    ):
        if part < 2 and node[0] in place and len(node) > place[node[0]]:
            others = tuple(q for k, q in enumerate(node) if k != place[node[0]])
            found.setdefault((*others, part, 0 if part else coefficient), []).append(i)
    yield from map(np.array, found.values())


def _of_class(
    problem: Joined, at: Minimum, meaning: Meaning, groups: list[np.ndarray], value: np.ndarray, start: int, wanted: str
) -> Datum:  # fmt: skip
    shape, where = value.shape, slice(start, start + value.size)
    active = (at.systems.label[where] < at.systems.count).reshape(shape)
    weight = at.blocks.diagonal(problem.count)[where].reshape(shape) * active
    moves = np.array([_move(meaning, own, value) * active for own in groups])
    images = np.array([_image(problem, at, move, where) for move in moves])
    E = np.einsum("kct,lct->tkl", moves, images)
    size = np.sqrt(np.einsum("kct,kct->tk", moves**2, np.broadcast_to(weight, moves.shape)))
    unit = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    E = (E + E.transpose(0, 2, 1)) / 2 * unit[:, :, None] * unit[:, None]
    E[:, range(len(moves)), range(len(moves))] += size == 0
    strength, vectors = np.linalg.eigh(np.nan_to_num(E, nan=1.0))
    vectors *= (strength < NULL)[:, None]
    pinned = _reference(meaning, groups, weight, wanted)
    t = np.arange(shape[1])
    reach = np.abs(np.array([_complex(meaning, value, own, t) for own in pinned]))  # of reals nothing depends on it
    real = np.array([meaning.part[own[0]] == 0 for own in groups])
    late = ~real & (reach.max(1, initial=0) < SMALL * reach[~real].max(initial=0))
    order = np.argsort(late, kind="stable")
    chosen = _echelon(vectors @ vectors.transpose(0, 2, 1), order, unit)
    parts = [Datum.none(problem.count)]
    fixed: dict[tuple[str, int], None] = {}  # nodes with intervals, however many coefficients they have
    for k, rate in chosen.items():
        there = np.flatnonzero(rate.any(1))
        whole = np.einsum("tk,kct->ct", rate, moves)[:, there]
        pin, own = np.zeros_like(whole), pinned[k][there]
        if real[k]:
            pin[own, range(len(there))] = 1
        else:
            z = _complex(meaning, value, own, there)
            pin[own, range(len(there))], pin[own + 1, range(len(there))] = -z.imag / abs(z), z.real / abs(z)
        columns = [_columns(problem.count, start, shape[1], there, entries) for entries in (whole, pin)]
        zero = start + own * shape[1] + there if real[k] else np.empty(0, int)
        parts.append(Datum(columns[0], columns[1], zero, Counter()))
        fixed |= dict.fromkeys(zip(meaning.node[own].tolist(), there.tolist(), strict=True))
    names = Counter(node for node, _ in fixed)
    return _together([*parts, replace(Datum.none(problem.count), names=names)])


def _move(meaning: Meaning, own: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The phase of complex unknowns, by 1 rad; a shift of real ones, by 1."""
    move = np.zeros_like(value)
    if meaning.part[own[0]] == 0:
        move[own] = 1
    else:
        move[own], move[own + 1] = -value[own + 1], value[own]
    return move


def _image(problem: Joined, at: Minimum, move: np.ndarray, where: slice) -> np.ndarray:
    """The product of the normal matrix with a move, in the unknowns of its class."""
    q = np.zeros(problem.count)
    q[where] = move.ravel()
    return np.asarray(problem.product(at.points, q)[where].reshape(move.shape))


def _reference(meaning: Meaning, groups: list[np.ndarray], weight: np.ndarray, wanted: str) -> np.ndarray:
    """(groups, intervals): the unknown that is fixed; of several coefficients the lowest."""
    found = np.zeros((len(groups), weight.shape[1]), int)
    for k, group in enumerate(groups):
        own = group[meaning.coefficient[group] == meaning.coefficient[group].min()]
        best = own[weight[own].argmax(0)]
        mine = [i for i in own.tolist() if wanted in str(meaning.node[i]).split(":")[1:]]
        found[k] = np.where(weight[mine[0]] > 0, mine[0], best) if mine else best
    return found


def _complex(meaning: Meaning, value: np.ndarray, own: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Complex values (intervals,) of the unknowns `own` in the intervals t."""
    after = np.minimum(own + 1, len(value) - 1)
    return np.asarray(value[own, t] + 1j * np.where(meaning.part[own] == 1, value[after, t], 0))


def _echelon(null: np.ndarray, order: np.ndarray, unit: np.ndarray) -> dict[int, np.ndarray]:
    """Null spaces (projections (intervals, moves, moves) on them, of moves in units of 1 / unit) as moves that may be fixed one by one: for
    each its combinations (intervals, moves), 1 in itself and 0 in others that are fixed, or nothing where it is not free."""
    found: dict[int, np.ndarray] = {}
    null = null.copy()
    for k in order.tolist():
        own = null[:, k, k]
        free = own > TAKES_PART
        if not free.any():
            continue
        row = np.where(free[:, None], null[:, k] / np.where(free, own, 1)[:, None], 0)
        null -= row[:, :, None] * np.where(free[:, None], null[:, k], 0)[:, None]
        for before in found.values():
            before -= before[:, k, None] * row
        found[k] = row
    for k, row in found.items():  # in moves themselves
        row *= unit / np.where(unit[:, k] > 0, unit[:, k], 1)[:, None]
    return {k: row for k, row in found.items() if row.any()}


def _columns(count: int, start: int, intervals: int, there: np.ndarray, entries: np.ndarray) -> csc_array:
    """Entries (unknowns of a class, some intervals `there`) as one column for each of these."""
    row, column = np.nonzero(entries)
    place = start + row * intervals + there[column]
    return csc_array(coo_array((entries[row, column], (place, column)), shape=(count, len(there))))
