"""The fit against scipy's least_squares, numpy's pseudo-inverse, and known truths."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import least_squares

from rimetree.solve.reduce.forms import form
from rimetree.solve.settings import Settings
from rimetree.solve.single.lm import solve
from rimetree.solve.single.problem import AtomValues, Equations, Problem
from rimetree.solve.single.retract import Retraction
from rimetree.status import Status

P, Q = np.triu_indices(5, 1)


def gain_problem(seed: int, intervals: int, noise: float) -> tuple[Problem, np.ndarray, np.ndarray, np.ndarray]:
    """One complex gain per antenna: V_pq = g_p M_pq g_q^* + noise. Returns problem, model, data, truth."""
    rng = np.random.default_rng(seed)
    truth = (1 + 0.2 * rng.normal(size=(5, intervals))) * np.exp(2j * np.pi * rng.uniform(size=(5, intervals)))
    model = 3 + rng.normal(size=(len(P), intervals)) + 1j * rng.normal(size=(len(P), intervals))
    data = truth[P] * model * truth[Q].conj()
    data += noise / np.sqrt(2) * (rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape))
    shape = form(
        np.array([0]), np.array([1.0]), np.array([[0, 1]]), np.array([False, True]), np.stack([P, Q], 1),
        np.array([[0, 0, 2], [1, 0, 2]]),
    )  # fmt: skip
    weight = np.sqrt(2) / noise
    r, y = weight * model.reshape(-1, 1, 1, 1, intervals), -weight * data.reshape(-1, 1, 1, intervals)
    equations = Equations(
        shape,
        (r.real.copy(), r.imag.copy()),
        (y.real.copy(), y.imag.copy()),
        np.zeros(model.shape),
        np.full(model.shape, 2),
    )

    def atoms(theta: np.ndarray) -> AtomValues:
        u = theta.reshape(5, 2, 1, -1)
        one, zero = np.ones(u[:, 0].shape), np.zeros(u[:, 0].shape)
        return u[:, 0].copy(), u[:, 1].copy(), np.stack([one, zero], 1), np.stack([zero, one], 1)

    retract = Retraction(np.arange(0, 10, 2), np.empty((0, 4), int))
    blocks = np.repeat(np.arange(5), 2).astype(np.int32)
    unknown = np.arange(10, dtype=np.int32).reshape(5, 2)
    return Problem((equations,), unknown, blocks, retract, atoms, True, 10, intervals), model, data, truth


def residuals(x: np.ndarray, model: np.ndarray, data: np.ndarray, noise: float) -> np.ndarray:
    g = x[0::2] + 1j * x[1::2]
    r = (g[P] * model * g[Q].conj() - data) * np.sqrt(2) / noise
    return np.concatenate([r.real, r.imag])


def test_reaches_the_minimum_that_scipy_finds() -> None:
    problem, model, data, truth = gain_problem(0, 4, 0.05)
    theta = np.zeros((10, 4))
    theta[0::2] = 1
    (part,) = problem.components()
    outcome = solve(part, theta, Settings())
    assert (outcome.status == Status.CONVERGED).all()
    for s in range(4):
        start = np.stack([truth[:, s].real, truth[:, s].imag], 1).ravel()
        best = least_squares(residuals, start, args=(model[:, s], data[:, s], 0.05), xtol=1e-14, ftol=1e-14, gtol=1e-14)
        assert outcome.chi2[s] == pytest.approx(2 * best.cost, rel=1e-5)


def test_rank_and_errors_are_those_of_the_pseudo_inverse() -> None:
    problem, model, data, _ = gain_problem(1, 2, 0.1)
    theta = np.zeros((10, 2))
    theta[0::2] = 1
    (part,) = problem.components()
    outcome = solve(part, theta, Settings())
    for s in range(2):
        step = 1e-6
        jac = np.stack(
            [
                (residuals(theta[:, s] + step * e, model[:, s], data[:, s], 0.1)
                 - residuals(theta[:, s] - step * e, model[:, s], data[:, s], 0.1)) / (2 * step)
                for e in np.eye(10)
            ], 1,
        )  # fmt: skip
        g = theta[0::2, s] + 1j * theta[1::2, s]
        for k, unit in enumerate(g / abs(g)):  # errors are along and across each gain
            turn = np.array([[unit.real, -unit.imag], [unit.imag, unit.real]])
            jac[:, 2 * k : 2 * k + 2] = jac[:, 2 * k : 2 * k + 2] @ turn
        scale = 1 / np.sqrt((jac**2).sum(0))
        covariance = np.linalg.pinv((jac * scale).T @ (jac * scale), rcond=1e-8) * np.outer(scale, scale)
        np.testing.assert_allclose(outcome.variance[:, s], np.diag(covariance), rtol=1e-3)
        assert outcome.rank[s] == 9
        direction = np.stack([-theta[1::2, s], theta[0::2, s]], 1).ravel()  # a common phase
        cosine = abs(direction @ outcome.null[:, 0, s]) / np.linalg.norm(direction)
        assert cosine == pytest.approx(1, abs=1e-6)


def test_antenna_without_data_leaves_the_others_alone() -> None:
    problem, _, _, truth = gain_problem(2, 3, 0.01)
    eq = problem.equations[0]
    dead = (P == 4) | (Q == 4)
    for array in (*eq.R, *eq.y):
        array[dead, ..., 1] = 0
    eq.data[dead, 1] = 0
    theta = np.zeros((10, 3))
    theta[0::2] = 1
    (part,) = problem.components()
    outcome = solve(part, theta, Settings())
    assert (outcome.status == Status.CONVERGED).all()
    assert np.isnan(outcome.variance[8:, 1]).all() and np.isfinite(outcome.variance[:8, 1]).all()
    g = theta[0::2, 1] + 1j * theta[1::2, 1]
    assert g[4] == 1
    phase = (truth[:4, 1] * g[:4].conj()).sum()
    np.testing.assert_allclose(g[:4] * phase / abs(phase), truth[:4, 1], atol=0.02)


def test_intervals_without_enough_data_say_so() -> None:
    problem, *_ = gain_problem(3, 3, 0.1)
    eq = problem.equations[0]
    for array in (*eq.R, *eq.y):
        array[:, ..., 0] = 0
        array[1:, ..., 1] = 0
    eq.data[:, 0] = 0
    eq.data[1:, 1] = 0
    theta = np.zeros((10, 3))
    theta[0::2] = 1
    (part,) = problem.components()
    outcome = solve(part, theta, Settings())
    assert [Status(s) for s in outcome.status] == [Status.NO_DATA, Status.TOO_FEW_DATA, Status.CONVERGED]
    assert (theta[0::2, :2] == 1).all()


def test_disconnected_arrays_are_separate_components() -> None:
    problem, *_ = gain_problem(4, 1, 0.1)
    keep = np.flatnonzero((P < 2) == (Q < 2))
    split = Problem(
        (problem.equations[0].members(keep),),
        problem.atom_unknown,
        problem.blocks,
        problem.retract,
        problem.atoms,
        True,
        10,
        1,
    )
    assert sorted(part.count for part in split.components()) == [4, 6]


def test_matrix_steps_are_right_multiplications() -> None:
    rng = np.random.default_rng(5)
    g, d = (rng.normal(size=(4, 3)) + 1j * rng.normal(size=(4, 3)) for _ in range(2))
    d *= 0.05
    theta, delta = (np.stack([x.real, x.imag], 1).reshape(8, 3) for x in (g, d))
    moved = Retraction(np.empty(0, int), np.array([[0, 2, 4, 6]]))(theta, delta)
    for s in range(3):
        expected = g[:, s].reshape(2, 2) @ expm(np.linalg.solve(g[:, s].reshape(2, 2), d[:, s].reshape(2, 2)))
        np.testing.assert_allclose((moved[0::2, s] + 1j * moved[1::2, s]).reshape(2, 2), expected, rtol=1e-12)
