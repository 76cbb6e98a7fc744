"""Phases that have turned far round are brought back: beyond 1e12 rad little of a phase is left of the number that holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .coupled import Points

FAR = 100.0
"""Where no fit of phases leads that knows them: a gain near zero while others were wrong sent them there."""

SAME, MOVED = 1e-3, 0.1
"""Of an atom's size: less than the first is no change, more than the second one is."""

TURN = 2 * np.pi


def unwound(points: Callable[[np.ndarray], Points], x: np.ndarray) -> np.ndarray:
    """The unknowns x, without whole turns of those that are far from zero, where no atom changes by these but all do by less."""
    far = np.abs(x) > FAR
    if not far.any():
        return x
    near = np.where(far, x - TURN * np.round(x / TURN), x)
    given = points(x)
    here, there, beyond = ([1, 1j] @ p.value for p in (given, points(near), points(near + far)))
    size = np.abs(here)
    depends = given.slope != 0

    def unknowns(of: np.ndarray) -> np.ndarray:
        return np.bincount(given.index[depends & of[:, None]], minlength=len(x)) > 0

    same, moved = np.abs(there - here) <= SAME * size, np.abs(beyond - there) > MOVED * size
    return np.where(far & ~unknowns(~same) & unknowns(moved), near, x)
