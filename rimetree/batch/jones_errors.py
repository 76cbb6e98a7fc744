"""Errors of matrices that solved Parms make, by differences: what an element changes when a Parm moves by its error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..plan.subset import paths
from ..ring import Plane
from .cascade import Cascade
from .state import ParmState

PART = 1e-3
"""Of its error, by which a Parm is moved: little enough to be linear."""

MOST = 16
"""Coefficients per matrix beyond which nothing is worked out."""


def errors(
    cascade: Cascade, number: int, tile: Any, solved: Sequence[int], values: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """1 sigma of every element of a family, whose `values` (members or 1, slots or 1, channels or 1) are those at the solution.

    NaN where an element depends on several coefficients, whose covariance is not kept, on none, or on one without an error.
    """
    variance = [np.full(v.shape, np.nan) for v in values]
    changed = [np.zeros(v.shape, int) for v in values]
    moves = list(_moves(cascade, number, solved))
    for parm, members, i, j in moves if len(moves) <= MOST else ():
        kept = parm.coefs[members, i, j].copy()
        step = PART * np.nan_to_num(parm.errors[members, i, j], nan=0.0, posinf=0.0)
        parm.coefs[members, i, j] = kept + step
        tensor = cascade.tensors(tile)[number]
        parm.coefs[members, i, j] = kept
        for e, element in enumerate(tensor.elements):
            if isinstance(element, Plane):
                change = np.abs(np.asarray(element.array) - values[e]) / PART
                variance[e] = np.where(change > 0, change**2, variance[e])
                changed[e] = changed[e] + (change > 0)
    return [np.where(count == 1, np.sqrt(v), np.nan) for v, count in zip(variance, changed, strict=True)]


def _moves(cascade: Cascade, number: int, solved: Sequence[int]) -> Iterator[tuple[ParmState, np.ndarray, int, int]]:
    """Coefficients that move together: each member of the family sees one of each set."""
    for n, path in paths(cascade.families, number, np.arange(cascade.families[number].size), solved):
        parm = cascade.state.parms[n]
        members = np.unique(path[parm.fitted[path]])
        if members.size:
            yield from ((parm, members, i, j) for i, j in np.ndindex(parm.coefs.shape[1:3]))
