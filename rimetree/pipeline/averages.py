"""Data averaged over channels, in memory: what is fitted many times over is read once.

Where all terms of a chain are diagonal, V_pq = J_p M_pq conj(J_q) holds correlation by correlation. With a guess at J taken out, V / (J M)
hardly varies with frequency, and its weighted mean over a few channels, with that guess at the middle put in again, is as good a
datum as these: equated with J_p conj(J_q), at the weight sum w |M|^2.
"""

# Kernels take arrays only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..batch.cascade import correlations
from ..batch.tiling import memory_limit
from ..io.joined import JoinedGroup
from ..io.slots import Group
from ..io.solutions import GroupSolutions, Solutions
from ..io.tile import Tile
from ..kernels import kernel
from ..parms.intervals import time_intervals
from ..solve.algebra.memory import OPTIONS
from ..solve.algebra.threads import in_turns, take
from ..trees import chain
from ..trees.terms import Placed, Term
from ..trees.terms.base import Interval
from .interpolate import NEAR
from .jones import own_axes
from .look import look
from .reference import baseline_numbers
from .tabulate import evaluated
from .views import View

BINS = 16
"""Bins of neighbouring channels that a band is divided into; within them a slope is not seen, 1/BINS^2 of what data say of it."""

SLACK = 0.05
"""Radians over a bin by which the guess at an antenna may be wrong: a baseline so loses (2 SLACK)^2 / 24 of its amplitude at most."""

HELD = 1 << 26
"""Bytes of a guess that are worked out at once."""

SHARE = 0.2
"""Of the memory, for averages."""


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Of the channels of a group: the bin that each is in (nchan,), and the edges (nbin, 2) of the bins in Hz."""

    of: np.ndarray
    edges: np.ndarray

    @classmethod
    def divide(cls, freq: np.ndarray, width: np.ndarray) -> Bins:
        """Every run of channels without a gap is divided into `BINS`, or into its channels where it has fewer."""
        steps = np.abs(np.diff(freq))
        gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if steps.size else np.zeros(0, int)
        of, first = np.empty(freq.size, np.int64), 0
        for run in np.split(np.arange(freq.size), gaps):
            of[run] = first + np.arange(run.size) // -(-run.size // BINS)
            first = of[run[-1]] + 1
        low, high = np.full(first, np.inf), np.full(first, -np.inf)
        np.minimum.at(low, of, freq - abs(width) / 2)
        np.maximum.at(high, of, freq + abs(width) / 2)
        return cls(of, np.array([low, high]).T)


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """The averages of a group, rows slot by slot: data (nrow, nbin, ncorr), weights.

    `elements`: of [[xx, xy], [yx, yy]] those that are there; `kept`: which correlations of the data these are.
    """

    group: Group
    data: np.ndarray
    weights: np.ndarray
    elements: Sequence[int]
    kept: Sequence[int]


class Averages(View):
    """Averaged data in the place of a MeasurementSet; `columns`: what data and model, which is 1, are called; `guess`: the
    solutions of the term `solved` that were taken out, None for its start."""

    def __init__(
        self, ms: Any, solved: Placed, columns: tuple[str, str], means: Sequence[Means], guess: Sequence[GroupSolutions | None],
    ) -> None:  # fmt: skip
        super().__init__(ms)
        self.solved, self.columns, self.means, self.guess = solved, columns, means, guess
        self.groups = [mean.group for mean in means]

    @property
    def bytes_read(self) -> int:
        """What they were made of."""
        return sum(g.bytes_per_slot(self.columns) * g.time.size for g in self._ms.groups)

    @property
    def words(self) -> str:
        """For reports."""
        counts = dict.fromkeys(str(mean.group.freq.size) for mean in self.means)
        return f"averaged over channels to {', '.join(counts)}"

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """None: all is there."""
        return []

    def reader(self, group: Any, columns: Sequence[str], tiles: Any, *args: Any, **options: Any) -> Iterator[Tile]:
        """As MeasurementSet.reader."""
        mean = next(m for m in self.means if m.group is group)
        ones = np.ones((0, *mean.data.shape[1:]), np.complex64)
        for part in tiles:
            there = group.rows[:, part].T >= 0
            rows = np.where(there, np.arange(there.size, dtype=np.int32).reshape(there.shape), np.int32(-1))
            inside = slice(part.start * len(group.rows), part.stop * len(group.rows))
            data, weights = mean.data[inside], mean.weights[inside]
            if len(ones) < len(data):
                ones = np.ones(data.shape, np.complex64)
            found = dict(zip(self.columns, (data, ones[: len(data)]), strict=True))
            flags = (weights == 0).view(np.uint8)
            numbers = np.arange(inside.start, inside.stop)
            yield Tile(
                group, part.start, part.stop, np.ascontiguousarray(rows.T), numbers, found, flags, weights, "", None, 0
            )

    def hold(self, found: Sequence[GroupSolutions]) -> bool:
        """Whether the guess was near enough to what was found that averaging has not changed the data."""
        for mean, before, after in zip(self.means, self.guess, found, strict=True):
            group = mean.group
            edges = (group.freq[:, None] + group.width[:, None] * [-0.5, 0.5]).ravel()
            slots = np.arange(group.time.size)
            (old, *_), (new, good, _) = (
                _diagonal(self.solved, self.antennas, tables, group, edges, slots) for tables in (before, after)
            )
            turn = (new * old.conj()).reshape(*new.shape[:-1], -1, 2)
            over = np.angle(turn[..., 1] * turn[..., 0].conj())
            if (abs(over) > SLACK).any(where=good[..., None]):
                return False
        return True


def serve(term: Term, solint: Interval, robust: bool) -> bool:
    """Whether averages may serve: the term varies smoothly over the whole band, and no outliers are to be told among samples."""
    return term.spectral and solint[1] in (None, "all") and not robust


def average(
    ms: Any, left: Sequence[Placed], right: Sequence[Placed], fixed: Sequence[GroupSolutions], solved: Placed,
    start: Solutions | None, hands: str, columns: tuple[str, str], memory: float | None,
) -> Averages | None:  # fmt: skip
    """Averages over channels, the terms to the left and right taken out, `solved` as at its start taken as near enough.

    None where that would need too much memory.
    """
    elements = sorted(chain.ELEMENTS.get(hands, (0, 1, 2, 3)))
    began: list[Any] = [None] * len(fixed) if start is None else start.groups
    means = {id(group): _empty(group, elements) for group in ms.groups}
    if sum(m.data.nbytes + m.weights.nbytes for m in means.values()) > SHARE * memory_limit(memory):
        return None
    guesses = [_Guess(solved, ms.antennas, *each) for each in zip(ms.groups, means.values(), began, strict=True)]
    pairs, guess_of = baseline_numbers(ms), dict(zip(means, guesses, strict=True))

    def add(tile: Any, data: np.ndarray, model: np.ndarray) -> None:
        mean, first = means[id(tile.group)], tile.start * len(tile.rows)
        bins, guess = Bins.divide(tile.group.freq, tile.group.width).of, guess_of[id(tile.group)]
        in_turns(
            _average, mean.data[first:], mean.weights[first:], data, model, tile.weights, tile.flags, tile.rows,
            np.array(mean.kept), np.array(mean.elements), bins, pairs, *guess.at(tile.start, tile.stop),
        )  # fmt: skip

    ms.recount()
    look(ms, [], [*left, *right], fixed, columns, memory, add)
    return Averages(ms, solved, columns, list(means.values()), began)


def _empty(group: Any, elements: Sequence[int]) -> Means:
    """Room for the averages of a group."""
    places = correlations(group.corrs)
    pairs = sorted((places[e], e) for e in elements if places[e] >= 0)
    bins = Bins.divide(group.freq, group.width)
    edges = bins.edges
    own = {
        "freq": edges.mean(1),
        "width": np.diff(edges)[:, 0],
        "corrs": tuple(group.corrs[place] for place, _ in pairs),
    }
    own |= {"channels": slice(0, len(edges)), "whole": True}
    if isinstance(group, JoinedGroup):
        own["windows"] = {number: np.unique(bins.of[channels]) for number, channels in group.windows.items()}
    shape = group.rows.size, len(edges), len(pairs)
    data, weights = np.zeros(shape, np.complex64), np.zeros(shape, np.float32)
    return Means(replace(group, **own), data, weights, [e for _, e in pairs], [place for place, _ in pairs])


class _Guess:
    """A term as it is taken out, worked out for some slots at a time."""

    def __init__(
        self, solved: Placed, antennas: Sequence[str], group: Any, mean: Means, tables: GroupSolutions | None
    ) -> None:
        self.solved, self.antennas, self.group, self.tables = solved, antennas, mean.group, tables
        self.freq = np.concatenate([group.freq, mean.group.freq])
        self.slots = max(1, HELD // (32 * len(antennas) * self.freq.size))
        self.part = slice(0, 0)

    def at(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y (2, nant, ncell, nchan + nbin), in the channels and in the middle of the bins; the cell of every slot."""
        if not self.part.start <= start <= stop <= self.part.stop:
            self.part = slice(start, max(stop, min(start + self.slots, self.group.time.size)))
            slots = np.arange(self.part.start, self.part.stop)
            self.values, _, self.cells = _diagonal(
                self.solved, self.antennas, self.tables, self.group, self.freq, slots
            )
        return self.values, self.cells[start - self.part.start : stop - self.part.start]


def _diagonal(
    solved: Placed,
    antennas: Sequence[str],
    tables: GroupSolutions | None,
    group: Group,
    freq: np.ndarray,
    slots: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elements x and y of a term (2, nant, ncell, nfreq), where they are solutions (nant, ncell), and the cell of every slot.

    A cell is a slot, or a whole solution interval where the Parms do not vary within. 1 where there are no tables.
    """
    if tables is None:
        return (
            np.ones((2, len(antennas), 1, freq.size), complex), np.ones((len(antennas), 1), bool), np.zeros(slots.size, int)
        )  # fmt: skip
    inside = time_intervals(solved.solint[0], group.time, group.interval, group.scan)[slots]
    constant = all(p.shape.constant(np.shape(np.atleast_2d(p.start))) for p in solved.term.params.values())
    steady = constant and "time" not in own_axes(solved, antennas)
    cells = inside - inside[0] if steady else np.arange(slots.size)
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    jones, status = evaluated(solved, antennas, tables, group, freq, slots[first])
    return np.ascontiguousarray(jones[..., [0, 1], [0, 1]].transpose(3, 0, 2, 1)), np.isin(status, list(NEAR)), cells


@kernel(**OPTIONS)
def _average(out, weight, data, model, weights, flags, rows, corrs, elements, bins, pairs, jones, cells, counter):
    """out = m (sum of w conj(e M) D) / (sum of w |e M|^2) over the channels of each bin; its weight: the latter over |m|^2.

    e and m = jones_p conj(jones_q) in the channel and in the middle of the bin, jones (2, nant, ncell, nchan + nbin) in the slot's cell.
    What is not finite counts nowhere.
    """
    count, chans = out.shape[1], data.shape[1]
    sums, power = np.zeros(count, np.complex128), np.zeros(count)
    b = take(counter)
    while b < rows.shape[0]:
        p, q = pairs[b]
        for s in range(rows.shape[1]):
            row, t = rows[b, s], cells[s]
            for k in range(corrs.size if row >= 0 else 0):
                c, x, y = corrs[k], elements[k] // 2, elements[k] % 2
                sums[:], power[:] = 0, 0
                for f in range(chans):
                    guess = jones[x, p, t, f] * jones[y, q, t, f].conjugate()
                    d, m = np.complex128(data[row, f, c]), guess * np.complex128(model[row, f, c])
                    w = float(weights[row, f if weights.shape[1] > 1 else 0, c])
                    value, square = w * (m.conjugate() * d), w * (m.real * m.real + m.imag * m.imag)
                    if (
                        flags[row, f, c] == 0 and abs(value.real) + abs(value.imag) + square < np.inf
                    ):  # isfinite(a sum) is folded
                        sums[bins[f]] += value
                        power[bins[f]] += square
                for i in range(count):
                    guess = jones[x, p, t, chans + i] * jones[y, q, t, chans + i].conjugate()
                    size = guess.real * guess.real + guess.imag * guess.imag
                    if power[i] > 0 and 0 < size < np.inf:
                        out[s * rows.shape[0] + b, i, k] = guess * sums[i] / power[i]
                        weight[s * rows.shape[0] + b, i, k] = power[i] / size
        b = take(counter)
