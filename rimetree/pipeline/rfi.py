"""Outliers among visibilities: amplitudes far above the median of their baseline, correlation and scan.

How far is too far is found once, in a pass of its own: what is an outlier depends neither on tiles nor on memory.
"""

# Kernels take arrays only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels import kernel
from ..solve.algebra.memory import OPTIONS, float32s, peek, uint8s
from ..solve.algebra.threads import in_turns, take

SAMPLES = 10
"""Unflagged samples that a baseline must have in a scan before any is called an outlier."""

ENOUGH = 1024
"""Samples of a baseline and scan that tell the median, and sigma, to 4 % of sigma. Where there are more, every second slot
is looked at, or third..."""

HELD = 1 << 28
"""Bytes of amplitudes held at a time: fewer slots, where there are many baselines."""

PIECE = 1 << 26
"""Bytes of data read at a time."""

SIGMA = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Largest amplitudes that are no outliers: (baselines, scans, correlations); `scan` (nslot,): which of these a slot is in."""

    most: np.ndarray
    scan: np.ndarray

    def flag(self, tile: Any, column: str) -> int:
        """Flag the outliers of a tile, all correlations where one is. Returns how many samples were flagged."""
        scan = self.scan[tile.start : tile.stop]
        return sum(in_turns(_flag, tile.columns[column], tile.rows, tile.flags, self.most, scan))


def limits(ms: Any, group: Any, column: str, threshold: float, hidden: np.ndarray | None) -> Limits:
    """Median amplitude plus `threshold` robust sigmas (1.4826 times the median absolute deviation) of what is not flagged.

    `hidden` (nchan,): channels that do not count; None: all do.
    """
    numbers, scan = np.unique(group.scan, return_inverse=True)
    shape = len(group.rows), group.freq.size, len(group.corrs)
    most = np.full((shape[0], numbers.size, shape[2]), np.inf)
    unseen = np.zeros(shape[1], np.bool_) if hidden is None else hidden
    for number in range(numbers.size):
        slots = np.flatnonzero(scan == number)
        few = max(1, min(ENOUGH // shape[1], HELD // (4 * int(np.prod(shape)))))
        slots = slots[:: -(-slots.size // few)]
        size = np.full((slots.size, *shape), np.nan, np.float32)
        for tile in ms.reader(group, [column], _runs(slots, max(1, PIECE // max(1, group.bytes_per_slot([column]))))):
            first = int(np.searchsorted(slots, tile.start))
            in_turns(_fill, size[first:], tile.columns[column], tile.rows, tile.flags, unseen)
        in_turns(_limits, size, most[:, number], float(threshold))
    return Limits(most, scan.astype(np.int64))


def _runs(slots: np.ndarray, most: int) -> list[slice]:
    """Slots as slices of at most so many neighbours."""
    edges = np.flatnonzero(np.diff(slots) != 1) + 1
    runs = [(int(part[0]), int(part[-1]) + 1) for part in np.split(slots, edges)]
    return [slice(i, min(i + most, stop)) for start, stop in runs for i in range(start, stop, most)]


@kernel(**OPTIONS)
def _fill(size, values, rows, flags, hidden, counter):
    """size[slot, baseline] = amplitudes of a row, NaN where they do not count."""
    b = take(counter)
    while b < rows.shape[0]:
        for s in range(rows.shape[1]):
            row = rows[b, s]
            if row >= 0:
                for f in range(values.shape[1]):
                    for c in range(values.shape[2]):
                        x = values[row, f, c]
                        good = flags[row, f, c] == 0 and not hidden[f]
                        size[s, b, f, c] = np.sqrt(x.real * x.real + x.imag * x.imag) if good else np.float32(np.nan)
        b = take(counter)


@kernel(**OPTIONS)
def _limits(size, most, threshold, counter):
    """most (baselines, correlations) from amplitudes (slots, baselines, channels, correlations)."""
    slots, baselines, channels, corrs = size.shape
    room = np.empty(slots * channels, np.float32)
    b = take(counter)
    while b < baselines:
        for c in range(corrs):
            count = 0
            for s in range(slots):
                for f in range(channels):
                    if np.isfinite(size[s, b, f, c]):
                        room[count] = size[s, b, f, c]
                        count += 1
            if count >= SAMPLES:
                middle = np.median(room[:count])
                for i in range(count):
                    room[i] = abs(room[i] - middle)
                sigma = SIGMA * np.median(room[:count])
                if sigma > 0:
                    most[b, c] = middle + threshold * sigma
        b = take(counter)


@kernel(**OPTIONS)
def _flag(values, rows, flags, most, scan, counter):
    """Flag all correlations where one is above its limit; how many samples. Rows and correlations lie one after another."""
    fresh, corrs, n = 0, values.shape[2], values.shape[1] * values.shape[2]
    limit = np.empty(n, np.float32)
    squares = float32s(limit.ctypes.data)
    b = take(counter)
    while b < rows.shape[0]:
        last = -1
        for s in range(rows.shape[1]):
            row = rows[b, s]
            if row < 0:
                continue
            if scan[s] != last:
                last = scan[s]
                for i in range(n):
                    limit[i] = most[b, last, i % corrs] ** 2
            data, flag, hits = (
                float32s(values.ctypes.data + 8 * row * n),
                uint8s(flags.ctypes.data + row * n),
                np.int32(0),
            )
            for i in range(n):  # rows without any are told in SIMD code
                re, im = peek(data, 2 * i), peek(data, 2 * i + 1)
                hits += np.int32(re * re + im * im > peek(squares, i)) & np.int32(peek(flag, i) == 0)
            for f in range(values.shape[1] if hits else 0):
                hit = False
                for c in range(corrs):
                    x = values[row, f, c]
                    far = x.real * x.real + x.imag * x.imag > limit[f * corrs + c]
                    hit |= far and flags[row, f, c] == 0 and np.isfinite(x.real) and np.isfinite(x.imag)
                if hit:
                    for c in range(corrs):
                        fresh += flags[row, f, c] == 0
                        flags[row, f, c] |= 1
        b = take(counter)
    return fresh
