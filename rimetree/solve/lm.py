"""Levenberg-Marquardt on all solution intervals of a problem at once, each with its own damping, convergence and
status.

Where the equation multiplies parameters with one another, a few block-Jacobi steps with alternating factors 1 and 1/2
come first (for one complex gain per station this is StefCal, Salvini & Wijnholds 2014, A&A 571, A97); they bring a
cold start with random phases into the basin of the minimum. Then damping as in Marquardt (1963), with the step
applied by `Retraction`.

Intervals are worked on in blocks of eight, the lanes of a vector; a block is a task for a thread. Where all atoms are
linear in the unknowns, a block runs to its end without Python; else all blocks take every step together, with atoms
from `Problem.atoms`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .bounds import Constraints, Prior, add_prior, clip, hold, pin, release
from .forms import Tables
from .gauges import Free, freedoms, in_words
from .linear import finish, turn, turn_back
from .normal import normal, pack
from .outside import PACKAGES, Interval, minimise
from .plain import Normal, add_bending, jax_normal, numpy_normal
from .problem import AtomValues, Problem
from .referring import references, turn_to_zero
from .scaling import insensitive, scaled
from .significance import judge, reduced
from .simd import LANES
from .status import Status
from .steps import Course, Rules, advance, fit_linear
from .threads import shared, threads

ALTERNATIONS = 16

NULL_DIRECTIONS = 8
"""Null directions looked for: more than a common matrix per component has is rare."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`max_iter`: LM iterations. `tol`: an interval has converged when the next step would lower chi2 by less than
    `tol` times chi2 per degree of freedom, that is, when parameters are within about sqrt(tol) of their standard
    errors of the minimum."""

    max_iter: int = 60
    tol: float = 1e-6
    damping: float = 1e-5
    """Of the first step, relative to the diagonal of the normal matrix."""
    min_snr: float = 3.0
    """Gains below this many standard errors are lost in the noise (see `significance`)."""
    reference: str = ""
    """Qualifier (an antenna) whose free phases are made zero (see `referring`)."""
    algorithm: str = "lm"
    """"lm", "newton" (the same with second derivatives), or that of a package: see `outside.PACKAGES`."""
    backend: str = "numba"
    """What makes the normal equations: "numba" or "jax"."""


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of one component: all arrays have one entry per interval; `variance` and `null` have the unknowns
    first.

    `variance` is NaN without data, and infinite for unknowns that change nothing in their interval. Of a complex gain it
    is that along its value (the amplitude) and that across (amplitude times phase), not of real and imaginary part: the
    phase is often known much worse, and their mean is the same."""

    status: np.ndarray
    iterations: np.ndarray
    chi2_start: np.ndarray
    chi2: np.ndarray
    dof: np.ndarray
    rank: np.ndarray
    condition: np.ndarray
    variance: np.ndarray
    null: np.ndarray
    unconstrained: np.ndarray
    """(unknowns, S) True for those that the data leave free (see `scaling`); their intervals are SINGULAR."""
    lost: np.ndarray
    """(unknowns, S) True for gains lost in the noise (see `significance`)."""
    gauge: np.ndarray
    gauges: list[str]
    """The null directions of each interval in words: gauges[gauge[s]], "" where there are none (see `gauges`)."""
    stood_in: dict[str, int]
    """Parms referred to where the reference has no solution, and in how many intervals."""
    smoothness: np.ndarray | None = None
    """chi2 (S,) of the changes between neighbouring intervals, where these are coupled (see `smooth`); not part of `chi2`."""


def solve(problem: Problem, theta: np.ndarray, settings: Settings) -> Outcome:
    """Fit one component. `theta` (all unknowns, S) holds the start and receives the solution."""
    fit = _Fit(problem, theta, settings)
    if settings.algorithm in PACKAGES:
        fit.run_outside()
    elif settings.algorithm == "newton" or settings.backend == "jax":
        fit.run_plain()
    elif problem.linear and len(fit.starts) >= threads():
        fit.run_blocks()
    else:
        fit.run_steps(-(-threads() // len(fit.starts)))
    return fit.outcome()


class _Fit:
    """A fit in progress, or done: what it knows of all intervals."""

    def __init__(self, problem: Problem, theta: np.ndarray, settings: Settings) -> None:
        self.problem, self.theta, self.settings = problem, theta, settings
        n, S = problem.count, problem.intervals
        self.starts = list(range(0, S, LANES))
        self.tables: Tables = problem.tables()
        self.data = problem.data()
        power = problem.power()
        self.floor = 1e-15 * power
        self.constant = problem.constant()
        self.status = np.full(S, Status.ITERATION_LIMIT, np.uint8)
        self.seen = problem.seen()
        self.constraints = problem.constraints or Constraints.none(S)
        self.prior = self._prior()
        seen = self.seen.sum(0)
        self.status[self.data < seen] = Status.TOO_FEW_DATA
        if problem.multiplicative:
            self.status[power == 0] = Status.LOW_SNR  # data of exact zeros: gains would go there for ever
        self.status[self.data == 0] = Status.NO_DATA
        self.dof = np.maximum(self.data - seen, 1)
        self.iterations, self.rank = np.zeros(S, np.int32), np.zeros(S, np.int32)
        self.chi2_start, self.chi2 = np.full(S, np.nan), np.full(S, np.nan)
        self.condition, self.variance = np.full(S, np.inf), np.full((n, S), np.nan)
        self.alone = np.full((n, S), np.nan)
        """Variance of each unknown if all others were known."""
        self.null = np.zeros((n, min(n, NULL_DIRECTIONS), S))
        self.directions = np.random.default_rng(0).normal(size=self.null.shape[:2])
        order = np.argsort(problem.blocks, kind="stable").astype(np.int64)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(problem.blocks))]).astype(np.int64)
        gains, matrices = (np.ascontiguousarray(a, np.int64) for a in (problem.retract.gains, problem.retract.matrices))
        alternations = ALTERNATIONS if problem.multiplicative else 0
        limits = self.constraints.bounds
        self.rules = Rules(
            order, bounds, gains, matrices, alternations, int(settings.max_iter), float(settings.tol), limits
        )
        inside = np.ascontiguousarray(theta[problem.unknowns])
        clip(limits, inside)
        theta[problem.unknowns] = inside

    def _prior(self) -> Prior:
        """The priors of unknowns that data see; each is one more datum."""
        mean, precision = self.constraints.prior
        if not len(mean):
            return self.constraints.prior
        precision = np.where(self.seen & (self.data > 0), precision, 0.0)
        self.data = self.data + (precision > 0).sum(0)
        self.floor = self.floor + 1e-15 * (precision * mean**2).sum(0)
        return Prior(mean, precision)

    def run_blocks(self) -> None:
        """Every block to its end."""
        atoms = self.problem.atoms(self.theta)

        def task(s0: int) -> None:
            block = _Block(self, s0)
            fit_linear(block.course, self.rules, self.tables, block.data, block.lanes(atoms), self.problem.atom_unknown)
            block.end()

        shared(task, self.starts)

    def run_steps(self, chunks: int) -> None:
        """All blocks step by step, each evaluated by `chunks` threads."""
        blocks = shared(lambda s0: _Block(self, s0), self.starts)
        active, k = blocks, 0
        while active:
            atoms = self._trial_atoms(blocks)
            work = [(block, chunk) for block in active for chunk in range(chunks)]
            parts = shared(lambda item: item[0].evaluate(atoms, k, item[1], chunks), work)  # noqa: B023
            steps = [(block, parts[i * chunks : (i + 1) * chunks]) for i, block in enumerate(active)]
            more = shared(lambda item: item[0].advance(k, item[1]), steps)  # noqa: B023
            active, k = [block for block, going in zip(active, more, strict=True) if going], k + 1
        shared(_Block.end, blocks)

    def run_plain(self) -> None:
        """All blocks step by step, from normal equations made without kernels."""
        plain = jax_normal(self.problem) if self.settings.backend == "jax" else numpy_normal(self.problem)

        def first(atoms: AtomValues, theta: np.ndarray) -> Normal:
            return plain(atoms)

        later = self._newton() if self.settings.algorithm == "newton" else first
        blocks = [_Block(self, s0) for s0 in self.starts]
        active, k = blocks, 0
        while active:
            theta = self._trial(blocks)
            made = (first if k < self.rules.alternations else later)(self.problem.atoms(theta), theta)
            active, k = [block for block in active if block.advance(k, [block.part(made)])], k + 1
        for block in blocks:
            block.end()

    def _newton(self) -> Callable[[AtomValues, np.ndarray], Normal]:
        """Normal equations with second derivatives, along the steps as they are applied."""
        plain, (mean, precision) = numpy_normal(self.problem, second=True), self.prior
        self.rules = self.rules._replace(matrices=np.empty((0, 4), np.int64))  # their steps bend in a way of their own

        def made(atoms: AtomValues, theta: np.ndarray) -> Normal:
            H, g, chi2 = plain(atoms, self.problem.curvature(theta) if self.problem.curvature else None)
            own = theta[self.problem.unknowns]
            slope = g + precision * (own - mean) if len(mean) else g
            add_bending(self.rules.gains, own, slope, H)
            return H, g, chi2

        return made

    def run_outside(self) -> None:
        """Every interval by another package; rank and errors are then worked out as always."""
        evaluate = numpy_normal(self.problem)
        blocks = [_Block(self, s0) for s0 in self.starts]
        start = evaluate(self.problem.atoms(self.theta))
        given = self.theta.copy()
        mean, precision = self.prior if len(self.prior.mean) else (np.zeros_like(self.variance),) * 2
        for s in np.flatnonzero(self.status == Status.ITERATION_LIMIT).tolist():
            interval = Interval(self.problem, s, given, precision[:, s], mean[:, s])
            x, self.status[s], self.iterations[s] = minimise(
                self.settings.algorithm, interval, interval.origin, self.settings.max_iter, self.settings.tol
            )
            self.theta[self.problem.unknowns, s] = x
        found = evaluate(self.problem.atoms(self.theta))
        for block in blocks:
            block.arrive(start, found)
            block.end()

    def _trial_atoms(self, blocks: Sequence[_Block]) -> AtomValues:
        return self.problem.atoms(self._trial(blocks))

    def _trial(self, blocks: Sequence[_Block]) -> np.ndarray:
        theta = self.theta.copy()
        for block in blocks:
            theta[self.problem.unknowns, block.where] = block.course.trial[:, : block.count]
        return theta

    def outcome(self) -> Outcome:
        """The statuses that need the whole, and all results."""
        problem = self.problem
        self.status[self.chi2 > self.chi2_start * (1 + 1e-9)] = Status.DIVERGED
        atoms = problem.atoms(self.theta)
        blind = self.seen & np.isnan(self.variance) & (self.status == Status.CONVERGED)
        self.variance[blind] = np.inf
        free = scaled(atoms, problem.atom_unknown, problem.blocks, self.null) & (self.status == Status.CONVERGED)
        free |= insensitive(atoms, problem.atom_unknown, blind)
        self.status[free.any(0)] = Status.SINGULAR
        own, dof = self.theta[problem.unknowns], self.data - self.rank
        lost = judge(
            problem,
            own,
            atoms,
            self.status,
            self.variance,
            self.alone,
            free,
            reduced(self.chi2, dof),
            self.settings.min_snr,
        )
        number, freedom = freedoms(
            problem.meaning, problem.retract.matrices, own, self.null, problem.structure.setdefault("freedoms", {})
        )
        stood_in = self._refer(number, freedom, ~lost & ~free) if self.settings.reference else {}
        gauge, gauges = in_words(number, freedom)
        return Outcome(
            self.status,
            self.iterations,
            self.chi2_start,
            self.chi2,
            dof,
            self.rank,
            self.condition,
            self.variance,
            self.null,
            free,
            lost,
            gauge,
            gauges,
            stood_in,
        )

    def _refer(self, number: np.ndarray, freedom: Sequence[Free], good: np.ndarray) -> dict[str, int]:
        """Make the phases of the reference zero, and errors those of differences to it. Returns who stood in for it."""
        problem, wanted, stood_in = self.problem, self.settings.reference, Counter[str]()
        if problem.meaning is None:
            return {}
        pinned = np.zeros(good.shape, np.bool_)
        own, good = self.theta[problem.unknowns], good & np.isfinite(self.variance)
        for s in np.flatnonzero(np.isin(self.status, (Status.CONVERGED, Status.SINGULAR))):
            chosen = references(
                problem.meaning, problem.retract.matrices, self.variance[:, s], good[:, s], freedom[number[s]], wanted
            )
            for reference, group in chosen:
                turn_to_zero(problem.meaning, own[:, s], reference, group)
                pinned[reference + (problem.meaning.part[reference] > 0), s] = True
                node = str(problem.meaning.node[reference])
                stood_in[node] += wanted not in node.split(":")[1:]
        self.theta[problem.unknowns] = own
        atoms = problem.atoms(self.theta)
        shared(lambda s0: _Block(self, s0).errors_without(atoms, pinned), self.starts)
        return {node: count for node, count in stood_in.items() if count}


class _Block:
    """Eight intervals (or fewer at the end) of a fit, from `s0`."""

    def __init__(self, fit: _Fit, s0: int) -> None:
        self.fit, self.s0 = fit, s0
        self.where = slice(s0, min(s0 + LANES, fit.problem.intervals))
        self.count = self.where.stop - s0
        self.data = np.zeros((int(fit.tables.first[-1, 6]), LANES))
        for eq, first in zip(fit.problem.equations, fit.tables.first[:, 6], strict=False):
            pack(*eq.R, *eq.y, s0, self.data, first)
        n = fit.problem.count
        theta = self._padded(fit.theta[fit.problem.unknowns])
        status = np.full(LANES, Status.NO_DATA, np.uint8)
        status[: self.count] = fit.status[self.where]
        self.course = Course(
            theta,
            theta.copy(),
            np.zeros((n, LANES)),
            np.zeros((n * (n + 1) // 2, LANES)),
            np.zeros((n, LANES)),
            np.full((1, LANES), np.nan),
            np.full((1, LANES), np.nan),
            self._padded(fit.constant[None]),
            self._padded(fit.floor[None])[0],
            self._padded(fit.dof[None])[0],
            np.full((1, LANES), float(fit.settings.damping)),
            np.zeros((1, LANES)),
            (status == Status.ITERATION_LIMIT)[None].astype(float),
            status,
            np.zeros(LANES, np.int32),
            np.zeros(LANES, np.bool_),
            Prior(*(self._padded(a) for a in fit.prior)),
        )

    def _padded(self, array: np.ndarray) -> np.ndarray:
        """(..., LANES) from (..., S)."""
        result = np.zeros((*array.shape[:-1], LANES))
        result[..., : self.count] = array[..., self.where]
        return result

    def lanes(self, atoms: AtomValues) -> tuple[np.ndarray, ...]:
        """Atoms and derivatives of these intervals."""
        return tuple(self._padded(a) for a in atoms)

    def evaluate(self, atoms: AtomValues, k: int, chunk: int, chunks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """H, g and chi2 of every `chunks`-th member."""
        H, g, chi2 = np.empty_like(self.course.H), np.empty_like(self.course.g), np.empty((1, LANES))
        blocks_only = k < self.fit.rules.alternations
        normal(self.fit.tables, self.data, *self.lanes(atoms), H, g, chi2, blocks_only, chunk, chunks)
        return H, g, chi2

    def advance(self, k: int, parts: Sequence[tuple[np.ndarray, ...]]) -> bool:
        """Take the evaluation that is the sum of `parts`; whether another is needed."""
        for part in parts[1:]:
            for total, own in zip(parts[0], part, strict=True):
                total += own
        return bool(advance(self.course, self.fit.rules, k, *parts[0]))

    def errors_without(self, atoms: AtomValues, pinned: np.ndarray) -> None:
        """Errors at the present parameters, those of unknowns that are `pinned` (n, S) being zero."""
        fit, course, n = self.fit, self.course, self.fit.problem.count
        pins = self._padded(pinned) > 0
        worked = np.flatnonzero(pins.any(0))
        if not worked.size:
            return
        course.H[:], course.g[:], chi2 = self.evaluate(atoms, fit.rules.alternations, 0, 1)
        add_prior(course.prior, course.theta, course.H, course.g, chi2)
        variance, null = np.empty((n, LANES)), np.empty((n, fit.null.shape[1], LANES))
        self._errors(pins, variance, np.zeros(LANES, np.int32), np.zeros(LANES), null)
        variance[pins] = 0.0
        fit.variance[:, self.s0 + worked] = variance[:, worked]

    def _errors(
        self, pins: np.ndarray, variance: np.ndarray, rank: np.ndarray, condition: np.ndarray, null: np.ndarray
    ) -> None:
        """See `finish`; unknowns at their bounds, and `pins` (n, LANES), are held."""
        fit, course = self.fit, self.course
        bounds = fit.rules.bounds
        held = np.zeros((len(bounds.unknown), LANES), np.bool_)
        turned = np.union1d(fit.rules.gains, bounds.unknown[bounds.modulus])
        turn(course.H, course.theta, turned)
        hold(bounds, course.theta, course.H, course.g, held)
        pin(course.H, pins)
        finish(course.H, fit.directions, variance, rank, condition, null)
        release(bounds, held, variance)
        turn_back(null, course.theta, turned)

    def part(self, made: Normal) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """These intervals' share of the normal equations of all."""
        H, g, chi2 = made
        return self._padded(H), self._padded(g), self._padded(chi2[None])

    def arrive(self, start: Normal, found: Normal) -> None:
        """Be where another package has gone: its normal equations there, chi2 at the start."""
        fit, course = self.fit, self.course
        course.theta[:, : self.count] = fit.theta[fit.problem.unknowns, self.where]
        course.status[: self.count], course.iterations[: self.count] = (
            fit.status[self.where],
            fit.iterations[self.where],
        )
        for (H, g, chi2), theta, into in (
            (self.part(start), course.trial, course.start),
            (self.part(found), course.theta, course.chi2),
        ):
            chi2 += course.constant
            add_prior(course.prior, theta, H, g, chi2)
            into[:] = np.where(course.active > 0, chi2, np.nan)
            course.H[:], course.g[:] = H, g

    def end(self) -> None:
        """Rank and errors; everything goes where the fit keeps it."""
        fit, course, n = self.fit, self.course, self.fit.problem.count
        fit.theta[fit.problem.unknowns, self.where] = course.theta[:, : self.count]
        fit.status[self.where] = course.status[: self.count]
        fit.iterations[self.where] = course.iterations[: self.count]
        fit.chi2[self.where], fit.chi2_start[self.where] = course.chi2[0, : self.count], course.start[0, : self.count]
        worked = np.isfinite(course.chi2[0, : self.count])
        if not worked.any():
            return
        variance, null = np.empty((n, LANES)), np.empty((n, fit.null.shape[1], LANES))
        rank, condition = np.zeros(LANES, np.int32), np.zeros(LANES)
        place = np.arange(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            alone = 1 / course.H[place * (place + 3) // 2]
        self._errors(np.zeros((n, LANES), np.bool_), variance, rank, condition, null)
        into = np.arange(self.s0, self.where.stop)[worked]
        fit.alone[:, into] = alone[:, : self.count][:, worked]
        for whole, own in ((fit.variance, variance), (fit.null, null), (fit.rank, rank), (fit.condition, condition)):
            whole[..., into] = own[..., : self.count][..., worked]
