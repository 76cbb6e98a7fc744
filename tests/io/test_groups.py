"""How rows become groups, baselines and slots."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rimetree.errors import DataError
from rimetree.io import MeasurementSet

LINEAR = ("XX", "XY", "YX", "YY")


def rows_of(times, antennas=3, scan=1, field=0, ddid=0, autos=False):
    pairs = (
        itertools.combinations_with_replacement(range(antennas), 2)
        if autos
        else itertools.combinations(range(antennas), 2)
    )
    return [(p, q, t, scan, field, ddid) for t, (p, q) in itertools.product(times, list(pairs))]


def test_metadata(raw_ms):
    ms = MeasurementSet(raw_ms(rows_of([0, 10]), [(2, LINEAR)]))
    assert ms.antennas == ["A0", "A1", "A2"]
    assert ms.baselines == [("A0", "A1"), ("A0", "A2"), ("A1", "A2")]
    np.testing.assert_array_equal(ms.positions[:, 1], [0, 10, 20])
    assert (ms.mounts, ms.feeds) == (["ALT-AZ"] * 3, "linear")
    assert [f.name for f in ms.fields] == ["3C0"] and [s.id for s in ms.spws] == [0]


def test_one_group_per_field_and_data_description(raw_ms):
    rows = (
        rows_of([0, 10])
        + rows_of([0, 10], ddid=1)
        + rows_of([20], scan=2, field=1)
        + rows_of([20], scan=2, field=1, ddid=1)
    )
    ms = MeasurementSet(raw_ms(rows, [(2, ("RR",)), (3, ("RR", "RL", "LR", "LL"))]))
    assert [(g.field_id, g.ddid, g.spw_id, g.corrs) for g in ms.groups] == [
        (0, 0, 1, ("RR",)),
        (0, 1, 0, ("RR", "RL", "LR", "LL")),
        (1, 0, 1, ("RR",)),
        (1, 1, 0, ("RR", "RL", "LR", "LL")),
    ]
    np.testing.assert_array_equal(ms.groups[0].freq, [2e9, 2e9 + 1])
    np.testing.assert_array_equal(ms.groups[0].width, [1, 1])  # written as -1: the sideband is in the order of freq
    np.testing.assert_array_equal(ms.groups[2].phase_dir, [0.1, 0.5])
    np.testing.assert_array_equal(ms.groups[2].scan, [2])
    assert ms.feeds == "circular"


def test_rows_in_any_order(raw_ms):
    rows = rows_of(np.arange(5) * 10.0, autos=True)
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    ms = MeasurementSet(raw_ms(shuffled, [(2, ("XX", "YY"))]))
    group = ms.groups[0]
    np.testing.assert_array_equal(group.time, np.arange(5) * 10.0)
    np.testing.assert_array_equal(group.interval, 10.0)
    for b, (p, q) in enumerate([(0, 1), (0, 2), (1, 2)]):
        for slot, time in enumerate(group.time):
            assert shuffled[group.rows[b, slot]][:3] == (p, q, time)


def test_missing_rows_are_minus_one(raw_ms):
    rows = rows_of([0, 10, 20])
    del rows[4]
    group = MeasurementSet(raw_ms(rows, [(1, LINEAR)])).groups[0]
    np.testing.assert_array_equal(group.rows, [[0, 3, 5], [1, -1, 6], [2, 4, 7]])


def test_times_that_differ_in_the_last_bits_are_one_slot(raw_ms):
    jitter = iter(np.random.default_rng(2).uniform(-0.02, 0.02, 9))
    rows = [(p, q, 5e9 + t + next(jitter), *rest) for p, q, t, *rest in rows_of([0, 10, 20])]
    group = MeasurementSet(raw_ms(rows, [(1, LINEAR)])).groups[0]
    assert group.rows.shape == (3, 3) and (group.rows >= 0).all()
    np.testing.assert_allclose(group.time - 5e9, [0, 10, 20], atol=0.03)


def test_irregular_slots_stay_apart(raw_ms):
    times = [0.0, 0.5, 9, 19, 119]
    group = MeasurementSet(raw_ms(rows_of(times), [(1, LINEAR)], interval=0.5)).groups[0]
    np.testing.assert_array_equal(group.time, times)


def test_scans_at_one_time_are_different_slots(raw_ms):
    rows = [(0, 1, 0.0, 1, 0, 0), (2, 3, 0.0, 2, 0, 0), (0, 1, 10.0, 1, 0, 0), (2, 3, 10.0, 2, 0, 0)]
    group = MeasurementSet(raw_ms(rows, [(1, LINEAR)])).groups[0]
    np.testing.assert_array_equal(group.scan, [1, 2, 1, 2])
    np.testing.assert_array_equal(group.rows, [[0, -1, 2, -1], [-1, 1, -1, 3]])


def test_duplicate_rows_are_named(raw_ms):
    rows = rows_of([0, 10])
    path = raw_ms([*rows, rows[4]], [(1, LINEAR)])
    with pytest.raises(DataError, match=r"1 duplicate row.*rows 4 and 6 .*A0-A2 at TIME 10\.000.*taql"):
        MeasurementSet(path)


def test_antenna_names_are_made_unique(raw_ms, edit):
    path = raw_ms(rows_of([0], antennas=4), [(1, LINEAR)])
    with edit(path / "ANTENNA") as table:
        table.putcol("NAME", ["a", "b", "a", ""])
    ms = MeasurementSet(path)
    assert ms.antennas == ["a#0", "b", "a#2", "antenna#3"]
    assert MeasurementSet(path, antennas=["a#2", "b"]).baselines == [("b", "a#2")]


def test_only_antennas_with_cross_correlations(raw_ms):
    ms = MeasurementSet(raw_ms([(1, 1, 0.0, 1, 0, 0), (0, 2, 0.0, 1, 0, 0)], [(1, LINEAR)]))
    assert ms.antennas == ["A0", "A2"] and ms.baselines == [("A0", "A2")]


def test_mixed_feeds_are_refused_when_asked(raw_ms):
    ms = MeasurementSet(raw_ms(rows_of([0]) + rows_of([0], ddid=1), [(1, ("XX",)), (1, ("RR",))]))
    with pytest.raises(DataError, match="RR; XX are not all linear or all circular"):
        _ = ms.feeds


def test_bytes_per_slot(raw_ms):
    rows = rows_of([0, 10])
    group = MeasurementSet(raw_ms(rows[:-1], [(7, LINEAR)])).groups[0]
    tile = MeasurementSet(raw_ms(rows, [(7, LINEAR)], "full.ms")).read(group, slice(0, 1), ["DATA"])
    assert (
        group.bytes_per_slot(["DATA"], weights=False)
        == tile.columns["DATA"].nbytes + tile.flags.nbytes + tile.rows.nbytes
    )


@pytest.mark.parametrize(("column", "value"), [("ANTENNA2", 9), ("FIELD_ID", 3), ("DATA_DESC_ID", -1)])
def test_index_outside_its_sub_table(raw_ms, edit, column, value):
    path = raw_ms(rows_of([0]), [(1, LINEAR)])
    with edit(path) as table:
        table.putcell(column, 0, value)
    with pytest.raises(DataError, match=f"{column} holds {value} but its sub-table has"):
        MeasurementSet(path)
