"""The plan of a run: what it reads, fits and writes, known before it begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..batch.tiling import COMFORT, WORKING
from ..parms.intervals import freq_intervals, time_intervals
from . import averages, steady
from .apply import ApplyRun
from .config import Step
from .passes import Pass, held
from .reference import SAMPLES
from .solve import SolveRun, guesses

RATE = 3.2e8
"""Bytes per second that a step gets through: reading and sums. This and the next ones were measured on K, G, B and apply, 10 to
28 antennas, 16 to 128 channels, two cores; for the estimates only."""

BASE = 4.4e8
"""Bytes of the process with its libraries and compiled kernels."""

SCRATCH = 1.6
"""Bytes held per byte of a tile's working memory: looking for outliers and for where to start takes copies."""

BEGIN = 4.0
"""Seconds in which nothing is read: loading, compiling forests, saving."""


@dataclass(slots=True)
class Totals:
    """Bytes read and written, and the most bytes held at once."""

    read: float = 0
    written: float = 0
    held: float = 0


def plan(solves: Sequence[SolveRun], applies: Sequence[ApplyRun]) -> list[str]:
    """Lines: per step and spectral window rows, cells, unknowns, bytes; the totals and an estimate of the time."""
    lines: list[str] = []
    totals = Totals()
    for work in solves:
        lines.append(f"solve: {work.data.path} -> {work.block.output}")
        for one in work.passes():
            lines += [_fit(work, one, window, ms, totals) for window, ms in work.selections(one)]
    for target in applies:
        block = target.block
        lines.append(f"apply: {', '.join(block.jones)} to {target.data.path}, column {block.output_col}")
        for window, ms in target.selections():
            read = sum(_read(group, {block.input_col}) for group in ms.groups)
            written = sum(_visibilities(group) for group in ms.groups) * (8 + block.propagate_flags)
            totals.read, totals.written = totals.read + read, totals.written + written
            totals.held = max(totals.held, _held(read))
            fields = ", ".join(g.field_name for g in ms.groups)
            lines.append(f"  {window.title}, {fields}: reads {_size(read)}, writes {_size(written)}")
    seconds = (totals.read + totals.written) / RATE + BEGIN
    lines.append(
        f"in all: reads {_size(totals.read)}, writes {_size(totals.written)}, about "
        f"{(totals.held + BASE) / 1e6:.0f} MB of memory and {seconds:.0f} s; all checks passed"
    )
    return lines


def _fit(work: SolveRun, one: Pass, window: Any, ms: Any, totals: Totals) -> str:
    block = work.block
    once = sum(_read(group, {block.data_col, block.model_col}) for group in ms.groups)
    looks = not one.again and guesses(one.steps[0], work.earlier(one))
    seen = sum(
        _read(group, {block.model_col}, weights=False) * min(SAMPLES, group.time.size) / group.time.size
        for group in ms.groups
    )
    first = one.steps[0]
    apart = not one.again and steady.helps(first, work.earlier(one), ms.groups)
    again = apart and not averages.serve(first.term, first.solint, bool(block.residual_threshold))
    read = once * (1 + looks + (2 * steady.ROUNDS - 1) * again) + seen
    totals.read += read
    totals.held = max(totals.held, _held(once))
    surveys = [work.data.survey(ms, group, block.model_col) for group in ms.groups]
    polarised = any(s.polarised for s in surveys)
    counts = [
        _cells(step, group, len(ms.antennas), held(step, one.steps, polarised))
        for step in one.steps
        for group in ms.groups
    ]
    cells, unknowns = (sum(column) for column in zip(*counts, strict=True))
    rows = sum(int((g.rows >= 0).sum()) for g in ms.groups)
    fields = ", ".join(g.field_name or "all fields" for g in ms.groups)
    return (
        f"  {one.title}, {window.title}, {fields}: {rows:,} rows, {cells:,} solution intervals, {unknowns:,} unknowns, "
        f"reads {_size(read)}"
    )


def _size(number: float) -> str:
    """Bytes as MB, three digits."""
    digits = max(0, 2 - int(np.floor(np.log10(max(number, 1) / 1e6))))
    return f"{number / 1e6:.{digits}f} MB"


def _visibilities(group: Any) -> int:
    return int((group.rows >= 0).sum()) * group.freq.size * len(group.corrs)


def _read(group: Any, columns: set[str], weights: bool = True) -> float:
    """Bytes of a group's columns, flags and weights (as of each channel)."""
    return float(_visibilities(group) * (8 * len(columns) + 1 + 4 * weights))


def _held(read: float) -> float:
    """Bytes of a tile's buffers and of what is made of them."""
    return SCRATCH * WORKING * min(read, COMFORT)


def _cells(step: Step, group: Any, antennas: int, still: Collection[str]) -> tuple[int, int]:
    """Solution intervals of a term on a group, and its real unknowns; `still`: Parms that are held on the reference antenna."""
    slots = time_intervals(step.solint[0], group.time, group.interval, group.scan)
    chans = freq_intervals(step.solint[1], group.freq, group.width)
    cells = int((slots[-1] + 1) * (chans[-1] + 1))
    total = 0
    for what, param in step.term.params.items():
        each = np.asarray(param.start).size * (2 if np.iscomplexobj(param.start) else 1)
        total += each * (1 if step.term.common else antennas - (what in still))
    return cells, cells * total
