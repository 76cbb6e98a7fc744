"""Applying solutions: corrected weights, one and two correlations, outliers, tables of earlier runs, two fields."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks


def run(seen, *, apply=None, **keys):
    path = str(seen.path.parent / "a.h5")
    solve = {
        "ms": str(seen.path),
        "output": path,
        "jones": ["K", "G"],
        "field": "field0",
        "time_interval": ["scan", "1slot"],
    }
    content = {"solve": {**solve, "rfi_threshold": 0, "ref_ant": "ant00", **keys}}
    if apply is not None:
        jones = [f"{kind}0" for kind in content["solve"]["jones"]]
        content["apply"] = {"ms": str(seen.path), "jones": jones, "tables": path, **apply}
    report = run_blocks(check(content), overwrite=True, progress=False)
    assert report.converged, report.full()
    return report


def rows(seen, name):
    from casacore.tables import table

    with table(str(seen.path), ack=False) as main:
        return main.getcol(name)


def full(seen, noise):
    """Data of full Jones matrices whose columns have very different sizes, and SIGMA as it is."""
    rng = np.random.default_rng(2)
    jones = rng.normal(size=(6, 1, 1, 2, 2)) + 1j * rng.normal(size=(6, 1, 1, 2, 2)) + [[3, 0], [0, 1]]
    jones = np.broadcast_to(jones, (6, 12, 16, 2, 2))
    error = rng.normal(size=(2, *seen.model.shape)) * noise / np.sqrt(2)
    clean = jones[seen.first] @ seen.model @ jones[seen.second].conj().swapaxes(-1, -2)
    seen.put("DATA", (clean + error[0] + 1j * error[1]).astype(np.complex64))


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_corrected_weights_are_inverse_variances(observe, edit, kind: str):
    """What is left of corrected data, weighted, has variance 1 in every correlation and on every baseline; twice is once."""
    noise = 0.3
    seen = observe(polarised=kind == "full", noise=noise)
    if kind == "full":
        full(seen, noise)
    with edit(seen.path) as table:
        table.putcol("SIGMA", np.full((table.nrows(), 4), noise, np.float32))
    step = {"jones": ["J"], "time_interval": "inf"}
    if kind == "diagonal":
        step = {
            "jones": ["K", "G", "B"],
            "time_interval": ["scan", "1slot", "inf"],
            "freq_interval": ["full", "full", "1chan"],
        }
    for _ in range(2):
        run(seen, apply={"calwt": True}, **step)
    weight = rows(seen, "WEIGHT").reshape(12, 15, 2, 2).swapaxes(0, 1)[:, :, None]
    left = np.abs(seen.column("CORRECTED_DATA") - seen.model) ** 2 * weight
    assert np.ptp(np.log(weight)) > 0.5
    ratio = left.mean((1, 2))
    assert 0.9 < np.median(ratio) < 1.1
    assert ratio.min() > 0.6 and ratio.max() < 1.6
    np.testing.assert_allclose(rows(seen, "SIGMA"), noise, rtol=1e-6)


@pytest.mark.parametrize("corrs", [("XX", "YY"), ("XX",), ("YY", "XX"), ("LL", "RR")])
def test_fewer_correlations(raw_ms, corrs):
    """Gains of known value are found and taken out, in whatever order the correlations are stored."""
    from casacore.tables import table

    times = [5e9 + 10 * i for i in range(4)]
    pairs = [(p, q) for p in range(5) for q in range(p + 1, 5)]
    path = raw_ms([(p, q, t, 1, 0, 0) for t in times for p, q in pairs], [(8, corrs)])
    rng = np.random.default_rng(1)
    gains = (1 + 0.2 * rng.normal(size=(5, 2))) * np.exp(2j * np.pi * rng.uniform(size=(5, 2)))
    hand = [0 if c in ("XX", "RR") else 1 for c in corrs]
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
    with table(str(path), readonly=False, ack=False) as main:
        p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        model = np.full((main.nrows(), 8, len(corrs)), 3, np.complex64)
        main.putcol("MODEL_DATA", model)
        main.putcol("DATA", (model * (gains[p] * gains[q].conj())[:, None, hand]).astype(np.complex64))
    output = str(path.parent / "few.h5")
    solve = {"ms": str(path), "output": output, "jones": ["G"], "rfi_threshold": 0}
    report = run_blocks(
        check({"solve": solve, "apply": {"ms": str(path), "jones": ["G0"], "tables": output}}), progress=False
    )
    assert report.converged, report.full()
    with table(str(path), ack=False) as main:
        np.testing.assert_allclose(main.getcol("CORRECTED_DATA"), 3, atol=1e-4)


def test_forward_puts_in_what_inverse_takes_out(observe):
    seen = observe()
    run(seen, apply={})
    path = str(seen.path.parent / "a.h5")
    back = {"input_col": "CORRECTED_DATA", "output_col": "BACK", "forward": True}
    content = {"apply": {"ms": str(seen.path), "jones": ["K0", "G0"], "tables": path, **back}}
    run_blocks(check(content), progress=False)
    np.testing.assert_allclose(seen.column("BACK"), seen.column("DATA"), atol=1e-4)


def test_outliers_that_nobody_flagged_are_left_out(observe):
    """Sixty strong samples; with the threshold, gains are as good as without them, and it says how many it left out."""
    seen = observe(noise=0.1)
    clean = seen.column("DATA")
    bad = np.zeros(seen.model.shape[:3], bool)
    bad.ravel()[np.random.default_rng(7).choice(bad.size, 60, replace=False)] = True
    seen.put("DATA", np.where(bad[..., None, None], 300, clean).astype(np.complex64))
    report = run(seen, apply={}, rfi_threshold=5)
    assert max(step.flagged for step in report.steps) >= 4 * 60
    assert max(step.flagged for step in report.steps) < 4 * 60 + 0.002 * clean.size
    good = seen.column("CORRECTED_DATA")[~bad]
    seen.put("DATA", clean)
    run(seen, apply={})
    best = seen.column("CORRECTED_DATA")[~bad]
    rms = [np.sqrt((np.abs(a - seen.model[~bad]) ** 2).mean()) for a in (good, best)]
    assert rms[0] < 1.02 * rms[1]


def test_solutions_of_an_earlier_run_stand_for_a_step(observe):
    """K, then G with K given from outside, is K G of one run."""
    seen = observe()
    run(seen, apply={})
    together = seen.column("CORRECTED_DATA")
    path = str(seen.path.parent / "k.h5")
    run(seen, jones=["K"], time_interval="scan", output=path)
    outer = {"tables": [path], "jones": ["K0"]}
    run(seen, jones=["G"], time_interval="1slot", external_preapply=outer)
    tables = [path, str(seen.path.parent / "a.h5")]
    run_blocks(check({"apply": {"ms": str(seen.path), "jones": ["K0", "G0"], "tables": tables}}), progress=False)
    np.testing.assert_allclose(seen.column("CORRECTED_DATA"), together, atol=1e-5)


def test_gains_in_time_reach_the_field_between(make_ms):
    """Gains drift over 12 scans that alternate between two fields; those of the first, interpolated, correct the second."""
    from casacore.tables import table

    path = make_ms(antennas=6, times=(5e9, 48, 10.0), freqs=(1.4e9, 4, 1e6), scans=12, fields=2, noise=0.02)
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
    rng = np.random.default_rng(3)
    with table(str(path), readonly=False, ack=False) as main:
        p, q, time = (main.getcol(n) for n in ("ANTENNA1", "ANTENNA2", "TIME"))
        noise = main.getcol("DATA")
        x = (time - time.min()) / np.ptp(time)
        phase = rng.uniform(-3, 3, (6, 2)) + rng.uniform(-2, 2, (6, 2)) * x[:, None, None]
        gain = np.exp(1j * phase)
        index = np.arange(time.size)
        response = (gain[index, p][:, :, None] * gain[index, q].conj()[:, None, :]).reshape(-1, 1, 4) * [1, 0, 0, 1]
        main.putcol("DATA", (noise + 5 * response).astype(np.complex64))
        main.putcol("MODEL_DATA", (5 * np.array([1, 0, 0, 1]) + 0 * noise).astype(np.complex64))
    left = {}
    for how in ("nearest", "linear"):
        output = str(path.parent / f"{how}.h5")
        solve = {"ms": str(path), "output": output, "jones": ["G"], "field": "field0", "time_interval": "scan"}
        apply = {"ms": str(path), "jones": ["G0"], "tables": output, "target_field": "field1", "time_interp": how}
        assert run_blocks(check({"solve": solve, "apply": apply}), progress=False).converged
        with table(str(path), ack=False) as main:
            inside = (main.getcol("FIELD_ID") == 1) & (x < 0.9)
            left[how] = np.sqrt((np.abs(main.getcol("CORRECTED_DATA") - main.getcol("MODEL_DATA"))[inside] ** 2).mean())
    assert left["linear"] < 1.1 * 0.02 < left["nearest"]
