"""Reading array columns of some rows, in chunks."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from ..errors import DataError

CHUNK_BYTES = 1 << 23
"""Bytes per call to casacore. It holds the interpreter lock while it reads (some 3 ms at this size), but a call costs
up to 0.1 ms beside what it reads: with many columns, 2 MB take a quarter more time in all."""

NATIVE = {
    "complex": np.complex64,
    "dcomplex": np.complex128,
    "float": np.float32,
    "double": np.float64,
    "boolean": np.bool_,
    "int": np.int32,
}


class EmptyCells(Exception):
    """Some rows of a column hold no array; `present` (nrow,) says which do."""

    def __init__(self, column: str, present: np.ndarray) -> None:
        super().__init__(column)
        self.column, self.present = column, present


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
        self._starts = [part.start for _, _, part in self._spans]

    def check_first(self, names: Sequence[str]) -> None:
        """Raises `EmptyCells` where the first row has no array in one of these columns: then many others have none either."""
        for name in names if self.rows.size else ():
            if name in self.names and not self.table.iscelldefined(name, int(self.rows[0])):
                raise self._empty(name)

    def read(self, name: str, out: np.ndarray, rows: slice | None = None) -> Iterator[slice]:
        """Read `rows` (default: all) of column `name` into `out` (nrow, ...), yielding each slice of rows as soon as it is there.

        Raises `EmptyCells` where a cell holds no array, `DataError` where casacore fails or a cell has another shape.
        """
        native = NATIVE.get(self.table.coldatatype(name))
        if native is None:
            raise DataError(f"{self.path}: column {name} holds {self.table.coldatatype(name)}, expected numbers")
        step = max(1, CHUNK_BYTES // max(1, out[:1].nbytes))
        begin, end = (0, len(out)) if rows is None else (rows.start, rows.stop)
        for table, start, part in self._spans[max(bisect_right(self._starts, begin) - 1, 0) :]:
            for first in range(max(part.start, begin), min(part.stop, end), step):
                if self.stop is not None and self.stop.is_set():
                    raise _Stopped
                chunk = slice(first, min(first + step, part.stop, end))
                target = out[chunk] if native == out.dtype else np.empty(out[chunk].shape, native)
                self._get(table, name, target, start + first - part.start)
                if target.dtype != out.dtype:
                    out[chunk] = target
                yield chunk
            if part.stop >= end:
                break

    def load(self, name: str, out: np.ndarray, rows: slice | None = None) -> np.ndarray:
        """Read `rows` (default: all) of a column, and return `out`."""
        for _ in self.read(name, out, rows):
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
            gap = self._empty(name)
            if not gap.present.all():
                raise gap from error
            expected = "x".join(map(str, target.shape[1:]))
            raise DataError(
                f"{self.path}: column {name} cannot be read as {expected} numbers per row near row {start}: {error}"
            ) from error

    def _empty(self, name: str) -> EmptyCells:
        return EmptyCells(name, np.array([self.table.iscelldefined(name, row) for row in self.rows.tolist()], bool))


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
