"""Apply blocks: solutions into data, taken out or put in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError, DataError
from ..graph.scope import Scope
from ..io.caltable import CalFile, CalTable
from ..io.solutions import GroupSolutions, Solutions
from ..solve.result.report import Report
from ..trees import chain
from ..trees.terms import Placed
from . import syntax
from .config import Apply
from .data import Data, Window, absent
from .interpolate import Rule, kind_of
from .mistakes import Mistakes
from .solve import Fitted, angles, place
from .weights import write_weights


class ApplyRun:
    """An apply block at work on its data."""

    def __init__(self, block: Apply, data: Data, progress: bool = True) -> None:
        self.block, self.data, self.progress = block, data, progress

    def selections(self) -> list[tuple[Window, Any]]:
        """The data, per spectral window. Raises where the selection is wrong or empty."""
        block = self.block
        return [
            (window, self.data.select(window, block.target_field, block.target_scans, intent=block.intent))
            for window in self.data.windows(block.spw)
        ]

    def check(self) -> Mistakes:
        """Everything that can be known before the work to be in its way."""
        wrong, block = Mistakes(), self.block
        try:
            self.selections()
        except ConfigError as error:
            names = {"field": "target_field", "scans": "target_scans"}
            wrong.add((names.get(error.about, error.about),) if error.about else (), str(error))
        except DataError as error:
            wrong.add((), str(error), DataError)
        wrong.obstacles("input_col", self.data.whole.obstacles({block.input_col}, set()))
        wrong.obstacles("output_col", self.data.whole.obstacles(set(), {block.output_col}))
        return wrong

    def terms(self, files: dict[str, CalFile]) -> list[tuple[str, list[CalTable], Rule]]:
        """Per term its key, tables and how to interpolate. ConfigError where a file has no such solutions."""
        block, found = self.block, []
        for i, name in enumerate(block.jones):
            path = block.tables[i]
            key = syntax.resolve(name, files[path].keys, f"apply: {path}")
            fields = tuple(block.solution_field[i] or ())
            rule = Rule(
                block.field_select[i], fields, block.time_interp[i], block.freq_interp[i], block.interp_domain[i],
                block.smooth_time[i], block.smooth_freq[i],
            )  # fmt: skip
            found.append((key, [t for t in files[path].tables if t.key == key], rule))
        return found

    def run(self, files: dict[str, CalFile]) -> list[Fitted]:
        """Correct all data that are selected, window by window; `files`: solution files by path."""
        terms = self.terms(files)
        self._covered(terms)
        return [self._window(window, ms, terms) for window, ms in self.selections()]

    def _covered(self, terms: Sequence[tuple[str, list[CalTable], Rule]]) -> None:
        """DataError where a spectral window or an antenna has no solutions at all, before anything is written."""
        for window, ms in self.selections():
            for i, (key, tables, _) in enumerate(terms):
                own = [t for t in tables if t.spw == window.id]
                path = self.block.tables[i]
                if not own:
                    known = ", ".join(str(n) for n in sorted({t.spw for t in tables}))
                    raise DataError(
                        f"{path}: {key} has no solutions for spw {window.id} of {self.data.path}; it has them for spw {known}; "
                        "select by spw: in the apply block"
                    )
                if not set(own[0].antennas) & set(ms.antennas):
                    raise DataError(
                        f"{path}: {key} has solutions for {', '.join(own[0].antennas[:5])}..., none of them an antenna of {ms.path}"
                    )

    def _window(self, window: Window, ms: Any, terms: Sequence[tuple[str, list[CalTable], Rule]]) -> Fitted:
        block, notes = self.block, absent(ms)
        groups = [GroupSolutions(str(g.field_name), str(g.spw_id), [], [], []) for g in ms.groups]
        placed = []
        for i, (key, tables, rule) in enumerate(terms):
            own = [t for t in tables if t.spw == window.id]
            raw = Placed(f"{i}.{key}", kind_of(own[0]), band=window.band)
            placed.append(place(raw, own, ms, groups, rule))
            lacking = sorted(set(ms.antennas) - set(own[0].antennas))
            if lacking:
                notes.append(f"{key}: no solutions for {', '.join(lacking)}: their data become 0")
        if block.apply_parang:
            placed.append(angles(ms, groups, window))
        ns = Scope()
        columns = (block.input_col, block.output_col)
        chain.correct(ns, ms, placed, columns, flag=block.propagate_flags, forward=block.forward)
        memory = block.memory_limit_gb * 1e9 or None
        report: Report = ns.forest().run(ms, memory=memory, progress=self.progress, fixed=Solutions(groups))
        if block.calwt:
            write_weights(ms, placed, groups)
        return Fitted(f"apply to {block.output_col}, spw {window.id}", report, notes)
