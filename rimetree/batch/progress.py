"""What a run shows while it works: tiles done, intervals converged, chi-squared, throughput and time left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..status import Status


class Progress:
    """Counts, and the line that says them; the bar is drawn where a person is watching."""

    def __init__(self, bar: Any = None, task: Any = None) -> None:
        self.bar, self.task = bar, task
        self.began = time.perf_counter()
        self.intervals = self.converged = self.data = self.bytes = 0
        self.chi2 = self.dof = 0.0

    def done(self, tiles: int, outcomes: Iterable[Any], visibilities: int, size: int) -> None:
        """Some tiles were finished: the outcomes of their fits, and how many visibilities and bytes they had."""
        self.data, self.bytes = self.data + visibilities, self.bytes + size
        for outcome in outcomes:
            good = (outcome.status == Status.CONVERGED) & (outcome.dof > 0)
            self.intervals += int((outcome.status != Status.NO_DATA).sum())
            self.converged += int((outcome.status == Status.CONVERGED).sum())
            self.chi2, self.dof = float(np.sum(outcome.chi2[good])), float(np.sum(outcome.dof[good]))
        if self.bar is not None:
            self.bar.update(self.task, advance=tiles, line=self.line())

    def line(self) -> str:
        """`118 of 120 intervals converged, chi2/dof 1.02, 310 MB/s, 41 M visibilities/s`."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        parts = []
        if self.intervals:
            parts.append(f"{self.converged:,} of {self.intervals:,} intervals converged")
        if self.dof > 0:
            parts.append(f"chi2/dof {self.chi2 / self.dof:.3g}")
        if self.data:
            parts.append(f"{self.bytes / seconds / 1e6:.0f} MB/s")
            parts.append(f"{self.data / seconds / 1e6:.3g} M visibilities/s")
        return ", ".join(parts)


@contextmanager
def progress(total: int, shown: bool) -> Iterator[Progress]:
    """A bar of `total` tiles on stderr while the block runs; without a terminal nothing is drawn."""
    if not shown:
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("tiles"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[line]}")
    )  # fmt: skip
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield Progress(bar, bar.add_task("", total=total, line=""))
