"""Small observations whose true Jones matrices are known, made with numpy and casacore alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@dataclass(eq=False)
class Observed:
    """jones (ant, slot, chan, hand), model (baseline, slot, chan, 2, 2); visibilities have the model's shape."""

    path: Path
    first: np.ndarray
    second: np.ndarray
    freq: np.ndarray
    scan: np.ndarray
    noise: float
    jones: np.ndarray
    model: np.ndarray

    def predicted(self, jones: np.ndarray) -> np.ndarray:
        """J_p X J_q^H."""
        left, right = jones[self.first], jones[self.second].conj()
        return left[..., :, None] * self.model * right[..., None, :]

    def corrected(self, data: np.ndarray, jones: np.ndarray) -> np.ndarray:
        """J_p^-1 D J_q^-H."""
        return data / (jones[self.first][..., :, None] * jones[self.second].conj()[..., None, :])

    def column(self, name: str) -> np.ndarray:
        """A column in the model's shape."""
        from casacore.tables import table

        with table(str(self.path), ack=False) as opened:
            values = opened.getcol(name)
        count, slots, chans = self.model.shape[:3]
        return values.reshape(slots, count, chans, 2, 2).swapaxes(0, 1)

    def put(self, name: str, values: np.ndarray) -> None:
        """Write a column."""
        from casacore.tables import table

        slots, count, chans = self.model.swapaxes(0, 1).shape[:3]
        with table(str(self.path), readonly=False, ack=False) as opened:
            opened.putcol(name, values.swapaxes(0, 1).reshape(slots * count, chans, 4))


def truth(rng: np.random.Generator, antennas: int, slots: int, freq: np.ndarray) -> np.ndarray:
    """K G B with random phases, delays up to a few turns over the band, drifting gains and a curved bandpass."""
    shape = (antennas, 1, 1, 2)
    turns = rng.uniform(-4, 4, shape)
    x = np.linspace(-1, 1, freq.size)[None, None, :, None]
    t = np.linspace(0, 1, slots)[None, :, None, None]
    delay = np.exp(-1j * np.pi * turns * x + 2j * np.pi * rng.uniform(size=shape))
    gain = (1 + 0.1 * rng.normal(size=shape)) * np.exp(0.4j * np.sin(2 * np.pi * (t + rng.uniform(size=shape))))
    return delay * gain * (1 + 0.1 * x**2 * rng.normal(size=shape)) * np.exp(0.2j * x**3 * rng.normal(size=shape))


@pytest.fixture
def observe(make_ms: Callable[..., Path]) -> Callable[..., Observed]:
    """`observe(width=1e6, polarised=False, noise=0.3)`: 6 antennas, 12 slots in 2 scans, 16 channels."""

    def make(
        width: float = 1e6, polarised: bool = False, noise: float = 0.3, seed: int = 1, **options: Any
    ) -> Observed:
        from rimetree.io.ms import MeasurementSet

        antennas, slots, chans = 6, 12, 16
        path = make_ms(
            antennas=antennas, times=(5e9, slots, 10.0), freqs=(1.4e9, chans, width), scans=2, noise=noise, **options
        )
        with MeasurementSet(path) as ms:
            ms.ensure_column("MODEL_DATA")
            freq, scan = ms.groups[0].freq, ms.groups[0].scan
        rng = np.random.default_rng(seed)
        first, second = np.triu_indices(antennas, 1)
        brightness = np.array([[5.2, 0.8 + 0.1j], [0.8 - 0.1j, 4.8]]) if polarised else 5 * np.eye(2)
        model = np.broadcast_to(brightness, (first.size, slots, chans, 2, 2)).astype(np.complex64)
        seen = Observed(path, first, second, freq, scan, noise, truth(rng, antennas, slots, freq), model)
        errors = rng.normal(size=(2, *model.shape)) * noise / np.sqrt(2)
        seen.put("MODEL_DATA", model)
        seen.put("DATA", (seen.predicted(seen.jones) + errors[0] + 1j * errors[1]).astype(np.complex64))
        return seen

    return make
