"""Vectors in kernels against numpy."""

from __future__ import annotations

import numpy as np

from rimetree.kernels import kernel
from rimetree.solve.algebra.simd import LANES, add, choose, inverse, load, root, splat, store


@kernel()
def _arithmetic(a, b, out):  # type: ignore[no-untyped-def]
    x, y = load(a, 0), load(b, 0)
    for i, value in enumerate(
        (x + y, x - y, x * y, x / y, 2.0 * x - 1.0, root(x), inverse(x), choose(x, y, splat(7.0)))
    ):
        store(out, i, value)
    add(out, 0, splat(0.5))


def test_every_operation_is_numpys() -> None:
    a = np.array([[1.5, -2, 0, np.nan, np.inf, 1e300, 4, -0.0]])
    b = np.array([[2.0, 3, 5, 1, 2, 1e300, np.nan, 1]])
    out = np.empty((8, LANES))
    _arithmetic(a, b, out)
    with np.errstate(all="ignore"):
        expected = [
            a + b + 0.5, a - b, a * b, a / b, 2 * a - 1, np.sqrt(a), np.where(a > 0, 1 / a, 0), np.where(a > 0, b, 7),
        ]  # fmt: skip
    np.testing.assert_allclose(out, np.concatenate(expected), rtol=1e-15)
