"""Visibilities of a sky model on the rows of a tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..solve.algebra.threads import in_turns
from .degrid import degrid
from .image import Image
from .kernel import UNROLLED, sum_sources
from .model import LIGHT, SkyModel

ROTATION = 7.292115e-5
"""Angular velocity of the Earth, rad/s."""

TOLERANCE = 1e-3
"""By how many metres UVW may differ from differences of stations to be taken for these."""

STOKES = {
    "I": (1, 0, 0, 0), "Q": (0, 1, 0, 0), "U": (0, 0, 1, 0), "V": (0, 0, 0, 1),
    "XX": (1, 1, 0, 0), "XY": (0, 0, 1, 1j), "YX": (0, 0, 1, -1j), "YY": (1, -1, 0, 0),
    "RR": (1, 0, 0, 1), "RL": (0, 1, 1j, 0), "LR": (0, 1, -1j, 0), "LL": (1, 0, 0, -1),
}  # fmt: skip
"""Correlations in terms of I, Q, U, V: as `Meq.PointSource`, without factor 1/2."""


def predict(
    sky: SkyModel, tile: Any, centre: np.ndarray, baselines: Sequence[tuple[Any, Any]], sign: int, smear: bool
) -> np.ndarray:
    """Visibilities (nrow, nchan, ncorr) complex64 of all sources, summed, on the rows of a tile.

    V = sum of B shape exp(sign 2 pi i nu/c (u l + v m + w (n - 1))), with UVW as stored; see `Meq.PointSource`,
    `Meq.PhaseDelay`, `Meq.GaussianShape` and `Meq.Smearing` for the formulas. `centre` (ra, dec) in rad; `baselines` are the
    pairs of antennas of the rows. Raises ValueError where a correlation has no expression in Stokes parameters.
    """
    unknown = [corr for corr in tile.corrs if corr not in STOKES]
    if unknown:
        raise ValueError(f"correlation {unknown[0]} cannot be predicted from Stokes parameters")
    out = np.zeros(tile.shape, np.complex64)
    uvw, pairs = stations(tile.uvw, baselines)
    brightness = sky.brightness(tile.freq)
    used = [k for k in range(4) if brightness[k].any()]
    if not used:
        return out
    order, padding = np.argsort(~sky.points, kind="stable"), -len(sky) % UNROLLED
    order = np.concatenate([order, np.repeat(order[-1:], padding)])
    stokes = np.ascontiguousarray(brightness[used][:, order], np.float32)
    stokes[:, len(sky) :] = 0
    mix = np.array([[STOKES[corr][k] for k in used] for corr in tile.corrs], np.complex64)
    lmn = np.ascontiguousarray(sign * sky.lmn(centre)[order])
    rows, waves = np.ascontiguousarray(tile.rows, np.int32), tile.freq / LIGHT
    smears = _smears(tile, float(centre[1]), smear)
    in_turns(sum_sources, out, uvw, pairs, rows, lmn, waves, stokes, _forms(sky)[order], smears, mix)
    return out


def predict_image(image: Image, tile: Any, sign: int) -> np.ndarray:
    """Visibilities (nrow, nchan, ncorr) complex64 of a model image on the rows of a tile; see `predict` and `degrid`."""
    out = np.zeros(tile.shape, np.complex64)
    there = tile.rows >= 0
    rows, uvw = tile.rows[there], sign * tile.uvw[there]
    weights = image.frequency_weights(tile.freq)
    for values, weight in zip(image.values, weights, strict=True):
        channels = np.flatnonzero(weight)
        for plane, stokes in zip(values, "IQUV", strict=False):
            if not channels.size or not plane.any():
                continue
            wavelengths = uvw[:, None] * (tile.freq[channels, None] / LIGHT)
            found = (
                degrid(plane, image.l, image.m, wavelengths.reshape(-1, 3)).reshape(len(rows), -1) * weight[channels]
            )
            for k, corr in enumerate(tile.corrs):
                factor = STOKES[corr]["IQUV".index(stokes)]
                if factor:
                    out[rows[:, None], channels, k] += (factor * found).astype(np.complex64)
    return out


def stations(uvw: np.ndarray, baselines: Sequence[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Station coordinates (nslot, station, 3) and pairs (baseline, 2) whose differences are uvw (baseline, nslot, 3).

    Where these are not differences of stations, every baseline gets a station of its own, against one at rest.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys(name for pair in baselines for name in pair))}
    pairs = np.array([[names[p], names[q]] for p, q in baselines], np.int64)
    found = np.zeros((uvw.shape[1], len(names), 3))
    there = np.isfinite(uvw).all(-1)
    patterns, which = np.unique(there, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        slots = np.flatnonzero(np.ravel(which) == number)
        for parent, child, b, side in _tree(pairs, pattern, len(names)):
            found[slots, child] = found[slots, parent] + side * uvw[b, slots]
    difference = found[:, pairs[:, 0]] - found[:, pairs[:, 1]] - uvw.transpose(1, 0, 2)
    if np.nanmax(np.abs(difference), initial=0.0) <= TOLERANCE:
        return found, pairs
    own = np.concatenate([np.nan_to_num(uvw.transpose(1, 0, 2)), np.zeros((uvw.shape[1], 1, 3))], 1)
    return own, np.stack([np.arange(len(pairs)), np.full(len(pairs), len(pairs))], 1)


def _tree(pairs: np.ndarray, there: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """Steps (known station, next station, baseline, sign) that reach all stations from one of each connected set."""
    neighbours: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
    for b in np.flatnonzero(there).tolist():
        p, q = pairs[b].tolist()
        neighbours[p].append((q, b, -1))
        neighbours[q].append((p, b, 1))
    steps = []
    reached = [False] * count
    for root in range(count):
        stack = [] if reached[root] else [root]
        reached[root] = True
        while stack:
            station = stack.pop()
            for other, b, side in neighbours[station]:
                if not reached[other]:
                    reached[other] = True
                    stack.append(other)
                    steps.append((station, other, b, side))
    return steps


def _forms(sky: SkyModel) -> np.ndarray:
    """Per source a, b, c of the exponent -(a u^2 + b u v + c v^2) of its shape, and 1 where it has one."""
    major, minor, pa = sky.shape.T
    factor = math.pi**2 / (4 * math.log(2))
    s, c = np.sin(pa), np.cos(pa)
    a = factor * ((major * s) ** 2 + (minor * c) ** 2)
    b = factor * 2 * s * c * (major**2 - minor**2)
    return np.stack([a, b, factor * ((major * c) ** 2 + (minor * s) ** 2), ~sky.points], 1)


def _smears(tile: Any, declination: float, smear: bool) -> np.ndarray:
    """What the kernel needs for smearing, (nslot, nchan + 4)."""
    found = np.zeros((tile.stop - tile.start, tile.freq.size + 4))
    if smear:
        found[:, :-4] = tile.width / LIGHT
        found[:, -4] = tile.interval
        found[:, -3:] = ROTATION * math.cos(declination), ROTATION * math.sin(declination), 1
    return found
