"""Equations whose data lie in memory as they are needed: model and data columns of one layout.

In the commonest equations, gains times models = data, each plane is a correlation of a column, and all columns have the same rows,
channels and correlations. Then a row is a plain sequence of complex numbers, and its sums take four of them at a time, all
correlations at once: `one_plane`, `more_planes`. Rows with data that are not finite, and all other equations, are the business
of `gram`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .gram import Job
from .packed import GROUP
from .sources import Planes


class Aligned(NamedTuple):
    """Planes as correlations of columns."""

    columns: np.ndarray
    """(columns,) addresses."""
    column: np.ndarray
    """(elements, planes): of each plane of an element, the constant part last; elements with fewer have -1 at the end."""
    corr: np.ndarray
    """(elements, planes)."""
    coef: np.ndarray
    """(elements, planes): what the column is multiplied by, complex."""
    own: np.ndarray
    """(elements,): correlation of the data whose flags and weights count."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """Baseline of each member."""

    @property
    def single(self) -> bool:
        """Whether every element has one solvable plane, and all of an element are of one correlation."""
        return (
            self.column.shape[1] == 2
            and len(self.columns) == 2
            and bool((self.column == [0, 1]).all() and (self.corr == self.own[:, None]).all())
        )


def aligned(planes: Planes, job: Job) -> Aligned | None:
    """What the elements are of, where all are what this module is for; else None."""
    _, channels, ncorr = job.flags.shape
    if job.weights.shape != job.flags.shape or ncorr not in (1, 2, 4) or job.runs[:, 3].any():
        return None
    if (np.diff(job.data_start) != 1).any() or (job.runs[:, :2] * ncorr % GROUP).any():
        return None
    members: set[bytes] = {a.tobytes() for a in job.data_index}
    column, corr = np.full(job.local.shape, -1), np.full(job.local.shape, -1)
    coef, columns = np.zeros(job.local.shape, complex), dict[int, int]()
    for e, p in np.argwhere(np.arange(job.local.shape[1]) <= job.ntheta[:, None]).tolist():
        plane = int(job.used[job.local[e, p]])
        f = _factor(planes, plane) if job.local[e, p] >= 0 else -1
        s = planes.fac_source[f]
        if f < 0 or planes.strides[s].tolist() != [2 * channels * ncorr, 0, 2 * ncorr]:
            return None
        members.add(planes.fac_index[f].tobytes())
        corr[e, p], coef[e, p] = planes.corr[s], planes.coef[planes.mono_start[plane]]
        column[e, p] = columns.setdefault(int(planes.address[s]) - 8 * int(planes.corr[s]), len(columns))
    if len(members) != 1:
        return None
    own, index = job.data_corr.astype(np.int64), np.ascontiguousarray(job.data_index[0])
    return Aligned(np.array(list(columns), np.int64), column, corr, coef, own, index)


def _factor(planes: Planes, plane: int) -> int:
    """The only factor of a plane that is one factor times a number, as it is in a column of complex64; else -1."""
    m = planes.mono_start[plane]
    if planes.mono_start[plane + 1] != m + 1 or planes.fac_start[m + 1] != planes.fac_start[m] + 1:
        return -1
    f = int(planes.fac_start[m])
    s = planes.fac_source[f]
    return -1 if planes.fac_conj[f] or planes.double[s] or not planes.column[s] or not planes.address[s] else f
