"""Null directions get the names that a person would give them; truth comes from Jacobians by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rimetree.solve.result.gauges import Meaning, freedoms, in_words

ANTENNAS = 6
P, Q = np.triu_indices(ANTENNAS, 1)
NO_MATRICES = np.empty((0, 4), int)


def null_space(function: Callable[[np.ndarray], np.ndarray], theta: np.ndarray) -> np.ndarray:
    """Directions in which nothing changes to first order, (n, m, 1)."""
    steps = 1e-6 * np.eye(len(theta))
    jac = np.stack([(function(theta + d) - function(theta - d)) / 2e-6 for d in steps], 1)
    jac = np.concatenate([jac.real, jac.imag]) if np.iscomplexobj(jac) else jac
    _, strength, right = np.linalg.svd(jac, full_matrices=True)
    strength = np.pad(strength, (0, len(theta) - len(strength)))
    return right[strength < 1e-7 * strength[0]].T[:, :, None]


def texts(meaning: Meaning, theta: np.ndarray, null: np.ndarray, matrices: np.ndarray = NO_MATRICES) -> list[str]:
    number, found = in_words(*freedoms(meaning, matrices, theta[:, None], null))
    return found[number[0]].split("; ")


def complex_meaning(names: list[str]) -> Meaning:
    return Meaning(np.repeat(names, 2), np.zeros(2 * len(names), int), np.tile([1, 2], len(names)))


def values(theta: np.ndarray) -> np.ndarray:
    return theta[0::2] + 1j * theta[1::2]


@pytest.mark.parametrize("polarised", [False, True])
def test_two_hands(polarised: bool) -> None:
    """Without cross-hands each hand has a phase of its own; with them they share one."""
    theta = np.random.default_rng(0).normal(size=4 * ANTENNAS)
    names = [f"g{hand}:ant{i}" for hand in "xy" for i in range(ANTENNAS)]

    def model(t: np.ndarray) -> np.ndarray:
        gx, gy = values(t).reshape(2, ANTENNAS)
        cross = [gx[P] * 0.1j * gy[Q].conj()] if polarised else []
        return np.concatenate([gx[P] * gx[Q].conj(), gy[P] * gy[Q].conj(), *cross])

    found = texts(complex_meaning(names), theta, null_space(model, theta))
    assert found == (["common phase of all gx and all gy"] if polarised else ["phase of all gx", "phase of all gy"])


def test_gains_and_a_flux() -> None:
    theta = np.append(np.random.default_rng(1).normal(size=2 * ANTENNAS), 2.5)
    names = [f"g:ant{i}" for i in range(ANTENNAS)]
    meaning = Meaning(
        np.append(np.repeat(names, 2), "flux"), np.zeros(len(theta), int), np.append(np.tile([1, 2], ANTENNAS), 0)
    )

    def model(t: np.ndarray) -> np.ndarray:
        g = values(t[:-1])
        return np.asarray(t[-1] * g[P] * g[Q].conj())

    found = texts(meaning, theta, null_space(model, theta))
    assert found == ["phase of all g", "scale between all g and flux"]


def test_directions_have_phases_of_their_own() -> None:
    rng = np.random.default_rng(2)
    theta, sky = rng.normal(size=4 * ANTENNAS), np.exp(2j * np.pi * rng.random((2, 5, len(P))))

    def model(t: np.ndarray) -> np.ndarray:
        g = values(t).reshape(2, ANTENNAS)
        return np.asarray(sum((g[d][P] * sky[d] * g[d][Q].conj()).ravel() for d in range(2)))

    names = [f"g:ant{i}:{d}" for d in range(2) for i in range(ANTENNAS)]
    found = texts(complex_meaning(names), theta, null_space(model, theta))
    assert found == ["phase of g:*:0", "phase of g:*:1"]


@pytest.mark.parametrize("name", ["tau", "a.phase"])
def test_real_parms_have_a_common_value(name: str) -> None:
    theta = np.random.default_rng(3).normal(size=ANTENNAS)
    meaning = Meaning(
        np.array([f"{name}:ant{i}" for i in range(ANTENNAS)]), np.zeros(ANTENNAS, int), np.zeros(ANTENNAS, int)
    )
    assert texts(meaning, theta, null_space(lambda t: np.exp(1j * (t[P] - t[Q])), theta)) == [
        f"common value of all {name}"
    ]


@pytest.mark.parametrize(
    ("brightness", "expected"),
    [
        (np.eye(2), ["phase of all G", "x-y phase of G", "x-y rotation of G", "x-y ellipticity of G"]),
        (np.diag([1.2, 0.8]), ["phase of all G", "x-y phase of G"]),
        (np.array([[1, 0.1 + 0.2j], [0.1 - 0.2j, 0.7]]), ["phase of all G"]),
    ],
    ids=["unpolarised", "Q", "Q U V"],
)
def test_jones_matrices(brightness: np.ndarray, expected: list[str]) -> None:
    """G B G^H does not change under G U where U B U^H = B; one B leaves four such, two unlike ones two, three one."""
    theta = np.random.default_rng(4).normal(size=8 * ANTENNAS)
    diagonal = np.allclose(brightness, np.diag(np.diag(brightness)))
    others = [np.eye(2)] if diagonal else [np.eye(2), np.array([[1, 0.3], [0.3, 1]])]

    def model(t: np.ndarray) -> np.ndarray:
        g = values(t).reshape(ANTENNAS, 2, 2)
        return np.concatenate([(g[P] @ b @ g[Q].conj().swapaxes(1, 2)).ravel() for b in (brightness, *others)])

    names = [f"G.{e}:ant{i}" for i in range(ANTENNAS) for e in ("xx", "xy", "yx", "yy")]
    matrices = 8 * np.arange(ANTENNAS)[:, None] + 2 * np.arange(4)
    assert texts(complex_meaning(names), theta, null_space(model, theta), matrices) == expected


def test_what_has_no_name_is_described() -> None:
    """Two antennas that see only each other, and a redundant array whose phases may tilt."""
    theta = np.random.default_rng(5).normal(size=2 * ANTENNAS)
    names = [f"g:ant{i}" for i in range(ANTENNAS)]
    keep = (P < 4) == (Q < 4)

    def apart(t: np.ndarray) -> np.ndarray:
        return np.asarray((values(t)[P] * values(t)[Q].conj())[keep])

    found = texts(complex_meaning(names), theta, null_space(apart, theta))
    assert found == ["phase of all g", "2 patterns of values of 6 Parms (g)"]

    line = np.random.default_rng(6).normal(size=2 * (ANTENNAS + ANTENNAS - 1))

    def redundant(t: np.ndarray) -> np.ndarray:
        v = values(t)
        return np.asarray(v[P] * v[ANTENNAS + Q - P - 1] * v[Q].conj())

    names += [f"v:{k}" for k in range(1, ANTENNAS)]
    assert texts(complex_meaning(names), line, null_space(redundant, line)) == [
        "phase of all g",
        "scale between all g and all v",
        f"a pattern of phases of {2 * ANTENNAS - 1} Parms (g, v)",
    ]


def test_nothing_free_has_no_name() -> None:
    meaning = complex_meaning(["g:a", "g:b"])
    number, found = in_words(*freedoms(meaning, NO_MATRICES, np.ones((4, 3)), np.zeros((4, 2, 3))))
    assert [found[i] for i in number] == ["", "", ""]
