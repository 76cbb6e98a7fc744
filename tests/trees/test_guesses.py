"""Starting values: the right turn, always."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.trees import guesses
from rimetree.trees.guesses import Seen


def seen(values: np.ndarray, pairs: np.ndarray, freq: np.ndarray, order, power: float = 1.0) -> Seen:
    """One cell in which xx is `values` (nbaseline, nchan), and nothing else is."""
    sums = np.zeros((4, len(values), 1, freq.size), complex)
    sums[0, :, 0] = values
    return Seen(sums, np.full(sums.shape, power), pairs, list(order), freq, freq.mean(), linked=False)


def fit_delays(values, pairs, freq, order):
    looked = seen(values, pairs, freq, order)
    delays, phases = guesses.fit_delays(looked.sums[0], looked)
    return delays[:, 0], phases[:, 0]


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
    found, at_centre = fit_delays(values + noise[0] + 1j * noise[1], pairs, freq, range(10))
    # Half a turn over the band is the limit of a fit's basin; a tenth leaves no doubt.
    assert np.abs(found - (delays - delays[0])).max() * band < 0.1
    assert wrapped(at_centre - (phases - phases[0])).max() < 0.5


def test_a_baseline_flagged_with_the_reference_is_no_obstacle():
    freq = 1e9 + 1e6 * np.arange(32)
    delays, phases, pairs, values = made(6, freq, 5, np.random.default_rng(1))
    values[(pairs == [0, 4]).all(1) | (pairs == [0, 3]).all(1)] = 0
    found, at_centre = fit_delays(values, pairs, freq, range(6))
    np.testing.assert_allclose(found, delays - delays[0], atol=0.02 / np.ptp(freq))
    assert wrapped(at_centre - (phases - phases[0])).max() < 0.05


def test_dead_antennas_keep_zero_and_another_leads():
    freq = 1e9 + 1e6 * np.arange(32)
    delays, _, pairs, values = made(6, freq, 5, np.random.default_rng(2))
    values[(pairs == 2).any(1)] = 0
    found, at_centre = fit_delays(values, pairs, freq, [2, 5, 0, 1, 3, 4])
    assert found[2] == at_centre[2] == found[5] == at_centre[5] == 0
    alive = [0, 1, 3, 4]
    np.testing.assert_allclose(found[alive], (delays - delays[5])[alive], atol=0.02 / np.ptp(freq))


def test_gaps_in_frequency_and_falling_frequencies():
    freq = (1e9 + 1e6 * np.delete(np.arange(64), slice(20, 31)))[::-1]
    delays, _, pairs, values = made(5, freq, 6, np.random.default_rng(3))
    found, _ = fit_delays(values, pairs, freq, range(5))
    np.testing.assert_allclose(found, delays - delays[0], atol=0.05 / np.ptp(freq))


def test_one_channel_gives_phases_only():
    freq = np.array([1e9])
    pairs = np.array([[0, 1]])
    found, at_centre = fit_delays(np.array([[np.exp(-0.7j)]]), pairs, freq, [0, 1])
    assert found.tolist() == [0, 0]
    assert at_centre[1] == pytest.approx(0.7)


def test_gains_of_random_phase_and_amplitude():
    rng = np.random.default_rng(4)
    pairs = np.array(np.triu_indices(12, 1)).T
    gains = rng.uniform(0.5, 2, 12) * np.exp(2j * np.pi * rng.uniform(size=12))
    values = gains[pairs[:, 0]] * gains[pairs[:, 1]].conj() * 7.0
    values[(pairs == 3).any(1)] = 0
    looked = seen(values[:, None], pairs, np.array([1e9]), [0, *range(1, 12)], power=7.0)
    found = guesses.fit_gains(looked.sums[0], looked.power[0], looked)[:, 0]
    alive = np.arange(12) != 3
    np.testing.assert_allclose(found[alive], gains[alive] * np.exp(-1j * np.angle(gains[0])), rtol=1e-5)
    assert found[3] == 1


@pytest.mark.parametrize("seed", range(3))
def test_electron_contents_and_delays(seed: int):
    rng = np.random.default_rng(seed)
    freq = 120e6 + np.linspace(0, 48e6, 96)
    pairs = np.array(np.triu_indices(8, 1)).T
    law = 8.4479745e9 * (1 / freq.mean() - 1 / freq)
    tec, phase = rng.uniform(-0.3, 0.3, 8), rng.uniform(-np.pi, np.pi, 8)
    wave = np.exp(1j * (phase[:, None] + tec[:, None] * law))
    noise = rng.normal(size=(2, len(pairs), freq.size))
    values = wave[pairs[:, 0]] * wave[pairs[:, 1]].conj() + 0.5 * (noise[0] + 1j * noise[1])
    looked = seen(values, pairs, freq, range(8))
    found, _ = guesses.fit_waves(looked.sums[0], looked, law)
    assert np.abs(found[:, 0] - (tec - tec[0])).max() * np.ptp(law) < 0.5
    delay = rng.uniform(-80e-9, 80e-9, 8)
    turns = -2 * np.pi * (freq - freq.mean())
    wave = wave * np.exp(1j * delay[:, None] * turns)
    values = wave[pairs[:, 0]] * wave[pairs[:, 1]].conj() + 0.3 * (noise[0] + 1j * noise[1])
    looked = seen(values, pairs, freq, range(8))
    late, bent, at = (part[:, 0] for part in guesses.fit_delays_and_waves(looked.sums[0], looked, law))
    got = np.exp(1j * (at[:, None] + late[:, None] * turns + bent[:, None] * law))
    agreement = np.abs((got * wave.conj() * (got * wave.conj())[0].conj()).mean(1))
    assert agreement.min() > 0.9


def turned(angles: np.ndarray, pairs: np.ndarray, freq: np.ndarray, polarised: float, rng: np.random.Generator) -> Seen:
    """Noisy sums in circular hands of data turned by angles (nant, nchan): RR by a_p - a_q, RL by a_p + a_q, and so on."""
    p, q = (np.exp(1j * angles[pairs[:, i]]) for i in (0, 1))
    clean = np.stack([p * q.conj(), polarised**2 * p * q, polarised**2 * (p * q).conj(), p.conj() * q])[:, :, None]
    noise = rng.normal(size=(2, *clean.shape)) * np.array([1, polarised, polarised, 1])[:, *[None] * 3]
    power = np.broadcast_to(np.array([1, polarised**2, polarised**2, 1])[:, *[None] * 3], clean.shape)
    sums = clean + 0.2 * (noise[0] + 1j * noise[1])
    return Seen(sums, power, pairs, range(len(angles)), freq, freq.mean(), linked=polarised > 0)


@pytest.mark.parametrize("polarised", [0, 0.3])
@pytest.mark.parametrize("kind", ["R", "F"])
def test_rotations_and_faraday_rotations(kind: str, polarised: float):
    """200 random truths: no wrong turn. Rotations by half a turn, of all antennas or of circular hands, are no rotations."""
    rng = np.random.default_rng(7)
    pairs = np.array(np.triu_indices(7, 1)).T
    for _ in range(200):
        freq = rng.uniform(0.2e9, 1.5e9) + np.linspace(0, 64e6, 32)
        law = (299792458.0 / freq) ** 2 if kind == "F" else np.ones(32)
        true = rng.uniform(-1, 1, 7) * (0.4 * np.pi / np.abs(np.diff(law)).max() if kind == "F" else np.pi)
        looked = turned(true[:, None] * law, pairs, freq if kind == "F" else freq[:1], polarised, rng)
        if kind == "F":
            found = guesses.fit_rotations(looked, law)
        else:
            one = Seen(
                *(v.sum(-1, keepdims=True) for v in (looked.sums, looked.power)),
                pairs,
                looked.order,
                freq[:1],
                0,
                polarised > 0,
            )
            found = guesses.fit_turns(one)
        wrong = (found - true[:, None]) * law
        assert wrapped(wrong - wrong[0]).max() < 0.5  # of the radian and a half at which a fit would go astray
        assert not polarised or wrapped(2 * wrong).max() < 1
