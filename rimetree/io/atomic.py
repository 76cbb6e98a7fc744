"""Files that appear whole or not at all: written beside their final name, synced, then renamed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import DataError


def check_writable(path: str | Path, overwrite: bool = False) -> Path:
    """The resolved `path`, where a file can be written there now; to be called before long work begins.

    Raises DataError where the file exists and `overwrite` is false, where the folder is missing or cannot be written.
    """
    path = Path(path)
    target = path.resolve()  # a link keeps pointing at the file that is replaced
    if target.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file, for example {path / 'solutions.h5'}")
    if target.exists() and not overwrite:
        raise DataError(f"{path} exists; choose another name, or allow overwriting (overwrite=True, --overwrite)")
    if not target.parent.is_dir():
        raise DataError(f"{path}: there is no folder {target.parent}; create it first")
    partial = _partial(target)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise DataError(f"{path}: the folder {target.parent} cannot be written ({_why(error)})") from error
    return target


def write_atomically(path: str | Path, content: bytes | memoryview, overwrite: bool = False) -> None:
    """Write `content` to `path`. Whatever happens, `path` is the old file (or none) or the whole new one.

    A fault or an interrupt removes the partial file; a killed process leaves `.NAME.PID.partial`, which nobody reads.
    Raises DataError as `check_writable` does, and where the disk is full.
    """
    target = check_writable(path, overwrite)
    partial = _partial(target)
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise DataError(f"{path} could not be written ({_why(error)}); nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; some network file systems cannot, and need not fail for it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
