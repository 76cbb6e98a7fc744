"""What is in the way of a run, found before the first byte is written."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from .columns import COMPLEX, created_bytes, data_columns, missing_columns
from .metadata import Metadata
from .table import lock_holder


def find_obstacles(
    path: Path, table: Any, meta: Metadata, ddids: np.ndarray, read: Collection[str], write: Collection[str]
) -> list[str]:
    """See `MeasurementSet.obstacles`. `ddids` is DATA_DESC_ID of every row of the main table."""
    if not (path / "table.dat").is_file():
        return [f"{path}: its file table.dat has gone; copy the Measurement Set again"]
    found = missing_columns(path, table, sorted(read))
    if write:
        found += _columns_to_write(path, table, sorted(write))
        found += _permissions(path)
        holder = lock_holder(path)
        if holder:
            found.append(f"{path}: locked by another process{holder}; close it and run again")
        new = [name for name in sorted(write) if name not in table.colnames()]
        found += missing_space(path, new, created_bytes(meta, ddids) * len(new))
    return found


def _columns_to_write(path: Path, table: Any, names: list[str]) -> list[str]:
    found = []
    for name in names:
        if name in table.colnames():
            if name != "FLAG" and (table.isscalarcol(name) or table.coldatatype(name) not in COMPLEX):
                kind = table.coldatatype(name)
                found.append(
                    f"{path}: cannot write visibilities into column {name}, which holds {kind}; name another column"
                )
        elif not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
            found.append(f"{path}: {name!r} cannot be a column name; use letters, digits and underscores")
        elif not data_columns(table):
            found.append(f"{path}: cannot create column {name}: there is no column with visibilities to make it like")
    return found


def _permissions(path: Path) -> list[str]:
    closed = [p.name for p in sorted(path.glob("table.*")) if not os.access(p, os.W_OK)]
    if not os.access(path, os.W_OK | os.X_OK):
        return [f"{path}: the folder is read-only; make it writable (chmod -R u+w) or work on a copy"]
    if closed:
        more = f" and {len(closed) - 3} more" if len(closed) > 3 else ""
        return [
            f"{path}: read-only: {', '.join(closed[:3])}{more}; make them writable (chmod -R u+w) or work on a copy"
        ]
    return []


def missing_space(path: Path, names: list[str], wanted: int) -> list[str]:
    """A line where the disk has no room for new columns of `wanted` bytes."""
    free = shutil.disk_usage(path).free
    if not names or wanted * 1.02 + 1e7 < free:  # 2 % and 10 MB for half-filled tiles and indices
        return []
    need = f"{wanted / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free; make room"
    return [f"{path}: not enough free disk space to create {', '.join(names)}: {need}"]
