"""Kernels against numpy, whatever is passed in and out; what is kept of them, and what is not trusted."""

from __future__ import annotations

import os
import resource
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
from rimetree.solve.algebra.simd import load
from rimetree.solve.algebra.threads import take


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
    with pytest.raises(MemoryError, match="arrays that do not fit together"):
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
    with pytest.raises(MemoryError, match=r"kernel .*_room failed: not enough memory"):
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


def test_layouts_that_numba_takes_for_one_are_compiled_once():
    for a in (np.zeros((3, 4)), np.zeros((1, 4)), np.zeros((3, 1)), np.zeros((0, 4)), np.zeros((1, 1))):
        _shape(a)
    assert len(_shape._entries) == 1
    for a in (np.zeros((3, 4)).T, np.zeros((3, 8))[:, ::2], np.zeros((3, 4))[::-1]):
        assert _shape(a) == (*a.shape, 0.0)
    assert len(_shape._entries) == 3


@kernel()
def _shape(a):
    total = 0.0
    for x in a.flat:
        total += x
    return a.shape[0], a.shape[1], total


def test_arrays_that_must_not_be_written_are_not():
    a = np.zeros(3)
    a.flags.writeable = False
    with pytest.raises(Exception, match="readonly|immutable|modify|read-only"):
        _fill(a, 1.0)
    assert not a.any()


def test_integers_of_more_than_64_bits_are_refused():
    @kernel()
    def planted(x):
        return x

    for _ in range(2):  # before it is compiled, and after
        with pytest.raises(TypeError, match=r"planted: expected integers of 64 bits"):
            planted(2**63)
        assert planted(-(2**63)) == -(2**63)


@kernel()
def _twice_the_same(a):
    own = a * 2
    return own, own, a


def test_memory_of_results_is_freed_once():
    a, peak = np.ones(10**5), []
    for turn in range(2000):
        first, second, third = _twice_the_same(a)
        assert first[-1] == second[-1] == 2 and third[-1] == 1
        first[:] = 0
        assert second[-1] == 2 and a[-1] == 1
        if turn in (200, 1999):
            peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peak[1] - peak[0] < 30_000  # kB, of 1,440,000 that were returned


def test_what_does_not_belong_in_kernels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table = {1: 2}

    @kernel()
    def product(a):
        return a @ a

    @kernel()
    def dictionary(a):
        return table[1]

    @kernel()
    def function(a):
        return names(a)

    @kernel()
    def raising(a):
        if a[0, 0] > 0:
            raise ValueError
        return a[0, 0]

    @kernel()
    def printing(a):
        print(a[0, 0])

    @kernel()
    def complexes(a):
        return 1j * a[0, 0]

    for wrong, why in (
        (product, r"product needs numba_\w+, which is neither in LLVM nor in the C library"),
        (dictionary, "dictionary uses table, a dict; expected kernels, numbers"),
        (function, "function uses names, a function; expected kernels, numbers"),
        (raising, "raising raises; return a status"),
        (printing, r"printing needs \w+, which is neither"),
        (complexes, "complexes returns complex128, not arrays and numbers"),
    ):
        with pytest.raises(TypeError, match=why):
            wrong(np.zeros((2, 2)))
    assert not objects.folder().exists()


def names(a):
    """Not a kernel."""
    return a


def test_another_calling_convention_is_refused():
    from rimetree.kernels.entry import entry

    class Argument(NamedTuple):
        type: str

    class Native(NamedTuple):
        name: str
        arguments: list[Argument]

    given = [Argument(kind) for kind in ("ptr", "ptr", "ptr", "i64")]
    with pytest.raises(
        TypeError, match=r"kernel planted: numba [\d.]+ passes .*'i64'\], expected .*'double'\]; install a version"
    ):
        entry("planted", "name", Native("native", given), (float,))


BEYOND = """
import numpy as np
from rimetree.kernels import kernel
from rimetree.solve.algebra.threads import take

@kernel()
def inner(a, i):
    return a[i]

@kernel()
def beyond(a, counter):
    print(take(counter))
    return inner(a, a.shape[0])

beyond(np.zeros(3), np.full(1, 7))
"""


def test_kernels_can_be_debugged():
    variables = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", BEYOND], env=variables, capture_output=True, text=True, timeout=200
    )
    assert done.stdout == "7\n" and "IndexError" in done.stderr
