"""Joint fit of solution intervals whose parameters walk smoothly from one to the next.

The minimum of chi2(data) + chi2(walk) over all intervals of a chain at once, by Levenberg-Marquardt; every step eliminates the chain
exactly (see `lines`). The data enter through the same pseudo-visibilities as in an ordinary fit. It starts from whichever is better:
the fits of the intervals one by one, aligned (see `aligning`), or one fit that all intervals of a chain have in common, which finds
its way where a single interval has too little signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...status import Status
from ..algebra.inverse import inverses
from ..algebra.linear import NULL, RIDGE
from ..algebra.simd import LANES
from ..algebra.threads import shared
from ..result.gauges import freedoms, in_words
from ..result.outcome import NULL_DIRECTIONS, Outcome
from ..settings import Settings
from .aligning import aligned, turning
from .bounds import Prior
from .line_errors import null_space, without
from .lines import Lines, Walk
from .lm import solve
from .normal import normal, pack
from .problem import AtomValues, Equations, Problem
from .scaling import scaled
from .search import Window, ambiguous, search
from .significance import judge, reduced
from .steps import LARGEST_DAMPING, TRUSTED_DAMPING


def solve_smooth(
    problem: Problem, theta: np.ndarray, settings: Settings, walk: Walk, windows: Sequence[Window] | None = None
) -> Outcome:
    """Fit one component whose unknowns follow `walk`. `theta` (all unknowns, S) holds the start and receives the solution. Where there
    are `windows`, or none need be, other starts are tried for intervals by themselves (see `search`); None: they are not.

    Intervals without data keep NO_DATA, and get what the walk expects there, with its error. `rank` is the effective number of
    parameters that the data of each interval determine (the trace of H_s C_s); `dof` the data less that.
    """
    given = theta.copy()
    outcome = solve(problem, theta, settings)
    if not any(walk.axes):
        return outcome
    if windows is not None:
        outcome = search(problem, theta, outcome, windows, settings, given)
    good = outcome.status == Status.CONVERGED
    angles = turning(problem, given)
    own = aligned(theta[problem.unknowns], outcome.null, good, walk, problem.retract, angles)
    _fill_gaps(own, good, walk)
    common, iterations = _common(problem, given, settings, walk)
    fit = _Joint(problem, walk, theta, settings)
    better = fit.cost(common) < fit.cost(own)
    fit.run(np.where(better, common, own))
    found = fit.outcome(outcome, outcome.iterations + np.where(better, iterations, 0))
    found.status[ambiguous(problem, found) & (outcome.status == Status.AMBIGUOUS)] = Status.AMBIGUOUS
    return found


def _fill_gaps(theta: np.ndarray, good: np.ndarray, walk: Walk) -> None:
    """Give intervals that have no solution the one of the nearest interval of their chain."""
    chain = walk.chain()
    place = np.stack(np.unravel_index(np.arange(good.size), walk.shape), 1)
    for s in np.flatnonzero(~good):
        near = np.flatnonzero(good & (chain == chain[s]))
        if near.size:
            theta[:, s] = theta[:, near[abs(place[near] - place[s]).sum(1).argmin()]]


def _common(problem: Problem, theta: np.ndarray, settings: Settings, walk: Walk) -> tuple[np.ndarray, np.ndarray]:
    """The unknowns (n, S) of fits that all intervals of a chain share, and iterations (S,): intervals become joint cells."""
    chain = walk.chain()
    count = int(chain.max()) + 1
    order = np.argsort(chain, kind="stable").reshape(count, -1)

    def joined(a: np.ndarray) -> np.ndarray:
        """(..., J, S) -> (..., J * intervals of a chain, chains)."""
        picked = a[..., order].swapaxes(-1, -2)
        return np.ascontiguousarray(picked.reshape(*a.shape[:-2], -1, count))

    def summed(a: np.ndarray) -> np.ndarray:
        return np.asarray(a[..., order].sum(-1))

    equations = tuple(
        Equations(
            e.form, (joined(e.R[0]), joined(e.R[1])), (joined(e.y[0]), joined(e.y[1])), summed(e.constant), summed(e.data)
        )
        for e in problem.equations
    )  # fmt: skip

    def atoms(unknowns: np.ndarray) -> AtomValues:
        return tuple(joined(a) for a in problem.atoms(unknowns[:, chain]))  # type: ignore[return-value]

    known = problem.constraints
    if known is not None and len(known.prior.mean):
        mean, precision = known.prior
        known = replace(known, prior=Prior(mean[:, order[:, 0]], np.ascontiguousarray(summed(precision))))
    pooled = replace(problem, equations=equations, atoms=atoms, intervals=count, constraints=known)
    start = theta[:, order[:, 0]].copy()
    outcome = solve(pooled, start, settings)
    return start[problem.unknowns][:, chain], outcome.iterations[chain]


class _Joint:
    """The joint fit: what is accepted so far, and its normal equations."""

    def __init__(self, problem: Problem, walk: Walk, theta: np.ndarray, settings: Settings) -> None:
        self.problem, self.walk, self.theta, self.settings = problem, walk, theta, settings
        self.chain = walk.chain()
        self.tables = problem.tables()
        self.starts = list(range(0, problem.intervals, LANES))
        self.packed = shared(self._pack, self.starts)
        self.constant = problem.constant()
        self.data = problem.data()
        seen = problem.seen()
        self.prior = self._prior(seen)
        self.alive = self._per_chain(seen.T, np.logical_or).T
        """(n, S): unknowns that some datum of their chain sees."""
        self.floor = self._total(1e-15 * problem.power())
        self.dof = np.maximum(self._total(self.data) - self._total(seen.sum(0)), 1)
        self.iterations = np.zeros(problem.intervals, np.int32)
        self.status = np.full(problem.intervals, Status.ITERATION_LIMIT, np.uint8)

    def _prior(self, seen: np.ndarray) -> Prior | None:
        """The priors of unknowns that data see; each is one more datum."""
        known = self.problem.constraints
        if known is None or not len(known.prior.mean):
            return None
        precision = np.where(seen & (self.data > 0), known.prior.precision, 0.0)
        self.data = self.data + (precision > 0).sum(0)
        return Prior(known.prior.mean, precision)

    # Sums over chains, for every interval.

    def _per_chain(self, values: np.ndarray, how: np.ufunc) -> np.ndarray:
        result = np.zeros((self.chain.max() + 1, *values.shape[1:]), values.dtype)
        how.at(result, self.chain, values)
        return np.asarray(result[self.chain])

    def _total(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.chain, values)[self.chain]

    # Evaluation.

    def _pack(self, s0: int) -> np.ndarray:
        data = np.zeros((int(self.tables.first[-1, 6]), LANES))
        for eq, first in zip(self.problem.equations, self.tables.first[:, 6], strict=False):
            pack(*eq.R, *eq.y, s0, data, first)
        return data

    def normals(self, unknowns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """H (S, n, n), g (S, n) and chi2 (S,) of data and priors, without the walk."""
        n, S = unknowns.shape
        whole = self.theta.copy()
        whole[self.problem.unknowns] = unknowns
        atoms = self.problem.atoms(whole)
        H, g, chi2 = np.empty((S, n, n)), np.empty((S, n)), np.empty(S)
        row, column = np.tril_indices(n)

        def block(i: int) -> None:
            s0 = self.starts[i]
            count = min(LANES, S - s0)
            lanes = tuple(np.zeros((*a.shape[:-1], LANES)) for a in atoms)
            for to, a in zip(lanes, atoms, strict=True):
                to[..., :count] = a[..., s0 : s0 + count]
            packed, gradient, total = np.empty((len(row), LANES)), np.empty((n, LANES)), np.empty((1, LANES))
            normal(self.tables, self.packed[i], *lanes, packed, gradient, total, False, 0, 1)
            own = slice(s0, s0 + count)
            H[own, row, column] = H[own, column, row] = packed[:, :count].T
            g[own], chi2[own] = gradient[:, :count].T, total[0, :count]

        shared(block, list(range(len(self.starts))))
        if self.prior is not None:
            away = (unknowns - self.prior.mean) * self.prior.precision
            H[:, range(n), range(n)] += self.prior.precision.T
            g += away.T
            chi2 += (away * (unknowns - self.prior.mean)).sum(0)
        return H, g, chi2 + self.constant

    def cost(self, unknowns: np.ndarray) -> np.ndarray:
        """chi2 of data and walk of the chain of each interval; infinite where it is not finite."""
        total = self._total(self.normals(unknowns)[2] + self.walk.chi2(unknowns))
        return np.where(np.isfinite(total), total, np.inf)

    # The iterations.

    def run(self, unknowns: np.ndarray) -> None:
        """Levenberg-Marquardt from `unknowns` (n, S); every chain has its own damping."""
        settings = self.settings
        self.accepted, self.normal = unknowns, self.normals(unknowns)
        cost = self._total(self.normal[2] + self.walk.chi2(unknowns))
        active = np.isfinite(cost)
        self.status[~active] = Status.DIVERGED
        damping = np.full(cost.size, float(settings.damping))
        for _ in range(settings.max_iter):
            if not active.any():
                break
            delta, decrease = self._step(damping)
            small = (decrease >= 0) & (decrease <= np.maximum(settings.tol * cost / self.dof, self.floor))
            trial = np.where(active, self.problem.retract(self.accepted, delta), self.accepted)
            made = self.normals(trial)
            new = self._total(made[2] + self.walk.chi2(trial))
            self.iterations[active] += 1
            accept = active & (new <= cost + self.floor) & np.isfinite(decrease)
            done = active & small & ((damping <= TRUSTED_DAMPING) | ~accept)
            self.accepted = np.where(accept, trial, self.accepted)
            for mine, theirs in zip(self.normal, made, strict=True):
                mine[accept] = theirs[accept]
            cost = np.where(accept, new, cost)
            shrink = np.where(small, 1e-3, 0.1)
            damping = np.where(accept, np.maximum(damping * shrink, 1e-12), damping * 10)
            stalled = active & ~done & ~accept & (damping > LARGEST_DAMPING)
            self.status[done], self.status[stalled] = Status.CONVERGED, Status.STALLED
            active &= ~(done | stalled)

    def _lines(self, bend: np.ndarray | float = 0.0) -> Lines:
        """The system, scaled by the mean diagonal of the data's normal matrices: a strong walk must not hide what the data say."""
        diagonal = np.einsum("sii->si", self.normal[0])
        mean = (self._per_chain(diagonal, np.add) / self._total(np.ones(len(diagonal)))[:, None]).T
        use = self.alive & (mean > 0)
        return Lines(self.normal[0] + bend, self.walk, np.where(use, 1 / np.sqrt(np.where(use, mean, 1)), 0.0))

    def _step(self, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The step (n, S) and the decrease of chi2 that it predicts for each chain."""
        lines = self._lines(self._free_bend())
        lines.factor(damping)
        b = -(self.normal[1].T + self.walk.product(self.accepted)).T * lines.scale
        x = lines.solve(b[..., None])[..., 0]
        decrease = self._total((x * b).sum(1) + damping * (x * x).sum(1))
        return (x * lines.scale).T, decrease

    def _bend(self) -> np.ndarray:
        """What the bending of steps adds to the walk's part of the matrix, (S, n, n)."""
        return self.problem.retract.curvature(self.accepted, self.walk.product(self.accepted))

    def _free_bend(self) -> np.ndarray | float:
        """`_bend` but for what lies across the null directions of each interval on its own, (S, n, n).

        Along these the data stay exactly the same however far one goes, so that the walk's bending counts in full: without it the
        common phases of intervals, which the walk alone ties, creep to their places. Across them that of the data cancels it.
        """
        if not self.problem.multiplicative:
            return 0.0
        H, n = self.normal[0], len(self.accepted)
        diagonal = np.einsum("sii->si", H)
        scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1)), 0)
        one = H * scale[:, :, None] * scale[:, None, :] + np.eye(n) * np.where(diagonal > 0, RIDGE, 1)[:, None, :]
        inverse = inverses(one)
        q = np.random.default_rng(0).normal(size=(len(H), n, min(n, NULL_DIRECTIONS))) * (scale > 0)[..., None]
        for _ in range(3):
            q = np.linalg.qr(inverse @ q)[0]
        values, turn = np.linalg.eigh(q.swapaxes(1, 2) @ one @ q)
        q = q @ turn * (values < NULL)[:, None, :]
        into = np.linalg.qr(q * scale[..., None])[0] * (values < NULL)[:, None, :]
        bend = self._bend()
        rows = np.einsum("sim,sij->smj", into, bend)  # einsum: no threads of BLAS
        within = np.einsum("smk,slk->sml", np.einsum("smj,sjk->smk", rows, into), into)
        half = np.einsum("sim,smj->sij", into, rows - within / 2)
        return np.asarray(half + half.swapaxes(1, 2))

    # Afterwards.

    def outcome(self, first: Outcome, iterations: np.ndarray) -> Outcome:
        """Errors, effective parameters and statuses; the solution goes to `theta`."""
        problem = self.problem
        self.theta[problem.unknowns] = self.accepted
        lines, bent = self._lines(), self._lines(self._bend())
        for system in (lines, bent):
            system.factor(np.full(problem.intervals, RIDGE))
        lines, bent = (system if system.exact else system.one_axis() for system in (lines, bent))
        blocks = lines.inverse_blocks()
        effective = np.einsum("sij,sij->s", lines.H, blocks)
        q, condition = null_space(bent)
        variance = without(lines, q, np.einsum("sii->si", blocks))
        null = (q * lines.scale[..., None]).transpose(1, 2, 0)
        atoms = problem.atoms(self.theta)
        free = scaled(atoms, problem.atom_unknown, problem.blocks, null)
        status = np.where(self.data == 0, Status.NO_DATA, self.status).astype(np.uint8)
        status[free.any(0) & (status == Status.CONVERGED)] = Status.SINGULAR
        blind = self._per_chain((~np.isnan(first.variance)).T, np.logical_or).T
        variance = np.where(self.alive & blind, variance, np.nan)
        rank = np.rint(effective).astype(first.rank.dtype)
        scale = reduced(self.normal[2], self.data - rank)
        with np.errstate(divide="ignore"):
            alone = 1 / (np.einsum("sii->is", self.normal[0]) + self.walk.diagonal())
        lost = judge(problem, self.accepted, atoms, status, variance, alone, free, scale, self.settings.min_snr)
        named = freedoms(problem.meaning, problem.retract.matrices, self.accepted, null, variance=alone)
        gauge, gauges = in_words(*named)
        return replace(
            first,
            status=status,
            iterations=iterations + self.iterations,
            chi2=self.normal[2],
            dof=self.data - rank,
            rank=rank,
            condition=condition,
            variance=variance,
            null=null,
            unconstrained=free,
            lost=lost,
            referred=None,
            gauge=gauge,
            gauges=gauges,
            smoothness=self.walk.chi2(self.accepted),
        )
