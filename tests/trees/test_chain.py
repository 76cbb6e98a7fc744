"""Chains of Jones terms recover known Jones matrices as well as the noise allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rimetree.batch.chain import run_chain
from rimetree.batch.config import check
from rimetree.errors import ConfigError, DataError
from rimetree.graph.scope import Scope
from rimetree.io.ms import MeasurementSet
from rimetree.io.solutions import Solutions
from rimetree.trees.chain import chain
from rimetree.trees.terms import TERMS, interval

KGB = [{"jones": "K"}, {"jones": "G"}, {"jones": "B"}, {"joint": ["K", "G", "B"]}]


def run(seen, steps=KGB, **keys):
    return run_chain(check({"ms": str(seen.path), "solve": steps, "ref_ant": "ant00", **keys}), progress=False)


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Nothing here depends on the environment."""
    monkeypatch.delenv("RIMETREE_DEBUG", raising=False)


def total(solutions: Solutions, seen) -> np.ndarray:
    """The product of all stored terms, as (ant, slot, chan, hand)."""
    with MeasurementSet(seen.path) as ms:
        time = ms.groups[0].time
    result = np.ones_like(seen.jones)
    for table in solutions.groups[0].jones:
        slots = np.abs(table.time[:, None] - time).argmin(0)
        chans = np.abs(table.freq[:, None] - seen.freq).argmin(0)
        diagonal = np.stack([table.jones[..., c, c] for c in (0, 1)], -1)
        result = result * diagonal[:, chans][:, :, slots].swapaxes(1, 2)
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
def test_kgb_is_as_good_as_the_noise_allows(observe, tmp_path: Path, width: float):
    seen = observe(width)
    path = tmp_path / "sols.h5"
    report = run(seen, solutions=str(path))
    assert report.converged, report.full()
    found = total(Solutions.load(path), seen)
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
    seen = observe()
    tables = run(seen, apply=None).tables.groups[0]
    for table in tables.jones:
        reference = table.jones[table.antennas.index("ant00")]
        for c in (0, 1):
            assert np.abs(np.angle(reference[..., c, c])).max() < 1e-9
    values = {table.label: table for table in tables.parms}
    for label in ("K.delay_x", "K.delay_y", "K.phase_x", "K.phase_y"):
        assert np.all(values[label].values[values[label].names.index(f"{label}:ant00")] == 0)
    gains = values["G.y"]
    jones = next(t for t in tables.jones if t.label == "G")
    for i, name in enumerate(jones.antennas):
        stored = gains.values[gains.names.index(f"G.y:{name}"), :, 0, 0, 0]
        np.testing.assert_allclose(jones.jones[i, 0, :, 1, 1], stored, rtol=1e-12)


def test_delays_are_those_of_the_data(observe):
    seen = observe(noise=0.01)
    step = [{"jones": "K", "solint": [None, None]}, {"joint": ["G", "B"]}]
    table = next(t for t in run(seen, step, apply=None).tables.groups[0].parms if t.label == "K.delay_x")
    phase = np.unwrap(np.angle(seen.jones[:, 0, :, 0]), axis=1)
    slope = np.polyfit(seen.freq, phase.T, 1)[0] / (-2 * np.pi)
    # The gains' amplitudes and the curved bandpass are not in the model of this first step: hence a bias of a percent.
    np.testing.assert_allclose(table.values.ravel(), slope - slope[0], atol=0.02 / np.ptp(seen.freq))


def test_full_jones_reaches_the_noise(observe):
    seen = observe(polarised=True)
    step = {"jones": "J", "solint": [1, 1]}
    result = run(seen, [step], apply=None)
    summary = result.steps[0][1].solvers[0]
    # One time and channel: 15 baselines x 4 complex data, 6 x 8 - 1 real unknowns; and far fewer than the data.
    assert abs(summary.chi2_per_dof() - 1) < 0.05


def test_a_dead_reference_is_replaced_and_named(observe):
    seen = observe()
    dead = (seen.first == 0) | (seen.second == 0)
    flags = np.zeros(seen.model.shape, bool)
    flags[dead] = True
    seen.put("FLAG", flags)
    report = run(seen)
    note = " ".join(report.notes)
    assert "ant00 has no solution" in note
    assert any(f"ant0{i}" in note.split("referred to")[1] for i in range(1, 6))
    ours = np.abs(seen.column("CORRECTED_DATA") - seen.model)[~dead]
    true = np.abs(seen.corrected(seen.column("DATA"), seen.jones) - seen.model)[~dead]
    assert np.sqrt((ours**2).mean()) < 1.05 * np.sqrt((true**2).mean())
    assert not seen.column("CORRECTED_DATA")[dead].any()


def test_data_that_are_flagged_become_zero(observe):
    seen = observe()
    flags = np.zeros(seen.model.shape, bool)
    flags[:, 3] = True
    seen.put("FLAG", flags)
    seen.put("DATA", np.where(flags, 100, seen.column("DATA")))
    report = run(seen, [{"jones": "K"}, {"jones": "G"}])
    assert report.converged, report.full()
    assert not seen.column("CORRECTED_DATA")[:, 3].any()
    assert seen.column("CORRECTED_DATA")[:, [2, 4]].all()


def test_auto_takes_the_antenna_with_most_data(observe):
    seen = observe()
    flags = np.zeros(seen.model.shape, bool)
    for antenna in (0, 1, 2, 4, 5):
        flags[(seen.first == antenna) | (seen.second == antenna), antenna] = True
    seen.put("FLAG", flags)
    report = run(seen, [{"jones": "K"}, {"jones": "G", "solint": None}], ref_ant="auto", apply=None)
    (jones,) = (table for table in report.tables.groups[0].jones if table.label == "G")
    phases = np.abs(np.angle(jones.jones[:, 0, 0, 0, 0]))
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
    config = check({"ms": str(path), "solve": [{"jones": "G", "solint": None}], "ref_ant": "A0"})
    report = run_chain(config, progress=False)
    assert [g.spw for g in report.tables.groups] == ["0", "1"]
    for group, d in zip(report.tables.groups, (1, 0), strict=True):
        found = group.jones[0].jones[:, 0, 0, 0, 0]
        np.testing.assert_allclose(found, np.exp(1j * (1 + d) * phases), atol=1e-5)


def test_everything_is_checked_before_the_work(observe, tmp_path: Path):
    seen = observe()
    (tmp_path / "there.h5").write_text("precious")
    for keys, words in (
        ({"solutions": str(tmp_path / "there.h5")}, "exists"),
        ({"solutions": str(tmp_path / "no" / "x.h5")}, "no folder"),
        ({"model_column": "MODEL"}, "MODEL"),
        ({"plots": str(tmp_path / "no" / "x")}, "no folder"),
    ):
        with pytest.raises(DataError, match=words):
            run(seen, **keys)
    with pytest.raises(ConfigError, match="did you mean 'ant05'"):
        run(seen, ref_ant="ant055")
    assert (tmp_path / "there.h5").read_text() == "precious"
    with MeasurementSet(seen.path) as ms:
        assert ms.obstacles({"CORRECTED_DATA"}, set())


def test_a_chain_says_what_is_wrong_with_its_terms(make_ms):
    with MeasurementSet(make_ms()) as ms:
        for terms, solve, words in (
            (["Q"], [], "no Jones term 'Q'"),
            (["G"], ["B"], "not among the terms G"),
            ([], [], "at least one"),
            ({"G": (1, "often")}, [], "solint in freq"),
        ):
            with pytest.raises(ConfigError, match=words):
                chain(Scope(), ms, terms, solve)


def test_terms_have_usual_intervals():
    assert {name: interval(name) for name in TERMS} == {
        "K": ("scan", None),
        "G": (1, None),
        "B": (None, 1),
        "J": (10, None),
    }


def test_only_the_last_step_of_a_term_decides(observe):
    seen = observe()
    hasty = {"jones": "G", "max_iter": 1}
    report = run(seen, [hasty, {"jones": "K"}, {"jones": "B"}, {"joint": ["K", "G", "B"]}], apply=None)
    assert not report.steps[0][1].converged
    assert report.converged
    assert not run(seen, [hasty], apply=None).converged


def test_what_has_no_valid_solution_is_not_corrected(observe):
    seen = observe()
    report = run(seen, [{"jones": "G", "max_iter": 1}], apply={"flag": True})
    assert not report.converged
    assert not seen.column("CORRECTED_DATA").any()
    assert seen.column("FLAG").all()
