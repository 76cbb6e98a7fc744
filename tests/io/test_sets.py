"""Several Measurement Sets, and several spectral windows, as one: against the same data read set by set with casacore."""

from __future__ import annotations

import numpy as np
import pytest
from casacore.tables import table

import rimetree as rt
from rimetree import Meq
from rimetree.io import filling as filling_module
from rimetree.io.ms import MeasurementSet
from rimetree.io.sets import MeasurementSets

LINEAR = ("XX", "XY", "YX", "YY")


def rows_of(antennas: int, times: np.ndarray, ddids=(0,), scan: int = 1, field: int = 0):
    pairs = [(p, q) for p in range(antennas) for q in range(p + 1, antennas)]
    return [(p, q, t, scan, field, d) for t in times for d in ddids for p, q in pairs]


def test_nights_follow_one_another(make_ms):
    first = make_ms("a.ms", times=(5e9, 6, 10.0), seed=1)
    second = make_ms("b.ms", times=(5e9 + 86400, 4, 10.0), seed=2)
    with MeasurementSets([second, first]) as both, MeasurementSet(first) as a, MeasurementSet(second) as b:
        (group,) = both.groups
        assert group.rows.shape == (6, 10) and (np.diff(group.time) > 0).all()
        np.testing.assert_array_equal(group.time, [*a.groups[0].time, *b.groups[0].time])
        assert len(set(group.scan[:6]) & set(group.scan[6:])) == 0  # both are scan 1: told apart
        cubes = [ms.read(ms.groups[0], uvw=True) for ms in (a, b)]
        for size in (3, 4, 100):
            got, track = [], []
            for tile in both.reader(group, ["DATA"], size, uvw=True):
                got.append(tile.columns["DATA"][tile.rows])
                track.append(tile.uvw)
                assert not tile.flags.any()
            expected = np.concatenate([c.columns["DATA"][c.rows] for c in cubes], 1)
            np.testing.assert_array_equal(np.concatenate(got, 1), expected)
            np.testing.assert_array_equal(np.concatenate(track, 1), np.concatenate([c.uvw for c in cubes], 1))


def test_what_is_written_goes_home(make_ms):
    paths = [make_ms("a.ms", seed=1), make_ms("b.ms", times=(5e9 + 1000, 5, 10.0), seed=2)]
    with MeasurementSets(paths) as both:
        both.ensure_column("OUT")
        for tile in both.reader(both.groups[0], ["DATA"], 4):
            both.write(tile, "OUT", 2 * tile.columns["DATA"])
            both.write_flags(tile, np.abs(tile.columns["DATA"]) > 0.7)
    for path in paths:
        with table(str(path), ack=False) as main:
            data = main.getcol("DATA")
            np.testing.assert_array_equal(main.getcol("OUT"), 2 * data)
            np.testing.assert_array_equal(main.getcol("FLAG"), np.abs(data) > 0.7)


def test_a_run_over_several_waits_until_rows_are_there(make_ms, monkeypatch):
    paths = [make_ms("a.ms", times=(5e9, 300, 10.0), seed=1), make_ms("b.ms", times=(5e9 + 1e4, 300, 10.0), seed=2)]
    monkeypatch.setattr(filling_module, "CHUNK_BYTES", 500)  # slowly
    ns = rt.Scope()
    with MeasurementSets(paths) as both:
        for p, q in both.baselines:
            ns.out(p, q) << Meq.Sink(2.0 * Meq.Spigot(p, q, "DATA"), p, q, column="OUT")
        ns.forest().run(both, progress=False)
    for path in paths:
        with table(str(path), ack=False) as main:
            np.testing.assert_array_equal(main.getcol("OUT"), 2 * main.getcol("DATA"))


def test_a_baseline_stored_the_other_way_round_is_turned(raw_ms, edit):
    """The second set lists its antennas in reverse: its rows are V_qp, the conjugate transpose."""
    rows = rows_of(3, 5e9 + 10 * np.arange(2))
    first = raw_ms(rows, [(2, LINEAR)], "a.ms")
    second = raw_ms([(2 - q, 2 - p, t + 100, *rest) for p, q, t, *rest in rows], [(2, LINEAR)], "b.ms")
    with edit(second / "ANTENNA") as antenna:
        for name in ("NAME", "POSITION", "STATION"):
            antenna.putcol(name, antenna.getcol(name)[::-1])
    with MeasurementSets([first, second]) as both:
        both.ensure_column("OUT")
        (group,) = both.groups
        assert group.rows.shape == (3, 4) and (group.rows >= 0).all()
        with table(str(second), ack=False) as main:
            raw, p, q = main.getcol("DATA"), main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        tile = both.read(group)
        for k, (one, other) in enumerate(both.baselines):
            numbers = [a.id for name in (one, other) for a in both.antenna_table if a.name == name]
            own = raw[(p == 2 - numbers[1]) & (q == 2 - numbers[0])].reshape(2, 2, 2, 2)
            got = tile.columns["DATA"][tile.rows[k, 2:]].reshape(2, 2, 2, 2)
            np.testing.assert_array_equal(got, own.conj().swapaxes(-1, -2))
        both.write(tile, "OUT", tile.columns["DATA"])
    with table(str(second), ack=False) as main:
        np.testing.assert_array_equal(main.getcol("OUT"), raw)


def test_windows_become_one_band(raw_ms):
    """Data description 0 is spectral window 1: 3 channels; 1 is window 0: 2 channels. Window 1 lacks a baseline."""
    times = 5e9 + 10 * np.arange(3)
    rows = [r for r in rows_of(3, times, (0, 1)) if not (r[0] == 0 and r[1] == 1 and r[5] == 0)]
    path = raw_ms(rows, [(3, LINEAR), (2, LINEAR)])
    with MeasurementSet(path) as ms, MeasurementSets(path, combine="spw") as band:
        (group,) = band.groups
        assert (np.diff(group.freq) >= 0).all() and group.freq.size == 5
        tile = band.read(group)
        for number, window in ((0, 0), (1, 1)):
            own = next(g for g in ms.groups if g.spw_id == window)
            part = ms.read(own)
            chans = group.windows[number]
            np.testing.assert_array_equal(group.freq[chans], own.freq)
            for k in range(3):
                pair = ms.baselines.index(band.baselines[k])
                there = part.rows[pair] >= 0
                flags = tile.flags[tile.rows[k]][:, chans]
                assert (flags[~there] == 1).all() and not flags[there].any()
                np.testing.assert_array_equal(
                    tile.columns["DATA"][tile.rows[k][there]][:, chans], part.columns["DATA"][part.rows[pair][there]]
                )
    with MeasurementSets(path, combine="spw", channels={0: (0, 1), 1: "1~2"}) as some:
        assert some.groups[0].freq.size == 3


def test_one_gain_over_two_nights(make_ms):
    """A static gain fitted over two sets has errors smaller by the root of the data, and is the truth in both."""
    rng = np.random.default_rng(4)
    gains = (1 + 0.1 * rng.normal(size=4)) * np.exp(1j * rng.normal(size=4))
    paths = [make_ms(f"{n}.ms", times=(5e9 + 1e5 * n, 6, 10.0), noise=0.1, seed=n + 1) for n in range(2)]
    for path in paths:
        with table(str(path), readonly=False, ack=False) as main:
            p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
            signal = (gains[p] * gains[q].conj())[:, None, None] * np.array([5, 0, 0, 5])
            main.putcol("DATA", (main.getcol("DATA") + signal).astype(np.complex64))
    errors = []
    for chosen in (paths[:1], paths):
        with rt.MeasurementSets(chosen) as ms:
            ns = rt.Scope()
            for p in ms.antennas:
                ns.g(p) << Meq.Parm(1 + 0j, tags="gain")
                ns.G(p) << Meq.Matrix22(ns.g(p), 0, 0, ns.g(p))
            for p, q in ms.baselines:
                model = Meq.MatrixMultiply(ns.G(p), Meq.Matrix22(5, 0, 0, 5), Meq.ConjTranspose(ns.G(q)))
                ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, "DATA"))
                freed = Meq.MatrixMultiply(
                    Meq.MatrixInvert22(ns.G(p)), Meq.Spigot(p, q, "DATA"), Meq.ConjTranspose(Meq.MatrixInvert22(ns.G(q)))
                )  # fmt: skip
                ns.out(p, q) << Meq.Sink(freed, p, q, column="CORRECTED_DATA")
            ns.solve << Meq.Solver(*ns.eq, solvable="gain")
            report = ns.forest().run(ms, progress=False, ref_antenna=ms.antennas[0])
        found = report.tables.groups[0].parms[0]
        assert found.values.shape[:3] == (4, 1, 1)
        errors.append(np.nanmean(found.errors[1:]))
    value = found.values[:, 0, 0, 0, 0]
    np.testing.assert_allclose(value, gains * np.exp(-1j * np.angle(gains[0])), atol=6 * errors[1])
    assert errors[0] / errors[1] == pytest.approx(np.sqrt(2), rel=0.05)
    for path in paths:
        with table(str(path), ack=False) as main:
            assert abs(main.getcol("CORRECTED_DATA")[..., [0, 3]].mean() - 5) < 0.02


def test_what_does_not_match_is_named(make_ms, edit):
    one = make_ms("a.ms")
    with pytest.raises(rt.ConfigError, match=r"a\.ms: is named twice"):
        MeasurementSets([one, one])
    with pytest.raises(rt.ConfigError, match="empty list"):
        MeasurementSets([])
    with pytest.raises(rt.DataError, match=r"none\.ms: no such Measurement Set"):
        MeasurementSets([one, one.parent / "none.ms"])
    shifted = make_ms("shifted.ms", freqs=(1.4e9 + 3e5, 5, 1e6), times=(5e9 + 1000, 6, 10.0))
    with pytest.raises(rt.ConfigError, match=r"overlaps spw 0 of .*a\.ms .*channels differ"):
        MeasurementSets([one, shifted])
    twin = make_ms("twin.ms")
    with pytest.raises(rt.ConfigError, match=r"twin\.ms: spw 0 has data of times and baselines"):
        MeasurementSets([one, twin])
    later = make_ms("later.ms", times=(5e9 + 1000, 6, 10.0))
    with pytest.raises(rt.ConfigError, match="no field 'feild0' .did you mean 'field0'"):
        MeasurementSets([one, later], field="feild0")
    with edit(later / "ANTENNA") as antenna:
        antenna.putcell("POSITION", 1, antenna.getcell("POSITION", 1) + np.array([300.0, 0, 0]))
    with pytest.raises(rt.ConfigError, match="antenna ant01 stands 300 m apart"):
        MeasurementSets([one, later])
    with edit(later / "ANTENNA") as antenna:
        antenna.putcol("NAME", [f"other{i}" for i in range(4)])
    with pytest.raises(rt.ConfigError, match="none of the antennas"):
        MeasurementSets([one, later])


def test_a_set_without_the_selection_is_left_out(make_ms):
    one, later = make_ms("a.ms"), make_ms("b.ms", times=(5e9 + 1000, 6, 10.0), fields=2, scans=2)
    with MeasurementSets([one, later], field="field1") as ms:
        assert ms.left_out == [one] and [g.field_name for g in ms.groups] == ["field1"]


def test_intents(make_ms, edit):
    path = make_ms(scans=2)
    with MeasurementSet(path) as ms:
        scans = np.unique(ms.groups[0].scan)
    with edit(path) as main:
        number = main.getcol("SCAN_NUMBER")
        main.putcol("STATE_ID", np.where(number == scans[0], 0, 1).astype(np.int32))
    with edit(path / "STATE") as state:
        state.addrows(1)
        state.putcol("OBS_MODE", ["CALIBRATE_PHASE#ON_SOURCE,CALIBRATE_WVR#ON_SOURCE", "OBSERVE_TARGET#ON_SOURCE"])
    for spec, scan in (("*CALIBRATE_PHASE*", scans[0]), (["OBSERVE_TARGET*"], scans[1])):
        with MeasurementSet(path, intent=spec) as ms:
            assert set(ms.groups[0].scan.tolist()) == {scan}
    with pytest.raises(rt.ConfigError, match=r"no intent 'CALIBRATE_FLUX\*'; .* has CALIBRATE_PHASE#ON_SOURCE"):
        MeasurementSet(path, intent="CALIBRATE_FLUX*")
