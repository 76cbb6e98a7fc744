"""Rows of the main table arranged as (baseline, slot) per field and data description."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .metadata import Metadata
from .selection import choose_channels

_TIME_RESOLUTION = 1e-5
"""Seconds; MJD seconds in float64 are good to 1e-6, so anything closer is the same time, whatever INTERVAL says."""


@dataclass(frozen=True, slots=True, eq=False)
class RowIndex:
    """The indexing columns of selected rows; `row` is the row number in the main table."""

    row: np.ndarray
    antenna1: np.ndarray
    antenna2: np.ndarray
    time: np.ndarray
    interval: np.ndarray
    field: np.ndarray
    ddid: np.ndarray
    scan: np.ndarray

    @classmethod
    def read(cls, table: Any) -> RowIndex:
        """All rows of the main table."""
        names = ("ANTENNA1", "ANTENNA2", "TIME", "INTERVAL", "FIELD_ID", "DATA_DESC_ID", "SCAN_NUMBER")
        return cls(np.arange(table.nrows()), *(table.getcol(name) for name in names))

    def where(self, mask: np.ndarray) -> RowIndex:
        """The rows where `mask` holds."""
        return RowIndex(*(getattr(self, field.name)[mask] for field in fields(self)))


def distinct(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """The distinct pairs (first, second) of two integer columns, sorted."""
    stride = int(second.max()) + 1 if second.size else 1
    return [divmod(key, stride) for key in np.unique(first.astype(np.int64) * stride + second).tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """One field and data description of the selection, on a regular (baseline, slot) raster.

    `freq`, `width` (nchan,) Hz of the selected channels; `corrs` in the order of the data; `time` (nslot,) MJD s
    ascending, `interval` (nslot,) s, `scan` (nslot,); `rows` (nbaseline, nslot) row numbers of the main table, -1
    where there is none, baselines as in `MeasurementSet.baselines`. `channels` says where `freq` lies in the spectral
    window.
    """

    field_id: int
    field_name: str
    phase_dir: np.ndarray
    spw_id: int
    ddid: int
    freq: np.ndarray
    width: np.ndarray
    corrs: tuple[str, ...]
    time: np.ndarray
    interval: np.ndarray
    scan: np.ndarray
    rows: np.ndarray
    channels: slice
    whole: bool
    """All channels of the spectral window are selected."""
    nowhere: str
    """Why `phase_dir` is NaN; empty where it is not."""

    def centre(self) -> np.ndarray:
        """`phase_dir`, where there is one; else `DataError`."""
        if self.nowhere:
            raise DataError(f"field {self.field_name or 'of several'}: {self.nowhere}")
        return self.phase_dir

    @property
    def bare(self) -> bool:
        """Whether there are no data (see `batch.grid`): never."""
        return False

    def bytes_per_slot(self, columns: Collection[str], weights: bool = True, spare: int = 0) -> int:
        """Memory of one slot of a tile with these columns (the fullest slot), one set of buffers; `spare` bytes more for
        each visibility."""
        nrow = int((self.rows >= 0).sum(0).max(initial=0))
        cell = 8 * len(columns) + 1 + 4 * weights + spare
        size = nrow * self.freq.size * len(self.corrs) * cell + self.rows.shape[0] * 4
        return int(size)


def make_groups(
    path: Path, meta: Metadata, index: RowIndex, baselines: np.ndarray, channels: Any, pool: bool = False
) -> list[Group]:
    """Groups in order of field and data description; `baselines` (nbaseline, 2) sorted antenna ids.

    `pool`: all fields in one group, number -1, without name and direction.

    Raises `DataError` where two rows fall on one baseline and slot, `ConfigError` for channels that do not exist.
    """
    stride = len(meta.antennas)
    number = np.searchsorted(
        baselines[:, 0] * stride + baselines[:, 1], index.antenna1.astype(np.int64) * stride + index.antenna2
    )
    groups = []
    nowhere = np.full(2, np.nan)
    for field, ddid in distinct(np.zeros_like(index.field) if pool else index.field, index.ddid):
        mask = (index.ddid == ddid) & (pool | (index.field == field))
        rows = index.where(mask)
        slot, first = cluster_slots(rows.time, rows.interval, rows.scan)
        spw, corrs = meta.descriptions[ddid]
        window = meta.spws[spw]
        spec = channels.get(spw) if isinstance(channels, Mapping) else channels
        chosen = choose_channels(spec, window.freq.size, spw)
        interval = np.zeros(first.size)
        np.maximum.at(interval, slot, rows.interval)
        groups.append(
            Group(
                -1 if pool else field,
                "" if pool else meta.fields[field].name,
                nowhere if pool else meta.fields[field].phase_dir,
                spw,
                ddid,
                window.freq[chosen],
                window.width[chosen],
                corrs,
                rows.time[first],
                interval,
                rows.scan[first],
                _raster(path, meta, rows, number[mask], slot, (len(baselines), first.size)),
                chosen,
                chosen.stop - chosen.start == window.freq.size,
                "pooled fields have no direction; give field:" if pool else meta.fields[field].nowhere,
            )
        )
    return groups


def cluster_slots(time: np.ndarray, interval: np.ndarray, scan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slot number of each row (slots ascend in time), and a row of each slot.

    Times closer than 1 % of the interval are one slot. Rows of different scans at one time (sub-arrays) are different
    slots.
    """
    order = np.argsort(time, kind="stable")
    ordered, width = time[order], np.nan_to_num(interval[order])
    near = (0.01 * np.minimum(width[1:], width[:-1])).clip(_TIME_RESOLUTION)
    cluster = np.empty(time.size, np.int64)
    cluster[order] = np.concatenate([[0], np.cumsum(np.diff(ordered) > near)])
    scans, which = np.unique(scan, return_inverse=True)
    _, first, slot = np.unique(cluster * scans.size + which, return_index=True, return_inverse=True)
    return slot, first


def _raster(
    path: Path, meta: Metadata, rows: RowIndex, baseline: np.ndarray, slot: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    raster = np.full(shape, -1, np.int64)
    raster[baseline, slot] = rows.row
    lost = np.flatnonzero(raster[baseline, slot] != rows.row)
    if lost.size:
        i = int(lost[0])
        pair = "-".join(meta.antennas[a].name for a in (rows.antenna1[i], rows.antenna2[i]))
        raise DataError(
            f"{path}: {lost.size} duplicate row(s): rows {rows.row[i]} and {raster[baseline[i], slot[i]]} are both "
            f"baseline {pair} at TIME {rows.time[i]:.3f}, field {rows.field[i]}, data description {rows.ddid[i]}; "
            "select one of them, for example by taql='FEED1 == 0' or 'ARRAY_ID == 0'"
        )
    return raster
