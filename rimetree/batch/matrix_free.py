"""Fit a Solver without a normal matrix, on one span of slots: any equations, any number of unknowns.

Conjugate gradients on products with sums over the cells of all classes (`joint_sums`), as joint fits have them, where these fit in
memory; else with derivatives of the equations as they stand (`plan.residuals`), data piece by piece (`pieces`). All classes of Parms
are fitted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ..plan.residuals import Residuals, Solved
from ..solve.joint.banded import Banded
from ..solve.joint.coupled_errors import variances
from ..solve.joint.coupled_fit import Minimum, fit
from ..solve.joint.datum import Datum, datum, pairs
from ..solve.joint.exchange import Exchanges
from ..solve.joint.joined import Joined, per_system
from ..solve.joint.matrix_free import MatrixFree, Summed, started
from ..solve.result.many_gauges import named
from ..solve.result.outcome import Outcome
from ..solve.settings import Settings
from ..solve.single.problem import Problem
from ..solve.single.significance import gain_atoms, reduced
from ..status import Status
from .fit import ClassFit, Fitted
from .joint import JointFit
from .joint_grid import Axis
from .joint_report import zeroed
from .joint_sums import JointSums, shell
from .memory import too_large
from .pieces import Equations, Held
from .sampled_blocks import groups_of, samples
from .span import Span
from .with_matrix import judged, small

KEPT = 0.4
"""Of the memory, for pieces of data that are kept between passes."""

SUMS = 0.4
"""Of the memory, for sums over cells."""

POINT = 500
"""Bytes of a solvable factor in a cell, with its derivatives."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """The classes of a fit on a span: its cells; per class intervals in time and frequency, which of these in time is the first,
    and the unknowns with the component of each."""

    joint: JointFit
    span: Span
    time: Axis
    freq: Axis
    shapes: Sequence[tuple[int, int]]
    offsets: Sequence[int]
    shells: Sequence[Problem]
    labels: Sequence[np.ndarray]

    @classmethod
    def of(cls, joint: JointFit, span: Span, made: JointSums | None) -> _Cells:
        """Those of sums, else cells within which no interval ends."""
        states = [own.state.parms[own.parms[0]] for own in joint.classes]
        time = made.time if made else Axis.of([p.slot_interval[span.slots] for p in states], True)
        freq = made.freq if made else Axis.of([p.chan_interval for p in states], True)
        shapes = [(int(t[-1]) + 1, int(f[-1]) + 1) for t, f in zip(time.intervals, freq.intervals, strict=True)]
        shells = [shell(own, st * sf) for own, (st, sf) in zip(joint.classes, shapes, strict=True)]
        labels = made.components if made else [one.labels() for one in shells]
        return cls(joint, span, time, freq, shapes, [int(p.slot_interval[span.start]) for p in states], shells, labels)

    def start(self) -> np.ndarray:
        """The present coefficients (unknowns,)."""
        rows = zip(self.joint.classes, self.offsets, self.shapes, strict=True)
        return np.concatenate([own._theta(offset, st).ravel() for own, offset, (st, _) in rows])


class MatrixFreeFit:
    """The compiled fit of all classes of a Solver; `joint` knows what they have to do with one another."""

    def __init__(self, joint: JointFit, memory: float, why: str) -> None:
        self.joint, self.memory, self.whole, self.why = joint, memory, joint.whole, why
        self.notes: list[str] = []
        """What the user should know of the latest run."""
        self._compiled: dict[Any, Equations] = {}

    def run(self, span: Span, settings: Settings) -> list[Fitted]:
        """Fit; the state receives coefficients, errors and statuses."""
        with self.whole.clock("solve"):
            return self._run(span, settings)

    def _run(self, span: Span, settings: Settings) -> list[Fitted]:
        joint = self.joint
        made = self.summed(span, settings)
        several = len(joint.classes) > 1 and not any(too_large(own, self.memory) for own in joint.classes)
        if several:  # a start near the minimum, as for fits of all classes from sums
            joint.begin(span, settings, made)
        cells = _Cells.of(joint, span, made)
        x = cells.start()
        if made:
            problem: Joined = joint.problem(made, Summed)
            dropped = made.dropped
        else:
            problem, held = self._in_pieces(cells, x)
            dropped = held.dropped
        cold = self.whole.multiplicative and self.whole.atoms.linear and not several
        found = fit(problem, started(problem, x) if cold else x, settings)
        if len(joint.classes) == 1 and small(joint.classes[0], cells.shells[0], self.memory):
            self.notes = [f"{joint.name}: {self._how('without a matrix', problem, found)}, judged with one"]
            return judged(joint.classes[0], span, cells.offsets[0], problem, found, x, dropped, settings)
        if isinstance(problem, Summed) and (matrix := problem.matrix(found.points)):
            found = replace(found, near=(found.blocks, matrix))
        final, variance, names = self._judged(problem, found, settings)
        fitted = [
            Fitted(own.parms, shape, offset, [(own._name(part), part, None) for part in one.components()], 0)  # type: ignore[misc]
            for own, shape, offset, one in zip(joint.classes, cells.shapes, cells.offsets, cells.shells, strict=True)
        ]
        fitted[0].dropped = dropped
        self._report(problem, x, final, variance, fitted, settings, names)
        self._name(problem, found, fitted)
        return fitted

    def summed(self, span: Span, settings: Settings) -> JointSums | None:
        """The data of a span summed over cells, where nothing forbids that."""
        if self.unsummed(span, settings.backend):
            return None
        with self.whole.clock("sums"):
            return JointSums.collect(self.joint, span, *self.joint.axes(span))

    def unsummed(self, span: Span, backend: str) -> str:
        """Why the data of a span are not summed before iterating; "" where they are."""
        if backend != "numba":
            return f"backend={backend!r} has no sums of them"
        time, freq = self.joint.axes(span)
        needed = self.joint.bytes(time, freq) + self.whole.atoms.count * POINT * time.count * freq.count
        if needed > SUMS * self.memory:
            return f"their sums over {time.count} x {freq.count} cells take {needed:.2g} bytes"
        return ""

    def _in_pieces(self, cells: _Cells, x: np.ndarray) -> tuple[MatrixFree, Held]:
        """The problem on data as they are."""
        joint, span, time, freq = self.joint, cells.span, cells.time, cells.freq
        forms = [form for forms in self.whole.forms for form in forms]
        members, seen = joint.parts(forms, cells.labels)
        equations = self._equations(self._solved(cells.shapes), members, time, freq)
        held, residuals = Held(equations, span, x, KEPT * self.memory), equations.residuals
        data = np.asarray(sum(np.asarray(residuals.count(piece)) for piece in held()))
        classes = joint.class_list(cells.labels, seen, time, freq)
        return MatrixFree(
            tuple(classes), data, joint.prior(classes), residuals, held, samples(residuals, time, freq),
            _power(residuals, held, x), partial(self._watch, residuals, cells.offsets[0], time, freq),
        ), held  # fmt: skip

    # What is compiled.

    def _solved(self, shapes: Sequence[tuple[int, int]]) -> dict[int, Solved]:
        """Where in the vector of all unknowns those of each Parm family are."""
        found, start = {}, 0
        for own, (st, sf) in zip(self.joint.classes, shapes, strict=True):
            for n in own.parms:
                members, ct, cf = own.unknowns.shapes[n]
                shape = members, ct * cf, own.unknowns.parts[n], st, sf
                found[n] = Solved(start + own.unknowns.offsets[n] * st * sf, shape, (ct, cf), own.atoms.funklets[n])
            start += own.unknowns.count * st * sf
        return found

    def _equations(self, solved: dict[int, Solved], members: Sequence[np.ndarray], time: Axis, freq: Axis) -> Equations:
        """Compiled once for spans of equal shapes."""
        key = tuple(own.shape for own in solved.values()), time.label.tobytes(), freq.label.tobytes()
        if key not in self._compiled:
            groups = [g for own in self.joint.classes for g in groups_of(own, solved, time, freq, self.memory)]
            self._compiled[key] = Equations(self.whole, solved, groups, members, time, freq, self.memory)
        return self._compiled[key]

    def _watch(
        self, residuals: Residuals, offset: int, time: Axis, freq: Axis, x: np.ndarray, piece: Any, chi2: np.ndarray
    ) -> None:
        """Remember which node is not finite, and in which intervals of the first class."""
        t, f = np.divmod(np.flatnonzero(~np.isfinite(chi2).all(0)), freq.count)
        first = self.joint.classes[0].unfit
        first.intervals.update(
            zip((offset + time.intervals[0][t]).tolist(), freq.intervals[0][f].tolist(), strict=True)
        )
        first.culprit = first.culprit or residuals.unfit(x, piece)

    # Outcomes.

    def _how(self, way: str, problem: Joined, found: Minimum) -> str:
        passes = "each a pass over the data" if isinstance(problem, MatrixFree) else "of sums over cells"
        return f"fitted {way} ({found.products} products, {passes})"

    def _judged(self, problem: Joined, found: Minimum, settings: Settings) -> tuple[Minimum, np.ndarray, Counter[str]]:
        """The minimum with the reference antenna's phases zero where they are free, the variance of every unknown (those of the two parts
        of a gain are taken to be equal), and which Parms are zero in how many intervals."""
        meanings = [own.meaning for own in self.joint.classes]
        fixed = Datum.none(problem.count)
        if settings.reference:
            fixed = datum(problem, found, meanings, settings.reference)
        held = problem.held(found.x, found.gradient)
        variance, way, _ = variances(problem, found, Exchanges.none(problem.count), fixed, held)
        variance[fixed.reals] = 0
        if held is not None:
            variance[held.real[held.real == held.imag]] = 0.0
        whole = found.near is not None and isinstance(found.near[1], Banded)
        how = "with the factor of a banded normal matrix" if whole else "without a matrix"
        words = [self._how(how, problem, found), *([way] if way else [])]
        self.notes = [f"{self.joint.name}: {'; '.join(words)}"]
        for made, wide in zip(problem.classes, problem.split(variance), strict=True):
            gains = made.retract.gains
            wide[gains] = wide[gains + 1] = (wide[gains] + wide[gains + 1]) / 2
        return replace(found, x=fixed.turned(found.x, pairs(problem, meanings))), variance, fixed.names

    def _report(
        self,
        problem: Joined,
        x: np.ndarray,
        found: Minimum,
        variance: np.ndarray,
        fitted: Sequence[Fitted],
        settings: Settings,
        referred: Counter[str],
    ) -> None:
        """Fill in the outcomes of all components, and the state."""
        systems, start = found.systems, problem.slopes(problem.points(x), x)[1]
        labels, wides, thetas = (problem.split(a) for a in (systems.label, variance, found.x))
        surprise, known = problem.split(problem.surprise(found.x)), problem.split((problem.prior.precision > 0) * 1.0)
        priors = systems.sum((problem.prior.precision > 0) * 1.0)
        total = per_system(found.of_cell, systems.count, problem.data) + priors
        share = np.append(found.dof / np.maximum(total, 1), 1.0)
        for i, (own, made, item) in enumerate(zip(self.joint.classes, problem.classes, fitted, strict=True)):
            for k, (name, part, _) in enumerate(item.components):
                here = made.of_part == made.component[part.unknowns[0]]
                wide, theta = wides[i][part.unknowns], thetas[i][part.unknowns]
                chi2, before, data = (
                    np.bincount(made.cell, a[here].sum(0), made.intervals) for a in (found.chi2, start, problem.data)
                )
                chi2, data = chi2 + surprise[i][part.unknowns].sum(0), data + known[i][part.unknowns].sum(0)
                system = labels[i][part.unknowns].min(0)
                outcome = _outcome(own, part, found, system, theta, wide, before, chi2, data, settings)
                if len(fitted) > 1:  # others were fitted to the same data
                    outcome = replace(outcome, dof=data * share[system])
                item.components[k] = name, part.emptied(), replace(outcome, referred=zeroed(part, referred))
            own._store(np.ascontiguousarray(thetas[i]), item.first, item.intervals[0], item.components)

    def _name(self, problem: Joined, found: Minimum, fitted: Sequence[Fitted]) -> None:
        """Say what data leave free in components by themselves, as fits with a matrix do, where the matrix is banded."""
        matrix = found.near[1] if found.near else None
        if not isinstance(matrix, Banded) or problem.held(found.x, found.gradient) is not None:
            return
        start = 0
        for made, item, theta in zip(problem.classes, fitted, problem.split(found.x), strict=True):
            for k, (name, part, outcome) in enumerate(item.components):
                rows = start + part.unknowns[:, None] * made.intervals + np.arange(made.intervals)
                if (null := matrix.inside(rows)) is not None:
                    item.components[k] = name, part, _freed(outcome, part, theta[part.unknowns], null)
            start += made.size


def _freed(outcome: Outcome, part: Problem, theta: np.ndarray, nulls: Sequence[csr_array]) -> Outcome:
    """The same with the null directions (n, m) of each interval at the minimum theta (n, S) in words, and not counted in its rank."""
    texts = [named(part.meaning, part.retract.matrices, x, null) for x, null in zip(theta.T, nulls, strict=True)]
    distinct = list(dict.fromkeys(texts))
    count = np.array([null.shape[1] for null in nulls])
    dof = np.where(outcome.dof > 0, outcome.dof + count, 0)
    gauge = np.array([distinct.index(text) for text in texts])
    return replace(outcome, rank=np.maximum(outcome.rank - count, 0), dof=dof, gauge=gauge, gauges=distinct)


def _outcome(
    own: ClassFit,
    part: Problem,
    found: Minimum,
    system: np.ndarray,
    theta: np.ndarray,
    variance: np.ndarray,
    before: np.ndarray,
    chi2: np.ndarray,
    data: np.ndarray,
    settings: Settings,
) -> Outcome:
    """Of one component, in all its intervals; `system` that of each interval."""
    count, intervals = theta.shape
    there = system < found.systems.count
    status = np.where(there, np.append(found.status, Status.NO_DATA)[system], Status.NO_DATA).astype(np.uint8)
    size = own.fitted[part.unknowns].sum()
    status[there & (data < size)] = Status.TOO_FEW_DATA
    fitted = own.fitted[part.unknowns][:, None] & (data > 0)
    blind = (
        fitted & np.isnan(variance) & (part.meaning.coefficient == 0)[:, None]
        if part.meaning
        else fitted & np.isnan(variance)
    )
    status[blind.any(0) & (status == Status.CONVERGED)] = Status.SINGULAR
    dof = np.maximum(data - size, 0)
    lost = _lost(part, theta, variance, reduced(chi2, dof), settings.min_snr) & (status == Status.CONVERGED)
    status[(lost.sum(0) > 0.5 * size) & lost.any(0)] = Status.LOW_SNR
    nothing = np.full(intervals, np.nan)
    return Outcome(
        status, np.where(there, np.append(found.iterations, 0)[system], 0).astype(np.int32), before, chi2, dof,
        np.where(there, size - blind.sum(0), 0).astype(np.int32), nothing, variance, np.zeros((count, 1, intervals)), blind, lost,
        np.zeros(intervals, int), [""], None,
    )  # fmt: skip


def _lost(part: Problem, theta: np.ndarray, variance: np.ndarray, scale: np.ndarray, least: float) -> np.ndarray:
    """Gains lost in the noise (see `solve.single.significance`), of those that are single complex numbers."""
    found = np.zeros(theta.shape, bool)
    gains = np.intersect1d(part.retract.gains, part.atom_unknown[gain_atoms(part), 0])
    power = theta[gains] ** 2 + theta[gains + 1] ** 2
    found[gains] = found[gains + 1] = power <= 2 * least**2 * variance[gains] * scale
    return found


def _power(residuals: Residuals, pieces: Held, x: np.ndarray) -> np.ndarray:
    """chi2 where all unknowns are 0, mostly that of the data; where this is not finite, that at the start."""
    found = [
        np.asarray(sum(np.asarray(residuals.value(at, piece)) for piece in pieces())) for at in (np.zeros_like(x), x)
    ]
    return np.asarray(np.nan_to_num(np.where(np.isfinite(found[0]), np.maximum(found[0], found[1]), found[1])))
