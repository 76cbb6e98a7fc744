"""Run a configuration: step after step of a chain of Jones terms, then apply all, save, plot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..graph.scope import Scope
from ..io.ms import MeasurementSet
from ..io.solutions import GroupSolutions, Solutions, check_writable
from ..solve.report import Report
from ..status import Status
from ..trees.chain import chain
from ..trees.terms import band_centre, term
from .config import Config, Step
from .reference import Survey, refer, survey
from .results import metadata
from .starts import delay_starts

NEAR = frozenset({Status.CONVERGED, Status.ITERATION_LIMIT, Status.STALLED})
"""Solutions good enough for other terms to be solved with, though not all to correct data with."""


@dataclass(slots=True, eq=False)
class ChainReport:
    """The outcome of a configuration: a report per step and spectral window, notes, and what was written."""

    data: str
    steps: list[tuple[str, Report]] = field(default_factory=list)
    final: list[Report] = field(default_factory=list)
    """Reports of the steps whose terms are not all solved again later: those that the solutions come from."""
    notes: list[str] = field(default_factory=list)
    solutions: str = ""
    plots: list[Path] = field(default_factory=list)
    tables: Solutions | None = None

    @property
    def converged(self) -> bool:
        """Whether every solution interval with data converged, in the last step of each term."""
        return all(report.converged for report in self.final)

    def __str__(self) -> str:
        return self._text(str)

    def full(self) -> str:
        """One line per component and solution interval."""
        return self._text(lambda report: report.full())

    def _text(self, show: Callable[[Report], str]) -> str:
        lines = [self.data]
        for title, report in self.steps:
            lines += [f"{title}: {report.plan}", *show(report).splitlines()[1:]]
        lines += self.notes
        lines += [f"solutions: {self.solutions}"] if self.solutions else []
        lines += [f"plots: {len(self.plots)} in {self.plots[0].parent}"] if self.plots else []
        return "\n".join(lines)


def run_chain(config: Config, *, progress: bool = True, dry_run: bool = False) -> ChainReport:
    """Do what a configuration says. Each spectral window is a chain of its own, with the delays' phases at its centre.

    Nothing is written before everything is solved; then the solution file, corrected data and plots, in this order.
    `dry_run` checks everything and solves nothing. Raises ConfigError or DataError, naming every obstacle.
    """
    selection = config.selection.model_dump(exclude_none=True)
    with MeasurementSet(config.ms, **selection) as whole:
        _check(config, whole)
        report = ChainReport(str(whole))
        windows = [_Window(config, *found, report, progress) for found in _windows(config, whole, selection)]
        if dry_run:
            report.notes += [f"step {i}: {_title(step)}" for i, step in enumerate(config.solve, 1)]
            return report
        for window in windows:
            window.solve()
        report.tables = Solutions([g for w in windows for g in w.solved.groups], _meta(config, report))
        if config.solutions is not None:
            report.tables.save(config.solutions, overwrite=config.overwrite)
            report.solutions = config.solutions
        if config.apply is not None:
            for window in windows:
                window.apply()
    if config.plots is not None:
        from ..io.plots import plot

        report.plots = plot(report.tables, config.plots)
    return report


def _check(config: Config, ms: MeasurementSet) -> None:
    """Everything that could go wrong later and can be known now."""
    obstacles = ms.obstacles(
        {config.data_column, config.model_column}, {config.apply.column} if config.apply else set()
    )
    for path in (config.solutions, config.plots):
        if path is not None and not Path(path).absolute().parent.is_dir():
            obstacles.append(f"{path}: there is no folder {Path(path).absolute().parent}; make it first")
    if obstacles:
        raise DataError("\n".join(obstacles))
    if config.solutions is not None:
        check_writable(config.solutions, config.overwrite)


def _windows(config: Config, whole: MeasurementSet, selection: dict[str, Any]) -> list[tuple[MeasurementSet, str]]:
    """A Measurement Set per spectral window, and what to call it."""
    if len(whole.spws) == 1:
        return [(whole, "")]
    chosen = [(window.id, {**selection, "spw": [window.id]}) for window in whole.spws]
    return [(MeasurementSet(config.ms, **options), f"spw {number}, ") for number, options in chosen]


def _title(step: Step) -> str:
    shown = []
    for name, (time, freq) in step.terms.items():
        per = [_per(time, "slot"), _per(freq, "channel")]
        shown.append(f"{name} (per {' x '.join(per)})")
    return ", ".join(shown)


def _per(interval: int | str | None, unit: str) -> str:
    """`10 slots`, `all channels`, `30s`."""
    if isinstance(interval, str):
        return interval
    return unit if interval == 1 else f"{'all' if interval is None else interval} {unit}s"


def _meta(config: Config, report: ChainReport) -> dict[str, str | float | int]:
    names = " ".join(name for step in config.solve for name in step.names)
    return {**metadata(report.steps[0][1]), "data": config.ms, "chain": names, "ref_ant": config.ref_ant}


class _Window:
    """One spectral window of a run: its data, and what is solved so far."""

    def __init__(self, config: Config, ms: MeasurementSet, name: str, report: ChainReport, progress: bool) -> None:
        self.config, self.ms, self.name, self.report, self.progress = config, ms, name, report, progress
        self.surveys: list[Survey] = [survey(ms, group, config.model_column) for group in ms.groups]
        for found in self.surveys:
            found.order(config.ref_ant)  # an unknown reference antenna must be said before the work, not after
        self.terms: dict[str, Any] = {}
        groups = [GroupSolutions(str(g.field_name), str(g.spw_id), [], [], []) for g in ms.groups]
        self.solved = Solutions(groups)

    def solve(self) -> None:
        """All steps, each with the terms before it held fixed."""
        for number, step in enumerate(self.config.solve, 1):
            title = f"{self.name}step {number}, {_title(step)}"
            if self.progress:
                print(title, file=sys.stderr)
            start = self._starts(step)
            self.terms |= step.terms
            options = {"solve": step.names, "max_iter": step.max_iter}
            result = self._run(options, start)
            self.report.steps.append((title, result))
            later = {name for other in self.config.solve[number:] for name in other.names}
            self.report.final += [] if later.issuperset(step.names) else [result]
            self._keep(result)

    def apply(self) -> None:
        """Write the corrected data."""
        wanted = self.config.apply
        if wanted is not None:
            result = self._run({"out": wanted.column, "flag": wanted.flag}, None, frozenset({Status.CONVERGED}))
            self.report.steps.append((f"{self.name}apply to {wanted.column}", result))

    def _run(self, options: dict[str, Any], start: Solutions | None, good: frozenset[Status] = NEAR) -> Report:
        ns, config = Scope(), self.config
        options |= {"data_column": config.data_column, "model_column": config.model_column}
        chain(ns, self.ms, self.terms, **options)
        result: Report = ns.forest().run(
            self.ms, memory=config.memory, progress=self.progress, start=start, fixed=_usable(self.solved, good)
        )
        return result

    def _starts(self, step: Step) -> Solutions | None:
        """Where the terms of a step start: at their earlier solutions; delays at the peaks of Fourier transforms."""
        again = [name for name in step.names if name in self.terms]
        groups = list(self.solved.groups) if again else []
        for name, solint in step.terms.items():
            if term(name).delays and name not in again:
                found = delay_starts(
                    self.ms,
                    name,
                    solint,
                    self.surveys,
                    centre=band_centre(group.freq for group in self.ms.groups),
                    reference=self.config.ref_ant,
                    data_column=self.config.data_column,
                    model_column=self.config.model_column,
                    earlier=self.solved,
                )
                groups += found.groups
        return Solutions(groups) if groups else None

    def _keep(self, result: Report) -> None:
        """Refer the phases of new solutions to the reference antenna, and add them to those of earlier steps."""
        tables: Solutions = result.tables
        for mine, new, found in zip(self.solved.groups, tables.groups, self.surveys, strict=True):
            notes = refer(new, found, self.config.ref_ant)
            self.report.notes += [f"{self.name}{note}" for note in notes]
            fresh = {table.label for table in new.parms} | {table.label for table in new.jones}
            mine.parms = [t for t in mine.parms if t.label not in fresh] + new.parms
            mine.jones = [t for t in mine.jones if t.label not in fresh] + new.jones
            mine.solvers += new.solvers


def _usable(solutions: Solutions, good: frozenset[Status]) -> Solutions:
    """NaN where the status is not good: data there must be neither used by later steps nor corrected."""
    groups = []
    for group in solutions.groups:
        parms = [
            replace(t, values=np.where(np.isin(t.status, list(good))[..., None, None], t.values, np.nan))
            for t in group.parms
        ]
        groups.append(replace(group, parms=parms))
    return Solutions(groups)
