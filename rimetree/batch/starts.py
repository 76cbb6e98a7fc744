"""Where to start a delay fit: delays and phases from the Fourier transform of the data over frequency.

A delay fit has one minimum per turn of phase across the band, so it must start within half a turn of the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..io.solutions import GroupSolutions, JonesTable, ParmTable, Solutions
from ..parms.intervals import bounds, freq_intervals, time_intervals
from ..status import Status
from .cascade import correlations
from .reference import Survey, baseline_numbers

PADDING = 8
"""Lags per inverse bandwidth."""

TILE_BYTES = 32e6
"""Data held at once."""


def delay_starts(
    ms: Any,
    term: str,
    solint: tuple[Any, Any],
    surveys: Sequence[Survey],
    *,
    centre: float,
    reference: str = "auto",
    data_column: str = "DATA",
    model_column: str = "MODEL_DATA",
    earlier: Solutions | None = None,
) -> Solutions:
    """Starting values for the Parms `<term>.delay_x`, `.phase_x`, `.delay_y`, `.phase_y` of every antenna.

    Per solution interval and parallel hand, sum_t w conj(M) D of every baseline is turned into delays by `fit_delays`;
    `earlier` solutions of other terms (diagonals only) are taken out of the data first. `centre`: frequency of the
    phases, Hz.
    """
    groups = []
    for number, (group, found) in enumerate(zip(ms.groups, surveys, strict=True)):
        slots = time_intervals(solint[0], group.time, group.interval, group.scan)
        chans = freq_intervals(solint[1], group.freq, group.width)
        jones = earlier.groups[number].jones if earlier is not None else []
        sums = _sums(ms, group, (data_column, model_column), slots, jones)
        values = np.zeros((2, 2, len(ms.antennas), slots[-1] + 1, chans[-1] + 1))
        pairs, order = baseline_numbers(ms), found.order(reference)
        for hand, t, f in np.ndindex(2, *values.shape[3:]):
            band = chans == f
            fitted = fit_delays(sums[hand, :, t, band].T, pairs, group.freq[band], centre, order)
            values[:, hand, :, t, f] = fitted
        times, freqs = bounds(slots, group.time, group.interval), bounds(chans, group.freq, group.width)
        tables = [
            _table(f"{term}.{kind}_{hand}", ms.antennas, values[k, h], times, freqs)
            for k, kind in enumerate(("delay", "phase"))
            for h, hand in enumerate("xy")
        ]
        groups.append(GroupSolutions(str(group.field_name), str(group.spw_id), tables, [], []))
    return Solutions(groups)


def _table(label: str, antennas: Sequence[str], values: np.ndarray, time: np.ndarray, freq: np.ndarray) -> ParmTable:
    return ParmTable(
        label,
        [f"{label}:{name}" for name in antennas],
        [(name,) for name in antennas],
        values[..., None, None],
        np.full((*values.shape, 1, 1), np.nan),
        np.full(values.shape, Status.CONVERGED, np.uint8),
        time,
        freq,
    )


def _sums(ms: Any, group: Any, names: tuple[str, str], slots: np.ndarray, earlier: Sequence[JonesTable]) -> np.ndarray:
    """(hand, baseline, time interval, channel): sum over slots of w conj(M) D."""
    hands = [correlations(group.corrs)[element] for element in (0, 3)]
    sums = np.zeros((2, len(ms.baselines), slots[-1] + 1, group.freq.size), np.complex128)
    length = max(1, int(TILE_BYTES // group.bytes_per_slot(names)))
    pairs = baseline_numbers(ms)
    for tile in ms.reader(group, names, length):
        inside = slots[tile.start : tile.stop]
        starts = np.flatnonzero(np.diff(inside, prepend=-1))
        factors = list(_factors(earlier, group, slice(tile.start, tile.stop)))
        for hand, corr in enumerate(hands):
            if corr < 0:
                continue
            product = _products(tile, names, corr)
            for values in factors:
                one, two = (values[pairs[:, side], :, :, hand] for side in (0, 1))
                product *= one.conj() * two
            sums[hand][:, inside[starts]] += np.add.reduceat(product, starts, axis=1)
    return sums


def _products(tile: Any, names: tuple[str, str], corr: int) -> np.ndarray:
    """w conj(M) D as (baseline, slot, channel), 0 where there is no good datum."""
    data, model = (tile.columns[name][..., corr] for name in names)
    with np.errstate(invalid="ignore", over="ignore"):
        product = model.conj() * data * tile.weights[..., corr]
    product[(tile.flags[..., corr] != 0) | ~np.isfinite(product)] = 0
    return np.where((tile.rows >= 0)[..., None], product[tile.rows], 0).astype(np.complex128)


def _factors(earlier: Sequence[JonesTable], group: Any, slots: slice) -> Iterator[np.ndarray]:
    """Diagonals of the earlier terms as (antenna, slot, channel, hand)."""
    for table in earlier:
        t = np.abs(table.time[None] - group.time[slots, None]).argmin(1)
        f = np.abs(table.freq[None] - group.freq[:, None]).argmin(1)
        picked = np.where(table.flags[..., None, None], np.nan, table.jones)[:, f][:, :, t]
        yield np.nan_to_num(np.stack([picked[..., c, c] for c in (0, 1)], -1).transpose(0, 2, 1, 3))


def fit_delays(
    values: np.ndarray, pairs: np.ndarray, freq: np.ndarray, centre: float, order: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Delays (s) and phases (rad, at `centre` Hz) of all antennas, from sums of conj(M) D (nbaseline, nchan).

    Antennas are added one by one to those known, beginning with the first of `order` that has data: next comes the one
    with most signal to all known ones together, whose baselines, turned by what is known, add up in phase. A baseline
    that is flagged, with the reference too, is thus no obstacle. A second round fits each antenna to all others.
    Antennas without data, and those not connected, have 0. Relative to the first.
    """
    count = len(order)
    strength = np.zeros((count, count))
    np.add.at(strength, tuple(pairs.T), np.abs(values).sum(1))
    strength += strength.T
    delays, phases = np.zeros(count), np.zeros(count)
    turned = np.zeros((count, freq.size), np.complex128)
    first = next((a for a in order if strength[a].any()), order[0])
    turned[first] = 1
    known = [first]

    def fit(antenna: int) -> None:
        delays[antenna], phases[antenna] = _peak(_stack(values, pairs, antenna, turned), freq, centre)
        turned[antenna] = np.exp(1j * (phases[antenna] - 2 * np.pi * delays[antenna] * (freq - centre)))

    while True:
        signal = strength[:, known].sum(1)
        signal[known] = 0
        antenna = int(signal.argmax())
        if signal[antenna] == 0:
            break
        fit(antenna)
        known.append(antenna)
    for antenna in known[1:]:
        turned[antenna] = 0
        fit(antenna)
    return delays, phases


def _stack(values: np.ndarray, pairs: np.ndarray, antenna: int, turned: np.ndarray) -> np.ndarray:
    """The sum over all baselines of an antenna, each turned by the other antenna's phase: (nchan,)."""
    as_first, as_second = pairs[:, 0] == antenna, pairs[:, 1] == antenna
    total = (values[as_first] * turned[pairs[as_first, 1]]).sum(0)
    result: np.ndarray = total + (values[as_second].conj() * turned[pairs[as_second, 0]]).sum(0)
    return result


def _peak(spectrum: np.ndarray, freq: np.ndarray, centre: float) -> tuple[float, float]:
    """Delay (s) and phase at `centre` of the highest peak of the padded transform, refined by a parabola."""
    if freq.size == 1:
        return 0.0, float(np.angle(spectrum[0]))
    step = float(np.abs(np.diff(freq)).min())
    place = np.rint((freq - freq.min()) / step).astype(int)
    length = PADDING * (1 << int(place.max()).bit_length())
    padded = np.zeros(length, np.complex128)
    padded[place] = spectrum
    lags = np.abs(np.fft.ifft(padded))
    peak = int(lags.argmax())
    left, top, right = lags[[peak - 1, peak, (peak + 1) % length]]
    bend = left - 2 * top + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    number = peak - length if peak >= length // 2 else peak
    delay = float((number + shift) / (length * step))
    return delay, float(np.angle((spectrum * np.exp(2j * np.pi * delay * (freq - centre))).sum()))
