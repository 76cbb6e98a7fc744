"""Ctrl-C and kill at any moment: the set opens, old solutions survive, and a second run gives what one run gives."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import rimetree as rt

CONFTEST = Path(__file__).with_name("conftest.py")
SOLINT = (2, None)
MEMORY = 50_000
"""Tiles of two slots: 30 writes."""


def run(kit, path, solutions=None):
    ms = rt.MeasurementSet(path)
    forest = kit.diagonal(ms, SOLINT).forest()
    return forest.run(ms, solutions, overwrite=True, progress=False, memory=MEMORY)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(observation, its columns and solutions after a run that nobody interrupted); the set itself is as before the run."""
    import runpy
    from types import SimpleNamespace

    kit = SimpleNamespace(**runpy.run_path(str(CONFTEST)))
    folder = tmp_path_factory.mktemp("reference")
    o = kit.observe(folder / "x.ms", times=(5e9, 60, 10.0))
    shutil.copytree(o.path, folder / "done.ms")
    report = run(kit, folder / "done.ms", folder / "done.h5")
    assert report.converged and "30 tiles of up to 2 slots" in report.plan
    return o, kit.getcol(folder / "done.ms", "CORRECTED_DATA"), kit.solved(report), folder / "done.h5"


def check_rerun(kit, reference, path, solutions):
    """After the interrupt: everything opens; a second run ends as the first one should have."""
    o, column, gains, _ = reference
    rt.MeasurementSet(path).close()  # mends a header that casacore was writing at that very moment
    np.testing.assert_array_equal(kit.getcol(path, "DATA"), kit.getcol(o.path, "DATA"))
    report = run(kit, path, solutions)
    np.testing.assert_allclose(kit.getcol(path, "CORRECTED_DATA"), column, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(kit.solved(report), gains, rtol=1e-6, atol=1e-6)
    rt.Solutions.load(solutions)


SCRIPT = """
import os, runpy, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background hands down that it is ignored
import rimetree as rt
import rimetree.io.atomic, rimetree.io.solutions
kit = runpy.run_path(sys.argv[1])
ms = rt.MeasurementSet(sys.argv[2])
forest = kit["diagonal"](ms, (2, None)).forest()

def announce(owner, name):
    real = getattr(owner, name)
    def wrapped(*args, **options):
        print(name, flush=True)
        if name == sys.argv[5]:
            time.sleep(60)
        return real(*args, **options)
    setattr(owner, name, wrapped)

announce(rt.MeasurementSet, "ensure_column")
announce(rt.MeasurementSet, "write")
announce(rt.Solutions, "save")
announce(os, "replace")
print("ready", flush=True)
try:
    forest.run(ms, sys.argv[3], overwrite=True, progress=False, memory=int(sys.argv[4]))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(1 if any(t.name.startswith("rimetree-read") for t in threading.enumerate()) else 130)
print("done", flush=True)
"""


def interrupted(path, solutions, moment, count, delay, sent):
    """Start a run, wait until it announces `moment` for the `count`-th time, then `delay` seconds, and send a signal. Before solutions
    are saved, the run waits for Ctrl-C: it never ends before this process had its turn to send it."""
    waits = "save" if sent == signal.SIGINT else ""
    command = [sys.executable, "-c", SCRIPT, str(CONFTEST), str(path), str(solutions), str(MEMORY), waits]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = iter(process.stdout.readline, "")
    for _ in range(count):
        assert any(line == f"{moment}\n" for line in lines), process.communicate()
    time.sleep(delay)
    process.send_signal(sent)
    return process, process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "count", "delay"),
    [
        ("ready", 1, 0.2),
        ("ensure_column", 1, 0.002),
        ("write", 1, 0.0),
        ("write", 3, 0.001),
        ("write", 7, 0.004),
        ("save", 1, 0.001),
        ("save", 1, 0.02),
    ],
)
def test_killed(kit, reference, moment, count, delay):
    path, solutions = kit.path / "x.ms", kit.path / "x.h5"
    shutil.copytree(reference[0].path, path)
    shutil.copyfile(reference[3], solutions)
    old = solutions.read_bytes()
    process, _ = interrupted(path, solutions, moment, count, delay, signal.SIGKILL)
    assert process.returncode in (-signal.SIGKILL, 0)  # 0: it was done before the signal came
    if solutions.read_bytes() != old:
        np.testing.assert_allclose(kit.solved_file(solutions), reference[2], rtol=1e-6, atol=1e-6)
    check_rerun(kit, reference, path, solutions)


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "count", "delay"), [("ensure_column", 1, 0.0), ("write", 5, 0.002)])
def test_interrupted(kit, reference, moment, count, delay):
    """Ctrl-C ends as KeyboardInterrupt with no thread left behind and no partial file."""
    path, solutions = kit.path / "x.ms", kit.path / "x.h5"
    shutil.copytree(reference[0].path, path)
    process, (out, err) = interrupted(path, solutions, moment, count, delay, signal.SIGINT)
    assert process.returncode == 130 and out.endswith("interrupted\n") and err == "", (out, err)
    assert [p.name for p in kit.path.iterdir()] == ["x.ms"]
    assert not (path / ".rimetree").exists()
    check_rerun(kit, reference, path, solutions)


@pytest.mark.parametrize("owner", ["write", "reader"])
def test_interrupt_within_a_run(kit, reference, monkeypatch, owner):
    """KeyboardInterrupt passes through; the thread that reads ahead has ended."""
    path = kit.path / "x.ms"
    shutil.copytree(reference[0].path, path)
    calls = []
    real = getattr(rt.MeasurementSet, owner)

    def interrupting(self, *args, **options):
        calls.append(owner)
        if owner == "write" and len(calls) == 4:
            raise KeyboardInterrupt
        result = real(self, *args, **options)
        return broken(result) if owner == "reader" else result

    def broken(tiles):
        try:
            for number, tile in enumerate(tiles):
                if number == 3:
                    raise KeyboardInterrupt
                yield tile
        finally:
            tiles.close()

    with monkeypatch.context() as patch:
        patch.setattr(rt.MeasurementSet, owner, interrupting)
        with pytest.raises(KeyboardInterrupt):
            run(kit, path)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("rimetree-read")]
    check_rerun(kit, reference, path, kit.path / "x.h5")
