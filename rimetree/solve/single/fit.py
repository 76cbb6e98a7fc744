"""A fit in progress, or done: what it knows of all intervals of a problem."""

from __future__ import annotations

import numpy as np

from ...status import Status
from ..algebra.simd import LANES
from ..reduce.forms import Tables
from ..settings import Settings
from .bounds import Constraints, Prior, clip
from .outside import PACKAGES
from .problem import Problem
from .steps import Rules

ALTERNATIONS = 16
"""Steps with alternating factors before damped ones."""


IDLE = 30.0
"""Of the root of the tolerance: what steps that are not exact need not gain, once they have been led astray."""


class Fit:
    """Starts, data and priors of all intervals, and what was found for them (see `Outcome`)."""

    def __init__(self, problem: Problem, theta: np.ndarray, settings: Settings) -> None:
        self.problem, self.theta, self.settings = problem, theta, settings
        n, S = problem.count, problem.intervals
        self.starts = list(range(0, S, LANES))
        self.tables: Tables = problem.tables()
        self.data = problem.data()
        power = problem.power()
        self.power, self.floor = power, 1e-15 * power
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
        self.nulls: dict[int, np.ndarray] = {}
        """Of each block of intervals, by its first: null directions (n, m, intervals)."""
        gains, matrices = (np.ascontiguousarray(a, np.int64) for a in (problem.retract.gains, problem.retract.matrices))
        self.alternations = ALTERNATIONS if problem.multiplicative and settings.algorithm not in PACKAGES else 0
        limits = self.constraints.bounds
        self.rules = Rules(
            self.tables.order,
            self.tables.starts,
            gains,
            matrices,
            self._pairs(),
            int(settings.max_iter),
            float(settings.tol),
            0.0 if settings.algorithm == "newton" else IDLE * float(np.sqrt(settings.tol)),
            limits,
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

    def _pairs(self) -> bool:
        """Whether the equations, but for data and what is known, are of second degree in the unknowns: products of two atoms."""
        counts = [(eq.form.term_factor >= 0).sum(1) for eq in self.problem.equations]
        if not self.alternations or any((own != 2).any() for own in counts):
            return False
        once, twice = self.problem.atoms(self.theta)[:2], self.problem.atoms(2 * self.theta)[:2]
        return all(bool(np.allclose(b, 2 * a, rtol=1e-9, atol=0)) for a, b in zip(once, twice, strict=True))

    def null(self) -> np.ndarray:
        """Null directions (n, m, S) of all intervals, zero beyond those that there are."""
        widest = max((a.shape[1] for a in self.nulls.values()), default=1)
        result = np.zeros((self.problem.count, widest, self.problem.intervals))
        for start, own in self.nulls.items():
            result[:, : own.shape[1], start : start + own.shape[2]] = own
        return result
