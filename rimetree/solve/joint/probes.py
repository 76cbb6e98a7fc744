"""What random signs say of the diagonal of an inverse, with as little noise as can be.

For z of random signs, z (A^-1 z) has the diagonal of A^-1 as its mean (Hutchinson 1990, Commun. Stat. Simul. 19, 433). Its ratio to what
a preconditioner says is averaged over unknowns that are alike, as far as their scatter says that they are (James & Stein 1961).
"""

from __future__ import annotations

import numpy as np


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
