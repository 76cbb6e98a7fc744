"""examples/smooth_bandpass.py in a canned chain recovers curves and ripples that were put into the data, and takes them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table

from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.interpolate import evaluate
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks
from rimetree.pipeline.show import plot

EXAMPLES = Path(__file__).parents[2] / "examples"
CHANS, NOISE = 48, 0.02


@pytest.fixture
def seen(make_ms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts (antenna, channel) gains into a set with a model of 1 Jy; returns its path and frequencies."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    path = make_ms(antennas=7, times=(5e9, 6, 10.0), freqs=(1.0e9, CHANS, 8e6), noise=NOISE)
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
        freq = ms.groups[0].freq

    def put(jones: np.ndarray) -> None:
        with table(str(path), readonly=False, ack=False) as main:
            p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
            model = np.zeros((main.nrows(), CHANS, 4), np.complex64)
            model[..., [0, 3]] = 1
            main.putcol("MODEL_DATA", model)
            data = (jones[p] * jones[q].conj())[..., None] * model
            main.putcol("DATA", (main.getcol("DATA") + data).astype(np.complex64))

    return path, freq, put


def solved(path: Path, jones: list[str]) -> dict[str, Any]:
    """Tables by key of a solve with a gain per 3 slots, and what is left of the corrected data is checked for noise alone."""
    common = {"ms": str(path), "output": "own.h5", "rfi_threshold": 0, "ref_ant": "ant00"}
    keys = ["G0", f"{jones[1].rpartition('.')[2]}0"]
    solve = {
        **common,
        "jones": jones,
        "joint": keys,
        "time_interval": ["3slot", "inf"],
        "freq_interval": ["full", "full"],
    }
    apply = {"ms": str(path), "jones": keys, "tables": "own.h5"}
    assert run_blocks(check({"solve": solve, "apply": apply}), overwrite=True, progress=False).converged
    with table(str(path), ack=False) as main:
        left = main.getcol("CORRECTED_DATA")[..., [0, 3]] - 1
    assert np.std(left) == pytest.approx(NOISE, rel=0.15)
    return {t.key: t for t in CalFile.load("own.h5").tables}


def test_smooth_bandpass(seen: Any) -> None:
    path, freq, put = seen
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, CHANS)
    a, b, c = rng.normal(0, 0.1, (3, 7, 1))
    curve = (1 + a * x + b * np.sin(3 * x)) * np.exp(1j * (c * x**2 + 3 * a * x))
    gains = np.exp(1j * rng.uniform(-3, 3, (7, 1)))
    put(curve * gains)
    found = solved(path, ["G", "smooth_bandpass.SmoothBandpass"])
    own = found["SmoothBandpass0"]
    assert own.parms["amp_x"].values.shape == (7, 1, 1, 1, 7)
    time = np.array([5e9 + 25.0])
    jones = (evaluate(own, time, freq) * evaluate(found["G0"], time, freq))[:, :, 0, 0, 0]
    truth = curve * gains * np.exp(-1j * np.angle(curve[0] * gains[0]))  # as seen from ant00
    turned = jones * np.exp(-1j * np.angle(jones[0]))
    assert np.abs(turned - truth).std() < 3 * NOISE / np.sqrt(6 * 6 * CHANS / 8)
    assert plot("own.h5", "plots")


def test_standing_wave(seen: Any) -> None:
    """Heights, lengths and phases of ripples, which are no linear coefficients, from a start with no idea of them."""
    path, freq, put = seen
    rng = np.random.default_rng(4)
    c = np.stack([rng.uniform(0.05, 0.2, 7), rng.uniform(9.5, 10.5, 7), rng.uniform(-0.1, 0.1, 7)])[..., None]
    y = (freq - freq.mean()) / (4e6 * CHANS)
    put(1 + c[0] * np.cos(c[1] * y) + c[2] * np.sin(c[1] * y))
    own = solved(path, ["G", "smooth_bandpass.StandingWave"])["StandingWave0"]
    values = own.parms["x"].values[:, 0, 0, :, 0]
    np.testing.assert_allclose(values, c[..., 0].T, atol=0.05)
