"""Kernels against numpy, whatever is passed in and out; what is kept of them, and what is not trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rimetree.kernels import kernel, objects
from rimetree.solve.simd import load
from rimetree.solve.threads import take


class Pair(NamedTuple):
    """What kernels get together."""

    first: np.ndarray
    second: tuple[np.ndarray, float]


FACTOR = 3.0
LAST = 10**15


@kernel()
def _sums(pair, flag, count, factor):
    total = 0.0
    for i in range(pair.first.shape[0]):
        for k in range(pair.first.shape[1]):
            total += pair.first[i, k] * factor
    for x in pair.second[0]:
        total += x * pair.second[1]
    return (-total if flag else total), count + pair.first.shape[1]


@kernel()
def _products(a, b):
    result = np.empty((a.shape[0], b.shape[0]))
    for i in range(a.shape[0]):
        for k in range(b.shape[0]):
            result[i, k] = a[i] * b[k] * FACTOR
    return result


@kernel()
def _fill(a, value):
    for i in range(a.shape[0]):
        a[i] = value


@kernel()
def _wait(counter):
    turns = 0
    while take(counter) < LAST:
        turns += 1
    return turns


@kernel()
def _room(count):
    return np.empty(count).ctypes.data, np.empty(count)[0] * 0.0 + 1.0


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(float, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.integers(-9, 9)),
    hnp.arrays(np.int32, st.integers(0, 4), elements=st.integers(-9, 9)),
    st.booleans(), st.integers(-(2**62), 2**62), st.floats(-8, 8, width=16), st.sampled_from(["C", "F", "strided"]),
)  # fmt: skip
def test_arguments_and_results_are_numpys(a, b, flag, count, factor, order):
    a = np.repeat(a, 2, 1)[:, ::2] if order == "strided" else np.asarray(a, order=order)
    total, number = _sums(Pair(a, (b, 2.0)), flag, count, factor)
    expected = a.sum() * factor + 2.0 * b.sum()
    assert total == (-expected if flag else expected)
    assert number == count + a.shape[1] and isinstance(number, int)


def test_arrays_come_out_as_numpys():
    a, b = np.arange(3.0), np.arange(4.0) - 1.5
    for _ in range(3):
        np.testing.assert_array_equal(_products(a, b), 3 * np.outer(a, b))
    assert _products(a[:0], b).shape == (0, 4)


@kernel()
def _shaped(a):
    return np.median(a[:, 1:]), a.reshape(a.shape[1], 2, -1)[-1, -1, -1]


def test_arrays_are_reshaped():
    a = np.arange(24.0).reshape(4, 6) ** 2
    assert _shaped(a) == (np.median(a[:, 1:]), a[-1, -1])
    with pytest.raises(MemoryError):
        _shaped(np.zeros((3, 5)))


@kernel()
def _several(a):
    return 7, a * 2, np.zeros(2, np.int64), 0.5


def test_numbers_and_arrays_come_out_together():
    number, twice, zeros, half = _several(np.arange(6.0).reshape(2, 3))
    assert (number, half) == (7, 0.5) and zeros.dtype == np.int64
    np.testing.assert_array_equal(twice, 2 * np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(zeros, [0, 0])


def test_a_new_type_is_a_new_signature():
    for kind in (np.float64, np.float32, np.int64, np.int32, np.complex128, np.bool_):
        target = np.zeros(3, kind)
        assert _fill(target, True) is _fill(target, np.True_) is None
        assert (target == 1).all()
    with pytest.raises(TypeError, match="kernels take arrays, numbers and tuples of them, not str"):
        _fill(np.zeros(3), "1")
    with pytest.raises(TypeError, match="load is an instruction of kernels"):
        load(np.zeros(8), 0)


def test_a_kernel_that_cannot_allocate_says_so():
    with pytest.raises(MemoryError, match="kernel _room failed: not enough memory"):
        _room(2**60)


def test_memory_begins_at_lines_of_the_cache():
    assert [_room(n)[0] % 64 for n in (1, 3, 1000, 10**6)] == [0, 0, 0, 0]


def test_other_threads_run_meanwhile():
    counter = np.full(1, LAST)
    assert _wait(counter) == 0
    counter[0] = 0
    worker = threading.Thread(target=_wait, args=(counter,))
    worker.start()
    while counter[0] == 0:
        time.sleep(0.001)
    counter[0] = LAST
    worker.join(10)
    assert not worker.is_alive()


SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
import planted
from rimetree import compiling
mark = compiling.mark()
print(planted.twice(np.arange(4.0)), "numba" in sys.modules, *compiling.since(mark))
"""
MODULE = """
from rimetree.kernels import kernel
TIMES = 2.0
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


@pytest.fixture
def fresh(tmp_path):
    """Runs a planted kernel in a new process; an argument changes what it calls."""

    def run(change: str = "") -> str:
        (tmp_path / "planted.py").write_text(MODULE.format(change=change))
        variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        command = [sys.executable, "-P", "-c", SCRIPT.format(folder=str(tmp_path))]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_new_process_loads_without_numba_until_something_changes(fresh, tmp_path):
    assert fresh().startswith("12.0 True kernels, compiled twice")
    assert fresh().startswith("12.0 False kernels, loaded: 1 in")
    assert fresh(" + 1").startswith("16.0 True kernels, compiled twice")
    assert fresh().startswith("12.0 False kernels, loaded: 1 in")
    for damaged in (b"", b"rimetree kernel 1\n", None):
        for path in (tmp_path / "rimetree" / "kernels").iterdir():
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damaged is None else damaged)
        assert fresh().startswith("12.0 True kernels, compiled twice")
    (tmp_path / "rimetree" / "kernels").rename(tmp_path / "rimetree" / "moved")
    (tmp_path / "rimetree" / "kernels").write_text("in the way")
    assert fresh().startswith("12.0 True kernels, compiled twice")


def test_what_cannot_be_an_object_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    @kernel()
    def product(a):
        return a @ a

    with pytest.raises(TypeError, match=r"product needs numba_\w+, which only numba has"):
        product(np.zeros((2, 2)))
    assert not objects.folder().exists()
