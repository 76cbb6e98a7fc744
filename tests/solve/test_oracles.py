"""Optimistix' and scipy's Levenberg-Marquardt, on residuals written down by hand, reach the minimum that a run reports."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq

jax.config.update("jax_enable_x64", True)

TIME, FREQ = np.linspace(-1, 1, 14), np.linspace(1, 2, 6)
T, F = TIME[:, None], FREQ[None]


def power_law(x):
    """Flux and spectral index of a power law, and a drift in time."""
    return (x[0] + x[1] * T) * F ** x[2]


def phasor(x):
    """A complex exponential with an amplitude: delay and phase."""
    return x[0] * jnp.exp(1j * (x[1] + x[2] * F)) + 0 * T


def rational(x):
    """A product and a quotient of parameters."""
    return x[0] * x[1] * T + x[2] / (x[1] + F)


def trees(ns):
    """The same three as trees, with their Parms in order."""
    a, b, c = (ns[n] << Meq.Parm(1.0, tags="x") for n in "abc")
    t, f = Meq.Time(), Meq.Freq()
    return {
        power_law: (a + b * t) * Meq.Pow(f, c),
        phasor: a * Meq.Exp(1j * (b + c * f)),
        rational: a * b * t + c / (b + f),
    }


@pytest.mark.parametrize("algorithm", ["lm", "newton", "scipy"])
@pytest.mark.parametrize("function", [power_law, phasor, rational], ids=lambda f: f.__name__)
def test_same_minimum(function, algorithm):
    rng = np.random.default_rng(5)
    truth = np.array([1.4, 0.7, 0.8])
    noise = 0.05 * (rng.normal(size=(2, 3, *np.broadcast_shapes(T.shape, F.shape))))
    patterns = [np.cos(3 * T + i * F) for i in range(3)]  # of noise that a tree can be given, see below
    data = sum(n.mean() * p for n, p in zip(noise[0], patterns, strict=True)) + np.asarray(function(truth))

    def residual(x, _=None):
        r = (function(x) - data) + 0j
        return jnp.concatenate([r.real.ravel(), r.imag.ravel()])

    found = optimistix.least_squares(
        residual, optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12), jnp.ones(3), max_steps=1000
    )
    scipy = least_squares(
        jax.jit(residual), np.ones(3), jax.jit(jax.jacfwd(residual)), method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14
    )
    ns = rt.Scope()
    tree = trees(ns)[function]
    t, f = Meq.Time(), Meq.Freq()
    noises = [float(n.mean()) * Meq.Cos(3 * t + float(i) * f) for i, n in enumerate(noise[0])]
    known = {
        power_law: lambda: (float(truth[0]) + float(truth[1]) * t) * Meq.Pow(f, float(truth[2])),
        phasor: lambda: float(truth[0]) * Meq.Exp(1j * (float(truth[1]) + float(truth[2]) * f)),
        rational: lambda: float(truth[0] * truth[1]) * t + float(truth[2]) / (float(truth[1]) + f),
    }[function]()
    ns.eq << Meq.Condeq(tree, known + noises[0] + noises[1] + noises[2])
    ns.solve << Meq.Solver(ns.eq, solvable="x", algorithm=algorithm, tol=1e-12)
    report = ns.forest().run(rt.Cells(time=TIME, freq=FREQ), progress=False)
    tables = {p.label: p for p in report.tables.groups[0].parms}
    ours = np.array([tables[n].values.item() for n in "abc"])
    assert report.converged
    assert report.solvers[0].chi2.item() == pytest.approx(2 * scipy.cost, rel=1e-7)
    assert report.solvers[0].chi2.item() == pytest.approx(float((residual(found.value) ** 2).sum()), rel=1e-7)
    np.testing.assert_allclose(ours, scipy.x, rtol=1e-4)
    np.testing.assert_allclose(ours, found.value, rtol=1e-4)
