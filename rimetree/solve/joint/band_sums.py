"""Banded normal matrices from sums over cells: the order of the unknowns, and all entries.

Chi2 knows of a cell what a change of each solvable factor there does to the others; functions that are 0 in most cells (the pieces of
a spline) make of that an entry for each two unknowns that are somewhere not 0 together.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...kernels import kernel
from ..algebra.simd import LANES
from ..algebra.threads import in_turns
from . import coupling

if TYPE_CHECKING:
    from .coupled import Coupled, Points

AT_ONCE = 4e6
"""Numbers of what factors do to one another that are held at once."""

NUMBERS, WORK = 4e8, 2e12
"""Numbers of a matrix, and operations that its factor takes, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """`order`: unknowns so that none meets another `width` or more places away; `place` (unknowns,) where each is in it, -1 for those
    that are not fitted."""

    order: np.ndarray
    place: np.ndarray
    width: int

    @property
    def blocks(self) -> int:
        """How many blocks of `width` there are."""
        return -(-len(self.order) // self.width)

    @classmethod
    def of(cls, problem: Coupled, points: Points) -> Layout | None:
        """By the middle of the cells where each is not 0, systems one after another; None where the matrix is too large, or no class has
        functions that end."""
        if not any(c.colours.near.shape[1] > 1 for c in problem.classes):
            return None
        free = np.concatenate([c.free.ravel() for c in problem.classes])
        system = problem.systems()[0].label
        first, last = np.full((2, problem.count), -1)
        at, cells = _points(problem)
        _extents(points.slope, points.index, at, cells, first, last)
        order = np.lexsort((first + last, system, ~free | (first < 0)))
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order))
        place[~free | (first < 0)] = -1
        width = int(_width(points.slope, points.index, at, cells, place, system, int(system.max(initial=0)) + 1))
        if 2.0 * len(order) * width > NUMBERS or 5.0 * len(order) * width**2 > WORK:
            return None
        return cls(order, place, width)


def assembled(problem: Coupled, points: Points, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
    """(blocks, width, width): diagonal blocks, of which only the lower halves count, and the blocks below them (one too many); None where
    unknowns meet that did not where the layout was made."""
    own, below = np.zeros((2, layout.blocks, layout.width, layout.width))
    at, _ = _points(problem)
    for start, stop, image in _images(problem, points, at):
        meet = np.argwhere(np.tril((image != 0).any(-1).reshape(2, len(at), 2, len(at)).any((0, 2))))
        if not _add(image, meet, points.slope, points.index, at[:, start:stop], layout.place, own, below):
            return None
    place = layout.place[layout.place >= 0]
    own.reshape(-1, layout.width**2)[place // layout.width, place % layout.width * (layout.width + 1)] += (
        problem.prior.precision[layout.place >= 0]
    )
    return own, below


def _points(problem: Coupled) -> tuple[np.ndarray, int]:
    """(atoms, cells): the point of each atom in each cell; and how many cells are not padding."""
    cells = problem.cells
    return cells.base[:, None] + cells.place[cells.grid], problem.data.shape[1]


def _images(problem: Coupled, points: Points, at: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Of some cells after others: the first, the last, and what a change of the real or imaginary part of each atom there does to those
    of all (2 atoms, 2 atoms, cells)."""
    cells, atoms = problem.cells, len(at)
    step = max(1, int(AT_ONCE / (2.0 * atoms) ** 2) // LANES)
    for first in range(0, len(cells.live), step):
        part = slice(first, min(first + step, len(cells.live)))
        start, stop = part.start * LANES, min(part.stop * LANES, at.shape[1])
        count = stop - start
        own = cells._replace(
            A=cells.A[part], weight=cells.weight[part], rest=cells.rest[part], b=cells.b[part],
            live=np.ones(part.stop - part.start, cells.live.dtype), base=np.arange(atoms) * count, grid=np.zeros(atoms, np.int64),
            place=np.arange(count)[None].copy(),
        )  # fmt: skip
        value = np.ascontiguousarray(points.value[:, at[:, start:stop].ravel()])
        image = np.empty((2 * atoms, 2 * atoms, count))
        for number in range(2 * atoms):
            change = np.zeros((2 * atoms, count))
            change[number, : problem.data.shape[1] - start] = 1
            parts = in_turns(coupling.curvature, problem.table, problem.stems, own, value, change.reshape(2, -1))
            image[number] = sum(parts).reshape(2 * atoms, count)
        yield start, stop, image


@kernel()
def _extents(slope, index, at, cells, first, last):
    """The first and last cell in which each unknown takes part."""
    for a in range(len(at)):
        for c in range(cells):
            p = at[a, c]
            for k in range(slope.shape[1]):
                if slope[p, k] != 0:
                    u = index[p, k]
                    first[u] = c if first[u] < 0 else min(first[u], c)
                    last[u] = max(last[u], c)


@kernel()
def _width(slope, index, at, cells, place, system, systems):
    """One more than the places between two unknowns of a system in the same cell, at most."""
    low, high, when = np.zeros(systems, np.int64), np.zeros(systems, np.int64), np.full(systems, -1)
    width = 1
    for c in range(cells):
        for a in range(len(at)):
            p = at[a, c]
            for k in range(slope.shape[1]):
                u = index[p, k]
                x, s = place[u], system[u]
                if slope[p, k] == 0 or x < 0:
                    continue
                if when[s] != c:
                    when[s], low[s], high[s] = c, x, x
                low[s], high[s] = min(low[s], x), max(high[s], x)
                width = max(width, high[s] - low[s] + 1)
    return width


@kernel()
def _add(image, meet, slope, index, at, place, own, below):
    """Add what pairs of atoms `meet` (pairs, 2) say of their unknowns in all cells of `image`; whether all is in the band."""
    atoms, width = len(at), own.shape[1]
    for first in range(0, at.shape[1], LANES):
        for pair in range(len(meet)):
            a, b = meet[pair]
            for c in range(first, min(first + LANES, at.shape[1])):
                p, q = at[a, c], at[b, c]
                rr, ri = image[b, a, c], image[b + atoms, a, c]  # of a, for changes of b
                ir, ii = image[b, a + atoms, c], image[b + atoms, a + atoms, c]
                for j in range(slope.shape[1]):
                    s, y = slope[q, j], place[index[q, j]]
                    if s == 0 or y < 0:
                        continue
                    re, im = rr * s.real + ri * s.imag, ir * s.real + ii * s.imag
                    for i in range(slope.shape[1]):
                        r, x = slope[p, i], place[index[p, i]]
                        value = r.real * re + r.imag * im
                        if x < 0 or value == 0 or (a == b and x < y):
                            continue
                        if a != b and x == y:
                            value *= 2
                        low, high = min(x, y), max(x, y)
                        block = low // width
                        if high // width > block + 1:
                            return False
                        if high // width == block:
                            own[block, high - block * width, low - block * width] += value
                        else:
                            below[block, high - (block + 1) * width, low - block * width] += value
    return True
