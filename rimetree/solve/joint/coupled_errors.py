"""Errors of a coupled fit: the diagonal of the inverse of the whole normal matrix, all classes free together.

What classes exchange (see `exchange`) is held in the later one, so that its uncertainty is that of the first, and what all stations
have in common at a reference antenna, if there is one (see `datum`). All other null
directions count nothing: the covariance is the pseudo-inverse in the metric of the diagonal blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csc_array, eye_array, hstack
from scipy.sparse.linalg import splu

from ...status import Status
from .assembled import Plan, planned
from .banded import Banded
from .cg import Blocks, Systems, solve
from .coarse import Coarse
from .coupled import Coupled
from .coupled_fit import Minimum, within
from .datum import Datum
from .eliminated import eliminated
from .eliminated_errors import variances as inverted
from .exchange import Exchanges
from .joined import Held, Joined
from .probes import shrunk

EXACT = 1.6e8
"""Numbers of a normal matrix up to which it may be made and inverted (1.3 GB)."""

CHEAP, INVERTING = 2e10, 3
"""Operations that are worth that in any case (half a second); and how often those of factoring the inverse takes."""

PROBES = 2, 24
"""Random probes of larger ones: at least, at most."""

ACCURACY, TOLERABLE = 0.03, 0.05
"""Of errors from probes: they are added until their scatter says so; and what they should reach at last."""

SOLVES = (0.003, 120), (1e-5, 1000)
"""Residuals of probes, which what is held dominates, and products per solve; the second where there is more than gains, since a leakage or
a delay that all stations share may be known a thousand times worse than one by itself, and a solve that stops early takes it for null."""

STIFF = 100.0, 1e4
"""Precision with which exchanges are held, relative to that of the data (errors are right to half of its inverse): for
conjugate gradients, and where a banded matrix is inverted. With more, rounding errors would hide null pivots."""


def variances(
    problem: Joined, found: Minimum, known: Exchanges, datum: Datum, held: Held | None = None
) -> tuple[np.ndarray, str, np.ndarray]:
    """Variance of every unknown (NaN where it stays as it is), what is to be said of it, and by how much each takes part in null
    directions of several classes beyond those that are held: errors leave these out. (Small systems only; else 0.)

    What is exchanged, and the phases of the reference antenna of a datum, are held.

    Where that is not too large the matrix is made and inverted. Else the preconditioner (blocks, and what stations have in common) is
    nearly the inverse, and its diagonal is known. The ratio of the true one to it, much the same in all intervals, is estimated for each
    unknown of a class from random signs (Hutchinson 1990, Commun. Stat. Simul. 19, 433), of which only what the preconditioner misses is
    noise, and drawn to that of other stations as far as noise explains their difference. There are as many probes as the scatter demands;
    where that is more work than inverting, the matrix is made after all.
    """
    good = np.append(found.status != Status.DIVERGED, False)
    systems = Systems(np.where(good[found.systems.label], found.systems.label, len(found.status)), len(found.status))
    hold = csc_array(hstack([_weighed(found.blocks, datum.pins), known.hold]))
    exact = None if held else _Inversion.of(problem, found, systems, hold)
    if exact and exact.work <= CHEAP:
        return exact.variances()
    loose, firm = (csc_array(hold * np.sqrt(stiff)) for stiff in STIFF)
    near = found.near
    if near is None:
        near = found.blocks, problem.coarse(found.points, found.x, found.blocks)
    if isinstance(near[1], Banded):
        bound = csc_array((problem.count, 0)) if held is None else _bound(held, found.blocks, problem.count)
        done = near[1].variance(csc_array(hstack([firm, bound])))
        if done is not None:
            return np.where(systems.label < systems.count, done, np.nan), "", np.zeros(problem.count)
        near = found.blocks, Joined.coarse(problem, found.points, found.x, found.blocks)
    limit = exact.work / exact.problem.effort if exact else np.inf
    guess = _probed(problem, found, systems, near, loose, datum, held, limit)
    if guess or not exact:
        return *guess, np.zeros(problem.count)
    return exact.variances()


@dataclass(frozen=True, slots=True, eq=False)
class _Inversion:
    """Of the whole normal matrix, at a minimum of a problem, as a plan has it."""

    problem: Coupled
    found: Minimum
    plan: Plan
    hold: csc_array

    @classmethod
    def of(cls, problem: Joined, found: Minimum, systems: Systems, hold: csc_array) -> _Inversion | None:
        """None where there are no sums, or the matrix is too large."""
        if not isinstance(problem, Coupled):
            return None
        plan = planned(problem, systems)
        return cls(problem, found, plan, hold) if plan.numbers <= EXACT else None

    @property
    def work(self) -> float:
        """Operations."""
        return self.plan.making + INVERTING * self.plan.factoring

    def variances(self) -> tuple[np.ndarray, str, np.ndarray]:
        """What the function of that name gives."""
        blocks = self.found.blocks
        made = eliminated(self.problem, self.found.points, blocks, self.plan)
        variance, between = inverted(made, blocks, self.hold, self.problem.classes)
        return variance, "", between


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
    size = pins.multiply(blocks.sparse(pins.shape[0]) @ pins).sum(0) if pins.shape[1] else np.empty(0)
    return csc_array(pins.multiply(np.sqrt(np.asarray(size).ravel())[None]))


# From random probes.


def _probed(
    problem: Joined,
    found: Minimum,
    systems: Systems,
    made: tuple[Blocks, Coarse],
    hold: csc_array,
    datum: Datum,
    held: Held | None,
    limit: float,
) -> tuple[np.ndarray, str] | tuple[()]:
    """Nothing where so many products as `limit`, unless that is infinite, would not be enough to become accurate."""
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

    spent = 0

    def solved(b: np.ndarray) -> np.ndarray:
        nonlocal spent
        found = solve(product, b, firmly, systems, tolerance, np.zeros(systems.count), most)
        spent += found.products
        return found.x

    while len(ratios) < PROBES[1] and not (len(ratios) >= PROBES[0] and doubt <= ACCURACY):
        z = np.where(active, rng.choice([-1.0, 1.0], problem.count), 0.0)
        # null directions are taken out first: H x = H M^-1 z has a solution without them
        free = solved(product(firmly(z / unit)))
        rest = problem.split(z * unit * (solved(matrix(free) + hold @ (hold.T @ free)) - near(z / unit)))
        ratios.append(np.concatenate([1 + part.sum(1) / under for part, under in zip(rest, base, strict=True)]))
        if len(ratios) > 1:
            ratio, doubt = shrunk(np.array(ratios), alike, some)
            times = max((doubt / ACCURACY) ** 2, 1)
            after = doubt * np.sqrt(len(ratios) / PROBES[1])
            if limit < np.inf and (after > TOLERABLE or spent * (times - 1) > limit):
                return ()
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
    held = inverse.sparse(count) @ rows + W @ (W.T @ rows).multiply(more[:, None]).tocsr()
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
