"""Coupled intervals: elimination, conjugate gradients and blocks of the inverse, against the dense matrix."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.solve.single import lines as module
from rimetree.solve.single.lines import Lines, Walk

UNKNOWNS = 3


def example(shape: tuple[int, int], axes: tuple[bool, bool]) -> tuple[np.ndarray, Walk, np.ndarray, np.ndarray]:
    """H (S, n, n), the walk, a scale, and P as a dense matrix (S n, S n), difference by difference."""
    rng = np.random.default_rng(3)
    n, S = UNKNOWNS, shape[0] * shape[1]
    root = rng.normal(size=(S, n, n))
    H = root @ root.swapaxes(1, 2) * (rng.uniform(size=S) < 0.8)[:, None, None]  # some intervals without data
    gap = tuple(rng.uniform(0.1, 2, k - 1) for k in shape)
    strength = rng.uniform(0.5, 3, (2, n)) * np.array(axes)[:, None]
    strength[:, 1] = 0  # one unknown is not tied
    P = np.zeros((S, n, S, n))
    number = np.arange(S).reshape(shape)
    for axis in range(2):
        for k in range(shape[axis] - 1):
            for a, b in zip(np.take(number, k, axis).ravel(), np.take(number, k + 1, axis).ravel(), strict=True):
                for u in range(n):
                    w = strength[axis, u] * gap[axis][k]
                    P[a, u, a, u] += w
                    P[b, u, b, u] += w
                    P[a, u, b, u] -= w
                    P[b, u, a, u] -= w
    scale = rng.uniform(0.5, 2, (n, S))
    scale[0, 0] = 0  # takes no part
    return H, Walk(shape, gap, strength), scale, P.reshape(S * n, S * n)  # type: ignore[arg-type]


@pytest.mark.parametrize("largest", [1000, 0])
@pytest.mark.parametrize("axes", [(True, False), (False, True), (True, True), (False, False)])
@pytest.mark.parametrize("shape", [(5, 4), (3, 6), (1, 5), (6, 1)])
def test_dense_linear_algebra(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], axes: tuple[bool, bool], largest: int
) -> None:
    monkeypatch.setattr(module, "LARGEST", largest)
    H, walk, scale, P = example(shape, axes)
    S, n = H.shape[:2]
    rng = np.random.default_rng(4)
    theta = rng.normal(size=(n, S))
    flat = theta.T.ravel()
    np.testing.assert_allclose(walk.product(theta).T.ravel(), P @ flat, atol=1e-12)
    np.testing.assert_allclose(walk.chi2(theta).sum(), flat @ P @ flat, rtol=1e-12)
    np.testing.assert_allclose(walk.diagonal().T.ravel(), np.diag(P), rtol=1e-12)
    dense = P.copy()
    for s in range(S):
        dense[s * n : s * n + n, s * n : s * n + n] += H[s]
    d = scale.T.ravel()
    damping = 0.01 * (1 + walk.chain())
    dense = dense * d[:, None] * d + np.diag(np.repeat(damping, n) + (d == 0))
    system = Lines(H, walk, scale)
    system.factor(damping)
    assert system.exact == (largest > 0 or not all(walk.axes))
    x = rng.normal(size=(S, n, 2))
    np.testing.assert_allclose(system.product(x).reshape(S * n, 2), dense @ x.reshape(S * n, 2), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        system.solve(x).reshape(S * n, 2), np.linalg.solve(dense, x.reshape(S * n, 2)), rtol=1e-6, atol=1e-8
    )
    inverse = np.linalg.inv(dense).reshape(S, n, S, n)
    if system.exact:
        for s, block in enumerate(system.inverse_blocks()):
            np.testing.assert_allclose(block, inverse[s, :, s], rtol=1e-8, atol=1e-10)
    else:  # without a part of the coupling: an upper bound
        bound = np.einsum("sii->si", system.one_axis().inverse_blocks())
        assert (bound >= np.einsum("sisi->si", inverse) - 1e-9).all()


def test_chains_are_what_the_walk_connects() -> None:
    for axes, expected in (((True, False), [0, 1, 0, 1, 0, 1]), ((False, True), [0, 0, 1, 1, 2, 2])):
        _, walk, _, _ = example((3, 2), axes)
        assert walk.chain().tolist() == expected
    assert example((3, 2), (True, True))[1].chain().tolist() == [0] * 6
    assert example((3, 2), (False, False))[1].chain().tolist() == list(range(6))
