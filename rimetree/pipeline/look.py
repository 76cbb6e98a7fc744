"""A look at the data before a term is fitted: freed of other terms, and summed over its solution intervals."""

# Kernels take arrays only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from ..batch.cascade import correlations
from ..batch.tiling import COMFORT, WORKING, memory_limit
from ..graph.scope import Scope
from ..io.solutions import GroupSolutions, Solutions
from ..kernels import kernel
from ..parms.intervals import freq_intervals, time_intervals
from ..solve.algebra.memory import OPTIONS
from ..solve.algebra.threads import in_turns, take
from ..trees import chain
from ..trees.guesses import Seen
from ..trees.terms import Placed
from .reference import baseline_numbers
from .views import View

FREED, CORRUPTED = "FREED", "CORRUPTED"
"""What Sinks call data freed of terms, and a model with terms put in."""

Each = Callable[[Any, np.ndarray, np.ndarray], None]
"""Takes a tile, its data and its model, (nrow, nchan, ncorr) each."""


def look(
    ms: Any, left: Sequence[Placed], right: Sequence[Placed], fixed: Sequence[GroupSolutions], columns: tuple[str, str],
    memory: float | None, each: Each,
) -> None:  # fmt: skip
    """Go through the data once, with the terms to the left taken out of them, and those to the right put into the model."""
    if left or right:
        ns = Scope()
        chain.compare(ns, ms, left, right, columns, (FREED, CORRUPTED))
        catching = _Catching(ms, columns, [name for name, terms in ((FREED, left), (CORRUPTED, right)) if terms], each)
        ns.forest().run(catching, memory=memory, progress=False, fixed=Solutions(list(fixed)))
        return
    for group in ms.groups:
        most = min(COMFORT, memory_limit(memory) / WORKING) / max(group.bytes_per_slot(columns), 1)
        for tile in ms.reader(group, columns, max(1, int(most))):
            each(tile, *(tile.columns[name] for name in columns))


class _Catching(View):
    """Catches what Sinks write; what has none is as it was read."""

    def __init__(self, ms: Any, columns: tuple[str, str], names: Collection[str], each: Each) -> None:
        super().__init__(ms)
        self.columns, self.names, self.each = columns, names, each
        self._pending: dict[str, np.ndarray] = {}

    def ensure_column(self, name: str) -> None:
        """Nothing: no column is made."""

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """What is in the way of reading: nothing is written."""
        found: list[str] = self._ms.obstacles({*read, *self.columns}, set())
        return found

    def reader(self, group: Any, columns: Sequence[str], tiles: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """As a View, with both columns."""
        return super().reader(group, list(dict.fromkeys([*columns, *self.columns])), tiles, *args, **options)

    def write(self, tile: Any, name: str, values: np.ndarray) -> None:
        """Take what a Sink writes."""
        self._pending[name] = values
        if len(self._pending) == len(self.names):
            data, model = (tile.columns[column] for column in self.columns)
            self.each(tile, self._pending.pop(FREED, data), self._pending.pop(CORRUPTED, model))


class Collector:
    """Sums w conj(M) D over the cells of a term, per baseline; `circular`: of linear feeds, seen as circular ones."""

    def __init__(
        self, ms: Any, solint: tuple[Any, Any], spectral: bool, elements: Collection[int], circular: bool = False
    ) -> None:
        self.circular = circular
        self._ms, self.solint, self.spectral, self.elements = ms, solint, spectral, elements
        self._sums: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}

    def _cells(self, group: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sums (4, baseline, t, f), power, and the cell of every slot and channel; channels stay apart where spectral."""
        if id(group) not in self._sums:
            slots = time_intervals(self.solint[0], group.time, group.interval, group.scan)
            chans = freq_intervals(self.solint[1], group.freq, group.width)
            count = group.freq.size if self.spectral else chans[-1] + 1
            shape = (4, len(self._ms.baselines), slots[-1] + 1, count)
            self._sums[id(group)] = np.zeros(shape, np.complex128), np.zeros(shape), slots, chans
        return self._sums[id(group)]

    def add(self, tile: Any, data: np.ndarray, model: np.ndarray) -> None:
        """Add a tile, (nrow, nchan, ncorr) each."""
        sums, power, slots, chans = self._cells(tile.group)
        inside = slots[tile.start : tile.stop]
        bands = np.arange(chans.size) if self.spectral else chans
        places = correlations(tile.group.corrs)
        flags, weights = tile.flags, tile.weights
        if self.circular and min(places) >= 0:
            data, model = (_circular(values, places) for values in (data, model))
            flags = np.broadcast_to(flags.any(-1, keepdims=True), flags.shape)
            weights = np.broadcast_to(weights.mean(-1, keepdims=True), weights.shape)
            places = (0, 1, 2, 3)
        for element in self.elements:
            if places[element] >= 0:
                cells = sums[element], power[element], inside, bands
                in_turns(_correlate, *cells, data, model, weights, flags, tile.rows, places[element])

    def cells(self, group: Any) -> int:
        """Number of solution intervals of a group."""
        _, _, slots, chans = self._cells(group)
        return int((slots[-1] + 1) * (chans[-1] + 1))

    def seen(self, group: Any, order: Sequence[int], centre: float, linked: bool) -> Iterator[tuple[np.ndarray, Seen]]:
        """The sums of a group: for each part the flat numbers t * nf + f of its cells, and what is seen in them."""
        sums, power, slots, chans = self._cells(group)
        pairs, nt, nf = baseline_numbers(self._ms), slots[-1] + 1, chans[-1] + 1
        if not self.spectral:
            flat = (*sums.shape[:2], nt * nf, 1)
            yield (
                np.arange(nt * nf),
                Seen(sums.reshape(flat), power.reshape(flat), pairs, order, np.array([centre]), centre, linked),
            )
            return
        for f in range(nf):
            band = chans == f
            yield (
                np.arange(nt) * nf + f,
                Seen(sums[..., band], power[..., band], pairs, order, group.freq[band], centre, linked),
            )


def _circular(values: np.ndarray, places: Sequence[int]) -> np.ndarray:
    """RR, RL, LR, LL (..., 4) of four linear correlations: C V C^H with C = [[1, i], [1, -i]] / sqrt(2)."""
    xx, xy, yx, yy = (values[..., place] for place in places)
    even, odd, up, down = xx + yy, 1j * (yx - xy), xx - yy, 1j * (xy + yx)
    return np.stack([even + odd, up + down, up - down, even - odd], -1) / 2


@kernel(**OPTIONS)
def _correlate(sums, power, slots, bands, data, model, weights, flags, rows, corr, counter):
    """Add w conj(M) D and w |M|^2 of one correlation to the cells (baseline, t, f); what is not finite counts nowhere."""
    b = take(counter)
    while b < rows.shape[0]:
        for s in range(rows.shape[1]):
            row = rows[b, s]
            for f in range(data.shape[1] if row >= 0 else 0):
                d, m = np.complex128(data[row, f, corr]), np.complex128(model[row, f, corr])
                w = float(weights[row, f if weights.shape[1] > 1 else 0, corr])
                value, square = w * (m.conjugate() * d), w * (m.real * m.real + m.imag * m.imag)
                if (
                    flags[row, f, corr] == 0 and abs(value.real) + abs(value.imag) + square < np.inf
                ):  # isfinite(a sum) is folded
                    sums[b, slots[s], bands[f]] += value
                    power[b, slots[s], bands[f]] += square
        b = take(counter)
