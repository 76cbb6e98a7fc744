"""Every Measurement Set in ../shared/data (or $RIMETREE_SHARED/data) is read completely, or refused clearly."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table

from rimetree.errors import DataError
from rimetree.io import MeasurementSet

SHARED = Path(os.environ.get("RIMETREE_SHARED") or Path(__file__).parents[3] / "shared")
ARCHIVES = sorted((SHARED / "data").glob("*.tar.gz"))


@pytest.mark.parametrize("archive", ARCHIVES or [None], ids=lambda a: a.name.split(".")[0] if a else "absent")
def test_read(archive, tmp_path):
    if archive is None:
        print(f"{SHARED / 'data'} is absent: no real data to read")
        return
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    for folder in sorted(tmp_path.glob("*/*")):
        if (folder / "table.dat").is_file():
            read_or_refuse(folder)


def read_or_refuse(path):
    """A Measurement Set has a main table with ANTENNA1 and DATA_DESC_ID; calibration tables and others are refused."""
    with table(str(path), ack=False) as main:
        names = main.colnames()
        if not {"ANTENNA1", "DATA_DESC_ID"} <= set(names):
            with pytest.raises(DataError, match="a casacore table but not a Measurement Set; it lacks the columns"):
                MeasurementSet(path)
            return
        first, second = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        ms = MeasurementSet(path)
        columns = [n for n in ("DATA", "MODEL_DATA", "CORRECTED_DATA") if n in names]
        seen = []
        for group in ms.groups:
            for tile in ms.reader(group, columns, 13, uvw=True):
                assert tile.empty == 0
                check_tile(main, tile, columns)
                seen.append(tile.ms_rows)
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.flatnonzero(first != second))


def check_tile(main, tile, columns):
    """Every seventh row against its cells."""
    for i in range(0, tile.nrow, 7):
        row = int(tile.ms_rows[i])
        ((baseline, slot),) = np.argwhere(tile.rows == i)
        assert abs(main.getcell("TIME", row) - tile.time[slot]) <= 0.01 * main.getcell("INTERVAL", row)
        assert main.getcell("SCAN_NUMBER", row) == tile.scan[slot]
        np.testing.assert_array_equal(tile.uvw[baseline, slot], main.getcell("UVW", row))
        for name in columns:
            np.testing.assert_array_equal(tile.columns[name][i], main.getcell(name, row))
        assert (tile.flags[i] >= main.getcell("FLAG", row)).all()
        assert (tile.flags[i] == 1).all() or not main.getcell("FLAG_ROW", row)
    assert np.isfinite(tile.weights).all() and (tile.weights >= 0).all()
    assert (tile.flags >= (tile.weights == 0)).all()
