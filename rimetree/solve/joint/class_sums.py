"""The equations of one class by itself, all others held fixed, from the sums over cells (see `cell_sums`): no datum is read again.

With the atoms of the class taken out, the stems P and Q of a plain equation are constants of each cell, so that its sums over an
interval of the class are those over its cells of d |P Q|^2 and of conj(P) Q b.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels import kernel
from ..algebra.simd import KERNEL, LANES, load, store, total, vectors
from ..algebra.threads import in_turns, take
from ..reduce.bilinear import Stems
from .cell_sums import CellSums
from .stems import gather, values


def contracted(
    sums: CellSums, stems: Stems, points: np.ndarray, interval: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight (members of all equations, intervals) of what the class multiplies, its product with the constant part (complex),
    and how many data there are.

    All equations are plain. `points` (2, points): values of atoms, 1 for those of the class; `interval` (cells,): which of its intervals,
    `shape` (in time, in frequency) of them, each is in.
    """
    padded = np.zeros(len(sums.cells.live) * LANES, np.int64)
    padded[: len(interval)] = interval
    arguments: Any = sums.table, stems, sums.cells, sums.seen, points, padded, shape[0] * shape[1]
    found = sum(in_turns(_contract, *arguments)).transpose(2, 1, 0)
    return (
        np.ascontiguousarray(found[0]),
        np.ascontiguousarray(found[1]) + 1j * found[2],
        np.rint(found[3]).astype(np.int64),
    )


@kernel(**KERNEL)
def _contract(t, stems, cells, count, points, interval, intervals, counter):
    """(intervals, members, 4): weight, product (real and imaginary part), data. One turn per block of cells."""
    result = np.zeros((intervals, len(t.part), 4))
    size = len(stems.first) - 1
    atoms, value, norm, local = vectors(2 * len(cells.base)), vectors(2 * size), vectors(size), vectors(4)
    block = take(counter)
    while block < len(cells.live):
        gather(points, cells, block, atoms)
        values(stems, atoms, value)
        for s in range(size):
            re, im = load(value, 2 * s), load(value, 2 * s + 1)
            store(norm, s, re * re + im * im)
        first, same = interval[block * LANES], True
        for v in range(1, LANES):
            same &= interval[block * LANES + v] == first
        for e in range(len(t.members)):
            d0, b0 = block * cells.weight.shape[1] + cells.first[e, 0], block * cells.b.shape[1] + cells.first[e, 1]
            for m in range(t.members[e]):
                p, q = np.int64(t.left[t.use[e] + m]), np.int64(t.right[t.use[e] + m])
                pr, pi, qr, qi = load(value, 2 * p), load(value, 2 * p + 1), load(value, 2 * q), load(value, 2 * q + 1)
                br, bi = load(cells.b, b0 + 2 * m), load(cells.b, b0 + 2 * m + 1)
                xr, xi = pr * qr + pi * qi, pi * qr - pr * qi
                d = load(cells.weight, d0 + m) + load(cells.rest, d0 + m)
                member = t.member[e] + m
                where = block * count.shape[1] + member
                if same:
                    into = result[first, member]
                    into[0] += total(d * load(norm, p) * load(norm, q))
                    into[1] += total(xr * br + xi * bi)
                    into[2] += total(xr * bi - xi * br)
                    into[3] += total(load(count, where))
                else:
                    store(local, 0, d * load(norm, p) * load(norm, q))
                    store(local, 1, xr * br + xi * bi)
                    store(local, 2, xr * bi - xi * br)
                    store(local, 3, load(count, where))
                    for v in range(LANES):
                        into = result[interval[block * LANES + v], member]
                        for k in range(4):
                            into[k] += local[k, v]
        block = take(counter)
    return result
