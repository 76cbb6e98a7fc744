"""Amplitudes and phases that are polynomials in time and frequency over a solution interval.

For another order derive a class: `class Mine(PhasePolynomial): name = "Mine"; params = phases(3, 1)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition

from .base import Band, Param, Term, diagonal, wave


def amplitudes(time: int, freq: int) -> dict[str, Param]:
    """Parms of amplitudes: polynomials of these orders, 1 to begin with."""
    return {c: Param(_coefficients(1.0, time, freq)) for c in "xy"}


def phases(time: int, freq: int) -> dict[str, Param]:
    """Parms of phases: polynomials of these orders, 0 to begin with."""
    return {f"phase_{c}": Param(_coefficients(0.0, time, freq), refer=c, angle=True, unit="rad") for c in "xy"}


def _coefficients(first: float, time: int, freq: int) -> list[list[float]]:
    return [[first if i == j == 0 else 0.0 for j in range(freq + 1)] for i in range(time + 1)]


class AmplitudePolynomial(Term):
    """diag(x, y), real: amplitudes of second order in time and in frequency."""

    name = "GAP"
    params = amplitudes(2, 2)
    hands = "parallel"
    spectral = True

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(p["x"], p["y"])

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        return {}  # frequency counts from the middle of the solution interval


class PhasePolynomial(Term):
    """diag(x, y), x = exp(i phase_x): phases of second order in time and in frequency."""

    name = "GPP"
    params = phases(2, 2)
    hands = "parallel"
    spectral = True

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(wave(p["phase_x"]), wave(p["phase_y"]))

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        return {}  # frequency counts from the middle of the solution interval
