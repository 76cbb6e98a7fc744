"""Errors of a coupled fit: the diagonal of the inverse of the whole normal matrix, all classes free together.

What classes exchange (see `exchange`) is held in the later one, so that its uncertainty is that of the first, and what all stations
have in common at a reference antenna, if there is one (see `datum`). All other null
directions count nothing: the covariance is the pseudo-inverse in the metric of the diagonal blocks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import coo_array, csc_array, csr_array, eye_array, hstack
from scipy.sparse.linalg import splu
from threadpoolctl import threadpool_limits

from ..status import Status
from . import coupling
from .banded import Banded
from .cg import Blocks, Systems, solve
from .coarse import Coarse
from .coupled import Coupled
from .coupled_fit import Minimum, within
from .datum import Datum
from .exchange import Exchanges, sparse
from .joined import Held, Joined
from .probes import shrunk
from .threads import in_turns

EXACT = 3000
"""Unknowns of a system up to which its normal matrix is made and inverted."""

WORK = 1.5e10
"""Numbers of Gram matrices read for that, at most, and derivatives multiplied."""

PROBES = 2, 24
"""Random probes of larger ones: at least, at most."""

ACCURACY = 0.03
"""Of errors from probes: probes are added until their scatter says so."""

SOLVES = (0.003, 120), (1e-5, 1000)
"""Residuals of probes, which what is held dominates, and products per solve; the second where there is more than gains, since a leakage or
a delay that all stations share may be known a thousand times worse than one by itself, and a solve that stops early takes it for null."""

SHARED = 1500
"""Unknowns of a system from which threads of BLAS gain more than they lose beside others."""

NULL = 1e-8
"""Pivots of the preconditioned normal matrix below this are null: they are of order 1 where data constrain."""

SINGULAR = 1e-11
"""Eigenvalues of a block with 1 on its diagonal below this are those of rounding."""

MIXED = 1e-3
"""Part of a null direction that is in other classes, if it is more than rounding."""

STIFF = 100.0, 1e4
"""Precision with which exchanges are held, relative to that of the data (errors are right to half of its inverse): for
conjugate gradients, and where matrices are inverted. With more, rounding errors would hide null pivots."""


def variances(
    problem: Joined, found: Minimum, known: Exchanges, datum: Datum, held: Held | None = None
) -> tuple[np.ndarray, str, np.ndarray]:
    """Variance of every unknown (NaN where it stays as it is), what is to be said of it, and by how much each takes part in null
    directions of several classes beyond those that are held: errors leave these out. (Small systems only; else 0.)

    What is exchanged, and the phases of the reference antenna of a datum, are held.

    Small systems are inverted. For large ones the preconditioner (blocks, and what stations have in common) is nearly the inverse, and
    its diagonal is known. The ratio of the true one to it, much the same in all intervals, is estimated for each unknown of a class from
    random signs (Hutchinson 1990, Commun. Stat. Simul. 19, 433), of which only what the preconditioner misses is noise, and drawn to
    that of other stations as far as noise explains their difference. There are as many probes as the scatter demands.
    """
    systems = found.systems
    hold = csc_array(hstack([_weighed(found.blocks, datum.pins), known.hold]))
    loose, firm = (csc_array(hold * np.sqrt(stiff)) for stiff in STIFF)
    size = np.bincount(systems.label, minlength=systems.count + 1)[:-1]
    columns = sum(c.count for c in problem.classes)
    small = size.max(initial=0) <= EXACT and (size.astype(float) ** 3).sum() <= 2 * EXACT**3
    if isinstance(problem, Coupled) and small and held is None:
        work = columns * (
            problem.cells.A.size
            + problem.cells.weight.size
            + problem.cells.place.shape[1] * len(problem.cells.base) * 8.0
        )
        if work <= WORK:
            variance, between = _inverted(problem, found, firm)
            return variance, "", between
    near = found.near
    if near is None:
        near = found.blocks, problem.coarse(found.points, found.x, found.blocks)
    if isinstance(near[1], Banded):
        bound = csc_array((problem.count, 0)) if held is None else _bound(held, found.blocks, problem.count)
        exact = near[1].variance(csc_array(hstack([firm, bound])))
        if exact is not None:
            return np.where(systems.label < systems.count, exact, np.nan), "", np.zeros(problem.count)
        near = found.blocks, Joined.coarse(problem, found.points, found.x, found.blocks)
    return *_probed(problem, found, near, loose, datum, held), np.zeros(problem.count)


def _bound(held: Held, blocks: Blocks, count: int) -> csc_array:
    """What is held at bounds, as directions times the root of more than the precision of the data."""
    number = np.arange(len(held.real))
    firm = np.sqrt(STIFF[1] * blocks.diagonal(count)[held.real])
    entries = np.concatenate([held.cosine * firm, held.sine * firm])
    return csc_array(
        coo_array((entries, (np.r_[held.real, held.imag], np.r_[number, number])), shape=(count, len(number)))
    )


def _weighed(blocks: Blocks, pins: csc_array) -> csc_array:
    """Directions times the root of the data's precision along each."""
    size = pins.multiply(sparse(blocks, pins.shape[0]) @ pins).sum(0) if pins.shape[1] else np.empty(0)
    return csc_array(pins.multiply(np.sqrt(np.asarray(size).ravel())[None]))


# From random probes.


def _probed(
    problem: Joined, found: Minimum, made: tuple[Blocks, Coarse], hold: csc_array, datum: Datum, held: Held | None
) -> tuple[np.ndarray, str]:
    systems = found.systems
    good = np.append(found.status != Status.DIVERGED, False)
    systems = Systems(np.where(good[systems.label], systems.label, systems.count), systems.count)
    active = systems.label < systems.count
    blocks, common = made
    inverse = blocks.inverse(np.zeros(problem.count))
    near, matrix = common.preconditioner(inverse.__matmul__), common.matrix(blocks)
    firmly = _holding(problem.count, inverse, common, near, hold)
    own = np.where(active, inverse.diagonal(problem.count) + common.diagonal(problem.count), 0.0)
    unit = np.sqrt(np.where(own > 0, own, 1.0))  # a delay's error in seconds is nothing beside a phase's
    base = [np.maximum(part.sum(1), 1e-300) for part in problem.split(own)]
    rng, doubt = np.random.default_rng(0), np.inf
    tolerance, most = SOLVES[any(2 * len(c.retract.gains) < c.count for c in problem.classes)]
    known = np.zeros(problem.count)
    known[datum.reals] = np.inf
    known[datum.pins.indices] += 1
    pinned, zero = (
        np.concatenate([test(part).any(1) for part in problem.split(known)]) for test in (np.sign, np.isinf)
    )
    alike = _alike(problem)
    alike = np.where(pinned, alike + alike.max(initial=0) + 1, alike)  # those of the reference have other errors
    some = np.concatenate([part.any(1) for part in problem.split(own)]) & ~zero
    ratios: list[np.ndarray] = []
    product = within(held, lambda v: problem.product(found.points, v) + hold @ (hold.T @ v))

    def solved(b: np.ndarray) -> np.ndarray:
        return solve(product, b, firmly, systems, tolerance, np.zeros(systems.count), most).x

    while len(ratios) < PROBES[1] and not (len(ratios) >= PROBES[0] and doubt <= ACCURACY):
        z = np.where(active, rng.choice([-1.0, 1.0], problem.count), 0.0)
        # null directions are taken out first: H x = H M^-1 z has a solution without them
        free = solved(product(firmly(z / unit)))
        rest = problem.split(z * unit * (solved(matrix(free) + hold @ (hold.T @ free)) - near(z / unit)))
        ratios.append(np.concatenate([1 + part.sum(1) / under for part, under in zip(rest, base, strict=True)]))
        if len(ratios) > 1:
            ratio, doubt = shrunk(np.array(ratios), alike, some)
    result, start = [], 0
    for part in problem.split(own):
        result.append((part * np.maximum(ratio[start : start + len(part), None], 0.25)).ravel())
        start += len(part)
    text = f"errors are estimated from {len(ratios)} random probes, to about {100 * max(doubt, 0.01):.0f} %"
    return np.where(active, np.concatenate(result), np.nan), text


def _holding(
    count: int, inverse: Blocks, common: Coarse, near: Callable[[np.ndarray], np.ndarray], hold: csc_array
) -> Callable[[np.ndarray], np.ndarray]:
    """The inverse of M + hold hold^T, given `near`, that of M (Woodbury's formula): what is held stiffly would otherwise be all that
    a solve sees in its residual."""
    if not hold.shape[1]:
        return near
    (W, more), rows = common.directions(count), hold.tocsr()
    held = sparse(inverse, count) @ rows + W @ (W.T @ rows).multiply(more[:, None]).tocsr()
    inner = splu(csc_array(eye_array(hold.shape[1]) + hold.T @ held))

    def apply(r: np.ndarray) -> np.ndarray:
        x = near(r)
        return np.asarray(x - held @ inner.solve(hold.T @ x))

    return apply


def _alike(problem: Joined) -> np.ndarray:
    """Numbers of what is alike in all stations, for the unknowns of all classes without intervals."""
    parts, start = [], 0
    for c in problem.classes:
        parts.append(start + c.kind)
        start += c.kind.max(initial=-1) + 1
    return np.concatenate(parts)


# Exactly.


def _inverted(problem: Coupled, found: Minimum, hold: csc_array) -> tuple[np.ndarray, np.ndarray]:
    systems: Systems = found.systems
    order = np.argsort(systems.label, kind="stable")
    starts = np.searchsorted(systems.label[order], np.arange(systems.count + 1))
    place = np.empty(problem.count, int)
    place[order] = np.arange(problem.count)
    sizes = np.diff(starts)
    base = np.concatenate([[0], np.cumsum(sizes**2)])
    matrices = np.zeros(int(base[-1]))

    def add(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        system = systems.label[rows]
        good = (system == systems.label[columns]) & (system < systems.count)
        s, r, c = system[good], place[rows[good]], place[columns[good]]
        at = base[s] + (r - starts[s]) * sizes[s] + c - starts[s]
        low, high = (int(at.min()), int(at.max()) + 1) if at.size else (0, 0)
        matrices[low:high] += np.bincount(at - low, values[good], high - low)

    _columns(problem, found, add)
    rows = csr_array(hold)
    variance, between = np.full(problem.count, np.nan), np.zeros(problem.count)
    of = np.repeat(np.arange(len(problem.classes)), [c.size for c in problem.classes])
    half = _roots(found.blocks, problem.count)
    alone = 1 if sizes[: systems.count].max(initial=0) <= SHARED else None
    with threadpool_limits(alone):
        for s in range(systems.count):
            own = order[starts[s] : starts[s + 1]]
            H = matrices[base[s] : base[s + 1]].reshape(len(own), len(own))
            W = rows[own]
            H = (H + H.T) / 2 + (W @ W.T).toarray() + np.diag(problem.prior.precision[own])
            S = half[own][:, own]
            P, null = _pseudo_inverse(S @ (S @ H).T)
            variance[own] = np.diagonal(S.T @ (S.T @ P).T)
            between[own] = np.diagonal(H) * ((S.T @ _between(null, of[own])) ** 2).sum(1)
    return variance, between


def _between(null: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(n, m): of null directions (n, k), orthonormal, those that no class (number `of` (n,)) has by itself."""
    alone = [np.zeros((null.shape[1], 0))]
    for c in np.unique(of):
        _, s, v = np.linalg.svd(null[of != c], full_matrices=True)
        alone.append(v[np.append(s, np.zeros(len(v) - len(s))) < MIXED].T)
    u, s, _ = np.linalg.svd(np.concatenate(alone, 1), full_matrices=True)
    return np.asarray(null @ u[:, np.count_nonzero(s > MIXED) :])


def _pseudo_inverse(P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a positive semi-definite matrix with eigenvalues of order 1, or 0; and an orthonormal basis of its null directions."""
    factor, pivots, rank, _ = lapack.dpstrf(P, lower=1, tol=NULL)
    n, Q = len(P), np.zeros((len(P), 0))
    if rank < n:
        lower, below = factor[:rank, :rank], factor[rank:, :rank]
        back, _ = lapack.dtrtrs(lower, np.ascontiguousarray(below.T), lower=1, trans=1)
        Q = np.zeros((n, n - rank))
        Q[pivots[:rank] - 1], Q[pivots[rank:] - 1] = -back, np.eye(n - rank)
        Q = np.linalg.qr(Q)[0]
    factor, fault = lapack.dpotrf(P + Q @ Q.T, lower=1)
    if fault:
        return np.full_like(P, np.nan), Q
    inverse, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(inverse)
    return np.asarray(inverse + np.tril(inverse, -1).T - Q @ Q.T), Q


def _columns(problem: Coupled, found: Minimum, add: Callable[[np.ndarray, np.ndarray, np.ndarray], None]) -> None:
    """All of J^T J, entries by `add(rows, columns, values)`: one product per unknown of an interval of each class, for all of
    its intervals at once, with adjoints kept apart cell by cell."""
    cells, points = problem.cells, found.points
    atoms, count = len(cells.base), cells.place.shape[1]
    apart = cells._replace(
        base=np.arange(atoms) * count, grid=np.zeros(atoms, np.int64), place=np.arange(count)[None].copy()
    )
    at = (cells.base[:, None] + cells.place[cells.grid]).ravel()
    value = np.ascontiguousarray(points.value[:, at])
    taken = points.matrix[np.concatenate([at, at + points.value.shape[1]])].tocoo()
    real = np.concatenate([c.cell for c in problem.classes[:1]]).size
    inside = (taken.row % count < real) & (taken.data != 0)
    row, unknown, slope = taken.row[inside], taken.col[inside], taken.data[inside]
    start = 0
    for c in problem.classes:
        column = c.cell[row % count]
        for m in range(c.count):
            one = np.zeros(problem.count)
            one[start + m * c.intervals : start + (m + 1) * c.intervals] = 1
            change = np.ascontiguousarray(points.change(one)[:, at])
            if not change.any():
                continue
            parts = in_turns(coupling.curvature, problem.table, problem.stems, apart, value, change)
            weighed = sum(parts).ravel()[row] * slope
            there = np.flatnonzero(weighed)
            add(unknown[there], start + m * c.intervals + column[there], weighed[there])
        start += c.size


def _roots(blocks: Blocks, count: int) -> csr_array:
    """S with S^T S the inverse of the blocks, as one sparse matrix. Along what is null in a block, such as the phase that all stations
    of it have in common, only the diagonal counts: a pivot there shall be null, too."""
    roots = []
    for matrix in blocks.matrices:
        d = np.diagonal(matrix, axis1=1, axis2=2)
        scale = np.where(d > 0, 1 / np.sqrt(np.where(d > 0, d, 1)), 0.0)
        w, v = np.linalg.eigh(matrix * scale[:, :, None] * scale[:, None])
        unit = (v / np.sqrt(np.where(w > SINGULAR, w, 1.0))[:, None]) @ v.transpose(0, 2, 1)
        roots.append(unit * scale[:, None])
    return sparse(Blocks(blocks.unknowns, roots), count)
