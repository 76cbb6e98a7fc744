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
from scipy.sparse import csc_array, csr_array, hstack

from .band_factor import Factor
from .band_sums import Layout, assembled

if TYPE_CHECKING:
    from .coupled import Coupled, Points

RIDGE = 1e-9
"""Relative to the diagonal, so that null directions have a factor."""

FEW, SEVERAL, MOST, TURNS = 8, 64, 512, 2
"""Null directions of which many unknowns are part that are looked for first, then, and at most; and how often what is not null is damped by
its curvature over RIDGE."""

REACH = 2e8
"""Numbers of all null directions, at most."""

INSIDE = 1 - 1e-6
"""Square of the part in some unknowns, of a unit direction that is theirs alone."""

LIKELY = 1e3
"""Times RIDGE, relative to the diagonal: smaller pivots are those of null directions, mostly."""

Vector = np.ndarray


@dataclass(frozen=True, eq=False)  # without slots, for what is worked out once
class Banded:
    """A normal matrix in the order of `layout`: lower halves of blocks `own` (blocks, width, width), and the blocks `below` them."""

    layout: Layout
    own: np.ndarray
    below: np.ndarray
    fresh = True
    """See `Coarse`: what is hardly curved turns with every step."""

    @cached_property
    def near(self) -> Vector:
        """Its diagonal (unknowns,), which is its metric."""
        result = np.empty(len(self.layout.order))
        result[self.layout.order] = np.diagonal(self.own, axis1=1, axis2=2).ravel()[: len(result)]
        return result

    def preconditioner(
        self, inverse: Callable[[Vector], Vector], damping: Vector | None = None
    ) -> Callable[[Vector], Vector]:
        """Its inverse, with `damping` (unknowns,) times the diagonal added."""
        made = self.factor(self.near * (RIDGE + (0.0 if damping is None else damping)))
        assert made is not None  # nothing is held
        return made.solve

    def factor(self, more: Vector, hold: csc_array | None = None) -> Factor | None:
        """The Cholesky factor with `more` (unknowns,) on the diagonal, and hold hold^T (unknowns, m) added; None where that is outside the
        band."""
        order, (count, width) = self.layout.order, self.own.shape[:2]
        for slack in (0, 1e-6, 1e-3):  # rounding may leave a pivot below zero
            own, below = self.own.copy(), self.below.copy()
            if hold is not None and not self._held(hold, own, below):
                return None
            diagonal = own.reshape(count, -1)[:, :: width + 1]
            added = np.ones(count * width)
            added[: len(order)] = (more + slack * self.near)[order]
            diagonal += added.reshape(count, width)
            diagonal[diagonal <= 0] = 1  # of what is not fitted
            made = Factor.of(own, below, order)
            if made:
                return made
        raise FloatingPointError("a normal matrix has curvature below zero")  # which no J^T J has

    def _held(self, hold: csc_array, own: np.ndarray, below: np.ndarray) -> bool:
        """Add hold hold^T to blocks; whether it is within them."""
        entries, place, width = (hold @ hold.T).tocoo(), self.layout.place, own.shape[1]
        row, column = place[entries.row], place[entries.col]
        use = (row >= column) & (column >= 0)
        row, column, value = row[use], column[use], entries.data[use]
        block, other = column // width, row // width
        for to, which in ((own, other == block), (below, other == block + 1)):
            to[block[which], row[which] % width, column[which] % width] += value[which]
        return not (other > block + 1).any()

    @cached_property
    def nulls(self) -> Nulls | None:
        """The directions along which it has no curvature, orthonormal in the metric of its diagonal; None where they are too many."""
        return self._nulls(None)

    def _nulls(self, hold: csc_array | None) -> Nulls | None:
        """The same with what is held.

        With RIDGE on the diagonal, columns of the inverse transposed factor are orthonormal in the matrix; those of pivots that are hardly
        more than RIDGE have their length from it alone, and reach as far as the unknowns that they change together. What is left,
        by inverse iteration (Parlett, The Symmetric Eigenvalue Problem, chapter 14).
        """
        factor, root = self.factor(self.near * RIDGE, hold), np.sqrt(self.near)
        if factor is None:
            return None
        found = factor.columns(np.flatnonzero(factor.pivots() < LIKELY * RIDGE * self.near), REACH)
        if found is None:
            return None
        own = RIDGE * (found.multiply(found).T @ self.near)
        local = csc_array(np.sqrt(RIDGE) * found[:, (own > 0.5) & self._short(found)])
        unit = csr_array(local.multiply(root[:, None]))
        rng = np.random.default_rng(0)
        for size in (FEW, SEVERAL, MOST):
            if size * len(root) > REACH:
                return None
            V = _without(unit, rng.standard_normal((len(root), min(size, len(root)))))
            for _ in range(TURNS):
                V = np.linalg.qr(_without(unit, root[:, None] * factor.solve(root[:, None] * V)))[0]
            value, U = np.linalg.eigh(V.T @ (root[:, None] * factor.solve(root[:, None] * V)))
            null = value > 0.5 / RIDGE
            if not null.all() or len(root) <= size:
                wide = V @ U[:, null]
                return Nulls(
                    local,
                    np.divide(wide, root[:, None], out=np.zeros_like(wide), where=root[:, None] > 0),
                    value[null],
                )
        return None

    def _short(self, directions: csc_array) -> np.ndarray:
        """Which directions (unknowns, m), none of them zero, are within two blocks that follow one another."""
        if not directions.shape[1]:
            return np.zeros(0, bool)
        block, starts = self.layout.place[directions.indices] // self.own.shape[1], directions.indptr[:-1]
        return np.asarray(np.maximum.reduceat(block, starts) - np.minimum.reduceat(block, starts) <= 1)

    def variance(self, hold: csc_array) -> Vector | None:
        """The diagonal of its inverse with what is held; of what is free all the same, that of the pseudo-inverse in the metric of its
        diagonal. None where that leaves too much free."""
        nulls = self._nulls(hold) if hold.shape[1] else self.nulls
        if nulls is None:
            return None
        known = [hold, csc_array(nulls.local.multiply(self.near[:, None]))]
        whole = self.factor(self.near * RIDGE, csc_array(hstack(known)))
        if whole is None:
            return None
        free = nulls.local.multiply(nulls.local).sum(1) + nulls.wide**2 @ nulls.value
        return np.maximum(whole.diagonal() - free, 0)

    def inside(self, rows: np.ndarray) -> list[csr_array] | None:
        """Per set of unknowns `rows` (n, S), its own null directions (n, m), of no other unknowns; None where there are too many in all."""
        if self.nulls is None:
            return None
        root = np.sqrt(self.near)
        every = [self.nulls.local, csc_array(self.nulls.wide)]
        unit = csr_array(hstack(every)).multiply(root[:, None]).tocsr()
        found = []
        for own in rows.T:
            part = csc_array(unit[own])
            share = part.multiply(part).sum(0)
            whole, mixed = share > INSIDE, (share > 1 - INSIDE) & (share <= INSIDE)
            directions = [part[:, whole]]
            if 0 < mixed.sum() <= MOST:
                some = part[:, mixed].toarray()
                square, V = np.linalg.eigh(some.T @ some)
                directions.append(csc_array(some @ V[:, square > INSIDE]))
            back = np.divide(1, root[own], out=np.zeros(len(own)), where=root[own] > 0)
            found.append(csr_array(hstack(directions)).multiply(back[:, None]).tocsr())
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Nulls:
    """Directions of no curvature: some that few unknowns take part in, `local` (unknowns, n), and `wide` ones (unknowns, m), with their
    eigenvalues (m,) of the inverse."""

    local: csc_array
    wide: np.ndarray
    value: np.ndarray


def _without(unit: csr_array, V: np.ndarray) -> np.ndarray:
    """V (unknowns, n) without its part in orthonormal directions; twice, for the inverse is 1 / RIDGE times as large along these."""
    for _ in range(2):
        V = V - unit @ (unit.T @ V)
    return V


def banded(problem: Coupled, points: Points, layout: Layout) -> Banded | None:
    """The normal matrix of a problem on sums; None where that is outside its layout, or not finite."""
    made = assembled(problem, points, layout)
    if made is None or not all(np.isfinite(a).all() for a in made):
        return None
    return Banded(layout, *made)
