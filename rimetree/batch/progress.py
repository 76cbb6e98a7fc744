"""What a run shows while it works: tiles done, intervals converged, chi-squared, throughput and time left.

On a terminal a bar and as many words as there is room for; in a log file a line now and then.
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

BAR = 20
"""Characters of the bar on a terminal."""

LOGGED, SELDOM = 10.0, 0.1
"""Seconds between two lines of a log file at first; later this part of the time since the beginning, so that logs stay short."""

LONG = 2.0
"""Seconds after which a pass over several tiles is told of."""

Part = tuple[int, str]
"""Words, and how dispensable they are where there is little room: 0 not at all."""


class Progress:
    """Counts, and the words that say them, shown on a `screen` whenever there is something new."""

    def __init__(
        self,
        total: int = 0,
        screen: Callable[[Progress], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
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
            self.screen(self)


class Terminal:
    """A bar and words beside it, drawn by rich; what is most dispensable is left out where the window is narrow."""

    def __init__(self, file: TextIO, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            BarColumn(BAR), TextColumn("{task.description}", markup=False), console=Console(file=file), transient=True
        )
        self.task = self.bar.add_task("", total=total)
        self.bar.start()

    def __call__(self, watch: Progress) -> None:
        """Show what is so now."""
        room = self.bar.console.width - BAR
        self.bar.update(self.task, completed=watch.finished, description=fitting(watch.parts(), room))

    def close(self) -> None:
        """Leave the terminal as if nothing had been there."""
        self.bar.stop()


class Log:
    """A line now and then, the more seldom the longer the work goes on; none where it is over soon."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.perf_counter) -> None:
        self.file, self.clock = file, clock
        self.began = self.last = clock()

    def __call__(self, watch: Progress) -> None:
        """Write a line, if it is time."""
        now = self.clock()
        if now - self.last >= max(LOGGED, SELDOM * (now - self.began)):
            self.last = now
            print(", ".join(words for _, words in watch.parts()), file=self.file, flush=True)

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
    screen = Terminal(sys.stderr, total) if drawn else Log(sys.stderr)
    watch = Progress(total, screen)
    try:
        with listening(watch.told):
            yield watch
    finally:
        screen.close()
