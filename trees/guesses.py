"""Where to start: delays, phases, gains and waves of any frequency law, from averages of the data.

Many of these fits have one minimum per turn of phase across the band, so they must start within half a turn of the right
one. All are found antenna by antenna, from the reference antenna on: next comes the one with most signal to all known ones
together, whose baselines, turned by what is known, add up in phase. A baseline that is flagged is thus no obstacle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

PADDING = 8
"""Trials per inverse bandwidth."""

Search = Callable[[np.ndarray], tuple[float, ...]]
"""From a spectrum (nchan,) the coefficients of the wave that it is, its phase (rad) last."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the data say of one term, the others taken out: sums over the slots of each solution interval.

    sums    (4, nbaseline, ncell, nchan): sum of w conj(M) D of xx, xy, yx, yy; `power` the same of w |M|^2
    pairs   (nbaseline, 2): antennas; `order`: all antennas, the reference first
    freq    (nchan,) Hz; 1 where the channels are summed too; `centre` Hz
    linked  the phase between x and y is to be found too

    For terms that turn the polarisation x and y are the circular hands, whatever the feeds.
    """

    sums: np.ndarray
    power: np.ndarray
    pairs: np.ndarray
    order: Sequence[int]
    freq: np.ndarray
    centre: float
    linked: bool

    @property
    def parallel(self) -> np.ndarray:
        """Sums of both parallel hands, (nbaseline, ncell, nchan)."""
        total: np.ndarray = self.sums[0] + self.sums[3]
        return total

    @property
    def hands(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of xx and of yy."""
        return self.sums[0], self.sums[3]

    @property
    def cross(self) -> np.ndarray:
        """(ncell, nchan): what diag(z, 1), common to all antennas, multiplies the cross-hands by: |..| z."""
        total: np.ndarray = (self.sums[1] + self.sums[2].conj()).sum(0)
        return total

    def across(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """`cross` of data freed of gains x, y (nant, ncell, nchan or 1)."""
        p, q = self.pairs.T
        total: np.ndarray = (self.sums[1] * x[p].conj() * y[q] + (self.sums[2] * y[p].conj() * x[q]).conj()).sum(0)
        return total


def fit_turns(seen: Seen) -> np.ndarray:
    """Angles (rad; nant, ncell) that turn the polarisation: phases that the circular hands have with opposite signs."""
    power = seen.power[0] + seen.power[3]
    angles = np.angle(fit_gains(seen.sums[0] + seen.sums[3].conj(), power, seen))
    if seen.linked:
        wave = np.exp(1j * angles)[..., None]
        angles = angles + np.angle(seen.across(wave, wave.conj()).sum(-1)) / 2
    return np.asarray(angles)


def fit_rotations(seen: Seen, law: np.ndarray) -> np.ndarray:
    """Coefficients a (nant, ncell) of angles a law, `law` (nchan,) any function of frequency, that turn the polarisation.

    A band that is narrow against its frequency tells a by the bend of the phase only roughly, and then up to turns by the phase
    itself, which has no constant of its own.
    """
    (coefs, _) = fit_each(seen.sums[0] + seen.sums[3].conj(), seen, _pure(law), [law])
    if seen.linked:
        wave = np.exp(1j * coefs[..., None] * law)
        search = _pure(2 * law)
        coefs = coefs + np.array([search(spectrum)[0] for spectrum in seen.across(wave, wave.conj())])
    return np.asarray(coefs)


def _pure(law: np.ndarray) -> Search:
    """The wave exp(i a law) that a spectrum is, without a phase besides: among all by size, then near it by phase."""
    trials, waves = _trials(law)
    coarse = trials[1] - trials[0] if trials.size > 1 else np.pi / np.abs(law).max()
    fine = np.pi / (PADDING * np.abs(law).max())
    near = np.arange(-np.ceil(2 * coarse / fine), np.ceil(2 * coarse / fine) + 1) * fine
    around = np.exp(-1j * near[:, None] * law)

    def search(spectrum: np.ndarray) -> tuple[float, float]:
        first = float(trials[np.abs(waves @ spectrum).argmax()])
        centred = spectrum * np.exp(-1j * first * law)
        powers = (around @ centred).real
        # Tops a turn apart differ by less than what lies between two trials: they are compared where they are highest.
        tops = np.flatnonzero((powers[1:-1] >= powers[:-2]) & (powers[1:-1] >= powers[2:])) + 1
        places = near[tops] + np.array([_vertex(powers, int(top)) for top in tops]) * fine
        heights = (np.exp(-1j * places[:, None] * law) @ centred).real
        return first + (float(places[heights.argmax()]) if tops.size else 0.0), 0.0

    return search


def fit_delays(sums: np.ndarray, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Delays (s) and phases (rad, at the centre), each (nant, ncell), from sums (nbaseline, ncell, nchan)."""
    turns = -2 * np.pi * (seen.freq - seen.centre)
    delays, phases = fit_each(sums, seen, lambda spectrum: peak(spectrum, seen.freq, seen.centre), [turns])
    return delays, phases


def fit_waves(sums: np.ndarray, seen: Seen, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients a and phases of exp(i (phase + a bend)), `bend` (nchan,) any function of frequency."""
    trials, waves = _trials(bend)

    def search(spectrum: np.ndarray) -> tuple[float, float]:
        powers = np.abs(waves @ spectrum)
        best = int(powers.argmax())
        a = trials[best] + _vertex(powers, best) * (trials[1] - trials[0] if trials.size > 1 else 0)
        return float(a), float(np.angle((spectrum * np.exp(-1j * a * bend)).sum()))

    coefs, phases = fit_each(sums, seen, search, [bend])
    return coefs, phases


def fit_delays_and_waves(sums: np.ndarray, seen: Seen, bend: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Delays (s), coefficients of `bend` and phases at once: every trial of the one with the best of the other."""
    trials, waves = _trials(bend)
    turns = -2 * np.pi * (seen.freq - seen.centre)

    def search(spectrum: np.ndarray) -> tuple[float, float, float]:
        place, length, _ = _lags(seen.freq)
        padded = np.zeros((trials.size, length), np.complex128)
        padded[:, place] = waves * spectrum
        best = int(np.abs(np.fft.ifft(padded)).max(1).argmax())
        delay, phase = peak(spectrum * waves[best], seen.freq, seen.centre)
        return delay, float(trials[best]), phase

    delays, coefs, phases = fit_each(sums, seen, search, [turns, bend])
    return delays, coefs, phases


def fit_each(sums: np.ndarray, seen: Seen, search: Search, laws: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Coefficients of all antennas and cells, (nant, ncell) each, by `search` on one antenna after the other."""
    found = np.zeros((len(laws) + 1, len(seen.order), sums.shape[1]))
    for cell in range(sums.shape[1]):
        found[..., cell] = _connect(sums[:, cell], seen, search, laws)
    return iter(found)


def _connect(values: np.ndarray, seen: Seen, search: Search, laws: Sequence[np.ndarray]) -> np.ndarray:
    """One cell: values (nbaseline, nchan). Antennas without data, and those not connected, have 0; relative to the first."""
    count, pairs = len(seen.order), seen.pairs
    strength = np.zeros((count, count))
    np.add.at(strength, tuple(pairs.T), np.abs(values).sum(1))
    strength += strength.T
    found = np.zeros((len(laws) + 1, count))
    turned = np.zeros((count, values.shape[1]), np.complex128)
    first = next((a for a in seen.order if strength[a].any()), seen.order[0])
    turned[first] = 1
    known = [first]

    def fit(antenna: int) -> None:
        found[:, antenna] = search(_stack(values, pairs, antenna, turned))
        *coefs, phase = found[:, antenna]
        turned[antenna] = np.exp(1j * (phase + sum(c * law for c, law in zip(coefs, laws, strict=True))))

    while True:
        signal = strength[:, known].sum(1)
        signal[known] = 0
        antenna = int(signal.argmax())
        if signal[antenna] == 0:
            break
        fit(antenna)
        known.append(antenna)
    for antenna in known[1:]:  # a second round, each antenna from all others
        turned[antenna] = 0
        fit(antenna)
    return found


def _stack(values: np.ndarray, pairs: np.ndarray, antenna: int, turned: np.ndarray) -> np.ndarray:
    """The sum over all baselines of an antenna, each turned by the other antenna's phase: (nchan,)."""
    as_first, as_second = pairs[:, 0] == antenna, pairs[:, 1] == antenna
    total = (values[as_first] * turned[pairs[as_first, 1]]).sum(0)
    result: np.ndarray = total + (values[as_second].conj() * turned[pairs[as_second, 0]]).sum(0)
    return result


def peak(spectrum: np.ndarray, freq: np.ndarray, centre: float) -> tuple[float, float]:
    """Delay (s) and phase at `centre` of the highest peak of the padded Fourier transform, refined by a parabola."""
    if freq.size == 1:
        return 0.0, float(np.angle(spectrum[0]))
    place, length, step = _lags(freq)
    padded = np.zeros(length, np.complex128)
    padded[place] = spectrum
    lags = np.abs(np.fft.ifft(padded))
    best = int(lags.argmax())
    number = best - length if best >= length // 2 else best
    delay = float((number + _vertex(lags, best)) / (length * step))
    return delay, float(np.angle((spectrum * np.exp(2j * np.pi * delay * (freq - centre))).sum()))


def _lags(freq: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Where the channels lie in the padded transform, its length, and the step of its frequencies."""
    steps = np.abs(np.diff(freq))
    step = float(
        steps[steps > 1e-6 * np.ptp(freq)].min()
    )  # windows that overlap may have a channel each at one frequency
    place = np.rint((freq - freq.min()) / step).astype(int)
    return place, PADDING * (1 << int(place.max()).bit_length()), step


def _vertex(values: np.ndarray, best: int) -> float:
    """Where a parabola through the highest value and its neighbours has its top, relative to it."""
    left, top, right = values[[best - 1, best, (best + 1) % values.size]]
    bend = left - 2 * top + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0


def _trials(bend: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients to try, as far as the phase turns less than half between neighbouring channels; conjugate waves."""
    steps = np.abs(np.diff(bend))
    if not steps.size or not steps.max():
        return np.zeros(1), np.ones((1, bend.size), complex)
    most = np.pi / steps.max()
    count = int(np.clip(np.ceil(PADDING * np.ptp(bend) * most / (2 * np.pi)), 8, 4096))
    trials = np.linspace(-most, most, 2 * count + 1)
    return trials, np.exp(-1j * trials[:, None] * bend)


def fit_gains(sums: np.ndarray, power: np.ndarray, seen: Seen, rounds: int = 30) -> np.ndarray:
    """Complex gains (nant, ncell) with g_p conj(g_q) power = sums (nbaseline, ncell, nchan); 1 where an antenna has no data.

    Phases from the leading eigenvector of the matrix of unit phases, then alternating least squares with every second
    step averaged (StefCal: Salvini & Wijnholds 2014, A&A 571, A97, algorithm 1).
    """
    ratio, weight = _matrices(sums.sum(-1), power.sum(-1), seen)
    size = np.abs(ratio)
    units = np.divide(ratio, size, where=size > 0, out=np.zeros_like(ratio))
    strength = size.sum(-1)
    vector = units[np.arange(len(units)), :, strength.argmax(-1)] + 1e-3 * (strength > 0)
    for _ in range(rounds):
        vector = np.einsum("cpq,cq->cp", units * size, vector)
        norm = np.abs(vector)
        vector = np.divide(vector, norm, where=norm > 0, out=np.zeros_like(vector))
    scale = np.sqrt(size.sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1e-300))
    gains = vector * scale[:, None]
    for step in range(rounds):
        below = np.einsum("cpq,cq->cp", weight, np.abs(gains) ** 2)
        new = np.divide(np.einsum("cpq,cq->cp", ratio, gains), below, where=below > 0, out=np.zeros_like(gains))
        gains = (new + gains) / 2 if step % 2 else new
    dead = (gains == 0) | ~np.isfinite(gains)
    first = np.where(dead[:, seen.order[0]], 1, gains[:, seen.order[0]])
    result: np.ndarray = np.where(dead, 1, gains * (first.conj() / np.abs(first))[:, None]).T
    return result


def _matrices(sums: np.ndarray, power: np.ndarray, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Sums and powers (nbaseline, ncell) as Hermitian matrices (ncell, nant, nant)."""
    p, q = seen.pairs.T
    count = len(seen.order)
    ratio = np.zeros((sums.shape[1], count, count), complex)
    weight = np.zeros(ratio.shape)
    ratio[:, p, q], weight[:, p, q] = sums.T, power.T
    return ratio + ratio.conj().swapaxes(1, 2), weight + weight.swapaxes(1, 2)
