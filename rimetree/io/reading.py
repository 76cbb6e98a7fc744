"""Reading tiles: columns, flags and weights, straight into buffers that are kept, one tile ahead of the reader."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from ..errors import DataError
from .slots import Group
from .tile import Buffers, Tile

CHUNK_BYTES = 1 << 21
"""Bytes per call to casacore. It holds the interpreter lock while it reads (1-2 ms at this size), and what was read is
still in cache when weights and flags are combined."""

NATIVE = {
    "complex": np.complex64,
    "dcomplex": np.complex128,
    "float": np.float32,
    "double": np.float64,
    "boolean": np.bool_,
    "int": np.int32,
}


class _EmptyCells(Exception):
    """Some rows of a column hold no array; `present` (nrow,) says which do."""

    def __init__(self, column: str, present: np.ndarray) -> None:
        super().__init__(column)
        self.present = present


class _Stopped(Exception):
    """The reader was closed while reading ahead."""


class RowReader:
    """Reads array columns of given rows (ascending), all or some channels, in chunks."""

    def __init__(
        self, path: Path, table: Any, rows: np.ndarray, channels: slice | None, stop: Event | None = None
    ) -> None:
        self.path, self.table, self.rows, self.channels, self.stop = path, table, rows, channels, stop
        self.names = set(table.colnames())
        self._spans = spans(table, rows)

    def read(self, name: str, out: np.ndarray) -> Iterator[slice]:
        """Read column `name` into `out` (nrow, ...), yielding each slice of rows as soon as it is there.

        Raises `_EmptyCells` where a cell holds no array, `DataError` where casacore fails or a cell has another shape.
        """
        native = NATIVE.get(self.table.coldatatype(name))
        if native is None:
            raise DataError(f"{self.path}: column {name} holds {self.table.coldatatype(name)}, expected numbers")
        step = max(1, CHUNK_BYTES // max(1, out[:1].nbytes))
        for table, start, part in self._spans:
            for first in range(part.start, part.stop, step):
                if self.stop is not None and self.stop.is_set():
                    raise _Stopped
                chunk = slice(first, min(first + step, part.stop))
                target = out[chunk] if native == out.dtype else np.empty(out[chunk].shape, native)
                self._get(table, name, target, start + first - part.start)
                if target.dtype != out.dtype:
                    out[chunk] = target
                yield chunk

    def load(self, name: str, out: np.ndarray) -> np.ndarray:
        """Read the whole column, and return `out`."""
        for _ in self.read(name, out):
            pass
        return out

    def _get(self, table: Any, name: str, target: np.ndarray, start: int) -> None:
        try:
            if self.channels is None or target.ndim < 3:
                table.getcolnp(name, target, start, len(target))
            else:
                corner = [self.channels.start, 0], [self.channels.stop - 1, target.shape[2] - 1]
                table.getcolslicenp(name, target, *corner, [], start, len(target))
        except (RuntimeError, ValueError) as error:
            present = np.array([self.table.iscelldefined(name, row) for row in self.rows.tolist()], bool)
            if not present.all():
                raise _EmptyCells(name, present) from error
            expected = "x".join(map(str, target.shape[1:]))
            raise DataError(
                f"{self.path}: column {name} cannot be read as {expected} numbers per row near row {start}: {error}"
            ) from error


def spans(table: Any, rows: np.ndarray) -> list[tuple[Any, int, slice]]:
    """Pieces (table, first row, slice of `rows`) that cover `rows`: runs of the table itself, or one reference table.

    A call costs about what 16 rows of a reference table cost more than rows of a run.
    """
    if not rows.size:
        return []
    edges = np.concatenate([[0], np.flatnonzero(np.diff(rows) != 1) + 1, [rows.size]]).tolist()
    if (len(edges) - 1) * 16 > rows.size:
        return [(table.selectrows(rows), 0, slice(0, rows.size))]
    return [(table, int(rows[i]), slice(i, j)) for i, j in itertools.pairwise(edges)]


def read_tile(
    path: Path,
    table: Any,
    group: Group,
    slots: slice,
    columns: Sequence[str],
    weights: bool,
    uvw: bool,
    buffers: Buffers,
    stop: Event | None = None,
    flagsets: Mapping[str, int] | None = None,
) -> Tile:
    """One tile. Rows of which a requested column, FLAG or (with `flagsets`, its bits) BITFLAG holds no array are left out and counted."""
    raster = group.rows[:, slots]
    rows = np.sort(raster[raster >= 0])
    asked = rows.size
    while True:
        reader = RowReader(path, table, rows, None if group.whole else group.channels, stop)
        try:
            data = {name: reader.load(name, buffers.take(name, _shape(group, rows), np.complex64)) for name in columns}
            flags = _flags(reader, buffers.take("*flags", _shape(group, rows), np.uint8))
            bits = _words(reader, buffers.take("*words", _shape(group, rows), np.int32)) if flagsets else None
            break
        except _EmptyCells as gap:
            rows = rows[gap.present]
    weight, source = _weights(reader, group, flags, buffers) if weights else (None, "")
    index = np.full(raster.shape, -1, np.int32)
    if rows.size:
        there = np.isin(raster, rows) if rows.size < asked else raster >= 0
        index[there] = np.searchsorted(rows, raster[there])
    track = _uvw(reader, index) if uvw else None
    return Tile(
        group,
        slots.start,
        slots.stop,
        index,
        rows,
        data,
        flags,
        weight,
        source,
        track,
        asked - rows.size,
        bits,
        flagsets or {},
    )


def read_ahead(
    read: Callable[[slice, Buffers, Event], Tile], parts: Sequence[slice], spare: list[Buffers]
) -> Iterator[Tile]:
    """Tiles of the slots in `parts`, in order, each read in a thread while the one before is being used.

    Two sets of buffers alternate, taken from `spare` and put back there at the end. Closing the iterator, or an
    exception at the user, stops the thread within one chunk.
    """
    stop, buffers = Event(), [spare.pop() if spare else Buffers() for _ in range(2)]
    try:
        with ThreadPoolExecutor(1, "rimetree-read") as pool:
            try:
                ahead: Future[Tile] | None = None
                for number, part in enumerate(parts):
                    tile = (ahead or pool.submit(read, part, buffers[number % 2], stop)).result()
                    more = number + 1 < len(parts)
                    ahead = pool.submit(read, parts[number + 1], buffers[1 - number % 2], stop) if more else None
                    yield tile
            finally:
                stop.set()
    finally:
        spare += buffers


def _shape(group: Group, rows: np.ndarray) -> tuple[int, int, int]:
    return rows.size, group.freq.size, len(group.corrs)


def _flags(reader: RowReader, out: np.ndarray) -> np.ndarray:
    if "FLAG" in reader.names:
        reader.load("FLAG", out.view(np.bool_))
    else:
        out[...] = 0
    if "FLAG_ROW" in reader.names:
        out[reader.load("FLAG_ROW", np.empty(len(out), np.bool_))] = 1
    return out


def _words(reader: RowReader, out: np.ndarray) -> np.ndarray:
    """BITFLAG, with the bits of BITFLAG_ROW in the whole row."""
    reader.load("BITFLAG", out)
    if "BITFLAG_ROW" in reader.names:
        out |= reader.load("BITFLAG_ROW", np.empty(len(out), np.int32))[:, None, None]
    return out


def _weights(reader: RowReader, group: Group, flags: np.ndarray, buffers: Buffers) -> tuple[np.ndarray, str]:
    """Weights from the best source there is; unusable ones become 0 and flag their data."""
    present = np.zeros(len(flags), bool)
    if "WEIGHT_SPECTRUM" in reader.names:
        out = buffers.take("*weights", flags.shape, np.float32)
        try:
            for part in reader.read("WEIGHT_SPECTRUM", out):
                _combine(out[part], flags[part])
            return out, "WEIGHT_SPECTRUM"
        except _EmptyCells as gap:
            present = gap.present
    row, source = _row_weights(reader, (len(flags), 1, len(group.corrs)))
    if present.any():
        some = RowReader(reader.path, reader.table, reader.rows[present], reader.channels, reader.stop)
        cube = np.repeat(row, group.freq.size, axis=1)
        cube[present] = some.load("WEIGHT_SPECTRUM", np.empty(cube[present].shape, np.float32))
        row, source = cube, f"WEIGHT_SPECTRUM, else {source}"
    _combine(row, flags)
    return row, source


def _row_weights(reader: RowReader, shape: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    """Weights per row from WEIGHT, else 1/SIGMA^2, else 1; a row without one takes the next."""
    out, missing, sources = np.ones(shape, np.float32), np.ones(shape[0], bool), []
    for name in ("WEIGHT", "SIGMA"):
        if name not in reader.names or not missing.any():
            continue
        values = RowReader(reader.path, reader.table, reader.rows[missing], None, reader.stop)
        filled = np.flatnonzero(missing)
        try:
            block = values.load(name, np.empty((filled.size, shape[2]), np.float32))
        except _EmptyCells as gap:
            filled = filled[gap.present]
            values = RowReader(reader.path, reader.table, reader.rows[filled], None, reader.stop)
            block = values.load(name, np.empty((filled.size, shape[2]), np.float32))
        if name == "SIGMA":
            good = block > 0
            with np.errstate(divide="ignore", over="ignore"):
                block[good] = 1 / np.square(block[good])
            block[~good] = 0
        if filled.size:
            out[filled, 0], missing[filled] = block, False
            sources.append("1/SIGMA^2" if name == "SIGMA" else name)
    return out, ", else ".join([*sources, "1"] if missing.any() else sources)


def _combine(weights: np.ndarray, flags: np.ndarray) -> None:
    """Flag data whose weight is not positive and finite, and make these weights 0."""
    if weights.size and weights.min() > 0 and weights.max() < np.inf:  # NaN fails both
        return
    # As unsigned integers the positive finite floats are 1 ... 0x7F7FFFFF: one subtraction and one comparison.
    bad = weights.view(np.uint32) - np.uint32(1) >= np.uint32(0x7F7FFFFF)
    weights[bad] = 0
    np.bitwise_or(flags, bad.view(np.uint8), out=flags)


def _uvw(reader: RowReader, index: np.ndarray) -> np.ndarray:
    """UVW of the tile on its raster, m; the extra last row stands for what is missing (index -1)."""
    rows = np.full((reader.rows.size + 1, 3), np.nan)
    if reader.rows.size:
        reader.load("UVW", rows[:-1])
    track: np.ndarray = rows[index]
    return track
