"""Eigenvalues of small symmetric matrices inside kernels, by Jacobi's rotations (Golub & Van Loan, Matrix Computations, 8.5)."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ..kernels import kernel

SWEEPS = 30
"""More than any matrix needs: convergence is quadratic, 6 to 10 are usual."""


@kernel(error_model="numpy")
def eigh(a):
    """Eigenvalues of `a` (n, n), ascending, and eigenvectors in columns, as `numpy.linalg.eigh`; destroys `a`, which must be finite."""
    n = a.shape[0]
    vectors = np.zeros((n, n))
    for i in range(n):
        vectors[i, i] = 1.0
    size = 0.0
    for i in range(n):
        size = max(size, abs(a[i, i]))
    for _ in range(SWEEPS):
        if not _sweep(a, vectors, 1e-17 * size):
            break
    values = np.empty(n)
    for i in range(n):
        values[i] = a[i, i]
    for i in range(1, n):  # insertion: rows are exchanged with their values
        for k in range(i, 0, -1):
            if values[k - 1] <= values[k]:
                break
            values[k - 1], values[k] = values[k], values[k - 1]
            for j in range(n):
                vectors[j, k - 1], vectors[j, k] = vectors[j, k], vectors[j, k - 1]
    return values, vectors


@kernel(error_model="numpy")
def _sweep(a, vectors, small):
    """Turn every pair of axes so that the element between them is zero; whether any was larger than `small`."""
    n, turned = a.shape[0], False
    for p in range(n):
        for q in range(p + 1, n):
            off = a[p, q]
            if abs(off) <= small:
                continue
            turned = True
            tau = (a[q, q] - a[p, p]) / (2.0 * off)
            t = (1.0 if tau >= 0.0 else -1.0) / (abs(tau) + np.sqrt(1.0 + tau * tau))
            c = 1.0 / np.sqrt(1.0 + t * t)
            s = t * c
            for k in range(n):
                x, y = a[k, p], a[k, q]
                a[k, p], a[k, q] = c * x - s * y, s * x + c * y
            for k in range(n):
                x, y = a[p, k], a[q, k]
                a[p, k], a[q, k] = c * x - s * y, s * x + c * y
            a[p, q] = a[q, p] = 0.0
            for k in range(n):
                x, y = vectors[k, p], vectors[k, q]
                vectors[k, p], vectors[k, q] = c * x - s * y, s * x + c * y
    return turned
