"""The plan of a run: what it reads, fits and writes, known before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..parms.intervals import freq_intervals, time_intervals
from .apply import ApplyRun
from .config import Step
from .solve import SolveRun

RATE = 2e8
"""Bytes per second that a step gets through, roughly, on two cores: reading and sums; for the estimate only."""


def plan(solves: Sequence[SolveRun], applies: Sequence[ApplyRun]) -> list[str]:
    """Lines: per step and spectral window rows, cells, unknowns, bytes; the totals and an estimate of the time."""
    lines: list[str] = []
    read = written = 0
    most = 0.0
    for work in solves:
        block = work.block
        lines.append(f"solve: {work.data.path} -> {block.output}")
        for one in work.passes():
            for window, ms in work.selections(one):
                size = sum(_bytes(group, 2) for group in ms.groups)
                cells, unknowns = (
                    sum(x)
                    for x in zip(*(_cells(s, g, len(ms.antennas)) for s in one.steps for g in ms.groups), strict=True)
                )
                rows = sum(int((g.rows >= 0).sum()) for g in ms.groups)
                fields = ", ".join(g.field_name or "all fields" for g in ms.groups)
                lines.append(
                    f"  {one.title}, {window.title}, {fields}: {rows:,} rows, {cells:,} solution intervals, "
                    f"{unknowns:,} unknowns, reads {size / 1e6:.0f} MB"
                )
                read += size * (2 if any(s.term.spectral for s in one.steps) else 1)
                most = max(most, min(size, 3 * 64e6))
    for target in applies:
        lines.append(f"apply: {', '.join(target.block.jones)} to {target.data.path}, column {target.block.output_col}")
        for window, ms in target.selections():
            size = sum(_bytes(group, 1) for group in ms.groups)
            fields = ", ".join(g.field_name for g in ms.groups)
            lines.append(f"  {window.title}, {fields}: reads {size / 1e6:.0f} MB, writes {size / 1e6:.0f} MB")
            read, written = read + size, written + size
            most = max(most, min(size, 3 * 64e6))
    seconds = (read + written) / RATE + 3
    lines.append(
        f"in all: reads {read / 1e6:.0f} MB, writes {written / 1e6:.0f} MB, about {(most + 4e8) / 1e6:.0f} MB of memory "
        f"and {seconds:.0f} s; all checks passed"
    )
    return lines


def _bytes(group: Any, columns: int) -> int:
    return int((group.rows >= 0).sum()) * group.freq.size * len(group.corrs) * 8 * columns


def _cells(step: Step, group: Any, antennas: int) -> tuple[int, int]:
    """Solution intervals of a term on a group, and its real unknowns."""
    slots = time_intervals(step.solint[0], group.time, group.interval, group.scan)
    chans = freq_intervals(step.solint[1], group.freq, group.width)
    cells = int((slots[-1] + 1) * (chans[-1] + 1))
    each = sum(np.asarray(p.start).size * (2 if np.iscomplexobj(p.start) else 1) for p in step.term.params.values())
    return cells, cells * each * (1 if step.term.common else antennas)
