"""The solution of the interval before as a start, for equations with many minima: delays, positions, rotation measures.

Such parameters drift away from where their Parms start, until that is nearer to another minimum than to theirs; the interval before
is as near as ever. Whether a solution is taken from there is seen from chi2 and status alone, so nothing gets worse.

Where such Parms are fitted jointly with others, solutions pass on within the span, in both directions: what is right at first may be in the
middle of it, where the others have put it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..plan.atoms import Unknowns
from ..solve.result.outcome import Outcome
from ..solve.settings import Settings
from ..solve.single.block import Block
from ..solve.single.doubt import FAILED, doubtful, least
from ..solve.single.fit import Fit
from ..solve.single.lm import solve
from ..solve.single.problem import Problem
from ..status import Status
from .state import ParmState


def before(
    parms: Mapping[int, ParmState], unknowns: Unknowns, offset: int, own: np.ndarray, after: bool = False
) -> np.ndarray:
    """(unknowns, S): for the time intervals from `offset` on the last solution that each member has before them, or the first `after`
    them; `own` (unknowns, S), where they start, for those that have none."""
    theta, known = np.zeros_like(own), np.zeros_like(own)
    for n, parm in parms.items():
        members, ct, cf, times, freqs = parm.coefs.shape
        count, flip = own.shape[1] // freqs, slice(None, None, -1 if after else 1)
        first = times - offset - count if after else offset
        coefs = parm.coefs[..., flip, :]
        good = (parm.status == Status.CONVERGED) & parm.fitted[:, None, None] & np.isfinite(parm.coefs).all((1, 2))
        good = np.concatenate([np.zeros((members, 1, freqs), bool), good[:, flip]], 1)
        latest = np.maximum.accumulate(np.where(good, np.arange(times + 1)[:, None], 0), 1)
        latest = (latest[:, first : first + count] - 1)[:, flip]
        at = np.broadcast_to(np.maximum(latest, 0)[:, None, None], (members, ct, cf, *latest.shape[1:]))
        found = np.where(latest[:, None, None] >= 0, np.take_along_axis(coefs, at, 3), 0)
        unknowns.store(theta, n, found.reshape(members, ct, cf, -1))
        there = np.broadcast_to(latest[:, None, None] >= 0, at.shape)
        unknowns.store(known, n, (there * (1 + 1j)).reshape(members, ct, cf, -1))
    return np.where(known > 0, theta, own)


def solve_from(part: Problem, theta: np.ndarray, other: np.ndarray, settings: Settings) -> Outcome:
    """Fit from the one of two starts (unknowns of the whole, S) with the lower chi2, and from the other where that does not converge or
    fits worse than noise allows. `theta`, one of them, receives the solution."""
    mine = part.unknowns
    closer = _chi2(part, other, settings) < _chi2(part, theta, settings)
    own, rest = np.where(closer, other[mine], theta[mine]), np.where(closer, theta[mine], other[mine])
    theta[mine] = own
    outcome = solve(part, theta, settings)
    return _again(part, theta, rest, outcome, settings)


def solve_around(part: Problem, theta: np.ndarray, others: Sequence[np.ndarray], settings: Settings) -> Outcome:
    """Fit from `theta` (unknowns of the whole, S), which receives the solution, and where that fits worse than noise allows or does not
    converge, from each of the others too."""
    outcome = solve(part, theta, settings)
    for other in others:
        outcome = _again(part, theta, other[part.unknowns], outcome, settings)
    return outcome


def _again(part: Problem, theta: np.ndarray, start: np.ndarray, outcome: Outcome, settings: Settings) -> Outcome:
    """Fit doubtful intervals from another start (unknowns, S) than led to theta, and keep what converges there, if chi2 is lower."""
    mine = part.unknowns
    chosen = doubtful(outcome) & (start != theta[mine]).any(0)
    if not chosen.any():
        return outcome
    found = theta.copy()
    found[mine] = np.where(chosen, start, theta[mine])
    second = solve(part, found, settings)
    second.iterations += outcome.iterations
    lower = ~(second.chi2 >= outcome.chi2 - least(outcome, settings)) | np.isin(outcome.status, FAILED)
    taken = chosen & (second.status == Status.CONVERGED) & lower
    theta[mine] = np.where(taken, found[mine], theta[mine])
    return outcome.merged(second, taken)


def better(part: Problem, outcome: Outcome, own: np.ndarray, other: np.ndarray, settings: Settings) -> bool:
    """Whether other values of the unknowns (of the whole, S) may help some interval: its own solution is none, or fits worse than noise
    allows, or than they do by more than what counts as converged."""
    differ = (own != other)[part.unknowns].any(0)
    lost = doubtful(outcome)
    if not (differ & lost).any():
        lost = outcome.chi2 - _chi2(part, other, settings) > least(outcome, settings)
    return bool((differ & lost).any())


def nearer(
    part: Problem, outcome: Outcome, theta: np.ndarray, others: Sequence[np.ndarray], settings: Settings
) -> bool:  # fmt: skip
    """Put the best of some other values of the unknowns (of the whole, S) into theta, where they fit better than the solution `outcome` by
    more than what counts as converged; whether there are such intervals."""
    best = np.where(np.isfinite(outcome.chi2), outcome.chi2, np.inf) - least(outcome, settings)
    found = np.zeros(best.shape, bool)
    for other in others:
        chi2 = _chi2(part, other, settings)
        closer = (chi2 < best) & (theta != other)[part.unknowns].any(0)
        theta[part.unknowns] = np.where(closer, other[part.unknowns], theta[part.unknowns])
        best, found = np.where(closer, chi2, best), found | closer
    return bool(found.any())


def _chi2(part: Problem, theta: np.ndarray, settings: Settings) -> np.ndarray:
    """(S,) at some values, infinite where it is not finite."""
    fit = Fit(part, theta.copy(), settings)
    atoms = part.atoms(fit.theta)
    blocks = [Block(fit, s0) for s0 in fit.starts]
    found = (
        np.concatenate([block.evaluate(block.lanes(atoms), 0)[2][0, : block.count] for block in blocks]) + fit.constant
    )
    if len(fit.prior.mean):
        found += (fit.prior.precision * (fit.theta[part.unknowns] - fit.prior.mean) ** 2).sum(0)
    return np.where(np.isfinite(found), found, np.inf)
