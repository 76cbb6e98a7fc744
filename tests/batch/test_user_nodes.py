"""Functions of users in equations: solved as scipy does, and harmful only where they fail."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

pytestmark = pytest.mark.usefixtures("own_registry")

FREQ = 1.4e9 + 1e6 * np.arange(4)


def dispersive(tec, freq, scale=1e9):
    """exp(i tec scale / freq)."""
    return np.exp(1j * tec * scale / freq)


def dispersive_jax(tec, freq, scale=1e9):
    """exp(i tec scale / freq)."""
    return jnp.exp(1j * tec * scale / freq)


def screen(ms, made):
    ns = rt.Scope()
    for p in ms.antennas:
        ns.tec(p) << Meq.Parm(0.0 if p == ms.antennas[0] else 0.1, tags="" if p == ms.antennas[0] else "fit", solint=3)
        ns.G(p) << made(ns.tec(p), Meq.Freq())
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.G(p) * Meq.Spigot(p, q, column="MODEL_DATA") * Meq.Conj(ns.G(q)), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="fit", tol=1e-10)
    return ns.forest().run(ms, progress=False)


def test_numpy_function_is_solved_as_scipy_solves_it(kit):
    truth = np.random.default_rng(7).normal(0, 0.3, 5)
    truth -= truth[0]
    o = kit.observe(gain=lambda shape: np.broadcast_to(
        dispersive(truth[:, None], FREQ)[None, :, None, :], shape), noise=0.05)  # fmt: skip
    ms = rt.MeasurementSet(o.path)
    reports = [
        screen(ms, rt.node(f, name=n)) for f, n in ((dispersive, "Dispersive"), (dispersive_jax, "DispersiveJax"))
    ]
    values = [np.stack([r.tables.parm(f"tec:{p}").values.ravel() for p in ms.antennas[1:]]) for r in reports]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-8)
    data, model = kit.getcol(o.path, "DATA"), kit.getcol(o.path, "MODEL_DATA")
    for interval in range(2):
        rows = o.slot // 3 == interval

        def residual(x, rows=rows):
            phase = np.concatenate([[0], x])[:, None] * 1e9 / FREQ
            turn = np.exp(1j * (phase[o.p[rows]] - phase[o.q[rows]]))
            r = data[rows] - turn[..., None] * model[rows]
            return np.concatenate([r.real.ravel(), r.imag.ravel()])

        expected = least_squares(residual, np.full(4, 0.1), xtol=1e-14, ftol=1e-14).x
        np.testing.assert_allclose(values[0][:, interval], expected, atol=1e-6)
        np.testing.assert_allclose(expected, truth[1:], atol=0.02)


def raising(x):
    if (np.abs(x) > 1.16).any():
        raise RuntimeError("out of range")
    return x * x


def nan_above(x):
    return jnp.where(jnp.abs(x) > 1.16, jnp.nan, x * x)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (raising, "its function raised RuntimeError: out of range (.*test_user_nodes.py:.*)"),
        (nan_above, "its value was NaN or infinite in some iteration of [23] solution intervals"),
    ],
)
def test_other_intervals_are_unharmed(kit, function, text):
    """The square of a gain of 1.00, 1.05 ... 1.25: beyond 1.16 the function fails, which are the last two intervals."""
    o = kit.observe(gain=lambda shape: (1 + 0.05 * np.arange(6))[:, None, None, None] * np.ones(shape), noise=0.01)
    ms, good = rt.MeasurementSet(o.path), rt.node(lambda x: x * x, name="Square")
    reports = []
    for made in (good, rt.node(function, name="Failing")):
        ns = rt.Scope()
        ns.g << Meq.Parm(1.0, solint=1)
        for p, q in ms.baselines:
            ns.eq(p, q) << Meq.Condeq(made(ns.g) * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
            ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q) / made(ns.g))
        ns.solve << Meq.Solver(*ns.eq, solvable="g")
        reports.append(ns.forest().run(ms, progress=False))
        corrected = kit.getcol(o.path, "CORRECTED_DATA")
    values = [r.tables.parm("g").values.ravel() for r in reports]
    status = reports[1].solvers[0].status.ravel()
    assert (reports[0].solvers[0].status == Status.CONVERGED).all()
    np.testing.assert_array_equal(status == Status.CONVERGED, [True] * 4 + [False] * 2)
    np.testing.assert_allclose(values[1][:4], values[0][:4], rtol=1e-10)
    assert (corrected[o.slot >= 4] == 0).all()
    assert (corrected[o.slot < 4] != 0).all()
    (note,) = [n for n in reports[1].notes if "Failing" in n]
    import re

    assert re.search(rf"Failing\(g\) \(Failing\) \(.*test_user_nodes.py:\d+\): {text}", note)
    assert len(note.splitlines()) == 1


def no_key(x):
    return {}["gain"] * np.abs(x)


def no_shape(x):
    return np.zeros(7) * np.abs(x).max()


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_key, r"its function raised KeyError: 'gain' \(.*test_user_nodes.py:\d+\), in every cell"),
        (no_shape, r"its function returned an array of shape \(7,\), .*: it must act cell by cell, in every cell"),
    ],
)
@pytest.mark.parametrize("solved", [True, False])
def test_a_function_that_fails_in_every_cell_stops_the_run(kit, function, text, solved):
    """Before anything is written: with a Solver above it, and in a Sink alone."""
    o = kit.observe(noise=0.01)
    ms, made = rt.MeasurementSet(o.path), rt.node(function, name="Failing", numpy=True)
    ns = rt.Scope()
    for p, q in ms.baselines:
        ns.copy(p, q) << Meq.Sink(Meq.Spigot(p, q))
    ns.forest().run(ms, progress=False)
    ns = rt.Scope()
    ns.g << Meq.Parm(1.0)
    ns.f << made(ns.g if solved else Meq.Freq())
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.f * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
        ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q) / ns.f)
    if solved:
        ns.solve << Meq.Solver(*ns.eq, solvable="g")
    with pytest.raises(rt.ForestError, match=rf"^f \(Failing\) \(.*test_user_nodes.py:\d+\): {text}$"):
        ns.forest().run(ms, progress=False)
    np.testing.assert_array_equal(kit.getcol(o.path, "CORRECTED_DATA"), kit.getcol(o.path, "DATA"))


def test_sink_of_a_failing_function_says_so(kit):
    o = kit.observe(noise=0.01)
    ms = rt.MeasurementSet(o.path)
    made = rt.node(lambda t: jnp.where(t > 5e9 + 25, jnp.nan, 1.0), name="Failing")
    ns = rt.Scope()
    for p, q in ms.baselines:
        ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q) / made(Meq.Time()))
    report = ns.forest().run(ms, progress=False)
    assert report.unfit == (o.slot >= 3).sum() * o.model[0].size
    (note,) = report.notes
    assert "Failing(Time()) (Failing)" in note
    assert "test_user_nodes.py" in note
    assert "its value was NaN or infinite: such visibilities are written as 0" in note
    np.testing.assert_array_equal(
        kit.getcol(o.path, "CORRECTED_DATA")[o.slot < 3], kit.getcol(o.path, "DATA")[o.slot < 3]
    )
