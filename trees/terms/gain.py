"""Diagonal gains: complex, of amplitude or phase alone; bandpasses; scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq

from ..guesses import Seen, fit_gains
from .base import Band, Param, Term, diagonal, wave


def gains_of(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Gains of x and y, (nant, ncell); the phase between them from the cross-hands where it is to be found."""
    x, y = (fit_gains(seen.sums[i], seen.power[i], seen) for i in (0, 3))
    if seen.linked:
        between = seen.across(*(unit[..., None] / np.abs(unit[..., None]) for unit in (x, y))).sum(-1)
        y = y * np.exp(-1j * np.angle(between))
    return x, y


class Gain(Term):
    """diag(x, y): a complex gain per antenna and polarisation, constant over the band."""

    name = "G"
    params = {"x": Param(1 + 0j, refer="x"), "y": Param(1 + 0j, refer="y")}
    hands = "parallel"

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(p["x"], p["y"])

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        x, y = gains_of(seen)
        return {"x": x, "y": y}

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"x": values["x"] * x, "y": values["y"] * y}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {"x": jones[..., 0, 0], "y": jones[..., 1, 1]}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        zero = np.zeros_like(p["x"])
        return np.stack([p["x"], zero, zero, p["y"]], -1).reshape(*zero.shape, 2, 2)


class Bandpass(Gain):
    """diag(x, y): a complex bandpass per antenna and polarisation, constant in time."""

    name = "B"


class Amplitude(Term):
    """diag(x, y), real: an amplitude per antenna and polarisation."""

    name = "GA"
    params = {"x": Param(1.0), "y": Param(1.0)}
    hands = "parallel"

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(p["x"], p["y"])

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {"x": np.abs(jones[..., 0, 0]), "y": np.abs(jones[..., 1, 1])}

    errors = Gain.errors


class Phase(Term):
    """diag(x, y), x = exp(i phase_x): a phase per antenna and polarisation."""

    name = "GP"
    params = {f"phase_{c}": Param(0.0, refer=c, angle=True, unit="rad") for c in "xy"}
    hands = "parallel"

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(wave(p["phase_x"]), wave(p["phase_y"]))

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        x, y = gains_of(seen)
        return {"phase_x": np.angle(x), "phase_y": np.angle(y)}

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        return {f"phase_{c}": values[f"phase_{c}"] + np.angle(gain) for c, gain in (("x", x), ("y", y))}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {"phase_x": np.angle(jones[..., 0, 0]), "phase_y": np.angle(jones[..., 1, 1])}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        zero = np.zeros_like(p["phase_x"])
        return np.stack([p["phase_x"], zero, zero, p["phase_y"]], -1).reshape(*zero.shape, 2, 2)


class Scalar(Term):
    """t times the unit matrix: a complex gain per antenna, the same for both polarisations."""

    name = "T"
    params = {"t": Param(1 + 0j, refer="both")}
    hands = "parallel"

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(p["t"], p["t"])

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        return {"t": fit_gains(seen.parallel, seen.power[0] + seen.power[3], seen)}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {"t": jones[..., 0, 0]}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        zero = np.zeros_like(p["t"])
        return np.stack([p["t"], zero, zero, p["t"]], -1).reshape(*zero.shape, 2, 2)


class Full(Term):
    """[[xx, xy], [yx, yy]]: a full complex matrix per antenna."""

    name = "J"
    params = {
        "xx": Param(1 + 0j, refer="x"),
        "xy": Param(0j, refer="y"),
        "yx": Param(0j, refer="x"),
        "yy": Param(1 + 0j, refer="y"),
    }
    diagonal = False

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        made: Definition = Meq.Matrix22(p["xx"], p["xy"], p["yx"], p["yy"])
        return made

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        x, y = gains_of(seen)
        return {"xx": x, "yy": y}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {f"{'xy'[i]}{'xy'[j]}": jones[..., i, j] for i in (0, 1) for j in (0, 1)}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        return np.stack([p[k] for k in ("xx", "xy", "yx", "yy")], -1).reshape(*p["xx"].shape, 2, 2)
