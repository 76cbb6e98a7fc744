"""Real Measurement Sets, unpacked from ../shared/data (or $RIMETREE_SHARED/data)."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(os.environ.get("RIMETREE_SHARED") or Path(__file__).parents[3] / "shared") / "data"

collect_ignore = [] if DATA.is_dir() else ["test_chains.py", "test_predict.py", "test_solves.py", "test_uvw.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line where the data are absent."""
    if not DATA.is_dir():
        terminalreporter.write_line(f"{DATA} is absent: no solves on real data were tested")


@pytest.fixture
def real(tmp_path: Path) -> Callable[[str], Path]:
    """`real("wsrt_3c343")`: a copy, in a folder of the test's own, of the Measurement Set in an archive."""

    def unpack(name: str) -> Path:
        with tarfile.open(DATA / f"{name}.tar.gz") as packed:
            packed.extractall(tmp_path, filter="data")
        (path,) = (p for p in (tmp_path / name).iterdir() if p.suffix.lower() == ".ms")
        return path

    return unpack
