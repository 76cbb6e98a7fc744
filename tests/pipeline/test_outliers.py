"""Amplitudes beyond which samples are outliers, against numpy's medians."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree.pipeline import rfi


@pytest.fixture
def seen(make_ms):
    """Two scans with noise of unequal strength, flags, NaN and some strong samples."""
    from casacore.tables import table

    path = make_ms(antennas=4, times=(5e9, 12, 10.0), freqs=(1.4e9, 6, 1e6), scans=2, noise=0.5)
    rng = np.random.default_rng(1)
    with table(str(path), readonly=False, ack=False) as main:
        data, flag, row = main.getcol("DATA"), main.getcol("FLAG"), main.getcol("FLAG_ROW")
        data *= 1 + main.getcol("SCAN_NUMBER")[:, None, None]
        data[rng.random(data.shape) < 0.03] *= 40
        data[rng.random(data.shape) < 0.02] = np.nan
        flag[rng.random(flag.shape) < 0.2] = True
        row[rng.random(len(row)) < 0.05] = True
        main.putcol("DATA", data)
        main.putcol("FLAG", flag)
        main.putcol("FLAG_ROW", row)
        columns = {name: main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "SCAN_NUMBER")}
    return path, data, flag | row[:, None, None], columns


def expected(data, flag, columns, hidden, threshold):
    """Outliers the slow way, all correlations of a sample together."""
    baseline = columns["ANTENNA1"] * 10 + columns["ANTENNA2"]
    hits = np.zeros(data.shape[:2], bool)
    good = ~flag & np.isfinite(data) & ~hidden[:, None]
    for b, s, c in {(b, s, c) for b in baseline for s in columns["SCAN_NUMBER"] for c in range(data.shape[2])}:
        rows = (baseline == b) & (columns["SCAN_NUMBER"] == s)
        size = np.abs(data[rows, :, c])
        own = size[good[rows, :, c]]
        if own.size >= rfi.SAMPLES:
            middle = np.median(own)
            hits[rows] |= good[rows, :, c] & (size > middle + threshold * 1.4826 * np.median(np.abs(own - middle)))
    return hits


@pytest.mark.parametrize("tiles", [1, 5, 12])
@pytest.mark.parametrize(("channels", "piece"), [((), 1 << 26), ((0, 5), 1)])
def test_outliers_are_those_of_numpy_whatever_the_tiles(seen, monkeypatch, tiles, channels, piece):
    monkeypatch.setattr(rfi, "PIECE", piece)
    path, data, flag, columns = seen
    hidden = np.isin(np.arange(data.shape[1]), channels)
    hits = expected(data, flag, columns, hidden, 4.0)
    assert 20 < hits.sum() < 200
    with rt.MeasurementSet(path) as ms:
        (group,) = ms.groups
        found = rfi.limits(ms, group, "DATA", 4.0, hidden)
        count = 0
        for tile in ms.reader(group, ["DATA"], tiles):
            tile.flags[:, hidden] = 1
            before = tile.flags != 0
            count += found.flag(tile, "DATA")
            np.testing.assert_array_equal((tile.flags != 0) & ~before, hits[tile.ms_rows][..., None] & ~before)
    assert count == (hits[..., None] & ~flag & ~hidden[:, None]).sum()


def test_of_a_long_scan_some_slots_are_looked_at(seen, monkeypatch):
    path, *_ = seen
    with rt.MeasurementSet(path) as ms:
        (group,) = ms.groups
        every = rfi.limits(ms, group, "DATA", 4.0, None).most
        monkeypatch.setattr(rfi, "HELD", 4 * 3 * len(ms.baselines) * 6 * 4)
        some = rfi.limits(ms, group, "DATA", 4.0, None).most
    known = np.isfinite(some)  # half of the slots: here and there fewer than ten samples
    assert some.shape == every.shape == (6, 2, 4) and known.mean() > 0.8
    assert not np.array_equal(some, every)
    assert abs(np.log(some[known] / every[known])).max() < np.log(2.5)
    assert abs(np.log(some[known] / every[known]).mean()) < 0.15
