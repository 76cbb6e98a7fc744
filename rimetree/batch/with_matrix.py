"""What came of a fit without a normal matrix, judged with one where it is small: rank, errors and statuses as all algorithms have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..solve.joint.coupled_fit import Minimum
from ..solve.joint.joined import Joined
from ..solve.settings import Settings
from ..solve.single.problem import Problem
from ..status import Status
from .fit import ClassFit, Fitted
from .joint_starts import LOST
from .memory import too_large
from .span import Span

SMALL = 300
"""Unknowns that an interval may have: up to here a matrix costs next to nothing."""


def small(own: ClassFit, shell: Problem, memory: float) -> bool:
    """Whether the normal matrices of a class, whose components are those of `shell`, are small, and its sums fit in `memory` (bytes)."""
    return max(part.count for part in shell.components()) <= SMALL and not too_large(own, memory)


def judged(
    own: ClassFit,
    span: Span,
    first: int,
    problem: Joined,
    found: Minimum,
    start: np.ndarray,
    dropped: int,
    settings: Settings,
) -> list[Fitted]:
    """The only class of a problem, fitted once more from a minimum that began at `start` (unknowns,). `first`: its first interval in
    time. What has too few data, or none that say anything, stays as it was."""
    (made,) = problem.classes
    given = start.reshape(made.count, made.intervals)
    fcount = own.state.parms[own.parms[0]].coefs.shape[-1]
    own.put(found.x.reshape(given.shape), first, made.intervals // fcount)
    fitted = own.in_turn(span, settings)
    chi2 = problem.slopes(problem.points(start), start)[1]
    taken = np.append(found.iterations, 0)[found.systems.label].reshape(given.shape)
    for item in fitted:
        times, begin = item.intervals[0], (item.first - first) * fcount
        item.dropped = dropped if item is fitted[0] else 0
        where, theta = slice(begin, begin + times * fcount), own._theta(item.first, times)
        for k, (name, part, outcome) in enumerate(item.components):
            here, rows = made.of_part == made.component[part.unknowns[0]], part.unknowns
            idle = np.isin(outcome.status, LOST) | (outcome.status == Status.LOW_SNR) & (outcome.iterations == 0)
            theta[rows] = np.where(idle, given[rows, where], theta[rows])
            iterations = outcome.iterations + taken[rows, where].max(0).astype(np.int32)
            before = np.bincount(made.cell, chi2[here].sum(0), made.intervals)[where]
            item.components[k] = name, part, replace(outcome, iterations=iterations, chi2_start=before)
        own._store(theta, item.first, times, item.components)
    return fitted
