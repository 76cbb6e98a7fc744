"""Levenberg-Marquardt with truncated conjugate gradients for coupled problems (see `coupled`).

Valleys of chi2 in which little is determined (leakages and the phase between x and y of a nearly unpolarised source) are
curved: a long step along one leaves it sideways, and damping would have to make all steps short. So a step that gains too
little is corrected from where it led, by a linearisation there, and again from there as long as that helps, before it is
judged (the second-order correction of constrained optimisation: Nocedal & Wright 2006, Numerical Optimization, section 15.6).

Along such a valley conjugate gradients need hundreds of products, and stop short. Once a solve has taken longer than making the whole
normal matrix, steps are exact. Corrections are not: these shall lead back into the valley, and an exact one would leap along it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...status import Status
from ...telling import tell
from ..settings import Settings
from .cg import Blocks, Solved, Systems, solve
from .coarse import Coarse
from .joined import Held, Joined, per_system

TRUNCATION = 0.03
"""Residual of a truncated solve, relative to its start: the next linearisation corrects more than that."""

CORRECTIONS, HOPEFUL = 6, 0.5
"""Most corrections of a step; another is tried where one leaves less than this part of what the step is above its start."""

SETTLED = 1e-3
"""Of the gain below which a system has converged: a solve goes on until its residual promises less than this in the preconditioned norm
(which is less than the true one along directions that the preconditioner misses); a gradient that does needs no solve."""

PRODUCTS = 200
"""Most products per solve."""

STALE = 0.1
"""A step that lowers chi2 by more than this times the degrees of freedom makes the preconditioner anew."""

NEAR = 5e-3
"""A preconditioner made where no system's unknowns differ by more than this part of them is good at the end."""

POOR, GOOD = 0.1, 0.6
"""Of the predicted gain: below the first a step is corrected, above the second the next is damped less."""

BENT = 0.25
"""Part of the predicted gain by which the true one may differ before chi2 is looked at along a step."""

LARGEST_DAMPING = 1e10
LEAST_DAMPING = 1e-6
"""Less than this changes nothing but the number of steps that it takes to come back."""

TRUSTED_DAMPING = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Minimum:
    """Where a coupled fit ended: the unknowns, atoms and blocks there, chi2 (parts, cells), half its gradient; per
    system status, iterations, and the degrees of freedom."""

    x: np.ndarray
    points: Any
    blocks: Blocks
    chi2: np.ndarray
    gradient: np.ndarray
    systems: Systems
    of_cell: np.ndarray
    status: np.ndarray
    iterations: np.ndarray
    dof: np.ndarray
    products: int
    near: tuple[Blocks, Any] | None
    """Blocks made close by, and what goes with them (see `Joined.coarse`), where the fit has these of all systems."""

    def totals(self, problem: Joined) -> np.ndarray:
        """(systems,) chi2 with priors."""
        return per_system(self.of_cell, self.systems.count, self.chi2) + self.systems.sum(problem.surprise(self.x))


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Some unknowns with what chi2 is there: (parts, cells), half its gradient, and its total with priors per system."""

    x: np.ndarray
    points: Any
    chi2: np.ndarray
    gradient: np.ndarray
    total: np.ndarray


class _Fit:
    """A fit in progress: where it is, and the damping of each system."""

    def __init__(self, problem: Joined, x: np.ndarray, settings: Settings) -> None:
        self.problem, self.settings = problem, settings
        points = problem.points(x)
        self.blocks = problem.blocks(points)
        self.systems, self.of_cell = problem.systems()
        label = np.where(self.blocks.diagonal(problem.count) > 0, self.systems.label, self.systems.count)
        self.systems = Systems(label, self.systems.count)
        self.here = self._at(x, points)
        n = self.systems.count
        data = self._per_system(problem.data) + self.systems.sum((problem.prior.precision > 0) * 1.0)
        self.dof = np.maximum(data - np.bincount(label, minlength=n + 1)[:n], 1)
        self.floor = 4e-15 * self._per_system(problem.power())
        self.status = np.full(n, Status.ITERATION_LIMIT, np.uint8)
        self.status[~np.isfinite(self.here.total)] = Status.DIVERGED
        self.iterations, self.damping = np.zeros(n, np.int32), np.full(n, float(settings.damping))
        self.products = self.most = 0
        """Taken in all, and by one solve."""
        self.labour = problem.labour(self.systems)
        self.allowance = problem.allowance(self.systems)
        self.coarse: Any = None
        self.made_at: _Place | None = None
        self.made, self.whole = x, False
        """Where the blocks were made, and whether what goes with them was made of all systems."""
        self.before = np.full(n, np.inf)
        """What the gradient promised before a step that went as predicted; infinite elsewhere."""

    def _per_system(self, x: np.ndarray) -> np.ndarray:
        """Sums of (parts, cells)."""
        return per_system(self.of_cell, self.systems.count, x)

    def _at(self, x: np.ndarray, points: Any = None) -> _Place:
        points = self.problem.points(x) if points is None else points
        gradient, chi2 = self.problem.slopes(points, x)
        return _Place(x, points, chi2, gradient, self._per_system(chi2) + self.systems.sum(self.problem.surprise(x)))

    def _mixed(self, one: _Place, other: _Place, taken: np.ndarray) -> _Place:
        """`one`, but `other` in the systems `taken` (systems,)."""
        if taken.all():
            return other
        unknowns = self.systems.spread(taken.astype(float)) > 0
        x = np.where(unknowns, other.x, one.x)
        return _Place(
            x,
            self.problem.points(x),
            np.where(np.append(taken, False)[self.of_cell], other.chi2, one.chi2),
            np.where(unknowns, other.gradient, one.gradient),
            np.where(taken, other.total, one.total),
        )

    def step(self) -> bool:
        """One linearisation, or two; whether anything is left to do."""
        active = self.status == Status.ITERATION_LIMIT
        if not active.any():
            return False
        self.iterations[active] += 1
        self._wake(active)
        here = self.here
        least = np.maximum(self.settings.tol * np.maximum(here.total, 0) / self.dof * self.allowance, self.floor)
        found, predicted, promise = self._newton(here, active, least)
        if (
            not found.products
            and ((predicted <= least) & (self.damping <= TRUSTED_DAMPING) & (promise <= least))[active].all()
        ):
            self.status[active] = Status.CONVERGED
            return False
        trial = self._moved(here, found, active)
        small = predicted <= least
        poor = active & ~small & np.isfinite(trial.total)
        poor &= not (self.coarse and self.coarse.fresh)
        for _ in range(CORRECTIONS):
            poor &= here.total - trial.total < POOR * predicted
            if not poor.any():
                break
            self._wake(poor)
            second = self._moved(trial, self._newton(trial, poor, least)[0], poor)
            above = trial.total - here.total
            trial = self._mixed(trial, second, poor & (second.total < trial.total))
            poor &= trial.total - here.total < HOPEFUL * above
        trial = self._along(here, found, trial, predicted, active & ~small)
        self._judge(active, trial, predicted, small, least)
        near = abs(here.total - self.here.total - predicted) < 0.1 * predicted
        self.before = np.where(active & near, promise, np.inf)
        return bool((self.status == Status.ITERATION_LIMIT).any())

    def _along(self, at: _Place, found: Solved, trial: _Place, predicted: np.ndarray, active: np.ndarray) -> _Place:
        """Where chi2 is more or less curved along the step than J^T J says, since noise bends what it hardly determines: the lowest point
        of the parabola through both ends with the slope at the first, if that is lower."""
        ratio = (at.total - trial.total) / np.where(active, predicted, 1)
        bent = active & (ratio >= POOR) & (np.abs(ratio - 1) > BENT)
        if not bent.any():
            return trial
        self._wake(bent)
        part = self.systems.spread(np.where(bent, 1 / np.maximum(2 - ratio, 0.25), 0.0))
        other = self._at(self.problem.retract(at.x, part * found.x))
        return self._mixed(trial, other, bent & (other.total < trial.total))

    def _newton(self, at: _Place, active: np.ndarray, least: np.ndarray) -> tuple[Solved, np.ndarray, np.ndarray]:
        """The damped step of the systems `active`, by how much it should lower chi2, and what the gradient alone promised."""
        label = np.where(self.systems.spread(active.astype(float)) > 0, self.systems.label, self.systems.count)
        systems = Systems(label, self.systems.count)
        damping = systems.spread(self.damping)
        scale = self.blocks.diagonal(self.problem.count) * damping
        held = self.problem.held(at.x, at.gradient)
        right = within(held, np.negative)(at.gradient)
        if self.coarse and self.coarse.fresh and at is not self.made_at:
            self.coarse = None
        if self.coarse is None and self.products:  # the first step corrects what is large, and needs few products
            going = self.status == Status.ITERATION_LIMIT
            self._wake(going)  # it serves all that are left, though a correction asks for some
            self.coarse, self.whole = self.problem.coarse(at.points, at.x, self.blocks), bool(going.all())
            self.made_at = at
            self._wake(active)
        exact = at is self.here and self.most > self.labour
        near = self.problem.exact(at.points, self.blocks, systems) if exact else self.coarse
        inverse = _lazily(lambda: self.blocks.inverse(damping))
        inverse = within(held, near.preconditioner(inverse, damping) if near else inverse)
        promise = systems.sum(right * inverse(right))
        known = np.isfinite(self.before)
        # quadratic convergence: Eisenstat & Walker 1996 (SIAM J. Sci. Comput. 17, 16), choice 2
        accuracy = np.where(known, np.minimum(TRUNCATION, promise / np.where(known, self.before, 1)), TRUNCATION)
        found = solve(
            within(held, lambda v: self.problem.product(at.points, v) + scale * v),
            right, inverse, systems, accuracy, SETTLED * least, PRODUCTS,
        )  # fmt: skip
        self.products += found.products
        self.most = max(self.most, found.products)
        bend = systems.sum(found.x * (found.product - scale * found.x))
        return found, -2 * systems.sum(at.gradient * found.x) - bend, promise

    def _moved(self, at: _Place, found: Solved, active: np.ndarray) -> _Place:
        """After a step of the systems `active`."""
        moves = self.systems.spread(active.astype(float)) > 0
        return self._at(self.problem.retract(at.x, np.where(moves, found.x, 0.0)))

    def _judge(
        self, active: np.ndarray, trial: _Place, predicted: np.ndarray, small: np.ndarray, least: np.ndarray
    ) -> None:
        """Take the steps that lower chi2, and change the damping as they deserve (Nielsen 1999, IMM-REP-1999-05)."""
        gain = self.here.total - trial.total
        accept = active & (gain >= -self.floor)
        if (
            self.coarse and self.coarse.fresh
        ):  # an exact step that gains nothing: what else it promised is not curved as it seems
            small = small | accept & (gain <= least)
        done = small & (~accept | (self.damping <= TRUSTED_DAMPING))
        self.here = self._mixed(self.here, trial, accept)
        good = small | (gain > GOOD * predicted)
        easier = np.where(small, 1e-3, np.where(good & (self.damping > LEAST_DAMPING), 0.1, 1.0)) * self.damping
        harder = np.maximum(self.damping * 10, 10 * LEAST_DAMPING)
        self.damping = np.where(accept, np.maximum(easier, 1e-12), harder)
        self.status[active & done] = Status.CONVERGED
        self.status[active & ~done & ~accept & (self.damping > LARGEST_DAMPING)] = Status.STALLED
        going = accept & (self.status == Status.ITERATION_LIMIT)
        if (gain > STALE * self.dof)[going].any():
            self._wake(self.status == Status.ITERATION_LIMIT)  # corrections were of some systems only
            self.blocks, self.coarse, self.made = self.problem.blocks(self.here.points), None, self.here.x

    def near(self) -> tuple[Blocks, Any] | None:
        """See `Minimum`."""
        weight, x = self.blocks.diagonal(self.problem.count), self.here.x
        moved, size = self.systems.sum(weight * (x - self.made) ** 2), self.systems.sum(weight * x**2)
        good = isinstance(self.coarse, Coarse) and self.whole and (moved <= NEAR**2 * size).all()
        return (self.blocks, self.coarse) if good else None

    def _wake(self, active: np.ndarray) -> None:
        """Only cells of active systems are worked on."""
        self.problem.wake(np.append(active, False)[self.of_cell].any(0))


def _lazily(make: Callable[[], Blocks]) -> Callable[[np.ndarray], np.ndarray]:
    """The product with what is made when first wanted."""
    made: list[Blocks] = []

    def apply(v: np.ndarray) -> np.ndarray:
        if not made:
            made.append(make())
        return made[0] @ v

    return apply


def within(held: Held | None, function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A linear function without what is held: an unknown at a bound that chi2 would cross stays there (Bertsekas 1982, SIAM J. Control
    Optim. 20, 221; what this gets wrong, the damping rejects)."""
    return function if held is None else lambda v: held.without(function(held.without(v)))


def fit(problem: Joined, x: np.ndarray, settings: Settings) -> Minimum:
    """Minimise chi2 from x (unknowns,)."""
    course = _Fit(problem, x, settings)
    for number in range(1, settings.max_iter + 1):
        tell(f"iteration {number}, chi2/dof {course.here.total.sum() / max(course.dof.sum(), 1):.3g}")
        if not course.step():
            break
    problem.wake(np.ones(problem.data.shape[1], bool))
    here = course.here
    return Minimum(
        here.x, here.points, problem.blocks(here.points), here.chi2, here.gradient, course.systems, course.of_cell,
        course.status, course.iterations, course.dof, course.products, course.near(),
    )  # fmt: skip
