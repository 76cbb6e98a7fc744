"""Bounds and priors of the solver, against scipy's bounded least squares and numpy's inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares, lsq_linear

from rimetree.solve.reduce.forms import form
from rimetree.solve.settings import Settings
from rimetree.solve.single.bounds import Bounds, Constraints, Prior
from rimetree.solve.single.lm import solve
from rimetree.solve.single.problem import AtomValues, Equations, Problem
from rimetree.solve.single.retract import Retraction
from rimetree.status import Status


def linear_problem(A: np.ndarray, b: np.ndarray, constraints: Constraints | None) -> Problem:
    """|A x - b|^2 for real A (intervals, data, n), b (intervals, data)."""
    S, data, n = A.shape
    numbers = np.arange(n)
    shape = form(
        numbers, np.ones(n), numbers[:, None], np.zeros(n, bool), numbers[None],
        np.stack([numbers, np.zeros(n, int), np.ones(n, int)], 1),
    )  # fmt: skip
    q, r = np.linalg.qr(A)
    y = -np.einsum("sdi,sd->is", q, b)
    rest = (b**2).sum(1) - (y**2).sum(0)
    R = r.transpose(1, 2, 0)[None, :, :, None]
    eq = Equations(
        shape, (np.ascontiguousarray(R), np.zeros(R.shape)), (y[None, :, None].copy(), np.zeros((1, n, 1, S))),
        rest[None], np.full((1, S), data),
    )  # fmt: skip

    def atoms(theta: np.ndarray) -> AtomValues:
        u = theta[:, None].copy()
        one, zero = np.ones((n, 1, 1, S)), np.zeros((n, 1, 1, S))
        return u, np.zeros(u.shape), one, zero

    retract = Retraction(np.empty(0, int), np.empty((0, 4), int))
    blocks = np.arange(n, dtype=np.int32)
    return Problem(
        (eq,), blocks[:, None].copy(), blocks, retract, atoms, False, n, S, linear=True, constraints=constraints
    )


def boxed(lower: np.ndarray, upper: np.ndarray, intervals: int) -> Constraints:
    own = Bounds(np.arange(len(lower)), np.zeros(len(lower), bool), lower, upper)
    return Constraints(own, Constraints.none(intervals).prior)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 7), seed=st.integers(0, 10**6), tilt=st.sampled_from([0.0, 3.0]))
def test_box_minimum_is_that_of_lsq_linear(n: int, seed: int, tilt: float) -> None:
    """Correlated columns (`tilt`) are what fools projected steps."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, 2 * n + 3, n)) + tilt * rng.normal(size=(3, 2 * n + 3, 1))
    b = rng.normal(size=(3, 2 * n + 3)) * 3
    lower, upper = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
    lower[rng.uniform(size=n) < 0.2], upper[rng.uniform(size=n) < 0.2] = -np.inf, np.inf
    problem = linear_problem(A, b, boxed(lower, upper, 3))
    theta = np.zeros((n, 3))
    (outcome,) = [solve(part, theta, Settings()) for part in problem.components()]
    assert (outcome.status == Status.CONVERGED).all()
    for s in range(3):
        best = lsq_linear(A[s], b[s], (lower, upper), method="bvls", tol=1e-14)
        assert outcome.chi2[s] == pytest.approx(2 * best.cost, rel=1e-6)
        assert (theta[:, s] >= lower).all() and (theta[:, s] <= upper).all()
        free = (theta[:, s] > lower) & (theta[:, s] < upper)
        assert (outcome.variance[~free, s] == 0).all() and outcome.rank[s] == free.sum()
        if free.any():
            covariance = np.linalg.inv(A[s][:, free].T @ A[s][:, free])
            np.testing.assert_allclose(outcome.variance[free, s], np.diag(covariance), rtol=1e-5)


def test_priors_are_rows_of_the_design() -> None:
    """Three unknowns, one without prior, one that only the prior tells from the first."""
    rng = np.random.default_rng(3)
    A = rng.normal(size=(2, 6, 3))
    A[..., 2] = A[..., 0]
    b = rng.normal(size=(2, 6))
    mean, precision = np.array([[0.0], [0.0], [0.7]]), np.array([[0.0], [0.0], [25.0]])
    prior = Prior(np.repeat(mean, 2, 1), np.repeat(precision, 2, 1))
    problem = linear_problem(A, b, Constraints(Constraints.none(2).bounds, prior))
    theta = np.zeros((3, 2))
    (outcome,) = [solve(part, theta, Settings()) for part in problem.components()]
    assert (outcome.status == Status.CONVERGED).all() and (outcome.rank == 3).all()
    assert (outcome.dof == 6 + 1 - 3).all()
    for s in range(2):
        whole, right = np.vstack([A[s], [0, 0, 5]]), np.append(b[s], 5 * 0.7)
        best, chi2, *_ = np.linalg.lstsq(whole, right, rcond=None)
        np.testing.assert_allclose(theta[:, s], best, atol=1e-4)
        assert outcome.chi2[s] == pytest.approx(chi2[0], rel=1e-6)
        np.testing.assert_allclose(outcome.variance[:, s], np.diag(np.linalg.inv(whole.T @ whole)), rtol=1e-6)


def gains(modulus: tuple[float, float], seed: int) -> tuple[Problem, np.ndarray, np.ndarray, np.ndarray]:
    """Six complex gains with bounded amplitudes, one interval; P, Q are all pairs."""
    rng = np.random.default_rng(seed)
    P, Q = np.triu_indices(6, 1)
    g = rng.uniform(0.5, 1.5, 6) * np.exp(2j * np.pi * rng.uniform(size=6))
    model = 3 + rng.normal(size=len(P)) + 1j * rng.normal(size=len(P))
    data = g[P] * model * g[Q].conj() + 0.1 * (rng.normal(size=len(P)) + 1j * rng.normal(size=len(P)))
    shape = form(
        np.array([0]), np.array([1.0]), np.array([[0, 1]]), np.array([False, True]), np.stack([P, Q], 1),
        np.array([[0, 0, 2], [1, 0, 2]]),
    )  # fmt: skip
    R, y = model.reshape(-1, 1, 1, 1, 1), -data.reshape(-1, 1, 1, 1)
    eq = Equations(
        shape, (R.real.copy(), R.imag.copy()), (y.real.copy(), y.imag.copy()),
        np.zeros((len(P), 1)), np.full((len(P), 1), 2),
    )  # fmt: skip

    def atoms(theta: np.ndarray) -> AtomValues:
        u = theta.reshape(6, 2, 1, -1)
        one, zero = np.ones(u[:, 0].shape), np.zeros(u[:, 0].shape)
        return u[:, 0].copy(), u[:, 1].copy(), np.stack([one, zero], 1), np.stack([zero, one], 1)

    own = Bounds(np.arange(0, 12, 2), np.ones(6, bool), np.full(6, modulus[0]), np.full(6, modulus[1]))
    unknown, blocks = np.arange(12, dtype=np.int32).reshape(6, 2), np.repeat(np.arange(6), 2).astype(np.int32)
    retract = Retraction(np.arange(0, 12, 2), np.empty((0, 4), int))
    constraints = Constraints(own, Constraints.none(1).prior)
    problem = Problem((eq,), unknown, blocks, retract, atoms, True, 12, 1, linear=True, constraints=constraints)
    return problem, model, data, g


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("modulus", [(0.8, 1.2), (0.95, 1.05), (1.1, np.inf)])
def test_bounded_amplitudes_reach_the_minimum_in_polar_coordinates(modulus: tuple[float, float], seed: int) -> None:
    problem, model, data, truth = gains(modulus, seed)
    theta = np.zeros((12, 1))
    theta[0::2] = np.clip(1, *modulus)
    (outcome,) = [solve(part, theta, Settings()) for part in problem.components()]
    P, Q = np.triu_indices(6, 1)

    def residual(x: np.ndarray) -> np.ndarray:
        g = x[:6] * np.exp(1j * x[6:])
        r = g[P] * model * g[Q].conj() - data
        return np.concatenate([r.real, r.imag])

    start = np.concatenate([np.clip(abs(truth), modulus[0] + 1e-6, modulus[1] - 1e-6), np.angle(truth)])
    within = (np.repeat([modulus[0], -np.inf], 6), np.repeat([modulus[1], np.inf], 6))
    best = least_squares(residual, start, bounds=within, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=2000)
    found = theta[0::2, 0] + 1j * theta[1::2, 0]
    assert outcome.status[0] == Status.CONVERGED
    assert outcome.chi2[0] == pytest.approx(2 * best.cost, rel=1e-5)
    assert (abs(found) > modulus[0] * (1 - 1e-9)).all() and (abs(found) < modulus[1] * (1 + 1e-9)).all()
    held = np.isclose(abs(found), modulus[0], rtol=1e-6) | np.isclose(abs(found), modulus[1], rtol=1e-6)
    assert held.any() and outcome.rank[0] == 12 - held.sum() - 1
    step = 1e-6  # errors: the phases of all, the amplitudes of those that are free
    x = np.concatenate([abs(found), np.angle(found)])
    jac = np.stack([(residual(x + step * e) - residual(x - step * e)) / (2 * step) for e in np.eye(12)], 1)
    jac[:, 6:] /= abs(found)  # so that each unknown is a length in the complex plane
    jac = jac[:, np.append(~held, np.ones(6, bool))]
    scale = 1 / np.sqrt((jac**2).sum(0))
    trace = (np.diag(np.linalg.pinv((jac * scale).T @ (jac * scale), rcond=1e-8)) * scale**2).sum()
    assert outcome.variance.sum() == pytest.approx(trace, rel=0.1)  # the gauges of least norm differ a little
