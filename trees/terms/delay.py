"""Delays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq

from ..guesses import Seen, fit_delays, peak
from .base import Band, Param, Term, diagonal, wave


class Delay(Term):
    """diag(x, y), x = exp(i (phase_x - 2 pi delay_x (nu - centre))): a delay and a phase per antenna and polarisation.

    A band that is narrow against its frequency does not tell delays apart that differ by whole turns of the phase at
    its centre; hence the phase of its own. Without it (`phase_offset: false`) phase_x = -2 pi delay_x centre is kept.
    """

    name = "K"
    params = {
        "delay_x": Param(0.0, refer="x", unit="s"),
        "delay_y": Param(0.0, refer="y", unit="s"),
        "phase_x": Param(0.0, refer="x", angle=True, unit="rad"),
        "phase_y": Param(0.0, refer="y", angle=True, unit="rad"),
    }
    hands = "parallel"
    spectral = True
    delays = ("delay_x", "delay_y")
    gives_up = {"phase_x": "x", "phase_y": "y"}

    def __init__(self, phase_offset: bool = True) -> None:
        self.phase_offset = phase_offset

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        turns = (Meq.Freq() - band.centre) * (-2 * math.pi)
        return diagonal(*(wave(p[f"phase_{c}"] + p[f"delay_{c}"] * turns) for c in "xy"))

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        (late_x, phase_x), (late_y, phase_y) = (fit_delays(sums, seen) for sums in seen.hands)
        if seen.linked:
            turns = -2 * np.pi * (seen.freq - seen.centre)
            x, y = (
                np.exp(1j * (phase[..., None] + late[..., None] * turns))
                for late, phase in ((late_x, phase_x), (late_y, phase_y))
            )
            between = np.array([peak(spectrum.conj(), seen.freq, seen.centre) for spectrum in seen.across(x, y)])
            late_y, phase_y = late_y + between[:, 0], phase_y + between[:, 1]
        return {"delay_x": late_x, "phase_x": phase_x, "delay_y": late_y, "phase_y": phase_y}

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        return {f"phase_{c}": values[f"phase_{c}"] + np.angle(gain) for c, gain in (("x", x), ("y", y))}

    def settle(self, values: Mapping[str, np.ndarray], centre: float) -> Mapping[str, np.ndarray]:
        if self.phase_offset:
            return {}
        return {f"phase_{c}": -2 * np.pi * values[f"delay_{c}"] * centre for c in "xy"}

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        return {f"phase_{c}": values[f"phase_{c}"] - 2 * np.pi * values[f"delay_{c}"] * (new - old) for c in "xy"}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        if delay is None:
            return {}
        late = {f"delay_{c}": delay[..., i] for i, c in enumerate("xy")}
        return late | {f"phase_{c}": -2 * np.pi * delay[..., i] * centre for i, c in enumerate("xy")}
