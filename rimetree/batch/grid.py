"""What a run needs to know of its data: a group of a Measurement Set, or bare Cells without data."""

from __future__ import annotations

from typing import ClassVar, Protocol

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
    """Cells as a group without baselines or correlations, so that equations without data can be solved on them."""

    bare = True
    corrs: tuple[str, ...] = ()
    field_name, spw_id = "", 0

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.time, self.interval = cells.time, cells.axes["time"].widths
        self.freq, self.width = cells.freq, cells.axes["freq"].widths
        self.scan = np.zeros(self.time.size, int)
        self.rows = np.empty((0, self.time.size), np.int32)


class BareTile:
    """All slots of a BareGroup, with no columns."""

    columns: ClassVar[dict[str, np.ndarray]] = {}
    uvw = None

    def __init__(self, group: BareGroup) -> None:
        self.group, self.start, self.stop = group, 0, group.time.size
        self.rows = group.rows
        self.flags = np.empty((0, group.freq.size, 0), np.uint8)
        self.weights = np.empty((0, 1, 0), np.float32)
