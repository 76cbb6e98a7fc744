"""Joint fits in which delays, positions or rotation measures follow those of neighbouring time intervals (see `following`).

From their own start some end in other minima; then their neighbours' solutions fit better than their own, and all classes move again
once they have followed them. Gains that were fitted first, to data that the others turn, may have gone wrong as a whole; then chi2 is
more than noise, and the fit begins once more with the others. Nothing is taken that has no lower chi2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..solve.coupled import Coupled
from ..solve.coupled_fit import Minimum, fit
from ..solve.settings import Settings
from ..solve.status import Status
from .fit import Fitted
from .joint_sums import JointSums

if TYPE_CHECKING:
    from .joint import JointFit

POOR = 1.5
"""chi2 per degree of freedom beyond which a fit begins once more."""

ROUNDS = 4
"""Most times that all classes are fitted again, after some have followed their neighbours."""


def minimum(joint: JointFit, sums: JointSums, settings: Settings) -> tuple[Coupled, Minimum, list[Fitted]]:
    """The problem and where its fit ends, from where all Parms start; and what became of each class by itself."""
    own, span = sums.start(), sums.span
    following = [i for i, c in enumerate(joint.classes) if not c.atoms.linear and int(sums.time.intervals[i][-1])]
    fitted = joint.begin(span, settings, sums, following if joint.start == "previous" else ())
    joint.leave_out(sums, fitted)
    problem = joint.problem(sums)
    found = fit(problem, sums.start(), settings)
    if not following or joint.start == "own":
        return problem, found, fitted
    found = _followed(joint, sums, problem, found, following, settings)
    if joint.start == "auto" and (found.totals(problem) > POOR * found.dof).any():
        sums.put(own)
        again = joint.begin(span, settings, sums, following)
        other = _followed(joint, sums, problem, fit(problem, sums.start(), settings), following, settings)
        better = _better(problem, found, other, settings)
        if better is not found:
            return problem, better, again
    return problem, found, fitted


def _followed(
    joint: JointFit, sums: JointSums, problem: Coupled, found: Minimum, following: Sequence[int], settings: Settings
) -> Minimum:
    """A minimum that is as good or better: some classes fitted from their neighbours in time, the others held, and then all together."""
    for _ in range(ROUNDS):
        drifting = [i for i in following if _drifts(joint, sums, problem, found, i, settings)]
        if not drifting:
            break
        sums.put(found.x)
        for i in drifting:
            joint.spread(i, sums.span, settings)
        better = _better(problem, found, fit(problem, sums.start(), settings), settings)
        if better is found:
            break
        found = better
    return found


def _better(problem: Coupled, one: Minimum, other: Minimum, settings: Settings) -> Minimum:
    """The first minimum, or in systems in which the other is lower, that."""
    lower = other.totals(problem) < one.totals(problem) - settings.tol * one.dof
    if not lower.any():
        return one
    if not lower.all():
        x = np.where(one.systems.spread(lower.astype(float)) > 0, other.x, one.x)
        other = fit(problem, x, settings)
    return replace(other, iterations=one.iterations + other.iterations)


def _drifts(
    joint: JointFit, sums: JointSums, problem: Coupled, found: Minimum, i: int, settings: Settings
) -> bool:  # fmt: skip
    """Whether some time interval of a class has not converged, or is fitted better by the real values of the one before or after it."""
    made = problem.classes[i]
    status = np.append(found.status, Status.CONVERGED)[problem.split(found.systems.label)[i]]
    if (status != Status.CONVERGED).any():
        return True
    times, real = int(sums.time.intervals[i][-1]) + 1, joint.classes[i].meaning.part == 0
    least = 10 * settings.tol * found.chi2.sum() / found.dof.sum()
    chi2 = np.bincount(made.cell, found.chi2.sum(0), made.intervals)
    for neighbour in (np.maximum(np.arange(times) - 1, 0), np.minimum(np.arange(times) + 1, times - 1)):
        x = found.x.copy()
        value = problem.split(x)[i].reshape(made.count, times, -1)
        value[real] = value[real][:, neighbour]
        other = problem.slopes(problem.points(x), x)[1]
        if (chi2 - np.bincount(made.cell, other.sum(0), made.intervals) > least).any():
            return True
    return False
