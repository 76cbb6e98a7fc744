"""What a run needs to know of its data: a group of a Measurement Set, or bare Cells without data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from ..grid import Cells


class GridData(Protocol):
    """Slots and channels of one field and spectral window."""

    @property
    def bare(self) -> bool:
        """Without data: polynomials are then in absolute time and frequency."""

    @property
    def time(self) -> np.ndarray:
        """Slot centres, s."""

    @property
    def interval(self) -> np.ndarray:
        """Slot lengths, s."""

    @property
    def scan(self) -> np.ndarray:
        """Scan of each slot."""

    @property
    def freq(self) -> np.ndarray:
        """Channel centres, Hz."""

    @property
    def width(self) -> np.ndarray:
        """Channel widths, Hz."""

    @property
    def corrs(self) -> tuple[str, ...]:
        """Correlations in the order of the data."""


class BareGroup:
    """Cells as a group without baselines or correlations, so that equations without data can be solved on them.

    A slot is one cell of time and of all axes beyond time and frequency: each time is followed by itself for all their cells, the
    last axis fastest. What is fitted has slots and channels so; trees are evaluated on the axes that there are.
    """

    bare = True
    corrs: tuple[str, ...] = ()
    field_name, spw_id = "", 0

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        others = {name: axis.centres for name, axis in cells.axes.items() if name not in ("time", "freq")}
        self.extents = tuple(centres.size for centres in others.values())
        self.fold = math.prod(self.extents)
        """Slots of one time."""
        grids = np.meshgrid(*others.values(), indexing="ij")
        self.further = {n: np.tile(g.ravel(), cells.time.size) for n, g in zip(others, grids, strict=True)}
        """Centres along the further axes, of each slot."""
        self.time, self.interval = (np.repeat(a, self.fold) for a in (cells.time, cells.axes["time"].widths))
        self.freq, self.width = cells.freq, cells.axes["freq"].widths
        self.scan = np.zeros(self.time.size, int)
        self.rows = np.empty((0, self.time.size), np.int32)

    def folded(self, plane: Any) -> np.ndarray:
        """(n, slots or 1, channels or 1) of what was evaluated on all axes, (n, times or 1, channels or 1, further or 1...)."""
        if not self.extents:
            return np.asarray(plane)
        array = np.moveaxis(np.asarray(plane), 2, -1)
        if max(array.shape[1:-1]) == 1:
            return array.reshape(len(array), 1, -1)
        full = np.broadcast_to(array, (len(array), self.time.size // self.fold, *self.extents, array.shape[-1]))
        return full.reshape(len(array), self.time.size, -1)


class BareTile:
    """All slots of a BareGroup, with no columns."""

    columns: ClassVar[dict[str, np.ndarray]] = {}
    uvw = None

    def __init__(self, group: BareGroup) -> None:
        self.group, self.start, self.stop = group, 0, group.time.size
        self.rows = group.rows
        self.flags = np.empty((0, group.freq.size, 0), np.uint8)
        self.weights = np.empty((0, 1, 0), np.float32)


def further(group: GridData) -> Mapping[str, np.ndarray]:
    """Centres along the axes beyond time and frequency, of each slot."""
    return group.further if isinstance(group, BareGroup) else {}


def slots_per_time(group: GridData) -> int:
    """Slots of one time: 1, but for Cells with further axes."""
    return group.fold if isinstance(group, BareGroup) else 1


def sizes(group: GridData) -> dict[str, int]:
    """Cells along each axis on which trees are evaluated."""
    if isinstance(group, BareGroup):
        return {name: axis.centres.size for name, axis in group.cells.axes.items()}
    return {"time": group.time.size, "freq": group.freq.size}


def coordinates(group: GridData, slots: slice) -> dict[str, np.ndarray]:
    """Centres along each axis on which trees are evaluated, for some slots: for all, where there are no data."""
    if isinstance(group, BareGroup):
        return group.cells.coordinates()
    return {"time": group.time[slots, None], "freq": group.freq[None, :]}
