"""Flux scales: true fluxes and gains, in the case where a ratio divided by the model twice is off tenfold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rimetree.errors import ConfigError, DataError
from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks


@pytest.fixture
def two(make_ms):
    """Two fields of 10 Jy, the model of the second 1 Jy; static gains of mean amplitude 1.2."""
    from casacore.tables import table

    path = make_ms(antennas=6, times=(5e9, 16, 10.0), freqs=(1.4e9, 8, 1e6), scans=4, fields=2, noise=0.05)
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
    rng = np.random.default_rng(2)
    gains = (1.2 + 0.1 * rng.normal(size=(6, 2))) * np.exp(2j * np.pi * rng.uniform(size=(6, 2)))
    with table(str(path), readonly=False, ack=False) as main:
        p, q, field = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "FIELD_ID"))
        noise = main.getcol("DATA")
        response = (gains[p][:, :, None] * gains[q].conj()[:, None, :]).reshape(-1, 1, 4) * [1, 0, 0, 1]
        main.putcol("DATA", (noise + 10 * response).astype(np.complex64))
        model = np.where(field == 0, 10, 1)[:, None, None] * np.broadcast_to([1, 0, 0, 1], noise.shape)
        main.putcol("MODEL_DATA", model.astype(np.complex64))
    return path, gains


def blocks(path: Path, **changes):
    output, scaled = (str(path.parent / name) for name in ("cal.h5", "scaled.h5"))
    names = {"reference_field": "field0", "transfer_field": ["field1"], "jones_type": "G0", "output": scaled} | changes
    solve = {"ms": str(path), "output": output, "jones": ["G"], "field": ["field0", "field1"], "time_interval": "scan"}
    apply = {"ms": str(path), "jones": ["G0"], "tables": scaled, "target_field": "field1"}
    return {"solve": solve, "fluxscale": {"reference_table": output, "transfer_table": output, **names}, "apply": apply}


def test_flux_and_gains_are_true(two):
    path, gains = two
    content = blocks(path)
    report = run_blocks(check(content), progress=False)
    (scale,) = report.scales
    assert abs(scale.flux - 10) < 0.1
    assert abs(scale.flux - 10) < 5 * scale.flux_error
    np.testing.assert_allclose(scale.scale, np.sqrt(0.1), rtol=0.01)
    scaled = CalFile.load(content["fluxscale"]["output"])
    found = next(t for t in scaled.tables if t.field == "field1").jones[:, 0, 0]
    np.testing.assert_allclose(np.abs(found[:, 0, 0]), np.abs(gains[:, 0]), rtol=0.01)
    attrs = scaled.flux["field1", 0]
    assert {"reference_field", "reference_table", "jones_type", "transfer_field", "n_ant"} <= set(attrs)
    assert {f"{word}_{hand}" for word in ("scale", "scatter") for hand in "pq"} <= set(attrs)
    from casacore.tables import table

    with table(str(path), ack=False) as main:
        own = main.getcol("FIELD_ID") == 1
        corrected = main.getcol("CORRECTED_DATA")[own][..., [0, 3]]
    assert abs(corrected.mean() - 10) < 0.1


def test_twice_is_once(two):
    path, _ = two
    content = blocks(path, output=str(path.parent / "cal.h5"))
    content["apply"]["tables"] = content["solve"]["output"]
    run_blocks(check(content), progress=False)
    once = {t.place: t.jones for t in CalFile.load(content["solve"]["output"]).tables}
    report = run_blocks(check({"fluxscale": content["fluxscale"]}), progress=False)
    for table in CalFile.load(content["solve"]["output"]).tables:
        np.testing.assert_allclose(table.jones, once[table.place], rtol=1e-12)
    assert abs(report.scales[0].flux - 10) < 0.1


def test_a_field_that_is_not_there_is_named(two):
    path, _ = two
    with pytest.raises(ConfigError, match="did you mean 'field1'"):
        run_blocks(check(blocks(path, transfer_field="feild1")), progress=False)


@pytest.fixture
def windows(raw_ms, edit):
    """Two fields in three windows; the second of 2 Jy (nu / 1.5 GHz)^-0.7, its model 1 Jy."""
    from casacore.tables import table

    pairs = [(p, q) for p in range(5) for q in range(p + 1, 5)]
    rows = [(p, q, 5e9 + 10 * t, 1 + t // 6, t // 6, d) for t in range(12) for d in range(3) for p, q in pairs]
    path = raw_ms(rows, [(4, ("XX", "XY", "YX", "YY"))] * 3)
    centres = [1.2e9, 1.5e9, 1.8e9]
    with edit(path / "SPECTRAL_WINDOW") as window:
        for i, centre in enumerate(centres):
            window.putcell("CHAN_FREQ", i, centre + 1e6 * (np.arange(4) - 1.5))
            window.putcell("NAME", i, f"band{i}")
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
        names = [f.name for f in ms.fields]
        spws = {g.ddid: g.spw_id for g in ms.groups}
    rng = np.random.default_rng(6)
    gains = (1 + 0.1 * rng.normal(size=(5, 2))) * np.exp(2j * np.pi * rng.uniform(size=(5, 2)))
    with table(str(path), readonly=False, ack=False) as main:
        p, q, field, ddid = (main.getcol(n) for n in ("ANTENNA1", "ANTENNA2", "FIELD_ID", "DATA_DESC_ID"))
        shape = main.getcol("DATA").shape
        freq = np.array([centres[spws[d]] for d in ddid.tolist()])
        flux = np.where(field == 0, 10.0, 2.0 * (freq / 1.5e9) ** -0.7)[:, None, None]
        response = (gains[p][:, :, None] * gains[q].conj()[:, None, :]).reshape(-1, 1, 4) * [1, 0, 0, 1]
        noise = 0.05 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
        main.putcol("DATA", (flux * response + noise).astype(np.complex64))
        model = np.where(field == 0, 10, 1)[:, None, None] * np.broadcast_to([1, 0, 0, 1], shape)
        main.putcol("MODEL_DATA", model.astype(np.complex64))
    return path, names


def test_the_spectral_index_over_windows_is_true_within_its_error(windows):
    path, (reference, transfer) = windows
    content = blocks(path, reference_field=reference, transfer_field=transfer)
    content["solve"]["field"] = [reference, transfer]
    del content["apply"]
    report = run_blocks(check(content), progress=False)
    assert [s.spw for s in report.scales] == [0, 1, 2]
    for scale in report.scales:
        true = 2 * (scale.freq / 1.5e9) ** -0.7
        assert abs(scale.flux - true) < 0.01 * true and abs(scale.flux - true) < 5 * scale.flux_error
    attrs = CalFile.load(content["fluxscale"]["output"]).flux[transfer, 1]
    assert abs(attrs["spectral_index"] + 0.7) < 4 * attrs["spectral_index_error"] < 0.1
    assert abs(attrs["fitted_flux"] - 2 * (attrs["fitted_freq"] / 1.5e9) ** -0.7) < 4 * attrs["fitted_flux_error"]
    del content["solve"]
    for spw, number in (("band2", 2), (1, 1), ("0,1", None)):
        content["fluxscale"]["spw"] = spw
        found = run_blocks(check(content), progress=False).scales
        assert [s.spw for s in found] == ([0, 1] if number is None else [number])
    content["fluxscale"]["spw"] = "bnad2"
    with pytest.raises(ConfigError, match="did you mean 'band2'"):
        run_blocks(check(content), progress=False)


def test_a_model_of_nothing_has_no_flux(two, edit):
    path, _ = two
    content = blocks(path)
    run_blocks(check({"solve": content["solve"]}), progress=False)
    with edit(path) as main:
        main.putcol("MODEL_DATA", np.zeros_like(main.getcol("DATA")))
    with pytest.raises(DataError, match="MODEL_DATA of field field1, spw 0 is zero"):
        run_blocks(check({"fluxscale": content["fluxscale"]}), progress=False)
