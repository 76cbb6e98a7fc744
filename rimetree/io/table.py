"""Opening casacore tables: without locks for reading, as briefly as possible for writing, with plain errors."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import DataError
from .headers import forget, keep, mend, restore

MAIN_COLUMNS = ("ANTENNA1", "ANTENNA2", "TIME", "INTERVAL", "FIELD_ID", "DATA_DESC_ID", "SCAN_NUMBER", "UVW")
_LOCK = "hhqqi4x"  # struct flock on 64-bit Linux: type, whence, start, length, pid


def open_main(path: Path) -> Any:
    """The main table of a Measurement Set, read-only and never locking, so that others may read and write it.

    What a killed process left half-written is mended first. Raises `DataError` where it is missing, incomplete or no
    Measurement Set.
    """
    if not path.exists():
        raise DataError(f"{path}: no such Measurement Set; check the path")
    if not (path / "table.dat").is_file():
        if (path / "table.lock").exists() or (path / "table.info").exists():
            raise DataError(
                f"{path}: its file table.dat is missing (an incomplete copy?); copy the Measurement Set again"
            )
        raise DataError(f"{path}: not a Measurement Set; expected a folder with a file table.dat")
    if not lock_holder(path):
        mend(path)
    table = open_table(path)
    lacking = [name for name in MAIN_COLUMNS if name not in table.colnames()]
    if lacking:
        raise DataError(
            f"{path}: a casacore table but not a Measurement Set; it lacks the columns {', '.join(lacking)}"
        )
    return table


def open_sub(path: Path, name: str) -> Any:
    """Sub-table `name`, read-only; `DataError` where it is missing."""
    if not (path / name / "table.dat").is_file():
        raise DataError(f"{path}: sub-table {name} is missing (an incomplete copy?); copy the Measurement Set again")
    return open_table(path / name)


def open_table(path: Path, write: bool = False) -> Any:
    """One casacore table; `DataError` with casacore's own words where it cannot be opened."""
    from casacore.tables import table

    try:
        return table(str(path), readonly=not write, ack=False, lockoptions="autonoread")
    except RuntimeError as error:
        raise DataError(f"{path}: casacore cannot open it{' for writing' if write else ''}: {error}") from error


@contextmanager
def writing(path: Path, what: str) -> Iterator[Any]:
    """The main table, write-locked; flushed and unlocked on leaving, whatever happens, so that others can read it.

    Raises `DataError`, naming `what` was being written, where the lock is not to be had or casacore fails.
    """
    table = open_table(path, write=True)
    try:
        table.lock(True, 10)
    except RuntimeError as error:
        table.close()
        holder = lock_holder(path)
        reason = (
            f"locked by another process{holder}; close it and run again" if holder else f"cannot be locked: {error}"
        )
        raise DataError(f"{path}: {reason}") from error
    try:
        keep(path)
        yield table
        table.flush()
        forget(path)
    except (RuntimeError, OSError) as error:
        raise DataError(f"{path}: writing {what} failed: {error}; check free disk space and permissions") from error
    finally:
        with suppress(RuntimeError):  # where the disk is full, flushing again fails again
            table.unlock()
        table.close()
        restore(path)


def opened_here(path: Path) -> bool:
    """Whether this process has a file of a table open. casacore would go on reading it where another takes its place; unknown,
    hence False, on systems without /proc."""
    inside = f"{path.resolve()}/"
    for descriptor in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # that of the listing itself is closed already
            if os.readlink(descriptor).startswith(inside):
                return True
    return False


def lock_holder(path: Path) -> str:
    """` (process 1234)` where another process holds a read or write lock on the table, else an empty string.

    Casacore locks byte 0 of table.lock. Asking needs no lock of our own and no write permission.
    """
    try:
        descriptor = os.open(path / "table.lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        query = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        kind, *_, process = struct.unpack(_LOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, query))
    except OSError:  # some network filesystems have no locks
        return ""
    finally:
        os.close(descriptor)
    return "" if kind == fcntl.F_UNLCK else f" (process {process})"
