"""The minimiser that a configuration names is the one that works, and finds the same."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from rimetree.io.caltable import CalFile
from rimetree.pipeline import backend
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run


def solved(seen, name: str, **changes):
    output = seen.path.parent / f"{name}.h5"
    solve = {"ms": str(seen.path), "output": str(output), "jones": ["G"], "field": "field0", "time_interval": "scan"}
    report = run(
        check({"solve": solve | {"spw": "0:3~5", "rfi_threshold": 0, "solver_backend": name} | changes}), progress=False
    )
    (found,) = CalFile.load(output).tables
    return report, found


NAMES = ["scipy", "jax", *(["ceres"] if find_spec("pyceres") else [])]  # Ceres: not a package that rimetree asks for


@pytest.mark.parametrize("name", NAMES)
def test_every_backend_finds_the_same_gains_and_says_its_name(observe, name, monkeypatch):
    seen = observe()
    _, own = solved(seen, "rimetree")
    if name != "jax":
        from rimetree.solve.single import outside

        calls = []
        real = outside.Interval.__call__
        monkeypatch.setattr(outside.Interval, "__call__", lambda self, x: (calls.append(1), real(self, x))[1])
    assert not backend.missing(name)
    report, found = solved(seen, name)
    np.testing.assert_allclose(found.jones, own.jones, atol=2e-5)
    assert found.attrs["solver_backend"] == name and own.attrs["solver_backend"] == "rimetree"
    assert name == "jax" or (calls and f"solver_backend {name}: for cross-checking" in str(report))


def test_a_backend_that_is_not_installed_is_replaced_and_said(observe, monkeypatch):
    monkeypatch.setattr(
        backend,
        "missing",
        lambda name: f"algorithm={name!r} needs the package py{name}, which is not installed: pip install py{name}",
    )
    report, found = solved(observe(), "ceres")
    assert found.attrs["solver_backend"] == "rimetree"
    assert "solver_backend 'ceres' needs the package pyceres" in str(report) and "rimetree's own solver is used" in str(
        report
    )


def test_workers_are_threads(observe, monkeypatch):
    from rimetree.solve.algebra import threads

    seen, before, used = observe(), threads.threads(), []

    real = threads.together
    monkeypatch.setattr(
        threads, "together", lambda work, spare=0: (used.append(threads.threads()), real(work, spare))[1]
    )
    solved(seen, "rimetree", n_workers=1)
    assert set(used) == {1} and threads.threads() == before
