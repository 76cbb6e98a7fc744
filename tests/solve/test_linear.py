"""Linear algebra in lanes against numpy's, matrix by matrix; a lane that fails does not disturb the others."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.solve.algebra.cholesky import cholesky, factor, inverse_diagonal, substitute, substitute_four, update
from rimetree.solve.algebra.linear import block_steps, damped_step, finish
from rimetree.solve.algebra.simd import LANES, Room

SIZES = [1, 2, 3, 4, 7, 12, 21, 86]


def normal_matrices(n: int, nulls: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(LANES, n, n) matrices J^T J, badly scaled, of rank n - nulls; packed (.., LANES); a gradient (n, LANES)."""
    rng = np.random.default_rng(seed)
    jac = rng.normal(size=(LANES, 2 * n + 3, n)) * 10.0 ** rng.uniform(-3, 3, n)
    for k in range(nulls):
        jac[:, :, k] = jac[:, :, -1 - k] * (k + 2)
    matrices = np.einsum("vij,vik->vjk", jac, jac)
    rows, cols = np.tril_indices(n)
    return matrices, np.ascontiguousarray(matrices[:, rows, cols].T), rng.normal(size=(n, LANES))


@pytest.mark.parametrize("n", SIZES)
def test_damped_steps_solve_the_damped_equations(n: int) -> None:
    matrices, H, g = normal_matrices(n)
    damping = 10.0 ** -np.arange(1.0, LANES + 1)[None]
    delta, decrease = np.empty_like(g), np.empty((1, LANES))
    damped_step(H, g, damping, delta, decrease, np.empty_like(H), np.empty_like(g))
    for v, own in enumerate(matrices):
        x = -np.linalg.solve(own + damping[0, v] * np.diag(np.diag(own)), g[:, v])
        scale = np.sqrt(np.diag(own))
        np.testing.assert_allclose(delta[:, v] * scale, x * scale, rtol=1e-8, atol=1e-10)
        assert decrease[0, v] == pytest.approx(-2 * g[:, v] @ x - x @ own @ x, rel=1e-6)


def test_an_unknown_without_data_stays_and_a_lane_that_fails_is_alone() -> None:
    matrices, H, g = normal_matrices(5)
    dense = matrices.copy()
    dense[2, 3, :] = dense[2, :, 3] = 0
    dense[4] = -np.eye(5)
    dense[6, 0, 0] = np.nan
    rows, cols = np.tril_indices(5)
    H, g[3, 2] = np.ascontiguousarray(dense[:, rows, cols].T), 0
    delta, decrease = np.empty_like(g), np.empty((1, LANES))
    damped_step(H, g, np.full((1, LANES), 1e-3), delta, decrease, np.empty_like(H), np.empty_like(g))
    assert delta[3, 2] == 0
    assert np.isfinite(np.delete(delta, [4, 6], 1)).all()
    variance, rank, condition = np.empty_like(g), np.empty(LANES, np.int32), np.empty(LANES)
    null = finish(H, variance, rank, condition, Room())
    assert rank.tolist() == [5, 5, 4, 5, 0, 5, 0, 5] or rank[[0, 1, 2, 3, 5, 7]].tolist() == [5, 5, 4, 5, 5, 5]
    assert np.isnan(variance[3, 2])
    assert not null[:, :, 6].any() or not np.isfinite(null[:, :, 6]).all()
    np.testing.assert_allclose(variance[:, 0], np.diag(np.linalg.inv(matrices[0])), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 33, 86])
@pytest.mark.parametrize("team", [False, True])
def test_factors_and_inverses_are_numpys_whoever_works_on_them(n: int, team: bool) -> None:
    matrices, low, q = normal_matrices(n)
    factor(low, n, team)
    rows, cols = np.tril_indices(n)
    for v, own in enumerate(matrices):
        expected, size = np.linalg.cholesky(own), np.sqrt(np.diag(own))
        expected[np.diag_indices(n)] = 1 / np.diag(expected)
        unit = np.where(rows == cols, size[rows], 1 / size[rows])
        np.testing.assert_allclose(low[:, v] * unit, expected[rows, cols] * unit, rtol=1e-8, atol=1e-10)
    diagonal = np.empty_like(q)
    inverse_diagonal(low, n, diagonal, team)
    for v, own in enumerate(matrices):
        np.testing.assert_allclose(diagonal[:, v], np.diag(np.linalg.inv(own)), rtol=1e-7)


@pytest.mark.parametrize("n", [*SIZES, 65, 131])
def test_substitution_solves_one_system_or_four_as_numpy_does(n: int) -> None:
    rng = np.random.default_rng(n)
    jac = rng.normal(size=(LANES, 2 * n + 3, n))
    matrices, (rows, cols) = np.einsum("vij,vik->vjk", jac, jac), np.tril_indices(n)
    low, x = np.ascontiguousarray(matrices[:, rows, cols].T), rng.normal(size=(4, n, LANES))
    expected = np.linalg.solve(matrices, x.transpose(2, 1, 0)).transpose(2, 1, 0)
    cholesky(low, n)
    one = x[0].copy()
    substitute(low, one, n)
    substitute_four(low, x, n)
    np.testing.assert_allclose(one, expected[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_an_updated_factor_is_that_of_the_changed_matrix(n: int) -> None:
    rng = np.random.default_rng(n)
    matrices, q = np.eye(n) * rng.uniform(1, 2, (LANES, 1, 1)), rng.normal(size=(3, n, LANES))
    rows, cols = np.tril_indices(n)
    own = np.ascontiguousarray(matrices[:, rows, cols].T)
    changed = np.ascontiguousarray((matrices + np.einsum("civ,cjv->vij", q, q))[:, rows, cols].T)
    cholesky(own, n)
    cholesky(changed, n)
    update(own, q.copy())
    np.testing.assert_allclose(own, changed, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_block_steps_solve_every_block_alone(n: int) -> None:
    matrices, H, g = normal_matrices(n)
    blocks = np.arange(n) % max(1, n // 3)
    order, delta = np.argsort(blocks, kind="stable"), np.empty_like(g)
    block_steps(H, g, order, np.concatenate([[0], np.cumsum(np.bincount(blocks))]), delta)
    for v, own in enumerate(matrices):
        for b in range(blocks.max() + 1):
            i = np.flatnonzero(blocks == b)
            x = -np.linalg.solve(own[np.ix_(i, i)] + 1e-6 * np.diag(np.diag(own)[i]), g[i, v])
            np.testing.assert_allclose(delta[i, v], x, rtol=1e-5)


@pytest.mark.parametrize(("n", "nulls"), [(1, 0), (2, 1), (7, 0), (7, 2), (20, 1), (21, 4), (86, 9)])
def test_rank_null_space_and_errors_are_those_of_the_pseudo_inverse(n: int, nulls: int) -> None:
    matrices, H, _ = normal_matrices(n, nulls)
    variance, rank, condition = np.empty((n, LANES)), np.empty(LANES, np.int32), np.empty(LANES)
    null = finish(H, variance, rank, condition, Room())
    assert (rank == n - nulls).all()
    for v, own in enumerate(matrices):
        scale = 1 / np.sqrt(np.diag(own))
        scaled = own * np.outer(scale, scale)
        covariance = np.linalg.pinv(scaled, rcond=1e-8, hermitian=True) * np.outer(scale, scale)
        np.testing.assert_allclose(variance[:, v], np.diag(covariance), rtol=1e-4)
        values = np.linalg.eigvalsh(scaled)
        assert condition[v] == pytest.approx(values[-1] / values[nulls], rel=0.2)
        for c in range(nulls):
            direction = null[:, c, v]
            assert np.linalg.norm(direction) == pytest.approx(1)
            assert np.linalg.norm(scaled @ (direction / scale)) < 1e-4 * np.linalg.norm(direction / scale)
        assert not null[:, nulls:, v].any()
