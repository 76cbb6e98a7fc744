"""The delay and the phase between the two polarisations, which are the same for all antennas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq

from ..guesses import Seen, peak
from .base import Band, Param, Term, diagonal, wave


class CrossDelay(Term):
    """diag(exp(-2 pi i delay nu), 1), common to all antennas: a delay between the polarisations.

    A phase is fitted with it, so that the delay is right whatever the phase, and given up: that is for CP to find.
    """

    name = "KC"
    params = {"delay": Param(0.0, unit="s"), "phase": Param(0.0, angle=True, unit="rad")}
    hands = "cross"
    common = True
    spectral = True
    delays = ("delay",)
    gives_up = {"phase": "x"}

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        turns = (Meq.Freq() - band.centre) * (-2 * math.pi)
        return diagonal(wave(p["phase"] + p["delay"] * turns), 1)

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        found = np.array([peak(spectrum, seen.freq, seen.centre) for spectrum in seen.cross])
        return {"delay": found[None, :, 0], "phase": found[None, :, 1]}

    def settle(self, values: Mapping[str, np.ndarray], centre: float) -> Mapping[str, np.ndarray]:
        return {"phase": -2 * np.pi * values["delay"] * centre}

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        return {"phase": values["phase"] - 2 * np.pi * values["delay"] * (new - old)}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {} if delay is None else {"delay": delay[..., 0], "phase": -2 * np.pi * delay[..., 0] * centre}


class CrossPhase(Term):
    """diag(1, exp(i phase)), common to all antennas: a phase between the polarisations."""

    name = "CP"
    params = {"phase": Param(0.0, angle=True, unit="rad")}
    hands = "cross"
    common = True

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return diagonal(1, wave(p["phase"]))

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        return {"phase": -np.angle(seen.cross.sum(-1))[None]}

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"phase": values["phase"] + np.angle(y) - np.angle(x)}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {"phase": np.angle(jones[..., 1, 1])}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        zero = np.zeros_like(p["phase"])
        return np.stack([zero, zero, zero, p["phase"]], -1).reshape(*zero.shape, 2, 2)
