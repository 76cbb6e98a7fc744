"""What is known of parameters beside the data: bounds that a fit keeps within at every step, and Gaussian priors.

A prior is one more real datum per unknown, (x - mean) * sqrt(precision): it enters chi2, the normal equations, the degrees
of freedom and the errors like any other. Bounds make the step an active-set one: unknowns that lie at a bound and would leave
it are held, those that the step would carry across are taken to the bound and the others solved again (Bertsekas 1982, SIAM J.
Control Optim. 20, 221; damping rejects what this gets wrong). Bounds on the modulus of a complex unknown do the same to
its radial part. Errors are those of the unknowns that are not held.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ..algebra.linear import damped_step
from ..algebra.simd import KERNEL, LANES, add, load, splat, store

PASSES = 6
"""Most times that a step is solved again with more unknowns held."""

TOUCHING = 1e-12
"""Relative distance from a bound that counts as none."""


class Bounds(NamedTuple):
    """Bounded unknowns (m,): `lower` <= x[unknown] <= `upper`, or the same for the modulus of x[unknown] + i x[unknown + 1]
    where `modulus`."""

    unknown: np.ndarray
    modulus: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Prior(NamedTuple):
    """Mean and precision (1 / variance; 0 is no prior) of every unknown, (n, S), or (0, S) where there are none."""

    mean: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """Bounds and priors of the unknowns of a problem."""

    bounds: Bounds
    prior: Prior

    @classmethod
    def none(cls, intervals: int) -> Constraints:
        """Nothing is known."""
        number, empty = np.empty(0), np.empty((0, intervals))
        return cls(Bounds(np.empty(0, np.int64), np.empty(0, np.bool_), number, number), Prior(empty, empty))

    def local(self, unknowns: np.ndarray, count: int) -> Constraints:
        """The same for a subset of the unknowns (their numbers, of `count` in all)."""
        place = np.full(count, -1)
        place[unknowns] = np.arange(len(unknowns))
        number = place[self.bounds.unknown]
        bounds = Bounds(*(np.ascontiguousarray(a[number >= 0]) for a in (number, *self.bounds[1:])))
        return Constraints(bounds, Prior(*(a[unknowns] for a in self.prior)) if len(self.prior.mean) else self.prior)


@kernel(**KERNEL)
def clip(bounds, x):
    """Move x (n, S) into the bounds, and onto a bound from within rounding errors of it."""
    for b in range(bounds.unknown.shape[0]):
        p = bounds.unknown[b]
        for v in range(x.shape[1]):
            if bounds.modulus[b]:
                size = np.hypot(x[p, v], x[p + 1, v])
                wanted = min(max(size, bounds.lower[b]), bounds.upper[b])
                if size == 0.0:
                    x[p, v] = wanted
                elif wanted != size:
                    x[p, v] *= wanted / size
                    x[p + 1, v] *= wanted / size
            else:
                value, low, high = x[p, v], bounds.lower[b], bounds.upper[b]
                if value <= low + TOUCHING * abs(low):
                    x[p, v] = low
                elif value >= high - TOUCHING * abs(high):
                    x[p, v] = high


@kernel(**KERNEL)
def add_prior(prior, x, H, g, chi2):
    """Add the priors' part, at x, to H (packed), g and chi2 (1)."""
    for i in range(prior.mean.shape[0]):
        away, weight = load(x, i) - load(prior.mean, i), load(prior.precision, i)
        add(H, (i * (i + 1)) // 2 + i, weight)
        add(g, i, weight * away)
        add(chi2, 0, weight * away * away)


@kernel(**KERNEL)
def _at(p, q):
    return (p * (p + 1)) // 2 + q if p >= q else (q * (q + 1)) // 2 + p


@kernel(**KERNEL)
def _turn(H, p, c, s, v, n):
    """Lane v of H in the basis where the pair p, p + 1 is the part along (c, s) and the part across."""
    q = p + 1
    for k in range(n):
        if k != p and k != q:
            x, y = H[_at(p, k), v], H[_at(q, k), v]
            H[_at(p, k), v], H[_at(q, k), v] = c * x + s * y, c * y - s * x
    a, b, d = H[_at(p, p), v], H[_at(p, q), v], H[_at(q, q), v]
    H[_at(p, p), v] = c * c * a + 2 * c * s * b + s * s * d
    H[_at(q, q), v] = s * s * a - 2 * c * s * b + c * c * d
    H[_at(p, q), v] = c * s * (d - a) + (c * c - s * s) * b


@kernel(**KERNEL)
def _turn_pair(x, p, c, s, v):
    """Lane v of a vector x likewise; (c, -s) undoes it."""
    x[p, v], x[p + 1, v] = c * x[p, v] + s * x[p + 1, v], c * x[p + 1, v] - s * x[p, v]


@kernel(**KERNEL)
def _direction(bounds, b, x, v):
    """Value that is bounded, and the unit vector of the pair along which it grows."""
    p = bounds.unknown[b]
    if not bounds.modulus[b]:
        return x[p, v], 1.0, 0.0
    size = np.hypot(x[p, v], x[p + 1, v])
    return (size, x[p, v] / size, x[p + 1, v] / size) if size > 0.0 else (size, 1.0, 0.0)


@kernel(**KERNEL)
def _leaves(bounds, b, value, slope):
    """Whether a bounded value lies at a bound and chi2, whose derivative is `slope`, falls beyond it."""
    low = slope > 0.0 and value <= bounds.lower[b] + TOUCHING * abs(bounds.lower[b])
    return low or (slope < 0.0 and value >= bounds.upper[b] - TOUCHING * abs(bounds.upper[b]))


@kernel(**KERNEL)
def _way(bounds, b, value, step):
    """The step to the bound that `step` crosses (NaN: none); along a modulus as `retract` moves it."""
    wanted = min(max(value + step, bounds.lower[b]), bounds.upper[b])
    if wanted == value + step or not np.isfinite(step):
        return np.nan
    if bounds.modulus[b] and wanted > 0.0 and value > 0.0:
        return value * np.log(wanted / value)
    return wanted - value


@kernel(**KERNEL)
def _without(H, g, p, v, n, step):
    """Take unknown p out of lane v of the system, moved by `step`."""
    for k in range(n):
        if k != p:
            g[k, v] += H[_at(p, k), v] * step
        H[_at(p, k), v] = 0.0
    g[p, v] = 0.0


@kernel(**KERNEL)
def bounded_step(bounds, x, H, g, damping, delta, decrease, a, scale):
    """`damped_step` from x that stays within bounds."""
    n, m = g.shape[0], bounds.unknown.shape[0]
    full, slope = H.copy(), g.copy()
    value, c, s = np.empty((m, LANES)), np.empty((m, LANES)), np.empty((m, LANES))
    held = np.full((m, LANES), np.nan)  # the step of those that are held
    for b in range(m):
        p = bounds.unknown[b]
        for v in range(LANES):
            value[b, v], c[b, v], s[b, v] = _direction(bounds, b, x, v)
            if bounds.modulus[b]:
                _turn(full, p, c[b, v], s[b, v], v, n)
                _turn_pair(slope, p, c[b, v], s[b, v], v)
            if _leaves(bounds, b, value[b, v], slope[p, v]):
                held[b, v] = 0.0
    own, right = np.empty_like(full), np.empty_like(slope)
    more, turn = True, 0
    while more and turn < PASSES:
        own[:], right[:] = full, slope
        for b in range(m):
            for v in range(LANES):
                if not np.isnan(held[b, v]):
                    _without(own, right, bounds.unknown[b], v, n, held[b, v])
        damped_step(own, right, damping, delta, decrease, a, scale)
        more, turn = False, turn + 1
        for b in range(m):
            p = bounds.unknown[b]
            for v in range(LANES):
                if np.isnan(held[b, v]):
                    held[b, v] = _way(bounds, b, value[b, v], delta[p, v])
                    more |= not np.isnan(held[b, v])
                if not np.isnan(held[b, v]):
                    delta[p, v] = held[b, v]
    _predict(full, slope, delta, decrease)
    for b in range(m):
        if bounds.modulus[b]:
            for v in range(LANES):
                _turn_pair(delta, bounds.unknown[b], c[b, v], -s[b, v], v)


@kernel(**KERNEL)
def _predict(H, g, delta, decrease):
    """How far chi2 changes along delta, to second order, as a positive number."""
    total = splat(0.0)
    for i in range(g.shape[0]):
        row = load(g, i) * 2.0 + load(H, _at(i, i)) * load(delta, i)
        for k in range(i):
            row += load(H, _at(i, k)) * load(delta, k) * 2.0
        total += row * load(delta, i)
    store(decrease, 0, total)
    for v in range(LANES):
        decrease[0, v] = abs(decrease[0, v])


@kernel(**KERNEL)
def hold(bounds, x, H, g, held):
    """Take the unknowns that are at their bounds out of H, before rank and errors are worked out; held (m, LANES).

    H is in coordinates along and across the complex unknowns (`linear.turn`), g is not.
    """
    n = g.shape[0]
    spare = np.zeros_like(g)
    for b in range(bounds.unknown.shape[0]):
        p = bounds.unknown[b]
        for v in range(LANES):
            value, c, s = _direction(bounds, b, x, v)
            slope = c * g[p, v] + (s * g[p + 1, v] if bounds.modulus[b] else 0.0)
            held[b, v] = _leaves(bounds, b, value, slope)
            if held[b, v]:
                _without(H, spare, p, v, n, 0.0)


@kernel(**KERNEL)
def pin(H, pins):
    """Take the unknowns where `pins` (n, LANES) out of H."""
    spare = np.zeros((pins.shape[0], LANES))
    for p in range(pins.shape[0]):
        for v in range(LANES):
            if pins[p, v]:
                _without(H, spare, p, v, pins.shape[0], 0.0)


@kernel(**KERNEL)
def release(bounds, held, variance):
    """What is held has no error; variance (n, LANES) in the coordinates of `hold`."""
    for b in range(bounds.unknown.shape[0]):
        for v in range(LANES):
            if held[b, v]:
                variance[bounds.unknown[b], v] = 0.0
