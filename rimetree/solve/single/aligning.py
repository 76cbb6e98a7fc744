"""Solutions of intervals that were fitted one by one, moved along what is free in each until neighbours resemble one another.

Each interval has a common phase (a unitary matrix, ...) of its own choice; a walk over the intervals ties them. Far from one
another these phases would make the start of a joint fit worse than none.
"""

from __future__ import annotations

import numpy as np

from .lines import Walk
from .problem import Problem
from .retract import Retraction

STEPS = 30
"""Gauss-Newton steps per interval: few are needed unless a phase is nearly opposite."""

NEAR = 1e-4
"""A step that changes unknowns by less than this is the last."""

TURN = 2 * np.pi


def turning(problem: Problem, theta: np.ndarray) -> np.ndarray:
    """(n,) the real unknowns that whole turns leave without effect: phases. An interval by itself finds them up to such.

    `theta` (unknowns of the whole, S): some values; one interval of them is enough.
    """
    unknown, mine = problem.atom_unknown, problem.unknowns
    found = np.zeros(problem.count, bool)
    if problem.linear:
        return found
    values = [a[..., 0] for a in problem.atoms(theta)[:2]]
    for column in unknown.T:
        some = np.unique(column[column >= 0])
        moved = theta.copy()
        moved[mine[some]] += TURN * (1 + some[:, None] % 3)  # unlike ones, so that differences of phases are seen too
        change = [
            abs(a[..., 0] - b) > 1e-9 * (1 + abs(b)) for a, b in zip(problem.atoms(moved)[:2], values, strict=True)
        ]
        changed = (change[0] | change[1]).any(1)
        kept = np.setdiff1d(some, unknown[changed])
        found[kept] = True
        found[np.intersect1d(some, unknown[changed])] = False
    complex_ = [
        problem.retract.gains,
        problem.retract.gains + 1,
        problem.retract.matrices.ravel(),
        problem.retract.matrices.ravel() + 1,
    ]
    found[np.concatenate(complex_)] = False
    return found


def aligned(
    theta: np.ndarray, null: np.ndarray, good: np.ndarray, walk: Walk, retract: Retraction, angles: np.ndarray
) -> np.ndarray:
    """theta (n, S) with every `good` (S,) interval moved along its null directions (n, m, S; zero where there are fewer)
    towards the good one before it in its chain, in the metric of the walk, and `angles` (n,) by whole turns."""
    shape, (in_time, in_freq) = walk.shape, walk.axes
    result, order = theta.copy(), np.arange(theta.shape[1]).reshape(shape)
    latest = np.full(theta.shape[1], -1)
    weight = np.sqrt(walk.strength.max(0))[:, None]
    for t in range(shape[0]):
        for f in range(shape[1]):
            s, before = order[t, f], -1
            if in_freq and f:
                before = latest[order[t, f - 1]]
            elif in_time and t:
                before = latest[order[t - 1, f]]
            latest[s] = s if good[s] else before
            if good[s] and before >= 0:
                own = null[:, np.abs(null[:, :, s]).max(0, initial=0) > 0, s]
                for _ in range(2 if angles.any() else 1):
                    result[angles, s] -= TURN * np.rint((result[angles, s] - result[angles, before]) / TURN)
                    result[:, [s]] = _towards(result[:, [s]], result[:, [before]], own, weight, retract)
    return result


def _towards(x: np.ndarray, goal: np.ndarray, null: np.ndarray, weight: np.ndarray, retract: Retraction) -> np.ndarray:
    """x (n, 1) moved along the span of null (n, m), which turns as x does, until it is nearest to `goal`."""
    best = x
    for _ in range(STEPS if null.size else 0):
        step = null @ np.linalg.lstsq(weight * null, weight * (goal - x), rcond=1e-8)[0]
        size = np.abs(step).max() / max(np.abs(x).max(), 1e-300)
        trial = retract(np.ascontiguousarray(x), np.ascontiguousarray(step / max(1.0, 2 * size)))
        if not _distance(trial, goal, weight) < _distance(best, goal, weight):
            break
        null = _turned(null, x, trial, retract)
        x = best = trial
        if size < NEAR:
            break
    return best


def _distance(x: np.ndarray, goal: np.ndarray, weight: np.ndarray) -> float:
    return float((weight**2 * (x - goal) ** 2).sum())


def _turned(null: np.ndarray, x: np.ndarray, moved: np.ndarray, retract: Retraction) -> np.ndarray:
    """Directions (n, m) after x has moved: multiplied like the gains and matrices that they change."""
    result, p = null.copy(), retract.gains
    old, new = (v[p] + 1j * v[p + 1] for v in (x, moved))
    turned = (null[p] + 1j * null[p + 1]) * np.divide(new, old, out=np.ones_like(old), where=old != 0)
    result[p], result[p + 1] = turned.real, turned.imag
    rows = retract.matrices
    if len(rows):
        old, new = ((v[rows, 0] + 1j * v[rows + 1, 0]).reshape(-1, 2, 2) for v in (x, moved))
        old[np.linalg.det(old) == 0] = new[np.linalg.det(old) == 0] = np.eye(2)
        way = (null[rows] + 1j * null[rows + 1]).reshape(len(rows), 2, -1)
        turned = (new @ np.linalg.inv(old) @ way).reshape(len(rows), 4, -1)
        result[rows], result[rows + 1] = turned.real, turned.imag
    return result
