"""What is kept of kernels, what is not trusted, and processes and threads that compile at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from rimetree import compiling
from rimetree.kernels import kernel, objects
from rimetree.kernels.kernel import LAYOUTS

SCRIPT = """
import resource, sys
import numpy as np
sys.path.insert(0, {folder!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
import planted
from rimetree import compiling
mark = compiling.mark()
print(planted.twice(np.arange(4.0)), "numba" in sys.modules, *compiling.since(mark))
"""
MODULE = """
from rimetree.kernels import kernel
TIMES = {times}
@kernel(fastmath={{"reassoc", "contract", "nsz", "arcp"}})
def own(x):
    return x * TIMES{change}
@kernel()
def twice(a):
    total = 0.0
    for x in a:
        total += own(x)
    return total
"""
NEW, OLD = "True kernels, compiled twice", "False kernels, loaded: 1 in"


@pytest.fixture
def start(tmp_path):
    """Starts a process that runs a planted kernel, in its own folder of object files."""

    def start(change: str = "", times: float = 2.0, room: int = -1) -> subprocess.Popen[str]:
        code = tmp_path / "code"  # not beside the cache, whose folder `rimetree` Python would take for the package
        code.mkdir(exist_ok=True)
        (code / "planted.py").write_text(MODULE.format(change=change, times=times))
        # Python's own cache takes a module that is changed within a second, and as long as before, for the old one.
        variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", "-c", SCRIPT.format(folder=str(code), room=room)]
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def fresh(start):
    """What such a process prints."""

    def run(**options: object) -> str:
        printed, _ = start(**options).communicate(timeout=200)
        return printed

    return run


def test_a_new_process_loads_without_numba_until_something_changes(fresh):
    assert fresh().startswith(f"12.0 {NEW}")
    assert fresh().startswith(f"12.0 {OLD}")
    assert fresh(change=" + 1").startswith(f"16.0 {NEW}")
    assert fresh(times=3.0).startswith(f"18.0 {NEW}")
    assert fresh().startswith(f"12.0 {OLD}")


def test_a_full_disk_costs_only_time(fresh, tmp_path):
    assert fresh(room=100).startswith(f"12.0 {NEW}")
    assert not list((tmp_path / "rimetree" / "kernels").iterdir())


def test_processes_compile_at_once(start, tmp_path):
    both = [start(), start()]
    for process in both:
        assert process.communicate(timeout=200)[0].startswith(f"12.0 {NEW}")
    assert len(list((tmp_path / "rimetree" / "kernels").iterdir())) == 1


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A folder without object files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rimetree" / "kernels"


def test_damaged_files_are_not_read(empty):
    code = objects.Code("q", "d1,", b"machine\ncode")
    objects.write("planted", code)
    assert objects.read("planted") == code
    path = empty / "planted"
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:10],
        whole[:-1],
        whole[:-1] + bytes([whole[-1] ^ 1]),
        b"\x7f" + whole[1:],
        whole + b" ",
    ):
        path.write_bytes(damaged)
        assert objects.read("planted") is None
    objects.write("planted", code)
    assert objects.read("planted") == code and list(empty.iterdir()) == [path]


def test_without_a_folder_kernels_are_compiled(empty):
    empty.parent.mkdir(parents=True)
    empty.write_text("in the way")

    @kernel()
    def planted(a):
        return a.sum()

    assert planted(np.arange(5)) == 10 and empty.is_file()


def test_threads_compile_once(empty):
    @kernel()
    def planted(a):
        return a.sum()

    mark, results, ready = compiling.mark(), [], threading.Barrier(4)

    def work():
        ready.wait()
        results.append(planted(np.arange(5)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [10] * 4
    assert [line.partition(" in")[0] for line in compiling.since(mark)] == ["kernels, compiled planted: 1"]


def test_files_that_nobody_loads_are_removed(empty, monkeypatch):
    monkeypatch.setattr(objects, "MOST", 3)
    for i in range(6):  # i days old
        objects.write(f"planted-{i}", objects.Code("q", "", b"code"))
        os.utime(empty / f"planted-{i}", (time.time() - i * 86400,) * 2)
    (empty / "tmpkilled").write_bytes(b"half")
    os.utime(empty / "tmpkilled", (0, 0))
    monkeypatch.setattr(objects, "AGE", 1.5 * 86400)
    assert objects.read("planted-5") == ("q", "", b"code")  # so it is used
    objects.write("last", objects.Code("q", "", b"code"))
    assert sorted(path.name for path in empty.iterdir()) == ["last", "planted-0", "planted-1", "planted-5"]


def names_of(function, *options):
    """Names under which a function of a float is kept with options of `kernel`."""
    return [objects.name(kernel(**each)(function), (float,)) for each in options]


def test_options_constants_and_types_make_names():
    times = 2.0

    def planted(x):
        return x * times

    first, again, other = names_of(planted, {}, {}, {"fastmath": {"nsz", "arcp"}})
    assert first == again != other
    times = 3.0
    (closed,) = names_of(planted, {})
    assert closed != first

    class Given(NamedTuple):
        a: float
        b: float

    class Turned(NamedTuple):
        b: float
        a: float

    Turned.__qualname__ = Given.__qualname__
    assert repr(Turned) == repr(Given)
    one = kernel()(planted)
    assert objects.name(one, ((Given, 2), float, float)) != objects.name(one, ((Turned, 2), float, float))


@pytest.mark.parametrize("what", ["processor", "settings"])
def test_machine_code_is_of_this_processor_and_these_settings(what, monkeypatch):
    import llvmlite.binding as ll

    def planted(x):
        return x

    (here,) = names_of(planted, {})
    if what == "processor":
        monkeypatch.setattr(ll, "get_host_cpu_name", lambda: "planted")
    else:
        monkeypatch.setenv("NUMBA_OPT", "1")
    objects._platform.cache_clear()
    try:
        (there,) = names_of(planted, {})
    finally:
        objects._platform.cache_clear()
    assert here != there


def test_a_file_says_what_it_is(empty):
    @kernel()
    def planted(a, x):
        return a[0] + x, a * x

    a = np.arange(3.0)
    planted(a, 2)
    (path,) = empty.iterdir()
    assert path.name.startswith("planted-")
    code = objects.read(path.name)
    assert code is not None
    assert code[:2] == ("qq", "d,d1,")
    assert code.machine.startswith(b"\x7fELF") or sys.platform != "linux"
    assert Path(path).stat().st_size < 50_000


def test_a_file_under_another_name_is_not_called(empty):
    @kernel()
    def planted(a):
        return a[0]

    @kernel()
    def other(a):
        return a[1]

    a = np.arange(3.0)
    planted(a)
    (path,) = empty.iterdir()
    name = objects.name(other, ((a.dtype, 1, LAYOUTS[a.flags.num & 0x503]),))
    path.rename(empty / name)
    with pytest.raises(ImportError, match=f"{name} holds another kernel than its name says; remove it"):
        other(a)
