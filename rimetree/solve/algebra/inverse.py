"""Inverses of many symmetric matrices without BLAS, whose threads beside others cost far more than they give."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from .memory import OPTIONS
from .threads import in_turns, take


def inverses(matrices: np.ndarray) -> np.ndarray:
    """Of symmetric matrices (k, n, n), by Gauss-Jordan elimination without pivoting: they should be positive definite, or nearly."""
    result = np.array(matrices, order="C")
    in_turns(_invert, result)
    return (result + result.swapaxes(1, 2)) / 2


@kernel(**OPTIONS)
def _invert(a, counter):
    m, n = take(counter), a.shape[1]
    while m < a.shape[0]:
        own = a[m]
        for k in range(n):
            pivot = 1.0 / own[k, k] if own[k, k] != 0.0 else np.nan
            own[k, k] = 1.0
            for j in range(n):
                own[k, j] *= pivot
            for i in range(n):
                if i != k:
                    factor = own[i, k]
                    own[i, k] = 0.0
                    for j in range(n):
                        own[i, j] -= factor * own[k, j]
        m = take(counter)
