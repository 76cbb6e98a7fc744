"""Phases lose whole turns, and nothing else does."""

from __future__ import annotations

import numpy as np

from rimetree.solve.joint.coupled import Points
from rimetree.solve.joint.unwinding import unwound


def points(x: np.ndarray) -> Points:
    """Atoms: a phase, a phase whose unknown turns with period 4 pi, a number that is not a phase, and one that is not seen."""
    value = np.array([np.exp(1j * x[0]), np.exp(0.5j * x[1]), x[2] + 0j, np.exp(1e-9j * x[3])])
    slope = np.array([1j * value[0], 0.5j * value[1], 1, 1e-9j * value[3]])[:, None]
    return Points.of(value, slope, np.arange(4)[:, None], 4, x)


def test_only_phases_come_back() -> None:
    x = np.array([1e5 + 0.3, 1e4, 31e6, 4e7])
    found = unwound(points, x)
    assert abs(found[0]) <= np.pi
    np.testing.assert_allclose(np.exp(1j * found[0]), np.exp(1j * x[0]), atol=1e-9)
    half_turns = round((x[1] - found[1]) / (2 * np.pi))
    assert found[1] == x[1] or half_turns % 2 == 0
    np.testing.assert_array_equal(found[2:], x[2:])


def test_what_is_near_stays() -> None:
    x = np.array([7.0, -50.0, 3.0, 2.0])
    assert unwound(points, x) is x
