"""Solution files: what is stored is what was found, and runs that go on."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from casacore.tables import table

from rimetree.errors import DataError
from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline import run as runner
from rimetree.pipeline.interpolate import evaluate
from rimetree.pipeline.load import check
from rimetree.pipeline.show import as_solutions, plot
from rimetree.status import Status


def content(seen, output: str = "s.h5", **changes):
    solve = {"ms": str(seen.path), "output": str(seen.path.parent / output), "jones": ["K", "G"], "field": "field0"}
    return {"solve": {**solve, "time_interval": ["scan", "20s"], "rfi_threshold": 0, "ref_ant": "ant01", **changes}}


def test_a_file_without_our_extras_is_read_and_applied(observe):
    """As ALAKAZAM writes it: matrices, and delays about frequency 0 in ns."""
    seen = observe()
    late = np.zeros((6, 1, 1, 2))
    late[1:] = np.random.default_rng(1).uniform(-20, 20, (5, 1, 1, 2))
    path = seen.path.parent / "foreign.h5"
    jones = np.exp(-2j * np.pi * late * 1e-9 * seen.freq.mean())[..., None] * np.eye(2)
    with h5py.File(path, "w") as file:
        file.attrs.update(version="1.0")
        node = file.create_group("K0/field_field0/scan_1/spw_0")
        for name, values in (("jones", jones), ("flags", np.zeros((6, 1, 1), bool)), ("delay", late)):
            node.create_dataset(name, data=values)
        node.create_dataset("time", data=[5e9])
        node.create_dataset("freq", data=[seen.freq.mean()])
        node.attrs.update(jones_type="K0", ant_names=json.dumps([f"ant0{i}" for i in range(6)]), feed_basis="LINEAR")
    apply = {"ms": str(seen.path), "jones": ["K"], "tables": str(path)}
    runner.run(check({"apply": apply}), progress=False)
    true = np.exp(-2j * np.pi * late[:, 0, :] * 1e-9 * seen.freq[None, :, None])[:, None]
    expected = seen.corrected(seen.column("DATA"), np.broadcast_to(true, seen.jones.shape))
    np.testing.assert_allclose(seen.column("CORRECTED_DATA"), expected, rtol=2e-4, atol=1e-3)


def test_what_is_loaded_is_what_was_saved(observe):
    seen = observe()
    made = next(iter(runner.run(check(content(seen)), progress=False).files.values()))
    for mine, read in zip(made.tables, CalFile.load(seen.path.parent / "s.h5").tables, strict=True):
        assert (mine.place, mine.kind, mine.antennas) == (read.place, read.kind, read.antennas)
        for name in ("time", "time_edges", "freq", "freq_edges", "scan", "jones", "flags", "errors"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(read, name))
        with MeasurementSet(seen.path) as ms:
            time = ms.groups[0].time
        np.testing.assert_array_equal(evaluate(mine, time, seen.freq), evaluate(read, time, seen.freq))


def test_an_interrupted_run_goes_on_to_the_same_result(observe, monkeypatch):
    seen = observe()
    runner.run(check(content(seen, "whole.h5")), progress=False)
    real, calls = runner.SolveRun.run, []

    def stops(self, work):
        calls.append(work.number)
        if len(calls) == 2:
            raise DataError("the power failed")
        return real(self, work)

    monkeypatch.setattr(runner.SolveRun, "run", stops)
    with pytest.raises(DataError, match="power"):
        runner.run(check(content(seen)), progress=False)
    assert CalFile.load(seen.path.parent / "s.h5").keys == ["K0"]
    runner.run(check(content(seen)), resume=True, progress=False)
    assert calls == [1, 2, 2]
    whole, resumed = (CalFile.load(seen.path.parent / name) for name in ("whole.h5", "s.h5"))
    for one, other in zip(whole.tables, resumed.tables, strict=True):
        np.testing.assert_array_equal(one.jones, other.jones)
    runner.run(check(content(seen, max_iter=99)), resume=True, progress=False)
    assert calls == [1, 2, 2, 1, 2]  # another question is not answered by the old file


@pytest.mark.parametrize("damage", ["text", "empty", "no jones", "shape"])
def test_damaged_files_are_named(tmp_path: Path, damage: str):
    path = tmp_path / "bad.h5"
    if damage == "text":
        path.write_text("solutions")
    else:
        with h5py.File(path, "w") as file:
            if damage != "empty":
                node = file.create_group("G0/field_A/scan_1/spw_0")
                if damage == "shape":
                    for name, shape in (
                        ("jones", (3, 1, 2, 2, 2)),
                        ("flags", (3, 1, 1)),
                        ("time", (2,)),
                        ("freq", (1,)),
                    ):
                        node.create_dataset(name, data=np.zeros(shape))
    with pytest.raises(DataError, match=r"bad\.h5"):
        CalFile.load(path)


def test_plots_show_how_each_cell_was_solved(observe):
    """chi-squared falls in every interval with data; one without any is drawn as such."""
    seen = observe()
    with table(str(seen.path), readonly=False, ack=False) as main:
        flag, time = main.getcol("FLAG"), main.getcol("TIME")
        flag[time < time.min() + 20] = True
        main.putcol("FLAG", flag)
    path = seen.path.parent / "s.h5"
    runner.run(check(content(seen)), progress=False)
    (found,) = [t for group in as_solutions(CalFile.load(path).tables).groups for t in group.solvers if t.name == "G0"]
    lost = found.status == Status.NO_DATA
    assert lost[0, 0, 0] and lost.sum() == 1 and (found.status[~lost] == Status.CONVERGED).all()
    assert (found.chi2 < found.chi2_start)[~lost].all() and not found.dof[lost].any()
    names = [p.name for p in plot(path, seen.path.parent / "plots")]
    assert "solver_G0_field0_spw0.png" in names and "solver_K0_field0_spw0.png" in names
