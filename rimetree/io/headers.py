"""Copies of the small files of a table that casacore truncates and writes anew at every flush.

Killed in between (some 20 microseconds), a process would leave a Measurement Set that cannot be opened: the headers of
tiled columns (table.f7, some hundred bytes each) and table.info are written in place. table.dat is replaced atomically,
but until table.lock has been written too, casacore refuses to lock ("another process changed the number of columns").
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

_FOLDER = ".rimetree"
_LARGEST = 1 << 20


def keep(path: Path) -> None:
    """Copy the headers of the table at `path`, which is about to be written by this process, the only one to do so."""
    folder = path / _FOLDER
    folder.mkdir(exist_ok=True)
    for file in path.iterdir():
        if re.fullmatch(r"table\.(info|f\d+)", file.name) and file.stat().st_size < _LARGEST:
            shutil.copyfile(file, folder / "new")
            os.replace(folder / "new", folder / file.name)  # a copy is whole or absent


def forget(path: Path) -> None:
    """Remove the copies: all has been written."""
    shutil.rmtree(path / _FOLDER, ignore_errors=True)


def restore(path: Path) -> None:
    """Put back what was truncated and not written again, because the disk is full or the process was killed."""
    for copy in (path / _FOLDER).glob("table.*"):
        file = path / copy.name
        if not file.exists() or file.stat().st_size < copy.stat().st_size:
            os.replace(copy, file)
    forget(path)


def mend(path: Path) -> None:
    """Restore what a killed process left. The caller makes sure that no process is writing."""
    if (path / _FOLDER).is_dir() and os.access(path, os.W_OK):
        (path / "table.lock").unlink(missing_ok=True)  # casacore makes a new one
        restore(path)
