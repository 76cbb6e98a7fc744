"""Vectors of eight float64 inside numba kernels: eight solution intervals that take every step together.

A kernel written on `Vec` reads like scalar code, and every operation is one vector instruction (or two, or four, on
narrower processors) whatever the compiler can prove about aliasing. Arrays that hold vectors have a last axis of
LANES contiguous numbers; `load(array, i)` and `store(array, i, x)` take the i-th vector in memory order and check no
bounds.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import Any

import numpy as np

from ...kernels import Intrinsic, kernel

LANES = 8
"""Intervals per vector."""

KERNEL = {"error_model": "numpy", "boundscheck": False}
"""How kernels on vectors are compiled; they say themselves what may be reordered."""

INLINE = {**KERNEL, "forceinline": True}
"""For functions called in the innermost loops."""

load, store, load_from, store_from, splat, root, total, choose = (
    Intrinsic(__name__, name)
    for name in ("load", "store", "load_from", "store_from", "splat", "root", "total", "choose")
)
"""Instructions; `simd_code` says what each does."""


@kernel(**INLINE)
def add(array, i, x):
    """array[i] += x."""
    store(array, i, load(array, i) + x)


@kernel(**INLINE)
def inverse(x):
    """1 / x where x > 0, else 0."""
    return choose(x, 1.0 / x, splat(0.0))


@kernel(**INLINE)
def vectors(count):
    """Room (count, LANES) for vectors: kernels allocate at whole lines of the cache."""
    return np.empty((count, LANES))


class Room:
    """Memory for vectors, by name and shape, kept for whoever needs the same next: fresh memory costs more than most work on it."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[int, ...]], np.ndarray] = {}

    def zeros(self, name: str, *shape: int) -> np.ndarray:
        """`shape` vectors of zeros."""
        array = self.any(name, *shape)
        array.fill(0.0)
        return array

    def any(self, name: str, *shape: int) -> np.ndarray:
        """`shape` vectors of no matter what."""
        key = name, shape
        if key not in self._kept:
            self._kept[key] = aligned((*shape, LANES))
        return self._kept[key]


def aligned(shape: tuple[int, ...], kind: type[np.floating[Any]] = np.float64) -> np.ndarray:
    """Zeros (..., LANES), aligned like those of `vectors`."""
    size, bytes_ = int(np.prod(shape)), np.dtype(kind).itemsize
    room = np.zeros(size + 64 // bytes_, kind)
    skip = -room.ctypes.data % 64 // bytes_
    return room[skip : skip + size].reshape(shape)
