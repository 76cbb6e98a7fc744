"""Levenberg-Marquardt on all solution intervals of a problem at once, each with its own damping, convergence and
status.

Where the equation multiplies parameters with one another, a few block-Jacobi steps with alternating factors 1 and 1/2
come first (for one complex gain per station this is StefCal, Salvini & Wijnholds 2014, A&A 571, A97); they bring a
cold start with random phases into the basin of the minimum, and are left out where a start is near it. Then damping
as in Marquardt (1963), with the step applied by `Retraction`.

Intervals are worked on in blocks of eight, the lanes of a vector; a block is a task for a thread. Where all atoms are
linear in the unknowns, a block runs to its end without Python; else all blocks take every step together, with atoms
from `Problem.atoms`. Few blocks of many unknowns are worked on one after another, each by all threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...status import Status
from ..algebra.simd import Room
from ..algebra.threads import shared, threads
from ..result.outcome import Outcome
from ..settings import Settings
from .block import Block
from .fit import Fit
from .outside import PACKAGES, Interval, minimise
from .plain import Normal, add_bending, jax_normal, numpy_normal
from .problem import Problem
from .steps import fit_linear, linear_atoms
from .verdict import verdict

MANY = 100
"""Unknowns from which it pays that several threads work on one block: a step takes longer than to call them."""


def solve(problem: Problem, theta: np.ndarray, settings: Settings) -> Outcome:
    """Fit one component. `theta` (all unknowns, S) holds the start and receives the solution."""
    fit = Fit(problem, theta, settings)
    if settings.algorithm in PACKAGES:
        _outside(fit)
    elif settings.algorithm == "newton" or settings.backend != "numba":
        _plain(fit)
    elif len(fit.starts) >= threads() or problem.count < MANY:
        _apart(fit)
    else:
        _together(fit)
    return verdict(fit)


def _apart(fit: Fit) -> None:
    """Every block by one thread."""
    if not fit.problem.linear:
        _steps(fit)
        return
    atoms, free = fit.problem.atoms(fit.theta), [Room() for _ in range(threads())]

    def task(s0: int) -> None:
        block = Block(fit, s0, free.pop())
        own = block.course, fit.rules, fit.tables, block.data, block.lanes(atoms), fit.problem.atom_unknown
        fit_linear(*own, *block.scratch())
        block.end()
        free.append(block.room)

    shared(task, fit.starts)


def _steps(fit: Fit) -> None:
    """All blocks step by step, because all atoms are made at once."""
    blocks = shared(lambda s0: Block(fit, s0), fit.starts)
    active, k = blocks, 0
    while active:
        atoms = fit.problem.atoms(_trial(fit, blocks))
        more = shared(lambda block: block.advance(k, block.evaluate(block.lanes(atoms), k)), active)  # noqa: B023
        active, k = [block for block, going in zip(active, more, strict=True) if going], k + 1
    shared(Block.end, blocks)


def _together(fit: Fit) -> None:
    """Block after block, every step by all threads: they are fewer than these, and matrices large."""
    for s0 in fit.starts:
        block = Block(fit, s0)
        place = (
            _linear_place(fit, block)
            if fit.problem.linear
            else lambda b=block: b.lanes(fit.problem.atoms(_trial(fit, [b])))
        )
        k, more = 0, True
        while more:
            more = block.advance(k, block.evaluate(place(), k, True), True)
            k += 1
        block.end(True)


def _linear_place(fit: Fit, block: Block) -> Callable[[], tuple[np.ndarray, ...]]:
    """A function that gives the lanes' atoms at their trials, where these are linear."""
    atoms, origin = block.lanes(fit.problem.atoms(fit.theta)), block.course.theta.copy()
    ur, ui = np.empty_like(atoms[0]), np.empty_like(atoms[1])

    def place() -> tuple[np.ndarray, ...]:
        linear_atoms(origin, block.course.trial, atoms, fit.problem.atom_unknown, ur, ui)
        return ur, ui, *atoms[2:]

    return place


def _plain(fit: Fit) -> None:
    """All blocks step by step, from normal equations made without kernels: by JAX, or with second derivatives."""
    if fit.problem.linear and not fit.problem.multiplicative:  # steps are exact as they are, and may lead to 0
        fit.rules = fit.rules._replace(gains=np.empty(0, np.int64))
    if fit.settings.backend != "numba":
        first = later = jax_normal(fit.problem)
    else:
        plain = numpy_normal(fit.problem)
        first, later = lambda theta: plain(fit.problem.atoms(theta)), _newton(fit)
    blocks = [Block(fit, s0) for s0 in fit.starts]
    active, k = blocks, 0
    while active:
        theta = _trial(fit, blocks)
        made = (first if any(k < b.course.alternations[0] for b in active) else later)(theta)
        active, k = [block for block in active if block.advance(k, block.part(made))], k + 1
    for block in blocks:
        block.end()


def _newton(fit: Fit) -> Callable[[np.ndarray], Normal]:
    """Normal equations with second derivatives, along the steps as they are applied."""
    plain, (mean, precision) = numpy_normal(fit.problem, second=True), fit.prior
    fit.rules = fit.rules._replace(matrices=np.empty((0, 4), np.int64))  # their steps bend in a way of their own

    def made(theta: np.ndarray) -> Normal:
        H, g, chi2 = plain(fit.problem.atoms(theta), fit.problem.curvature(theta) if fit.problem.curvature else None)
        own = theta[fit.problem.unknowns]
        slope = g + precision * (own - mean) if len(mean) else g
        add_bending(fit.rules.gains, own, slope, H)
        return H, g, chi2

    return made


def _outside(fit: Fit) -> None:
    """Every interval by another package; rank and errors are then worked out as always."""
    evaluate = numpy_normal(fit.problem)
    blocks = [Block(fit, s0) for s0 in fit.starts]
    start = evaluate(fit.problem.atoms(fit.theta))
    given = fit.theta.copy()
    mean, precision = fit.prior if len(fit.prior.mean) else (np.zeros_like(fit.variance),) * 2
    for s in np.flatnonzero(fit.status == Status.ITERATION_LIMIT).tolist():
        interval = Interval(fit.problem, s, given, precision[:, s], mean[:, s], fit.seen[:, s])
        x, fit.status[s], fit.iterations[s] = minimise(
            fit.settings.algorithm, interval, fit.settings.max_iter, fit.settings.tol
        )
        fit.theta[fit.problem.unknowns, s] = x
    found = evaluate(fit.problem.atoms(fit.theta))
    for block in blocks:
        block.arrive(start, found)
        block.end()


def _trial(fit: Fit, blocks: Sequence[Block]) -> np.ndarray:
    """The parameters at which the blocks want to be evaluated."""
    theta = fit.theta.copy()
    for block in blocks:
        theta[fit.problem.unknowns, block.where] = block.course.trial[:, : block.count]
    return theta
