"""Solve all Parms of a Solver jointly where they have different solution intervals, on one span of slots.

The data are summed over the cells of all classes. From these sums each class is fitted by itself first, the others held fixed: that
brings a cold start near the minimum and finds the intervals without enough data. Then everything moves at once.
"""

from __future__ import annotations

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
from ..solve.joint.exchange import Exchanges, exchanges, settled
from ..solve.joint.joined import Class
from ..solve.reduce.bilinear import squares
from ..solve.reduce.forms import Form
from ..solve.settings import Settings
from ..solve.single.bounds import Constraints, Prior
from ..solve.single.doubt import SIGNIFICANT, excess
from ..solve.single.retract import Bending, Curves
from ..status import Status
from .fit import ClassFit, Fitted
from .joint_grid import Axis
from .joint_report import ABOVE, exchanged, outcomes, undetermined
from .joint_starts import LOST, Starts
from .joint_sums import JointSums
from .known import constraints
from .local_basis import colours, curves
from .solvable import SolverNode
from .span import Span
from .tiling import available_memory


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
        self._constrained(sums, problem, found, fitted, settings)
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
        self.notes += exchanged(self, problem, known, fitted, found.x) + undetermined(self, problem, between)
        turned = fixed.turned(found.x, pairs(problem, meanings))
        if known.found or turned is not found.x:
            found, variance = self._settled(problem, found, variance, known, turned)
        for item in fitted:
            item.dropped = sums.dropped
        outcomes(self, problem, found, variance, fitted, settings, fixed.names)
        return fitted

    def begin(
        self, span: Span, settings: Settings, sums: JointSums | None = None, first: Sequence[int] = ()
    ) -> list[Fitted]:
        """Fit each class by itself, the others held fixed: from the sums of all where these say enough, else from the data. The classes
        `first` come before others; time intervals of such as are not linear follow one another."""
        begun = {}
        for i in sorted(range(len(self.classes)), key=lambda i: (i not in first, self._precedence(i))):
            if i in first and not self.classes[i].atoms.linear:
                self.spread(i, span, settings)
            with self.classes[i].clock("sums"):
                equations = sums.equations(i) if sums else None
            begun[i] = self.classes[i].run(span, replace(settings, reference=""), equations)
        return [begun[i] for i in range(len(self.classes))]

    def _constrained(
        self, sums: JointSums, problem: Coupled, found: Minimum, fitted: Sequence[Fitted], settings: Settings
    ) -> None:
        """What a class by itself found unconstrained, where others were wrong (gains at phases all around shrink to zero), is judged
        again at the joint minimum, in systems whose chi2 is that of noise: elsewhere it may have stayed so."""
        if not any((outcome.status == Status.SINGULAR).any() for item in fitted for _, _, outcome in item.components):
            return
        noise = np.append(excess(found.totals(problem), found.dof) <= SIGNIFICANT, False)
        labels = problem.split(found.systems.label)
        for i, (own, item) in enumerate(zip(self.classes, fitted, strict=True)):
            sums.put(found.x)
            again = own.run(sums.span, replace(settings, reference=""), sums.equations(i))
            for k, ((name, part, one), (_, _, other)) in enumerate(zip(item.components, again.components, strict=True)):
                better = (one.status == Status.SINGULAR) & (other.status == Status.CONVERGED)
                better &= noise[labels[i][part.unknowns].min(0)]
                known = one.merged(other, better)
                item.components[k] = name, part, replace(known, iterations=one.iterations, chi2_start=one.chi2_start)

    def spread(self, i: int, span: Span, settings: Settings) -> None:
        """Fit a class by itself, each time interval from the solution of its neighbours where that is better."""
        self.classes[i].spread(span, replace(settings, reference=""))

    @property
    def gains(self) -> list[int]:
        """Classes of which each might be fitted first."""
        return [i for i in range(len(self.classes)) if self._precedence(i) == 0]

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
