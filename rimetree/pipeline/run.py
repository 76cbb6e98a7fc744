"""Run a configuration: solve, fluxscale and apply blocks, in this order, whatever their order in the file."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..io.atomic import check_writable
from ..io.caltable import CalFile
from ..solve.backends import unavailable
from ..solve.report import Report, counted
from . import syntax
from .apply import ApplyRun
from .config import Config, Solve
from .data import Data
from .fluxscale import FluxscaleRun, Scale
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
        self._prepare_files()
        self.solves = [
            SolveRun(b, self.files[b.output], self._open(b.ms, b.taql, b.antennas), progress) for b in config.solve
        ]
        self.report.notes += dict.fromkeys(work.note for work in self.solves if work.note)
        self.applies = [ApplyRun(b, self._open(b.ms, b.taql), progress) for b in config.apply]

    def _open(self, path: str | list[str], taql: str | None, antennas: Any = None) -> Data:
        key = (str(path), taql, str(antennas))
        if key not in self._data:
            self._data[key] = Data(path, taql, antennas)
        return self._data[key]

    def _prepare_files(self) -> None:
        """Files that are there are read, those that will be written are begun. Raises DataError naming every obstacle."""
        outputs = {b.output for b in self.config.solve}
        scaled = {b.output for b in self.config.fluxscale}
        obstacles = []
        for path in sorted(outputs):
            found = Path(path).exists()
            try:
                check_writable(path, overwrite=self.overwrite or self.resume)
                self.files[path] = CalFile.load(path) if found and self.resume else CalFile()
            except DataError as error:
                text = str(error).replace("choose another name, or allow overwriting (overwrite=True, --overwrite)", "")
                obstacles.append(
                    text.strip().rstrip(";") + "; --overwrite replaces it, --resume continues it" if found else text
                )
        needed = [t for b in self.config.apply for t in b.tables]
        needed += [t for b in self.config.fluxscale for t in (b.reference_table, b.transfer_table)]
        for path in dict.fromkeys(needed):
            if path not in outputs | scaled or (path in scaled - outputs and self._read_first(path)):
                try:
                    self.files[path] = CalFile.load(path)
                except DataError as error:
                    obstacles.append(str(error))
        for path in sorted(scaled - outputs):
            try:
                check_writable(path, overwrite=True)
            except DataError as error:
                obstacles.append(str(error))
        if obstacles:
            raise DataError("\n".join(obstacles))

    def _read_first(self, path: str) -> bool:
        """Whether a fluxscale block reads a file before any writes it."""
        for block in self.config.fluxscale:
            if path in (block.reference_table, block.transfer_table):
                return True
            if block.output == path:
                return False
        return False

    def check(self) -> None:
        """Everything that could go wrong later and can be known now. Raises ConfigError or DataError."""
        obstacles = [line for work in self.solves for line in work.check()]
        obstacles += [line for work in self.applies for line in work.check()]
        page = self.config.report
        if page is not None and not Path(page).absolute().parent.is_dir():
            obstacles.append(f"{page}: there is no folder {Path(page).absolute().parent}; make it first")
        if obstacles:
            raise DataError("\n".join(dict.fromkeys(obstacles)))
        for block in self.config.solve:
            _check_devices(block)
        known: dict[str, list[str]] = {path: list(file.keys) for path, file in self.files.items()}
        for block in self.config.solve:
            known[block.output] = [*known.get(block.output, []), *(s.key for s in block.steps)]
        for scale in self.config.fluxscale:
            for path in (scale.reference_table, scale.transfer_table):
                syntax.resolve(scale.jones_type, known[path], f"fluxscale: {path}")
            known[scale.output] = known[scale.transfer_table]
        for target in self.config.apply:
            for name, path in zip(target.jones, target.tables, strict=True):
                syntax.resolve(name, known[path], f"apply: {path}")

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


def _check_devices(block: Solve) -> None:
    """ConfigError where a GPU, or JAX, is asked for and there is none."""
    why = unavailable(block.backend)
    if why:
        key = "gpu: true" if block.gpu else "solver_backend: jax"
        raise ConfigError(f"{key}: {why}")


def _version() -> str:
    try:
        return version("rimetree")
    except PackageNotFoundError:
        return "uninstalled"
