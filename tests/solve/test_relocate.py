"""What chi-squared would be with one station elsewhere, against chi-squared worked out anew; and stations that are far off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rimetree.solve.reduce.forms import form
from rimetree.solve.single.problem import AtomValues, Equations, Problem
from rimetree.solve.single.relocate import Stations, relocated
from rimetree.solve.single.retract import Retraction

STATIONS, CELLS, INTERVALS = 5, 8, 3
P, Q = np.triu_indices(STATIONS, 1)
X = np.linspace(-0.5, 0.5, CELLS)[:, None]
ALL = np.arange(INTERVALS)
ANYTHING = np.full(INTERVALS, 1e-6)


def complex_normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def delays(theta: np.ndarray) -> AtomValues:
    """exp(i (2 pi d x + o)) of unknowns d, o of each station in turn, and derivatives."""
    d, o = theta[0::2, None], theta[1::2, None]
    u = np.exp(1j * (2 * np.pi * d * X + o))
    t = np.stack([2j * np.pi * X * u, 1j * u], 1)
    return u.real, u.imag, t.real, t.imag


def rotations(theta: np.ndarray) -> AtomValues:
    """cos and sin of one unknown a of each station times 1 + x, in turn."""
    angle = theta[:, None] * (1 + X)
    u = np.stack([np.cos(angle), np.sin(angle)], 1).reshape(-1, CELLS, theta.shape[1])
    t = np.stack([-(1 + X) * np.sin(angle), (1 + X) * np.cos(angle)], 1).reshape(u.shape)[:, None]
    return u, 0 * u, t, 0 * t


def problem(
    kind: str, truth: np.ndarray, noise: float, seed: int
) -> tuple[Problem, Callable[[np.ndarray], np.ndarray]]:
    """A problem whose data are those of `truth` (unknowns, INTERVALS), and chi2 (INTERVALS) of any unknowns, worked out by itself."""
    rng = np.random.default_rng(seed)
    sky, error = complex_normal(rng, 2, len(P), CELLS, INTERVALS)
    if kind == "delays":
        shape = form(
            np.array([0]), np.array([1.0]), np.array([[0, 1]]), np.array([False, True]), np.stack([P, Q], 1),
            np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]]),
        )  # fmt: skip
        unknown, blocks, atoms = np.arange(2 * STATIONS).reshape(-1, 2), np.repeat(np.arange(STATIONS), 2), delays
    else:  # cos a_p cos a_q + 0.5 sin a_p sin a_q
        shape = form(
            np.array([0, 0]), np.array([1.0, 0.5]), np.array([[0, 1], [2, 3]]), np.array([False] * 4),
            np.stack([2 * P, 2 * Q, 2 * P + 1, 2 * Q + 1], 1), np.array([[f, 0, 1] for f in range(4)]),
        )  # fmt: skip
        unknown, blocks, atoms = np.repeat(np.arange(STATIONS), 2)[:, None], np.arange(STATIONS), rotations

    def model(theta: np.ndarray) -> np.ndarray:
        ur, ui = atoms(theta)[:2]
        u = ur + 1j * ui
        if kind == "delays":
            return np.asarray(u[P] * sky * u[Q].conj())
        return np.asarray((u[2 * P] * u[2 * Q] + 0.5 * u[2 * P + 1] * u[2 * Q + 1]) * sky)

    data = model(truth) + noise * error
    split = lambda a: (a.real.copy(), a.imag.copy())  # noqa: E731
    equations = Equations(
        shape, split(sky[:, None, None]), split(-data[:, None]), np.zeros((len(P), INTERVALS)),
        np.full((len(P), INTERVALS), 2 * CELLS),
    )  # fmt: skip
    whole = Problem(
        (equations,), unknown.astype(np.int32), blocks.astype(np.int32),
        Retraction(np.empty(0, int), np.empty((0, 4), int)), atoms, False, len(blocks), INTERVALS,
    )  # fmt: skip
    (part,) = whole.components()
    return part, lambda theta: (np.abs(model(theta) - data) ** 2).sum((0, 1))


@pytest.mark.parametrize("kind", ["delays", "rotations"])
def test_values_are_chi2_worked_out_anew(kind: str) -> None:
    rng = np.random.default_rng(1)
    count = STATIONS * (2 if kind == "delays" else 1)
    theta, shift = rng.normal(size=(2, count, INTERVALS))
    part, chi2 = problem(kind, rng.normal(size=(count, INTERVALS)), 0.3, 2)
    values = lambda x: part.atoms(x)[0] + 1j * part.atoms(x)[1]  # noqa: E731
    stations = Stations.of(part)
    slopes = stations.slopes(values(theta), ALL)
    np.testing.assert_allclose(slopes.chi2, chi2(theta), rtol=1e-12)
    still = np.zeros(slopes.g.shape)
    found, _, _ = stations.values(slopes, values(theta), values(theta + shift), still, np.zeros(STATIONS, bool))
    for station in range(STATIONS):
        moved = theta + np.where(part.blocks[:, None] == station, shift, 0)
        np.testing.assert_allclose(found[station], chi2(moved) - chi2(theta), rtol=1e-9, atol=1e-9)


def test_a_free_phase_is_the_best_one() -> None:
    rng = np.random.default_rng(3)
    theta, shift = rng.normal(size=(2, 2 * STATIONS, INTERVALS))
    part, chi2 = problem("delays", rng.normal(size=theta.shape), 0.3, 4)
    values = lambda x: part.atoms(x)[0] + 1j * part.atoms(x)[1]  # noqa: E731
    stations = Stations.of(part)
    slopes = stations.slopes(values(theta), ALL)
    still = np.zeros(slopes.g.shape)
    found, phase, _ = stations.values(slopes, values(theta), values(theta + shift), still, np.ones(STATIONS, bool))
    for station in range(STATIONS):
        moved = theta + np.where(part.blocks[:, None] == station, shift, 0)
        tried = []
        for turn in np.linspace(0, 2 * np.pi, 200):
            turned = moved.copy()
            turned[2 * station + 1] += turn
            tried.append(chi2(turned) - chi2(theta))
        moved[2 * station + 1] += phase[station]
        np.testing.assert_allclose(found[station], chi2(moved) - chi2(theta), rtol=1e-9, atol=1e-9)
        assert (found[station] <= np.min(tried, 0) + 1e-9).all()


def test_further_is_where_chi2_is_least_nearby() -> None:
    """Half a step from where every station belongs, with its own derivative: nearly nothing of chi2 is left."""
    rng = np.random.default_rng(7)
    truth, reach = rng.normal(size=(2 * STATIONS, INTERVALS)), 1 / (2 * np.pi * X.std())
    part, chi2 = problem("delays", truth, 0.0, 8)
    stations = Stations.of(part)
    for station in range(STATIONS):
        far, near = truth.copy(), truth.copy()
        far[2 * station] += 2.1
        near[2 * station] += 0.2 * reach
        ur, ui, tr, ti = part.atoms(near)
        u = part.atoms(far)[0] + 1j * part.atoms(far)[1]
        slopes = stations.slopes(u, ALL)
        found, _, further = stations.values(slopes, u, ur + 1j * ui, (tr + 1j * ti)[:, 0], np.zeros(STATIONS, bool))
        np.testing.assert_allclose(further[station], -0.2 * reach, rtol=0.05)
        np.testing.assert_allclose(found[station], -chi2(far), rtol=0.01)


@pytest.mark.parametrize(("kind", "off"), [("delays", 2.3), ("rotations", 1.4)])
def test_stations_that_are_far_off_come_near(kind: str, off: float) -> None:
    """Two of five stations far from where they belong, in two of three intervals: all end within what a fit finds its way from, and
    the interval that nobody asked for is left alone."""
    rng = np.random.default_rng(5)
    each = 2 if kind == "delays" else 1
    truth = rng.normal(size=(each * STATIONS, INTERVALS))
    part, chi2 = problem(kind, truth, 0.05, 6)
    theta = truth.copy()
    theta[[each, 3 * each]] += np.array([off, 0.0, off])
    given, asked = theta.copy(), np.array([True, True, False])
    reach = np.full(theta.shape, 1.0)
    reach[::each] = 1 / (2 * np.pi * X.std()) if kind == "delays" else 1.0
    moved = relocated(part, theta, 0 * theta, asked, reach, 0.02 * chi2(0 * truth))
    np.testing.assert_array_equal(moved, [True, False, False])
    np.testing.assert_array_equal(theta[:, 1:], given[:, 1:])
    assert chi2(theta)[0] < 0.2 * chi2(given)[0]
    assert abs(theta - truth)[::each, 0].max() < 0.5 * reach[0, 0]
