"""Polynomials in time and frequency: coefficients of Parm families and their values on a grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.node import Family


def coefficients(family: Family) -> np.ndarray:
    """Initial coefficients of a Parm family, (n, ct, cf), float64 or complex128: value = sum c[i, j] x**i y**j."""
    values = np.asarray(list(family.members["value"]))
    values = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
    return values.reshape(values.shape + (1,) * (3 - values.ndim))


def powers(x: Any, count: int) -> list[Any]:
    """x**0 ... x**(count - 1), by repeated multiplication."""
    result = [x * 0 + 1]
    for _ in range(count - 1):
        result.append(result[-1] * x)
    return result


def polynomial(coefs: Any, x: Any, y: Any) -> Any:
    """`sum_ij coefs[..., i, j] x**i y**j`, collapsed along axes that it does not depend on.

    `coefs` is (n, ct, cf) for grid coordinates x, y (any shapes that broadcast against each other); returns (n, grid...).
    """
    *_, ct, cf = coefs.shape
    rank = max(np.ndim(x), np.ndim(y))
    total: Any = 0
    xs = powers(x, ct) if ct > 1 else [1]
    ys = powers(y, cf) if cf > 1 else [1]
    for i in range(ct):
        for j in range(cf):
            total = total + coefs[:, i, j].reshape((-1,) + (1,) * rank) * xs[i] * ys[j]
    return total
