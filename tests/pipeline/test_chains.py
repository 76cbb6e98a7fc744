"""Chains of Jones terms recover known Jones matrices as well as the noise allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rimetree.errors import ConfigError, DataError
from rimetree.graph.scope import Scope
from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.interpolate import evaluate
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks
from rimetree.trees import chain
from rimetree.trees.terms import Placed, kinds, term

USUAL = {"K": ("scan", "full"), "G": ("1slot", "full"), "B": ("inf", "1chan"), "J": ("10slot", "full")}
KGB = {"jones": ["K", "G", "B"], "joint": ["K", "G", "B"]}


def run(seen, block=KGB, apply=(), **keys):
    """Solve a block on the set, and apply all of it."""
    kind = [name.rstrip("0123456789") for name in block["jones"]]
    usual = {
        f"{axis}_interval": [USUAL.get(k, ("inf", "full"))[i] for k in kind] for i, axis in enumerate(("time", "freq"))
    }
    output = str(seen.path.parent / "sols.h5")
    common = {"ms": str(seen.path), "output": output, "field": "field0", "ref_ant": "ant00", "rfi_threshold": 0}
    content = {"solve": {**common, **usual, **block, **keys}}
    if apply is not None:
        names = [f"{k}{kind[:i].count(k)}" for i, k in enumerate(kind)]
        content["apply"] = {"ms": str(seen.path), "jones": names, "tables": [output] * len(names), **dict(apply)}
    return run_blocks(check(content), overwrite=True, progress=False)


def tables(report) -> dict:
    """Key -> table, of a run on one field and window."""
    (file,) = report.files.values()
    return {table.key: table for table in file.tables}


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Nothing here depends on the environment."""
    monkeypatch.delenv("RIMETREE_DEBUG", raising=False)


def total(report, seen) -> np.ndarray:
    """The product of all solved terms, as (ant, slot, chan, hand)."""
    with MeasurementSet(seen.path) as ms:
        time = ms.groups[0].time
    result = np.ones_like(seen.jones)
    for table in tables(report).values():
        result = result * evaluate(table, time, seen.freq)[..., [0, 1], [0, 1]].swapaxes(1, 2)
    return result


def identifiable(seen) -> int:
    """Real parameters that the data of one hand determine: the rank of the Jacobian of K G B at unit gains."""
    antennas, slots, chans = seen.jones.shape[:3]
    x = np.linspace(-1, 1, chans)
    patterns = [np.eye(slots)[i][:, None] * np.ones(chans) for i in range(slots)]
    patterns += [np.ones(slots)[:, None] * np.eye(chans)[i] for i in range(chans)]
    patterns = [p * unit for p in patterns for unit in (1, 1j)]
    patterns += [1j * (seen.scan == s)[:, None] * x for s in np.unique(seen.scan)]
    columns = []
    for antenna in range(antennas):
        for pattern in patterns:
            change = np.zeros((seen.first.size, slots, chans), complex)
            change[seen.first == antenna] += pattern
            change[seen.second == antenna] += np.conj(pattern)
            columns.append(np.concatenate([change.real.ravel(), change.imag.ravel()]))
    gram = np.array(columns) @ np.array(columns).T
    return int(np.linalg.matrix_rank(gram, hermitian=True))


@pytest.mark.parametrize("width", [1e6, 32e6], ids=["16 MHz", "512 MHz"])
def test_kgb_is_as_good_as_the_noise_allows(observe, width: float):
    seen = observe(width)
    report = run(seen)
    assert report.converged, report.full()
    found = total(report, seen)
    diagonal = [0, 1], [0, 1]
    error = (seen.predicted(found) - seen.predicted(seen.jones))[..., *diagonal]
    # Least squares: the fitted model errs by the noise (sigma^2 / 2 per real datum) projected on the parameters.
    floor = seen.noise * np.sqrt(identifiable(seen) / 2 / error[..., 0].size)
    assert np.sqrt((np.abs(error) ** 2).mean()) < 1.2 * floor

    ours = np.abs(seen.column("CORRECTED_DATA") - seen.model)
    true = np.abs(seen.corrected(seen.column("DATA"), seen.jones) - seen.model)
    assert np.sqrt((ours**2).mean()) < 1.05 * np.sqrt((true**2).mean())


def test_a_polarised_model_keeps_its_xy_phase(observe):
    seen = observe(polarised=True)
    report = run(seen)
    ours = np.abs(seen.column("CORRECTED_DATA") - seen.model)
    true = np.abs(seen.corrected(seen.column("DATA"), seen.jones) - seen.model)
    assert report.converged, report.full()
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        error, best = (np.sqrt((a[..., row, column] ** 2).mean()) for a in (ours, true))
        assert error < 1.05 * best


def test_the_reference_antenna_has_no_phase(observe):
    found = tables(run(observe(), apply=None))
    for table in found.values():
        for c in (0, 1):
            assert np.abs(np.angle(table.jones[0, ..., c, c])).max() < 1e-9
    for what in ("delay_x", "delay_y", "phase_x", "phase_y"):
        assert np.all(found["K0"].parms[what].values[0] == 0)
    gains = found["G0"]
    np.testing.assert_allclose(gains.jones[:, 0, :, 1, 1], gains.parms["y"].values[..., 0, 0, 0], rtol=1e-12)


def test_delays_are_those_of_the_data(observe):
    seen = observe(noise=0.01)
    found = tables(run(seen, {"jones": ["K"], "time_interval": "inf"}, apply=None))["K0"]
    phase = np.unwrap(np.angle(seen.jones[:, 0, :, 0]), axis=1)
    slope = np.polyfit(seen.freq, phase.T, 1)[0] / (-2 * np.pi)
    # The gains' amplitudes and the curved bandpass are not in the model of this step: hence a bias of a percent.
    np.testing.assert_allclose(found.delay[:, 0, 0, 0], slope - slope[0], atol=0.02 / np.ptp(seen.freq))


def test_full_jones_reaches_the_noise(observe):
    seen = observe(polarised=True)
    step = {"jones": ["J"], "time_interval": "1slot", "freq_interval": "1chan"}
    summary = run(seen, step, apply=None).steps[0].report.solvers[0]
    # One time and channel: 15 baselines x 4 complex data, 6 x 8 - 1 real unknowns; and far fewer than the data.
    assert abs(summary.chi2_per_dof() - 1) < 0.05


def test_a_dead_reference_is_replaced_and_named(observe):
    seen = observe()
    dead = (seen.first == 0) | (seen.second == 0)
    flags = np.zeros(seen.model.shape, bool)
    flags[dead] = True
    seen.put("FLAG", flags)
    report = run(seen)
    note = " ".join(note for step in report.steps for note in step.notes)
    assert "ant00 has no solution" in note
    assert any(f"ant0{i}" in note.split("referred to")[1] for i in range(1, 6))
    ours = np.abs(seen.column("CORRECTED_DATA") - seen.model)[~dead]
    true = np.abs(seen.corrected(seen.column("DATA"), seen.jones) - seen.model)[~dead]
    assert np.sqrt((ours**2).mean()) < 1.05 * np.sqrt((true**2).mean())
    assert not seen.column("CORRECTED_DATA")[dead].any()
    applied = report.steps[-1].report  # what has no solution is not also counted as NaN
    assert applied.invalid == flags.sum() and applied.unfit == 0


def test_what_was_flagged_becomes_zero_or_takes_its_neighbours_solution(observe):
    seen = observe()
    flags = np.zeros(seen.model.shape, bool)
    flags[:, 3] = True
    seen.put("FLAG", flags)
    seen.put("DATA", np.where(flags, 100, seen.column("DATA")))
    report = run(seen, {"jones": ["K", "G"]}, apply={"time_interp": "exact"})
    assert report.converged, report.full()
    assert not seen.column("CORRECTED_DATA")[:, 3].any()
    assert seen.column("CORRECTED_DATA")[:, [2, 4]].all()
    run(seen, {"jones": ["K", "G"]})
    assert seen.column("CORRECTED_DATA")[:, 3].all()


def test_auto_takes_the_antenna_with_most_data(observe):
    seen = observe()
    flags = np.zeros(seen.model.shape, bool)
    for antenna in (0, 1, 2, 4, 5):
        flags[(seen.first == antenna) | (seen.second == antenna), antenna] = True
    seen.put("FLAG", flags)
    table = tables(run(seen, {"jones": ["K", "G"], "time_interval": ["scan", "inf"]}, ref_ant="auto", apply=None))["G0"]
    phases = np.abs(np.angle(table.jones[:, 0, 0, 0, 0]))
    assert np.flatnonzero(phases < 1e-9).tolist() == [3]


def test_windows_are_solved_one_by_one(raw_ms):
    times = [5e9 + 10 * i for i in range(4)]
    rows = [(p, q, t, 1, 0, d) for t in times for p in range(4) for q in range(p + 1, 4) for d in (0, 1)]
    path = raw_ms(rows, [(4, ("XX", "YY")), (8, ("XX", "YY"))])
    from casacore.tables import table

    phases = np.array([0, 1.0, -2.0, 0.5])
    with MeasurementSet(path) as ms:
        ms.ensure_column("MODEL_DATA")
    with table(str(path), readonly=False, ack=False) as opened:
        for number, (p, q, *_, d) in enumerate(rows):
            model = np.ones(((4, 8)[d], 2), np.complex64)
            opened.putcell("MODEL_DATA", number, model)
            opened.putcell("DATA", number, model * np.exp(1j * (1 + d) * (phases[p] - phases[q])))
    output = str(path.parent / "w.h5")
    config = check({"solve": {"ms": str(path), "output": output, "jones": ["G"], "ref_ant": "A0"}})
    run_blocks(config, progress=False)
    found = {table.spw: table for table in CalFile.load(output).tables}
    assert sorted(found) == [0, 1]
    for spw, d in ((0, 1), (1, 0)):
        gains = found[spw].jones[:, 0, 0, 0, 0]
        np.testing.assert_allclose(gains, np.exp(1j * (1 + d) * phases), atol=1e-5)


def test_everything_is_checked_before_the_work(observe, tmp_path: Path):
    seen = observe()
    there = tmp_path / "there.h5"
    there.write_text("precious")
    solve = {"ms": str(seen.path), "output": str(tmp_path / "new.h5"), "jones": ["G"]}
    apply = {"ms": str(seen.path), "jones": ["G0"], "tables": [str(tmp_path / "new.h5")]}
    for content, words, kind in (
        ({"solve": {**solve, "output": str(there)}}, "exists; --overwrite replaces it", DataError),
        ({"solve": {**solve, "output": str(tmp_path / "no" / "x.h5")}}, "no folder", DataError),
        ({"solve": {**solve, "model_col": "MODEL"}}, "MODEL", DataError),
        ({"solve": {**solve, "ms": "no.ms"}}, "no.ms", DataError),
        ({"solve": {**solve, "field": "feild0"}}, "did you mean 'field0'", ConfigError),
        ({"solve": {**solve, "ref_ant": "ant055"}}, "did you mean 'ant05'", ConfigError),
        ({"solve": {**solve, "spw": 3}}, "there is no spw", ConfigError),
        ({"solve": {**solve, "spw": "0:10~99"}}, "has 0~15", ConfigError),
        ({"solve": {**solve, "gpu": True}}, "no GPU", ConfigError),
        ({"solve": solve, "apply": {**apply, "jones": ["G1"]}}, "no solutions 'G1'", ConfigError),
        ({"solve": solve, "apply": {**apply, "tables": ["no.h5"]}}, "no such file", DataError),
        ({"apply": {**apply, "tables": [str(there)]}}, "not an HDF5 file", DataError),
        ({"solve": solve, "report": str(tmp_path / "no" / "x.html")}, "no folder", DataError),
    ):
        with pytest.raises(kind, match=words) as error:
            run_blocks(check(content), progress=False)
        assert error.type is kind
    assert there.read_text() == "precious"
    assert not (tmp_path / "new.h5").exists()
    with MeasurementSet(seen.path) as ms:
        assert ms.obstacles({"CORRECTED_DATA"}, set())


def test_a_chain_says_what_is_wrong_with_its_terms(make_ms):
    with pytest.raises(ConfigError, match="no Jones term 'Q'"):
        term("Q")
    with pytest.raises(ConfigError, match="module 'nowhere' cannot be imported"):
        term("nowhere.Mine")
    with pytest.raises(ConfigError, match="expected a class in math"):
        term("math.sin")
    with MeasurementSet(make_ms()) as ms, pytest.raises(ConfigError, match="same term twice"):
        chain.correct(Scope(), ms, [Placed("G", term("G"))] * 2, ("DATA", "OUT"))


def test_only_the_last_step_of_a_term_decides(observe):
    seen = observe()
    report = run(seen, apply=None)
    report.final = report.final[-1:]
    assert report.converged
    assert not run(seen, {"jones": ["G"], "max_iter": 1}, apply=None).converged


def test_what_has_no_valid_solution_is_not_corrected(observe):
    seen = observe()
    report = run(seen, {"jones": ["G"], "max_iter": 1}, apply={"propagate_flags": True})
    assert not report.converged
    assert not seen.column("CORRECTED_DATA").any()
    assert seen.column("FLAG").all()


def test_every_term_has_a_summary_and_a_matrix():
    for name, cls in kinds().items():
        assert cls.summary() and cls.name == name


def test_outliers_are_counted_once(observe):
    """However often data are read: for guesses, drifting gains, and the fit."""
    seen = observe()
    data = seen.column("DATA")
    data[2, 3, 5] += 500
    seen.put("DATA", data)
    report = run(seen, {"jones": ["K"], "time_interval": "scan", "rfi_threshold": 30}, apply=None)
    assert [step.flagged for step in report.steps] == [4]
