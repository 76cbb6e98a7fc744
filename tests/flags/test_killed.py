"""SIGKILL of a whole run that writes flagsets: no flag is lost, and a second run gives what one run gives."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from casacore import tables as ct

import rimetree as rt

RUN = """
import sys
import rimetree as rt
from rimetree import Meq

def announce(name):
    real = getattr(rt.MeasurementSet, name)
    def wrapped(*args, **options):
        print(name, flush=True)
        return real(*args, **options)
    setattr(rt.MeasurementSet, name, wrapped)

for name in ("ensure_column", "ensure_flagset", "write", "write_flags"):
    announce(name)
ms, ns = rt.MeasurementSet(sys.argv[1]), rt.Scope()
for p, q in ms.baselines:
    ns.data(p, q) << Meq.Spigot(p, q)
    loud = Meq.ZeroFlagger(Meq.Abs(ns.data(p, q)), oper="GT", limit=1.5)
    ns.sink(p, q) << Meq.Sink(Meq.MergeFlags(ns.data(p, q), loud), flagset="loud", flag=True)
print("ready", flush=True)
report = ns.forest().run(ms, progress=False, memory=100_000)
assert "of up to 1 slot" in report.plan, report.plan
print("done", flush=True)
"""
COLUMNS = ("DATA", "FLAG", "BITFLAG", "CORRECTED_DATA")


def read(path: Path, *names: str) -> list[np.ndarray]:
    with ct.table(str(path), ack=False) as table:
        return [table.getcol(name) for name in names]


def whole_run(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, timeout=200)
    assert done.stdout.endswith("done\n"), done.stderr


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A set with random flags, and its columns after a run that nobody killed."""
    folder = tmp_path_factory.mktemp("killed")
    rt.simulate(folder / "x.ms", 6, (5e9, 40, 8.0), (1e9, 8, 1e6), noise=1.0)
    with ct.table(str(folder / "x.ms"), readonly=False, ack=False) as table:
        table.putcol("FLAG", np.random.default_rng(1).random(table.getcol("FLAG").shape) < 0.1)
    shutil.copytree(folder / "x.ms", folder / "done.ms")
    whole_run(folder / "done.ms")
    found = read(folder / "done.ms", *COLUMNS)
    (before,) = read(folder / "x.ms", "FLAG")
    loud = np.abs(found[0]) > 1.5
    np.testing.assert_array_equal(found[1], before | loud)
    np.testing.assert_array_equal(found[2], before * 1 + loud * 2)
    return folder / "x.ms", found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "count", "delay"),
    [
        ("ensure_flagset", 1, 0.0),
        ("ensure_flagset", 1, 0.003),
        ("ensure_flagset", 1, 0.02),
        ("write_flags", 1, 0.0),
        ("write_flags", 7, 0.001),
        ("write_flags", 20, 0.0),
        ("write_flags", 40, 0.002),
    ],
)
def test_a_run_that_is_killed(sets, tmp_path, moment, count, delay):
    original, wanted = sets
    path = tmp_path / "x.ms"
    shutil.copytree(original, path)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    for _ in range(count):
        assert any(line == f"{moment}\n" for line in lines)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with rt.MeasurementSet(path) as ms:  # mends a header that casacore was writing at that very moment
        names = set(ms.flagsets)
    data, flag = read(path, "DATA", "FLAG")
    (before,) = read(original, "FLAG")
    loud = np.abs(data) > 1.5
    assert (flag >= before).all() and (flag <= (before | loud)).all()
    assert names in (set(), {"legacy"}, {"legacy", "loud"})
    if "loud" in names:
        (words,) = read(path, "BITFLAG")
        np.testing.assert_array_equal(words & 1, before)  # what can be restored
        assert ((words & 2 != 0) <= loud).all()
        assert ((flag & ~before) <= (words & 2 != 0)).all()  # BITFLAG knows whence each flag in FLAG came
    whole_run(path)
    for name, expected, found in zip(COLUMNS, wanted, read(path, *COLUMNS), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=name)
    with rt.MeasurementSet(path) as ms:
        ms.restore_flags()
    np.testing.assert_array_equal(read(path, "FLAG")[0], before)
