"""What is compiled is noted, by name, with its time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from rimetree import compiling
from rimetree.kernels import kernel
from rimetree.plan.xla import jax


def noted(lines: list[str], what: str) -> tuple[int, float]:
    (found,) = (re.search(r": (\d+) in ([\d.]+) s$", line) for line in lines if line.startswith(what))
    assert found is not None
    return int(found[1]), float(found[2])


def test_compiled_kernels_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    @kernel()
    def inner(x):
        return x * 2

    def planted(x):
        return inner(x) + 1

    planted.__globals__["inner"] = inner
    mark, began = compiling.mark(), time.perf_counter()
    called = kernel()(planted)
    assert called(1.0) == 3
    spent = time.perf_counter() - began
    lines = compiling.since(mark)
    count, seconds = noted(lines, "kernels, compiled planted")
    assert count == 1
    assert 0 < seconds <= spent + 0.01
    assert not [line for line in lines if "inner" in line]  # part of the kernel that calls it
    mark = compiling.mark()
    called(2.0)
    assert compiling.since(mark) == []
    kernel()(planted)(2.0)
    assert noted(compiling.since(mark), "kernels, loaded")[0] == 1


def test_xla_is_noted():
    mark = compiling.mark()
    assert jax.jit(lambda x: x * 3.5 + 0.25)(2.0) == 7.25
    lines = compiling.since(mark)
    assert noted(lines, "XLA, traced")[0] >= 1
    assert noted(lines, "XLA, compiled or loaded")[0] >= 1


WITHOUT = """
import os, pwd, warnings
warnings.simplefilter("error")
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
real = os.access
os.access = lambda path, mode, **options: real(path, mode, **options) and not {written}
from rimetree.plan.xla import jax, jnp
a = jnp.eye(30) * 2
def long(x):  # to compile
    y = jnp.sin(x) @ x.T
    return sum(jnp.linalg.eigh(y[:n, :n])[0].sum() for n in range(1, 31)) / 15.5
print(float(jax.jit(long)(a)))
"""


@pytest.mark.parametrize("where", ["no home", "a file in the way", "read-only", "can be written"])
def test_xla_compiles_where_nothing_can_be_kept(tmp_path, where):
    variables = {
        k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    }
    if where != "no home":
        variables["XDG_CACHE_HOME"] = str(tmp_path)
    (tmp_path / "rimetree").mkdir()
    if where == "a file in the way":
        (tmp_path / "rimetree" / "xla").write_text("")
    else:
        (tmp_path / "rimetree" / "xla").mkdir()
    script = WITHOUT.format(written=where != "can be written")
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=variables, capture_output=True, text=True, timeout=200
    )
    assert (done.stderr, float(done.stdout)) == ("", pytest.approx(30 * 2 * np.sin(2)))
    kept = list(tmp_path.glob("rimetree/xla/*"))
    assert bool(kept) == (where == "can be written")
