"""Run a configuration: solve, fluxscale and apply blocks, in this order, whatever their order in the file."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..io.atomic import check_writable
from ..io.caltable import CalFile
from ..solve.result.report import Report, counted
from . import syntax
from .apply import ApplyRun
from .config import Config, Solve
from .data import Data
from .fluxscale import FluxscaleRun, Scale
from .mistakes import Mistakes, Place
from .passes import Pass
from .plan import plan
from .solve import Fitted, SolveRun


@dataclass(slots=True, eq=False)
class RunReport:
    """The outcome of a run: per step and spectral window what was fitted, notes, flux scales, files written."""

    steps: list[Fitted] = field(default_factory=list)
    final: list[Report] = field(default_factory=list)
    """Reports of the fits that the solutions come from, rather than from a later one."""
    notes: list[str] = field(default_factory=list)
    scales: list[Scale] = field(default_factory=list)
    files: dict[str, CalFile] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    page: str = ""
    seconds: float = 0.0

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
        lines = []
        for step in self.steps:
            lines += [f"{step.title}: {step.report.plan}", *show(step.report).splitlines()[1:]]
            lines += [f"  {counted(step.flagged, 'sample')} left out as outliers"] if step.flagged else []
            lines += [f"  {note}" for note in step.notes]
        lines += [*self.notes, *(f"fluxscale {scale}" for scale in self.scales)]
        lines += [f"solutions: {path}" for path in self.written]
        lines += [f"report: {self.page}"] if self.page else []
        return "\n".join(lines)


def run(
    config: Config, *, overwrite: bool = False, resume: bool = False, dry_run: bool = False, progress: bool = True
) -> RunReport:
    """Do what a configuration says. Everything that can be known before is checked before.

    Every solution file is written whole after each step. `resume`: steps that such a file has already are not done again;
    `overwrite`: existing files are replaced. Raises ConfigError or DataError, naming every obstacle.
    """
    runner = _Run(config, overwrite, resume, progress)
    try:
        runner.check()
        if dry_run:
            runner.report.notes += plan(runner.solves, runner.applies)
        else:
            runner.execute()
    finally:
        runner.close()
    return runner.report


class _Run:
    """One run: its blocks with their data, the solution files by path."""

    def __init__(self, config: Config, overwrite: bool, resume: bool, progress: bool) -> None:
        self.config, self.overwrite, self.resume, self.progress = config, overwrite, resume, progress
        self.report = RunReport()
        self.files: dict[str, CalFile] = self.report.files
        self._data: dict[Any, Data] = {}
        self._began = time.perf_counter()
        self.wrong = Mistakes()
        self._prepare_files()
        self.solves: list[SolveRun] = []
        self.applies: list[ApplyRun] = []
        for i, block in enumerate(config.solve):
            data = self._open(("solve", i), block.ms, block.taql, block.antennas)
            if data is not None:
                work = SolveRun(block, self.files.setdefault(block.output, CalFile()), data, progress)
                self.wrong.within(("solve", i), work.check())
                self.solves.append(work)
        for i, target in enumerate(config.apply):
            data = self._open(("apply", i), target.ms, target.taql)
            if data is not None:
                correction = ApplyRun(target, data, progress)
                self.wrong.within(("apply", i), correction.check())
                self.applies.append(correction)
        self.report.notes += dict.fromkeys(work.note for work in self.solves if work.note)

    def _open(self, place: Place, path: str | list[str], taql: str | None, antennas: Any = None) -> Data | None:
        """The data of a block; None where they cannot be opened."""
        key = (str(path), taql, str(antennas))
        if key not in self._data:
            try:
                self._data[key] = Data(path, taql, antennas)
            except (ConfigError, DataError) as error:
                self.wrong.add((*place, getattr(error, "about", "") or "ms"), str(error), type(error))
                return None
        return self._data[key]

    def _prepare_files(self) -> None:
        """Files that are there are read, those that will be written are begun."""
        config, wrong = self.config, self.wrong
        outputs: dict[str, Place] = {block.output: ("solve", i, "output") for i, block in enumerate(config.solve)}
        scaled: dict[str, Place] = {
            block.output: ("fluxscale", i, "output") for i, block in enumerate(config.fluxscale)
        }
        for path, place in outputs.items():
            found = Path(path).exists()
            try:
                check_writable(path, overwrite=self.overwrite or self.resume)
                self.files[path] = CalFile.load(path) if found and self.resume else CalFile()
            except DataError as error:
                text = str(error).replace("choose another name, or allow overwriting (overwrite=True, --overwrite)", "")
                again = text.strip().rstrip(";") + "; --overwrite replaces it, --resume continues it"
                wrong.add(place, again if found else text, DataError)
        for path, place in self._needed():
            if path not in outputs | scaled or (path in scaled.keys() - outputs.keys() and self._read_first(path)):
                if path in self.files:
                    continue
                loaded = wrong.of(place, None, CalFile.load, path)
                self.files |= {} if loaded is None else {path: loaded}
        for path in scaled.keys() - outputs.keys():
            wrong.of(scaled[path], None, check_writable, path, True)

    def _needed(self) -> Iterator[tuple[str, Place]]:
        """Files that blocks read, and the places that say so."""
        for i, target in enumerate(self.config.apply):
            yield from ((path, ("apply", i, "tables")) for path in target.tables)
        for i, block in enumerate(self.config.fluxscale):
            yield block.reference_table, ("fluxscale", i, "reference_table")
            yield block.transfer_table, ("fluxscale", i, "transfer_table")

    def _read_first(self, path: str) -> bool:
        """Whether a fluxscale block reads a file before any writes it."""
        for block in self.config.fluxscale:
            if path in (block.reference_table, block.transfer_table):
                return True
            if block.output == path:
                return False
        return False

    def check(self) -> None:
        """Raises ConfigError or DataError, naming everything that could go wrong later and can be known now."""
        wrong, page = self.wrong, self.config.report
        if page is not None and not Path(page).absolute().parent.is_dir():
            wrong.add(
                ("report",), f"{page}: there is no folder {Path(page).absolute().parent}; make it first", DataError
            )
        known: dict[str, list[str]] = {path: list(file.keys) for path, file in self.files.items()}
        for block in self.config.solve:
            known[block.output] = [*known.get(block.output, []), *(s.key for s in block.steps)]
        for i, scale in enumerate(self.config.fluxscale):
            for path in (scale.reference_table, scale.transfer_table):
                if path in known:
                    wrong.of(("fluxscale", i, "jones_type"), None, syntax.resolve, scale.jones_type, known[path], path)
            known[scale.output] = known.get(scale.transfer_table, [])
        for i, target in enumerate(self.config.apply):
            for n, (name, path) in enumerate(zip(target.jones, target.tables, strict=True)):
                if path in known:
                    wrong.of(("apply", i, "jones", n), None, syntax.resolve, name, known[path], path)
        wrong.report(self.config.source)

    def execute(self) -> None:
        """All blocks."""
        for work in self.solves:
            self._solve(work)
            work.data.release()
        for block in self.config.fluxscale:
            self.files[block.output], scales = FluxscaleRun(block).run(self.files)
            self.report.scales += scales
            self._save(block.output)
        for target in self.applies:
            self._say(f"apply {', '.join(target.block.jones)} to {target.data.path}")
            self.report.steps += target.run(self.files)
            target.data.release()
        self.report.seconds = time.perf_counter() - self._began
        if self.config.report is not None:
            from .show import write_page

            self.report.page = write_page(self.config, self.report, self.config.report)

    def _solve(self, work: SolveRun) -> None:
        path = work.block.output
        done = json.loads(work.file.meta.get("done", "[]"))
        last: dict[tuple[str, str, str], Report] = {}
        for one in work.passes():
            mark = _mark(work.block, one)
            if mark in done and self.resume:
                self._say(f"{one.title}: in {path} already")
                continue
            self._say(one.title)
            for fitted in work.run(one):
                self.report.steps.append(fitted)
                if fitted.kept:
                    own = product(one.keys, [fitted.window], one.field or [""])
                    last |= dict.fromkeys(own, fitted.report)
            done.append(mark)
            work.file.meta["done"] = json.dumps(done)
            self._save(path)
        self.report.final += {id(report): report for report in last.values()}.values()

    def _save(self, path: str) -> None:
        self.files[path].meta |= {
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rimetree": _version(),
            "config": self.config.model_dump_json(),
        }
        self.files[path].save(path)
        if path not in self.report.written:
            self.report.written.append(path)

    def _say(self, text: str) -> None:
        if self.progress:
            print(text, file=sys.stderr)

    def close(self) -> None:
        """Close all data."""
        for data in self._data.values():
            data.close()


def _mark(block: Solve, work: Pass) -> str:
    """What a finished pass is known by: everything that its solutions depend on."""
    content = block.model_dump_json(exclude={"output", "n_workers", "memory_limit_gb"})
    return hashlib.sha256(f"{content}/{work.number}".encode()).hexdigest()[:16]


def _version() -> str:
    try:
        return version("rimetree")
    except PackageNotFoundError:
        return "uninstalled"
