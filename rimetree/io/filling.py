"""Tiles being read: all columns of a few rows at a time, straight into buffers that are kept, a tile ahead of the user or just ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np

from .reading import CHUNK_BYTES, EmptyCells, RowReader
from .slots import Group
from .tile import Buffers, Tile
from .weights import Weights

NAP = 1e-5
"""Seconds; in practice some 60 us, in which another thread gets the interpreter lock. It would wait for 5 ms without."""

NAPS = 8
"""Naps after a tile is wanted: who is to follow its reading begins meanwhile."""


class Filling:
    """One tile of a Measurement Set, whose arrays are there before they are filled: `tile`, then `read`."""

    def __init__(
        self,
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
    ) -> None:
        self.path, self.table, self.group, self.slots, self.columns = path, table, group, slots, columns
        self.weighted, self.uvw, self.buffers, self.stop, self.flagsets = weights, uvw, buffers, stop, flagsets
        self.raster = group.rows[:, slots]
        self.rows = _ascending(self.raster.T[self.raster.T >= 0])  # slot by slot, as they mostly lie
        self.asked = self.rows.size
        self.present: np.ndarray | None = None
        self.wanted = False
        """Whether somebody waits for this tile; until then others are let have the interpreter, which casacore holds as it reads."""
        self._order = Lock()
        self._settle()

    def read(self) -> Tile:
        """The tile with all of its rows. Rows of which a requested column, FLAG or (with `flagsets`, its bits) BITFLAG holds no
        array are left out and counted: it is then another than `tile` was."""
        while True:
            try:
                self._fill()
                return self.tile
            except EmptyCells as gap:
                self._land(-1)
                self._leave_out(gap)
                self._settle()
            except BaseException:
                self._land(-1)
                raise

    def _settle(self) -> None:
        """Lay out the tile, without the rows that turn out to be empty when what is small is read."""
        while True:
            try:
                self._lay_out()
                return
            except EmptyCells as gap:
                self._leave_out(gap)

    def _leave_out(self, gap: EmptyCells) -> None:
        if gap.column == "WEIGHT_SPECTRUM":
            self.present = gap.present
        else:
            self.rows = self.rows[gap.present]
            self.present = None if self.present is None else self.present[gap.present]

    def _lay_out(self) -> None:
        group, rows, names = self.group, self.rows, [*self.columns, "FLAG", *(["BITFLAG"] if self.flagsets else [])]
        shape = rows.size, group.freq.size, len(group.corrs)
        self.reader = reader = RowReader(
            self.path, self.table, rows, None if group.whole else group.channels, self.stop
        )
        spectrum = self.weighted and self.present is None
        reader.check_first([*names, *(["WEIGHT_SPECTRUM"] if spectrum else [])])
        self.bad = self._of_rows("FLAG_ROW", np.bool_)
        self.bits = self._of_rows("BITFLAG_ROW", np.int32) if self.flagsets else None
        index = np.full(self.raster.shape, -1, np.int32)
        if rows.size:
            wanted = self.raster.T
            there = np.isin(wanted, rows) if rows.size < self.asked else wanted >= 0
            found = wanted[there]
            index.T[there] = np.arange(rows.size) if (found == rows).all() else np.searchsorted(rows, found)
        self.landed = np.zeros(1, np.int64)
        self.weights = Weights(reader, shape, self.buffers, self.present) if self.weighted else None
        self.tile = Tile(
            group,
            self.slots.start,
            self.slots.stop,
            index,
            rows,
            {name: self.buffers.take(name, shape, np.complex64) for name in self.columns},
            self.buffers.take("*flags", shape, np.uint8),
            self.weights.values if self.weights else None,
            self.weights.source if self.weights else "",
            _uvw(reader, index) if self.uvw else None,
            self.asked - rows.size,
            self.buffers.take("*words", shape, np.int32) if self.flagsets else None,
            self.flagsets or {},
            self.landed,
        )

    def _of_rows(self, name: str, kind: Any) -> np.ndarray | None:
        """A number per row, where there is such a column."""
        return self.reader.load(name, np.empty(self.rows.size, kind)) if name in self.reader.names else None

    def _fill(self) -> None:
        tile, naps = self.tile, NAPS
        step = max(1, CHUNK_BYTES // max(1, 8 * int(np.prod(tile.shape[1:]))))
        for first in range(0, tile.nrow, step):
            part = slice(first, min(first + step, tile.nrow))
            for name, out in tile.columns.items():
                self.reader.load(name, out, part)
            self._flags(tile.flags, part)
            if tile.words is not None:
                self.reader.load("BITFLAG", tile.words, part)
                if self.bits is not None:
                    tile.words[part] |= self.bits[part, None, None]
            if self.weights:
                self.weights.read(part, tile.flags)
            self._land(part.stop)
            naps -= self.wanted
            if naps > 0:
                time.sleep(NAP)

    def _flags(self, out: np.ndarray, part: slice) -> None:
        if "FLAG" in self.reader.names:
            self.reader.load("FLAG", out.view(np.bool_), part)
        else:
            out[part] = 0
        if self.bad is not None:
            out[part][self.bad[part]] = 1

    def _land(self, rows: int) -> None:
        """Say how many rows are there: two turns of a lock, so that no processor sees the number before the rows."""
        with self._order:
            pass
        with self._order:
            self.landed[0] = rows


def read_ahead(
    begin: Callable[[slice, Buffers, Event], Filling], parts: Sequence[slice], spare: list[Buffers]
) -> Iterator[Tile]:
    """Tiles of the slots in `parts`, in order, each read in a thread while the one before is being used.

    Two sets of buffers alternate, taken from `spare` and put back there at the end. Closing the iterator, or an
    exception at the user, stops the thread within one chunk.
    """
    with _reading(spare, 2) as (pool, buffers, stop):

        def ahead(number: int) -> tuple[Future[Filling], Future[Tile]]:
            return _submit(pool, begin, parts[number], buffers[number % 2], stop)

        following = ahead(0) if parts else None
        for number in range(len(parts)):
            assert following is not None
            begun, done = following
            begun.result().wanted = True
            tile = done.result()
            following = ahead(number + 1) if number + 1 < len(parts) else None
            yield tile


def read_along(
    begin: Callable[[slice, Buffers, Event], Filling], parts: Sequence[slice], spare: list[Buffers]
) -> Iterator[Tile]:
    """Tiles handed out while they are being read (see `Tile.complete`), by a user who keeps pace and then has all processors
    to do: none is read ahead, so that one set of buffers is enough. The rest as of `read_ahead`."""
    with _reading(spare, 1) as (pool, buffers, stop):
        for part in parts:
            begun, done = _submit(pool, begin, part, buffers[0], stop)
            filling = begun.result()
            filling.wanted = True
            yield replace(filling.tile, whole=done.result)


@contextmanager
def _reading(spare: list[Buffers], sets: int) -> Iterator[tuple[ThreadPoolExecutor, list[Buffers], Event]]:
    """A thread that reads until the end, and what it reads into."""
    stop, buffers = Event(), [spare.pop() if spare else Buffers() for _ in range(sets)]
    try:
        with ThreadPoolExecutor(1, "rimetree-read") as pool:
            try:
                yield pool, buffers, stop
            finally:
                stop.set()
    finally:
        spare += buffers


def _submit(
    pool: ThreadPoolExecutor,
    begin: Callable[[slice, Buffers, Event], Filling],
    part: slice,
    buffers: Buffers,
    stop: Event,
) -> tuple[Future[Filling], Future[Tile]]:
    begun = pool.submit(begin, part, buffers, stop)
    return begun, pool.submit(lambda: begun.result().read())


def _ascending(rows: np.ndarray) -> np.ndarray:
    return rows if (rows[1:] > rows[:-1]).all() else np.sort(rows)


def _uvw(reader: RowReader, index: np.ndarray) -> np.ndarray:
    """UVW of the tile on its raster, m; the extra last row stands for what is missing (index -1)."""
    rows = np.full((reader.rows.size + 1, 3), np.nan)
    if reader.rows.size:
        reader.load("UVW", rows[:-1])
    track: np.ndarray = rows[index]
    return track
