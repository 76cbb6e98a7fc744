"""Other starts, where a fit is worse than noise allows: what is not linear, and real gains, have several minima.

- **From narrow windows** of an interval's cells, each twice as wide as the one before and begun with its solution: phases that
  wrap over the whole interval (delays, rates, dispersion, rotation measures) do not within an eighth of it. Three such
  starts, in the middle and near both ends, begin from afar, so that it tells something if they lead to the same minimum.
- **From the leading eigenvector of the data** (see `leading`), for real gains: no small step changes a sign.
- **From afar**: unknowns moved by up to half a turn of what they change, complex gains and signs turned at random.
- **With single stations elsewhere** (see `relocate`), the others as they are: last, since most of them are right by then.

Asked are intervals whose chi2 is above noise, and those of which it would not tell, since so much noise hides what a wrong minimum
leaves. The lowest chi2 is kept, if it is so by more than a tenth of the misfit, and of equal ones the nearest to where all began. It
counts as found when a second start leads there too. Where much of the data's power is unexplained, and the start was not near, two
more must, else the interval is AMBIGUOUS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...status import Status
from ..result.outcome import Outcome
from ..settings import Settings
from .bounds import Constraints, Prior
from .doubt import FAILED, SIGNIFICANT, UNEXPLAINED, doubtful, excess, least, unexplained
from .leading import leading
from .lm import solve
from .problem import Problem
from .relocate import relocated

Window = Sequence[np.ndarray]
"""Stages of a start, masks (J, S) of the cells that are used, from few to half of them."""

TELLING = 4.0
"""Standard deviations of chi2 that a wrong minimum must leave to be told by it: half as many are enough to look for another."""

COARSE = 1e-3
"""Tolerance of fits to windows, which are only starts."""

ALIKE = 0.1
"""Part of a misfit by which a minimum that is far above noise too must be lower, to be better: a model that lacks something is often
fitted a little better by what is wrong (leakages for the phase between the hands, where gains are not final)."""

EXACT = 1e-12
"""Part of the data's power that is rounding: of data without noise."""

FAR = 2
"""Starts from afar."""

AGREED = 2
"""Other starts that have to lead to a minimum far above noise."""

MOVES = 4
"""Most fits of an interval from where stations were moved."""

TIGHT, LOOSE = 0.1, 1e-4
"""What ties the first and later windows to where they begin, as parts of the signal's power per reach."""

LITTLE = 0.05
"""Part of the power that is taken for signal at least."""

NEARER = 1.0
"""Difference of squared distances, in such units, from which the nearer of minima that are alike to the data is taken."""


def search(
    part: Problem, theta: np.ndarray, outcome: Outcome, windows: Sequence[Window], settings: Settings, given: np.ndarray
) -> Outcome:
    """Fit uncertain intervals from other starts than `given` (unknowns of the whole, S), which led to `theta`, and keep in it what is
    lowest. Gains that enter as complex numbers find their way from anywhere: nothing is done for these."""
    if not searchable(part):
        return outcome
    starts, agreed = Starts(part, given, windows, settings), np.zeros(part.intervals, int)
    for begin in starts:
        asked = uncertain(part, outcome) & (agreed < np.where(ambiguous(part, outcome), AGREED, 1))
        if not asked.any():
            break
        outcome, lower, same = _attempt(part, theta, outcome, starts, asked, begin(_only(part, asked)))
        agreed = np.where(lower, 0, agreed + same)
    if not part.linear:
        outcome, moved = _each(part, theta, outcome, starts)
        agreed[moved] = 0
    outcome.status[ambiguous(part, outcome) & (agreed < AGREED)] = Status.AMBIGUOUS
    return outcome


def _each(part: Problem, theta: np.ndarray, outcome: Outcome, starts: Starts) -> tuple[Outcome, np.ndarray]:
    """Move single stations of uncertain intervals to where they fit better, as long as there are such; (S,) where that led lower."""
    asked, moved = uncertain(part, outcome), np.zeros(part.intervals, bool)
    for _ in range(MOVES):
        if not asked.any():
            break
        found = theta.copy()
        enough = least(outcome, starts.own) + EXACT * part.power()
        asked = relocated(part, found, starts.given, asked, starts.reach, enough)
        outcome, asked, _ = _attempt(part, theta, outcome, starts, asked, found[part.unknowns])
        moved |= asked
    return outcome, moved


def _attempt(
    part: Problem, theta: np.ndarray, outcome: Outcome, starts: Starts, asked: np.ndarray, begin: np.ndarray
) -> tuple[Outcome, np.ndarray, np.ndarray]:
    """Fit the intervals `asked` (S,) from `begin` (unknowns, S), and keep in theta what is better; (S,) where it is lower, and the same."""
    mine, fitted, settings = part.unknowns, slice(None) if part.fitted is None else part.fitted, starts.own
    found = theta.copy()
    found[mine[fitted]] = np.where(asked, begin[fitted], theta[mine[fitted]])
    second = solve(_only(part, asked), found, settings)
    second.iterations += outcome.iterations
    second.chi2_start[:] = outcome.chi2_start
    good = asked & (second.status == Status.CONVERGED)
    margin = np.maximum(np.maximum(least(outcome, settings), least(second, settings)), EXACT * part.power())
    above = excess(second.chi2, second.dof) > SIGNIFICANT
    alike = np.where(above, np.maximum(margin, ALIKE * (outcome.chi2 - outcome.dof)), margin)
    lower = good & (~(second.chi2 >= outcome.chi2 - alike) | np.isin(outcome.status, FAILED))
    same = good & ~lower & (np.abs(second.chi2 - outcome.chi2) <= margin)
    nearer = same & (starts.distance(found) < starts.distance(theta) - NEARER)
    theta[mine] = np.where(lower | nearer, found[mine], theta[mine])
    return outcome.merged(second, lower | nearer), lower, same


def searched_before(part: Problem, outcome: Outcome, earlier: Outcome, settings: Settings) -> Outcome:
    """What followed on a search, `earlier`: a lower minimum far above the noise was found once, the same one is what it was."""
    lower = ~(outcome.chi2 >= earlier.chi2 - least(earlier, settings))
    outcome.iterations += earlier.iterations
    outcome.chi2_start[:] = earlier.chi2_start
    outcome.status[ambiguous(part, outcome) & (lower | (earlier.status == Status.AMBIGUOUS))] = Status.AMBIGUOUS
    return outcome


def searchable(part: Problem) -> bool:
    """Whether there may be minima that gains do not have which enter as complex numbers."""
    return not part.linear or _signs(part)


def uncertain(part: Problem, outcome: Outcome) -> np.ndarray:
    """(S,) whether chi2 says that a minimum is wrong, or would not say it."""
    noise = np.sqrt(2 * np.maximum(outcome.dof, 1))
    told = UNEXPLAINED * (part.power() - outcome.chi2) > TELLING * noise
    worked = np.isfinite(outcome.chi2) | np.isin(outcome.status, FAILED)
    return worked & (np.isin(outcome.status, FAILED) | (excess(outcome.chi2, outcome.dof) > TELLING / 2) | ~told)


def ambiguous(part: Problem, outcome: Outcome) -> np.ndarray:
    """(S,) what has converged, yet leaves so much of the data's power that it may be a wrong minimum, and much less than its start left."""
    unsure = unexplained(outcome.chi2, outcome.chi2_start, outcome.dof, part.power())
    return doubtful(outcome) & (outcome.status == Status.CONVERGED) & unsure


def _signs(part: Problem) -> bool:
    """Whether real gains are multiplied with one another."""
    forms = [(eq.form.term_factor >= 0).sum(1) for eq in part.equations]
    return part.linear and all((own == 2).all() for own in forms) and len(_reals(part)) > 0


def _reals(part: Problem) -> np.ndarray:
    """Unknowns that are no part of a complex gain or matrix."""
    used = [
        part.retract.gains,
        part.retract.gains + 1,
        part.retract.matrices.ravel(),
        part.retract.matrices.ravel() + 1,
    ]
    return np.setdiff1d(np.arange(part.count), np.concatenate(used))


Start = Callable[[Problem], np.ndarray]
"""Values (n, S) to begin with, of the problem with the intervals that are wanted."""


class Starts:
    """The other starts of a component, and how far from `given` (unknowns of the whole, S) others lead."""

    def __init__(self, part: Problem, given: np.ndarray, windows: Sequence[Window], settings: Settings) -> None:
        self.part, self.given, self.own = part, given, settings
        self.windows = () if part.linear else windows
        self.settings = replace(settings, tol=max(COARSE, settings.tol), reference="", algorithm="lm")
        self.reals = _reals(part)
        self.reach = np.zeros((part.count, 1)) if part.linear else _reach(part, given)

    def __iter__(self) -> Iterator[Start]:
        if _signs(self.part):
            yield lambda few: leading(few, self.given, self.settings)
        for number, stages in enumerate(self.windows, 1):
            yield lambda few, number=number, stages=stages: self._widening(few, number, stages)  # type: ignore[misc]
        for number in range(1, FAR + 1):
            yield lambda _, number=number: self._afar(number)[self.part.unknowns]  # type: ignore[misc]

    def distance(self, theta: np.ndarray) -> np.ndarray:
        """(S,) squared, of what is not linear, in units of its reach."""
        moved, reach = (theta - self.given)[self.part.unknowns], self.reach
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((np.divide(moved, reach, out=np.zeros_like(moved), where=reach > 0) ** 2).sum(0))

    def _widening(self, few: Problem, number: int, stages: Window) -> np.ndarray:
        """The solution of the widest window. In the first, steps are damped as the whole interval would: what that depends on most, such as
        a delay, hardly moves there, and noise or its few cells must not take it to where it turns the phase once per channel, which is
        the same to all data. Later ones begin near their solution: no block-Jacobi steps."""
        theta = self._afar(number)
        for stage, mask in enumerate(stages):
            cut = _masked(few, mask)
            power = cut.power()
            signal = np.maximum(power - cut.data() * mask.mean(0), LITTLE * power)
            for _ in range(1 if stage else 2):
                tied = replace(cut, constraints=self._tied(theta, (LOOSE if stage else TIGHT) * signal))
                solve(replace(tied, multiplicative=cut.multiplicative and not stage), theta, self.settings)
        own, given = theta[few.unknowns], self.given[few.unknowns]
        return np.where(np.isfinite(own), own, given)

    def _tied(self, theta: np.ndarray, strength: np.ndarray) -> Constraints:
        """Bounds and priors with one more: values of `theta` (unknowns of the whole, S), to within reach where `strength` is 1."""
        own = self.part.constraints or Constraints.none(self.part.intervals)
        reach = np.broadcast_to(self.reach, (self.part.count, self.part.intervals))
        tie = np.divide(strength, reach**2, out=np.zeros(reach.shape), where=reach > 0)
        mean, precision = own.prior if len(own.prior.mean) else np.zeros((2, *tie.shape))
        total = precision + tie
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(total > 0, (precision * mean + tie * theta[self.part.unknowns]) / total, 0.0)
        return replace(own, prior=Prior(mean, total))

    def _afar(self, number: int) -> np.ndarray:
        """(unknowns of the whole, S): values turned at random, alike in all intervals, so that what is found does not depend on tiles."""
        part, rng, moved = self.part, np.random.default_rng(number), self.given.copy()
        theta, turn = moved[part.unknowns], np.exp(1j * np.pi * rng.uniform(-1, 1, part.count))[:, None]
        gains = part.retract.gains
        value = (theta[gains] + 1j * theta[gains + 1]) * turn[gains]
        theta[gains], theta[gains + 1] = value.real, value.imag
        if part.linear:
            theta[self.reals] *= np.where(turn[self.reals].real > 0, 1, -1)
        else:
            theta += np.angle(turn) * self.reach
        fixed = np.zeros(part.count, np.bool_) if part.fitted is None else ~part.fitted
        moved[part.unknowns] = np.where(fixed[:, None], moved[part.unknowns], theta)
        return moved


def _reach(part: Problem, given: np.ndarray) -> np.ndarray:
    """(n, S): how far each real unknown moves to change its atoms by about themselves; 0 where that is unknown."""
    ur, ui, tr, ti = part.atoms(given)
    size, slope = np.zeros((2, part.count, part.intervals))
    with np.errstate(over="ignore", invalid="ignore"):
        power, rate = (ur**2 + ui**2).sum(1), (tr**2 + ti**2).sum(2)
        atom, parameter = np.nonzero(part.atom_unknown >= 0)
        np.add.at(size, part.atom_unknown[atom, parameter], power[atom])
        np.add.at(slope, part.atom_unknown[atom, parameter], rate[atom, parameter])
        reach = np.sqrt(size / np.where(slope > 0, slope, np.inf))
    real = np.isin(np.arange(part.count), _reals(part))[:, None]
    return np.where(np.isfinite(reach) & real, reach, 0.0)


def _only(part: Problem, chosen: np.ndarray) -> Problem:
    """With data in some intervals (S,) only, so that the others take no time."""
    return replace(part, equations=tuple(replace(eq, data=eq.data * chosen) for eq in part.equations))


def _masked(part: Problem, mask: np.ndarray) -> Problem:
    """With some cells (J, S) only; how many data these have is not known, and taken to be enough."""
    keep = mask.astype(float)
    return replace(
        part,
        equations=tuple(
            replace(eq, R=(eq.R[0] * keep, eq.R[1] * keep), y=(eq.y[0] * keep, eq.y[1] * keep)) for eq in part.equations
        ),
    )
