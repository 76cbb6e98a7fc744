"""Both ways to run a fit give the same; fits that go wrong say so and leave their neighbours alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rimetree.solve.algebra.threads import limited
from rimetree.solve.reduce.forms import form
from rimetree.solve.result.outcome import Outcome
from rimetree.solve.settings import Settings
from rimetree.solve.single.lm import solve
from rimetree.solve.single.problem import AtomValues, Equations, Problem
from rimetree.solve.single.retract import Retraction
from rimetree.status import Status

STATIONS = 6
P, Q = np.triu_indices(STATIONS, 1)
INTERVALS = 19  # two vectors and a part of a third


def gains(noise: float = 0.05, seed: int = 0) -> tuple[Problem, np.ndarray]:
    """V_pq = g_p conj(g_q) + noise on two joint cells per interval; the problem and the true gains."""
    rng = np.random.default_rng(seed)
    truth = (1 + 0.2 * rng.normal(size=(STATIONS, INTERVALS))) * np.exp(6j * rng.random((STATIONS, INTERVALS)))
    data = (truth[P] * truth[Q].conj())[:, None, None] * np.ones((1, 1, 2, 1))
    data = data + noise / np.sqrt(2) * (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape))
    shape = form(
        np.array([0]), np.array([1.0]), np.array([[0, 1]]), np.array([False, True]), np.stack([P, Q], 1),
        np.array([[0, 0, 2], [1, 0, 2]]),
    )  # fmt: skip
    w = np.sqrt(2) / noise
    R = np.full((len(P), 1, 1, 2, INTERVALS), w)
    y = -w * data
    equations = Equations(
        shape, (R, np.zeros_like(R)), (y.real.copy(), y.imag.copy()), np.zeros((len(P), INTERVALS)),
        np.full((len(P), INTERVALS), 4),
    )  # fmt: skip

    def atoms(theta: np.ndarray) -> AtomValues:
        u = np.repeat(theta.reshape(STATIONS, 2, 1, -1), 2, 2)
        one, zero = np.ones_like(u[:, 0]), np.zeros_like(u[:, 0])
        return u[:, 0].copy(), u[:, 1].copy(), np.stack([one, zero], 1), np.stack([zero, one], 1)

    n = 2 * STATIONS
    return Problem(
        (equations,), np.arange(n, dtype=np.int32).reshape(STATIONS, 2), np.repeat(np.arange(STATIONS), 2).astype(np.int32),
        Retraction(np.arange(0, n, 2), np.empty((0, 4), int)), atoms, True, n, INTERVALS,
    ), truth  # fmt: skip


def fit(problem: Problem, start: complex = 1, **options: object) -> tuple[np.ndarray, Outcome]:
    theta = np.zeros((problem.count, INTERVALS))
    theta[0::2], theta[1::2] = complex(start).real, complex(start).imag
    (part,) = problem.components()
    outcome = solve(part, theta, Settings(**options))  # type: ignore[arg-type]
    return theta, outcome


def test_linear_and_step_by_step_fits_are_equal_whatever_the_threads() -> None:
    problem, truth = gains()
    results = []
    for linear, threads in ((True, 1), (True, 2), (False, 1), (False, 2)):
        with limited(threads):
            results.append(fit(replace(problem, linear=linear)))
    theta, outcome = results[0]
    assert (outcome.status == Status.CONVERGED).all()
    for other, result in results[1:]:
        np.testing.assert_allclose(other, theta, rtol=1e-8, atol=1e-10)
        np.testing.assert_array_equal(result.iterations, outcome.iterations)
        np.testing.assert_allclose(result.variance, outcome.variance, rtol=1e-6)
    g = theta[0::2] + 1j * theta[1::2]
    phase = (truth * g.conj()).sum(0)
    np.testing.assert_allclose(g * phase / abs(phase), truth, atol=0.1)


@pytest.mark.parametrize("linear", [False, True])
def test_an_interval_that_is_not_finite_is_diverged_and_alone(linear: bool) -> None:
    problem, _ = gains()
    problem.equations[0].y[0][3, 0, 1, 9] = np.nan
    theta, outcome = fit(replace(problem, linear=linear))
    assert outcome.status[9] == Status.DIVERGED
    assert (np.delete(outcome.status, 9) == Status.CONVERGED).all()
    assert (theta[0::2, 9] == 1).all() and np.isnan(outcome.variance[:, 9]).all()


def test_block_steps_that_run_away_are_given_up() -> None:
    problem, truth = gains()
    mixed = replace(problem, blocks=np.arange(2 * STATIONS)[::-1].astype(np.int32) % 2, linear=True)  # not stations
    theta = np.stack([truth.real, truth.imag], 1).reshape(2 * STATIONS, INTERVALS) * 1.05
    (part,) = mixed.components()
    outcome = solve(part, theta, Settings())
    assert (outcome.status == Status.CONVERGED).all()
    assert (outcome.chi2 <= outcome.chi2_start).all()


def test_the_iteration_limit_is_reported() -> None:
    problem, _ = gains()
    outcome = fit(replace(problem, linear=True, multiplicative=False), max_iter=2)[1]
    assert (outcome.iterations <= 2).all()
    assert (outcome.status == Status.ITERATION_LIMIT).any()


def directions(order: np.ndarray) -> Problem:
    """V_pq = sum over two directions of g_p M conj(g_q) + noise, their models 0.9 alike; intervals in this order."""
    rng, cells, noise = np.random.default_rng(3), 8, 0.02
    shape = form(
        np.array([0, 1]), np.ones(2), np.array([[0, 1], [2, 3]]), np.array([False, True, False, True]),
        np.stack([P, Q, P + STATIONS, Q + STATIONS], 1), np.array([[0, 0, 2], [1, 0, 2], [2, 0, 2], [3, 0, 2]]),
    )  # fmt: skip

    def normal(*size: int) -> np.ndarray:
        return np.asarray(rng.normal(size=size) + 1j * rng.normal(size=size))

    truth = 1 + 0.2 * normal(2, STATIONS, INTERVALS)
    sky = normal(len(P), 2, cells, INTERVALS)
    sky[:, 1] = 0.9 * sky[:, 0] + 0.4 * sky[:, 1]
    seen = np.einsum("dps,pdjs->pjs", truth[:, P] * truth[:, Q].conj(), sky)
    w, n = np.sqrt(2) / noise, 4 * STATIONS
    R = (w * sky)[:, None][..., order]
    y = -w * (seen + noise / np.sqrt(2) * normal(*seen.shape))[:, None][..., order]
    count = np.full((len(P), INTERVALS), 2 * cells)
    equations = Equations(
        shape, (R.real.copy(), R.imag.copy()), (y.real.copy(), y.imag.copy()), np.zeros((len(P), INTERVALS)), count
    )

    def atoms(theta: np.ndarray) -> AtomValues:
        u = np.repeat(theta.reshape(2 * STATIONS, 2, 1, -1), cells, 2)
        one, zero = np.ones_like(u[:, 0]), np.zeros_like(u[:, 0])
        return u[:, 0].copy(), u[:, 1].copy(), np.stack([one, zero], 1), np.stack([zero, one], 1)

    return Problem(
        (equations,), np.arange(n, dtype=np.int32).reshape(-1, 2), np.repeat(np.arange(2 * STATIONS), 2).astype(np.int32),
        Retraction(np.arange(0, n, 2), np.empty((0, 4), int)), atoms, True, n, INTERVALS, linear=True,
    )  # fmt: skip


def test_block_steps_that_swing_apart_are_left_for_damped_ones() -> None:
    """Blocks that share much of their data drive each other apart: each interval goes on from the best that these steps had led
    to, whatever the intervals beside it do."""
    forward = np.arange(INTERVALS)
    theta, outcome = fit(directions(forward), start=2)
    assert (outcome.status == Status.CONVERGED).all()
    np.testing.assert_allclose(outcome.chi2 / outcome.dof, 1, atol=0.5)  # five standard deviations
    assert np.median(outcome.iterations) < 16, "most are near soon, and all block-Jacobi steps would be sixteen alone"
    other, again = fit(directions(forward[::-1]), start=2)
    np.testing.assert_array_equal(again.iterations[::-1], outcome.iterations)
    np.testing.assert_allclose(other[:, ::-1], theta, rtol=1e-9, atol=1e-12)
