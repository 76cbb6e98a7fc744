"""backend="gpu" where there is no GPU: another device of the CPU stands in for it, and everything compiled is lowered for CUDA."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import rimetree as rt
from rimetree.errors import SolveError
from rimetree.solve.reduce import backends

KINDS = ["diagonal", "full", "delay", "numpy", "spline", "inverse", "computed", "previous", "robust", "bounds", "prior"]
KINDS += ["single data", "two intervals", "matrix-free", "beam"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("standin.py")
    given = [sys.executable, "-P", str(script), str(tmp_path_factory.mktemp("gpu"))]
    made = subprocess.run(given, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    result: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_a_solve_is_that_of_the_kernels_and_lives_on_the_device(found, kind):
    own = found[kind]
    np.testing.assert_allclose(own["chi2"][1], own["chi2"][0], rtol=1e-8)
    assert own["status"][0] == own["status"][1]
    assert own["difference"] < (1e-4 if kind in ("robust", "matrix-free") else 1e-6)  # steps end elsewhere within `tol`
    assert own["astray"] == []
    assert set(own["outside"]) <= {"Program._trace"}  # Sinks write what was solved for on any device


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_compiled_lowers_for_cuda(found, kind):
    """Without LAPACK and the like, and without callbacks but for functions of numpy."""
    own = found[kind]
    assert own["lowered"] and own["foreign"] == []
    assert bool(own["calling"]) == (kind == "numpy")


def test_data_go_to_the_device_once_and_iterations_move_none(found):
    for kind in ("diagonal", "full", "computed"):
        own = found[kind]
        assert own["put"].count(found["column"]) == 2  # DATA and MODEL_DATA
        assert found["turned"] not in own["put"]  # computed there
        assert len(own["calls"]["jax_normal.<locals>.made"]) > 3
        assert not any(own["calls"]["jax_normal.<locals>.made"])
        assert max(own["calls"]["Atoms._evaluate"]) <= 4 * 4 * 6 * 16  # complex gains of all antennas and slots
    assert max(found["beam"]["calls"]["Atoms._evaluate"]) <= 4 * 2 * 8  # not the beam


def test_a_configuration_may_ask_for_it(found):
    assert found["pipeline"] < 1e-6


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes",
            MemoryError,
            "^backend='jax': RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes; give a smaller memory=$",
        ),
        ("INTERNAL: no driver\nhere", SolveError, "^backend='jax': JAX stopped: INTERNAL: no driver here$"),
    ],
)
def test_what_a_device_lacks_is_one_line(words, kind, message):
    with pytest.raises(kind, match=message), backends.device("jax"):
        raise jax.errors.JaxRuntimeError(words)


def test_data_fit_into_the_memory_of_the_device(monkeypatch, make_ms):
    """`memory` is of the host: tiles are no longer than half of what the device has allows."""

    class Small:
        @staticmethod
        def memory_stats() -> dict[str, int]:
            return {"bytes_limit": 200_000}

    ms = rt.MeasurementSet(make_ms(times=(5e9, 60, 10.0)))
    ns = rt.Scope()
    for p in ms.antennas:
        ns.g(p) << rt.Meq.Parm(1 + 0j, tags="g", solint=1)
    for p, q in ms.baselines:
        ns.eq(p, q) << rt.Meq.Condeq(ns.g(p) * rt.Meq.Conj(ns.g(q)), rt.Meq.Spigot(p, q))
    ns.solve << rt.Meq.Solver(*ns.eq, solvable="g", backend="jax")
    assert "1 tile of" in ns.forest().explain(data=ms, memory=1e9)
    monkeypatch.setattr(jax, "devices", lambda kind=None: [Small])
    assert "tiles of up to" in ns.forest().explain(data=ms, memory=1e9)
