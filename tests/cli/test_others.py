"""The smaller commands, and what every command has in common."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMANDS = ("run", "explain", "config", "info", "plot", "simulate", "flags", "nodes")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(rimetree, command):
    result = rimetree(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"rimetree {command}" in result.out
    assert command in rimetree("--help").out


def test_exit_codes_are_documented(rimetree):
    for words in (("--help",), ("run", "--help")):
        assert "did not converge" in " ".join(rimetree(*words).out.split())


def test_no_command_shows_the_help(rimetree):
    result = rimetree()
    assert result.code == 1
    assert "simulate" in result.out


def test_a_misspelt_command(rimetree):
    result = rimetree("rnu")
    assert result.code == 1
    assert "rnu" in result.err


def test_version_and_module(rimetree):
    assert rimetree("--version").out.startswith("rimetree")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "rimetree", "--version"], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_loads_nothing_heavy():
    root = Path(__file__).parents[2]
    code = (
        "import sys\nfrom rimetree.cli import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('jax', 'numba', 'casacore', 'h5py', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_gains_need_no_jax(tmp_path: Path):
    """Equations of sums and products are run without JAX, which takes half a second and 120 MB to load."""
    code = f"""
import sys
import rimetree as rt
from rimetree import Meq
rt.simulate({str(tmp_path / "x.ms")!r}, 3, (5e9, 2, 8.0), (1e9, 2, 1e6), noise=0.1)
ms, ns = rt.MeasurementSet({str(tmp_path / "x.ms")!r}), rt.Scope()
for p in ms.antennas:
    x, y = (ns[name](p) << Meq.Parm(1 + 0j, tags="gain") for name in "xy")
    ns.G(p) << Meq.Matrix22(x, 0, 0, y)
for p, q in ms.baselines:
    ns.eq(p, q) << Meq.Condeq(Meq.MatrixMultiply(ns.G(p), Meq.ConjTranspose(ns.G(q))), Meq.Spigot(p, q))
ns.solve << Meq.Solver(*ns.eq, solvable="gain")
ns.forest().run(ms, progress=False)
print([m for m in ("jax", "pydantic", "matplotlib", "astropy") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.stdout.splitlines()[-1:], done.returncode) == (["[]"], 0), done.stderr


def test_nodes(rimetree):
    listing = rimetree("nodes").out
    assert "Parm " in listing
    assert "The matrix product a b c ..., in order." in listing
    one = rimetree("nodes", "PhaseDelay").out
    for text in ("lmn (dims (3,))", "uvw (m; dims (3,))", "sign (-1 or 1; default -1)", "station"):
        assert text in one
    wrong = rimetree("nodes", "PhaseDelai")
    assert wrong.code == 1
    assert "did you mean 'PhaseDelay'" in wrong.err


def test_nodes_as_forms_and_schemas(rimetree, tmp_path: Path):
    """Of our own classes, and of a file of the user's."""
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import rimetree as rt\n\n@rt.node\ndef my_ripple(x, depth=0.1):\n    'A ripple.'\n    return depth * x\n"
    )
    one = json.loads(rimetree("nodes", "MyRipple", "--json", "--from", mine).out)
    assert (one["title"], one["x-category"]) == ("MyRipple", "mine")
    assert one["properties"]["options"]["properties"]["depth"]["default"] == 0.1
    assert "MyRipple" in json.loads(rimetree("nodes", "--json").out)["$defs"]
    page = tmp_path / "nodes.html"
    done = rimetree("nodes", "--html", page, "--from", mine)
    assert (done.code, done.out, done.err) == (0, f"{page}\n", "")
    assert '"MyRipple"' in page.read_text() and '"Solver"' in page.read_text()


def test_nodes_that_cannot_be_shown(rimetree, tmp_path: Path):
    (tmp_path / "bad.py").write_text("import rimetree\n\n1 / 0\n")
    for words, message in (
        (["--from", tmp_path / "none.py"], "none.py: cannot be read: No such file"),
        (["--from", tmp_path / "bad.py"], "bad.py:3: ZeroDivisionError"),
        (["--from", "no.such.module"], "no.such.module: neither a Python file (.py) nor a module"),
        (["--html", tmp_path / "none" / "x.html"], "x.html: cannot be written: No such file"),
        (["--open"], "give both"),
        (["Bessell", "--json"], "did you mean 'Bessel'"),
    ):
        done = rimetree("nodes", *words)
        assert done.code == 1 and message in done.err and len(done.err.splitlines()) == 1, (words, done.err)


def test_simulate_takes_units(rimetree, tmp_path: Path):
    from rimetree.io.ms import MeasurementSet

    path = tmp_path / "new.ms"
    words = ["--antennas", 5, "--times", 4, "--interval", "2min", "--chans", 3, "--freq", "150MHz", "--width", "200kHz"]
    result = rimetree("simulate", path, *words, "--scans", 2, "--feed", "circular", "--noise", 1, "--seed", 3)
    assert (result.code, result.out) == (0, f"{path}\n")
    with MeasurementSet(path) as ms:
        group = ms.groups[0]
        assert (len(ms.antennas), group.time.size, group.corrs) == (5, 4, ("RR", "RL", "LR", "LL"))
        np.testing.assert_allclose(group.freq, [150e6, 150.2e6, 150.4e6])
        np.testing.assert_allclose(group.interval, 120)
    again = rimetree("simulate", path)
    assert again.code == 1
    assert "exists already" in again.err
    assert rimetree("simulate", path, "--overwrite", "--times", 1, "--chans", 1).code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--freq", "1.4 metres"], "--freq: expected a frequency"),
        (["--interval", "1MHz"], "--interval: expected a time"),
        (["--antennas", "1"], "antennas=1"),
        (["--feed", "linaer"], "did you mean 'linear'"),
        (["--scans", "50"], "scans"),
        (["--times", "many"], "--times"),
    ],
)
def test_impossible_simulations(rimetree, tmp_path: Path, words, message):
    result = rimetree("simulate", tmp_path / "x.ms", *words)
    assert result.code == 1
    assert message in result.err
    assert not (tmp_path / "x.ms").exists()


def test_info_and_plot(rimetree, ms, script, tmp_path: Path):
    path = tmp_path / "s.h5"
    rimetree("run", script, "--ms", ms, "--solutions", path)
    result = rimetree("info", path)
    assert result.code == 0
    assert "Parm g: 4 complex x 6 time x 1 frequency intervals: 24 converged" in result.out
    drawn = rimetree("plot", path, "-o", tmp_path / "plots")
    assert drawn.code == 0, drawn.err
    files = [Path(line) for line in drawn.out.splitlines()]
    assert files
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    for command in ("info", "plot"):
        wrong = rimetree(command, script)
        assert wrong.code == 1
        assert str(script) in wrong.err


def test_flags(rimetree, ms):
    """Listed, removed, restored; a name that is not there is suggested."""
    from rimetree.io.ms import MeasurementSet

    assert rimetree("flags", ms).out.split() == ["FLAG", "0", "%", "flagged"]
    with MeasurementSet(ms) as opened:
        tile = opened.read(opened.groups[0])
        for name, part in (("rfi", slice(0, 18)), ("late", slice(9, 36))):
            bad = np.zeros(tile.shape, bool)
            bad[part] = True
            opened.ensure_flagset(name)
            opened.write_flags(tile, bad, {name: bad})
    lines = [line.split() for line in rimetree("flags", ms).out.splitlines()]
    assert lines == [
        ["FLAG", "100", "%", "flagged"],
        ["legacy", "bit", "1", "0", "%", "flagged"],
        ["rfi", "bit", "2", "50", "%", "flagged"],
        ["late", "bit", "4", "75", "%", "flagged"],
    ]
    wrong = rimetree("flags", ms, "--remove", "lte")
    assert wrong.code == 1 and "no flagset 'lte' (did you mean 'late'?); there are legacy, rfi, late" in wrong.err
    assert rimetree("flags", ms, "--remove", "late").out.split()[:2] == ["FLAG", "50"]
    assert rimetree("flags", ms, "--restore").out.split()[:2] == ["FLAG", "0"]
