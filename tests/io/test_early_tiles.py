"""Tiles that are handed out while they are still being read."""

from __future__ import annotations

import time

import numpy as np
import pytest
from casacore.tables import makearrcoldesc, maketabdesc, table

from rimetree.errors import DataError
from rimetree.io import MeasurementSet
from rimetree.io import filling as filling_module

PAIRS = [(p, q) for p in range(4) for q in range(p + 1, 4)]
ROWS = [(p, q, 10.0 * t, 1, 0, 0) for t in range(9) for p, q in PAIRS]


@pytest.fixture
def few_at_a_time(monkeypatch):
    """A handful of rows per call to casacore."""
    monkeypatch.setattr(filling_module, "CHUNK_BYTES", 500)


def arrays(tile):
    return [*tile.columns.values(), tile.flags, tile.weights, tile.rows, tile.ms_rows]


def test_rows_that_have_landed_are_those_of_the_table(make_ms, few_at_a_time):
    path = make_ms(times=(5e9, 12, 10.0))
    ms = MeasurementSet(path)
    with table(str(path), ack=False) as main:
        column = main.getcol("DATA")
    for tile in ms.reader(ms.groups[0], ["DATA"], 6, early=True):
        while (there := int(tile.landed[0])) < tile.nrow:
            assert there >= 0
            np.testing.assert_array_equal(tile.columns["DATA"][:there], column[tile.ms_rows[:there]])
        whole = tile.complete()
        assert whole.rows is tile.rows and whole.complete() is whole
        expected = ms.read(ms.groups[0], slice(tile.start, tile.stop))
        for own, other in zip(arrays(whole), arrays(expected), strict=True):
            np.testing.assert_array_equal(own, other)


def test_rows_without_arrays_make_it_another_tile(raw_ms, edit, few_at_a_time):
    path = raw_ms(ROWS, [(2, ("XX", "XY", "YX", "YY"))])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("MODEL_DATA", 0j, ndim=2, valuetype="complex")))
        main.addcols(maketabdesc(makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float")))
        for row in set(range(54)) - {33, 34}:
            main.putcell("MODEL_DATA", row, np.full((2, 4), 1j * row))
        for row in set(range(54)) - {40}:
            main.putcell("WEIGHT_SPECTRUM", row, np.full((2, 4), row + 1.0, np.float32))
    ms = MeasurementSet(path)
    stream = ms.reader(ms.groups[0], ["MODEL_DATA"], 9, early=True)
    tile = next(stream)
    whole = tile.complete()
    assert tile.landed[0] == -1 and whole.rows is not tile.rows
    assert whole.empty == 2 and whole.nrow == 52 and whole.weight_source == "WEIGHT_SPECTRUM, else WEIGHT"
    np.testing.assert_array_equal(whole.columns["MODEL_DATA"][:, 0, 0].imag, whole.ms_rows)
    good = whole.ms_rows != 40
    np.testing.assert_array_equal(whole.weights[good, 0, 0], whole.ms_rows[good] + 1)


def test_what_fails_is_raised_where_all_is_wanted(raw_ms, edit, few_at_a_time):
    path = raw_ms(ROWS, [(2, ("XX", "XY", "YX", "YY"))])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("OTHER", 0j, ndim=2, valuetype="complex")))
        for row in range(54):
            main.putcell("OTHER", row, np.zeros((2, 3) if row == 30 else (2, 4), complex))
    ms = MeasurementSet(path)
    stream = ms.reader(ms.groups[0], ["OTHER"], 9, early=True)
    tile = next(stream)
    with pytest.raises(DataError, match="column OTHER cannot be read as 2x4 numbers per row"):
        tile.complete()
    assert tile.landed[0] == -1
    stream.close()


def test_closing_ends_the_wait_for_rows(make_ms, few_at_a_time):
    ms = MeasurementSet(make_ms(times=(5e9, 400, 10.0)))
    stream = ms.reader(ms.groups[0], ["DATA"], 200, early=True)
    tile = next(stream)
    stream.close()
    time.sleep(0.01)
    assert tile.landed[0] in (-1, tile.nrow)
