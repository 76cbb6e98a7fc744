"""Everything in section 6 of ALAKAZAM.md, where that package is silent or dies late: one clear line, exit 1, nothing written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from casacore.tables import table

from rimetree.io.caltable import CalFile


@pytest.fixture
def attempt(rimetree, ms, tmp_path: Path):
    """`attempt({"ref_ant": 9})`: the outcome of a run of a solve and an apply block with changes, None removing a key."""

    def call(solve=None, apply=None, words=("--quiet",), text=None, blocks=None):
        given = {"ms": str(ms), "output": str(tmp_path / "s.h5"), "jones": ["G"], "time_interval": "scan"}
        after = {"ms": str(ms), "jones": ["G"], "tables": str(tmp_path / "s.h5")}
        content = {
            name: {k: v for k, v in (block | (changes or {})).items() if v is not None}
            for name, block, changes in (("solve", given, solve), ("apply", after, apply))
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content | (blocks or {})) if text is None else text)
        return rimetree("run", path, *words)

    return call


def corrected(ms: Path) -> bool:
    with table(str(ms), ack=False) as main:
        return "CORRECTED_DATA" in main.colnames()


@pytest.mark.parametrize(
    ("solve", "apply", "message"),
    [
        ({"ms": "no.ms"}, None, "no.ms: no such Measurement Set"),
        ({"data_col": "DATE"}, None, "column DATE does not exist (did you mean 'DATA'?)"),
        ({"model_col": "MODEL"}, None, "column MODEL does not exist"),
        ({"jones": ["Q"]}, None, "there is no Jones term 'Q'"),
        ({"jones": ["G", "G"], "time_interval": ["scan"]}, None, "time_interval: has 1 values, but jones has 2"),
        ({"ref_ant": "ant99"}, None, "ref_ant: there is no antenna 'ant99'"),
        ({"ref_ant": 77}, None, "ref_ant: there is no antenna 77"),
        ({"field": "Cygnus"}, None, "there is no field 'Cygnus'"),
        ({"field": "*zzz*"}, None, "there is no field '*zzz*'"),
        ({"spw": 4}, None, "there is no spw '4'"),
        ({"spw": "-1"}, None, "there is no spw '-1'"),
        ({"spw": "high"}, None, "there is no spw 'high'"),
        ({"spw": "0:a~b"}, None, "expected channels such as"),
        ({"spw": "0:3~99"}, None, "which has 0~4"),
        ({"spw": "0:3~4GHz"}, None, "no channel is in 3~4GHz; this window has 1400"),
        ({"time_interval": "soon"}, None, "time_interval: expected one of inf, scan"),
        ({"freq_interval": "-4MHz"}, None, "freq_interval: expected one of full"),
        ({"solver_backend": "eigen"}, None, "solver_backend"),
        ({"scans": "7~9"}, None, "there is no '7~9'"),
        ({"scans": "first"}, None, "expected numbers such as"),
        ({"intent": "*PHASE*"}, None, "there is no intent '*PHASE*'"),
        ({"antennas": ["ant99"]}, None, "there is no antennas 'ant99'"),
        ({"taql": "NONSENSE = 1"}, None, "casacore does not understand it"),
        ({"output": "/nowhere/s.h5"}, {"tables": "/nowhere/s.h5"}, "no folder"),
        ({"rfi_threshold": -1}, None, "rfi_threshold"),
        ({"max_iter": 0}, None, "max_iter"),
        ({"jonse": ["G"]}, None, "jonse: there is no such key (did you mean 'jones'?)"),
        ({"output": None}, None, "output: is required"),
        ({"gpu": True}, None, "gpu: true"),
        ({"flag_residuals": True}, None, "say beyond how many sigmas"),
        ({"external_preapply": {"tables": ["no.h5"], "jones": ["G"]}}, None, "no.h5: there is no such file"),
        (None, {"tables": "no.h5"}, "no.h5: there is no such file"),
        (None, {"jones": ["B"]}, "there are no solutions 'B'; there are G0"),
        (None, {"tables": ["a.h5", "b.h5"]}, "tables: has 2 values, but jones has 1"),
        (None, {"target_field": "Cygnus"}, "there is no field 'Cygnus'"),
        (None, {"input_col": "DATE"}, "column DATE does not exist"),
        (None, {"output_col": "UVW"}, "cannot write visibilities into column UVW"),
        (None, {"output_col": "a b"}, "cannot be a column name"),
        (None, {"time_interp": "quadratic"}, "time_interp: expected exact, nearest, linear, cubic"),
        (None, {"field_select": "pinned"}, "G is pinned, so say to which field"),
        (None, {"smooth_time": "long"}, "smooth_time"),
    ],
    ids=lambda value: ",".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_known_before_the_work(attempt, ms, tmp_path: Path, solve, apply, message):
    result = attempt(solve, apply)
    assert result.code == 1 and message in result.err, result.err
    assert "Traceback" not in result.err and len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "s.h5").exists() and not corrected(ms)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected blocks solve:, fluxscale:, apply:"),
        ("solve: [", "not valid YAML"),
        ("solv:\n  ms: x\n", "solv: there is no such key (did you mean 'solve'?)"),
        ("[1, 2]", "expected blocks"),
        ("solve: 3", "solve"),
    ],
)
def test_files_that_say_nothing(attempt, text, message):
    result = attempt(text=text)
    assert result.code == 1 and message in result.err and "Traceback" not in result.err


def put(ms: Path, column: str, values) -> None:
    with table(str(ms), readonly=False, ack=False) as main:
        main.putcol(column, values(main.getcol(column), main.getcol("ANTENNA1"), main.getcol("ANTENNA2")))


def test_all_flagged(attempt, ms, tmp_path: Path):
    put(ms, "FLAG", lambda old, p, q: np.ones_like(old))
    result = attempt()
    assert result.code == 1 and "all data selected for G0 are flagged" in result.err and not corrected(ms)


def test_a_model_of_zero(attempt, ms, tmp_path: Path):
    put(ms, "MODEL_DATA", lambda old, p, q: 0 * old)
    result = attempt()
    assert result.code == 1 and "MODEL_DATA is zero or NaN, so G0 cannot be solved" in result.err and not corrected(ms)
    assert not (tmp_path / "s.h5").exists()


def test_one_sample_that_is_no_number_costs_that_sample(attempt, ms, tmp_path: Path):
    attempt()
    (before,) = CalFile.load(tmp_path / "s.h5").tables

    def broken(old, p, q):
        old[3, 2] = np.nan
        return old

    put(ms, "DATA", broken)
    result = attempt(words=["--overwrite"])
    assert result.code == 0, result.err
    (after,) = CalFile.load(tmp_path / "s.h5").tables
    assert not after.flags.any()
    np.testing.assert_allclose(after.jones, before.jones, atol=0.1)
    with table(str(ms), ack=False) as main:
        assert np.isfinite(main.getcol("CORRECTED_DATA")[np.arange(36) != 3]).all()


def test_a_dead_antenna_is_flagged_and_a_dead_reference_replaced(attempt, ms, tmp_path: Path):
    put(ms, "FLAG", lambda old, p, q: old | ((p == 1) | (q == 1))[:, None, None])
    result = attempt({"ref_ant": "ant01"}, words=[])
    assert result.code == 0, result.err
    (found,) = CalFile.load(tmp_path / "s.h5").tables
    assert found.flags[1].all() and not found.flags[[0, 2, 3]].any()
    name = found.attrs["ref_ant_name"]
    assert name != "ant01"
    np.testing.assert_allclose(np.angle(found.jones[found.antennas.index(name), :, :, 0, 0]), 0, atol=1e-12)
    assert "ant01" in result.out and name in result.out
    with table(str(ms), ack=False) as main:
        dead = (main.getcol("ANTENNA1") == 1) | (main.getcol("ANTENNA2") == 1)
        assert not main.getcol("CORRECTED_DATA")[dead].any()


def test_a_read_only_set_is_solved_but_not_corrected(attempt, ms, tmp_path: Path, monkeypatch):
    if os.geteuid() == 0:
        real = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode, **k: real(path, mode) and not (mode & os.W_OK and ".ms" in str(path))
        )
    else:
        ms.chmod(0o555)
    try:
        result = attempt()
        assert result.code == 1 and "read-only" in result.err and "chmod" in result.err
        assert not (tmp_path / "s.h5").exists()
        result = attempt(blocks={"apply": []})
        assert result.code == 0, result.err
    finally:
        ms.chmod(0o755)


def test_no_space_for_the_new_column(attempt, ms, monkeypatch):
    full = shutil.disk_usage(ms)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    result = attempt()
    assert result.code == 1 and "not enough free disk space to create CORRECTED_DATA" in result.err


@pytest.mark.parametrize("command", ["info", "plot", "fluxscale-info"])
def test_half_of_a_solution_file_is_called_damaged(rimetree, tmp_path: Path, command: str):
    import h5py

    path = tmp_path / "half.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "rimetree"
        file["values"] = np.zeros(10_000)
    path.write_bytes(path.read_bytes()[:4000])
    result = rimetree(command, path)
    assert result.code == 1 and "half.h5 is damaged" in result.err and result.err.count("\n") == 1


def test_existing_outputs(attempt, tmp_path: Path):
    output = tmp_path / "s.h5"
    output.write_text("precious")
    result = attempt()
    assert result.code == 1 and "--overwrite replaces it, --resume continues it" in result.err
    result = attempt(words=["--resume"])
    assert result.code == 1 and "is not an HDF5 file" in result.err
    assert output.read_text() == "precious"
    with h5py.File(output, "w") as file:
        file["nothing"] = 1
    result = attempt(words=["--resume"])
    assert result.code == 1 and "s.h5" in result.err and "Traceback" not in result.err
    assert attempt(words=["--overwrite"]).code == 0


def test_windows_of_unequal_length_and_two_correlations(rimetree, raw_ms, tmp_path: Path):
    """Both are solved and corrected; what needs cross-hands says that there are none."""
    pairs = [(p, q) for p in range(4) for q in range(p + 1, 4)]
    rows = [(p, q, 5e9 + 10 * t, 1, 0, d) for t in range(3) for d in (0, 1) for p, q in pairs]
    path = raw_ms(rows, [(3, ("XX", "YY")), (5, ("XX", "YY"))])
    from rimetree.io.ms import MeasurementSet

    with MeasurementSet(path) as opened:
        opened.ensure_column("MODEL_DATA")
    rng = np.random.default_rng(1)
    with table(str(path), readonly=False, ack=False) as main:
        for row in range(main.nrows()):
            shape = main.getcell("DATA", row).shape
            main.putcell("MODEL_DATA", row, np.full(shape, 2, np.complex64))
            main.putcell("DATA", row, (2 + 0.01 * rng.normal(size=shape)).astype(np.complex64))
    output = tmp_path / "two.h5"
    content = {
        "solve": {"ms": str(path), "output": str(output), "jones": ["G"]},
        "apply": {"ms": str(path), "jones": ["G"], "tables": str(output)},
    }
    config = tmp_path / "two.yaml"
    config.write_text(yaml.safe_dump(content))
    result = rimetree("run", config, "--quiet")
    assert result.code == 0, result.err
    with table(str(path), ack=False) as main:
        for row in range(main.nrows()):
            np.testing.assert_allclose(main.getcell("CORRECTED_DATA", row), 2, atol=0.1)
    content["solve"]["jones"] = ["D"]
    config.write_text(yaml.safe_dump(content))
    result = rimetree("run", config, "--quiet", "--overwrite")
    assert result.code == 1 and "D0 needs the cross-hands, and spw" in result.err


def test_interrupted_between_steps_and_resumed(attempt, tmp_path: Path, monkeypatch):
    from rimetree.pipeline import run as runner

    real, done = runner.SolveRun.run, []

    def stops(self, work):
        done.append(work.number)
        if done == [1, 2]:
            raise KeyboardInterrupt
        return real(self, work)

    monkeypatch.setattr(runner.SolveRun, "run", stops)
    result = attempt({"jones": ["G", "T"]})
    assert result.code == 130 and CalFile.load(tmp_path / "s.h5").keys == ["G0"]
    result = attempt({"jones": ["G", "T"]}, words=["--resume"])
    assert result.code == 0 and done == [1, 2, 2]
    assert CalFile.load(tmp_path / "s.h5").keys == ["G0", "T0"]


def test_what_the_data_do_not_have_is_told_at_once_with_its_lines(rimetree, ms, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""solve:
- ms: {ms}
  output: {tmp_path}/s.h5
  jones: [G]
  ref_ant: ant77
  field: Cygnus
  data_col: DATE
- ms: no.ms
  output: {tmp_path}/no/s.h5
  jones: G
- ms: {ms}
  output: {tmp_path}/t.h5
  jones: [K, G]
  joint: [K, G]
  combine: [spw, none]
  external_preapply: {{jones: [G],
     tables: [old.h5]}}
apply:
- ms: {ms}
  jones: [G,
    B]
  tables: [{tmp_path}/s.h5, {tmp_path}/t.h5]
  target_field: Cyg
  output_col: UVW
- ms: {ms}
  jones: [G]
  tables: missing.h5
  spw: 0:3~99
"""
    )
    result = rimetree("run", path)
    expected = [
        "5: solve.0.ref_ant: there is no antenna 'ant77'",
        "6: solve.0.field: field=['Cygnus']: there is no field 'Cygnus'",
        f"7: solve.0.data_col: {ms}: column DATE does not exist (did you mean 'DATA'?)",
        "8: solve.1.ms: no.ms: no such Measurement Set",
        f"9: solve.1.output: {tmp_path}/no/s.h5: there is no folder",
        "14: solve.2.joint: K0 and G0 are solved together",
        "16: solve.2.external_preapply: old.h5: there is no such file",
        f"21: apply.0.jones.1: {tmp_path}/t.h5: there are no solutions 'B'; there are K0, G0",
        "23: apply.0.target_field: field='Cyg': there is no field 'Cyg'",
        f"24: apply.0.output_col: {ms}: cannot write visibilities into column UVW",
        "27: apply.1.tables: missing.h5: there is no such file",
        "28: apply.1.spw: spw '0:3~99': channels '3~99' are not in this window",
    ]
    head, *lines = result.err.splitlines()
    assert result.code == 1 and head == f"rimetree: {path}: {len(expected)} mistakes:", result.err
    for line, text in zip(lines, expected, strict=True):
        assert line.startswith(f"  {path}:{text}"), (line, text)
