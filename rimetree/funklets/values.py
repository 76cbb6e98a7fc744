"""Values of funklets on a grid of cells, over solution intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import At, Funklet

FEW = 64
"""Coefficients of a linear funklet; of more, only those are looked up that are not multiplied by 0."""


def cells(
    time: np.ndarray, freq: np.ndarray, time_limits: np.ndarray, freq_limits: np.ndarray, each: tuple[bool, bool]
) -> At:
    """Cells (T,) and (F,), with limits (T or 1, 2) and (F or 1, 2) of their intervals, as (interval, cell) per axis.

    `each`: whether every cell of an axis counts as an interval, so that it may have coefficients of its own.
    """
    t, f = (v.reshape((-1, 1) if own else (1, -1)) for v, own in zip((time, freq), each, strict=True))
    low_t, high_t = (v.reshape((-1, 1) if each[0] else (1, -1))[..., None, None] for v in time_limits.T)
    low_f, high_f = (v.reshape((-1, 1) if each[1] else (1, -1)) for v in freq_limits.T)
    return At(t[..., None, None], f[None, None], (low_t, high_t), (low_f, high_f))


def on_cells(
    funklet: Funklet,
    coefs: np.ndarray,
    time: np.ndarray,
    freq: np.ndarray,
    time_limits: np.ndarray,
    freq_limits: np.ndarray,
    intervals: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Values (n, T or 1, F or 1) in cells at `time` (T,) and `freq` (F,), from coefficients (n, i, j, nt, nf) of solution intervals.

    Limits (nt, 2) and (nf, 2) in s and Hz; `intervals`: that of every cell, (T,) and (F,).
    """
    shape, (nt, nf) = coefs.shape[1:3], coefs.shape[3:]
    own = [coefs.shape[3] > 1, coefs.shape[4] > 1]
    t, f = intervals
    picked = coefs[..., t, :] if own[0] else coefs
    picked = picked[..., f] if own[1] else picked
    if funklet.constant(shape):
        return picked[:, 0, 0]
    at = cells(
        time,
        freq,
        time_limits[t] if nt > 1 else time_limits,
        freq_limits[f] if nf > 1 else freq_limits,
        (own[0], own[1]),
    )
    if funklet.linear and shape[0] * shape[1] > FEW:
        which, by = funklet.local(shape, at)
        i = t.reshape(-1, 1, 1, 1) if own[0] else 0
        j = f.reshape(-1, 1) if own[1] else 0
        flat = coefs.reshape(len(coefs), -1, nt, nf)
        value: Any = sum(flat[:, which[..., r], i, j] * by[..., r] for r in range(by.shape[-1]))
    else:
        value = _of_all(funklet, picked, shape, at)
    n, st, jt, sf, jf = np.broadcast_shapes(value.shape, (1, 1, 1, 1, 1))
    return np.asarray(value.reshape(n, st * jt, sf * jf))


def _of_all(funklet: Funklet, picked: np.ndarray, shape: tuple[int, int], at: At) -> np.ndarray:
    """From all coefficients (n, i, j, T, F) of each cell."""
    stacked = picked.reshape(picked.shape[0], shape[0] * shape[1], picked.shape[3], 1, picked.shape[4], 1)
    return np.asarray(funklet.combine(shape, list(stacked.swapaxes(0, 1)), funklet.prepare(shape, at)))
