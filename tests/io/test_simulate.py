"""Simulated Measurement Sets, as casacore sees them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from casacore.measures import measures
from casacore.tables import table, taql

from rimetree.errors import ConfigError, DataError
from rimetree.io import MeasurementSet
from rimetree.io.simulate import simulate, station_uvw, vla_like


def test_main_table(make_ms):
    path = make_ms(antennas=5, times=(5e9, 6, 8.0), scans=3, fields=2, corrs=("YY", "XX"))
    pairs = np.array(list(itertools.combinations(range(5), 2)))
    with table(str(path), ack=False) as main:
        assert main.nrows() == 60 and main.getcol("DATA").shape == (60, 5, 2)
        np.testing.assert_array_equal(main.getcol("ANTENNA1"), np.tile(pairs[:, 0], 6))
        np.testing.assert_array_equal(main.getcol("ANTENNA2"), np.tile(pairs[:, 1], 6))
        np.testing.assert_array_equal(main.getcol("TIME")[::10], 5e9 + np.array([4, 12, 80, 88, 156, 164]))
        np.testing.assert_array_equal(main.getcol("SCAN_NUMBER")[::10], [1, 1, 2, 2, 3, 3])
        np.testing.assert_array_equal(main.getcol("FIELD_ID")[::10], [0, 0, 1, 1, 0, 0])
        assert not main.getcol("FLAG").any() and not main.getcol("FLAG_ROW").any()
        np.testing.assert_array_equal(main.getcol("WEIGHT_SPECTRUM"), 4.0)
        np.testing.assert_array_equal(main.getcol("WEIGHT"), 4.0)
        np.testing.assert_array_equal(main.getcol("SIGMA"), 0.5)
        for name in main.colnames():  # every cell of a fixed column reads; FLAG_CATEGORY is empty in most sets
            assert name == "FLAG_CATEGORY" or main.iscelldefined(name, 59)


def test_sub_tables(make_ms):
    path = make_ms(corrs="circular", phase_dir=[[0.1, 0.2], [0.3, 0.4]], scans=2)
    ms = MeasurementSet(path)
    assert ms.feeds == "circular" and ms.groups[0].corrs == ("RR", "RL", "LR", "LL")
    np.testing.assert_allclose([f.phase_dir for f in ms.fields], [[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_allclose(ms.groups[0].freq, 1.4e9 + 1e6 * np.arange(5))
    np.testing.assert_allclose(ms.positions, vla_like(4))
    for name in (
        "ANTENNA",
        "FEED",
        "FIELD",
        "SPECTRAL_WINDOW",
        "POLARIZATION",
        "DATA_DESCRIPTION",
        "OBSERVATION",
        "STATE",
    ):
        with table(str(path / name), ack=False) as sub:
            for column, row in itertools.product(sub.colnames(), range(sub.nrows())):
                assert sub.iscelldefined(column, row), (name, column)
                sub.getcell(column, row)
    found = taql(f"select from {path} where mscal.ant1name() == 'ant00' && any(mscal.ha1() > -7)")
    assert found.nrows() == 18


def test_noise_has_the_rms_and_the_seed(make_ms):
    big = {"antennas": 10, "freqs": (1e9, 64, 1e6), "times": (5e9, 20, 1.0)}
    data = [
        table(str(make_ms(f"{i}.ms", seed=seed, **big)), ack=False).getcol("DATA") for i, seed in enumerate((1, 1, 2))
    ]
    np.testing.assert_array_equal(data[0], data[1])
    assert not (data[0] == data[2]).any()
    n = data[0].size
    assert np.mean(np.abs(data[0]) ** 2) == pytest.approx(0.25, rel=5 / np.sqrt(n))
    assert abs(np.mean(data[0].real * data[0].imag)) < 5 * 0.125 / np.sqrt(n)


def test_without_noise_data_are_zero_and_weights_one(make_ms):
    ms = MeasurementSet(make_ms(noise=0))
    tile = ms.read(ms.groups[0])
    assert not tile.columns["DATA"].any() and (tile.weights == 1).all() and not tile.flags.any()


def test_uvw_is_antenna_1_minus_antenna_2_by_casacore(make_ms):
    """Against casacore's own baseline conversion, which handles one antenna at a time."""
    direction = (0.4, 0.7)
    ms = MeasurementSet(make_ms(phase_dir=direction))
    tile = ms.read(ms.groups[0], uvw=True)
    frame = measures()
    frame.do_frame(frame.direction("J2000", *(f"{x}rad" for x in direction)))
    frame.do_frame(frame.position("ITRF", *(f"{x}m" for x in ms.positions[0])))
    for slot in (0, 5):
        frame.do_frame(frame.epoch("UTC", f"{tile.time[slot]}s"))
        stations = []
        for position in ms.positions:
            base = frame.baseline("ITRF", *(f"{x}m" for x in position - ms.positions[0]))
            stations.append(np.array(frame.to_uvw(base)["xyz"].get_value("m")))
        for b, (p, q) in enumerate(itertools.combinations(range(4), 2)):
            # casacore leaves out what aberration does to the plane of u and v: 1e-4 of the length
            np.testing.assert_allclose(tile.uvw[b, slot], stations[p] - stations[q], atol=3e-4 * 1500)


def test_w_is_the_geometric_delay():
    """Overhead, w is along the vertical; on the horizon due east it is along east. Plain spherical geometry."""
    positions = np.array([[6.4e6, 0, 0], [6.4e6 + 1, 0, 0], [6.4e6, 1, 0], [6.4e6, 0, 1.0]])
    when = 51544.5 * 86400.0  # at J2000 the mean pole and equinox are those of the catalogue
    sidereal = np.deg2rad(280.46)  # at longitude 0
    uvw = station_uvw(positions, np.array([when, when]), np.array([[sidereal, 0.0], [sidereal + np.pi / 2, 0.0]]))
    overhead, rising = uvw
    np.testing.assert_allclose(overhead[1:], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=3e-4)
    np.testing.assert_allclose(rising[1:], [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=3e-4)


def test_uvw_lengths_are_baseline_lengths(make_ms):
    ms = MeasurementSet(make_ms(antennas="vla-like", times=(5e9, 2, 1.0)))
    tile = ms.read(ms.groups[0], uvw=True)
    p, q = np.triu_indices(27, 1)
    expected = np.linalg.norm(ms.positions[p] - ms.positions[q], axis=1)
    np.testing.assert_allclose(np.linalg.norm(tile.uvw, axis=2), expected[:, None].repeat(2, 1), rtol=1e-9)


def test_existing_path(make_ms, tmp_path):
    path = make_ms()
    with pytest.raises(DataError, match="x.ms: exists already"):
        make_ms()
    make_ms(antennas=3, overwrite=True)
    assert len(MeasurementSet(path).antennas) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["x.ms"]
    with pytest.raises(DataError, match="cannot be made in"):
        simulate(tmp_path / "none" / "x.ms")


def test_failure_leaves_what_was_there(make_ms, tmp_path, monkeypatch):
    path = make_ms()
    monkeypatch.setattr("rimetree.io.simulate.write_subtables", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(DataError, match="x.ms: cannot be written: disk full"):
        make_ms(overwrite=True)
    assert MeasurementSet(path).read(MeasurementSet(path).groups[0]).nrow == 36
    assert [file.name for file in tmp_path.iterdir()] == ["x.ms"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"antennas": 1}, "antennas=1: expected 2 or more"),
        ({"antennas": "meerkat"}, "expected 2 or more, 'vla-like'"),
        ({"antennas": np.zeros((4, 2))}, "ITRF positions"),
        ({"times": (5e9, 0, 1.0)}, "times=.*expected"),
        ({"freqs": (1e9, 4)}, "freqs=.*expected"),
        ({"freqs": "1GHz"}, "freqs=.*expected"),
        ({"corrs": "liner"}, r"corrs='liner': expected 'linear', .*\(did you mean 'linear'\?\)"),
        ({"corrs": ("XX", "XX")}, "different names"),
        ({"corrs": ("XX", "LL")}, "all linear or all circular"),
        ({"corrs": ()}, "different names"),
        ({"fields": 3, "scans": 2}, "3 fields, 2 scans, 6 slots: expected"),
        ({"scans": 7}, "expected 1 <= fields <= scans <= slots"),
        ({"noise": -1}, "noise=-1"),
        ({"phase_dir": (1, 2, 3)}, "phase_dir"),
    ],
)
def test_impossible_options(make_ms, options, message):
    with pytest.raises(ConfigError, match=message):
        make_ms(**options)
