"""Forms of gains, each from a cold start with random phases: complex, phase only, of modulus one, amplitude and phase, real."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

OPTIONS = {"tags": "x", "solint": 1}

FORMS = {
    "complex": lambda ns, p: ns.g(p) << Meq.Parm(1 + 0j, **OPTIONS),
    "phase only": lambda ns, p: Meq.Exp(1j * (ns.g(p) << Meq.Parm(0.0, **OPTIONS))),
    "modulus one": lambda ns, p: ns.g(p) << Meq.Parm(1 + 0j, bounds=(1 - 1e-9, 1 + 1e-9), **OPTIONS),
    "amplitude and phase": lambda ns, p: Meq.Polar(
        ns.a(p) << Meq.Parm(1.0, **OPTIONS), ns.g(p) << Meq.Parm(0.0, **OPTIONS)
    ),
    "real": lambda ns, p: ns.g(p) << Meq.Parm(1.0, **OPTIONS),
}


def solve(path, form):
    with rt.MeasurementSet(path) as ms:
        ns = rt.Scope()
        for p in ms.antennas:
            g = FORMS[form](ns, p)
            ns.G(p) << Meq.Matrix22(g, 0, 0, g)
        for p, q in ms.baselines:
            there = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(there, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="x")
        (summary,) = ns.forest().run(ms, progress=False).solvers
    return summary


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("antennas", "noise"), [(4, 0.1), (7, 0.02), (14, 1.0)])
def test_every_form_finds_the_global_minimum(kit, form, antennas, noise):
    """30 slots, each with phases of its own (for the real form: amplitudes): chi2 is that of noise alone in all."""

    def gain(shape):
        rng = np.random.default_rng(antennas)
        if form == "real":
            return np.broadcast_to(rng.uniform(0.3, 3, (*shape[:2], 1, 1)) + 0j, shape)
        return np.broadcast_to(np.exp(2j * np.pi * rng.uniform(size=(*shape[:2], 1, 1))), shape)

    o = kit.observe(antennas=antennas, times=(5e9, 30, 10.0), freqs=(1.4e9, 8, 1e6), noise=noise, gain=gain)
    summary = solve(o.path, form)
    assert (summary.status == Status.CONVERGED).all()
    reduced = summary.chi2 / summary.dof
    assert (reduced < 1 + 5 * np.sqrt(2 / summary.dof)).all()
