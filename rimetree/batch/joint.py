"""Solve all Parms of a Solver jointly where they have different solution intervals, on one span of slots.

The data are summed over the cells of all classes. From these sums each class is fitted by itself first, the others held fixed: that
brings a cold start near the minimum and finds the intervals without enough data. Then everything moves at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..plan.template import Template
from ..solve.joint.cell_sums import CellSums
from ..solve.joint.colours import Colours
from ..solve.joint.coupled import Coupled
from ..solve.joint.coupled_errors import variances
from ..solve.joint.coupled_fit import Minimum
from ..solve.joint.datum import Datum, datum, pairs
from ..solve.joint.exchange import Exchange, Exchanges, exchanges, settled
from ..solve.joint.joined import Class
from ..solve.reduce.bilinear import squares
from ..solve.reduce.forms import Form
from ..solve.result.outcome import Outcome
from ..solve.settings import Settings
from ..solve.single.bounds import Constraints, Prior
from ..solve.single.problem import Problem
from ..solve.single.retract import Bending, Curves
from ..solve.single.significance import judge, reduced
from ..status import Status
from .fit import ClassFit, Fitted
from .joint_grid import Axis
from .joint_starts import LOST, Starts
from .joint_sums import JointSums
from .known import constraints
from .local_basis import colours, curves
from .solvable import SolverNode
from .span import Span
from .tiling import available_memory

SLIGHT = 1e-3
"""A smaller part in what is not determined is not spoken of."""

ABOVE = (
    "chi2 stays above what noise explains from all starts: the model lacks something, the weights are too large, or all led to minima "
    "that are not the lowest"
)


class JointFit:
    """The compiled joint fit of the classes of a Solver."""

    def __init__(self, solver: SolverNode, classes: Sequence[ClassFit], templates: Mapping[int, Template], real: Any):
        self.name, self.classes = solver.name, list(classes)
        first = classes[0]
        parms = [n for own in classes for n in own.parms]
        alone = len(classes) == 1
        self.whole = first if alone else ClassFit(
            first.families, solver, parms, templates, real, first.visibilities, first.state
        )  # fmt: skip
        self.start = solver.options["start"]
        self.ends = np.cumsum([own.unknowns.count for own in classes])
        self.notes: list[str] = []
        """What the user should know of the latest run."""
        self._known: dict[tuple[int, int], tuple[Colours, list[Curves]]] = {}

    # One span.

    def run(self, span: Span, settings: Settings) -> list[Fitted] | None:
        """Fit; the state receives coefficients, errors and statuses. None where the sums would not fit in memory."""
        time, freq = self.axes(span)
        if not self.fits(time, freq):
            return None
        with self.classes[0].clock("sums"):
            sums = JointSums.collect(self, span, time, freq)
        problem, found, fitted, above = Starts(self, sums, settings).minimum()
        meanings = [own.meaning for own in self.classes]
        fixed = Datum.none(problem.count)
        if settings.reference:
            fixed = datum(problem, found, meanings, settings.reference)
        known = exchanges(problem, found, meanings, fixed, settings.reference)
        variance, way, between = variances(problem, found, known, fixed)
        variance[fixed.reals] = 0
        for made, wide in zip(problem.classes, problem.split(variance), strict=True):
            gains = made.retract.gains  # errors along and across a gain are taken to be equal
            wide[gains] = wide[gains + 1] = (wide[gains] + wide[gains + 1]) / 2
        self.notes = [f"{self.name}: {way}"] if way else []
        self.notes += [f"{self.name}: {ABOVE}"] if above else []
        self.notes += self._words(problem, known, fitted, found.x) + self._free(problem, between)
        turned = fixed.turned(found.x, pairs(problem, meanings))
        if known.found or turned is not found.x:
            found, variance = self._settled(problem, found, variance, known, turned)
        for item in fitted:
            item.dropped = sums.dropped
        self._report(problem, found, variance, fitted, settings, fixed.names)
        return fitted

    def begin(
        self, span: Span, settings: Settings, sums: JointSums | None = None, first: Sequence[int] = ()
    ) -> list[Fitted]:
        """Fit each class by itself, the others held fixed: from the sums of all where these say enough, else from the data. The classes
        `first` come before others, and their time intervals follow one another."""
        begun = {}
        for i in sorted(range(len(self.classes)), key=lambda i: (i not in first, self._precedence(i))):
            if i in first:
                self.spread(i, span, settings)
            with self.classes[i].clock("sums"):
                equations = sums.equations(i) if sums else None
            begun[i] = self.classes[i].run(span, replace(settings, reference=""), equations)
        return [begun[i] for i in range(len(self.classes))]

    def spread(self, i: int, span: Span, settings: Settings) -> None:
        """Fit a class by itself, each time interval from the solution of its neighbours where that is better."""
        self.classes[i].spread(span, replace(settings, reference=""))

    def _precedence(self, i: int) -> int:
        """Which classes are fitted first: gains, which find their way from any phases; then what enters non-linearly; last
        what begins at zero, such as leakages: it corrects what others explain."""
        own = self.classes[i]
        if not own.atoms.linear:
            return 1
        return 0 if any(own.state.parms[n].coefs.any() for n in own.parms) else 2

    def fits(self, time: Axis, freq: Axis) -> bool:
        """Whether the sums of cells fit in memory."""
        return self.bytes(time, freq) <= 0.4 * available_memory()

    def axes(self, span: Span) -> tuple[Axis, Axis]:
        """The cells of all classes."""
        states = [self.whole.state.parms[own.parms[0]] for own in self.classes]
        collapse_t, collapse_f = self.whole.collapses()
        return (
            Axis.of([s.slot_interval[span.slots] for s in states], collapse_t),
            Axis.of([s.chan_interval for s in states], collapse_f),
        )

    def bytes(self, time: Axis, freq: Axis) -> int:
        """Bytes of the sums of all equations."""
        members = [len(rows) for rows in self.whole.condeqs]
        sizes = [CellSums.bytes(m, t.elements.ntheta) for t, m in zip(self.whole.tables, members, strict=True)]
        return sum(sizes) * time.count * freq.count

    def problem(self, made: JointSums, kind: type[Coupled] = Coupled) -> Coupled:
        """All classes."""
        sums, classes = made.sums, self.class_list(made.components, made.parts, made.time, made.freq)
        return kind(
            tuple(classes), sums.of_cells(sums.data), self.prior(classes), made.stems,
            squares(sums.table, made.stems, made.atoms.alike()), sums, made.points,
        )  # fmt: skip

    def leave_out(self, made: JointSums, fitted: Sequence[Fitted]) -> None:
        """Forget the data of intervals that are lost."""
        keep = np.ones((len(made.parts), made.sums.count), bool)
        for own, item in zip(self.class_list(made.components, made.parts, made.time, made.freq), fitted, strict=True):
            for _, part, outcome in item.components:
                of = own.of_part == own.component[part.unknowns[0]]
                keep[of] &= ~np.isin(outcome.status, LOST)[own.cell]
        made.sums.keep(keep)

    def parts(self, forms: Sequence[Form], components: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Equations that see the same component of every class are one part: that of every member of each equation,
        and the component of each class (parts, classes) that a part sees, -1 for none."""
        label, parameters, rows = np.concatenate(components), self.whole.atoms.parameters, []
        for form in forms:
            unknown = parameters[form.factor_atom[:, form.units[:, 0]], form.units[:, 1]]
            owner = np.searchsorted(self.ends, unknown, "right")
            rows.append(
                np.stack([np.where(owner == i, label[unknown], -1).max(1) for i in range(len(self.classes))], 1)
            )
        seen, part = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
        return np.split(part.ravel(), np.cumsum([len(r) for r in rows])[:-1]), seen

    def class_list(self, components: Sequence[np.ndarray], seen: np.ndarray, time: Axis, freq: Axis) -> list[Class]:
        """The classes, given the component of each unknown, and which of each class the parts of the equations see."""
        result = []
        for i, own in enumerate(self.classes):
            count, st, sf = own.unknowns.count, int(time.intervals[i][-1]) + 1, int(freq.intervals[i][-1]) + 1
            cell = (time.intervals[i][:, None] * sf + freq.intervals[i]).ravel()
            free = np.repeat(own.fitted[:, None], st * sf, 1)
            known = constraints(own.families, own.parms, own.unknowns, own.fitted, 1) or Constraints.none(1)
            turning, name, kind = _alike(own)
            shades, bends = self._local(i, len(time.label), len(freq.label))
            retract = Bending(own.retract.gains, own.retract.matrices, bends) if bends else own.retract
            made = Class(
                count, st * sf, cell, retract, components[i], seen[:, i], free, known.bounds, own.meaning.coefficient,
                shades, turning, name, kind,
            )  # fmt: skip
            result.append(made)
        return result

    def _local(self, i: int, slots: int, channels: int) -> tuple[Colours, list[Curves]]:
        """Of a class on a span of so many slots; solution intervals look alike in all spans."""
        if (i, slots) not in self._known:
            given = self.classes[i], np.arange(slots), np.arange(channels)
            self._known[i, slots] = colours(*given), curves(*given)
        return self._known[i, slots]

    def prior(self, classes: Sequence[Class]) -> Prior:
        """Priors of all unknowns, flat."""
        flat = []
        for own, made in zip(self.classes, classes, strict=True):
            known = constraints(own.families, own.parms, own.unknowns, own.fitted, made.intervals)
            nothing = np.zeros((made.count, made.intervals))
            flat.append(known.prior if known and len(known.prior.mean) else Prior(nothing, nothing))
        return Prior(*(np.concatenate([np.ravel(p[k]) for p in flat]) for k in range(2)))

    # Outcomes.

    def _settled(
        self, problem: Coupled, found: Minimum, variance: np.ndarray, known: Exchanges, turned: np.ndarray
    ) -> tuple[Minimum, np.ndarray]:
        """The minimum, `turned` to the reference antenna and with what classes exchange given to the first of them, and the variances
        there."""
        for x in (settled(problem, found.x, turned, known), turned):
            points = problem.points(x)
            chi2 = problem.slopes(points, x)[1]
            if chi2.sum() <= found.chi2.sum() * (1 + 1e-9) + 1e-8 * found.dof.sum():
                break
        else:  # not null beyond first order: left as it is
            return found, variance
        scaled = []
        for made, old, new, wide in zip(*(problem.classes, *map(problem.split, (found.x, x, variance))), strict=True):
            gains = made.retract.gains
            before, after = (v[gains] ** 2 + v[gains + 1] ** 2 for v in (old, new))
            factor = np.divide(after, before, out=np.ones_like(before), where=before > 0)
            wide[gains], wide[gains + 1] = wide[gains] * factor, wide[gains + 1] * factor
            scaled.append(wide.ravel())
        return replace(found, x=x, points=points, chi2=chi2), np.concatenate(scaled)

    def _words(self, problem: Coupled, known: Exchanges, fitted: Sequence[Fitted], x: np.ndarray) -> list[str]:
        """What classes exchange, and which of them has it."""
        names = ["+".join(dict.fromkeys(name for name, _, _ in item.components)) for item in fitted]
        texts: dict[str, None] = {}
        for item in known.found:
            held = names[item.held]
            kind, real = item.kind
            if real:
                text = (
                    f"{kind} and {self._shape(problem, item, x)} of {held} are not both determined: it goes to {kind}"
                )
            else:
                keeper = names[item.keeper]
                text = f"the {kind} between {keeper} and {held} is not determined: it goes to {keeper}"
            texts[f"{self.name}: {text}, and errors are those with it held in {held}"] = None
        return list(texts)

    def _free(self, problem: Coupled, between: np.ndarray) -> list[str]:
        """What else several classes have in common that no datum determines: named, no value of its own is known."""
        taking: dict[str, float] = {}
        for own, part in zip(self.classes, problem.split(between), strict=True):
            for node, x in zip(own.meaning.node.tolist(), part.sum(1), strict=True):
                label = node.split(":")[0]
                taking[label] = taking.get(label, 0.0) + x
        names = [label for label, x in taking.items() if x > SLIGHT * sum(taking.values())]
        if len(names) < 2:
            return []
        text = f"{', '.join(names[:-1])} and {names[-1]} are not determined apart from each other"
        return [
            f"{self.name}: {text}: their values are one choice of many, and errors leave out what they have in common"
        ]

    def _shape(self, problem: Coupled, item: Exchange, x: np.ndarray) -> str:
        """How gains take up what another class gives: as a phase or a scale, and as what function of frequency or time."""
        made, state = problem.classes[item.held], self.whole.state.parms[self.classes[item.held].parms[0]]
        gains = made.retract.gains
        way, value = (problem.split(v)[item.held] for v in (np.asarray(item.directions.sum(1)).ravel(), x))
        turn = way[gains] + 1j * way[gains + 1]
        turn = np.divide(turn, value[gains] + 1j * value[gains + 1], out=np.zeros_like(turn), where=turn != 0)
        wave = turn[np.abs(turn).max(1).argmax()].reshape(-1, len(state.freq_bounds))
        part = "phase" if np.abs(wave.imag).max() >= np.abs(wave.real).max() else "scale"
        size = wave.imag if part == "phase" else wave.real
        there = wave != 0
        time, freq = (
            np.broadcast_to(a, wave.shape)[there] for a in (np.arange(len(wave))[:, None], state.freq_bounds.mean(1))
        )
        for where, text in ((0 * freq, "the"), (freq, "the slope in frequency of the"), (time, "the drift of the")):
            basis = np.stack([np.ones(len(where)), (where - where.mean()) / max(np.ptp(where), 1e-300)], 1)
            left = size[there] - basis @ np.linalg.lstsq(basis, size[there], rcond=None)[0]
            if np.linalg.norm(left) < 0.01 * np.linalg.norm(size[there]):
                return f"{text} {part}"
        return f"a pattern of the {part}s"

    def _report(
        self, problem: Coupled, found: Minimum, variance: np.ndarray, fitted: list[Fitted], settings: Settings,
        referred: Counter[str],
    ) -> None:  # fmt: skip
        """Turn the outcomes of the classes, each by itself, into those of the joint fit, and store all."""
        systems = found.systems
        data = np.bincount(found.of_cell.ravel() + 1, problem.data.ravel(), systems.count + 1)[1:]
        known = problem.prior.precision > 0
        data += systems.sum(known * 1.0)
        extra, surprise = problem.split(known), problem.split(problem.surprise(found.x))
        share = found.dof / np.maximum(data, 1)
        push = problem.split(found.gradient * (found.blocks.inverse(np.zeros(problem.count)) @ found.gradient))
        labels = problem.split(systems.label)
        with np.errstate(divide="ignore"):
            alone = problem.split(1 / found.blocks.diagonal(problem.count))
        columns = zip(
            self.classes, problem.classes, fitted, problem.split(found.x), problem.split(variance), alone, strict=True
        )
        for i, (own, made, item, theta, wide, narrow) in enumerate(columns):
            for k, (name, part, outcome) in enumerate(item.components):
                system = labels[i][part.unknowns].min(0)
                of = made.of_part == made.component[part.unknowns[0]]
                held = outcome.variance
                outcome = _joined(
                    outcome, found, system, np.append(share, 1.0)[system],
                    np.bincount(made.cell, found.chi2[of].sum(0), made.intervals) + surprise[i][part.unknowns].sum(0),
                    np.bincount(made.cell, problem.data[of].sum(0), made.intervals) + extra[i][part.unknowns].sum(0),
                    push[i][part.unknowns].sum(0), wide[part.unknowns],
                )  # fmt: skip
                # what classes only exchange does no harm: a gain is lost where it is with the others held
                with_others_held = np.where(np.isfinite(outcome.variance), np.fmin(held, outcome.variance), np.nan)
                lost = judge(
                    part, theta[part.unknowns], part.atoms(theta), outcome.status, with_others_held,
                    narrow[part.unknowns], outcome.unconstrained, reduced(outcome.chi2, outcome.dof), settings.min_snr,
                )  # fmt: skip
                item.components[k] = (name, part, replace(outcome, lost=lost, referred=zeroed(part, referred)))
            own._store(theta, item.first, item.intervals[0], item.components)


def _joined(
    before: Outcome,
    found: Minimum,
    system: np.ndarray,
    share: np.ndarray,
    chi2: np.ndarray,
    data: np.ndarray,
    push: np.ndarray,
    variance: np.ndarray,
) -> Outcome:
    """The outcome of one component of a class after the joint fit. An interval of a system that ran out of iterations
    counts as converged where its own unknowns have no more to gain."""
    kept = np.isin(before.status, (*LOST, Status.SINGULAR)) | (system >= len(found.status))
    status = np.append(found.status, Status.NO_DATA)[system]
    dof = data * share
    settled = push <= 1e-6 * np.maximum(chi2, 0) / np.maximum(dof, 1)
    status = np.where((status == Status.ITERATION_LIMIT) & settled, Status.CONVERGED, status)
    return replace(
        before,
        status=np.where(kept, before.status, status).astype(np.uint8),
        iterations=before.iterations + np.append(found.iterations, 0)[system].astype(np.int32),
        chi2=np.where(system < len(found.status), chi2, before.chi2),
        dof=np.where(system < len(found.status), dof, before.dof),
        variance=np.where(np.isfinite(before.variance), variance, before.variance),
        referred=None,
    )


def zeroed(part: Problem, referred: Counter[str]) -> dict[str, int]:
    """What was made zero of a component."""
    names = set(part.meaning.node.tolist()) if part.meaning else set()
    return {node: count for node, count in referred.items() if node in names}


def _alike(own: ClassFit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `Class.turning`, `Class.name` and `Class.kind`."""
    meaning, single = own.meaning, np.ones(own.unknowns.count, bool)
    for n in own.parms:
        members, ct, cf = own.unknowns.shapes[n]
        start = own.unknowns.offsets[n]
        single[start : start + members * ct * cf * own.unknowns.parts[n]] = ct * cf == 1
    turning = np.union1d(own.retract.gains, np.flatnonzero((meaning.part == 1) & ~single))
    part = meaning.part.copy()
    part[turning + 1] = 1
    labels = [node.split(":")[0] for node in meaning.node.tolist()]
    name = np.unique(np.stack([np.unique(labels, return_inverse=True)[1], part]), axis=1, return_inverse=True)[1]
    kind = np.unique(np.stack([name, meaning.coefficient]), axis=1, return_inverse=True)[1]
    return turning, name.ravel(), kind.ravel()
