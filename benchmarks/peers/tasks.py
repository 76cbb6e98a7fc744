"""The tasks that all codes are given: what varies how, the equation, and the data with their truth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from common import FIRST, NOISE, WIDTH, coherencies, fill, sky

import rimetree as rt

OFFSETS = ((0.0, 0.0, 8.0), (0.012, 0.005, 5.0), (-0.006, 0.011, 3.0), (-0.01, -0.008, 2.0), (0.004, -0.014, 2.0))
"""l, m and flux (Jy) of the directions."""


@dataclass(frozen=True, slots=True)
class Task:
    """Gains of `antennas` on `slots` x `channels`, one solution per `per_slots` slots and `per_channels` channels.

    None for all of them. `full`: 2x2 matrices, else diagonal. One direction, or those of `OFFSETS`.
    """

    name: str
    antennas: int
    slots: int
    channels: int
    per_slots: int | None = 1
    per_channels: int | None = None
    full: bool = False
    directions: int = 1

    @property
    def columns(self) -> list[str]:
        """The columns of the directions' models."""
        return ["MODEL_DATA"] if self.directions == 1 else [f"MODEL_{d}" for d in range(self.directions)]

    @property
    def grid(self) -> tuple[int, int]:
        """Numbers of solution intervals in time and frequency."""
        steps = self.per_slots or self.slots, self.per_channels or self.channels
        return -(-self.slots // steps[0]), -(-self.channels // steps[1])

    @property
    def visibilities(self) -> int:
        """Complex numbers in DATA."""
        return self.antennas * (self.antennas - 1) // 2 * self.slots * self.channels * 4

    def truth(self) -> np.ndarray:
        """The true Jones matrices (direction, antenna, time interval, frequency interval, 2, 2).

        Any phases towards one direction; within a radian of 0 towards several, where the peers find no solution else.
        """
        rng = np.random.default_rng(1)
        shape = (self.directions, self.antennas, 1, 1, 2, 2)
        wide = np.pi if self.directions == 1 else 0.5
        phase = rng.uniform(-wide, wide, shape) + 0.3 * rng.normal(size=(*shape[:2], *self.grid, 2, 2))
        jones = (1 + 0.15 * rng.normal(size=shape)) * np.exp(1j * phase)
        return jones * (np.array([[1, 0.1], [0.1, 1]]) if self.full else np.eye(2))

    def data(self, folder: Path) -> Path:
        """The Measurement Set, made once. One scan: DP3 takes the gaps between scans for missing rows."""
        word = re.sub("[^a-z0-9]+", "_", self.name)
        path = folder / f"{word}.{self.antennas}x{self.slots}x{self.channels}.ms"
        if path.exists():
            return path
        rt.simulate(path, self.antennas, (5.0e9, self.slots, 8.0), (FIRST, self.channels, WIDTH), noise=NOISE)
        truth, repeat = self.truth(), self.per_channels or self.channels
        models = [sky] if self.directions == 1 else [partial(_direction, d) for d in range(self.directions)]
        per = self.per_slots or self.slots
        fill(
            path,
            dict(zip(self.columns, models, strict=True)),
            lambda t: truth[:, :, t // per].repeat(repeat, 2)[:, :, : self.channels],
        )
        return path


def _direction(number: int, uvw: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Coherencies of one slightly polarised source."""
    l, m, I = (np.array([v]) for v in OFFSETS[number])
    return coherencies(uvw, frequency, l, m, (I, 0.04 * I, -0.03 * I, 0.002 * I))


def error(found: np.ndarray, truth: np.ndarray, full: bool) -> float:
    """Rms error of Jones matrices (direction, antenna, t, f, 2, 2) where they are finite, after removing what data
    cannot tell: a phase per direction, interval and feed, or for full matrices a common unitary matrix."""
    good = np.isfinite(found).all((-1, -2), keepdims=True)
    safe = np.where(good, found, 0)
    cross = (safe.conj().swapaxes(-1, -2) @ np.where(good, truth, 0)).sum(1, keepdims=True)
    if full:
        u, _, v = np.linalg.svd(cross)
        turned = safe @ (u @ v)
        away = abs(turned - truth) ** 2
        return float(np.sqrt(away[np.broadcast_to(good, away.shape)].mean()))
    phase = np.einsum("...ii->...i", cross)
    gains, wanted = (np.einsum("...ii->...i", a) for a in (safe, truth))
    away = abs(gains * phase / np.maximum(abs(phase), 1e-30) - wanted) ** 2
    return float(np.sqrt(away[np.broadcast_to(good[..., 0], away.shape)].mean()))
