"""`rimetree run` and `rimetree explain` with scripts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table

from rimetree.io.solutions import Solutions


def test_a_script_is_solved_and_saved(rimetree, ms, script, tmp_path: Path):
    path = tmp_path / "s.h5"
    result = rimetree("run", script, "--ms", ms, "--solutions", path, "-o", "solint=3", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert Solutions.load(path).parm("g").values.shape == (4, 2, 1, 1, 1)


def test_the_report_is_printed(rimetree, ms, script):
    result = rimetree("run", script, "--ms", ms)
    assert result.code == 0
    assert "6 converged" in result.out
    full = rimetree("run", script, "--ms", ms, "--timings").out
    assert full.count("converged  ") == 6
    times = {name: float(value) for name, value in re.findall(r"^  (\w+) +([\d.]+) s +[\d.]+ %$", full, re.MULTILINE)}
    assert {"import", "open", "script", "plan", "read", "sums", "solve", "other"} <= set(times)
    assert abs(sum(times.values()) - 2 * times["total"]) < 0.02


@pytest.mark.parametrize(
    ("options", "intervals"),
    [
        (["--scans", "1"], 3),
        (["--taql", "SCAN_NUMBER==2"], 3),
        (["--antennas", "ant00,ant01,ant02", "--channels", "1~3"], 6),
        (["--combine", "spw"], 6),
    ],
)
def test_selections(rimetree, ms, script, options, intervals):
    result = rimetree("run", script, "--ms", ms, *options)
    assert f"{intervals} converged" in result.out, result


def test_several_sets_are_one(rimetree, ms, script, make_ms, edit):
    other = make_ms("later.ms", times=(5e9 + 1000, 2, 10.0))
    with edit(other) as main:
        main.putcol("DATA", main.getcol("DATA") + 5)
    from rimetree.io.ms import MeasurementSet

    with MeasurementSet(other) as opened:
        opened.ensure_column("MODEL_DATA")
    with edit(other) as main:
        main.putcol("MODEL_DATA", np.full_like(main.getcol("DATA"), 5))
    result = rimetree("run", script, "--ms", f"{ms},{other}")
    assert "8 converged" in result.out, result
    result = rimetree("run", script, "--ms", f"{ms},{ms}")
    assert result.code == 1 and "is named twice" in result.err
    result = rimetree("run", script, "--ms", ms, "--intent", "*PHASE*")
    assert result.code == 1 and "says no intents" in result.err


def test_not_converged_is_exit_3(rimetree, ms, script, tmp_path: Path):
    with table(str(ms), readonly=False, ack=False) as main:  # no gains make this: many small steps
        data = main.getcol("DATA")
        main.putcol("DATA", data * np.exp(2j * np.pi * np.random.default_rng(0).uniform(size=(len(data), 1, 1))))
    result = rimetree("run", script, "--ms", ms, "-o", "max_iter=1", "--solutions", tmp_path / "s.h5")
    assert result.code == 3
    assert "did not converge" in result.err
    assert (tmp_path / "s.h5").exists()


def test_a_dry_run_changes_nothing(rimetree, ms, script, tmp_path: Path):
    before = sorted((p, p.stat().st_mtime_ns) for p in ms.rglob("*") if "lock" not in p.name)
    result = rimetree("run", script, "--ms", ms, "--dry-run", "--solutions", tmp_path / "s.h5")
    assert result.code == 0
    assert "all checks passed" in result.out
    assert "4 Parms, 6 equations" in result.out
    assert not (tmp_path / "s.h5").exists()
    assert before == sorted((p, p.stat().st_mtime_ns) for p in ms.rglob("*") if "lock" not in p.name)


def test_an_unused_option_is_named(rimetree, ms, script):
    result = rimetree("run", script, "--ms", ms, "-o", "solnt=3", "--dry-run")
    assert "'solnt' was given but the script does not use it (did you mean 'solint'?)" in result.err


BROKEN = {
    "def define_forest(ns, ms, options):\n    x = = 3\n": "script.py:2: SyntaxError",
    "import nothing_of_that_name\n": "script.py:1: ModuleNotFoundError: No module named",
    "def define_forest(ns, ms, options):\n    return {}['key']\n": "script.py:2: KeyError: 'key'",
    "def define_forrest(ns, ms, options):\n    pass\n": "did you mean 'define_forrest'",
    "def define_forest(ns):\n    pass\n": "script.py: TypeError",
    "def define_forest(ns, ms, options):\n    ns.a = 3\n": "script.py:2: write ns.a <<",
    "def define_forest(ns, ms, options):\n    options['n']\n": "script.py:2: this script needs the option 'n'",
    "from rimetree import Meq\ndef define_forest(ns, ms, options):\n    ns.a << Meq.Sine(ns.b)\n": "script.py:3",
    "def define_forest(ns, ms, options):\n    pass\n": "neither a Solver nor a Sink",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_broken_scripts_are_one_message(rimetree, ms, script, text):
    script.write_text(text)
    result = rimetree("run", script, "--ms", ms)
    assert result.code == 1
    assert BROKEN[text] in result.err, result.err
    assert "Traceback" not in result.err
    assert result.err.startswith("rimetree: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope.py", "--ms", "x"], "there is no such file"),
        (["nope.txt"], "expected a script (.py) or a configuration (.yaml)"),
        (["{script}"], "--ms x.ms"),
        (["{script}", "--ms", "nope.ms"], "no such Measurement Set"),
        (["{script}", "--ms", "{ms}", "--memory", "lots"], "expected an amount of memory"),
        (["{script}", "--ms", "{ms}", "--memory", "10B"], "too little"),
        (["{script}", "--ms", "{ms}", "-o", "solint"], "expected key=value"),
        (["{script}", "--ms", "{ms}", "--set", "a=b"], "for configurations; give options to a script"),
        (["{script}", "--ms", "{ms}", "--field", "3C286"], "there is no field '3C286'"),
        (["{script}", "--ms", "{ms}", "--channels", "3~99"], "channels"),
        (["{script}", "--ms", "{ms}", "--solutions", "/nowhere/x.h5"], "/nowhere"),
        (["{script}", "--mss", "{ms}"], "--mss"),
        ([], "Missing argument"),
    ],
)
def test_wrong_command_lines(rimetree, ms, script, words, message):
    result = rimetree("run", *(word.format(ms=ms, script=script) for word in words))
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_existing_solutions_are_kept(rimetree, ms, script, tmp_path: Path):
    path = tmp_path / "s.h5"
    path.write_text("precious")
    result = rimetree("run", script, "--ms", ms, "--solutions", path)
    assert (result.code, path.read_text()) == (1, "precious")
    assert str(path) in result.err
    assert rimetree("run", script, "--ms", ms, "--solutions", path, "--overwrite").code == 0
    assert Solutions.load(path).groups


def test_ctrl_c(rimetree, ms, script, monkeypatch):
    monkeypatch.setattr("rimetree.batch.run._Run.execute", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    result = rimetree("run", script, "--ms", ms)
    assert result.code == 130
    assert result.err == "rimetree: interrupted; rerun gives the same result\n"


def test_a_bug_is_one_line(rimetree, ms, script, monkeypatch):
    def fail(self):
        raise RuntimeError("what\nis this")

    monkeypatch.setattr("rimetree.batch.run._Run.execute", fail)
    result = rimetree("run", script, "--ms", ms)
    assert result.code == 2
    assert "RuntimeError: what is this" in result.err
    assert "test_run.py" in result.err
    assert "--debug" in result.err
    assert len(result.err.splitlines()) == 1


def test_debug_shows_the_traceback(monkeypatch, ms, script):
    from rimetree.cli import main

    monkeypatch.setattr("rimetree.batch.run._Run.execute", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["run", str(script), "--ms", str(ms), "--debug"])


def test_a_reference_antenna(rimetree, ms, script, tmp_path: Path):
    path = tmp_path / "s.h5"
    result = rimetree("run", script, "--ms", ms, "--ref-antenna", "ant02", "--solutions", path)
    assert (result.code, "refers to ant02: zero is the phase (or value) of g:ant02 in 6 intervals" in result.out) == (
        0,
        True,
    )
    assert not np.angle(Solutions.load(path).parm("g").values[2]).any()
    wrong = rimetree("run", script, "--ms", ms, "--ref-antenna", "ant2")
    assert wrong.code == 1 and "did you mean 'ant0" in wrong.err and len(wrong.err.splitlines()) == 1


def test_explain(rimetree, ms, script):
    whole = rimetree("explain", script, "--ms", ms)
    assert whole.code == 0
    assert "Solver solve: 6 equations" in whole.out
    part = rimetree("explain", script, "--ms", ms, "--node", "G:ant01").out
    assert part.startswith("G:ant01: 3 nodes in 3 families")
    wrong = rimetree("explain", script, "--ms", ms, "--node", "G:ant1")
    assert (wrong.code, wrong.out) == (1, "")
    assert "there is no node 'G:ant1'" in wrong.err
