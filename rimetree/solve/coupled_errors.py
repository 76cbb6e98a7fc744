"""Errors of a coupled fit: the diagonal of the inverse of the whole normal matrix, all classes free together."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array

from .cg import Blocks, Systems, solve
from .coupled import Coupled
from .coupled_fit import Minimum

EXACT = 1200
"""Unknowns of a system up to which its normal matrix is made and inverted."""

WORK = 2e9
"""Numbers of Gram matrices read for that, at most."""

PROBES = 3

MOST = 60
"""Products per solve for a probe."""

TOLERANCE = 0.05
"""Of the residuals of probes: errors of errors of a part in a thousand."""

NULL = 1e-9
"""Eigenvalues of the preconditioned normal matrix below this are null: they are of order 1 where data constrain."""


def variances(problem: Coupled, found: Minimum) -> tuple[np.ndarray, str]:
    """Variance of every unknown (NaN where it stays as it is), and what is to be said of it.

    Null directions count nothing: the covariance is the pseudo-inverse in the metric of the diagonal blocks. Small
    systems are inverted. For large ones the ratio of the joint variance to that of the block of an unknown, which is
    much the same in all intervals, is estimated from random signs (Hutchinson 1990, Commun. Stat. Simul. 19, 433) for
    each unknown of a class, over all its intervals.
    """
    systems, inverse = found.systems, found.blocks.inverse(np.zeros(problem.count))
    size = np.bincount(systems.label, minlength=systems.count + 1)[:-1].max(initial=0)
    if size <= EXACT and size * problem.cells.A.size <= WORK:
        return _inverted(problem, found, inverse, int(size)), ""
    active = systems.label < systems.count
    own = inverse.diagonal(problem.count)
    rng = np.random.default_rng(0)
    total = np.zeros(problem.count)
    for _ in range(PROBES):
        z = np.where(active, rng.choice([-1.0, 1.0], problem.count), 0.0)
        total += z * _applied(problem, found, inverse, z) / PROBES
    ratio = [
        np.broadcast_to((part.sum(1) / np.maximum(base.sum(1), 1e-300))[:, None], part.shape).ravel()
        for part, base in zip(problem.split(total), problem.split(np.where(active, own, 0.0)), strict=True)
    ]
    return np.where(
        active, own * np.maximum(np.concatenate(ratio), 0.25), np.nan
    ), f"errors are estimated from {PROBES} random probes, to a few per cent"


def _applied(problem: Coupled, found: Minimum, inverse: Blocks, z: np.ndarray) -> np.ndarray:
    """The pseudo-inverse times z. Null directions are taken out of z first: by H x = H M^-1 z, which has a solution
    without them."""

    def product(v: np.ndarray) -> np.ndarray:
        return problem.product(found.points, v)

    def solved(b: np.ndarray) -> np.ndarray:
        return solve(product, b, inverse, found.systems, TOLERANCE, np.zeros(found.systems.count), MOST).x

    return solved(found.blocks @ solved(product(inverse @ z)))


def _inverted(problem: Coupled, found: Minimum, inverse: Blocks, size: int) -> np.ndarray:
    """Exact: every system's matrix, a column of all systems per product."""
    systems: Systems = found.systems
    order = np.argsort(systems.label, kind="stable")
    starts = np.searchsorted(systems.label[order], np.arange(systems.count + 1))
    columns = np.zeros((size, problem.count))
    for j in range(size):
        unit = np.zeros(problem.count)
        here = starts[:-1] + j
        unit[order[here[here < starts[1:]]]] = 1
        columns[j] = problem.product(found.points, unit)
    variance = np.full(problem.count, np.nan)
    half = _roots(inverse, problem.count)
    for s in range(systems.count):
        own = order[starts[s] : starts[s + 1]]
        H = columns[: len(own), own]
        S = half[own][:, own].toarray()
        values, vectors = np.linalg.eigh(S @ ((H + H.T) / 2) @ S)
        kept = values > NULL * max(values.max(initial=0), 1)
        spread = S @ (vectors[:, kept] / np.sqrt(values[kept]))
        variance[own] = (spread**2).sum(1)
    return variance


def _roots(inverse: Blocks, count: int) -> csr_array:
    """Square roots of the blocks, as one sparse matrix."""
    rows, columns, values = [], [], []
    for where, matrix in zip(inverse.unknowns, inverse.matrices, strict=True):
        w, v = np.linalg.eigh(matrix)
        root = (v * np.sqrt(np.maximum(w, 0))[:, None]) @ v.transpose(0, 2, 1)
        size = where.shape[1]
        rows.append(np.repeat(where, size, 1).ravel())
        columns.append(np.tile(where, size).ravel())
        values.append(root.ravel())
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return coo_array(entries, shape=(count, count)).tocsr()
