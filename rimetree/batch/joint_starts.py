"""Where joint fits start, and where else if that ends badly.

By default each class is fitted by itself from where its Parms start, the others held, and then all move. That brings most cold starts near
the minimum; but delays, positions or shapes may end in another one. Where something is not linear, and some system of equations fits worse
than noise allows (or has not converged, and not for want of data alone), other starts are tried, each once, and only while that is so:

- Of several classes of gains another comes first: what is fitted while others have phases all around shrinks to nothing, and may stay so.
- What varies in time is fitted before gains, which would average over phases that drift, and follows its neighbours.
- All classes are put back to where they began, except the one that by itself explains most of the data, and all move from there: a source
  shrinks to a line to make up for gains fitted to another shape, a ripple's period becomes infinite while phases are unknown.

From whichever start, intervals that the values before or after them fit better take these (see `following`), and all move again.
Each system keeps the lowest chi2 of all; with `start="own"` there is one start, and nothing follows. Where much of the data's power is
left and no second start led to the same, a system is AMBIGUOUS, unless it began near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..solve.joint.coupled import Coupled
from ..solve.joint.coupled_fit import Minimum, fit
from ..solve.joint.joined import per_system
from ..solve.joint.unwinding import unwound
from ..solve.settings import Settings
from ..solve.single.doubt import SIGNIFICANT, excess, unexplained
from ..status import Status
from .fit import Fitted
from .joint_sums import JointSums

if TYPE_CHECKING:
    from .joint import JointFit

LOST = (Status.NO_DATA, Status.TOO_FEW_DATA, Status.DIVERGED)
"""Intervals that take no part in a joint fit: what they cannot determine would spoil the others."""

SAME = 0.01
"""Part of a misfit by which minima may differ that are the same: truncated steps end before all is gained."""

ROUNDS = 4
"""Most times that all classes are fitted again, after some have followed their neighbours."""


class Starts:
    """The starts of a joint fit on the sums of one span."""

    def __init__(self, joint: JointFit, sums: JointSums, settings: Settings) -> None:
        self.joint, self.sums, self.settings = joint, sums, settings
        self.own = sums.start()
        curved = [i for i, c in enumerate(joint.classes) if not c.atoms.linear and joint.start != "own"]
        self.following = [i for i in curved if int(sums.time.intervals[i][-1])]
        self.others: list[Callable[[], list[Fitted] | None]] = []
        """What else to begin with: leaves values in the state, or gives None where it is known to end no lower."""
        self.agreed = np.zeros(0, np.bool_)
        """(systems,) whether a second start has led to the minimum."""
        if all(c.searches for c in joint.classes):
            self.others += [lambda i=i: self._begin([i]) for i in joint.gains[1:]]  # type: ignore[misc]
        if self.following and joint.start == "auto":
            self.others.append(lambda: self._begin(self.following))
        if curved:
            self.others.append(self._from_one)

    def minimum(self) -> tuple[Coupled, Minimum, list[Fitted], bool]:
        """The problem and where its fit ends, what became of each class by itself, and whether chi2 stays above noise from all starts."""
        fitted = self._begin(self.following if self.joint.start == "previous" else ())
        self.joint.leave_out(self.sums, fitted)
        self.problem = self.joint.problem(self.sums)
        self.found = self._followed(self._fit(self.sums.start()))
        self.agreed = np.zeros(self.found.systems.count, np.bool_)
        for begin in self.others:
            if not self._doubtful():
                break
            self.sums.put(self.own)
            again = begin()
            if again is None:
                continue
            other = self._followed(self._fit(self.sums.start()))
            lower = self._compared(other)
            fitted = self._chosen(fitted, again, lower)
            self.found = self._mixed(self.found, other, lower)
        if self.others and all(c.searches for c in self.joint.classes):
            unsure = self._ambiguous() & ~self.agreed
            self.found.status[unsure] = Status.AMBIGUOUS
        said = bool(self.others) or self.joint.start == "own"
        return self.problem, self.found, fitted, said and bool(self._misfits().any())

    def _compared(self, other: Minimum) -> np.ndarray:
        """(systems,) whether another minimum is lower, after noting where it is the same."""
        lower, mine = self._lower(other), self.found.totals(self.problem)
        same = np.abs(other.totals(self.problem) - mine) <= SAME * np.abs(mine - self.found.dof)
        self.agreed = np.where(same, True, self.agreed & ~lower)
        return lower

    def _ambiguous(self) -> np.ndarray:
        """(systems,) what has converged, yet leaves so much of the data's power that it may be a wrong minimum, and much less than its
        start left."""
        n, of = self.found.systems.count, self.found.of_cell
        chi2, dof = self.found.totals(self.problem), self.found.dof
        start = per_system(of, n, self.problem.slopes(self.problem.points(self.own), self.own)[1])
        unsure = unexplained(chi2, start, dof, per_system(of, n, self.problem.power()))
        return self._misfits() & (self.found.status == Status.CONVERGED) & unsure

    def _fit(self, x: np.ndarray) -> Minimum:
        found = fit(self.problem, unwound(self.problem.points, x), self.settings)
        return replace(found, x=unwound(self.problem.points, found.x))

    def _begin(self, first: Sequence[int]) -> list[Fitted]:
        return self.joint.begin(self.sums.span, self.settings, self.sums, first)

    def _from_one(self) -> list[Fitted] | None:
        """From the class which alone, moved from its start, lowers chi2 most."""
        least, start = np.inf, self.own
        for i, own in enumerate(self.joint.classes):
            self.sums.put(self.own)
            own.run(self.sums.span, replace(self.settings, reference=""), self.sums.equations(i))
            x = self.sums.start()
            chi2 = self.problem.slopes(self.problem.points(x), x)[1].sum()
            if chi2 < least:
                least, start = chi2, x
        other = self._fit(start)
        if not self._compared(other).any():
            return None
        self.sums.put(other.x)
        return self._begin(())

    def _misfits(self) -> np.ndarray:
        """(systems,) whether chi2 is above noise."""
        return self._excess(self.found) > SIGNIFICANT

    def _doubtful(self) -> bool:
        """Whether another start may help some system."""
        return bool((self._misfits() | self._unsettled(self.found)).any())

    def _unsettled(self, found: Minimum) -> np.ndarray:
        """(systems,) whether a fit has not converged, and not for want of data alone: where chi2 is that of the noise, no other start
        leads lower, and unknowns only creep along what the data leave nearly free."""
        unfinished: np.ndarray = found.status != Status.CONVERGED
        return unfinished & (np.abs(self._excess(found)) > SIGNIFICANT)

    def _excess(self, found: Minimum) -> np.ndarray:
        """(systems,) chi2 beyond the degrees of freedom, in standard deviations."""
        return excess(found.totals(self.problem), found.dof)

    def _lower(self, other: Minimum, than: Minimum | None = None) -> np.ndarray:
        """(systems,) whether another minimum is lower, or has converged at the same chi2."""
        than = than or self.found
        mine, its, least = other.totals(self.problem), than.totals(self.problem), self.settings.tol * than.dof
        done = (other.status == Status.CONVERGED) & (than.status != Status.CONVERGED)
        return np.asarray((mine < its - least) | (done & (mine <= its + least)))

    def _mixed(self, one: Minimum, other: Minimum, lower: np.ndarray) -> Minimum:
        """The first minimum, but the other in the systems in which it is lower."""
        if not lower.any():
            return one
        if not lower.all():
            x = np.where(one.systems.spread(lower.astype(float)) > 0, other.x, one.x)
            other = self._fit(x)
        return replace(other, iterations=one.iterations + other.iterations)

    def _chosen(self, fitted: list[Fitted], again: list[Fitted], lower: np.ndarray) -> list[Fitted]:
        """What became of each class by itself, from the other start in the systems in which that led lower: not what is lost from there
        alone, whose data are in the fit."""
        taken = np.append(lower, False)
        labels = self.problem.split(self.found.systems.label)
        for one, other, label in zip(fitted, again, labels, strict=True):
            for k, ((name, part, outcome), (_, _, second)) in enumerate(
                zip(one.components, other.components, strict=True)
            ):
                here = taken[label[part.unknowns].min(0)] & ~np.isin(second.status, LOST)
                one.components[k] = (name, part, outcome.merged(second, here))
        return fitted

    def _followed(self, found: Minimum) -> Minimum:
        """A minimum as low or lower: some classes fitted from their neighbours in time, the others held, and then all together."""
        for _ in range(ROUNDS):
            drifting = [i for i in self.following if self._drifts(found, i)]
            if not drifting:
                break
            self.sums.put(found.x)
            for i in drifting:
                self.joint.spread(i, self.sums.span, self.settings)
            other = self._fit(self.sums.start())
            lower = self._lower(other, found)
            if not lower.any():
                break
            found = self._mixed(found, other, lower)
        return found

    def _drifts(self, found: Minimum, i: int) -> bool:
        """Whether some time interval of a class has not converged, or is fitted better by the real values of the one before or after it."""
        problem, made = self.problem, self.problem.classes[i]
        if np.append(self._unsettled(found), False)[problem.split(found.systems.label)[i]].any():
            return True
        times, real = int(self.sums.time.intervals[i][-1]) + 1, self.joint.classes[i].meaning.part == 0
        least = 10 * self.settings.tol * found.chi2.sum() / max(found.dof.sum(), 1)
        chi2 = np.bincount(made.cell, found.chi2.sum(0), made.intervals)
        for neighbour in (np.maximum(np.arange(times) - 1, 0), np.minimum(np.arange(times) + 1, times - 1)):
            x = found.x.copy()
            value = problem.split(x)[i].reshape(made.count, times, -1)
            value[real] = value[real][:, neighbour]
            other = problem.slopes(problem.points(x), x)[1]
            if (chi2 - np.bincount(made.cell, other.sum(0), made.intervals) > least).any():
                return True
        return False
