"""Starting delays: the right turn, always."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rimetree.batch.reference import survey
from rimetree.batch.starts import delay_starts, fit_delays
from rimetree.io.ms import MeasurementSet
from rimetree.trees.terms import band_centre

SHARED = Path(__file__).parents[3] / "shared" / "make_ms.py"


def made(antennas: int, freq: np.ndarray, turns: float, rng: np.random.Generator):
    """Delays, phases at the band's centre, and noise-free visibilities of all baselines."""
    delays = rng.uniform(-turns, turns, antennas) / np.ptp(freq)
    phases = rng.uniform(-np.pi, np.pi, antennas)
    centre = freq.mean()
    jones = np.exp(1j * (phases[:, None] - 2 * np.pi * delays[:, None] * (freq - centre)))
    pairs = np.array(np.triu_indices(antennas, 1)).T
    return delays, phases, pairs, jones[pairs[:, 0]] * jones[pairs[:, 1]].conj()


def wrapped(angle: np.ndarray) -> np.ndarray:
    return np.abs(np.angle(np.exp(1j * angle)))


@pytest.mark.parametrize("band", [16e6, 512e6])
@pytest.mark.parametrize("seed", range(5))
def test_noisy_phases_and_delays_are_found(band: float, seed: int):
    rng = np.random.default_rng(seed)
    freq = 1.4e9 + np.linspace(0, band, 64)
    delays, phases, pairs, values = made(10, freq, 8, rng)
    noise = rng.normal(size=(2, *values.shape))
    found, at_centre = fit_delays(values + noise[0] + 1j * noise[1], pairs, freq, freq.mean(), range(10))
    # Half a turn over the band is the limit of a fit's basin; a tenth leaves no doubt.
    assert np.abs(found - (delays - delays[0])).max() * band < 0.1
    assert wrapped(at_centre - (phases - phases[0])).max() < 0.5


def test_a_baseline_flagged_with_the_reference_is_no_obstacle():
    freq = 1e9 + 1e6 * np.arange(32)
    delays, phases, pairs, values = made(6, freq, 5, np.random.default_rng(1))
    values[(pairs == [0, 4]).all(1) | (pairs == [0, 3]).all(1)] = 0
    found, at_centre = fit_delays(values, pairs, freq, freq.mean(), range(6))
    np.testing.assert_allclose(found, delays - delays[0], atol=0.02 / np.ptp(freq))
    assert wrapped(at_centre - (phases - phases[0])).max() < 0.05


def test_dead_antennas_keep_zero_and_another_leads():
    freq = 1e9 + 1e6 * np.arange(32)
    delays, _, pairs, values = made(6, freq, 5, np.random.default_rng(2))
    values[(pairs == 2).any(1)] = 0
    found, at_centre = fit_delays(values, pairs, freq, freq.mean(), [2, 5, 0, 1, 3, 4])
    assert found[2] == at_centre[2] == found[5] == at_centre[5] == 0
    alive = [0, 1, 3, 4]
    np.testing.assert_allclose(found[alive], (delays - delays[5])[alive], atol=0.02 / np.ptp(freq))


def test_gaps_in_frequency_and_falling_frequencies():
    freq = (1e9 + 1e6 * np.delete(np.arange(64), slice(20, 31)))[::-1]
    delays, _, pairs, values = made(5, freq, 6, np.random.default_rng(3))
    found, _ = fit_delays(values, pairs, freq, freq.mean(), range(5))
    np.testing.assert_allclose(found, delays - delays[0], atol=0.05 / np.ptp(freq))


def test_one_channel_gives_phases_only():
    freq = np.array([1e9])
    pairs = np.array([[0, 1]])
    found, at_centre = fit_delays(np.array([[np.exp(-0.7j)]]), pairs, freq, 1e9, [0, 1])
    assert found.tolist() == [0, 0]
    assert at_centre[1] == pytest.approx(0.7)


def starts(path: Path, **options):
    with MeasurementSet(path) as ms:
        surveys = [survey(ms, group, "MODEL_DATA") for group in ms.groups]
        centre = band_centre(group.freq for group in ms.groups)
        return delay_starts(ms, "K", ("scan", None), surveys, centre=centre, reference=ms.antennas[0], **options)


@pytest.mark.parametrize("width", [1e6, 32e6], ids=["16 MHz", "512 MHz"])
def test_starts_from_a_measurement_set(observe, width: float):
    seen = observe(width, noise=3.0)
    found = starts(seen.path)
    middle = np.angle(seen.jones[:, :, 8] / seen.jones[:, :, 7])
    for hand, name in enumerate("xy"):
        table = found.parm(f"K.delay_{name}")
        assert table.values.shape == (6, 2, 1, 1, 1)
        slope = middle[:, 0, hand] / (-2 * np.pi * (seen.freq[8] - seen.freq[7]))
        wrong = table.values[:, :, 0, 0, 0] - (slope - slope[0])[:, None]
        assert np.abs(wrong).max() * np.ptp(seen.freq) < 0.25


def test_earlier_terms_are_taken_out(observe):
    """A gain that turns once per scan would wash out the sum over the scan; known, it does not."""
    from rimetree.io.solutions import GroupSolutions, JonesTable, Solutions

    seen = observe(noise=0.0)
    rng = np.random.default_rng(5)
    turns = np.exp(2j * np.pi * rng.uniform(size=(6, 12)))
    data = seen.predicted(seen.jones * turns[..., None, None])
    seen.put("DATA", data.astype(np.complex64))
    with MeasurementSet(seen.path) as ms:
        time, names = ms.groups[0].time, ms.antennas
    jones = turns[:, None, :, None, None] * np.eye(2)
    shape = jones.shape[:3]
    freq = np.array([seen.freq.mean()])
    table = JonesTable("G", names, jones, np.zeros(shape, bool), time, freq, np.zeros(jones.shape), "linear")
    known = Solutions([GroupSolutions("field0", "0", [], [table], [])])
    seen.put("MODEL_DATA", seen.model)
    clean = starts(seen.path, earlier=known).parm("K.delay_x").values
    seen.put("DATA", seen.predicted(seen.jones).astype(np.complex64))
    np.testing.assert_allclose(clean, starts(seen.path).parm("K.delay_x").values, atol=1e-12)


if SHARED.exists():  # an independent simulator that stands beside the repository on the developers' machines

    @pytest.mark.parametrize(("chans", "width"), [(64, 250e3), (64, 8e6)], ids=["16 MHz", "512 MHz"])
    def test_the_independent_simulator(tmp_path: Path, chans: int, width: float):
        path = tmp_path / "shared.ms"
        command = [
            sys.executable,
            str(SHARED),
            str(path),
            "--ants",
            "8",
            "--times",
            "12",
            "--scans",
            "2",
            "--jones",
            "KG",
        ]
        subprocess.run([*command, "--chans", str(chans), "--df", str(width)], check=True, capture_output=True)
        found, true = starts(path), np.load(f"{path}.truth.npz")["K"]
        for hand, name in enumerate("xy"):
            wrong = found.parm(f"K.delay_{name}").values[:, :, 0, 0, 0] - (true[:, hand] - true[0, hand])[:, None]
            assert np.abs(wrong).max() * chans * width < 0.1
