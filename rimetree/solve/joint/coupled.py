"""Classes of parameters with different solution intervals as one problem, whose normal matrix is never made.

The normal matrix exists only as products (`coupling`) from Gram matrices that are held in memory; its blocks per station and
interval precondition them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ..algebra.simd import LANES
from ..algebra.threads import in_turns
from ..reduce.bilinear import Pairs, Squares, Stems
from . import coupled_blocks, coupling
from .assembled import planned
from .cell_sums import CellSums
from .cg import Blocks, Systems
from .coupling import Cells
from .eliminated import Eliminated, eliminated
from .joined import Joined

EXACT = 2e7
"""Numbers of a normal matrix that may be made while a fit goes on."""

OVERHEAD, PER_NUMBER = 2e7, 100
"""Operations of BLAS in the time that a product takes besides, and for each number of Gram matrices."""


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
class Coupled(Joined):
    """A coupled problem on sums. `atoms(x)` gives the atoms."""

    stems: Stems
    squares: Squares
    sums: CellSums
    atoms: Callable[[np.ndarray], Points]

    @property
    def table(self) -> Pairs:
        """The equations."""
        return self.sums.table

    @property
    def cells(self) -> Cells:
        """Gram matrices of all cells."""
        return self.sums.cells

    def points(self, x: np.ndarray) -> Points:
        """The atoms."""
        return self.atoms(x)

    def power(self) -> np.ndarray:
        """What no parameter changes: most of it is the data's own power."""
        return self.sums.of_cells(self.sums.constant)

    def wake(self, cells: np.ndarray) -> None:
        """Only blocks with some of these cells are worked on."""
        whole = np.zeros(self.cells.live.size * LANES, bool)
        whole[: len(cells)] = cells
        self.cells.live[:] = whole.reshape(-1, LANES).any(1)

    # Products with data.

    @property
    def effort(self) -> float:
        """Of a product: operations that BLAS does in the same time."""
        return OVERHEAD + PER_NUMBER * (self.cells.A.size + self.cells.weight.size)

    def slopes(self, points: Points, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half the gradient of chi2 at x, and the data's part of chi2 (parts, cells)."""
        chi2 = self.sums.constant.copy()
        parts = in_turns(coupling.gradient, self.table, self.stems, self.cells, points.value, chi2)
        gradient = points.back(sum(parts)) + self.prior.precision * (x - self.prior.mean)
        return gradient, self.sums.of_cells(chi2)

    def product(self, points: Points, x: np.ndarray) -> np.ndarray:
        """The Gauss-Newton matrix, J^T J and the precision of priors, times x."""
        parts = in_turns(coupling.curvature, self.table, self.stems, self.cells, points.value, points.change(x))
        return points.back(sum(parts)) + self.prior.precision * x

    def labour(self, systems: Systems) -> float:
        """See `Joined.labour`."""
        plan = planned(self, systems)
        return (plan.making + plan.factoring) / self.effort if plan.numbers <= EXACT else np.inf

    def exact(self, points: Points, blocks: Blocks, systems: Systems) -> Eliminated:
        """See `Joined.exact`."""
        return eliminated(self, points, blocks, planned(self, systems))

    def blocks(self, points: Points) -> Blocks:
        """The diagonal blocks of J^T J: the unknowns of one class and interval that enter a product on the same side."""
        p, q, re, im = self.met(points)
        count, other = points.value.shape[1], np.flatnonzero(p != q)
        rows = np.concatenate([p, p, p + count, p + count])
        columns = np.concatenate([q, q + count, q, q + count])
        values = np.concatenate([re, -im, im, re])
        twice = np.concatenate([other + k * len(p) for k in range(4)])
        entries = np.concatenate([rows, columns[twice]]), np.concatenate([columns, rows[twice]])
        weight = coo_array((np.concatenate([values, values[twice]]), entries), (2 * count, 2 * count)).tocsr()
        found = (points.matrix.T @ weight @ points.matrix).tocoo()
        label = self.sections()
        own = (label[found.row] == label[found.col]) & (found.data != 0)
        known = np.flatnonzero(self.prior.precision)
        rows, columns = (np.concatenate([x[own], known]) for x in (found.row, found.col))
        values = np.concatenate([found.data[own], self.prior.precision[known]])
        return _dense(coo_array((values, (rows, columns)), (self.count, self.count)).tocsr())

    def met(self, points: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of points (p, q) that enter a product on the same side, each with itself among them; and what a change of q does to p,
        real and imaginary part."""
        sizes = self._extents()[self.squares.atoms[:, 0]]
        base = np.concatenate([[0], np.cumsum(sizes)])
        arguments = self.table, self.stems, self.squares, self.cells, points.value, base[:-1], int(base[-1])
        re, im = sum(in_turns(coupled_blocks.diagonal, *arguments))
        pair = np.repeat(np.arange(len(sizes)), sizes)
        a, b = self.squares.atoms[pair].T
        at = np.arange(len(pair)) - base[pair]
        return self.cells.base[a] + at, self.cells.base[b] + at, re, im

    def _extents(self) -> np.ndarray:
        """Points of every atom: those of its grid."""
        return (self.cells.place.max(1) + 1)[self.cells.grid]


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
