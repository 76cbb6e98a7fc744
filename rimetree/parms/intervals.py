"""Solution intervals: which interval each slot or channel belongs to, and where they begin and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..quantity import hertz, seconds


def time_intervals(solint: Any, time: np.ndarray, width: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """Interval number of every slot: per so many slots (int), "30s", "scan", or None/"all". All but the last restart at each scan."""
    scans = np.concatenate([[0], np.cumsum(np.diff(scan) != 0)])
    if solint is None or solint == "all":
        return np.zeros(time.size, np.int64)
    if solint == "scan":
        return scans
    within = np.empty(time.size, np.int64)
    for s in range(scans[-1] + 1):
        rows = np.flatnonzero(scans == s)
        if isinstance(solint, int):
            within[rows] = np.arange(rows.size) // solint
        else:
            begin = time[rows[0]] - width[rows[0]] / 2
            within[rows] = np.floor((time[rows] - begin) / seconds(solint) + 1e-6)
    return _renumber(scans * (within.max(initial=0) + 1) + within)


def freq_intervals(solint: Any, freq: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Interval number of every channel: per so many channels (int), "4MHz", or None/"all"."""
    if solint is None or solint == "all":
        return np.zeros(freq.size, np.int64)
    if isinstance(solint, int):
        return np.arange(freq.size) // solint
    start = abs(freq[0] - freq) + width[0] / 2 - width / 2
    return _renumber(np.floor(start / hertz(solint) + 1e-6).astype(np.int64))


def _renumber(labels: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.diff(labels) != 0)])


@dataclass(frozen=True, slots=True, eq=False)
class AxisGrid:
    """Intervals of one axis over some of its cells: `interval` (cells,) starting at 0; `joint`: cells per interval kept apart (J).

    `cell_of[i, j]`: the j-th cell of interval i (the last one repeated where the interval is shorter); `joint_cell` (cells,): index
    i * J + j of every cell, J being 1 where the axis is collapsed.
    """

    interval: np.ndarray
    cell_of: np.ndarray
    joint_cell: np.ndarray
    collapsed: bool

    @classmethod
    def of(cls, interval: np.ndarray, collapsed: bool) -> AxisGrid:
        """From the interval of every cell."""
        count = np.bincount(interval)
        starts = np.concatenate([[0], np.cumsum(count)[:-1]])
        place = np.arange(interval.size) - starts[interval]
        width = 1 if collapsed else int(count.max())
        cell_of = starts[:, None] + np.minimum(np.arange(width)[None], count[:, None] - 1)
        joint = interval if collapsed else interval * width + place
        return cls(interval, cell_of, joint.astype(np.int32), collapsed)

    def only(self, i: int) -> tuple[slice, AxisGrid]:
        """The cells of one interval, and the grid of these."""
        chosen = np.flatnonzero(self.interval == i)
        own = slice(int(chosen[0]), int(chosen[-1]) + 1)
        places = self.joint_cell[own] - i * self.joint
        return own, AxisGrid(self.interval[own] - i, self.cell_of[i : i + 1] - own.start, places, self.collapsed)

    def places(self) -> np.ndarray:
        """(J, intervals): where in its interval, from 0 to 1, the middle of each joint cell is; beyond 1 where there is none."""
        width = np.ones(self.count) if self.collapsed else np.bincount(self.interval)
        return np.asarray((np.arange(self.joint)[:, None] + 0.5) / width)

    @property
    def count(self) -> int:
        """Number of intervals."""
        return self.cell_of.shape[0]

    @property
    def joint(self) -> int:
        """Joint cells per interval."""
        return self.cell_of.shape[1]


def bounds(interval: np.ndarray, centres: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(intervals, 2): lower and upper edge of every interval, in the unit of the axis."""
    low, high = centres - abs(widths) / 2, centres + abs(widths) / 2
    count = interval[-1] + 1
    edges = np.empty((count, 2))
    for i in range(count):
        cells = interval == i
        edges[i] = low[cells].min(), high[cells].max()
    return edges
