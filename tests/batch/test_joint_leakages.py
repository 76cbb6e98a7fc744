"""Leakages together with gains and delays: valleys of chi2 that are long and curved where a source is hardly polarised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

STATIONS, SLOTS, CHANS, NOISE = 7, 10, 8, 0.1


@pytest.fixture
def weak(kit: Any) -> Any:
    """A source of 10 Jy, 1 % polarised, through delays, gains per slot with any phases, and leakages of 5 %."""
    o = kit.observe(antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=NOISE)
    rng = np.random.default_rng(3)
    noise = kit.getcol(o.path, "DATA") - o.gains[o.slot, o.p][..., [0, 0, 1, 1], :].swapaxes(1, 2) * o.model * (
        o.gains[o.slot, o.q][..., [0, 1, 0, 1], :].swapaxes(1, 2).conj()
    )
    model = np.array([10.05, 0.1 + 0.02j, 0.1 - 0.02j, 9.95]) * np.ones(noise.shape)
    phase = rng.uniform(-np.pi, np.pi, (STATIONS, 2)) + 0.5 * np.cumsum(rng.normal(size=(SLOTS, STATIONS, 2)), 0) / 3
    gain = rng.uniform(0.8, 1.2, (STATIONS, 2)) * np.exp(1j * phase)
    leak = np.broadcast_to(np.eye(2), (STATIONS, 2, 2)).astype(complex).copy()
    leak[:, [0, 1], [1, 0]] = 0.05 * (rng.normal(size=(STATIONS, 2)) + 1j * rng.normal(size=(STATIONS, 2)))
    wave = np.exp(-2j * np.pi * rng.uniform(-20e-9, 20e-9, (STATIONS, 2, 1)) * 1e6 * (np.arange(CHANS) - CHANS / 2))
    jones = np.einsum("apf,tap,apq->atfpq", wave, gain, leak)
    data = jones[o.p, o.slot] @ model.reshape(*model.shape[:2], 2, 2)
    data = data @ jones[o.q, o.slot].conj().swapaxes(-1, -2)
    kit.putcol(o.path, MODEL_DATA=model.astype(np.complex64), DATA=data.reshape(noise.shape) + noise)
    return o


@pytest.mark.parametrize("leakage", [(None, None), (None, 1)], ids=["one leakage", "leakage per channel"])
def test_delays_gains_and_leakages_reach_the_noise(weak: Any, leakage: Any) -> None:
    ms = rt.MeasurementSet(weak.path)
    ns = rt.Scope()
    turn = (Meq.Freq() - float(ms.groups[0].freq.mean())) * (-2e-9j * np.pi)
    for p in ms.antennas:
        for h in "xy":
            ns["k" + h](p) << Meq.Exp(turn * (ns["tau" + h](p) << Meq.Parm(0.0, tags="joint", solint=("scan", None))))
            ns["g" + h](p) << Meq.Parm(1 + 0j, tags="joint", solint=(1, None))
        for d in ("dx", "dy"):
            ns[d](p) << Meq.Parm(0j, tags="joint", solint=leakage)
        diagonal = Meq.Matrix22(ns.kx(p), 0, 0, ns.ky(p)), Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
        ns.J(p) << Meq.MatrixMultiply(*diagonal, Meq.Matrix22(1, ns.dx(p), ns.dy(p), 1))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint", algorithm="gn-cg")
    report = ns.forest().run(ms, progress=False)
    assert all((s.status == Status.CONVERGED).all() for s in report.solvers), str(report)
    unknowns = STATIONS * (2 + 4 * SLOTS + 4 * (CHANS if leakage[1] else 1))
    data = 2 * weak.model.size
    chi2 = report.solvers[0].chi2.sum()
    assert data - unknowns - 5 * np.sqrt(2 * data) < chi2 < data - unknowns + 100 + 5 * np.sqrt(2 * data)
