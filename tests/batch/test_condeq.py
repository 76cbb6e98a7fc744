"""Equations on amplitude, on phase, modulo a period, and with weights: solved as scipy solves the residual that is stated."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

OPTIONS = {
    "amplitude": {"on": "amplitude"},
    "phase": {"on": "phase"},
    "phase with weights": {"on": "phase", "weight": True},
    "phase modulo pi": {"on": "phase", "modulo": np.pi},
    "complex with weights": {"weight": True},
    "amplitude with weights": {"on": "amplitude", "weight": True},
}


def residual(model, data, on="complex", modulo=None, weight=1.0):
    """What the docstring of Condeq says, by numpy: real parts, imaginary parts."""
    if on == "complex":
        r = np.sqrt(weight) * (data - model)
        return np.concatenate([r.real.ravel(), r.imag.ravel()])
    r = np.abs(data) - np.abs(model) if on == "amplitude" else np.angle(data) - np.angle(np.where(model == 0, 1, model))
    period = modulo or 2 * np.pi
    if on == "phase":
        r = (r + period / 2) % period - period / 2
    return (np.sqrt(weight) * r).ravel()


@pytest.fixture(scope="module")
def turned():
    """Gains with amplitudes about 1 and phases all round the circle."""
    rng = np.random.default_rng(3)
    return (1 + 0.2 * rng.normal(size=(1, 5, 1, 1))) * np.exp(1j * rng.uniform(-3, 3, (1, 5, 1, 1)))


def observed(kit, gains):
    """One gain per antenna for both feeds; flags, missing rows, NaN under and beside flags, and zeros in the model."""
    o = kit.observe(gain=lambda shape: gains, noise=0.05)
    data, model, flag = (kit.getcol(o.path, c) for c in ("DATA", "MODEL_DATA", "FLAG"))
    data[3], flag[3] = np.nan, True
    data[7, 1, 0] = np.nan
    data[11:13] *= 100
    flag[11:13] = True
    model[:, :, 1:3] = 0
    model[9, 2] = np.nan
    kit.putcol(o.path, DATA=data, MODEL_DATA=model, FLAG=flag)
    kept = np.delete(np.arange(len(data)), [20, 31])
    path = kit.keep_rows(o.path, kept, "kept.ms")
    good = ~flag & np.isfinite(data) & np.isfinite(model)
    return path, (data, model, good, o.p, o.q), kept


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("solint", [None, 1])
def test_residual_is_that_of_the_docstring(kit, turned, name, solint):
    options = OPTIONS[name]
    on, modulo = options.get("on", "complex"), options.get("modulo")
    path, columns, kept = observed(kit, turned)
    data, model, good, p_, q_ = (c[kept] for c in columns)
    ms = rt.MeasurementSet(path)
    start = np.abs(turned.ravel()) * 0.9 if on == "amplitude" else turned.ravel() * np.exp(0.3j)
    ns = rt.Scope()
    for i, p in enumerate(ms.antennas):
        if on == "amplitude":
            ns.g(p) << Meq.Parm(float(start[i].real), tags="gain", solint=solint)
        elif on == "phase":
            fixed = {} if i == 0 else {"tags": "gain"}
            ns.phase(p) << Meq.Parm(float(np.angle(start[i])), solint=solint, **fixed)
            ns.g(p) << Meq.Polar(1.0, ns.phase(p))
        else:
            ns.g(p) << Meq.Parm(complex(start[i]), tags="gain", solint=solint)
    for p, q in ms.baselines:
        seen, known = Meq.Spigot(p, q), Meq.Spigot(p, q, column="MODEL_DATA")
        weight = {"weight": Meq.Sqr(Meq.Abs(seen)) + Meq.Freq() * 1e-9} if "weight" in options else {}
        predicted = ns.g(p) * known * Meq.Conj(ns.g(q))
        ns.eq(p, q) << Meq.Condeq(predicted, seen, **{k: v for k, v in options.items() if k != "weight"}, **weight)
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", tol=1e-11)
    report = ns.forest().run(ms, progress=False)
    assert (report.solvers[0].status == Status.CONVERGED).all()
    freq = ms.groups[0].freq
    w = np.broadcast_to(np.abs(data) ** 2 + freq[:, None] * 1e-9 if "weight" in options else 1.0, data.shape)
    times = kit.getcol(path, "TIME")
    slots = np.unique(times, return_inverse=True)[1]
    count = 1 if solint is None else slots.max() + 1
    for interval in range(count):
        part = np.ones(len(data), bool) if solint is None else slots == interval
        use = good[part]

        def of(x, part=part, use=use):
            if on == "phase":
                g = np.exp(1j * np.concatenate([[np.angle(start[0])], x]))
            else:
                g = x if on == "amplitude" else x[:5] + 1j * x[5:]
            predicted = g[p_[part], None, None] * model[part] * g.conj()[q_[part], None, None]
            return np.sqrt(2 * 1 / 0.05**2) * residual(predicted[use], data[part][use], on, modulo, w[part][use])

        x0 = {"complex": np.r_[start.real, start.imag], "phase": np.angle(start)[1:], "amplitude": start.real}[on]
        expected = least_squares(of, x0, xtol=1e-15, ftol=1e-15, gtol=1e-15)
        assert report.solvers[0].chi2.ravel()[interval] == pytest.approx(2 * expected.cost, rel=2e-6)
        dof = use.sum() * (2 if on == "complex" else 1) - {"complex": 10, "phase": 4, "amplitude": 5}[on]
        assert report.solvers[0].dof.ravel()[interval] - dof == (1 if on == "complex" else 0)  # a common phase is free
        if on == "phase":
            got = [report.tables.parm(f"phase:{a}").values.ravel()[interval] for a in ms.antennas[1:]]
            np.testing.assert_allclose(got, expected.x, atol=1e-6)
        elif on == "amplitude":
            got = [report.tables.parm(f"g:{a}").values.ravel()[interval] for a in ms.antennas]
            np.testing.assert_allclose(got, expected.x, rtol=1e-6)


def test_weight_of_zero_does_not_count(kit):
    """Weights of 1, 2, 3 and then 0: the first three slots are fitted, and only they count."""
    o = kit.observe(noise=0.05)
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    ns.a << Meq.Parm(1 + 0j)
    weight = Meq.Constant(np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]), axes="time")
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q), weight=weight)
    ns.solve << Meq.Solver(*ns.eq, solvable="a")
    report = ns.forest().run(ms, progress=False)
    data, model = kit.getcol(o.path, "DATA"), kit.getcol(o.path, "MODEL_DATA")
    w = np.array([1.0, 2, 3, 0, 0, 0])[o.slot, None, None]
    expected = (w * model.conj() * data).sum() / (w * abs(model) ** 2).sum()
    assert report.tables.parm("a").values.item() == pytest.approx(expected, rel=1e-6)
    assert report.solvers[0].dof.item() == 2 * (o.slot < 3).sum() * data[0].size - 2


def test_modulo_of_real_sides():
    """Delays known modulo 2: x + 0.3 t = data, which was wrapped."""
    cells = rt.Cells(time=(0, 10, 10))
    truth = 0.4 + 0.3 * cells.time
    ns = rt.Scope()
    ns.x << Meq.Parm([[0.2], [0.3]], tags="fit")
    wrapped = (truth + 1) % 2 - 1
    ns.eq << Meq.Condeq(ns.x, Meq.Constant(wrapped, axes="time"), modulo=2.0)
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-12)
    report = ns.forest().run(cells, progress=False)
    np.testing.assert_allclose(report.tables.parm("x").values.ravel(), [0.4, 0.3], atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "phases"}, "on must be one of complex, amplitude, phase, not 'phases' (did you mean 'phase'?)"),
        ({"modulo": -1.0}, "modulo must be positive and finite, or None, not -1.0"),
        ({"modulo": "pi"}, "modulo must be"),
        ({"wieght": 2.0}, "did you mean 'weight'"),
    ],
)
def test_wrong_options(options, message):
    ns = rt.Scope()
    ns.eq << Meq.Condeq(Meq.Parm(1.0), 2.0, **options)
    with pytest.raises(rt.ForestError) as caught:
        ns.forest()
    text = str(caught.value)
    assert re.search(re.escape(message).replace(r"one\ of\ complex,\ amplitude,\ phase", ".*"), text), text
    assert re.search(r"eq \(.*test_condeq\.py:\d+\)", text)


def test_modulo_needs_real_sides():
    ns = rt.Scope()
    ns.eq << Meq.Condeq(1j, Meq.Time(), modulo=2.0)
    with pytest.raises(rt.ForestError, match=r"must be real, not complex"):
        ns.forest().evaluate("eq", rt.Cells(time=(0, 1, 2)))
