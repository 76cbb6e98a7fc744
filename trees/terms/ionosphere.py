"""What the ionosphere does: phases that go with 1/nu, and Faraday rotation with 1/nu^2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq

from ..guesses import Seen, fit_delays_and_waves, fit_rotations, fit_waves
from .base import Band, Param, Term, diagonal, rotation, wave

TEC = -8.4479745e9
"""Phase (rad) times frequency (Hz) per TECU: e^2 1e16 / (4 pi epsilon0 m_e c). Mevius et al. 2016, Radio Science 51, eq. 1."""

LIGHT = 299792458.0


class Tec(Term):
    """exp(i 8.4479745e9 tec (1/centre - 1/nu)) + a phase: the electron content above each antenna (TECU), a scalar."""

    name = "Z"
    params = {"tec": Param(0.0, refer="both", unit="TECU"), "phase": Param(0.0, refer="both", angle=True, unit="rad")}
    hands = "parallel"
    spectral = True

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        z = wave(p["phase"] + p["tec"] * (TEC / Meq.Freq() - TEC / band.centre))
        return diagonal(z, z)

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        bend = TEC / seen.freq - TEC / seen.centre
        fitted = fit_waves(seen.parallel, seen, bend)
        return {"tec": fitted[0], "phase": fitted[1]}

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        return {"phase": values["phase"] + values["tec"] * TEC * (1 / new - 1 / old)}

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"phase": values["phase"] + np.angle(x / np.abs(x) + y / np.abs(y))}


class DelayTec(Term):
    """K and Z at once (crystal): a delay and a phase per polarisation, and the electron content, per antenna."""

    name = "KZ"
    params = {
        "delay_x": Param(0.0, refer="x", unit="s"),
        "delay_y": Param(0.0, refer="y", unit="s"),
        "phase_x": Param(0.0, refer="x", angle=True, unit="rad"),
        "phase_y": Param(0.0, refer="y", angle=True, unit="rad"),
        "tec": Param(0.0, refer="both", unit="TECU"),
    }
    hands = "parallel"
    spectral = True
    delays = ("delay_x", "delay_y")

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        """The part of 1/nu that is linear in nu about the centre belongs to the delays: the rest is independent of them."""
        freq, centre = Meq.Freq(), band.centre
        turns = (freq - centre) * (-2 * math.pi)
        bent = p["tec"] * (TEC / freq - TEC / centre + (freq - centre) * (TEC / centre**2))
        return diagonal(*(wave(p[f"phase_{c}"] + p[f"delay_{c}"] * turns + bent) for c in "xy"))

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        bend = TEC / seen.freq - TEC / seen.centre + (seen.freq - seen.centre) * TEC / seen.centre**2
        found = [fit_delays_and_waves(sums, seen, bend) for sums in seen.hands]
        made = {
            f"{name}_{c}": hand[i]
            for c, hand in zip("xy", found, strict=True)
            for i, name in ((0, "delay"), (2, "phase"))
        }
        return made | {"tec": (found[0][1] + found[1][1]) / 2}

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        """The matrix is exp(i (a + b nu + tec TEC / nu)); a and b stay."""
        found: dict[str, np.ndarray] = {}
        tec = values["tec"] * TEC
        for c in "xy":
            delay = values[f"delay_{c}"] + tec * (1 / new**2 - 1 / old**2) / (2 * np.pi)
            turns = 2 * np.pi * (values[f"delay_{c}"] * old - delay * new)
            found |= {f"delay_{c}": delay, f"phase_{c}": values[f"phase_{c}"] + turns + 2 * tec * (1 / new - 1 / old)}
        return found

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        return {f"phase_{c}": values[f"phase_{c}"] + np.angle(gain) for c, gain in (("x", x), ("y", y))}


class Faraday(Term):
    """Rotation by rm c^2 / nu^2, the Faraday rotation above each antenna (rm in rad/m^2)."""

    name = "F"
    params = {"rm": Param(0.0, unit="rad/m^2")}
    diagonal = False
    spectral = True
    turns = True

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return rotation(p["rm"] * (LIGHT**2 / (Meq.Freq() * Meq.Freq())), band)

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        return {"rm": fit_rotations(seen, LIGHT**2 / seen.freq**2)}

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        return {}  # there is no reference frequency
