"""Named flagsets: bits of the column BITFLAG that its keywords name, beside FLAG.

The convention of MeqTrees, CubiCal and tricolour: FLAGSETS lists the names, FLAGSET_<name> is the bit. The flagset "legacy" is what
FLAG held when the first other one was made. At any moment a kill leaves a table from which the same call, made again, gets to
the same end: what FLAG held is whole in BITFLAG before FLAG changes, and a name stays until all its bits have gone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from .columns import OURS, created_bytes, ensure_column
from .metadata import Metadata
from .obstacles import missing_space
from .reading import CHUNK_BYTES, spans
from .table import writing
from .tile import Tile

COLUMN, ROWS, NAMES = "BITFLAG", "BITFLAG_ROW", "FLAGSETS"
LEGACY = "legacy"
BITS = [1 << i for i in range(31)]
"""The sign bit is left alone."""


def flagsets(path: Path, table: Any) -> dict[str, int]:
    """See `MeasurementSet.flagsets`. Raises `DataError` where BITFLAG or its keywords are of another kind."""
    if COLUMN not in table.colnames():
        return {}
    if table.coldatatype(COLUMN) != "int" or table.isscalarcol(COLUMN):
        raise DataError(f"{path}: column {COLUMN} holds {table.coldatatype(COLUMN)}, expected arrays of int; rename it")
    found = {}
    for key, bit in table.getcolkeywords(COLUMN).items():
        if key.startswith("FLAGSET_"):
            if not isinstance(bit, int):
                raise DataError(f"{path}: keyword {key} of {COLUMN} is {bit!r}, expected a bit, as 1, 2, 4 ...")
            found[key.removeprefix("FLAGSET_")] = bit
    return dict(sorted(found.items(), key=lambda item: item[1]))


def find_obstacles(
    path: Path, table: Any, meta: Metadata, ddids: np.ndarray, read: Collection[str], write: Collection[str]
) -> list[str]:
    """See `MeasurementSet.flagset_obstacles`."""
    known = flagsets(path, table)
    there = f"there are {', '.join(known)}" if known else "there are none"
    found = [f"{path}: no flagset {n!r}{nearest(n, known)}; {there}" for n in sorted(set(read) - known.keys())]
    for name in sorted(write):
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_.+-]*", name):
            found.append(f"{path}: {name!r} cannot be the name of a flagset; use letters, digits, _ . + and -")
        elif name.lower() == LEGACY:
            found.append(f"{path}: the flagset {LEGACY!r} keeps what FLAG held before; choose another name")
    new = {*write, LEGACY} - known.keys() if write else set()
    if len(new) > len(_free(known)):
        found.append(f"{path}: {len(known)} flagsets leave no bits for {', '.join(sorted(new))}; remove one")
    if new and "FLAG" not in table.colnames():
        found.append(f"{path}: it has no column FLAG, beside which flagsets are kept")
    if write and COLUMN not in table.colnames():
        found += missing_space(path, [COLUMN], created_bytes(meta, ddids) // 2)  # int for complex
    return found


def ensure(path: Path, meta: Metadata, ddids: np.ndarray, name: str) -> None:
    """See `MeasurementSet.ensure_flagset`."""
    ensure_column(path, meta, ddids, COLUMN, "int")
    with writing(path, ROWS) as table:
        if ROWS not in table.colnames():
            from casacore.tables import makescacoldesc, maketabdesc

            table.addcols(maketabdesc([makescacoldesc(ROWS, 0, valuetype="int", comment=OURS)]))
    for wanted in (LEGACY, name):
        with writing(path, f"flagset {wanted}") as table:
            known = flagsets(path, table)
            if wanted in known:
                continue
            free = _free({**known, "": _unnamed(table)})
            if not free:
                raise DataError(f"{path}: {len(known)} flagsets leave no bit for {wanted!r}; remove one")
            bit = free[0]
            for rows, start, count in _pieces(table):
                words = rows.getcol(COLUMN, start, count) & ~np.int32(bit)
                if wanted == LEGACY:
                    words |= np.where(rows.getcol("FLAG", start, count), np.int32(bit), np.int32(0))
                rows.putcol(COLUMN, words, start, count)
            if wanted == LEGACY:
                whole = table.getcol(ROWS) & ~np.int32(bit)
                table.putcol(ROWS, whole | np.where(table.getcol("FLAG_ROW"), np.int32(bit), np.int32(0)))
            table.flush()
            _name(table, {**known, wanted: bit})


def write(path: Path, tile: Tile, flags: np.ndarray | None, sets: Mapping[str, np.ndarray]) -> None:
    """See `MeasurementSet.write_flags`."""
    for values in (*sets.values(), *(() if flags is None else (flags,))):
        if values.shape != tile.shape:
            raise ValueError(f"flags have shape {values.shape}, expected {tile.shape} (rows, channels, corrs)")
    stale = np.zeros(tile.shape, bool)
    if sets:
        with writing(path, f"flagset {', '.join(sets)}") as table:
            known = flagsets(path, table)
            missing = sorted(sets.keys() - known.keys())
            if missing:
                raise DataError(f"{path}: no flagset {missing[0]!r}; create it first (ensure_flagset)")
            own = np.int32(sum(known[name] for name in sets))
            for part, words, put in _tile(table, tile, COLUMN):
                flag = _get(table, tile, "FLAG", part)
                stale[part] = (words & own != 0) & (words & ~own == 0)
                words = np.where(flag & (words == 0), np.int32(known[LEGACY]), words) & ~own
                for name, values in sets.items():
                    words |= np.where(values[part], np.int32(known[name]), np.int32(0))
                put(words)
    if flags is not None:
        with writing(path, "column FLAG") as table:
            for part, flag, put in _tile(table, tile, "FLAG"):
                put((flag & ~stale[part]) | (flags[part] != 0))


def remove(path: Path, name: str) -> None:
    """See `MeasurementSet.remove_flagset`."""
    with writing(path, "column FLAG") as table:
        known = _known(path, table, name)
        if name == LEGACY:
            raise DataError(
                f"{path}: the flagset {LEGACY!r} keeps what FLAG held before the others; it cannot be removed"
            )
        bit = np.int32(known[name])
        for rows, start, count in _pieces(table):
            flag = rows.getcol("FLAG", start, count)
            rows.putcol("FLAG", flag & (rows.getcol(COLUMN, start, count) != bit), start, count)
    with writing(path, f"flagset {name}") as table:
        for rows, start, count in _pieces(table):
            rows.putcol(COLUMN, rows.getcol(COLUMN, start, count) & ~bit, start, count)
        if ROWS in table.colnames():
            table.putcol(ROWS, table.getcol(ROWS) & ~bit)
        table.flush()
        _name(table, {key: value for key, value in known.items() if key != name})


def restore(path: Path) -> None:
    """See `MeasurementSet.restore_flags`."""
    with writing(path, "column FLAG") as table:
        bit = np.int32(_known(path, table, LEGACY)[LEGACY])
        for rows, start, count in _pieces(table):
            rows.putcol("FLAG", rows.getcol(COLUMN, start, count) & bit != 0, start, count)


def flagged(path: Path, table: Any) -> dict[str, float]:
    """See `MeasurementSet.flagged`."""
    known = flagsets(path, table)
    total, counts = 0, dict.fromkeys(["FLAG", *known], 0)
    for rows, start, count in _pieces(table):
        flag = rows.getcol("FLAG", start, count)
        total += flag.size
        counts["FLAG"] += int(flag.sum())
        words = rows.getcol(COLUMN, start, count) if known else np.zeros(1, np.int32)
        for name, bit in known.items():
            counts[name] += int(np.count_nonzero(words & np.int32(bit)))
    return {name: count / max(total, 1) for name, count in counts.items()}


def _known(path: Path, table: Any, name: str) -> dict[str, int]:
    """All flagsets, of which `name` must be one."""
    known = flagsets(path, table)
    if name not in known:
        there = f"there are {', '.join(known)}" if known else "there are none"
        raise DataError(f"{path}: no flagset {name!r}{nearest(name, known)}; {there}")
    return known


def _free(known: Mapping[str, int]) -> list[int]:
    return [bit for bit in BITS if not any(bit & used for used in known.values())]


def _unnamed(table: Any) -> int:
    """Bits that another program uses, with or without a name; ours, without a name, are what a killed process began."""
    if table.getcoldesc(COLUMN)["comment"] == OURS:
        return 0
    used = 0
    for rows, start, count in _pieces(table):
        used |= int(np.bitwise_or.reduce(rows.getcol(COLUMN, start, count), None))
    return used


def _name(table: Any, sets: Mapping[str, int]) -> None:
    """Make the keywords say that these are the flagsets."""
    for key in table.colkeywordnames(COLUMN):
        if key.startswith("FLAGSET_") and key.removeprefix("FLAGSET_") not in sets:
            table.removecolkeyword(COLUMN, key)
    for name, bit in sets.items():
        table.putcolkeyword(COLUMN, f"FLAGSET_{name}", int(bit))
    table.putcolkeyword(COLUMN, NAMES, ",".join(sets))
    table.flush()


def _pieces(table: Any) -> Iterator[tuple[Any, int, int]]:
    """(table, first row, rows) of runs of all rows that hold arrays of one shape, a few MB each."""
    shapes: dict[str, Any] = {}
    if "shape" in table.getcoldesc("FLAG"):
        shapes[str(table.getcoldesc("FLAG")["shape"])] = np.arange(table.nrows())
    else:
        there = [row for row in range(table.nrows()) if table.iscelldefined("FLAG", row)]
        texts = table.selectrows(there).getcolshapestring("FLAG") if there else []
        for row, text in zip(there, texts, strict=True):
            shapes.setdefault(text, []).append(row)
    for text, found in shapes.items():
        size = 4 * int(np.prod([int(n) for n in re.findall(r"\d+", text)]))
        step = max(1, CHUNK_BYTES // max(size, 1))
        for rows, first, part in spans(table, np.array(found)):
            last = first + part.stop - part.start
            for start in range(first, last, step):
                yield rows, start, min(step, last - start)


def _tile(table: Any, tile: Tile, name: str) -> Iterator[tuple[slice, np.ndarray, Any]]:
    """(rows of the tile, what the column holds there, a function that puts other values there)."""
    corner = _corner(tile)
    for rows, start, part in spans(table, tile.ms_rows):
        step = max(1, CHUNK_BYTES // max(1, 4 * int(np.prod(tile.shape[1:]))))
        for first in range(part.start, part.stop, step):
            last = min(first + step, part.stop)
            at, count = start + first - part.start, last - first

            def put(values: np.ndarray, rows: Any = rows, at: int = at, count: int = count) -> None:
                rows.putcolslice(name, values, *corner, [], at, count)

            yield slice(first, last), rows.getcolslice(name, *corner, [], at, count), put


def _get(table: Any, tile: Tile, name: str, part: slice) -> np.ndarray:
    """What a column holds in some rows of a tile."""
    rows = table.selectrows(tile.ms_rows[part])
    return np.asarray(rows.getcolslice(name, *_corner(tile)))


def _corner(tile: Tile) -> tuple[list[int], list[int]]:
    channels = tile.group.channels
    return [channels.start, 0], [channels.stop - 1, len(tile.group.corrs) - 1]
