"""Flags in front of equations and Sinks, on Measurement Sets: what is flagged in a tree is as if it had been flagged in the data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

RFI = 1000.0


def column(path: Any, name: str) -> np.ndarray:
    from casacore.tables import table

    with table(str(path), ack=False) as main:
        return np.asarray(main.getcol(name))


def put(path: Any, **columns: np.ndarray) -> None:
    from casacore.tables import table

    with table(str(path), ack=False, readonly=False) as main:
        for name, values in columns.items():
            main.putcol(name, values)


@pytest.fixture
def observed(make_ms: Any) -> SimpleNamespace:
    """Data of a source of 2 Jy with noise; strong interference in some single correlations; some of the rest is flagged."""
    path = make_ms(antennas=5, times=(5e9, 8, 10.0), freqs=(1.4e9, 6, 1e6), noise=0.1, seed=3)
    rng = np.random.default_rng(7)
    data = column(path, "DATA") + 2 * np.array([1, 0, 0, 1])
    rfi = rng.random(data.shape) < 0.05
    data[rfi] += RFI * np.exp(2j * np.pi * rng.random(rfi.sum()))
    flag = rng.random(data.shape) < 0.1
    put(path, DATA=data.astype(np.complex64), FLAG=flag)
    return SimpleNamespace(path=path, data=data, rfi=rfi, flag=flag)


def clipped(p: str, q: str, **options: Any) -> Any:
    """The data, with those beyond 100 Jy flagged."""
    data = Meq.Spigot(p, q)
    return Meq.MergeFlags(data, Meq.ZeroFlagger(Meq.Abs(data), oper="GT", limit=100.0), **options)


def gains(path: Any, data: Any, solint: Any = (2, None), condeq: Any = None, **solver: Any) -> np.ndarray:
    """Gains of all antennas for data of a source of 2 Jy."""
    ns = rt.Scope()
    with rt.MeasurementSet(path) as ms:
        for p in ms.antennas:
            ns.gx(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
            ns.gy(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
            ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.G(p), Meq.Constant([[2.0, 0], [0, 2]]), Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(model, data(p, q), **(condeq or {}))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain", **solver)
        report = ns.forest().run(ms, progress=False)
    tables = {table.label: table.values for table in report.tables.groups[0].parms}
    return np.stack([tables["gx"], tables["gy"]])


@pytest.mark.parametrize(
    ("solint", "options"),
    [((2, None), {}), ((1, 1), {}), ((2, None), {"backend": "jax"}), ((4, 2), {"robust": "student-t"})],
)
def test_flagging_in_the_tree_equals_flagging_beforehand(observed: Any, solint: Any, options: Any) -> None:
    inside = gains(observed.path, clipped, solint, **options)
    put(observed.path, FLAG=observed.flag | observed.rfi)
    before = gains(observed.path, lambda p, q: Meq.Spigot(p, q), solint, **options)
    np.testing.assert_allclose(inside, before, rtol=1e-9, atol=1e-9)
    assert np.abs(np.abs(before) - 1).max() < 0.5
    put(observed.path, FLAG=observed.flag)
    assert np.abs(np.abs(gains(observed.path, lambda p, q: Meq.Spigot(p, q), solint)) - 1).max() > 2  # it matters
