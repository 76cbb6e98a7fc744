"""Normal matrices whose unknowns meet with few others, as a preconditioner that is exact where it is made.

Coefficients of a spline meet in chi2 with those of the neighbouring pieces only, of all stations: in the right order the matrix is
banded, and its Cholesky factor costs less than the products that a worse preconditioner needs. What all stations share (a phase that is
a spline, too) is curved so little that blocks of stations and a coarse space leave conditions of thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import coo_array, csc_array, csr_array, diags_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from threadpoolctl import threadpool_limits

from . import coupling
from .cg import Blocks
from .threads import in_turns

if TYPE_CHECKING:
    from .coupled import Coupled, Points

ENTRIES = 5e7
"""Of the normal matrix of solvable factors cell by cell, at most: made by one product for each factor."""

NUMBERS, WORK = 2e8, 1e12
"""Numbers of a factor, and operations that it takes, at most."""

RIDGE = 1e-9
"""Relative to the diagonal, so that null directions have a factor."""

FEW, MOST, TURNS = 8, 512, 2
"""Null directions that are looked for first, and at most; and how often what is not null is damped by its curvature over RIDGE."""

INSIDE = 1 - 1e-6
"""Square of the part in some unknowns, of a unit direction that is theirs alone."""

LIKELY = 1e3
"""Times RIDGE, relative to the diagonal: smaller pivots count null directions, mostly."""

Vector = np.ndarray


@dataclass(frozen=True, eq=False)  # without slots, for what is worked out once
class Banded:
    """A normal matrix `H` (unknowns, unknowns); `order`: its unknowns so that none meets another `width` or more places away; `near`:
    its diagonal."""

    H: csr_array
    order: np.ndarray
    width: int
    near: np.ndarray
    fresh = True
    """See `Coarse`: what is hardly curved turns with every step."""

    def preconditioner(
        self, inverse: Callable[[Vector], Vector], damping: Vector | None = None
    ) -> Callable[[Vector], Vector]:
        """Its inverse, with `damping` (unknowns,) times the diagonal added."""
        return self.factor(self.near * (RIDGE + (0.0 if damping is None else damping))).solve

    def factor(self, more: Vector, hold: csc_array | None = None) -> Factor:
        """The Cholesky factor with `more` (unknowns,) on the diagonal, and hold hold^T added."""
        H = csr_array(self.H + hold @ hold.T if hold is not None and hold.shape[1] else self.H)
        for slack in (0, 1e-6, 1e-3):  # rounding may leave a pivot below zero
            own = more + slack * self.near
            made = Factor.of(csr_array(H + diags_array(np.where(own > 0, own, 1.0))), self.order, self.width)
            if made:
                return made
        raise FloatingPointError("a normal matrix has curvature below zero")  # which no J^T J has

    @cached_property
    def nulls(self) -> np.ndarray | None:
        """(unknowns, m): directions along which it has no curvature, of unit length in the metric of its diagonal, by inverse iteration of
        ever larger blocks (Parlett, The Symmetric Eigenvalue Problem, chapter 14); None where there are more than MOST."""
        factor, root = self.factor(self.near * RIDGE), np.sqrt(self.near)[:, None]
        rng = np.random.default_rng(0)
        likely = FEW + int(np.count_nonzero(factor.pivots() < LIKELY * RIDGE * self.near))
        for size in sorted({FEW, min(likely, MOST), MOST}):
            V = rng.standard_normal((len(root), min(size, len(root))))
            for _ in range(TURNS):
                V = np.linalg.qr(root * factor.solve(root * V))[0]
            value, U = np.linalg.eigh(V.T @ (root * factor.solve(root * V)))
            null = value > 0.5 / RIDGE
            if not null.all():
                found = V @ U[:, null]
                return np.divide(found, root, out=np.zeros_like(found), where=root > 0)
        return None

    def variance(self, hold: csc_array) -> Vector | None:
        """The diagonal of its inverse with what is held, or of the pseudo-inverse in the metric of its diagonal where nothing is; None
        where that leaves too much free."""
        found = self.factor(self.near * RIDGE, hold).diagonal()
        if hold.shape[1]:
            return found
        return None if self.nulls is None else np.maximum(found - (self.nulls**2).sum(1) / RIDGE, 0)

    def inside(self, rows: np.ndarray) -> np.ndarray | None:
        """(n, m, S): null directions of some unknowns by themselves, of `rows` (n, S) one set after the other, padded with zeros; None
        where there are more than MOST in all."""
        if self.nulls is None:
            return None
        root, found = np.sqrt(self.near), []
        for own in rows.T:
            part = root[own, None] * self.nulls[own]  # of unit length where no other unknown takes part
            if (part**2).sum() < INSIDE:
                found.append(part[:, :0])
                continue
            square, V = np.linalg.eigh(part.T @ part)
            found.append(self.nulls[own] @ V[:, square > INSIDE])
        result = np.zeros((len(rows), max((f.shape[1] for f in found), default=0), len(found)))
        for s, directions in enumerate(found):
            result[:, : directions.shape[1], s] = directions
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Cholesky factor of a block-tridiagonal matrix: inverses of the diagonal blocks, and the blocks below them."""

    order: np.ndarray
    inverse: np.ndarray
    below: np.ndarray

    @classmethod
    def of(cls, H: csr_array, order: np.ndarray, width: int) -> Factor | None:
        """Block by block (Golub & Van Loan, Matrix Computations, section 4.5); None where a pivot is not positive."""
        count = -(-len(order) // width)
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order))
        entries = H.tocoo()
        row, column = place[entries.row], place[entries.col]
        own, below = np.zeros((2, count, width, width))
        own[-1, range(width), range(width)] = 1  # what the last block has too many
        last = len(order) - (count - 1) * width
        own[-1, range(last), range(last)] = 0
        same, next_ = row // width == column // width, row // width == column // width + 1
        own[row[same] // width, row[same] % width, column[same] % width] += entries.data[same]
        below[column[next_] // width, row[next_] % width, column[next_] % width] += entries.data[next_]
        with threadpool_limits(1):  # more threads lose more than they gain on blocks of hundreds
            good = _factored(own, below)
        return cls(order, own, below[:-1]) if good else None

    def solve(self, b: Vector) -> Vector:
        """The solution for b (unknowns,) or (unknowns, m)."""
        count, width = self.inverse.shape[:2]
        x = np.zeros((count * width, *b.shape[1:]))
        x[: len(b)] = b[self.order]
        x = x.reshape(count, width, *b.shape[1:])
        for i in range(count):
            x[i] = self.inverse[i] @ (x[i] - self.below[i - 1] @ x[i - 1] if i else x[i])
        for i in reversed(range(count)):
            x[i] = self.inverse[i].T @ (x[i] - self.below[i].T @ x[i + 1] if i + 1 < count else x[i])
        result = np.empty(b.shape)
        result[self.order] = x.reshape(count * width, *b.shape[1:])[: len(b)]
        return result

    def pivots(self) -> Vector:
        """What was left of the diagonal, of each unknown after those before it."""
        result = np.empty(len(self.order))
        result[self.order] = np.diagonal(self.inverse, axis1=1, axis2=2).ravel()[: len(self.order)] ** -2.0
        return result

    def diagonal(self) -> Vector:
        """Of the inverse, by the recurrence of Takahashi, Fagan & Chen (1973, PICA Proceedings 8, 63)."""
        count, width = self.inverse.shape[:2]
        found, later = np.empty((count, width)), np.zeros((width, width))
        for i in reversed(range(count)):
            inner = np.eye(width)
            if i + 1 < count:
                inner += self.below[i].T @ later @ self.below[i]
            later = self.inverse[i].T @ inner @ self.inverse[i]
            found[i] = np.diagonal(later)
        result = np.empty(len(self.order))
        result[self.order] = found.ravel()[: len(self.order)]
        return result


def _factored(own: np.ndarray, below: np.ndarray) -> bool:
    """Diagonal blocks to inverses of those of the factor, and blocks below them to its own, in place; whether all are positive."""
    for i in range(len(own)):
        if i:
            own[i] -= below[i - 1] @ below[i - 1].T
        lower, fault = lapack.dpotrf(own[i], lower=1, clean=1)
        if fault:
            return False
        own[i] = lapack.dtrtri(lower, lower=1)[0]
        if i + 1 < len(own):
            below[i] = below[i] @ own[i].T
    return True


def banded(problem: Coupled, points: Points, blocks: Blocks) -> Banded | None:
    """The normal matrix of a problem on sums, where that is banded and small enough; else None."""
    cells, count = problem.cells, problem.data.shape[1]
    atoms = len(cells.base)
    if not any(c.colours.near.shape[1] > 1 for c in problem.classes) or (2.0 * atoms) ** 2 * count > ENTRIES:
        return None
    padded = cells.place.shape[1]
    apart = cells._replace(
        base=np.arange(atoms) * padded, grid=np.zeros(atoms, np.int64), place=np.arange(padded)[None].copy()
    )
    at = (cells.base[:, None] + cells.place[cells.grid]).ravel()
    value = np.ascontiguousarray(points.value[:, at])
    taken = csr_array(points.matrix[np.concatenate([at, at + points.value.shape[1]])])
    rows, columns, values = [], [], []
    for number in range(2 * atoms):
        change = np.zeros((2 * atoms, padded))
        change[number, :count] = 1
        parts = in_turns(coupling.curvature, problem.table, problem.stems, apart, value, change.reshape(2, -1))
        image = sum(parts).reshape(2 * atoms, padded)
        other, cell = np.nonzero(image[:, :count])
        rows.append(other * padded + cell)
        columns.append(number * padded + cell)
        values.append(image[other, cell])
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    each = coo_array(entries, shape=(2 * atoms * padded, 2 * atoms * padded)).tocsr()
    H = csr_array(taken.T @ (each @ taken)) + diags_array(problem.prior.precision)
    free = diags_array(np.concatenate([c.free.ravel() for c in problem.classes]) * 1.0)
    H = csr_array(free @ H @ free)
    H = csr_array((H + H.T) / 2)
    order = reverse_cuthill_mckee(H, symmetric_mode=True)
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    found = H.tocoo()
    width = int(np.abs(place[found.row] - place[found.col]).max(initial=0)) + 1
    if not np.isfinite(H.data).all() or len(order) * 2.0 * width > NUMBERS or len(order) * 4.0 * width**2 > WORK:
        return None
    return Banded(H, order, width, blocks.diagonal(problem.count))
