"""Parms whose solutions walk from one interval to the next (`smooth=`): what the joint fit of their intervals is to know."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import SolveError
from ..graph.node import Family
from ..plan.atoms import Unknowns
from ..solve.single.lines import Walk
from .known import bounded
from .state import ParmState


def random_walk(
    parms: Mapping[int, ParmState], unknowns: Unknowns, fitted: np.ndarray, offset: int, count: int
) -> Walk | None:
    """The walk of `count` intervals in time from `offset` of Parm families with equal intervals; None where none asks for one."""
    if all(parm.smooth == (None, None) for parm in parms.values()):
        return None
    strength = np.zeros((2, unknowns.count))
    for n, parm in parms.items():
        size = int(np.prod(unknowns.shapes[n])) * unknowns.parts[n]
        for axis, rms in enumerate(parm.smooth):
            if rms is not None:  # the two parts of a complex number share its variance
                strength[axis, unknowns.offsets[n] : unknowns.offsets[n] + size] = unknowns.parts[n] / rms**2
    first = next(iter(parms.values()))
    time, freq = first.time_bounds[offset : offset + count].mean(1), first.freq_bounds.mean(1)
    gap = 1 / abs(np.diff(time)), 1 / abs(np.diff(freq))
    return Walk((time.size, freq.size), gap, strength * fitted)


def refuse_bounds(families: Mapping[int, Family], parms: Mapping[int, ParmState]) -> None:
    """Raises SolveError where a Parm with bounds would be fitted jointly with one that walks."""
    tied = [n for n in parms if parms[n].smooth != (None, None)]
    held = [n for n in parms if bounded(families[n])]
    if tied and held:
        raise SolveError(
            f"Parm {parms[held[0]].names[0]} has bounds, and its solutions are fitted jointly with those of "
            f"{parms[tied[0]].names[0]}, which has smooth=...: these steps know no bounds; use a prior, or leave one of them out"
        )
