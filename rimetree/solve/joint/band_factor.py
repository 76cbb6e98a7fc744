"""Cholesky factors of block-tridiagonal matrices: banded ones, cut into blocks as wide as the band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import coo_array, csc_array

from ...blas import single

Vector = np.ndarray

VANISHED = 1e-5
"""Part of a column of the inverse that one block has; where it has less, the blocks before have none."""


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Cholesky factor of a block-tridiagonal matrix: inverses of the diagonal blocks (blocks, width, width), and the blocks below them;
    `order`: the unknowns in the order of its rows."""

    order: np.ndarray
    inverse: np.ndarray
    below: np.ndarray

    @classmethod
    def of(cls, own: np.ndarray, below: np.ndarray, order: np.ndarray) -> Factor | None:
        """Block by block (Golub & Van Loan, Matrix Computations, section 4.5), in place; None where a pivot is not positive."""
        return cls(order, own, below[:-1]) if _factored(own, below) else None

    def solve(self, b: Vector) -> Vector:
        """The solution for b (unknowns,) or (unknowns, m)."""
        count, width = self.inverse.shape[:2]
        x = np.zeros((count * width, *b.shape[1:]))
        x[: len(b)] = b[self.order]
        x = x.reshape(count, width, *b.shape[1:])
        self._swept(x)
        result = np.empty(b.shape)
        result[self.order] = x.reshape(count * width, *b.shape[1:])[: len(b)]
        return result

    @single()
    def _swept(self, x: np.ndarray) -> None:
        count = len(self.inverse)
        for i in range(count):
            x[i] = self.inverse[i] @ (x[i] - self.below[i - 1] @ x[i - 1] if i else x[i])
        for i in reversed(range(count)):
            x[i] = self.inverse[i].T @ (x[i] - self.below[i].T @ x[i + 1] if i + 1 < count else x[i])

    def pivots(self) -> Vector:
        """What was left of the diagonal, of each unknown after those before it."""
        result = np.empty(len(self.order))
        result[self.order] = np.diagonal(self.inverse, axis1=1, axis2=2).ravel()[: len(self.order)] ** -2.0
        return result

    @single()
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

    @single()
    def columns(self, chosen: np.ndarray, most: float) -> csc_array | None:
        """Columns of the inverse of the transposed factor that belong to some of the unknowns: each is orthogonal to all others in the
        metric of the matrix, and of length 1. Only as far as they reach (VANISHED); None where that is more than `most` numbers."""
        count, width = self.inverse.shape[:2]
        place = np.empty(len(self.order), int)
        place[self.order] = np.arange(len(self.order))
        row = np.sort(place[chosen])
        starts = np.searchsorted(row, np.arange(count + 1) * width)
        number, x, size = np.empty(0, int), np.empty((width, 0)), np.zeros(len(row))
        rows, columns, values, total = [], [], [], 0
        for i in reversed(range(count)):
            begun = np.arange(starts[i], starts[i + 1])
            right = np.zeros((width, len(number) + len(begun)))
            if len(number):
                right[:, : len(number)] = -(self.below[i].T @ x)
            right[row[begun] - i * width, len(number) + np.arange(len(begun))] = 1
            number, x = np.concatenate([number, begun]), self.inverse[i].T @ right
            part = (x**2).sum(0)
            size[number] += part
            kept = part > VANISHED**2 * size[number]
            number, x = number[kept], x[:, kept]
            if number.size:
                at, column = np.nonzero(np.abs(x) > VANISHED**2 * np.sqrt(size[number]))
                rows.append(at + i * width)
                columns.append(number[column])
                values.append(x[at, column])
                total += len(at)
            if total > most:
                return None
        if not rows:
            return csc_array((len(self.order), 0))
        where = self.order[np.concatenate(rows)], np.concatenate(columns)
        return coo_array((np.concatenate(values), where), shape=(len(self.order), len(row))).tocsc()


@single()
def _factored(own: np.ndarray, below: np.ndarray) -> bool:
    """Lower halves of diagonal blocks to inverses of those of the factor, and blocks below them to its own, in place; whether all are
    positive."""
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
