"""The course of a Levenberg-Marquardt fit of eight intervals, each with its own damping, convergence and status.

One evaluation of the normal equations after another: `advance` takes each and makes the next trial, first
block-Jacobi steps where they are asked for, then damped ones.

Valleys of chi2 along which the data hardly change (a phase that all splines have in common) are curved: a long step along one leaves
it sideways, and damping would have to make all steps short. So from where a step has led astray the next ones are tried, as long as
they come back towards the valley; the fit returns home only if they do not end below where it left (the watchdog technique of
Chamberlain et al. 1982, Math. Programming Study 16, 1; as in `joint.coupled_fit`).
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ...status import Status
from ..algebra.cholesky import start_of
from ..algebra.linear import block_steps, damped_step
from ..algebra.simd import INLINE, KERNEL, LANES, choose, inverse, load, root, splat, store
from .bounds import Bounds, Prior, add_prior, bounded_step, clip
from .normal import normal
from .retract import retract

LARGEST_DAMPING = 1e10
LEAST_DAMPING = 1e-12
BRAKE = 1e-4
"""Damping that begins to shorten steps along weakly constrained directions."""

NEAR = 0.1
"""Part of the data's power that may be left for damped steps to be better. One station wrong by half a turn among N leaves 8/N."""

FOUND = 0.005
"""Part of it from which damped steps are no more than they would be from nearer."""

SLOW = 0.5
"""Part of chi2 left by two block-Jacobi steps, near the minimum, with which damped steps are quicker."""

STRAY = 1000.0
"""How much more than a step promised to gain it may lose, to be followed from where it led."""

CORRECTIONS, HOPEFUL = 4, 0.5
"""Most steps from there; each has to leave less than this part of what is above the chi2 at home."""

LIGHT, PATIENCE = 1e-3, 4
"""Steps that gain next to nothing (see `Rules.idle`), though damped no more than the first: a fit that has been led astray ends after
so many of them. What is left is a fraction of standard errors, along what chi2 hardly sees: noise bends it, and steps promise more for
ever."""

WARY = 2
"""Steps for which damping is not lowered after one that had to be undone."""

HOME = -1
"""Of lanes that are evaluated once more where they had left."""

TRUSTED_DAMPING = 1e-5
"""A small predicted decrease means convergence only when the damping does not cause it."""

WORKING, CONVERGED, STALLED, DIVERGED = map(
    int, (Status.ITERATION_LIMIT, Status.CONVERGED, Status.STALLED, Status.DIVERGED)
)

NOTHING, MADE, DAMPED = range(3)
"""What follows an evaluation."""


class Course(NamedTuple):
    """Where eight intervals are: accepted parameters with their normal equations, and the next trial. All with LANES
    last."""

    theta: np.ndarray
    trial: np.ndarray
    delta: np.ndarray
    H: np.ndarray
    g: np.ndarray
    chi2: np.ndarray
    """(1,): of theta; NaN until the first is accepted."""
    start: np.ndarray
    """(1,): chi2 of the start."""
    constant: np.ndarray
    """(1,): the part of chi2 that no parameter changes."""
    floor: np.ndarray
    """(LANES,): rounding errors of chi2."""
    power: np.ndarray
    """(LANES,): chi2 of the data by themselves."""
    alternations: np.ndarray
    """(1,): block-Jacobi steps before damped ones."""
    near: np.ndarray
    """(1,): 1.0 in lanes that make no more block-Jacobi steps."""
    alternated: np.ndarray
    """(LANES,): block-Jacobi steps made."""
    best: np.ndarray
    """(LANES,): chi2 of theta while nothing is accepted, the best that these steps have led to."""
    dof: np.ndarray
    damping: np.ndarray
    decrease: np.ndarray
    """(1,): of chi2, that the step to the trial promises."""
    before: np.ndarray
    """(1,): that of the step that led to theta, infinite where that was damped or is none."""
    active: np.ndarray
    """(1,): 1.0 in lanes being worked on."""
    status: np.ndarray
    iterations: np.ndarray
    small: np.ndarray
    """(LANES,) bool: the step to the trial is too small to matter."""
    prior: Prior
    home: np.ndarray
    """Parameters that a lane has left for a place with a larger chi2."""
    anchor: np.ndarray
    """(2, LANES): chi2 at home, and what the step from there promised to gain."""
    astray: np.ndarray
    """(LANES,): steps since a lane left home; HOME where it is to go back."""
    idle: np.ndarray
    """(LANES,): steps that have gained next to nothing since one gained more."""
    wary: np.ndarray
    """(LANES,): steps for which damping is not lowered, since a lane went home."""


class Rules(NamedTuple):
    """What is the same for all intervals of a problem."""

    order: np.ndarray
    starts: np.ndarray
    """Blocks of unknowns: order[starts[b]:starts[b+1]]."""
    gains: np.ndarray
    matrices: np.ndarray
    """See `Retraction`."""
    pairs: bool
    """Whether every term of the equations is of second degree in the unknowns."""
    max_iter: int
    tol: float
    idle: float
    """What of chi2 per degree of freedom is next to nothing for a step to gain."""
    bounds: Bounds


@kernel(**INLINE)
def _scale(course, H, n):
    """What brings the next gains of pairs, 1 / c for present ones that are c times too large, to the size between both, which is
    right; the present ones are to be divided by it. (Without it a cold start takes a step for every power of 2 in c.)"""
    old, new = splat(0.0), splat(0.0)
    for i in range(n):
        own, moved = load(course.trial, i), load(course.trial, i) + load(course.delta, i)
        seen = choose(load(H, start_of(i) + i), splat(1.0), splat(0.0))
        old, new = old + seen * own * own, new + seen * moved * moved
    scale = root(root(old * inverse(new)))
    return choose(scale, scale, splat(1.0))


@kernel(**KERNEL)
def _alternate(course, rules, k, H, g):
    """The next trial by a block-Jacobi step, every other one whole. Of pairs the first two are: but for sizes, they find the gains of
    one direction."""
    n = g.shape[0]
    block_steps(H, g, rules.order, rules.starts, course.delta)
    whole = k == 0 or k % 2 == rules.pairs
    factor = 1.0 if whole else 0.5
    scale = _scale(course, H, n) if rules.pairs else splat(1.0)
    for i in range(n):
        own = load(course.trial, i)
        moved = own * inverse(scale) * (1.0 - factor) + (own + load(course.delta, i)) * (scale * factor)
        moved = choose(load(H, start_of(i) + i), moved, own)
        store(course.trial, i, choose(load(course.active, 0) - load(course.near, 0), moved, load(course.theta, i)))
    for v in range(LANES):
        course.alternated[v] += course.active[0, v] > course.near[0, v]
    clip(rules.bounds, course.trial)


@kernel(**KERNEL)
def _settle(course, k, chi2):
    """Keep the best trial of every second block-Jacobi step, and find the lanes that are near and no longer helped (blocks that
    share much of the data, as several directions do, drive each other apart), or nearer than need be. Whether all are. What a
    lane does never depends on the others."""
    better, settled = np.zeros((1, LANES)), True
    for v in range(LANES):
        if not course.active[0, v] or course.near[0, v]:
            continue
        slow = k == 0 or (k % 2 == 0 and not chi2[0, v] <= SLOW * course.best[v])
        found = chi2[0, v] <= FOUND * course.power[v]
        if k == 0 or found or (k % 2 == 0 and chi2[0, v] < course.best[v]):
            better[0, v], course.best[v] = 1.0, chi2[0, v]
        course.near[0, v] = 1.0 if found or (slow and course.best[v] <= NEAR * course.power[v]) else 0.0
        settled &= course.near[0, v] > 0.0
    for i in range(course.theta.shape[0]):
        store(course.theta, i, choose(load(better, 0), load(course.trial, i), load(course.theta, i)))
        store(course.trial, i, choose(load(course.near, 0), load(course.theta, i), load(course.trial, i)))
    return settled


@kernel(**KERNEL)
def _damping(course, v, kept):
    """The next damping, after a step that kept a part of what it had promised."""
    damping = course.damping[0, v]
    if kept > 0.75:
        course.wary[v] = max(course.wary[v] - 1, 0)
        return damping if course.wary[v] else max(damping * 0.1, LEAST_DAMPING)
    if kept < 0.25:  # steps that overshoot swing about a valley whose curvature the residuals add to
        return max(damping * 10, BRAKE)
    return damping


@kernel(**KERNEL)
def _tired(course, rules, v, damping, gained):
    """Count a step that was taken with this damping; whether there were enough that gained next to nothing."""
    if gained > rules.idle * course.chi2[0, v] / course.dof[v]:
        course.idle[v] = 0
    elif damping <= LIGHT and course.anchor[1, v] > 0.0:
        course.idle[v] += 1
    return course.idle[v] >= PATIENCE


@kernel(**KERNEL)
def _strays(course, v, chi2):
    """Whether to follow a step that has led to a larger chi2."""
    rise, promised = chi2 - course.chi2[0, v], course.decrease[0, v]
    return course.floor[v] < rise <= STRAY * promised and not course.small[v]


@kernel(**KERNEL)
def _astray(course, rules, v, chi2):
    """`_judge` for a lane that leaves home or has left it."""
    if course.astray[v] == 0:
        course.anchor[0, v], course.anchor[1, v] = course.chi2[0, v], course.decrease[0, v]
        for i in range(course.theta.shape[0]):
            course.home[i, v] = course.theta[i, v]
    above, gained = course.chi2[0, v] - course.anchor[0, v], course.anchor[0, v] - chi2
    course.before[0, v] = np.inf
    if gained >= 0.0:  # back in the valley, and further
        course.astray[v] = 0
        if _tired(course, rules, v, course.damping[0, v], gained):
            course.status[v] = CONVERGED
        course.damping[0, v] = _damping(course, v, gained / course.anchor[1, v])
        if course.status[v] != WORKING or course.iterations[v] >= rules.max_iter:
            course.active[0, v] = 0.0
        return True
    first, last = course.astray[v] == 0, course.iterations[v] >= rules.max_iter
    if not last and (first or (course.astray[v] < CORRECTIONS and -gained <= HOPEFUL * above)):
        course.astray[v] += 1
        return True
    course.astray[v], course.wary[v] = HOME, WARY
    course.damping[0, v] *= 10
    if course.damping[0, v] > LARGEST_DAMPING:
        course.status[v] = STALLED
    return False


@kernel(**KERNEL)
def _judge(course, rules, v, k, chi2):
    """Whether lane v accepts its trial; ends it where it has converged, diverged, stalled, or used up its
    iterations."""
    if not course.active[0, v]:
        return False
    if np.isnan(course.chi2[0, v]):  # nothing accepted yet
        if k == course.alternations[0] and k > 0 and not course.near[0, v] and not chi2 <= course.best[v]:
            return False  # block-Jacobi steps ran away: the next trial is the best that they had led to
        if not np.isfinite(chi2):
            course.status[v], course.active[0, v] = DIVERGED, 0.0
            return False
        return True
    if course.astray[v] == HOME:
        course.astray[v] = 0
        if course.status[v] != WORKING or course.iterations[v] >= rules.max_iter:
            course.active[0, v] = 0.0
        return True
    course.iterations[v] += 1
    if course.astray[v] > 0 or _strays(course, v, chi2):
        return _astray(course, rules, v, chi2)
    damping, small = course.damping[0, v], course.small[v]
    done = small and damping <= TRUSTED_DAMPING
    accept = chi2 <= course.chi2[0, v] + course.floor[v] and np.isfinite(course.decrease[0, v])
    if accept:
        course.before[0, v] = course.decrease[0, v] if damping <= TRUSTED_DAMPING else np.inf
    gained, damping_before = course.chi2[0, v] - chi2, damping
    if not accept:
        damping *= 10
    elif small:
        damping = max(damping * 1e-3, LEAST_DAMPING)
    else:
        damping = _damping(course, v, gained / course.decrease[0, v])
    course.damping[0, v] = damping
    tired = accept and _tired(course, rules, v, damping_before, gained)
    if done or tired or (small and not accept and np.isfinite(chi2)):
        course.status[v] = CONVERGED  # beside what is not finite, steps are small by damping only
    elif not accept and damping > LARGEST_DAMPING:
        course.status[v] = STALLED
    if course.status[v] != WORKING or course.iterations[v] >= rules.max_iter:
        course.active[0, v] = 0.0
    return accept


@kernel(**KERNEL)
def _accept(course, accepted, H, g):
    """Keep the trial in the lanes where `accepted` (1) is 1."""
    mask = load(accepted, 0)
    for i in range(g.shape[0]):
        store(course.theta, i, choose(mask, load(course.trial, i), load(course.theta, i)))
        store(course.g, i, choose(mask, load(g, i), load(course.g, i)))
    for i in range(H.shape[0]):
        store(course.H, i, choose(mask, load(H, i), load(course.H, i)))


@kernel(**KERNEL)
def advance(course, rules, k, H, g, chi2):
    """Take the k-th evaluation (at `course.trial`) and make the next trial; H and g are overwritten. Returns whether
    there is one."""
    what = take_in(course, rules, k, H, g, chi2)
    if what == DAMPED:
        if rules.bounds.unknown.shape[0] > 0:
            bounded_step(
                rules.bounds, course.theta, course.H, course.g, course.damping, course.delta, course.decrease, H, g
            )
        else:
            damped_step(course.H, course.g, course.damping, course.delta, course.decrease, H, g)
        return move(course, rules)
    return what == MADE


@kernel(**KERNEL)
def take_in(course, rules, k, H, g, chi2):
    """Take the k-th evaluation; H and g are overwritten. Returns what is next: NOTHING, an evaluation (the trial is MADE), or a
    DAMPED step."""
    store(chi2, 0, load(chi2, 0) + load(course.constant, 0))
    add_prior(course.prior, course.trial, H, g, chi2)
    if k == 0:
        store(course.start, 0, load(chi2, 0))
        for v in range(LANES):
            if course.active[0, v] and not np.isfinite(chi2[0, v]):
                course.status[v], course.active[0, v] = DIVERGED, 0.0
    if k < course.alternations[0]:
        if _settle(course, k, chi2):  # this one makes no step: its normal equations are those of blocks only
            course.alternations[0] = k + 1
        else:
            _alternate(course, rules, k, H, g)
        return MADE if course.active.any() else NOTHING
    accepted = np.zeros((1, LANES))
    for v in range(LANES):
        if _judge(course, rules, v, k, chi2[0, v]):
            accepted[0, v], course.chi2[0, v] = 1.0, chi2[0, v]
    _accept(course, accepted, H, g)
    return DAMPED if course.active.any() else NOTHING


@kernel(**KERNEL)
def move(course, rules):
    """Make the next trial by the step `course.delta`, or take it where it is the last. Returns whether there is a trial."""
    accepted, done = np.zeros((1, LANES)), np.zeros((1, LANES))
    bounded = rules.bounds.unknown.shape[0] > 0
    for v in range(LANES):
        if course.astray[v] == HOME:
            for i in range(course.theta.shape[0]):
                course.theta[i, v] = course.home[i, v]
                course.delta[i, v] = 0.0
        decrease, error = course.decrease[0, v], course.chi2[0, v] / course.dof[v]
        least = max(rules.tol * error, course.floor[v])
        course.small[v] = decrease <= least
        accepted[0, v] = course.active[0, v] * (not np.isnan(course.chi2[0, v]))
        gain = np.sqrt(
            decrease / course.before[0, v]
        )  # on the last step, in parameters, and of chi2's relative error in this one
        last = course.small[v] or (decrease <= error and decrease * gain <= least and course.before[0, v] < np.inf)
        settled = last and course.damping[0, v] <= TRUSTED_DAMPING and course.astray[v] == 0
        if accepted[0, v] and settled and not bounded:
            # The last step is taken and not evaluated: what it leaves, and what chi2 is wrong by, is within the tolerance,
            # even if steps gain no more on one another than the last two. (At a bound, however small, it may change which
            # unknowns are free.)
            course.status[v], course.active[0, v], done[0, v] = CONVERGED, 0.0, 1.0
            course.chi2[0, v] -= decrease
    retract(course.theta, course.delta, rules.gains, rules.matrices, course.trial)
    clip(rules.bounds, course.trial)
    for i in range(course.theta.shape[0]):
        store(course.trial, i, choose(load(accepted, 0), load(course.trial, i), load(course.theta, i)))
        store(course.theta, i, choose(load(done, 0), load(course.trial, i), load(course.theta, i)))
    return course.active.any()


@kernel(**KERNEL)
def linear_atoms(origin, trial, atoms, unknown, ur, ui):
    """Atoms at `trial` from values and derivatives `atoms` at `origin`."""
    J = ur.shape[1]
    for a in range(unknown.shape[0]):
        for j in range(J):
            at = a * J + j
            re, im = load(atoms[0], at), load(atoms[1], at)
            for p in range(unknown.shape[1]):
                i = np.int64(unknown[a, p])
                if i >= 0:
                    moved, d = load(trial, i) - load(origin, i), (a * unknown.shape[1] + p) * J + j
                    re, im = re + load(atoms[2], d) * moved, im + load(atoms[3], d) * moved
            store(ur, at, re)
            store(ui, at, im)


@kernel(**KERNEL)
def fit_linear(course, rules, t, data, atoms, unknown, H, g, chi2):
    """A whole fit where atoms are linear in the unknowns: `atoms` are their values and derivatives at the start; H, g and chi2 are
    scratch."""
    ur, ui, origin = np.empty_like(atoms[0]), np.empty_like(atoms[1]), course.theta.copy()
    k, more = np.int64(0), True  # a literal 0 would compile everything below twice
    while more:
        linear_atoms(origin, course.trial, atoms, unknown, ur, ui)
        normal(t, data, ur, ui, atoms[2], atoms[3], H, g, chi2, k < course.alternations[0], 0, 1)
        more = advance(course, rules, k, H, g, chi2)
        k += 1
