"""Null directions of coupled intervals, and errors without them."""

from __future__ import annotations

import numpy as np

from ..algebra.linear import NULL, RIDGE
from ..result.outcome import NULL_DIRECTIONS
from .lines import Lines


def null_space(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal null directions (S, n, m) of the (scaled) matrix of every chain, 0 beyond those that there are; condition numbers (S,).

    The matrix knows how steps bend (`Retraction.curvature`): a common phase changes neither data nor walk.
    """
    S, n = lines.scale.shape
    chain = lines.walk.chain()
    order = np.argsort(chain, kind="stable").reshape(int(chain.max()) + 1, -1)
    m = NULL_DIRECTIONS
    while True:
        m = min(n, m)
        q = np.random.default_rng(0).normal(size=(S, n, m)) * (lines.scale > 0)[..., None]
        for _ in range(3):
            q = _orthonormal(lines.solve(q), order)
        flat, image = (a[order].reshape(len(order), -1, m) for a in (q, lines.product(q)))
        ritz = flat.swapaxes(1, 2) @ image
        values, turn = np.linalg.eigh((ritz + ritz.swapaxes(1, 2)) / 2)
        isnull = abs(values - RIDGE) < NULL
        if m == n or not isnull.all(1).any():
            break
        m *= 2
    q[order] = (flat @ turn * isnull[:, None, :]).reshape(*order.shape, n, m)
    smallest = np.where(isnull, np.inf, abs(values)).min(1)
    return q, (_largest(lines, order, chain) / smallest)[chain]


def without(lines: Lines, q: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Variances (n, S) when nothing moves along `q`, from the `diagonal` (S, n) of the inverse: A^-1 - U (Q^T U)^-1 U^T, U = A^-1 Q."""
    chain = lines.walk.chain()
    order = np.argsort(chain, kind="stable").reshape(int(chain.max()) + 1, -1)
    m = q.shape[2]
    u = lines.solve(q)
    flat, image = (a[order].reshape(len(order), -1, m) for a in (q, u))
    part = np.empty_like(diagonal)
    inner = np.linalg.pinv(flat.swapaxes(1, 2) @ image, rcond=1e-12, hermitian=True)
    part[order] = np.einsum("cim,cmk,cik->ci", image, inner, image).reshape(*order.shape, -1)
    return np.asarray(((diagonal - part).clip(0) * lines.scale**2).T)


def _largest(lines: Lines, order: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """The largest eigenvalue of each chain, by a few power iterations."""
    x = (1.0 + 0.1 * (np.arange(lines.scale.size).reshape(lines.scale.shape) % 7)) * (lines.scale > 0)
    value = np.ones(len(order))
    for _ in range(12):
        norm = np.linalg.norm(x[order], axis=(1, 2))
        x = lines.product(x / np.where(norm > 0, norm, 1)[chain][:, None])
        value = np.linalg.norm(x[order], axis=(1, 2))
    return value


def _orthonormal(q: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Columns of q (S, n, m) made orthonormal over each chain."""
    flat = q[order].reshape(len(order), -1, q.shape[2])
    result = np.empty_like(q)
    result[order] = np.linalg.qr(flat)[0].reshape(*order.shape, *q.shape[1:])
    return result
