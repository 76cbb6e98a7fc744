"""Intervals that start from the solution of the one before: delays that drift further than their own start reaches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.errors import SolveError
from rimetree.status import Status

SLOTS, ANTENNAS, CHANNELS = 36, 4, 24
X = np.linspace(0, 1, CHANNELS)


def drifting(kit: SimpleNamespace, **options: Any) -> tuple[Any, np.ndarray]:
    """Delays in turns over the band (slot, antenna): random walks that run away from 0, and their observation."""
    rng = np.random.default_rng(5)
    walk = np.cumsum(0.03 * rng.normal(size=(SLOTS, ANTENNAS)) + 0.025 * np.arange(ANTENNAS), 0)
    given = {"antennas": ANTENNAS, "times": (5e9, SLOTS, 10.0), "freqs": (1.4e9, CHANNELS, 4e6), "noise": 0.3}
    o = kit.observe(gain=lambda _: np.exp(2j * np.pi * walk[:, :, None, None] * X), **given | options)
    return o, walk - walk[:, :1]


def forest(ms: rt.MeasurementSet, solint: Any = 1, smooth: Any = None, **options: Any) -> Any:
    """The delays of all antennas but the first, from 0."""
    ns = rt.Scope()
    ns.x << Meq.Constant(X, axes="freq")
    for p in ms.antennas:
        delay = Meq.Constant(0.0)
        if p != ms.antennas[0]:
            delay = ns.d(p) << Meq.Parm(0.0, tags="delay", solint=solint, **({"smooth": smooth} if smooth else {}))
        gain = Meq.Exp(2j * np.pi * delay * ns.x)
        ns.G(p) << Meq.Matrix22(gain, 0, 0, gain)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="delay", **options)
    return ns.forest()


def solve(o: Any, memory: float | None = None, **options: Any) -> SimpleNamespace:
    """Delays and errors (interval, antenna), and per interval status, iterations and chi2."""
    ms = rt.MeasurementSet(o.path)
    report = forest(ms, **options).run(ms, progress=False, memory=memory)
    (table,), (solver,) = report.tables.groups[0].parms, report.solvers
    values, errors = (a.reshape(len(a), -1).T for a in (table.values, table.errors))
    own = {name: getattr(solver, name).ravel() for name in ("status", "iterations", "chi2")}
    return SimpleNamespace(values=values, errors=errors, plan=report.plan, **own)


def test_delays_that_drift_are_followed(kit: SimpleNamespace) -> None:
    """From 0, late intervals end at other minima; from the interval before, all are the true ones, in fewer steps. Nothing that is
    said to have converged is wrong by default, nor fits worse than it would from its own start."""
    o, truth = drifting(kit)
    own, default, followed = (solve(o, **given) for given in ({"start": "own"}, {}, {"start": "previous"}))
    wrong = abs(own.values - truth[:, 1:]).max(1) > 0.1
    assert not wrong[:4].any()
    assert wrong[-10:].sum() > 5, "the test needs delays that are lost from 0"
    for found in (default, followed):
        assert (found.status == Status.CONVERGED).all()
        assert (abs(found.values - truth[:, 1:]) < 6 * found.errors).all()
        assert (found.chi2 <= own.chi2 * (1 + 1e-9)).all()
    assert followed.iterations.sum() < own.iterations.sum() / 3
    np.testing.assert_allclose(default.values, followed.values, atol=1e-2 * followed.errors.max())


@pytest.mark.parametrize("start", ["auto", "previous"])
def test_following_knows_no_tiles(kit: SimpleNamespace, start: str) -> None:
    o, _ = drifting(kit)
    group = rt.MeasurementSet(o.path).groups[0]
    tiles = solve(o, start=start, memory=5 * 16.0 * group.bytes_per_slot({"DATA", "MODEL_DATA"}))
    whole = solve(o, start=start)
    assert tiles.plan != whole.plan
    np.testing.assert_array_equal(tiles.status, whole.status)
    np.testing.assert_allclose(tiles.values, whole.values, atol=1e-2 * whole.errors.max())


def test_intervals_without_data_are_bridged(kit: SimpleNamespace) -> None:
    """Slots without data, and then without one antenna, have no solution, and those after them follow the last that had."""
    o, truth = drifting(kit)
    flags, antenna = kit.getcol(o.path, "FLAG"), kit.getcol(o.path, "ANTENNA2")
    slot = np.unique(kit.getcol(o.path, "TIME"), return_inverse=True)[1]
    flags[np.isin(slot, (20, 21))] = True
    flags[(slot == 22) & (antenna == 2)] = True
    flags[(slot == 22) & (kit.getcol(o.path, "ANTENNA1") == 2)] = True
    kit.putcol(o.path, FLAG=flags)
    found = solve(o, start="previous")
    off = abs(found.values - truth[:, 1:]) / found.errors
    assert (found.status[20:22] == Status.NO_DATA).all()
    assert np.isnan(off[20:22]).all()
    assert np.isnan(off[22]).tolist() == [False, True, False]
    assert np.nanmax(off) < 6
    assert np.isfinite(off[23:]).all()


def test_bands_follow_each_for_itself(kit: SimpleNamespace) -> None:
    o, truth = drifting(kit, noise=0.1)
    found = solve(o, start="previous", solint=(2, CHANNELS // 2))
    values = found.values.reshape(SLOTS // 2, 2, ANTENNAS - 1)
    mean = (truth[0::2, 1:] + truth[1::2, 1:]) / 2
    assert (found.status == Status.CONVERGED).all()
    np.testing.assert_allclose(values, np.stack([mean, mean], 1), atol=0.05)


def test_gains_do_not_care_where_they_start(kit: SimpleNamespace) -> None:
    """Linear equations have no minima to fall into: chi2 and all products of gains are the same from anywhere."""
    ms, fits = rt.MeasurementSet(kit.observe(times=(5e9, 5, 10.0)).path), []
    for start in ("own", "previous"):
        ns = rt.Scope()
        for p in ms.antennas:
            ns.g(p) << Meq.Parm(1 + 0j, tags="gain", solint=1)
        for p, q in ms.baselines:
            model = ns.g(p) * Meq.Conj(ns.g(q)) * Meq.Spigot(p, q, column="MODEL_DATA")
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain", start=start)
        report = ns.forest().run(ms, progress=False)
        g = report.tables.groups[0].parms[0].values[..., 0, 0]
        fits.append((report.solvers[0].chi2, np.einsum("atf,btf->abtf", g, g.conj())))
    for one, other in zip(*fits, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"smooth": "0.1/60s"}, "smooth= of Parms here ties all times"),
        ({"algorithm": "gn-cg"}, "algorithm='gn-cg' solves for all times together"),
        ({"start": "prevoius"}, "previous"),
    ],
)
def test_what_cannot_follow_is_refused(kit: SimpleNamespace, options: dict[str, Any], words: str) -> None:
    ms = rt.MeasurementSet(kit.observe(antennas=ANTENNAS, freqs=(1.4e9, CHANNELS, 4e6)).path)
    with pytest.raises((SolveError, rt.errors.ForestError), match=words):
        forest(ms, **{"start": "previous"} | options).run(ms, progress=False)
