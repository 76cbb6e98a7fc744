"""The diagonal of the inverse of a normal matrix that exists as products only, from random signs.

For z of random signs, z (A^-1 z) has the diagonal of A^-1 as its mean (Hutchinson 1990, Commun. Stat. Simul. 19, 433). Its ratio to what
the preconditioner says is averaged over unknowns that are alike, as far as their scatter says that they are (James & Stein 1961).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .cg import Blocks, Systems, solve

PROBES = 4, 16
"""At least, at most."""

ACCURACY = 0.05
"""Of errors: probes are added until their scatter says so."""

TOLERANCE, MOST = 0.01, 300
"""Residual of the solution for a probe, and its most products."""


def inverse_diagonal(
    product: Callable[[np.ndarray], np.ndarray], blocks: Blocks, systems: Systems, alike: np.ndarray
) -> tuple[np.ndarray, int, float]:
    """Variances (unknowns,), NaN where an unknown belongs to no system; the number of probes, and the relative accuracy of errors.

    `alike` (unknowns,): numbers of the groups over which ratios are averaged.
    """
    count = len(alike)
    inverse = blocks.inverse(np.zeros(count))
    active = systems.label < systems.count
    own = np.where(active, inverse.diagonal(count), 0.0)
    unit, seen = np.sqrt(np.where(own > 0, own, 1.0)), own > 0
    rng, doubt = np.random.default_rng(0), np.inf
    taken: list[np.ndarray] = []
    none = np.zeros(systems.count)

    def solved(b: np.ndarray) -> np.ndarray:
        return solve(product, b, inverse.__matmul__, systems, TOLERANCE, none, MOST).x

    ratio = np.ones(count)
    while len(taken) < PROBES[1] and not (len(taken) >= PROBES[0] and doubt <= ACCURACY):
        z = np.where(seen, rng.choice([-1.0, 1.0], count), 0.0)
        taken.append(
            np.where(
                seen, z * solved(blocks @ solved(product(inverse @ (z / unit)))) * unit / np.where(seen, own, 1), 0
            )
        )
        if len(taken) >= 2:
            ratio, doubt = shrunk(np.array(taken), alike, seen)
    return np.where(seen, own * np.maximum(ratio, 0.25), np.nan), len(taken), doubt


def shrunk(ratios: np.ndarray, alike: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean of probes (probes, unknowns), drawn to that of its group as far as scatter explains the difference; and the relative
    standard error of the root of it (rms)."""
    number, group = len(ratios), np.where(seen, alike, 0)
    members = np.maximum(np.bincount(group, seen), 1)
    mean, scatter = ratios.mean(0), ratios.var(0, ddof=1) / number
    common = np.bincount(group, mean * seen) / members
    noise = np.bincount(group, scatter * seen) / members
    spread = np.bincount(group, (mean - common[group]) ** 2 * seen) / members
    real = np.maximum(spread - noise, 0)
    trust = real / np.maximum(real + noise, 1e-300)
    result = common + 0.0
    whole = result[group] + trust[group] * (mean - common[group])
    left = trust * noise + noise / members
    if not seen.any():
        return whole, 0.0
    known = common > 0
    doubt = np.where(known, left / np.where(known, common, 1) ** 2, 1.0) / 4
    return whole, float(np.sqrt(doubt[group][seen].mean()))
