"""Tiles against the same cells read one by one or by whole columns."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from casacore.tables import makearrcoldesc, maketabdesc, table

from rimetree.errors import DataError
from rimetree.io import MeasurementSet

LINEAR = ("XX", "XY", "YX", "YY")
PAIRS = list(itertools.combinations(range(4), 2))
ROWS = [(p, q, 10.0 * t, 1, 0, 0) for t in range(9) for p, q in PAIRS]


def cells(path, name, rows):
    with table(str(path), ack=False) as main:
        return np.array([main.getcell(name, int(row)) for row in rows])


def put(edit, path, name, rows, value):
    with edit(path) as main:
        for row in np.atleast_1d(rows):
            main.putcell(name, int(row), np.broadcast_to(value, main.getcell(name, int(row)).shape))


def test_tiles_together_are_the_column(make_ms):
    path = make_ms(times=(5e9, 7, 10.0))
    ms = MeasurementSet(path)
    seen = [
        (t.columns["DATA"].copy(), t.weights.copy(), t.time, t.start, t.stop)
        for t in ms.reader(ms.groups[0], ["DATA"], 3)
    ]
    with table(str(path), ack=False) as main:
        np.testing.assert_array_equal(np.concatenate([s[0] for s in seen]), main.getcol("DATA"))
        np.testing.assert_array_equal(np.concatenate([s[1] for s in seen]), main.getcol("WEIGHT_SPECTRUM"))
    np.testing.assert_array_equal(np.concatenate([s[2] for s in seen]), ms.groups[0].time)
    assert [s[3:] for s in seen] == [(0, 3), (3, 6), (6, 7)]


def test_tiles_of_given_slots(make_ms):
    ms = MeasurementSet(make_ms(times=(5e9, 7, 10.0)))
    parts = [slice(0, 1), slice(3, 7)]
    for part, tile in zip(parts, ms.reader(ms.groups[0], ["DATA"], parts), strict=True):
        np.testing.assert_array_equal(tile.time, ms.groups[0].time[part])
        np.testing.assert_array_equal(tile.ms_rows, ms.groups[0].rows[:, part].T.ravel())


@pytest.mark.parametrize("corrs", [("XX",), ("XX", "YY"), LINEAR, ("XX", "YY", "XY", "YX"), ("RR", "LL")])
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_every_cell_is_where_the_raster_says(raw_ms, corrs, order):
    rows = [r for r in ROWS if r[:3] != (1, 2, 40.0)] + [(2, 2, 10.0 * t, 1, 0, 0) for t in range(9)]
    if order == "shuffled":
        rows = [rows[i] for i in np.random.default_rng(3).permutation(len(rows))]
    ms = MeasurementSet(raw_ms(rows, [(3, corrs)]))
    number = {row[:3]: i for i, row in enumerate(rows)}
    tile = ms.read(ms.groups[0], slice(2, 6), ["DATA"], uvw=True)
    assert tile.corrs == corrs and tile.shape == (23, 3, len(corrs))
    for b, (p, q) in enumerate(PAIRS):
        for slot, time in enumerate(tile.time):
            row = number.get((p, q, float(time)))
            if row is None:
                assert tile.rows[b, slot] == -1 and np.isnan(tile.uvw[b, slot]).all()
                continue
            channel, corr = np.ogrid[:3, : len(corrs)]
            np.testing.assert_array_equal(tile.columns["DATA"][tile.rows[b, slot]], row + 1000 * channel + 1j * corr)
            np.testing.assert_array_equal(tile.uvw[b, slot], 3 * row + np.arange(3))
            assert tile.ms_rows[tile.rows[b, slot]] == row


@pytest.mark.parametrize("shuffle", [False, True])
def test_channel_selection(raw_ms, shuffle):
    order = np.random.default_rng(4).permutation(len(ROWS)) if shuffle else range(len(ROWS))
    path = raw_ms([ROWS[i] for i in order], [(8, LINEAR)])
    ms = MeasurementSet(path, channels="2~4")
    tile = ms.read(ms.groups[0])
    np.testing.assert_array_equal(tile.columns["DATA"], cells(path, "DATA", tile.ms_rows)[:, 2:5])
    assert tile.shape == (54, 3, 4) and tile.flags.shape == tile.shape and tile.weights.shape == (54, 1, 4)


def test_windows_of_different_shape(raw_ms):
    rows = [(*row[:5], d) for row in ROWS for d in (0, 1)]
    path = raw_ms(rows, [(3, LINEAR), (5, ("XX",))])
    ms = MeasurementSet(path)
    for group, shape in zip(ms.groups, [(54, 3, 4), (54, 5, 1)], strict=True):
        tile = ms.read(group)
        assert tile.shape == shape
        np.testing.assert_array_equal(tile.columns["DATA"], cells(path, "DATA", tile.ms_rows))


def test_float_data_becomes_complex(make_ms, edit):
    path = make_ms()
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("FLOAT_DATA", 0.0, shape=[5, 4], valuetype="float")))
        main.addcols(maketabdesc(makearrcoldesc("WIDE", 0j, shape=[5, 4], valuetype="dcomplex")))
        main.putcol("FLOAT_DATA", main.getcol("DATA").real)
        main.putcol("WIDE", main.getcol("DATA").astype(complex))
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0], columns=["DATA", "FLOAT_DATA", "WIDE"])
    np.testing.assert_array_equal(tile.columns["FLOAT_DATA"], tile.columns["DATA"].real)
    np.testing.assert_array_equal(tile.columns["WIDE"], tile.columns["DATA"])
    assert tile.columns["WIDE"].dtype == np.complex64


def test_flags_are_flag_or_flag_row(make_ms, edit):
    path = make_ms()
    put(edit, path, "FLAG", 3, np.arange(20).reshape(5, 4) % 2 == 0)
    with edit(path) as main:
        main.putcell("FLAG_ROW", 7, True)
    ms = MeasurementSet(path)
    flags = ms.read(ms.groups[0]).flags
    expected = np.zeros((36, 5, 4), np.uint8)
    expected[3, :, 0::2] = 1
    expected[7] = 1
    np.testing.assert_array_equal(flags, expected)


def test_without_flag_column_only_rows_are_flagged(make_ms, edit):
    path = make_ms()
    with edit(path) as main:
        main.removecols(["FLAG"])
        main.putcell("FLAG_ROW", 7, True)
    ms = MeasurementSet(path)
    np.testing.assert_array_equal(ms.read(ms.groups[0]).flags.any((1, 2)).nonzero()[0], [7])


@pytest.mark.parametrize("bad", [0.0, -1.0, -0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["WEIGHT_SPECTRUM", "WEIGHT"])
def test_unusable_weights_are_zero_and_flag(make_ms, edit, bad, column):
    path = make_ms()
    put(edit, path, column, 5, bad)
    if column == "WEIGHT":
        with edit(path) as main:
            main.removecols(["WEIGHT_SPECTRUM"])
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0])
    assert tile.flags[5].all() and tile.flags.sum() == 20
    assert (tile.weights[5] == 0).all() and (tile.weights[:5] == 4).all() and tile.weight_source == column


def test_smallest_and_largest_weights_are_usable(make_ms, edit):
    path = make_ms()
    tiny, huge = np.float32(1e-45), np.finfo(np.float32).max
    put(edit, path, "WEIGHT_SPECTRUM", 0, tiny)
    put(edit, path, "WEIGHT_SPECTRUM", 1, huge)
    put(edit, path, "WEIGHT_SPECTRUM", 2, -1)
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0])
    assert tile.weights[0, 0, 0] == tiny and tile.weights[1, 0, 0] == huge and not tile.flags[:2].any()


def test_weights_fall_back(make_ms, edit):
    path = make_ms(noise=0.5)
    for gone, source, weight in (
        ([], "WEIGHT_SPECTRUM", 4),
        (["WEIGHT_SPECTRUM"], "WEIGHT", 4),
        (["WEIGHT"], "1/SIGMA^2", 0.25),
        (["SIGMA"], "1", 1),
    ):
        with edit(path) as main:
            if gone:
                main.removecols(gone)
            if "SIGMA" in main.colnames():
                main.putcol("SIGMA", np.full((36, 4), 2, np.float32))
        ms = MeasurementSet(path)
        tile = ms.read(ms.groups[0])
        assert tile.weight_source == source
        np.testing.assert_array_equal(np.broadcast_to(tile.weights, tile.shape), weight)
        ms.close()


def test_sigma_that_is_no_number_flags(make_ms, edit):
    path = make_ms()
    put(edit, path, "SIGMA", 0, np.array([0, -1, np.nan, 2], np.float32))
    with edit(path) as main:
        main.removecols(["WEIGHT_SPECTRUM", "WEIGHT"])
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0])
    np.testing.assert_array_equal(tile.weights[0, 0], [0, 0, 0, 0.25])
    np.testing.assert_array_equal(tile.flags[0].all(0), [1, 1, 1, 0])


def test_rows_without_weight_spectrum_take_weight(raw_ms, edit):
    path = raw_ms(ROWS, [(3, LINEAR)])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("WEIGHT_SPECTRUM", 0.0, ndim=2, valuetype="float")))
    ms = MeasurementSet(path)
    assert ms.read(ms.groups[0]).weight_source == "WEIGHT"
    with edit(path) as main:
        main.putcell("WEIGHT_SPECTRUM", 1, np.arange(12, dtype=np.float32).reshape(3, 4) + 1)
        main.putcell("WEIGHT_SPECTRUM", 2, np.zeros((3, 4), np.float32))
    tile = MeasurementSet(path).read(ms.groups[0])
    assert tile.weight_source == "WEIGHT_SPECTRUM, else WEIGHT"
    np.testing.assert_array_equal(tile.weights[1], np.arange(12).reshape(3, 4) + 1)
    np.testing.assert_array_equal(tile.weights[3], 4)
    assert tile.flags[2].all() and tile.flags.sum() == 12


def test_rows_without_weights_at_all(raw_ms, edit):
    path = raw_ms(ROWS, [(2, ("XX",))])
    with edit(path) as main:
        main.removecols(["WEIGHT", "SIGMA"])
        main.addcols(maketabdesc([makearrcoldesc(n, 0.0, ndim=1, valuetype="float") for n in ("WEIGHT", "SIGMA")]))
        main.putcell("WEIGHT", 0, np.float32([9]))
        main.putcell("SIGMA", 1, np.float32([2]))
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0])
    np.testing.assert_array_equal(tile.weights[:3, 0, 0], [9, 0.25, 1])
    assert tile.weight_source == "WEIGHT, else 1/SIGMA^2, else 1" and not tile.flags.any()


def test_cells_without_array_are_missing_rows(raw_ms, edit):
    path = raw_ms(ROWS, [(2, LINEAR)])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("MODEL_DATA", 0j, ndim=2, valuetype="complex")))
        for row in set(range(54)) - {7, 8, 30}:
            main.putcell("MODEL_DATA", row, np.full((2, 4), 1j * row))
    ms = MeasurementSet(path)
    assert ms.read(ms.groups[0], columns=["DATA"]).empty == 0
    tile = ms.read(ms.groups[0], columns=["DATA", "MODEL_DATA"])
    assert tile.empty == 3 and tile.nrow == 51 and (tile.rows == -1).sum() == 3
    assert tile.rows[1, 1] == tile.rows[2, 1] == tile.rows[0, 5] == -1
    np.testing.assert_array_equal(tile.columns["MODEL_DATA"][:, 0, 0].imag, tile.ms_rows)
    np.testing.assert_array_equal(tile.columns["DATA"][:, 0, 0].real, tile.ms_rows)


def test_tile_of_nothing_but_empty_cells(raw_ms, edit):
    path = raw_ms(ROWS, [(2, LINEAR)])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("MODEL_DATA", 0j, ndim=2, valuetype="complex")))
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0], columns=["MODEL_DATA"], uvw=True)
    assert (tile.empty, tile.nrow) == (54, 0) and (tile.rows == -1).all() and np.isnan(tile.uvw).all()


@pytest.mark.parametrize("channels", [None, "1"])
@pytest.mark.parametrize("odd", [[20], range(54)])
def test_cell_of_another_shape(raw_ms, edit, odd, channels):
    path = raw_ms(ROWS, [(2, LINEAR)])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("OTHER", 0j, ndim=2, valuetype="complex")))
        for row in range(54):
            main.putcell("OTHER", row, np.zeros((2, 3) if row in odd else (2, 4), complex))
    ms = MeasurementSet(path, channels=channels)
    with pytest.raises(DataError, match="column OTHER cannot be read as .x4 numbers per row"):
        ms.read(ms.groups[0], columns=["OTHER"])


def test_missing_column(make_ms):
    ms = MeasurementSet(make_ms())
    for read in (lambda: ms.read(ms.groups[0], columns=["DAAT"]), lambda: ms.reader(ms.groups[0], ["DAAT"], 1)):
        with pytest.raises(
            DataError, match=r"column DAAT does not exist \(did you mean 'DATA'\?\); columns with visib"
        ):
            read()
    with pytest.raises(ValueError, match="0 slots per tile, expected at least 1"):
        ms.reader(ms.groups[0], ["DATA"], 0)


def test_two_sets_of_buffers_alternate(make_ms):
    ms = MeasurementSet(make_ms(times=(5e9, 12, 10.0)))
    where = [t.columns["DATA"].ctypes.data for t in ms.reader(ms.groups[0], ["DATA"], 2)]
    assert len(set(where)) == 2 and where[0::2] == [where[0]] * 3 and where[1::2] == [where[1]] * 3


def test_buffers_pass_from_reader_to_reader_but_are_never_shared(make_ms):
    ms = MeasurementSet(make_ms(times=(5e9, 12, 10.0)))
    group = ms.groups[0]

    def where():
        return {t.columns["DATA"].ctypes.data for t in ms.reader(group, ["DATA"], 2)}

    assert where() == where()
    for one, other in zip(ms.reader(group, ["DATA"], 2), ms.reader(group, ["DATA"], [slice(6, 8)] * 6), strict=True):
        np.testing.assert_array_equal(one.columns["DATA"], ms.read(group, slice(one.start, one.stop)).columns["DATA"])
        np.testing.assert_array_equal(other.columns["DATA"], ms.read(group, slice(6, 8)).columns["DATA"])


def test_reader_stops_its_thread(make_ms):
    ms = MeasurementSet(make_ms(times=(5e9, 12, 10.0)))
    interrupted = ms.reader(ms.groups[0], ["DATA"], 2)
    next(interrupted)
    with pytest.raises(KeyboardInterrupt):
        interrupted.throw(KeyboardInterrupt)
    reader = ms.reader(ms.groups[0], ["DATA"], 2)
    next(reader)
    reader.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("rimetree-read")]
    assert sum(t.nrow for t in ms.reader(ms.groups[0], ["DATA"], 5)) == 72
