"""Classes of parameters with different solution intervals as one problem, whose normal matrix is never made.

All unknowns of all classes are one vector: class by class, unknown by unknown, interval by interval. The normal matrix
exists only as products (`coupling`); its blocks per station and interval precondition them. Problems that no datum
connects (polarisations, scans) are systems of their own: each has its damping, its convergence and its status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from . import coupling
from .bilinear import Pairs, Squares, Stems
from .bounds import Prior
from .cg import Blocks, Systems
from .coupling import Cells
from .retract import Retraction
from .threads import in_turns


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """One class: `count` unknowns in each of `intervals` intervals; `cell` (cells,) the interval of every cell."""

    count: int
    intervals: int
    cell: np.ndarray
    retract: Retraction
    component: np.ndarray
    """(count,) component of each unknown within the class, -1 where no equation sees it."""
    of_part: np.ndarray
    """(parts,) the component that each part of the equations sees, -1 where it sees none."""
    free: np.ndarray
    """(count, intervals) whether an unknown is fitted there."""

    @property
    def size(self) -> int:
        """Unknowns in all."""
        return self.count * self.intervals


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Values of atoms (2, points) at some unknowns, and their derivatives (points, width) by the unknowns `index`."""

    value: np.ndarray
    slope: np.ndarray
    index: np.ndarray
    matrix: csr_array

    @classmethod
    def of(cls, value: np.ndarray | None, slope: np.ndarray, index: np.ndarray, count: int, x: np.ndarray) -> Points:
        """From complex derivatives; `value` is their product with x where it is not given."""
        points, width = slope.shape
        start = np.arange(2 * points + 1) * width
        data = np.concatenate([slope.real.ravel(), slope.imag.ravel()])
        matrix = csr_array((data, np.tile(index.ravel(), 2), start), shape=(2 * points, count))
        made = (matrix @ x).reshape(2, -1) if value is None else np.stack([value.real, value.imag])
        return cls(np.ascontiguousarray(made), slope, index, matrix)

    def moved(self, x: np.ndarray) -> Points:
        """At other unknowns, where the atoms are linear."""
        return replace(self, value=np.ascontiguousarray((self.matrix @ x).reshape(2, -1)))

    def change(self, x: np.ndarray) -> np.ndarray:
        """Changes of the points for a change of the unknowns."""
        return np.ascontiguousarray((self.matrix @ x).reshape(2, -1))

    def back(self, adjoint: np.ndarray) -> np.ndarray:
        """The transpose of `change`."""
        return np.asarray(self.matrix.T @ adjoint.ravel())


@dataclass(frozen=True, slots=True, eq=False)
class Coupled:
    """A coupled problem. `points(x)` gives the atoms; `data` (parts, cells) real data; `constant` (parts, blocks,
    LANES) the part of chi2 that no parameter changes."""

    classes: tuple[Class, ...]
    table: Pairs
    stems: Stems
    squares: Squares
    cells: Cells
    points: Callable[[np.ndarray], Points]
    data: np.ndarray
    constant: np.ndarray
    prior: Prior
    """Mean and precision of every unknown, (unknowns,)."""

    @property
    def count(self) -> int:
        """Unknowns in all."""
        return sum(c.size for c in self.classes)

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """Unknowns class by class, (count, intervals)."""
        ends = np.cumsum([c.size for c in self.classes])[:-1]
        return [part.reshape(c.count, c.intervals) for c, part in zip(self.classes, np.split(x, ends), strict=True)]

    def retract(self, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        """x after a step."""
        parts = zip(self.classes, self.split(x), self.split(step), strict=True)
        return np.concatenate(
            [c.retract(np.ascontiguousarray(a), np.ascontiguousarray(b)).ravel() for c, a, b in parts]
        )

    # Products with data.

    def slopes(self, points: Points, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half the gradient of chi2 at x, and the data's part of chi2 (parts, cells)."""
        chi2 = self.constant.copy()
        parts = in_turns(coupling.gradient, self.table, self.stems, self.cells, points.value, chi2)
        gradient = points.back(sum(parts)) + self.prior.precision * (x - self.prior.mean)
        return gradient, chi2.reshape(len(chi2), -1)[:, : self.data.shape[1]]

    def product(self, points: Points, x: np.ndarray) -> np.ndarray:
        """The Gauss-Newton matrix, J^T J and the precision of priors, times x."""
        parts = in_turns(coupling.curvature, self.table, self.stems, self.cells, points.value, points.change(x))
        return points.back(sum(parts)) + self.prior.precision * x

    def surprise(self, x: np.ndarray) -> np.ndarray:
        """The priors' part of chi2, per unknown."""
        return self.prior.precision * (x - self.prior.mean) ** 2

    def blocks(self, points: Points) -> Blocks:
        """The diagonal blocks of J^T J: the unknowns of one class and interval that enter a product on the same side."""
        sizes = self._extents()[self.squares.atoms[:, 0]]
        base = np.concatenate([[0], np.cumsum(sizes)])
        arguments = self.table, self.stems, self.squares, self.cells, points.value, base[:-1], int(base[-1])
        re, im = sum(in_turns(coupling.diagonal, *arguments))
        rows, columns, values = [], [], []
        pair = np.repeat(np.arange(len(sizes)), sizes)
        a, b = self.squares.atoms[pair].T
        at = np.arange(len(pair)) - base[pair]
        p, q = self.cells.base[a] + at, self.cells.base[b] + at
        of = self.owner()
        for i in range(points.index.shape[1]):
            for k in range(points.index.shape[1]):
                x, y = points.slope[p, i], points.slope[q, k]
                m, n = points.index[p, i], points.index[q, k]
                good = (x != 0) & (y != 0) & (of[m] == of[n])
                z = x.conj() * y
                value = z.real * re - z.imag * im
                rows += [m[good], n[good & (a != b)]]
                columns += [n[good], m[good & (a != b)]]
                values += [value[good], value[good & (a != b)]]
        known = np.flatnonzero(self.prior.precision)
        entries = (
            np.concatenate([*values, self.prior.precision[known]]),
            (np.concatenate([*rows, known]), np.concatenate([*columns, known])),
        )
        return _dense(coo_array(entries, (self.count, self.count)).tocsr())

    def _extents(self) -> np.ndarray:
        """Points of every atom: those of its grid."""
        return (self.cells.place.max(1) + 1)[self.cells.grid]

    def owner(self) -> np.ndarray:
        """Class and interval of every unknown, as one number."""
        parts, start = [], 0
        for c in self.classes:
            parts.append(np.tile(np.arange(c.intervals) + start, c.count))
            start += c.intervals
        return np.concatenate(parts)

    def systems(self) -> tuple[Systems, np.ndarray]:
        """The independent systems, and the system of each part in each cell (parts, cells), -1 where there are no data."""
        parts, cells = self.data.shape
        starts = np.cumsum([0, *((c.component.max(initial=-1) + 1) * c.intervals for c in self.classes)])
        node = np.full((len(self.classes), parts, cells), -1)
        for i, c in enumerate(self.classes):
            own = starts[i] + c.of_part[:, None] * c.intervals + c.cell
            node[i] = np.where((c.of_part[:, None] >= 0) & (self.data > 0), own, -1)
        first = node.max(0)
        one, other = np.broadcast_to(first, node.shape)[node >= 0], node[node >= 0]
        graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(starts[-1], starts[-1]))
        _, found = connected_components(graph, directed=False)
        of_cell = np.where(first >= 0, found[np.maximum(first, 0)], -1)
        numbers = np.unique(of_cell[of_cell >= 0])
        of_cell[of_cell >= 0] = np.searchsorted(numbers, of_cell[of_cell >= 0])
        seen = np.zeros(starts[-1], bool)
        seen[other] = True
        system = np.where(seen, np.searchsorted(numbers, found), len(numbers))
        labels = []
        for c, start in zip(self.classes, starts, strict=False):
            place = start + c.component[:, None] * c.intervals + np.arange(c.intervals)
            label = np.where(c.free & (c.component >= 0)[:, None], system[np.maximum(place, 0)], len(numbers))
            labels.append(label.ravel())
        return Systems(np.concatenate(labels), len(numbers)), of_cell


def _dense(matrix: csr_array) -> Blocks:
    """The connected blocks of a sparse symmetric matrix."""
    _, label = connected_components(matrix, directed=False)
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    place = np.empty(len(label), int)
    place[order] = np.arange(len(label)) - starts[label[order]]
    entries = matrix.tocoo()
    unknowns, matrices = [], []
    for size in np.unique(sizes):
        own = np.flatnonzero(sizes == size)
        number = np.full(len(sizes), -1)
        number[own] = np.arange(len(own))
        unknowns.append(order[starts[own][:, None] + np.arange(size)])
        dense = np.zeros((len(own), size, size))
        mine = number[label[entries.row]] >= 0
        r, c = entries.row[mine], entries.col[mine]
        dense[number[label[r]], place[r], place[c]] = entries.data[mine]
        matrices.append(dense)
    return Blocks(unknowns, matrices)
