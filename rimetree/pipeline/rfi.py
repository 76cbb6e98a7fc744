"""Outliers among visibilities."""

from __future__ import annotations

from typing import Any

import numpy as np

SAMPLES = 10
"""Unflagged samples that a baseline must have in a tile before any is called an outlier."""


def outliers(tile: Any, column: str, threshold: float) -> int:
    """Flag samples of a tile whose amplitude is more than `threshold` robust sigmas above the median of their baseline.

    Per baseline, correlation and scan; sigma = 1.4826 times the median absolute deviation. A hit in one correlation flags
    all. Returns how many samples (of all correlations) were flagged.
    """
    values = tile.columns[column]
    hits = np.zeros(values.shape[:2], bool)
    scans = tile.group.scan[tile.start : tile.stop]
    for scan in np.unique(scans):
        rows = tile.rows[:, scans == scan]
        for of_baseline in rows:
            own = of_baseline[of_baseline >= 0]
            if own.size:
                hits[own] |= _hits(values[own], tile.flags[own] != 0, threshold)
    fresh = hits[..., None] & (tile.flags == 0)
    tile.flags[fresh] = 1
    return int(fresh.sum())


def _hits(values: np.ndarray, bad: np.ndarray, threshold: float) -> np.ndarray:
    """(rows, channels) True where some correlation of (rows, channels, correlations) is an outlier."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(values)
    size[bad | ~np.isfinite(size)] = np.nan
    flat = size.reshape(-1, size.shape[-1])
    found = np.zeros(flat.shape, bool)
    for c in range(flat.shape[1]):
        good = flat[:, c][np.isfinite(flat[:, c])]
        if good.size < SAMPLES:
            continue
        middle = np.median(good)
        sigma = 1.4826 * np.median(np.abs(good - middle))
        if sigma > 0:
            with np.errstate(invalid="ignore"):
                found[:, c] = flat[:, c] > middle + threshold * sigma
    return np.asarray(found.any(1).reshape(size.shape[:2]))
