"""Errors from a normal matrix that is made (see `assembled`): exact, all null directions told.

Elimination gives some generalised inverse G of the matrix, and all of its null directions N. Any other one that is a covariance follows
from it by an S-transformation (Baarda 1973, Publications on Geodesy 5): P G P^T with P = I - N A^T, where A^T N = I says what is held:
the directions of `hold` where these fix something, and for the rest what N is orthogonal to in the metric of the diagonal blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, solve_triangular
from scipy.sparse import csc_array, csr_array
from threadpoolctl import threadpool_limits

from .assembled import Parts
from .cg import Blocks
from .eliminated import SHARED, Eliminated, Reduced
from .joined import Class

NULL = 1e-8
"""Pivots of the preconditioned Schur complement below this are null: they are of order 1 where data constrain."""

SINGULAR = 1e-11
"""Eigenvalues of a block with 1 on its diagonal below this are those of rounding."""

FIRM = 1e8
"""How much more what is held counts than the metric: errors are right to its inverse."""

FIXES = 1e-3
"""Part of a null direction, of unit length, that must be held for it to be fixed."""

MIXED = 1e-3
"""Part of a null direction that is in other classes, if it is more than rounding."""


def variances(
    made: Eliminated, blocks: Blocks, hold: csc_array, classes: Sequence[Class]
) -> tuple[np.ndarray, np.ndarray]:
    """Variance of every unknown (NaN where it is in no system), and by how much each takes part in null directions of several classes
    beyond what the columns of `hold` (unknowns, m), of unit length in the metric `blocks`, fix."""
    owner = np.repeat(np.arange(len(classes)), [c.size for c in classes])
    count = len(owner)
    variance, between = np.full(count, np.nan), np.zeros(count)
    (metric, half), rows = _metric(blocks, count), csr_array(hold)
    for parts in made.parts:
        own = np.concatenate([parts.layout.inner[parts.layout.there], parts.layout.outer])
        with threadpool_limits(None if len(own) > SHARED else 1):
            found = _Inverse.of(parts, half)
            N = found.nulls()
            result = found.diagonal()
            if N.shape[1]:
                M, C = csr_array(metric[own][:, own]), csc_array(rows[own])
                C = csc_array(C[:, np.flatnonzero(np.diff(C.indptr))])
                change, free = _referred(found, N, M, C)
                result = result + change
                scale = np.sqrt(M.diagonal())
                between[own] = _between(scale[:, None] * free, owner[own])
            variance[own] = np.maximum(result, 0)
    return variance, between


@dataclass(frozen=True, slots=True, eq=False)
class _Inverse:
    """A generalised inverse of a system's matrix. `outer`: roots of the metric's inverse by which the remaining matrix is scaled; of that,
    `lower` is the Cholesky factor of the unknowns `kept`, and `null` its null directions (n, k); `lost` (blocks, size, size): null
    directions of blocks, as columns, zero for others."""

    parts: Parts
    reduced: Reduced
    outer: csr_array
    kept: np.ndarray
    lower: np.ndarray
    null: np.ndarray
    lost: np.ndarray

    @classmethod
    def of(cls, parts: Parts, half: csr_array) -> _Inverse:
        """By elimination of the blocks, whatever of them is not null; then of the rest with pivoting."""
        d = np.sqrt(np.diagonal(parts.inner, axis1=1, axis2=2))
        scale = np.divide(1, d, out=np.zeros_like(d), where=d > 0)
        w, V = np.linalg.eigh(parts.inner * scale[:, :, None] * scale[:, None])
        good = w > SINGULAR
        root = np.where(good, 1 / np.sqrt(np.where(good, w, 1)), 0)[:, :, None] * V.swapaxes(1, 2) * scale[:, None]
        reduced = Reduced.of(parts, root)
        there = (parts.layout.there & (d > 0))[:, :, None]
        T = csr_array(half[parts.layout.outer][:, parts.layout.outer])
        S = T @ (T @ reduced.rest).T
        n = len(S)
        if not n:
            return cls(parts, reduced, T, np.empty(0, int), S, S, scale[:, :, None] * V * ~good[:, None] * there)
        factor, pivots, rank, _ = lapack.dpstrf((S + S.T) / 2, lower=1, tol=NULL)
        kept, rest = pivots[:rank] - 1, pivots[rank:] - 1
        lower = np.tril(factor[:rank, :rank])
        null = np.zeros((n, n - rank))
        null[kept] = -solve_triangular(lower, factor[rank:, :rank].T, lower=True, trans=1)
        null[rest] = np.eye(n - rank)
        return cls(parts, reduced, T, kept, lower, null, scale[:, :, None] * V * ~good[:, None] * there)

    def nulls(self) -> np.ndarray:
        """(unknowns, k): all null directions."""
        reduced, there = self.reduced, self.parts.layout.there
        outer = self.outer.T @ self.null
        inner = -reduced.back(reduced.cross @ outer)
        block, column = np.nonzero(self.lost.any(1))
        alone = np.zeros((*there.shape, len(block)))
        alone[block, :, range(len(block))] = self.lost[block, :, column]
        first = np.concatenate([inner.reshape(*there.shape, inner.shape[1])[there], alone[there]], 1)
        return np.concatenate([first, np.concatenate([outer, np.zeros((len(outer), len(block)))], 1)])

    def diagonal(self) -> np.ndarray:
        """Of the inverse."""
        reduced, there = self.reduced, self.parts.layout.there
        n, m = len(self.outer.indptr) - 1, len(self.kept)
        scaled = csr_array(self.outer[self.kept])
        inverse, _ = lapack.dtrtri(self.lower, lower=1) if m else (self.lower, 0)
        outer = ((scaled.T @ inverse.T) ** 2).sum(1) if m else np.zeros(n)
        inner = (reduced.root**2).sum(1)
        if m and len(reduced.cross):
            met = inverse @ (scaled @ reduced.cross.T)  # (kept, inner)
            met = np.matmul(met.reshape(m, *there.shape).transpose(1, 0, 2), reduced.root)
            inner = inner + (met**2).sum(1)
        return np.concatenate([inner[there], outer])

    def __matmul__(self, b: np.ndarray) -> np.ndarray:
        """The product with (unknowns, m)."""
        reduced, there = self.reduced, self.parts.layout.there
        wide = np.zeros((*there.shape, b.shape[1]))
        count = np.count_nonzero(there)
        wide[there] = b[:count]
        inner = reduced.inner(wide.reshape(there.size, b.shape[1]))
        right = self.outer @ (b[count:] - reduced.cross.T @ inner)
        outer = np.zeros_like(right)
        if len(self.kept):
            half = solve_triangular(self.lower, right[self.kept], lower=True)
            outer[self.kept] = solve_triangular(self.lower, half, lower=True, trans=1)
        outer = self.outer.T @ outer
        inner = reduced.back(inner - reduced.cross @ outer)
        return np.concatenate([inner.reshape(*there.shape, inner.shape[1])[there], outer])


def _referred(found: _Inverse, N: np.ndarray, M: csr_array, C: csc_array) -> tuple[np.ndarray, np.ndarray]:
    """What the S-transformation changes of the diagonal, and the null directions that nothing held fixes."""
    w, V = np.linalg.eigh(N.T @ (M @ N))
    N = N @ (V / np.sqrt(np.where(w > 0, w, 1)))  # of unit length, in the metric
    W = np.asarray(C.T @ N)
    inner = np.linalg.inv(FIRM * (W.T @ W) + np.eye(N.shape[1]))
    A = (FIRM * (C @ W) + M @ N) @ inner
    met = found @ A
    change = ((N @ (A.T @ met)) * N).sum(1) - 2 * (N * met).sum(1)
    strength, V = np.linalg.eigh(W.T @ W)
    return change, N @ V[:, strength < FIXES**2]


def _between(null: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """By how much each unknown takes part in null directions (n, k), beyond those that a class has by itself."""
    if not null.shape[1]:
        return np.zeros(len(null))
    null = np.linalg.qr(null)[0]
    alone = [np.zeros((null.shape[1], 0))]
    for c in np.unique(owner):
        _, s, v = np.linalg.svd(null[owner != c], full_matrices=True)
        alone.append(v[np.append(s, np.zeros(len(v) - len(s))) < MIXED].T)
    u, s, _ = np.linalg.svd(np.concatenate(alone, 1), full_matrices=True)
    return np.asarray(((null @ u[:, np.count_nonzero(s > MIXED) :]) ** 2).sum(1))


def _metric(blocks: Blocks, count: int) -> tuple[csr_array, csr_array]:
    """The blocks, and S with S^T S their inverse, as sparse matrices. Along what is null in a block, such as the phase that all stations of
    it have in common, only the diagonal counts."""
    whole, roots = [], []
    for matrix in blocks.matrices:
        d = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
        scale = np.divide(1, d, out=np.zeros_like(d), where=d > 0)
        w, V = np.linalg.eigh(matrix * scale[:, :, None] * scale[:, None])
        w = np.where(w > SINGULAR, w, 1.0)
        roots.append((V / np.sqrt(w)[:, None]) @ V.transpose(0, 2, 1) * scale[:, None])
        whole.append((V * w[:, None]) @ V.transpose(0, 2, 1) * d[:, :, None] * d[:, None])
    return Blocks(blocks.unknowns, whole).sparse(count), Blocks(blocks.unknowns, roots).sparse(count)
