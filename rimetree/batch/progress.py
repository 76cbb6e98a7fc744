"""What a run shows while it works: tiles done, intervals converged, chi-squared, throughput and time left.

On a terminal one line that is drawn over itself, as wide as there is room for; in a log file a line now and then.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np

from ..status import Status
from ..telling import listening

DRAWN = 0.2
"""Seconds between two drawings on a terminal."""

LOGGED, SELDOM = 10.0, 0.1
"""Seconds between two lines of a log file at first; later this part of the time since the beginning, so that logs stay short."""

LONG = 2.0
"""Seconds after which a pass over several tiles is told of."""

Part = tuple[int, str]
"""Words, and how dispensable they are where there is little room: 0 not at all."""

Screen = Callable[[list[Part]], None]


class Progress:
    """Counts, and the words that say them, shown on a `screen` whenever there is something new."""

    def __init__(self, total: int = 0, screen: Screen | None = None, clock: Callable[[], float] = time.perf_counter):
        self.total, self.screen, self.clock = total, screen, clock
        self.finished = self.intervals = self.converged = self.data = self.bytes = 0
        self.chi2 = self.dof = 0.0
        self.now = ""
        """What is done at this moment, where that takes several passes over tiles, or iterations over several of them."""
        self.passes = 0
        self.since = (clock(), 0, 0, 0)
        """Time, tiles, visibilities and bytes when the first tile was done (compiling is over then): rates are since."""

    def reading(self, tiles: Iterable[Any], count: int, amount: Callable[[Any], tuple[int, int]]) -> Iterator[Any]:
        """Tiles of a pass, one of several over the same data; `amount` of visibilities and bytes of each."""
        self.passes += 1
        began = self.clock()
        try:
            for number, tile in enumerate(tiles, 1):
                spent = self.clock() - began
                if spent > LONG:
                    left = duration(spent / (number - 1) * (count - number + 1)) if number > 1 else ""
                    self.told(f"pass {self.passes}, tile {number} of {count}{left and f', {left} left of it'}")
                yield tile
                self.read(*amount(tile))
        finally:
            self.told("")
            close = getattr(tiles, "close", None)
            if close is not None:
                close()

    def read(self, visibilities: int, size: int) -> None:
        """So many visibilities and bytes were read."""
        self.data, self.bytes = self.data + visibilities, self.bytes + size

    def told(self, words: str) -> None:
        """What is done now (see `telling`)."""
        self.now = words or ("solving" if self.passes else "")
        self._show()

    def done(self, tiles: int, outcomes: Iterable[Any]) -> None:
        """Some tiles were finished: the outcomes of their fits."""
        self.finished, self.now, self.passes = self.finished + tiles, "", 0
        self.chi2 = self.dof = 0.0
        for outcome in outcomes:
            good = (outcome.status == Status.CONVERGED) & (outcome.dof > 0)
            self.intervals += int((outcome.status != Status.NO_DATA).sum())
            self.converged += int((outcome.status == Status.CONVERGED).sum())
            self.chi2 += float(np.sum(outcome.chi2[good]))
            self.dof += float(np.sum(outcome.dof[good]))
        if not self.since[1]:
            self.since = (self.clock(), self.finished, self.data, self.bytes)
        self._show()

    def parts(self) -> list[Part]:
        """`tiles 8 of 29 (28 %)`, `32 of 32 intervals converged`, `chi2/dof 1.02`, `41 M visibilities/s`, `310 MB/s`, `3 s left`."""
        share = f" ({100 * self.finished // self.total} %)" if self.finished < self.total else ""
        parts = [(0, f"tiles {self.finished} of {self.total}{share}")]
        if self.now:
            parts.append((1, self.now))
        if self.intervals:
            parts.append((3, f"{self.converged:,} of {self.intervals:,} intervals converged"))
        if self.dof > 0:
            parts.append((4, f"chi2/dof {self.chi2 / self.dof:.3g}"))
        then, tiles, data, size = self.since
        spent = self.clock() - then
        if spent > 0 and self.data > data:
            parts.append((5, f"{(self.data - data) / spent / 1e6:.3g} M visibilities/s"))
            parts.append((6, f"{(self.bytes - size) / spent / 1e6:.0f} MB/s"))
        if tiles and self.total > self.finished > tiles:
            parts.append((2, f"about {duration(spent / (self.finished - tiles) * (self.total - self.finished))} left"))
        return parts

    def _show(self) -> None:
        if self.screen is not None:
            self.screen(self.parts())


class Terminal:
    """One line that is drawn over itself; what is most dispensable is left out where the window is narrow."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.perf_counter) -> None:
        self.file, self.clock, self.last = file, clock, -np.inf

    def __call__(self, parts: list[Part]) -> None:
        """Draw, unless that was a moment ago."""
        if self.clock() - self.last >= DRAWN:
            self.last = self.clock()
            self.file.write(f"\r{fitting(parts, self._width())}\x1b[K")
            self.file.flush()

    def close(self) -> None:
        """Leave the line as if nothing had been there."""
        if self.last > -np.inf:
            self.file.write("\r\x1b[K")
            self.file.flush()

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self.file.fileno()).columns or 80
        except OSError:
            return 80


class Log:
    """A line now and then, the more seldom the longer the work goes on; none where it is over soon."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.perf_counter) -> None:
        self.file, self.clock = file, clock
        self.began = self.last = clock()

    def __call__(self, parts: list[Part]) -> None:
        """Write a line, if it is time."""
        now = self.clock()
        if now - self.last >= max(LOGGED, SELDOM * (now - self.began)):
            self.last = now
            print(", ".join(words for _, words in parts), file=self.file, flush=True)

    def close(self) -> None:
        """Nothing is left to do."""


def fitting(parts: list[Part], width: int) -> str:
    """As many of the words, joined by commas, as a line has room for, the most dispensable left out first."""
    kept = list(parts)
    while len(text := ", ".join(words for _, words in kept)) >= width and len(kept) > 1:
        kept.remove(max(kept))
    return text[: max(width - 1, 0)]


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def progress(total: int, shown: bool) -> Iterator[Progress]:
    """Of `total` tiles, on stderr while the block runs, if it is to be `shown`."""
    if not shown:
        yield Progress(total)
        return
    drawn = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    screen = Terminal(sys.stderr) if drawn else Log(sys.stderr)
    watch = Progress(total, screen)
    try:
        with listening(watch.told):
            yield watch
    finally:
        screen.close()
