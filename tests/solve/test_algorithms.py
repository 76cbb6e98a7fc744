"""Every algorithm and backend against the others: same normal equations to rounding, same minimum."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from rimetree.solve.algebra.linear import LANES
from rimetree.solve.reduce.forms import form
from rimetree.solve.settings import Settings
from rimetree.solve.single.bounds import Bounds, Constraints, Prior
from rimetree.solve.single.lm import solve
from rimetree.solve.single.normal import normal, pack
from rimetree.solve.single.plain import jax_normal, numpy_normal
from rimetree.solve.single.problem import AtomValues, Equations, Problem
from rimetree.solve.single.retract import Retraction
from rimetree.status import Status

ANTENNAS = 5
P, Q = np.triu_indices(ANTENNAS, 1)


def jones_problem(seed: int, intervals: int = 3, cells: int = 2, noise: float = 0.05) -> tuple[Problem, np.ndarray]:
    """The first row of full Jones matrices, J_p X J_q^H with two complex unknowns per antenna, and a real scale that
    all share: products of three factors, four planes, two rows of pseudo-visibilities. Returns problem and truth."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)  # noqa: E731
    truth = np.zeros((4 * ANTENNAS + 1, intervals))
    jones = np.array([1.0, 0.0])[None, :, None] + 0.3 * draw(ANTENNAS, 2, intervals)
    truth[:-1] = np.stack([jones.real, jones.imag], 2).reshape(-1, intervals)
    truth[-1] = 1.3
    wide = draw(len(P), 12, 4, cells, intervals)  # 12 data per cell, 4 planes
    plane = np.arange(4)
    shape = form(
        plane, np.array([1.0, 1.0, 0.5j, -1.0]),
        np.stack([plane // 2, 2 + plane % 2, np.full(4, 4)], 1), np.array([False, False, True, True, False]),
        np.stack([2 * P, 2 * P + 1, 2 * Q, 2 * Q + 1, np.full(len(P), 2 * ANTENNAS)], 1),
        np.array([[0, 0, 2], [1, 0, 2], [2, 0, 2], [3, 0, 2], [4, 0, 1]]),
    )  # fmt: skip
    u = [jones[P, 0], jones[P, 1], jones[Q, 0].conj(), jones[Q, 1].conj()]
    phi = 1.3 * np.stack([c * u[a] * u[2 + b] for (a, b), c in zip(np.ndindex(2, 2), [1, 1, 0.5j, -1], strict=True)], 1)
    data = np.einsum("ndajs,nas->ndjs", wide, phi) + noise / np.sqrt(2) * draw(len(P), 12, cells, intervals)
    w = np.sqrt(2) / noise
    q, R = np.linalg.qr(w * wide.transpose(0, 3, 4, 1, 2))
    y = np.einsum("njsdk,ndjs->nkjs", q.conj(), -w * data)
    rest = ((w * abs(data)) ** 2).sum((1, 2)) - (abs(y) ** 2).sum((1, 2))
    R = R.transpose(0, 3, 4, 1, 2)
    equations = Equations(
        shape, (R.real.copy(), R.imag.copy()), (y.real.copy(), y.imag.copy()), rest,
        np.full((len(P), intervals), 24 * cells),
    )  # fmt: skip

    def atoms(theta: np.ndarray) -> AtomValues:
        S = theta.shape[1]
        pairs = theta[:-1].reshape(2 * ANTENNAS, 2, 1, S)
        u = np.concatenate([pairs[:, 0] + 1j * pairs[:, 1], theta[-1:, None] + 0j])
        t = np.zeros((len(u), 2, 1, S), complex)
        t[:, 0], t[:-1, 1] = 1, 1j
        u, t = (np.repeat(a, cells, -2) for a in (u, t))
        return u.real.copy(), u.imag.copy(), t.real.copy(), t.imag.copy()

    unknown = np.full((2 * ANTENNAS + 1, 2), -1, np.int32)
    unknown[:-1] = np.arange(4 * ANTENNAS).reshape(-1, 2)
    unknown[-1, 0] = 4 * ANTENNAS
    blocks = np.append(np.repeat(np.arange(ANTENNAS), 4), ANTENNAS).astype(np.int32)
    retract = Retraction(np.arange(0, 4 * ANTENNAS, 2), np.empty((0, 4), int))
    count = 4 * ANTENNAS + 1
    problem = Problem((equations,), unknown, blocks, retract, atoms, True, count, intervals, linear=True)
    return replace(problem, unknowns=np.arange(count)), truth


def by_kernels(problem: Problem, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H (packed), g and chi2 of all intervals (at most 8)."""
    t, n = problem.tables(), problem.count
    data = np.zeros((int(t.first[-1, 6]), LANES))
    for eq, first in zip(problem.equations, t.first[:, 6], strict=False):
        pack(*eq.R, *eq.y, 0, data, first)
    wide = [np.zeros((*a.shape[:-1], LANES)) for a in problem.atoms(theta)]
    for into, own in zip(wide, problem.atoms(theta), strict=True):
        into[..., : problem.intervals] = own
    H, g, chi2 = np.empty((n * (n + 1) // 2, LANES)), np.empty((n, LANES)), np.empty((1, LANES))
    normal(t, data, *wide, H, g, chi2, False, 0, 1)
    return H[:, : problem.intervals], g[:, : problem.intervals], chi2[0, : problem.intervals]


@pytest.mark.parametrize("budget", [1 << 24, 1])
@pytest.mark.parametrize("by_jax", [False, True])
def test_normal_equations_agree_to_rounding(by_jax, budget, monkeypatch) -> None:
    monkeypatch.setattr("rimetree.solve.single.plain._BUDGET", budget)
    problem, truth = jones_problem(0)
    theta = truth + 0.1 * np.random.default_rng(1).normal(size=truth.shape)
    found = jax_normal(problem)(theta) if by_jax else numpy_normal(problem)(problem.atoms(theta))
    for ours, plain in zip(by_kernels(problem, theta), found, strict=True):
        np.testing.assert_allclose(plain, ours, rtol=1e-11, atol=1e-11 * abs(ours).max())


def test_second_derivatives_are_those_of_chi2() -> None:
    """Half the Hessian by differences of the gradient."""
    problem, truth = jones_problem(2, intervals=2, noise=0.5)
    theta = truth + 0.2 * np.random.default_rng(1).normal(size=truth.shape)
    packed, _, _ = numpy_normal(problem, second=True)(problem.atoms(theta))
    n, step = problem.count, 1e-5
    slope = lambda x: numpy_normal(problem)(problem.atoms(x))[1]  # noqa: E731
    for i in range(n):
        move = np.zeros_like(theta)
        move[i] = step
        column = (slope(theta + move) - slope(theta - move)) / (2 * step)
        for j in range(n):
            a, b = max(i, j), min(i, j)
            np.testing.assert_allclose(packed[a * (a + 1) // 2 + b], column[j], atol=1e-6 * abs(packed).max())


def run(problem: Problem, truth: np.ndarray, settings: Settings):
    theta = np.zeros(truth.shape)
    theta[0:-1:4] = theta[-1] = 1
    return theta, solve(problem, theta, settings)


OTHERS = [Settings(algorithm="scipy"), Settings(algorithm="newton"), Settings(backend="jax")]
OTHERS += [Settings(algorithm="ceres")] if find_spec("pyceres") else []  # not a package that rimetree asks for


@pytest.mark.parametrize("settings", OTHERS, ids=lambda s: f"{s.algorithm}-{s.backend}")
@pytest.mark.parametrize("seed", range(3))
def test_all_reach_the_same_minimum(settings: Settings, seed: int) -> None:
    """chi2, rank and errors of everyone agree with the default's."""
    problem, truth = jones_problem(seed)
    _, best = run(problem, truth, Settings(tol=1e-12))
    _, other = run(problem, truth, replace(settings, tol=1e-9))
    assert (best.status == Status.SINGULAR).all() and (other.status == best.status).all()  # gains against the scale
    np.testing.assert_allclose(other.chi2, best.chi2, rtol=1e-6)
    np.testing.assert_allclose(other.chi2_start, best.chi2_start, rtol=1e-9)
    np.testing.assert_array_equal(other.rank, best.rank)
    np.testing.assert_array_equal(other.dof, best.dof)


@pytest.mark.parametrize("settings", [Settings(), *OTHERS], ids=lambda s: f"{s.algorithm}-{s.backend}")
@pytest.mark.parametrize("top", [1.2, np.inf])
def test_all_know_bounds_and_priors(settings: Settings, top: float) -> None:
    """Every unknown with a weak prior around 0.9 of the truth, and the shared scale kept below `top`."""
    if settings.algorithm == "ceres":
        top = np.inf  # a run refuses bounds with Ceres
    problem, truth = jones_problem(4)
    bounds = Bounds(np.array([problem.count - 1]), np.array([False]), np.array([-np.inf]), np.array([top]))
    prior = Prior(truth * 0.9, np.full(truth.shape, 4.0))
    problem = replace(problem, constraints=Constraints(bounds, prior))
    theta, outcome = run(problem, truth, replace(settings, tol=1e-8, max_iter=200))
    reference, best = run(problem, truth, Settings(algorithm="scipy", tol=1e-12))
    assert (outcome.status == Status.CONVERGED).all()
    np.testing.assert_allclose(outcome.chi2, best.chi2, rtol=1e-7)
    np.testing.assert_allclose(theta, reference, atol=1e-4)
    if settings.algorithm != "newton":  # whose errors are from the observed second derivatives
        np.testing.assert_allclose(outcome.variance, best.variance, rtol=1e-3)
    assert (theta[-1] <= top).all() and (outcome.dof == 24 * 2 * len(P) + problem.count - outcome.rank).all()
