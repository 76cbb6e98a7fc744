"""The normal matrix of a coupled problem, made: system by system, arranged for eliminating one class.

Intervals of one class never meet each other: among its own unknowns the matrix has blocks on the diagonal only. What remains after these
are eliminated is a matrix of the other unknowns, of which there may be far fewer: 2,500 instead of 5,000 where gains per slot meet a
bandpass per channel. Columns of the matrix come from the kernel that makes its products, one for each unknown of an interval, for all
intervals of a class at once, with what flows back kept apart cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array, csr_array

from ..algebra.threads import in_turns
from . import coupling
from .cg import Systems

if TYPE_CHECKING:
    from .coupled import Coupled, Points
    from .joined import Class

PER_ENTRY = 1000
"""Operations in the time of putting an atom's adjoint in a cell where it belongs."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the unknowns of a system are: those that are eliminated, `inner` (blocks, size), where `there`; the others, `outer` (n,)."""

    inner: np.ndarray
    there: np.ndarray
    outer: np.ndarray

    @property
    def numbers(self) -> float:
        """Of its matrices."""
        blocks, size = self.inner.shape
        return float(blocks * size * size + (blocks * size + len(self.outer)) * len(self.outer))

    @property
    def work(self) -> float:
        """Operations of eliminating and of factoring what remains."""
        (blocks, size), n = self.inner.shape, len(self.outer)
        return blocks * size * (n**2 + 2.0 * size * n + 10.0 * size**2) + n**3 / 3


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The matrix of a system: between the unknowns of each block (blocks, size, size), of these with the others (blocks, size, n), and
    between the others (n, n). An inner unknown that is not there meets nothing, and has 1 on the diagonal."""

    layout: Layout
    inner: np.ndarray
    cross: np.ndarray
    outer: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How to make the matrix: the class `chosen` for elimination, -1 for none; its systems, and the operations (multiplying and adding)
    that making it takes."""

    chosen: int
    layouts: Sequence[Layout]
    making: float

    @property
    def numbers(self) -> float:
        """Of all matrices."""
        return sum(x.numbers for x in self.layouts)

    @property
    def factoring(self) -> float:
        """Operations."""
        return sum(x.work for x in self.layouts)


def planned(problem: Coupled, systems: Systems) -> Plan:
    """The one that costs least."""
    return min(plans(problem, systems), key=lambda plan: plan.factoring)


def plans(problem: Coupled, systems: Systems) -> list[Plan]:
    """To eliminate each class, and none."""
    ends = np.cumsum([c.size for c in problem.classes])
    order = np.argsort(systems.label, kind="stable")
    unknowns = np.split(order, np.searchsorted(systems.label[order], np.arange(1, systems.count + 1)))[: systems.count]
    making = sum(c.count for c in problem.classes) * (
        problem.effort + PER_ENTRY * problem.cells.place.shape[1] * len(problem.cells.base)
    )
    return [
        Plan(c, [_layout(problem, own, c, ends) for own in unknowns if len(own)], making)
        for c in range(-1, len(problem.classes))
    ]


def _layout(problem: Coupled, own: np.ndarray, chosen: int, ends: np.ndarray) -> Layout:
    """Of the unknowns of a system, in order."""
    if chosen < 0:
        return Layout(np.empty((0, 0), int), np.empty((0, 0), bool), own)
    made = problem.classes[chosen]
    start = ends[chosen] - made.size
    mine = (own >= start) & (own < ends[chosen])
    row, interval = np.divmod(own[mine] - start, made.intervals)
    rows, intervals = np.unique(row), np.unique(interval)
    there = np.zeros((len(intervals), len(rows)), bool)
    there[np.searchsorted(intervals, interval), np.searchsorted(rows, row)] = True
    return Layout(start + rows * made.intervals + intervals[:, None], there, own[~mine])


def assembled(problem: Coupled, points: Points, plan: Plan) -> list[Parts]:
    """The matrices, with the precision of priors."""
    chosen, found = plan.chosen, plan.layouts
    starts = np.cumsum([0, *(c.size for c in problem.classes)])
    place = np.full(problem.count, -1)  # an outer unknown's column
    row = np.full(problem.count, -1)  # where an unknown's row begins, among all rows of unknowns with outer ones
    column = np.full(problem.count, -1)  # where in its own row the block of an inner unknown begins
    block = np.full(problem.count, -1)
    system = np.full(problem.count, -1)
    size = inside = 0
    for k, own in enumerate(found):
        n, (blocks, wide) = len(own.outer), own.inner.shape
        number = np.arange(blocks * wide).reshape(blocks, wide)
        here = own.inner[own.there]
        system[here] = system[own.outer] = k
        row[here], place[own.outer] = size + number[own.there] * n, np.arange(n)
        row[own.outer] = size + (blocks * wide + np.arange(n)) * n
        block[here] = inside + number[own.there] * wide
        column[here] = np.broadcast_to(np.arange(wide), (blocks, wide))[own.there]
        size, inside = size + (blocks * wide + n) * n, inside + blocks * wide * wide
    whole, diagonal = np.zeros(size), np.zeros(inside)
    for i, target, values in _columns(problem, points, chosen):
        c = problem.classes[i]
        unknown, interval = np.divmod(target, c.intervals)
        for m, value in enumerate(values):
            other = starts[i] + m * c.intervals + interval
            same = (system[unknown] == system[other]) & (system[other] >= 0)
            if i == chosen:
                diagonal[(block[unknown] + column[other])[same]] = value[same]
            else:
                whole[(row[unknown] + place[other])[same]] = value[same]
    result, size, inside = [], 0, 0
    for own in found:
        n, (blocks, wide) = len(own.outer), own.inner.shape
        cross = whole[size : size + blocks * wide * n].reshape(blocks, wide, n)
        size += blocks * wide * n
        outer = whole[size : size + n * n].reshape(n, n)
        size += n * n
        inner = diagonal[inside : inside + blocks * wide**2].reshape(blocks, wide, wide)
        inside += inner.size
        inner[:, range(wide), range(wide)] += np.where(own.there, problem.prior.precision[own.inner], 1.0)
        outer[range(n), range(n)] += problem.prior.precision[own.outer]
        result.append(Parts(own, inner, cross, outer))
    return result


def _columns(problem: Coupled, points: Points, chosen: int) -> Iterator[tuple[int, np.ndarray, Iterator[np.ndarray]]]:
    """Of each class: unknowns that meet its intervals, as numbers unknown * intervals + interval, and for each unknown of its intervals
    the entries there. Of the class `chosen`, what meets itself only."""
    cells, count = problem.cells, problem.data.shape[1]
    atoms, padded = len(cells.base), cells.place.shape[1]
    apart = cells._replace(
        base=np.arange(atoms) * padded, grid=np.zeros(atoms, np.int64), place=np.arange(padded)[None].copy()
    )
    at = (cells.base[:, None] + cells.place[cells.grid]).ravel()
    value = np.ascontiguousarray(points.value[:, at])
    taken = points.matrix[np.concatenate([at, at + points.value.shape[1]])].tocoo()
    good = (taken.row % padded < count) & (taken.data != 0)
    image, unknown, slope = taken.row[good], taken.col[good], taken.data[good]
    cell, start = image % padded, 0
    for i, c in enumerate(problem.classes):
        mine = (unknown >= start) & (unknown < start + c.size) if i == chosen else slice(None)
        target = unknown[mine].astype(np.int64) * c.intervals + c.cell[cell[mine]]
        sums = coo_array((slope[mine], (target, image[mine])), (problem.count * c.intervals, 2 * atoms * padded))
        rows = csr_array(sums)
        there = np.flatnonzero(np.diff(rows.indptr))
        begin = rows.indptr[np.append(there, rows.shape[0])]
        rows = csr_array((rows.data, rows.indices, begin), (len(there), rows.shape[1]))

        def values(start: int = start, c: Class = c, rows: csr_array = rows) -> Iterator[np.ndarray]:
            for m in range(c.count):
                one = np.zeros(problem.count)
                one[start + m * c.intervals : start + (m + 1) * c.intervals] = 1
                change = np.ascontiguousarray(points.change(one)[:, at])
                parts = in_turns(coupling.curvature, problem.table, problem.stems, apart, value, change)
                yield rows @ sum(parts).ravel()

        yield i, there, values()
        start += c.size
