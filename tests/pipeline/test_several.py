"""Nights, and spectral windows, solved as one: against the truth that they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table

from rimetree.errors import ConfigError, DataError
from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.interpolate import evaluate
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run

LINEAR = ("XX", "XY", "YX", "YY")
ANTENNAS, SLOTS = 5, 6
FLUX = 5.0


def fill(path: Path, gains, noise: float, seed: int) -> None:
    """DATA of diagonal gains(time, freq) -> (antenna, chan, hand) on FLUX Jy, and its MODEL_DATA."""
    rng = np.random.default_rng(seed)
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
        spws = {g.ddid: g.freq for g in ms.groups}
    with table(str(path), readonly=False, ack=False) as main:
        columns = [main.getcol(n) for n in ("TIME", "DATA_DESC_ID", "ANTENNA1", "ANTENNA2")]
        for row, (time, ddid, p, q) in enumerate(zip(*columns, strict=True)):
            g = gains(time, spws[ddid])
            seen = np.zeros((spws[ddid].size, 4), complex)
            seen[:, [0, 3]] = FLUX * g[p] * g[q].conj()
            seen += noise / np.sqrt(2) * (rng.normal(size=seen.shape) + 1j * rng.normal(size=seen.shape))
            main.putcell("DATA", row, seen.astype(np.complex64))
            main.putcell(
                "MODEL_DATA", row, np.broadcast_to(FLUX * np.array([1, 0, 0, 1]), seen.shape).astype(np.complex64)
            )
        main.putcol("WEIGHT", np.full((main.nrows(), 4), 1 / noise**2, np.float32))


@pytest.fixture
def banded(raw_ms, edit):
    """Three windows of 4 MHz with gaps between (the last first), delays of many turns over the gaps, and phases."""
    pairs = [(p, q) for p in range(ANTENNAS) for q in range(p + 1, ANTENNAS)]
    rows = [(p, q, 5e9 + 10.0 * t, 1, 0, d) for t in range(SLOTS) for d in range(3) for p, q in pairs]
    path = raw_ms(rows, [(8, LINEAR)] * 3)
    starts = [1.500e9, 1.420e9, 1.400e9]
    with edit(path / "SPECTRAL_WINDOW") as window:
        for i, start in enumerate(starts):
            window.putcell("CHAN_FREQ", i, start + 0.5e6 * np.arange(8))
            window.putcell("CHAN_WIDTH", i, np.full(8, 0.5e6))
    rng = np.random.default_rng(3)
    delay = rng.uniform(-60e-9, 60e-9, (ANTENNAS, 1, 2))
    phase = rng.uniform(-np.pi, np.pi, (ANTENNAS, 1, 2))

    def gains(time, freq):
        return np.exp(1j * (phase - 2 * np.pi * delay * (freq[None, :, None] - 1.45e9)))

    fill(path, gains, 0.3, 7)
    return path, delay[:, 0], gains


def block(paths, output: Path, **changes):
    given = {"ms": paths, "output": str(output), "jones": ["K"], "field": None, "rfi_threshold": 0, "ref_ant": 0}
    return {"solve": given | changes}


def corrected(path: Path) -> np.ndarray:
    with table(str(path), ack=False) as main:
        values = np.stack([main.getcell("CORRECTED_DATA", row) for row in range(main.nrows())])
    return values[..., [0, 3]]


def test_a_delay_over_all_windows_is_as_precise_as_the_band_is_wide(banded, tmp_path: Path):
    path, delay, gains = banded
    report = run(check(block(str(path), tmp_path / "one.h5", combine="spw")), progress=False)
    assert report.converged and len(report.steps) == 1
    assert "spw 0+1+2" in str(report) and "solve spw0+1+2 " in str(report)
    run(check(block(str(path), tmp_path / "three.h5")), progress=False)
    one, three = CalFile.load(tmp_path / "one.h5"), CalFile.load(tmp_path / "three.h5")
    assert sorted(t.spw for t in one.tables) == sorted(t.spw for t in three.tables) == [0, 1, 2]
    true = delay - delay[0]
    worst = {}
    for name, file in (("one", one), ("three", three)):
        off = np.array([t.delay[:, 0, 0] - true for t in file.tables])
        worst[name] = np.sqrt((off[:, 1:] ** 2).mean())
    for first in one.tables:
        np.testing.assert_array_equal(first.delay, one.tables[0].delay)
    assert worst["one"] < worst["three"] / 10  # the band is 26 times wider
    # Its phases hold in every window and gap.
    for t in one.tables:
        freq = np.linspace(1.4e9, 1.504e9, 11)
        found = evaluate(t, np.array([5e9]), freq)[:, :, 0][:, :, [0, 1], [0, 1]]
        truth = gains(5e9, freq)
        truth = truth / truth[:1]
        # the reference's own phase and delay are taken out of the truth as they are out of the solutions
        assert np.abs(found - truth).max() < 0.05


def test_combined_solutions_correct_every_window_and_precede_steps_of_each(banded, tmp_path: Path):
    path, _, _ = banded
    content = block(
        str(path), tmp_path / "kg.h5", jones=["K", "G"], combine=["spw", None], time_interval=["inf", "scan"]
    )
    content["apply"] = {"ms": str(path), "jones": ["K", "G"], "tables": str(tmp_path / "kg.h5")}
    report = run(check(content), progress=False)
    assert report.converged
    assert len([s for s in report.steps if s.title.startswith("step 2")]) == 3
    values = corrected(path)
    assert np.abs(values.mean((0, 1)) - FLUX).max() < 0.05
    assert np.sqrt((np.abs(values - FLUX) ** 2).mean()) < 1.05 * 0.3


def test_steps_of_each_window_precede_a_combined_one(banded, tmp_path: Path):
    """K of each window has its own reference frequency; a gain over all windows is then 1 in all of them."""
    path, _, _ = banded
    content = block(str(path), tmp_path / "kg.h5", jones=["K", "G"], combine=[None, "spw"])
    content["apply"] = {"ms": str(path), "jones": ["K", "G"], "tables": str(tmp_path / "kg.h5")}
    run(check(content), progress=False)
    file = CalFile.load(tmp_path / "kg.h5")
    gains = next(t for t in file.tables if t.key == "G0").jones[..., [0, 1], [0, 1]]
    np.testing.assert_allclose(gains, 1, atol=0.03)
    values = corrected(path)
    assert np.sqrt((np.abs(values - FLUX) ** 2).mean()) < 1.05 * 0.3


@pytest.fixture
def nights(make_ms):
    """Two nights of one static gain and bandpass; the second has no field1."""
    rng = np.random.default_rng(5)
    gain = (1 + 0.1 * rng.normal(size=(ANTENNAS, 1, 2))) * np.exp(2j * np.pi * rng.uniform(size=(ANTENNAS, 1, 2)))
    paths = []
    for n in range(2):
        path = make_ms(
            f"night{n}.ms", antennas=ANTENNAS, times=(5e9 + 86400 * n, SLOTS, 10.0), freqs=(1.4e9, 6, 1e6), noise=0.3,
            fields=2 - n, scans=2, seed=n,
        )  # fmt: skip
        fill(path, lambda time, freq: np.broadcast_to(gain, (ANTENNAS, freq.size, 2)), 0.3, 11 + n)
        paths.append(path)
    return paths, gain[:, 0]


def test_nights_are_solved_as_one_and_all_corrected(nights, tmp_path: Path):
    paths, gain = nights
    texts = [str(p) for p in paths]
    content = block(texts, tmp_path / "g.h5", jones=["G"], field="field0", time_interval="inf")
    content["apply"] = {
        "ms": texts,
        "jones": ["G"],
        "tables": str(tmp_path / "g.h5"),
        "target_field": "field0",
        "calwt": True,
    }
    report = run(check(content), progress=False)
    assert report.converged
    (found,) = CalFile.load(tmp_path / "g.h5").tables
    assert found.time.size == 1 and all(t in found.attrs["ms"] for t in texts)
    np.testing.assert_allclose(np.abs(found.jones[:, 0, 0, 0, 0]), np.abs(gain[:, 0]), atol=0.02)
    for path in paths:
        with table(str(path), ack=False) as main:
            own = main.getcol("FIELD_ID") == 0
            p, q = main.getcol("ANTENNA1")[own], main.getcol("ANTENNA2")[own]
            weight, sigma = main.getcol("WEIGHT")[own], main.getcol("SIGMA")[own]
        values = corrected(path)[own]
        assert abs(values.mean() - FLUX) < 0.05
        size = np.abs(found.jones[:, 0, 0, 0, 0]) ** 2
        np.testing.assert_allclose(weight[:, 0] * sigma[:, 0] ** 2, size[p] * size[q], rtol=1e-5)
    only = run(check(block(texts, tmp_path / "f.h5", jones=["G"], field="field1")), progress=False)
    assert f"{paths[1]} has nothing of this selection" in str(only)
    again = block(texts, tmp_path / "s.h5", jones=["G"], field="field0", time_interval="scan")
    run(check(again), progress=False)
    (scans,) = CalFile.load(tmp_path / "s.h5").tables
    with MeasurementSet(paths[0], field="field0") as one, MeasurementSet(paths[1], field="field0") as two:
        count = sum(np.unique(ms.groups[0].scan).size for ms in (one, two))
    assert scans.time.size == count == np.unique(scan := scans.scan).size and scan.max() > 1000


def test_what_is_wrong_with_several_is_said_before_work(nights, tmp_path: Path, edit):
    paths, _ = nights
    texts = [str(p) for p in paths]
    for changes, message in (
        ({"ms": []}, "expected the path"),
        ({"ms": [*texts, texts[0]]}, "named twice"),
        ({"ms": [*texts, str(tmp_path / "no.ms")]}, r"no\.ms: no such Measurement Set"),
        ({"field": "feild0"}, "did you mean 'field0'"),
        ({"combine": "swp"}, "did you mean 'spw'"),
        ({"intent": "*CALIBRATE*"}, "says no intents"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            run(check(block(texts, tmp_path / "x.h5", **{"jones": ["G"], **changes})), progress=False)
    assert not (tmp_path / "x.h5").exists()


def test_several_ranges_of_a_window_by_channel_and_frequency(nights, tmp_path: Path):
    """Channels outside the ranges are ruined: they are not looked at."""
    paths, gain = nights
    for path in paths:
        with table(str(path), readonly=False, ack=False) as main:
            data = main.getcol("DATA")
            data[:, [0, 3]] += 300
            main.putcol("DATA", data)
    for spw in ("0:1~2;4~5", "0:1400.5~1402.5MHz;1403.5~1406MHz"):
        content = block([str(p) for p in paths], tmp_path / "g.h5", jones=["G"], field="field0", spw=spw)
        run(check(content), overwrite=True, progress=False)
        (found,) = CalFile.load(tmp_path / "g.h5").tables
        np.testing.assert_allclose(np.abs(found.jones[:, 0, 0, 0, 0]), np.abs(gain[:, 0]), atol=0.03)


def test_samples_far_from_the_solution_are_left_out_and_flagged_if_asked(nights, tmp_path: Path):
    paths, gain = nights
    path = paths[0]
    rng = np.random.default_rng(1)
    with table(str(path), readonly=False, ack=False) as main:
        data, flags = main.getcol("DATA"), main.getcol("FLAG")
        bad = rng.uniform(size=data.shape[:2]) < 0.03
        data[bad] += 20 * np.exp(2j * np.pi * rng.uniform(size=(bad.sum(), 1)))
        main.putcol("DATA", data)
        own = main.getcol("FIELD_ID") == 0
    common = {"jones": ["G"], "field": "field0", "time_interval": "inf", "combine": None}
    off = {}
    for name, more in (
        ("plain", {}),
        ("clip", {"residual_threshold": 6}),
        ("flag", {"residual_threshold": 6, "flag_residuals": True}),
    ):
        report = run(check(block(str(path), tmp_path / f"{name}.h5", **common, **more)), progress=False)
        (found,) = CalFile.load(tmp_path / f"{name}.h5").tables
        off[name] = np.abs(np.abs(found.jones[:, 0, 0, [0, 1], [0, 1]]) - np.abs(gain)).max()
        with table(str(path), ack=False) as main:
            now = main.getcol("FLAG")
            assert set(main.colnames()) & {"CLIPPED"} == set()
        if name != "flag":
            np.testing.assert_array_equal(now, flags)
    assert off["clip"] < off["plain"] / 3 and off["flag"] == off["clip"]
    fresh = now & ~flags
    assert not fresh[~own].any()
    hit = (fresh[own][..., 0] | fresh[own][..., 3]) & bad[own]
    assert hit.sum() > 0.95 * bad[own].sum() and (fresh[own].any(-1) & ~bad[own]).mean() < 1e-3
    assert f"{fresh.sum()} samples beyond 6 sigmas flagged in FLAG" in str(report)
