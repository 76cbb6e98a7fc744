"""Fixtures shared by all tests: small Measurement Sets, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# The same examples everywhere: a failure that nobody can repeat helps nobody. `--hypothesis-profile=default` draws others.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

STOKES = {"RR": 5, "RL": 6, "LR": 7, "LL": 8, "XX": 9, "XY": 10, "YX": 11, "YY": 12}
Row = tuple[int, int, float, int, int, int]
"""antenna 1, antenna 2, time, scan, field, data description"""


@pytest.fixture
def make_ms(tmp_path: Path) -> Callable[..., Path]:
    """`make_ms(name="x.ms", **options)`: our simulator, 4 antennas x 6 slots x 5 channels with noise unless told."""
    from rimetree.io.simulate import simulate

    def make(name: str = "x.ms", **options: Any) -> Path:
        given = {"antennas": 4, "times": (5e9, 6, 10.0), "freqs": (1.4e9, 5, 1e6), "noise": 0.5} | options
        return simulate(tmp_path / name, **given)

    return make


@pytest.fixture
def edit() -> Callable[[Path], Any]:
    """`with edit(path) as table:` a writable casacore table; `path / "FIELD"` is a sub-table."""
    from casacore.tables import table

    @contextmanager
    def editing(path: Path) -> Iterator[Any]:
        opened = table(str(path), readonly=False, ack=False)
        try:
            yield opened
        finally:
            opened.close()

    return editing


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Node classes of a test are forgotten after it."""
    from rimetree.graph import registry

    registry.load()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))


@pytest.fixture
def raw_ms(tmp_path: Path) -> Callable[..., Path]:
    """`raw_ms(rows, windows)`: a Measurement Set by casacore alone, with variable-shape columns, rows as given.

    `windows` lists (channels, correlation names) per data description; data description i is spectral window n-1-i.
    DATA of row r is r + 1000 c + 1j k in channel c and correlation k.
    """

    def make(
        rows: list[Row], windows: list[tuple[int, tuple[str, ...]]], name: str = "raw.ms", interval: float = 10.0
    ) -> Path:
        from casacore import tables

        path = tmp_path / name
        description = tables.required_ms_desc()
        description.update(tables.maketabdesc([tables.makearrcoldesc("DATA", 0j, ndim=2, valuetype="complex")]))
        manager = {
            "TYPE": "TiledShapeStMan",
            "NAME": "TiledData",
            "COLUMNS": ["DATA"],
            "SPEC": {"DEFAULTTILESHAPE": np.array([4, 4, 8], np.int32)},
        }
        main = tables.default_ms(str(path), description, {"*1": manager})
        main.addrows(len(rows))
        columns = np.array(rows, float).T
        for column, values in zip(
            ("ANTENNA1", "ANTENNA2", "TIME", "SCAN_NUMBER", "FIELD_ID", "DATA_DESC_ID"), columns, strict=True
        ):
            main.putcol(column, values if column == "TIME" else values.astype(np.int32))
        main.putcol("INTERVAL", np.full(len(rows), interval))
        main.putcol("FLAG_ROW", np.zeros(len(rows), bool))
        main.putcol("UVW", np.arange(3.0 * len(rows)).reshape(-1, 3))
        for number, row in enumerate(rows):
            nchan, corrs = windows[row[5]]
            channel, corr = np.ogrid[:nchan, : len(corrs)]
            main.putcell("DATA", number, (number + 1000.0 * channel + 1j * corr).astype(np.complex64))
            main.putcell("FLAG", number, np.zeros((nchan, len(corrs)), bool))
            main.putcell("WEIGHT", number, np.full(len(corrs), 4, np.float32))
            main.putcell("SIGMA", number, np.full(len(corrs), 0.25, np.float32))
        main.close()
        _sub_tables(path, rows, windows)
        return path

    return make


def _sub_tables(path: Path, rows: list[Row], windows: list[tuple[int, tuple[str, ...]]]) -> None:
    antennas = range(1 + max(max(row[:2]) for row in rows))
    fields = range(1 + max(row[4] for row in rows))
    _fill(
        path / "ANTENNA",
        [{"NAME": f"A{i}", "MOUNT": "ALT-AZ", "POSITION": np.array([6.4e6, 10.0 * i, 5.0])} for i in antennas],
    )
    _fill(path / "FIELD", [{"NAME": f"3C{i}", "PHASE_DIR": np.array([[0.1 * i, 0.5]])} for i in fields])
    spws = [
        {"NAME": f"w{i}", "CHAN_FREQ": 1e9 * (i + 1) + np.arange(n), "CHAN_WIDTH": -np.ones(n)}
        for i, (n, _) in enumerate(windows[::-1])
    ]
    _fill(path / "SPECTRAL_WINDOW", spws)
    _fill(
        path / "POLARIZATION", [{"CORR_TYPE": np.array([STOKES[c] for c in corrs], np.int32)} for _, corrs in windows]
    )
    last = len(windows) - 1
    _fill(path / "DATA_DESCRIPTION", [{"SPECTRAL_WINDOW_ID": last - i, "POLARIZATION_ID": i} for i in range(last + 1)])


def _fill(path: Path, rows: list[dict[str, Any]]) -> None:
    from casacore.tables import table

    sub = table(str(path), readonly=False, ack=False)
    sub.addrows(len(rows))
    for number, row in enumerate(rows):
        for column, value in row.items():
            sub.putcell(column, number, value)
    sub.close()
