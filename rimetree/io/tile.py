"""A tile: some slots of one group, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .slots import Group


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Slots `start` to `stop` of `group`; rows in the order of the main table.

    time, interval, scan   (nslot,) of the tile's slots; freq, width (nchan,) Hz; corrs
    rows      (nbaseline, nslot) int32: index into the arrays below, -1 where there is no row
    ms_rows   (nrow,) int64: row numbers of the main table, ascending
    columns   name -> (nrow, nchan, ncorr) complex64, as stored (NaN included)
    flags     (nrow, nchan, ncorr) uint8, 1 = bad: FLAG, FLAG_ROW, or a weight that is zero, negative, NaN or Inf
    weights   (nrow, nchan or 1, ncorr) float32, 0 where bad (None unless asked for); weight = 1/variance
    weight_source  the columns that the weights come from ("1" where there are none)
    uvw       (nbaseline, nslot, 3) m as stored, NaN where there is no row (None unless asked for)
    empty     rows left out because a cell of theirs holds no array
    words     (nrow, nchan, ncorr) int32: BITFLAG and BITFLAG_ROW (None unless asked for)
    flagsets  name -> its bit in words
    landed    (1,) int64: rows that have been read, of a tile handed out early; -1 where reading ended and this is not the tile

    The arrays of a tile from a reader are reused: see `MeasurementSet.reader`.
    """

    group: Group
    start: int
    stop: int
    rows: np.ndarray
    ms_rows: np.ndarray
    columns: dict[str, np.ndarray]
    flags: np.ndarray
    weights: np.ndarray | None
    weight_source: str
    uvw: np.ndarray | None
    empty: int
    words: np.ndarray | None = None
    flagsets: Mapping[str, int] = field(default_factory=dict)
    landed: np.ndarray | None = None
    whole: Callable[[], Tile] | None = None

    def complete(self) -> Tile:
        """The tile with all rows, once they are read. Arrays are others where rows turned out to be empty; reading may fail."""
        return self.whole() if self.whole else self

    @property
    def nrow(self) -> int:
        """Rows in the arrays."""
        return int(self.ms_rows.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nrow, nchan, ncorr)."""
        return self.nrow, self.group.freq.size, len(self.group.corrs)

    @property
    def time(self) -> np.ndarray:
        """Slot times, MJD s."""
        return self.group.time[self.start : self.stop]

    @property
    def interval(self) -> np.ndarray:
        """Slot lengths, s."""
        return self.group.interval[self.start : self.stop]

    @property
    def scan(self) -> np.ndarray:
        """Scan number of each slot."""
        return self.group.scan[self.start : self.stop]

    @property
    def freq(self) -> np.ndarray:
        """Channel centres, Hz."""
        return self.group.freq

    @property
    def width(self) -> np.ndarray:
        """Channel widths, Hz."""
        return self.group.width

    @property
    def corrs(self) -> tuple[str, ...]:
        """Correlation names in the order of the data."""
        return self.group.corrs


class Buffers:
    """Arrays kept from tile to tile: fresh memory costs several times more than reading into it."""

    def __init__(self) -> None:
        self._flat: dict[str, np.ndarray] = {}

    def take(self, key: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An uninitialised array, in the memory that `key` had before where it is large enough."""
        size = int(np.prod(shape))
        flat = self._flat.get(key)
        if flat is None or flat.size < size or flat.dtype != dtype:
            flat = self._flat[key] = np.empty(size, dtype)
        return flat[:size].reshape(shape)
