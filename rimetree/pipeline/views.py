"""A Measurement Set seen through something: channels left out, outliers flagged, what is written caught in memory."""

# Kernels take arrays only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numba as nb
import numpy as np

from ..batch.cascade import correlations
from ..parms.intervals import freq_intervals, time_intervals
from ..solve.memory import OPTIONS
from ..solve.threads import in_turns, take
from ..trees.guesses import Seen
from .reference import baseline_numbers
from .rfi import Limits


class View:
    """A MeasurementSet of which some channels are hidden and outliers are flagged while reading.

    hidden  group -> (nchan,) True for channels that are not selected; None: all are
    limits  group -> amplitudes of `column` beyond which a sample is an outlier; None: there are none
    """

    def __init__(
        self,
        ms: Any,
        hidden: Callable[[Any], np.ndarray | None] | None = None,
        limits: Callable[[Any], Limits] | None = None,
        column: str = "DATA",
    ) -> None:
        self._ms, self._hidden, self._limits, self._column = ms, hidden, limits, column
        self._outliers: dict[tuple[int, int], int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ms, name)

    def reader(self, group: Any, columns: Sequence[str], tiles: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """As MeasurementSet.reader, with more flags."""
        hidden = self._hidden(group) if self._hidden else None
        for tile in self._ms.reader(group, columns, tiles, *args, **options):
            if hidden is not None:
                tile.flags[:, hidden] = 1
            if self._limits and self._column in tile.columns:
                self._outliers[id(tile.group), tile.start] = self._limits(group).flag(tile, self._column)
            yield tile

    @property
    def flagged(self) -> int:
        """Samples flagged as outliers, those of a tile that is read again counted once."""
        return sum(self._outliers.values())

    def recount(self) -> None:
        """Begin counting anew: other tiles come."""
        self._outliers.clear()


class Flagging(View):
    """A View through which flags are written, and nothing else: those of the data and of what a solver clipped, no others."""

    SINK = "CLIPPED"
    """The column that Sinks write, which is not there."""

    def __init__(self, ms: Any, *args: Any) -> None:
        super().__init__(ms, *args)
        self.clipped = 0
        """Samples flagged that were not before."""

    def reader(self, group: Any, columns: Sequence[str], tiles: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """As a View."""
        return super().reader(group, [c for c in columns if c != self.SINK], tiles, *args, **options)

    def ensure_column(self, name: str) -> None:
        """Nothing: no column is made."""

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """What is in the way of writing FLAG."""
        found: list[str] = self._ms.obstacles(read, {"FLAG"})
        return found

    def write(self, tile: Any, name: str, values: np.ndarray) -> None:
        """Nothing."""

    def write_flags(
        self, tile: Any, flags: np.ndarray | None, flagsets: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Add what was clipped to FLAG; channels hidden and outliers left out here keep the flags that they have."""
        fresh = np.zeros(tile.shape, bool) if flags is None else np.asarray(flags, bool) & (tile.flags == 0)
        if fresh.any() or flagsets:
            (own,) = self._ms.reader(tile.group, [], [slice(tile.start, tile.stop)], weights=False)
            self.clipped += int((fresh & (own.flags == 0)).sum())
            self._ms.write_flags(own, fresh, flagsets)


class Collector(View):
    """Catches two columns that a forest writes, D and M, and sums w conj(M) D over the cells of a term, per baseline."""

    def __init__(
        self, ms: Any, names: tuple[str, str], solint: tuple[Any, Any], spectral: bool, elements: Collection[int]
    ) -> None:
        super().__init__(ms)
        self.names, self.solint, self.spectral, self.elements = names, solint, spectral, elements
        self._sums: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}
        self._pending: dict[str, np.ndarray] = {}

    def ensure_column(self, name: str) -> None:
        """Nothing: no column is made."""

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """What is in the way of reading: nothing is written."""
        found: list[str] = self._ms.obstacles(read, set())
        return found

    def write(self, tile: Any, name: str, values: np.ndarray) -> None:
        """Take what a Sink writes."""
        self._pending[name] = values
        if len(self._pending) == len(self.names):
            data, model = (self._pending.pop(n) for n in self.names)
            self._add(tile, data, model)

    def _cells(self, group: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Sums (4, baseline, t, f), power, and the cell of every slot and channel; channels stay apart where spectral."""
        if id(group) not in self._sums:
            slots = time_intervals(self.solint[0], group.time, group.interval, group.scan)
            chans = freq_intervals(self.solint[1], group.freq, group.width)
            count = group.freq.size if self.spectral else chans[-1] + 1
            shape = (4, len(self._ms.baselines), slots[-1] + 1, count)
            self._sums[id(group)] = np.zeros(shape, np.complex128), np.zeros(shape), slots, chans
        return self._sums[id(group)]

    def _add(self, tile: Any, data: np.ndarray, model: np.ndarray) -> None:
        sums, power, slots, chans = self._cells(tile.group)
        inside = slots[tile.start : tile.stop]
        bands = np.arange(chans.size) if self.spectral else chans
        places = correlations(tile.group.corrs)
        for element in self.elements:
            if places[element] >= 0:
                cells = sums[element], power[element], inside, bands
                in_turns(_correlate, *cells, data, model, tile.weights, tile.flags, tile.rows, places[element])

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


@nb.njit(**OPTIONS)
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
                if flags[row, f, corr] == 0 and np.isfinite(value.real + value.imag + square):
                    sums[b, slots[s], bands[f]] += value
                    power[b, slots[s], bands[f]] += square
        b = take(counter)
