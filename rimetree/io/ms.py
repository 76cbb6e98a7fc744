"""Measurement Sets: what is in them, tiles out of them, columns into them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, NothingSelected
from . import columns as column_io
from . import flagsets as flag_io
from .filling import Filling, read_ahead, read_along
from .intents import with_intent
from .metadata import Antenna, Field, Spw, read_metadata
from .obstacles import find_obstacles
from .selection import Selection, choose, choose_numbers
from .slots import Group, RowIndex, distinct, make_groups
from .table import open_main
from .tile import Buffers, Tile


class MeasurementSet:
    """A selection of a Measurement Set.

    field     name, number, glob, or a list of them
    spw       number, name, "0~2", or a list of them (spectral windows)
    scans     "1~3,5", a number, or a list of them
    channels  "10~20" (both included), (start, stop) or a slice, in every spectral window; or a mapping from window to these
    intent    glob of what scans are for (OBS_MODE in STATE), such as "*CALIBRATE_PHASE*", or a list of them
    antennas  names or numbers; rows are kept whose two antennas are both among them
    taql      a TaQL condition on rows, such as "ARRAY_ID == 0"
    pool      fields are not told apart: one group per data description, its field nameless

    Opening reads the index columns only. Nothing is locked while reading.

    Raises `ConfigError` where the selection names what does not exist, `DataError` where the Measurement Set is missing
    or damaged, or where nothing is left.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        field: Any = None,
        spw: Any = None,
        scans: Any = None,
        channels: Any = None,
        antennas: Any = None,
        taql: str | None = None,
        pool: bool = False,
        intent: Any = None,
    ) -> None:
        if not isinstance(path, (str, PathLike)):
            raise ConfigError(f"MeasurementSet({path!r}): expected one path; rt.MeasurementSets takes a list of them")
        self.path = Path(path)
        self.selection = Selection(field, spw, scans, channels, antennas, taql, intent)
        self._table = open_main(self.path)
        self._spare: list[Buffers] = []  # of readers that have ended, for the next ones
        try:
            self._meta = read_metadata(self.path)
            self._index = RowIndex.read(self._table)
            self._check_index()
            index = self._select()
        except BaseException:
            self._table.close()  # or casacore would go on with this table where another takes its place
            raise
        pairs = distinct(index.antenna1, index.antenna2)
        used = [self._meta.antennas[i] for i in sorted({i for pair in pairs for i in pair})]
        names = [antenna.name for antenna in self._meta.antennas]
        self.antennas: list[str] = [antenna.name for antenna in used]
        """Names of the antennas in the cross-correlations selected, in the order of ANTENNA."""
        self.antenna_table: list[Antenna] = used
        self.baselines: list[tuple[str, str]] = [(names[p], names[q]) for p, q in pairs]
        """Pairs as in the rows (ANTENNA1, ANTENNA2), sorted; no auto-correlations."""
        self.positions = np.array([antenna.position for antenna in used])
        """ITRF positions (nantenna, 3) in m."""
        self.mounts: list[str] = [antenna.mount for antenna in used]
        self.groups: list[Group] = make_groups(self.path, self._meta, index, np.array(pairs), channels, pool)
        """One per field and data description."""
        self.fields: list[Field] = [self._meta.fields[i] for i in sorted(set(index.field.tolist()))]
        self.spws: list[Spw] = [self._meta.spws[i] for i in sorted({g.spw_id for g in self.groups})]

    hands_out_early = True
    """Whether `reader` gives tiles while they are still being read; not of a class that looks at them first."""

    @property
    def feeds(self) -> str:
        """ "linear" or "circular", from the correlation types; `DataError` where they are neither or mixed."""
        letters = {letter for group in self.groups for corr in group.corrs for letter in corr}
        if letters <= {"X", "Y"} or letters <= {"R", "L"}:
            return "linear" if letters <= {"X", "Y"} else "circular"
        kinds = sorted({" ".join(group.corrs) for group in self.groups})
        raise DataError(
            f"{self.path}: correlations {'; '.join(kinds)} are not all linear or all circular; select by spw="
        )

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """Everything in the way of reading and writing these columns, one line each. Changes nothing on disk."""
        return find_obstacles(self.path, self._table, self._meta, self._index.ddid, read, write)

    def reader(
        self,
        group: Group,
        columns: Sequence[str],
        tiles: int | Sequence[slice],
        weights: bool = True,
        uvw: bool = False,
        words: bool = False,
        early: bool = False,
    ) -> Iterator[Tile]:
        """Tiles of `group`, in order, read one ahead.

        The arrays of a tile are valid until the next is asked for, or another reader is started after this one ended.

        `tiles`: slots per tile, or the slots of each tile. `words`: with BITFLAG. `early`: a tile is handed out while it is
        still being read (see `Tile.complete`; what fails is then raised there), and none is read ahead.
        Raises `DataError` where a column does not exist or cannot be read, ValueError where a tile would have no slots.
        """
        nslot = group.time.size
        if isinstance(tiles, int):
            if tiles < 1:
                raise ValueError(f"{tiles} slots per tile, expected at least 1")
            tiles = [slice(i, min(i + tiles, nslot)) for i in range(0, nslot, tiles)]
        parts = list(tiles)
        self._check_columns(columns)
        flagsets = self.flagsets if words else None

        def begin(slots: slice, buffers: Buffers, stop: Event) -> Filling:
            return Filling(self.path, self._table, group, slots, columns, weights, uvw, buffers, stop, flagsets)

        return (read_along if early else read_ahead)(begin, parts, self._spare)

    def read(
        self,
        group: Group,
        slots: slice | None = None,
        columns: Sequence[str] = ("DATA",),
        weights: bool = True,
        uvw: bool = False,
    ) -> Tile:
        """One tile with arrays of its own; all slots where `slots` is None. Raises `DataError` as `reader` does."""
        self._check_columns(columns)
        start, stop, _ = (slots or slice(None)).indices(group.time.size)
        part = slice(start, stop)
        return Filling(self.path, self._table, group, part, columns, weights, uvw, Buffers()).read()

    def ensure_column(self, name: str) -> None:
        """Create column `name` like DATA (shape, type, storage manager, tiling), full of zeros, unless it is there.

        Raises `DataError` where that cannot be done; then the Measurement Set is as it was.
        """
        column_io.ensure_column(self.path, self._meta, self._index.ddid, name)

    def write(self, tile: Tile, name: str, values: np.ndarray) -> None:
        """Write `values` (nrow, nchan, ncorr) into the rows and channels of `tile` of an existing complex column.

        On return the data are with the operating system and the Measurement Set is unlocked.
        Raises `DataError` where writing fails, ValueError where the shape is another.
        """
        column_io.write(self.path, tile, name, np.ascontiguousarray(values, np.complex64))

    @property
    def flagsets(self) -> dict[str, int]:
        """Named flagsets and their bits in BITFLAG, lowest first; none where there is no such column."""
        return flag_io.flagsets(self.path, self._table)

    def flagset_obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """Everything in the way of reading and writing these flagsets, one line each. Changes nothing on disk."""
        return flag_io.find_obstacles(self.path, self._table, self._meta, self._index.ddid, read, write)

    def ensure_flagset(self, name: str) -> None:
        """Create flagset `name` unless it is there; with it BITFLAG, and the flagset "legacy" of what FLAG holds now.

        Raises `DataError` where that cannot be done; FLAG is not changed.
        """
        flag_io.ensure(self.path, self._meta, self._index.ddid, name)

    def write_flags(
        self, tile: Tile, flags: np.ndarray | None, flagsets: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Add `flags` (nrow, nchan, ncorr), true = bad, to FLAG for rows and channels of `tile`; FLAG_ROW stays.

        `flagsets` are written in place of what the flagsets of these names held there; flags that were in FLAG because of
        these only are then taken out, unless they are in `flags`. Raises `DataError` as `write` does.
        """
        flag_io.write(self.path, tile, flags, flagsets or {})

    def remove_flagset(self, name: str) -> None:
        """Remove a flagset: its bit from BITFLAG, and from FLAG what no other flagset flags, in the whole table.

        Raises `DataError` where there is no such flagset. Killed, it is completed by calling it again.
        """
        flag_io.remove(self.path, name)

    def restore_flags(self) -> None:
        """Make FLAG what it was before there were flagsets: the flagset "legacy"; BITFLAG stays. `DataError` without it."""
        flag_io.restore(self.path)

    def flagged(self) -> dict[str, float]:
        """The part of all visibilities in the table that FLAG and each flagset flag, from 0 to 1."""
        return flag_io.flagged(self.path, self._table)

    def flush(self) -> None:
        """Nothing is kept back: every write is flushed before it returns."""

    def release(self) -> None:
        """Free the buffers that later readers would use again."""
        self._spare.clear()

    def close(self) -> None:
        """Close the tables and free the buffers."""
        self._table.close()
        self.release()

    def __enter__(self) -> MeasurementSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"MeasurementSet({str(self.path)!r}: {len(self.antennas)} antennas, {len(self.baselines)} baselines, "
            f"{len(self.groups)} group(s) of field and spw; selected: {self.selection})"
        )

    def _check_columns(self, columns: Sequence[str]) -> None:
        missing = column_io.missing_columns(self.path, self._table, columns)
        if missing:
            raise DataError("\n".join(missing))

    def _check_index(self) -> None:
        """Row indices must point into the sub-tables, or everything after this would read another row's metadata."""
        if not self._index.row.size:
            raise DataError(f"{self.path}: the main table has no rows; there is nothing to calibrate")
        for column, values, count in (
            ("ANTENNA1", self._index.antenna1, len(self._meta.antennas)),
            ("ANTENNA2", self._index.antenna2, len(self._meta.antennas)),
            ("FIELD_ID", self._index.field, len(self._meta.fields)),
            ("DATA_DESC_ID", self._index.ddid, len(self._meta.descriptions)),
        ):
            wrong = values[(values < 0) | (values >= count)]
            if wrong.size:
                raise DataError(
                    f"{self.path}: {column} holds {wrong[0]} but its sub-table has {count} rows; it is damaged"
                )
        if not np.isfinite(self._index.time).all():
            raise DataError(f"{self.path}: TIME holds NaN or Inf; the Measurement Set is damaged")

    def _select(self) -> RowIndex:
        """The rows of the selection, cross-correlations only."""
        spec, meta, index = self.selection, self._meta, self._index
        keep = index.antenna1 != index.antenna2
        if spec.field is not None:
            keep &= np.isin(index.field, choose(spec.field, meta.fields, "field", self.path))
        if spec.spw is not None:
            spw = np.array([s for s, _ in meta.descriptions])[index.ddid]
            keep &= np.isin(spw, choose(spec.spw, meta.spws, "spw", self.path))
        if spec.scans is not None:
            keep &= np.isin(index.scan, choose_numbers(spec.scans, index.scan, "scans", self.path))
        if spec.antennas is not None:
            chosen = choose(spec.antennas, meta.antennas, "antennas", self.path)
            keep &= np.isin(index.antenna1, chosen) & np.isin(index.antenna2, chosen)
        if spec.intent is not None:
            keep &= with_intent(self.path, self._table, spec.intent)
        if spec.taql is not None:
            keep &= np.isin(index.row, self._query(spec.taql))
        if not keep.any():
            wanted = "" if spec == Selection() else f" with {spec}"
            raise NothingSelected(f"{self.path}: no cross-correlations{wanted}. {self._contents()}")
        return index.where(keep)

    def _query(self, condition: str) -> np.ndarray:
        try:
            found = self._table.query(condition)
        except RuntimeError as error:
            raise ConfigError(
                f"taql={condition!r}: casacore does not understand it: {' '.join(str(error).split())}", "taql"
            ) from error
        return np.asarray(found.rownumbers())

    def _contents(self) -> str:
        """What there is to select, one line per field and spectral window that has rows."""
        index, meta = self._index, self._meta
        cross = index.where(index.antenna1 != index.antenna2)
        lines = []
        for field, ddid in distinct(cross.field, cross.ddid):
            scans = np.unique(cross.scan[(cross.field == field) & (cross.ddid == ddid)])
            lines.append(
                f"field {meta.fields[field].name!r} ({field}), spw {meta.descriptions[ddid][0]}, "
                f"scans {scans.min()} to {scans.max()}"
            )
        return "There are: " + "; ".join(lines) if lines else "There are only auto-correlations."
