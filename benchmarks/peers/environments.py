"""An environment of its own for each peer, made once under ~/.cache/rimetree/peers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rimetree" / "peers"
INSTALLING = 1800
"""Seconds that an installation may take."""


class NotInstalledError(Exception):
    """A peer that cannot be installed here, and why."""


def environment(name: str, packages: Sequence[str], newest: tuple[int, int] | None = None) -> Path:
    """The folder of an environment with these packages, on a Python not newer than `newest`.

    Raises NotInstalledError with the last line of what pip said.
    """
    folder, done = ROOT / name, ROOT / f"{name}.installed"
    wanted = " ".join(packages)
    if done.exists() and done.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    ROOT.mkdir(parents=True, exist_ok=True)
    python = interpreter(newest)
    print(f"installing {wanted} with {python} into {folder} (once)", file=sys.stderr)
    _do([python, "-m", "venv", str(folder)])
    _do([str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages])
    done.write_text(wanted)
    return folder


def interpreter(newest: tuple[int, int] | None) -> str:
    """This Python, or the newest that is installed and not newer than `newest`. Raises NotInstalledError."""
    if newest is None or sys.version_info[:2] <= newest:
        return sys.executable
    for minor in range(newest[1], 6, -1):
        for python in _candidates(f"{newest[0]}.{minor}"):
            if subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0:
                return python
    raise NotInstalledError(f"it needs Python {newest[0]}.{newest[1]} or older: install one (pyenv, uv, apt)")


def _candidates(version: str) -> Iterator[str]:
    """Where a Python of this version may be: on the path, of pyenv, of uv."""
    if on_path := shutil.which(f"python{version}"):
        yield on_path  # pyenv puts a command there that fails when that version is not switched on
    yield from map(str, sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")))
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            yield found.stdout.strip()


def _do(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING, check=False)
    except subprocess.TimeoutExpired as late:
        raise NotInstalledError(f"{command[0]} took longer than {INSTALLING} s") from late
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if "error" in line.lower()]
        raise NotInstalledError((said or done.stderr.splitlines() or ["pip failed"])[-1].strip())
