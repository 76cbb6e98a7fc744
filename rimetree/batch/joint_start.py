"""Another start for joint fits in which something enters non-linearly, where the first leads to no minimum or to a bad one.

One class after another, each with the others held where they are, brings most cold starts near the minimum. But what enters
non-linearly may go far astray while others are still wrong: a source shrinks to a line to make up for gains that were fitted to another
shape, the period of a ripple becomes infinite while phases are unknown. Then all classes are put back to where they began, except that
which by itself explains most of the data, and everything moves from there. chi2 says which fit is better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..solve.coupled import Coupled
from ..solve.coupled_fit import Minimum, fit
from ..solve.report import MISFIT
from ..solve.settings import Settings
from ..solve.status import Status
from .joint_sums import JointSums

if TYPE_CHECKING:
    from .joint import JointFit


def doubtful(joint: JointFit, problem: Coupled, found: Minimum) -> bool:
    """Whether another start may help: something is not linear, and some system has not converged or fits badly."""
    if all(own.atoms.linear for own in joint.classes):
        return False
    return bool((found.status != Status.CONVERGED).any() or (found.totals(problem) > MISFIT**2 * found.dof).any())


def elsewhere(joint: JointFit, problem: Coupled, sums: JointSums, settings: Settings, cold: np.ndarray) -> Minimum:
    """Where all classes end that start at `cold` (unknowns,), except the one which alone, moved from there, lowers chi2 most."""
    least, start = np.inf, cold
    for i, own in enumerate(joint.classes):
        sums.put(cold)
        own.run(sums.span, replace(settings, reference=""), sums.equations(i))
        x = sums.start()
        chi2 = problem.slopes(problem.points(x), x)[1].sum()
        if chi2 < least:
            least, start = chi2, x
    return fit(problem, start, settings)


def better(problem: Coupled, one: Minimum, other: Minimum) -> bool:
    """Whether `one` has the lower chi2, or has converged at the same."""
    mine, its = one.totals(problem).sum(), other.totals(problem).sum()
    done, had = ((m.status == Status.CONVERGED).sum() for m in (one, other))
    return bool(mine < its * (1 - 1e-6) or (mine <= its * (1 + 1e-6) and done > had))
