"""Writing: creating data columns like DATA, and putting tiles into them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from .metadata import Metadata
from .reading import CHUNK_BYTES, NATIVE, spans
from .table import writing
from .tile import Tile

OURS = "created by rimetree"
"""The comment of columns that we make."""

COMPLEX = ("complex", "dcomplex")
_LIKE_DATA = ("TiledColumnStMan", "TiledShapeStMan", "StandardStMan")
"""Storage managers to copy. Others are read-only, lossy or virtual (LofarStMan, DyscoStMan, engines)."""


def data_columns(table: Any) -> list[str]:
    """Names of the columns that hold visibilities: complex arrays, and FLOAT_DATA; DATA first."""
    names = [n for n in table.colnames() if not table.isscalarcol(n)]
    found = [n for n in names if table.coldatatype(n) in COMPLEX or n == "FLOAT_DATA"]
    return sorted(found, key=lambda name: name != "DATA")


def missing_columns(path: Path, table: Any, wanted: Collection[str]) -> list[str]:
    """One line for each of `wanted` that does not exist or does not hold visibilities."""
    valid, faults = data_columns(table), []
    for name in wanted:
        if name in valid:
            continue
        state = f"holds no visibilities ({table.coldatatype(name)})" if name in table.colnames() else "does not exist"
        known = f"columns with visibilities: {', '.join(valid)}" if valid else "it has no columns with visibilities"
        faults.append(f"{path}: column {name} {state}{nearest(name, valid)}; {known}")
    return faults


def ensure_column(path: Path, meta: Metadata, ddids: np.ndarray, name: str, kind: str = "complex") -> None:
    """See `MeasurementSet.ensure_column`. `ddids` (rows of the main table,); `kind`: casacore's name of the type."""
    what = f"the new column {name}"
    with writing(path, what) as table:
        created = name not in table.colnames()
        if created:
            try:
                _create(path, table, name, kind)
                table.flush()
            except RuntimeError:  # a column half there, once written to table.dat, would keep the set from opening
                with suppress(RuntimeError):
                    table.removecols(name)
                raise
        elif table.iscelldefined(name, len(ddids) - 1):
            return  # rows are filled in order, so the last one is defined only where all are
    # Filled in a second step, so that copies of the new headers are kept while they are written again.
    try:
        with writing(path, what) as table:
            _fill(table, meta, ddids, name, NATIVE[kind])
    except DataError:
        if created:
            with writing(path, what) as table:
                table.removecols(name)
        raise


def write(path: Path, tile: Tile, name: str, values: np.ndarray) -> None:
    """See `MeasurementSet.write`; `values` has the type of the column."""
    if values.shape != tile.shape:
        raise ValueError(
            f"values for column {name} have shape {values.shape}, expected {tile.shape} (rows, channels, corrs)"
        )
    group = tile.group
    step = max(1, CHUNK_BYTES // max(1, values[:1].nbytes))
    corner = [group.channels.start, 0], [group.channels.stop - 1, len(group.corrs) - 1]
    with writing(path, f"column {name}") as table:
        if name not in table.colnames():
            raise DataError(f"{path}: column {name} does not exist; create it first (ensure_column)")
        for rows, start, part in spans(table, tile.ms_rows):
            for first in range(part.start, part.stop, step):
                block = values[first : min(first + step, part.stop)]
                at = start + first - part.start
                if group.whole:
                    rows.putcol(name, block, at, len(block))
                else:
                    rows.putcolslice(name, block, *corner, [], at, len(block))


def created_bytes(meta: Metadata, ddids: np.ndarray) -> int:
    """Bytes on disk of one new complex column."""
    counts = np.bincount(ddids, minlength=len(meta.descriptions))
    return sum(8 * int(n) * int(np.prod(meta.shape(ddid))) for ddid, n in enumerate(counts))


def _create(path: Path, table: Any, name: str, kind: str) -> None:
    from casacore.tables import maketabdesc

    models = data_columns(table)
    if not models:
        raise DataError(f"{path}: cannot create column {name}: there is no column with visibilities to make it like")
    description = table.getcoldesc(models[0])
    manager = _manager(table.getdminfo(models[0]), "shape" in description)
    manager["NAME"] = f"Tiled_{name}" if manager["TYPE"].startswith("Tiled") else f"Standard_{name}"
    description |= {
        "valueType": kind,
        "keywords": {},
        "dataManagerType": manager["TYPE"],
        "dataManagerGroup": manager["NAME"],
        "comment": OURS,
    }
    table.addcols(maketabdesc([{"name": name, "desc": description}]), manager)


def _manager(model: dict[str, Any], fixed: bool) -> dict[str, Any]:
    """Data manager for a new column from that of the model: its type, and the tiles that it really has."""
    spec = dict(model.get("SPEC", {}))
    cubes = spec.pop("HYPERCUBES", {})
    if model["TYPE"] not in _LIKE_DATA:
        # 4 correlations x 64 channels x 512 rows = 1 MB, casacore's usual tile; it clips to smaller cells
        spec = {"DEFAULTTILESHAPE": np.array([4, 64, 512], np.int32)}
        return {"TYPE": "TiledColumnStMan" if fixed else "TiledShapeStMan", "SPEC": spec}
    if cubes:
        # Fillers give tiles per hypercube; the default may be of no use, or empty.
        largest = max(cubes.values(), key=lambda cube: int(np.prod(cube["CubeShape"], dtype=np.int64)))
        spec["DEFAULTTILESHAPE"] = largest["TileShape"]
    return {"TYPE": model["TYPE"], "SPEC": spec}


def _fill(table: Any, meta: Metadata, ddids: np.ndarray, name: str, dtype: Any) -> None:
    """Zeros into every cell that holds no array yet, rows in order (a column of fixed shape is born with zeros)."""
    if "shape" in table.getcoldesc(name):
        return
    runs = np.flatnonzero(np.diff(ddids)) + 1
    for start, stop in zip([0, *runs.tolist()], [*runs.tolist(), len(ddids)], strict=True):
        shape = meta.shape(int(ddids[start]))
        step = max(1, CHUNK_BYTES // (8 * shape[0] * shape[1]))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            if all(table.iscelldefined(name, row) for row in range(first, last)):
                continue
            empty = [row for row in range(first, last) if not table.iscelldefined(name, row)]
            for rows, at, part in spans(table, np.array(empty)):
                size = part.stop - part.start
                rows.putcol(name, np.zeros((size, *shape), dtype), at, size)
