"""Weights of corrected data: w |J_p|^2 |J_q|^2, the inverse variance of J_p^-1 D J_q^-H."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..batch.cascade import correlations
from ..errors import DataError
from ..io.joined import JoinedGroup, whole
from ..io.solutions import GroupSolutions
from ..trees.terms import Placed
from .jones import matrices

CHUNK = 64
"""Slots at once."""


def write_weights(ms: Any, chain: Sequence[Placed], groups: Sequence[GroupSolutions]) -> None:
    """Write WEIGHT_SPECTRUM (where there is one) and WEIGHT of corrected data, from SIGMA, which stays as it was.

    WEIGHT becomes the mean over channels of 1/SIGMA^2 |J_p|^2 |J_q|^2, where |J_p|^2 of a correlation is 1 over the sum of
    |J_p^-1|^2 along the row of the inverse that makes it: exact for independent noise. Repeating it changes nothing.
    DataError where the set has no SIGMA, or cannot be written.
    """
    from casacore.tables import table

    number = {name: i for i, name in enumerate(ms.antennas)}
    for group, tables in zip(ms.groups, groups, strict=True):
        for piece in group.pieces if isinstance(group, JoinedGroup) else [whole(ms, group)]:
            pairs = np.array([(number[p], number[q]) for p, q in piece.ms.baselines])
            with table(str(piece.ms.path), readonly=False, ack=False) as main:
                if "SIGMA" not in main.colnames():
                    raise DataError(
                        f"{piece.ms.path}: calwt needs the column SIGMA, from which corrected weights are made"
                    )
                spectral = bool(
                    "WEIGHT_SPECTRUM" in main.colnames()
                    and main.nrows()
                    and main.iscelldefined("WEIGHT_SPECTRUM", int(piece.group.rows.max()))
                )
                for start in range(0, piece.slots.size, CHUNK):
                    own = slice(start, min(start + CHUNK, piece.slots.size))
                    scale = _scales(chain, tables, ms.antennas, group, piece.slots[own])[:, :, piece.channels]
                    _write(main, piece.group, own, pairs, scale, spectral)


def _scales(
    chain: Sequence[Placed], tables: GroupSolutions, antennas: Sequence[str], group: Any, slots: np.ndarray
) -> np.ndarray:
    """(nant, nslot, nchan, 2): by how much a hand of an antenna raises the weight."""
    time, freq = group.time[slots], group.freq
    total: np.ndarray | None = None
    for placed in chain:
        values = {}
        for what in placed.term.params:
            found = next(t for t in tables.parms if t.label == f"{placed.key}.{what}")
            plane = found.values[..., 0, 0]
            plane = plane[:, slots] if plane.shape[1] > 1 else plane
            values[what] = np.broadcast_to(plane, (len(plane), time.size, freq.size))
        one = matrices(placed, antennas, values, time, freq)
        total = one if total is None else total @ one
    assert total is not None
    a, b, c, d = (total[..., i, j] for i in (0, 1) for j in (0, 1))
    with np.errstate(all="ignore"):
        size = np.abs(a * d - b * c) ** 2
        rows = np.stack([size / (np.abs(d) ** 2 + np.abs(b) ** 2), size / (np.abs(a) ** 2 + np.abs(c) ** 2)], -1)
    return np.nan_to_num(rows.swapaxes(1, 2), nan=0.0, posinf=0.0)


def _write(main: Any, group: Any, slots: slice, pairs: np.ndarray, scale: np.ndarray, spectral: bool) -> None:
    hands = [divmod(correlations(group.corrs).index(i), 2) for i in range(len(group.corrs))]
    for k, slot in enumerate(range(slots.start, slots.stop)):
        rows = group.rows[:, slot]
        for baseline in np.flatnonzero(rows >= 0):
            p, q = pairs[baseline]
            row = int(rows[baseline])
            factor = np.stack([scale[p, k, :, i] * scale[q, k, :, j] for i, j in hands], -1)
            sigma = main.getcell("SIGMA", row)
            weight = np.where(sigma > 0, 1 / np.maximum(sigma, 1e-30) ** 2, 0) * factor
            main.putcell("WEIGHT", row, weight.mean(0).astype(np.float32))
            if spectral:
                whole = main.getcell("WEIGHT_SPECTRUM", row)
                whole[group.channels] = weight
                main.putcell("WEIGHT_SPECTRUM", row, whole)
