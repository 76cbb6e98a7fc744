"""Sums over data in the cells of a coupled problem (see `coupling`), each written where it stays.

Gram matrices of a few time cells and baselines at a time are made in cache, as for any fit (`gram`), and added to `Cells`. So memory
holds the sums once, and no pass turns them into another order.
"""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from ...kernels import kernel
from ..algebra.simd import INLINE, KERNEL, LANES, add, aligned, load, load_from, store, vectors
from ..algebra.threads import in_turns, take
from ..reduce.bilinear import Pairs
from ..reduce.gram import add_block, scratch
from ..reduce.sources import PlaneTable, Sources
from ..reduce.sums import ElementTable, check_cells, prepare, slots_of_cells
from ..reduce.turns import BLOCK
from .coupling import Cells

SCRATCH = 300_000
"""Bytes of Gram matrices per thread that stay in its cache."""


@dataclass(frozen=True, slots=True, eq=False)
class CellSums:
    """What chi2 knows of all cells (time x frequency, in this order). `data` (parts, blocks, LANES): real data in each, and
    `constant` the part of chi2 that no parameter changes; `seen` (blocks, members of all equations, LANES) float32: real data."""

    table: Pairs
    shape: tuple[int, int]
    cells: Cells
    data: np.ndarray
    constant: np.ndarray
    seen: np.ndarray

    @classmethod
    def empty(
        cls, table: Pairs, shape: tuple[int, int], base: np.ndarray, grid: np.ndarray, place: np.ndarray
    ) -> CellSums:
        """No data yet. Atoms and where they are taken: as in `Cells`."""
        count = shape[0] * shape[1]
        blocks = -(-count // LANES)
        places = np.zeros((len(place), blocks * LANES), np.int64)
        places[:, :count] = place
        large, small = (table.members * table.planes**2 * own for own in (~table.plain, table.plain))
        starts = [np.cumsum([0, *sizes]) for sizes in (large, small, 2 * table.members * table.planes)]
        cells = Cells(
            aligned((blocks, int(starts[0][-1]), LANES)), aligned((blocks, int(starts[1][-1]), LANES), np.float32),
            aligned((blocks, int(starts[1][-1]), LANES), np.float32), aligned((blocks, int(starts[2][-1]), LANES)),
            np.stack([np.where(table.plain, starts[1][:-1], starts[0][:-1]), starts[2][:-1]], 1),
            np.ones(blocks, bool), base.astype(np.int64), grid.astype(np.int64), places,
        )  # fmt: skip
        parts = int(table.part.max(initial=-1)) + 1
        seen = aligned((blocks, len(table.part), LANES), np.float32)
        data, constant = np.zeros((2, parts, blocks, LANES))
        return cls(table, shape, cells, data, constant, seen)

    @property
    def count(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    def of_cells(self, x: np.ndarray) -> np.ndarray:
        """(parts, blocks, LANES) as (parts, cells)."""
        return x.reshape(len(x), -1)[:, : self.count]

    @staticmethod
    def bytes(members: int, planes: np.ndarray) -> int:
        """Bytes per cell of an element of a family, of so many `planes`."""
        return int(members * (8 * (planes**2 + 2 * planes) + 4).sum())

    def add(
        self,
        equation: int,
        number: np.ndarray,
        real: np.ndarray,
        planes: PlaneTable,
        sources: Sources,
        rows: np.ndarray,
        elements: ElementTable,
        tcell: np.ndarray,
        fcell: np.ndarray,
        flags: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> int:
        """Add a tile of a family, whose elements are the equations from `equation` on; `number` (members,): which member of them
        each of the family is, or -1; `real` (elements,): whether data are. The rest as for `sums.accumulate`. Returns
        how many data were dropped because a plane is not finite."""
        bound, job = prepare(planes, sources, rows, elements, tcell, fcell, flags, weights)
        check_cells(tcell, fcell, *self.shape)
        size = int((8 * (elements.ntheta + 1) ** 2 + 8).sum())
        step = LANES // gcd(self.shape[1], LANES)
        block = min(BLOCK, max(1, SCRATCH // (size * step * self.shape[1])))
        used, begin, end = slots_of_cells(tcell)
        first, last = np.zeros(self.shape[0], np.int64), np.zeros(self.shape[0], np.int64)
        first[used], last[used] = begin, end
        weight = np.where(real, 1.0, 2.0)
        found = in_turns(
            _add,
            bound,
            job,
            self.table,
            self.cells,
            self.seen,
            equation,
            number,
            weight,
            first,
            last,
            self.shape[1],
            step,
            block,
            len(self.data),
        )
        for _, data, constant in found:
            self.data[:] += data
            self.constant[:] += constant
        return sum(dropped for dropped, _, _ in found)

    def keep(self, good: np.ndarray) -> None:
        """Leave out what is not `good` (parts, cells)."""
        bad = np.zeros(self.data.shape, bool)
        bad.reshape(len(bad), -1)[:, : good.shape[1]] = ~good
        bad &= self.data > 0
        if bad.any():
            in_turns(_strike, self.table, self.cells, bad)
            self.data[bad] = self.constant[bad] = 0


@kernel(**INLINE)
def _eight(gram, at, stride, nf, t, f, kept):
    """Numbers of eight cells, of which the first is t, f: of time cells `stride` apart in the flat array gram, from `at` on."""
    if f + LANES <= nf:
        return load_from(gram, at + t * stride + f)
    for v in range(LANES):
        here = f + v
        kept[0, v] = gram[at + (t + here // nf) * stride + here % nf]
    return load(kept, 0)


@kernel(**KERNEL)
def _write(
    table, cells, seen, equation, number, weight, local, gram, count, starts, m0, m1, block, cell, constant, data
):
    """Add the eight cells of a block from sums of members m0:m1; `cell`: the first, as they number them."""
    steps, nf = count.shape[2], count.shape[3]
    t, f = cell // nf, cell % nf
    for e in range(len(weight)):
        eq = equation + e
        n, cr, ci = table.planes[eq], table.factor[eq, 0], table.factor[eq, 1]
        K, cc, b0 = n + 1, cr * cr + ci * ci, block * cells.b.shape[1] + cells.first[eq, 1]
        for m in range(m0, m1):
            r = number[m]
            if r < 0:
                continue
            stride = K * K * nf
            at = starts[e] + (m - m0) * steps * stride
            part = np.int64(table.part[table.member[eq] + r])
            if table.plain[eq]:
                where = block * cells.weight.shape[1] + cells.first[eq, 0] + r
                x = cc * _eight(gram, at, stride, nf, t, f, local) + load(cells.weight, where) + load(cells.rest, where)
                store(cells.weight, where, x)
                store(cells.rest, where, x - load(cells.weight, where))
            else:
                where = block * cells.A.shape[1] + cells.first[eq, 0] + r * n * n
                for i in range(n):
                    for k in range(n):
                        x = _eight(gram, at + (i * K + k) * nf, stride, nf, t, f, local)
                        add(cells.A, where + i * n + k, cc * x)
            for i in range(n):
                re = _eight(gram, at + (i * K + n) * nf, stride, nf, t, f, local)
                im = _eight(gram, at + (n * K + i) * nf, stride, nf, t, f, local)
                add(cells.b, b0 + 2 * (r * n + i), cr * re + ci * im)
                add(cells.b, b0 + 2 * (r * n + i) + 1, cr * im - ci * re)
            where = part * len(cells.live) + block
            add(constant, where, _eight(gram, at + (K * K - 1) * nf, stride, nf, t, f, local))
            for v in range(LANES):
                here = f + v
                own = weight[e] * count[e, m - m0, t + here // nf, here % nf]
                data[part, block, v] += own
                seen[block, table.member[eq] + r, v] += own


@kernel(**KERNEL)
def _add(p, job, table, cells, seen, equation, number, weight, first, last, nf, step, block, parts, counter):
    """One turn per `step` time cells and `block` members; slots first[t]:last[t] are those of time cell t. Returns the number of
    data dropped, and what is to be added to `CellSums.data` and `constant`."""
    nt, ne, members = len(first), len(weight), len(number)
    starts = np.zeros(ne + 1, np.int64)
    for e in range(ne):
        starts[e + 1] = starts[e] + block * step * nf * (job.ntheta[e] + 1) ** 2
    gram, count = np.empty(starts[ne]), np.empty((ne, block, step, nf), np.int64)
    address, local = np.empty(ne, np.int64), vectors(1)
    data, constant = np.zeros((parts, len(cells.live), LANES)), np.zeros((parts, len(cells.live), LANES))
    room, turns, dropped = scratch(job), -(-members // block), 0
    turn = take(counter)
    while turn < -(-nt // step) * turns:
        t0, m0 = turn // turns * step, turn % turns * block
        t1, m1 = min(t0 + step, nt), min(m0 + block, members)
        there = False
        for t in range(t0, t1):
            there |= last[t] > first[t]
        if there:
            gram[:] = 0.0
            count[:] = 0
            for e in range(ne):
                address[e] = gram.ctypes.data + 8 * starts[e]
            for t in range(t0, t1):
                if last[t] > first[t]:
                    dropped += add_block(room, address, count, p, job, first[t], last[t], m0, m1, (m0, t0))
            for cell in range(0, (t1 - t0) * nf, LANES):
                b = (t0 * nf + cell) // LANES
                _write(
                    table, cells, seen, equation, number, weight, local, gram, count, starts, m0, m1, b, cell, constant,
                    data,
                )  # fmt: skip
        turn = take(counter)
    return dropped, data, constant


@kernel(**KERNEL)
def _strike(table, cells, bad, counter):
    """Zero the data of parts and cells that are bad (parts, blocks, LANES)."""
    block = take(counter)
    while block < len(cells.live):
        for v in range(LANES):
            for e in range(len(table.members)):
                n = table.planes[e]
                for m in range(table.members[e]):
                    if not bad[table.part[table.member[e] + m], block, v]:
                        continue
                    if table.plain[e]:
                        cells.weight[block, cells.first[e, 0] + m, v] = 0.0
                        cells.rest[block, cells.first[e, 0] + m, v] = 0.0
                    else:
                        for i in range(n * n):
                            cells.A[block, cells.first[e, 0] + m * n * n + i, v] = 0.0
                    for i in range(2 * n):
                        cells.b[block, cells.first[e, 1] + 2 * m * n + i, v] = 0.0
        block = take(counter)
