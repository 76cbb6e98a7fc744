"""Solve blocks: term after term, then some of them together; each into the solution file as soon as it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import DataError
from ..graph.scope import Scope
from ..io.caltable import CalFile, CalTable
from ..io.joined import JoinedGroup
from ..io.solutions import GroupSolutions, ParmTable, Solutions
from ..solve.algebra.threads import limited
from ..solve.reduce.backends import unavailable
from ..solve.result.report import Report
from ..trees import chain
from ..trees.terms import Placed, Term, term
from . import steady, syntax
from .averages import Averages
from .backend import solver_of
from .config import Solve, Step
from .data import Data, Opened, Window, absent, four, path_text
from .interpolate import NEAR, Rule, referred, spread, varying
from .look import Collector, look
from .mistakes import Mistakes
from .mounts import feed_angles
from .passes import Pass, held, mixing, passes
from .reference import Survey, refer
from .settling import complete, gather_cross_delay, gather_cross_phase, settle
from .tabulate import angle_table, start_tables, tabulate, tabulate_guess
from .views import Flagging, View

BESIDE = "beside."
LOST = "gains slot by slot are lost in the noise, so drifts within its solution intervals are averaged over"
UNSETTLED = "this did not converge, so the solutions stay those of the terms one after another"
SPW_LESS = "there are no solutions of {key} for spw {spw}, which this step needs; they are there for spw {known}"


@dataclass(slots=True, eq=False)
class Fitted:
    """What became of a pass in one spectral window; `kept`: whether its solutions are those of the file."""

    title: str
    report: Report
    notes: list[str] = field(default_factory=list)
    flagged: int = 0
    window: str = ""
    kept: bool = True


class SolveRun:
    """A solve block at work on its data and solution file."""

    def __init__(self, block: Solve, file: CalFile, data: Data, progress: bool = True) -> None:
        self.block, self.file, self.data, self.progress = block, file, data, progress
        self.wrong = Mistakes()
        self.external = self.wrong.of(("external_preapply",), [], _externals, block)
        self.ref = self.wrong.of((), None, data.antenna, block.ref_ant)
        self.solver_name, self.solver, self.note = self.wrong.of((), ("", {}, ""), solver_of, block.solver_backend)

    def passes(self) -> list[Pass]:
        """All fits, in order."""
        return passes(self.block)

    def selections(self, work: Pass) -> Iterator[tuple[Window, Opened]]:
        """The spectral windows of a pass with their data. Raises where a selection is wrong or empty."""
        step = work.steps[0]
        for window in self.data.windows(step.spw, step.combined):
            yield window, self.data.select(window, work.field, step.scans, work.field is None, step.intent)

    def check(self) -> Mistakes:
        """Everything that can be known before the work to be in its way."""
        wrong, block, whole = self.wrong, self.block, self.data.whole
        for key in ("data_col", "model_col"):
            wrong.obstacles(key, whole.obstacles({getattr(block, key)}, set()))
        if block.flag_residuals:
            wrong.obstacles("flag_residuals", whole.obstacles(set(), {"FLAG"}))
        why = unavailable(block.backend)
        if why:
            wrong.add(("gpu" if block.gpu else "solver_backend",), f"{'true' if block.gpu else 'jax'}: {why}")
        readable = not wrong
        for work in wrong.of((), [], self.passes):
            wrong.of((), None, self._look, work, readable)
        return wrong

    def _look(self, work: Pass, readable: bool) -> None:
        """Raises where a selection is wrong, or its data, if they can be read, are of no use to a pass."""
        unfit: list[str] = []
        for window, ms in self.selections(work):
            for step in work.steps:
                if step.term.hands == "cross" or step.kind in ("D", "J"):
                    four(ms, step.key)
            unfit += self._unfit(work, window, ms) if readable else []
        if unfit:
            raise DataError("\n".join(unfit))

    def _unfit(self, work: Pass, window: Window, ms: Opened) -> list[str]:
        """What makes the data of a pass useless: everything is flagged, or a model is zero."""
        seen = [self.data.survey(ms, group, self.block.model_col) for group in ms.groups]
        place = f"{ms.path}: {window.title}"
        if not any(s.links.any() for s in seen):
            fields = ", ".join(g.field_name or "all fields" for g in ms.groups)
            return [f"{place}, {fields}: all data selected for {', '.join(work.keys)} are flagged; select others"]
        return [
            f"{place}, {group.field_name or 'all fields'}: {self.block.model_col} is zero or NaN, so {', '.join(work.keys)} cannot be "
            "solved; fill in a model"
            for group, s in zip(ms.groups, seen, strict=True)
            if s.links.any() and not s.flux > 0
        ]

    def run(self, work: Pass) -> Iterator[Fitted]:
        """Do one pass, window by window; its solutions go to the file in memory."""
        for window, ms in self.selections(work):
            with limited(self.block.n_workers):
                fitted = self._fit(work, window, ms)
            yield fitted

    # One pass in one spectral window.

    def _fit(self, work: Pass, window: Window, ms: Opened) -> Fitted:
        block = self.block
        surveys = [self.data.survey(ms, group, block.model_col) for group in ms.groups]
        polarised = any(s.polarised for s in surveys)
        made = Flagging if block.flag_residuals else View
        limits = partial(self.data.limits, ms, window, block.data_col, block.rfi_threshold)
        view = made(ms, window.hidden, limits if block.rfi_threshold else None, block.data_col)
        left, right, fixed = self._others(work, window, view)
        reference = surveys[0].live(self.ref)
        still = {step.key: dict.fromkeys(held(step, work.steps, polarised), reference) for step in work.steps}
        solved = [Placed(s.key, s.term, s.solint, window.band, held=still[s.key]) for s in work.steps]
        hands = self._hands(work, polarised, ms)
        beside = [Placed(f"{BESIDE}{s.key}", s.term, s.solint, window.band) for s in self._beside(work, polarised)]
        places = [*self._places(left, solved), *beside]
        start = self._start(work, window, view, left, right, fixed, [*solved, *beside], surveys, hands)
        options: dict[str, Any] = {
            "max_iter": block.max_iter,
            "tol": block.tol,
            "backend": block.backend,
            **self.solver,
        }
        together = hands != "parallel" and ((hands == "all" and polarised) or self._mixed(work))
        if block.residual_threshold:
            options |= {"robust": "clip", "clip": block.residual_threshold}
        data: Any = view
        drift, notes = None, []
        if not work.again and steady.helps(work.steps[0], self.earlier(work), ms.groups):
            drift = steady.fit(
                view, left, right, fixed, solved[0], start, surveys, self.ref, hands, together,
                (block.data_col, block.model_col), self._memory(), **options,
            )  # fmt: skip
            notes = [f"{work.keys[0]}: {LOST}"] if drift is None or drift.averaged else []
        if drift is not None:
            data, start = drift.seen.ms, drift.start
            places, right = [drift.placed, *drift.seen.left, *solved], list(drift.seen.right)
            fixed = drift.seen.given(drift.tables)
        ns = Scope()
        keys = [placed.key for placed in (*solved, *beside)]
        chain.solve(ns, ms, [*places, *right], keys, hands, (block.data_col, block.model_col), **options)
        if block.flag_residuals:
            chain.flag(ns, ms, block.data_col, Flagging.SINK)
        if data is view:
            view.recount()
        report: Report = ns.forest().run(
            data, memory=self._memory(), progress=self.progress, start=start, fixed=Solutions(fixed),
            ref_antenna=reference,
        )  # fmt: skip
        if isinstance(data, Averages):
            report.plan, report.bytes_read = f"{report.plan}; {data.words}", data.bytes_read
        result = Fitted(f"{work.title}, {window.title}", report, [*absent(ms), *notes], view.flagged, window.title)
        if isinstance(view, Flagging):
            result.notes.append(f"{view.clipped} samples beyond {block.residual_threshold:g} sigmas flagged in FLAG")
        if not (work.asked or report.converged):
            result.notes.append(UNSETTLED)
            result.kept = False
            return result
        for i, (group, seen, tables) in enumerate(zip(ms.groups, surveys, report.tables.groups, strict=True)):
            result.notes += self._keep(work, window, i, group, seen, tables, together, drift, still)
        return result

    def _memory(self) -> float | None:
        return self.block.memory_limit_gb * 1e9 or None

    def _places(self, left: Sequence[Placed], solved: Sequence[Placed]) -> list[Placed]:
        """Fixed and solved terms in the order of the chain."""
        order = {step.key: i for i, step in enumerate(self.block.steps)}
        outside = [p for p in left if p.key not in order]
        return outside + sorted([p for p in left if p.key in order] + list(solved), key=lambda p: order[p.key])

    def earlier(self, work: Pass) -> list[Step]:
        """Steps whose terms are fixed in this pass: those before it, and in a joint pass all others."""
        done = self.block.steps if work.again else self.block.steps[: self.block.steps.index(work.steps[0])]
        return [step for step in done if step.key not in work.keys]

    def _others(self, work: Pass, window: Window, ms: Any) -> tuple[list[Placed], list[Placed], list[GroupSolutions]]:
        """The fixed terms to the left, to the right, and their values on the groups of the data."""
        groups = [GroupSolutions(str(g.field_name), str(g.spw_id), [], [], []) for g in ms.groups]
        left = []
        sources = [(key, kind, tables, rule, True) for key, kind, tables, rule in self.external]
        for step in self.earlier(work):
            tables = [t for t in self.file.tables if t.key == step.key]
            sources.append((step.key, step.kind, tables, Rule(time=work.steps[0].interp, good=NEAR), False))
        for key, kind, tables, rule, outside in sources:
            own = [t for t in tables if t.spw in window.ids]
            lacking = [n for n in window.ids if n not in {t.spw for t in own}]
            if lacking:
                known = ", ".join(str(n) for n in sorted({t.spw for t in tables})) or "none"
                raise DataError(f"{self.block.output}: {SPW_LESS.format(key=key, spw=lacking[0], known=known)}")
            step_term = term(kind) if outside else next(s.term for s in self.block.steps if s.key == key)
            placed = Placed(f"pre.{key}" if outside else key, step_term, band=window.band)
            left.append(place(placed, own, ms, groups, rule))
        right = [angles(ms, groups, window)] if self.block.apply_parang else []
        return left, right, groups

    def _hands(self, work: Pass, polarised: bool, ms: Opened) -> str:
        """Which correlations to equate.

        Gains of the parallel hands alone, unless the model is polarised and no term is there to take the phase between x
        and y: then the cross-hands say it. A joint pass with any term that needs the cross-hands uses all.
        """
        kinds = {step.term.hands for step in (*work.steps, *self._beside(work, polarised))}
        if not any(c in g.corrs for g in ms.groups for c in ("XY", "RL")):
            return "parallel" if kinds == {"parallel"} else "all"
        if kinds != {"parallel"}:
            return "all" if len(kinds) > 1 else kinds.pop()
        takers = any(step.term.hands == "cross" for step in self.block.steps)
        return "all" if polarised and not takers else "parallel"

    def _beside(self, work: Pass, polarised: bool) -> list[Step]:
        """The term that is solved with leakages, and given up, where the delay and phase between x and y are to be found later; or
        leakages with these.

        Leakages that all antennas share look like a polarised source whose phase between x and y is wrong.
        """
        if work.again or not polarised:
            return []
        (step,) = work.steps
        later = [
            s for s in self.block.steps[self.block.steps.index(step) + 1 :] if mixing(s.term) or s.term.hands == "cross"
        ]
        if mixing(step.term):
            return sorted([s for s in later if s.term.hands == "cross"], key=lambda s: not s.term.spectral)[:1]
        return [s for s in later if mixing(s.term)][:1] if step.term.hands == "cross" else []

    def _mixed(self, work: Pass) -> bool:
        """Whether a term that mixes x and y stands to the right of one that is solved."""
        keys = [step.key for step in self.block.steps]
        there = set(work.keys) | {step.key for step in self.earlier(work)}
        first = min(keys.index(key) for key in work.keys)
        later = [step for step in self.block.steps[first + 1 :] if step.key in there]
        return self.block.apply_parang or any(not step.term.diagonal for step in later)

    def _start(
        self, work: Pass, window: Window, view: View, left: Sequence[Placed], right: Sequence[Placed],
        fixed: list[GroupSolutions], solved: Sequence[Placed], surveys: Sequence[Survey], hands: str,
    ) -> Solutions | None:  # fmt: skip
        """Where to begin: where a term was before, or at what a look at the data suggests of the last term solved."""
        if work.again:
            return start_tables([t for t in self.file.tables if t.key in work.keys and t.spw == window.id], view.groups)
        (step,) = work.steps
        placed = next((p for p in solved if p.term.hands == "cross"), solved[0])
        if len(solved) == 1 and not guesses(step, self.earlier(work)):
            return None
        hands = hands if len(solved) == 1 else placed.term.hands
        elements = {"parallel": (0, 3), "cross": (1, 2)}.get(hands, (0, 1, 2, 3))
        circular = placed.term.turns and not window.band.circular
        collector = Collector(view, placed.solint, placed.term.spectral, elements, circular)
        columns = (self.block.data_col, self.block.model_col)
        look(view, left, right, fixed, columns, self._memory(), collector.add)
        linked = hands == "all" and any(s.polarised for s in surveys)
        groups = []
        for group, seen in zip(view.groups, surveys, strict=True):
            found: dict[str, np.ndarray] = {}
            for cells, sums in collector.seen(group, seen.order(self.ref), window.band.centre, linked):
                for what, values in placed.term.guess(sums).items():
                    shape = (values.shape[0], collector.cells(group))
                    found.setdefault(what, np.zeros(shape, values.dtype))[:, cells] = values
            groups.append((found, group))
        return Solutions([tabulate_guess(placed, found, group, view.antennas) for found, group in groups])

    def _keep(
        self,
        work: Pass,
        window: Window,
        number: int,
        group: Any,
        seen: Survey,
        tables: GroupSolutions,
        together: bool,
        drift: steady.Drift | None,
        still: Mapping[str, Mapping[str, str]],
    ) -> list[str]:
        """Refer new solutions to the reference antenna, and put them into the file."""
        by_label = {table.label: table for table in tables.parms}
        solved = {}
        for step in work.steps:
            own = complete(
                {w: by_label.get(f"{step.key}.{w}") for w in step.term.params}, step.term, still.get(step.key)
            )
            if drift is not None:
                drift.give_back(step, number, group, own)
            solved[step.key] = (step.term, own)
        notes = refer(solved, seen.order(self.ref), seen.antennas, together)
        gather_cross_delay(solved, seen.live(self.ref), window.band.centre)
        settle(solved, window.band.centre)
        gather_cross_phase(solved, seen.live(self.ref))
        for step in work.steps:
            own = solved[step.key][1]
            attrs = self._attrs(step, window, group, seen)
            placed = Placed(step.key, step.term, step.solint, window.band)
            made = tabulate(placed, step.kind, group, seen.antennas, own, tables.solvers, attrs)
            for spw in group.windows if isinstance(group, JoinedGroup) else [group.spw_id]:
                self.file.put(replace(made, spw=spw))
        return [f"{group.field_name or 'all fields'}, {window.title}: {note}" for note in notes]

    def _attrs(self, step: Step, window: Window, group: Any, seen: Survey) -> dict[str, Any]:
        """Provenance, under ALAKAZAM's names where it has one."""
        import json

        block, name = self.block, seen.live(self.ref)
        ids = {a.name: a.id for a in self.data.whole.antenna_table}
        earlier = [s.kind for s in self.block.steps[: self.block.steps.index(step)]]
        time, freq = step.solint
        return {
            "matrix_form": step.term.summary(),
            "ref_ant_constraint": "phases and delays of the reference antenna are 0",
            "field_ra": float(group.phase_dir[0]),
            "field_dec": float(group.phase_dir[1]),
            "solint_s": float(time[:-1]) if isinstance(time, str) and time != "scan" else -1.0,
            "freqint_hz": float(freq[:-2]) if isinstance(freq, str) else 0.0,
            "phase_only": type(step.term).name == "GP" and step.kind != "GP",
            "ref_ant": ids[name],
            "ref_ant_name": name,
            "ms": path_text(block.ms),
            "solver_backend": self.solver_name,
            "combined_spws": json.dumps(list(window.ids)) if window.combined else "",
            "apply_parang": block.apply_parang,
            "preapply_chain": json.dumps([kind for _, kind, _, _ in self.external] + earlier),
            "feed_basis": "CIRCULAR" if window.band.circular else "LINEAR",
            "freq_ref": window.band.centre,
            "scans": json.dumps(np.unique(group.scan).tolist()),
            "model_col": block.model_col,
        }


def guesses(step: Step, earlier: Sequence[Step]) -> bool:
    """Whether the start of a term is to be looked for: a gain begins at 1 where an earlier term has taken its phases."""
    if type(step.term).guess is Term.guess:
        return False
    if step.term.spectral or step.term.turns or step.term.hands == "cross":
        return True
    return not any(
        set(s.field or ()) == set(step.field or ()) and any(p.refer for p in s.term.params.values()) for s in earlier
    )


def place(placed: Placed, tables: Sequence[CalTable], ms: Any, groups: Sequence[GroupSolutions], rule: Rule) -> Placed:
    """A fixed term with its values, interpolated, put into the solutions of the groups of the data."""
    placed, tables = referred(placed, tables)
    made: dict[int, list[ParmTable]] = {}
    for i, group in enumerate(ms.groups):
        made[i] = spread(tables, placed, group, ms.antennas, rule)
        groups[i].parms += made[i]
    return replace(placed, fixed=varying(made, placed))


def angles(ms: Any, groups: Sequence[GroupSolutions], window: Window) -> Placed:
    """The rotation of the feeds, known at every slot."""
    placed = Placed("P", term("P"), band=window.band, fixed={"angle": (True, False)})
    for i, group in enumerate(ms.groups):
        groups[i].parms.append(angle_table(placed.key, ms.antennas, feed_angles(ms, group), group))
    return placed


def _externals(block: Solve) -> list[tuple[str, str, list[CalTable], Rule]]:
    """(key, kind, tables, rule) of the solutions of earlier runs. DataError where a file has not what is named."""
    found = []
    outer = block.external_preapply
    if outer is None:
        return []
    for i, name in enumerate(outer.jones):
        file = CalFile.load(outer.tables[i])
        key = syntax.resolve(name, file.keys, f"external_preapply: {outer.tables[i]}")
        fields: Any = outer.fields[i] if outer.fields else ()
        names = (fields,) if isinstance(fields, str) else tuple(fields or ())
        select = "pinned" if names else outer.field_select[i]
        rule = Rule(select, names, outer.time_interp[i], good=NEAR)
        tables = [t for t in file.tables if t.key == key]
        found.append((key, tables[0].kind, tables, rule))
    return found
