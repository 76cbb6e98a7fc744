"""Preconditioned conjugate gradients for many independent systems at once, with a product common to all.

Hestenes & Stiefel (1952, J. Res. NBS 49, 409); in the Levenberg-Marquardt loop a truncated solve is enough (Dembo,
Eisenstat & Steihaug 1982, SIAM J. Numer. Anal. 19, 400).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

Vector = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Symmetric blocks on the diagonal of a matrix: per size, the unknowns (blocks, size) and the matrices."""

    unknowns: Sequence[np.ndarray]
    matrices: Sequence[np.ndarray]

    def diagonal(self, count: int) -> Vector:
        """The diagonal; 0 for unknowns in no block."""
        result = np.zeros(count)
        for where, matrix in zip(self.unknowns, self.matrices, strict=True):
            result[where] = np.diagonal(matrix, axis1=1, axis2=2)
        return result

    def inverse(self, ridge: Vector) -> Blocks:
        """Inverses after adding `ridge` (count,) times the diagonal to it; an unknown without any has none."""
        found = []
        for where, matrix in zip(self.unknowns, self.matrices, strict=True):
            size = matrix.shape[-1]
            d = np.diagonal(matrix, axis1=1, axis2=2)
            scale = np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1)), 0.0)
            unit = matrix * scale[:, :, None] * scale[:, None]
            unit[:, range(size), range(size)] = 1 + ridge[where] + RIDGE
            found.append(np.linalg.inv(unit) * scale[:, :, None] * scale[:, None])
        return Blocks(self.unknowns, found)

    def sparse(self, count: int) -> csr_array:
        """All of them as one matrix (count, count)."""
        rows, columns, values = [], [], []
        for where, matrix in zip(self.unknowns, self.matrices, strict=True):
            size = where.shape[1]
            rows.append(np.repeat(where, size, 1).ravel())
            columns.append(np.tile(where, size).ravel())
            values.append(matrix.ravel())
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        return coo_array(entries, shape=(count, count)).tocsr()

    def __matmul__(self, x: Vector) -> Vector:
        """The product with a vector; 0 for unknowns in no block."""
        result = np.zeros_like(x)
        for where, matrix in zip(self.unknowns, self.matrices, strict=True):
            result[where] = np.einsum("nij,nj->ni", matrix, x[where])
        return result


RIDGE = 1e-9
"""Relative to the diagonal: a block that is singular by itself can be inverted."""


@dataclass(frozen=True, slots=True, eq=False)
class Systems:
    """Which system each unknown belongs to; `count` for unknowns that stay as they are."""

    label: np.ndarray
    count: int

    def sum(self, x: Vector) -> Vector:
        """Sum of x (unknowns,) over each system."""
        return np.bincount(self.label, x, self.count + 1)[: self.count]

    def spread(self, x: Vector) -> Vector:
        """x (systems,) for every unknown, 0 where it stays."""
        return np.append(x, 0)[self.label]


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """x with A x = b, nearly; A x itself; what is left of r M^-1 r as a fraction, per system; products taken."""

    x: Vector
    product: Vector
    left: Vector
    products: int


def solve(
    product: Callable[[Vector], Vector],
    b: Vector,
    inverse: Callable[[Vector], Vector],
    systems: Systems,
    tolerance: float | Vector,
    enough: Vector,
    most: int,
) -> Solved:
    """Solve A x = b from x = 0 for all systems, until the preconditioned norm of the residual, r M^-1 r, is below
    `tolerance` squared times its start, or below `enough` (systems,), or `most` products are taken.

    A singular but consistent system gives its solution of least norm in the metric of the preconditioner: null
    directions are never entered.
    """
    active = systems.label < systems.count
    r = np.where(active, b, 0.0)
    x, ax = np.zeros_like(r), np.zeros_like(r)
    z = inverse(r)
    energy = systems.sum(r * z)
    goal = np.maximum(energy * tolerance**2, enough)
    first = np.where(energy > 0, energy, 1.0)
    p, taken = z, 0
    going = energy > goal
    while going.any() and taken < most:
        q = np.where(active, product(p), 0.0)
        taken += 1
        bend = systems.sum(p * q)
        going &= bend > 1e-14 * energy  # a direction without curvature: noise in a null space
        step = systems.spread(np.where(going, energy / np.where(bend > 0, bend, 1), 0.0))
        x, ax, r = x + step * p, ax + step * q, r - step * q
        z = inverse(r)
        fresh = systems.sum(r * z)
        turn = np.where(going, fresh / np.where(energy > 0, energy, 1), 0.0)
        energy = np.where(going, fresh, energy)
        going &= energy > goal
        p = np.where(systems.spread(going.astype(float)) > 0, z + systems.spread(turn) * p, 0.0)
    return Solved(x, ax, energy / first, taken)
