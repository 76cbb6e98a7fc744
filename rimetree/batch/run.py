"""Run a forest: check everything, then tile by tile read, solve, write; at the end save the solutions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import compiling
from ..errors import ConfigError, DataError, nearest
from ..graph.node import Observation
from ..grid import Cells
from ..plan.evaluate import explained
from ..plan.template import NodeFailure
from ..solve.result.report import Report
from .baselines import Baselines
from .flagging import BYTES as FLAG_BYTES
from .grid import BareGroup
from .group import GroupRun
from .layout import Layout, layout
from .memory import check_spans, slot_bytes
from .progress import Progress, progress
from .robust import BYTES as ROBUST_BYTES
from .starting import Starting
from .summaries import notes, summaries
from .tiling import WORKING, TilePlan, memory_limit, tile_plan

if TYPE_CHECKING:
    from ..graph.forest import Forest
    from ..io.ms import MeasurementSet
    from ..io.sets import MeasurementSets
    from .skies import Skies


def run(
    forest: Forest,
    data: MeasurementSet | MeasurementSets | Cells,
    solutions: str | Path | None = None,
    *,
    overwrite: bool = False,
    memory: float | None = None,
    progress: bool = True,
    start: Any = None,
    fixed: Any = None,
    ref_antenna: str | None = None,
) -> Report:
    """Solve every Solver and write every Sink of a forest.

    data       a MeasurementSet, several as MeasurementSets, or Cells (with any axes) for equations without data
    solutions  HDF5 file for the solutions, written whole at the end; an existing one needs `overwrite`
    memory     bytes that a tile may take (default: 40 % of what is free)
    start      solutions (a file or Solutions) that solvable Parms of the same name start from
    fixed      the same for Parms that are not solvable here
    ref_antenna  antenna whose phases, where the equations leave them free, are made zero; where it has no solution another
               takes its place, which the report says. Errors are then those of the differences to it

    Raises ForestError, DataError, ConfigError or SolveError before anything is written, naming every obstacle.
    """
    runner = _Run(forest, data, solutions, overwrite, memory, progress, Starting.of(start, fixed))
    runner.reference = _reference(data, ref_antenna)
    try:
        return runner.execute()
    except NodeFailure as failure:
        names = runner.found.forest
        raise explained(names.forest, failure, names.sub) from failure


def compiled(forest: Forest, data: Any, memory: float | None = None) -> tuple[list[GroupRun], list[TilePlan]]:
    """What `run` would work with, per group of the data, and its tiles. Raises what `run` raises when it compiles."""
    return _Run(forest, data, None, False, memory, False, Starting.of(None, None)).compiled()


def _reference(data: Any, name: str | None) -> str:
    """The reference antenna, "" for none. Raises ConfigError where there is no such antenna."""
    if name is None:
        return ""
    known = [] if isinstance(data, Cells) else list(data.antennas)
    if name not in known:
        raise ConfigError(f"ref_antenna={name!r}{nearest(name, known)} is not in the selected data: {', '.join(known)}")
    return name


class _Run:
    """One run: what was asked, the layout of the forest, the report being filled."""

    def __init__(
        self,
        forest: Forest,
        data: Any,
        solutions: str | Path | None,
        overwrite: bool,
        memory: float | None,
        progress: bool,
        starting: Starting,
    ) -> None:
        if not isinstance(data, Cells) and not hasattr(data, "groups"):
            raise ConfigError(
                f"run needs an rt.MeasurementSet, rt.MeasurementSets or rt.Cells, got {type(data).__name__}"
            )
        self.bare = isinstance(data, Cells)
        self.data, self.overwrite, self.memory, self.progress, self.starting = (
            data,
            overwrite,
            memory,
            progress,
            starting,
        )
        self.path = Path(solutions) if solutions is not None else None
        self.report = Report("cells" if self.bare else str(data.path))
        self.skies: Skies | None = None
        self.reference = ""
        self._inner = 0.0
        """Time spent in the stages within the present one, s."""
        self.found: Layout = layout(forest, Baselines({}, []) if self.bare else Baselines.of(data))

    def execute(self) -> Report:
        """Check, compile, work, save."""
        began, mark = time.perf_counter(), compiling.mark()
        self._check()
        with self._clock("plan"):
            runs, plans = self.compiled()
        for group_run in runs:
            group_run.reference = self.reference
        self.report.plan = f"{len(runs)} group{'s' if len(runs) > 1 else ''}; {plans[0]}"
        for name in sorted(self.found.writes):
            self.data.ensure_column(name)
        for name in sorted(self.found.marks):
            self.data.ensure_flagset(name)
        tiles = sum(len(t) for plan in plans for t in plan.tiles)
        with progress(tiles, shown=self.progress and not self.bare) as watch:
            for group_run, plan in zip(runs, plans, strict=True):
                self._group(group_run, plan, watch)
        for group_run in runs:
            self.report.solvers.extend(summaries(group_run))
            self.report.notes.extend(notes(group_run))
        if self.found.solvers:
            with self._clock("save"):
                self._save(runs)
        self.report.seconds["total"] = time.perf_counter() - began
        self.report.compiled = compiling.since(mark)
        return self.report

    def compiled(self) -> tuple[list[GroupRun], list[TilePlan]]:
        """Per group what works on it, and its tiles."""
        groups: list[Any] = [BareGroup(self.data)] if self.bare else self.data.groups
        runs = [GroupRun(self.found, g, self._observation(g), self.starting, self.report, self._clock) for g in groups]
        self.starting.check()
        return runs, [self._plan(group_run) for group_run in runs]

    def _check(self) -> None:
        """Everything that can be known before work starts."""
        if not self.bare:
            obstacles = self.found.obstacles(self.data)
            if obstacles:
                raise DataError("\n".join(obstacles))
            if self.found.skies:
                from .skies import Skies  # needs scipy.fft

                self.skies = Skies(self.found.skies, self.data)
        if self.path is not None:
            from ..io.solutions import check_writable

            check_writable(self.path, self.overwrite)

    def _observation(self, group: Any) -> Observation | None:
        """What leaves may ask of the data."""
        if self.bare:
            return None
        antennas = {key: antenna for antenna in self.data.antenna_table for key in (antenna.name, antenna.id)}
        return Observation(
            positions={key: antenna.position for key, antenna in antennas.items()},
            mounts={key: antenna.mount for key, antenna in antennas.items()},
            centre=group.phase_dir,
            nowhere=group.nowhere,
            slots=np.array([group.time, group.interval]),
            channels=np.array([group.freq, group.width]),
        )

    def _plan(self, group_run: GroupRun) -> TilePlan:
        group = group_run.group
        size = (
            64
            if self.bare
            else group.bytes_per_slot(
                {*self.found.reads, *self.found.writes, *self.found.skies},
                spare=ROBUST_BYTES * bool(group_run.robust) + FLAG_BYTES * group_run.flagging,
            )
        )
        parms = group_run.state.parms
        intervals = [parms[n].together for n in sorted(self.found.solvable)]
        limit = min(memory_limit(self.memory), group_run.room())
        group_run.choose(limit)
        batch = group_run.batch(limit)
        work = slot_bytes(group_run.summed()) + WORKING * size * bool(group_run.free)
        plan = tile_plan(
            group.time.size,
            size,
            intervals,
            self.memory and limit,
            work,
            batch,
            "rt.Cells" if self.bare else self.found.whole,
            self._follows(group_run),
        )
        check_spans(group_run.summed(), plan.spans, plan.limit)
        group_run.prepare(max(t.stop - t.start for tiles in plan.tiles for t in tiles))
        return plan

    def _group(self, group_run: GroupRun, plan: TilePlan, watch: Progress) -> None:
        """All spans of a group. Spans of one tile share one stream that reads ahead; longer ones are read again for each pass."""
        stream = (
            None
            if self.bare
            else self._stream(
                group_run.group,
                [t for tiles in plan.tiles for t in tiles if len(tiles) == 1],
                early=self._follows(group_run),
            )
        )
        try:
            for span, tiles in zip(plan.spans, plan.tiles, strict=True):
                if self.bare:
                    kept = [group_run.bare_tile()]
                    group_run.span(span, lambda kept=kept: kept)  # type: ignore[misc]
                elif len(tiles) == 1:
                    with self._clock("read"):
                        tile = next(stream)  # type: ignore[arg-type]
                    group_run.span(span, lambda tile=tile: [self._whole(tile)], lambda tile=tile: [tile])  # type: ignore[misc]
                    group_run.write(self.data, self._whole(tile))
                    watch.read(*self._amount(group_run.group, span))
                else:
                    again = partial(self._pass, group_run.group, tiles, watch)
                    group_run.span(span, again, partial(again, early=True) if self._early else None)
                    for tile in again() if self.found.sinks else ():
                        group_run.write(self.data, tile)
                outcomes = [outcome for item in group_run.latest for _, _, outcome in item.components]
                watch.done(len(tiles), outcomes)
        finally:
            if stream is not None:
                stream.close()

    def _pass(self, group: Any, tiles: Any, watch: Progress, early: bool = False) -> Iterator[Any]:
        """Tiles of one of several passes over them."""
        return watch.reading(
            self._stream(group, tiles, early),
            len(tiles),
            lambda tile: self._amount(group, slice(tile.start, tile.stop)),
        )

    def _amount(self, group: Any, span: slice) -> tuple[int, int]:
        """Visibilities and bytes read of some slots."""
        rows = int((group.rows[:, span] >= 0).sum())
        size = group.bytes_per_slot(self.found.reads | self._kept_columns())
        return rows * group.freq.size * len(group.corrs), size * (span.stop - span.start)

    def _whole(self, tile: Any) -> Any:
        with self._clock("read"):
            return tile.complete()

    def _stream(self, group: Any, tiles: Any, early: bool = False) -> Any:
        """Tiles; `early`: while they are still being read."""
        columns = sorted(self.found.reads | self._kept_columns())
        self.report.bytes_read += sum(t.stop - t.start for t in tiles) * group.bytes_per_slot(columns)
        words = {"words": True} if self.found.flagsets else {}
        if early:
            words["early"] = True
        tiles = self.data.reader(group, columns, tiles, uvw=self.found.uvw, **words)
        return self.skies.fill(tiles) if self.skies else tiles

    def _follows(self, group_run: GroupRun) -> bool:
        """Whether tiles are summed while they are being read: columns only, which nothing changes or adds to afterwards."""
        return self._early and group_run.follows

    @property
    def _early(self) -> bool:
        """Whether tiles can be had while they are being read."""
        return not self.bare and self.data.hands_out_early and not self.skies

    def _kept_columns(self) -> set[str]:
        """Columns written only in part, whose other values must be kept."""
        partial = set()
        for name in self.found.writes:
            covered = {int(b) for sink in self.found.sinks if sink.column == name for b in sink.baseline}
            if len(covered) < len(self.data.baselines):
                partial.add(name)
        return partial

    def _save(self, runs: list[GroupRun]) -> None:
        from ..io.solutions import Solutions
        from .results import group_solutions, metadata

        self.report.tables = Solutions([group_solutions(r) for r in runs], metadata(self.report))
        if self.path is not None:
            self.report.tables.save(self.path, overwrite=self.overwrite)
            self.report.solutions = str(self.path)

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        """Add the time spent within to a stage, without that of stages within it."""
        began, outer = time.perf_counter(), self._inner
        self._inner = 0.0
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.report.seconds[name] = self.report.seconds.get(name, 0.0) + spent - self._inner
            self._inner = outer + spent
