"""Eigenvalues inside kernels against LAPACK."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rimetree.solve.algebra.eigen import eigh

EPS = np.finfo(float).eps


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(0, 2**32),
    st.sampled_from(["any", "twins", "zeros", "wide"]),
    st.integers(-140, 140),
)
@example(3, 0, "nothing", 0)
def test_symmetric_matrices_of_any_kind_and_scale(n, seed, kind, scale):
    rng = np.random.default_rng(seed)
    own = {
        "any": rng.normal(size=n),
        "twins": rng.integers(-1, 2, n).astype(float),
        "zeros": rng.normal(size=n) * (rng.uniform(size=n) < 0.3),
        "wide": 10.0 ** rng.uniform(-16, 0, n),
        "nothing": np.zeros(n),
    }[kind]
    axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
    a = (axes * own) @ axes.T * 10.0**scale
    a = (a + a.T) / 2
    values, vectors = eigh(a.copy())
    size = np.abs(np.linalg.eigvalsh(a)).max()
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a), rtol=0, atol=30 * n * EPS * size)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), atol=30 * n * EPS)
    np.testing.assert_allclose(a @ vectors, vectors * values, rtol=0, atol=30 * n * EPS * size)
