"""Eigenvalues of small symmetric matrices inside kernels, by Jacobi's rotations (Golub & Van Loan, Matrix Computations, 8.5)."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel

SWEEPS = 30
"""More than any matrix needs: convergence is quadratic, 6 to 10 are usual."""


@kernel()
def eigh(a):
    """Eigenvalues of `a` (n, n), ascending, and eigenvectors in columns, as `numpy.linalg.eigh`; destroys `a`, which must be finite."""
    n = a.shape[0]
    axes, values, vectors = np.zeros((n, n)), np.empty(n), np.empty((n, n))
    size = 0.0
    for i in range(n):
        axes[i, i] = 1.0
        for k in range(n):
            size = max(size, abs(a[i, k]))
    for _ in range(SWEEPS):
        if not _sweep(a, axes, 1e-17 * size):
            break
    for i in range(n):
        least = i
        for k in range(i + 1, n):
            least = k if a[k, k] < a[least, least] else least
        values[i], a[least, least] = a[least, least], a[i, i]
        for k in range(n):
            vectors[k, i], axes[least, k] = axes[least, k], axes[i, k]
    return values, vectors


@kernel()
def _sweep(a, axes, small):
    """Turn every pair of axes (rows) so that the element between them is zero; whether any was larger than `small`."""
    n, turned = a.shape[0], False
    for p in range(n):
        for q in range(p + 1, n):
            off = a[p, q]
            if not abs(off) > small:
                continue
            turned = True
            tau = (a[q, q] - a[p, p]) / (2.0 * off)
            t = (1.0 if tau >= 0.0 else -1.0) / (abs(tau) + np.sqrt(1.0 + tau * tau))
            c = 1.0 / np.sqrt(1.0 + t * t)
            first, second = a[p, p] - t * off, a[q, q] + t * off
            _rotate(a, p, q, c, t * c)
            _rotate(axes, p, q, c, t * c)
            for k in range(n):
                a[k, p], a[k, q] = a[p, k], a[q, k]
            a[p, p], a[q, q], a[p, q], a[q, p] = first, second, 0.0, 0.0
    return turned


@kernel(forceinline=True)
def _rotate(a, p, q, c, s):
    """Rows p and q of `a`, turned."""
    for k in range(a.shape[1]):
        x, y = a[p, k], a[q, k]
        a[p, k], a[q, k] = c * x - s * y, s * x + c * y
