"""Joint fits of data that fall apart into systems (scans that share no Parm): each reaches its own minimum, however the others fare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

STATIONS, SLOTS, NOISE = 6, 16, 0.3
SCAN = np.repeat([0, 1], SLOTS // 2)


def lowest(o: Any, data: np.ndarray, scan: int, a: np.ndarray, f: np.ndarray) -> float:
    """chi2 of one scan at the minimum nearest to the truth: Gauss and Newton with a dense Jacobian."""
    rows = SCAN[o.slot] == scan
    p, q, slot = o.p[rows], o.q[rows], o.slot[rows] - scan * SLOTS // 2
    x, model, number = np.append(a, f.ravel()), o.model[rows, :, 0].astype(np.complex64), np.arange(rows.sum())
    for _ in range(8):
        a, f = x[:STATIONS], x[STATIONS:].reshape(-1, STATIONS)
        seen = (a[p] * a[q] * np.exp(1j * (f[slot, p] - f[slot, q])))[:, None] * model
        r = (data[rows, :, 0] - seen) * np.sqrt(2) / NOISE
        J = np.zeros((*r.shape, len(x)), complex)
        for station, sign in ((p, 1j), (q, -1j)):
            J[number, :, station] = seen / a[station, None]
            J[number, :, STATIONS + slot * STATIONS + station] = sign * seen
        J = J.reshape(r.size, -1) * np.sqrt(2) / NOISE
        x = x + np.linalg.lstsq(np.concatenate([J.real, J.imag]), np.append(r.real, r.imag), rcond=1e-9)[0]
    return float((abs(r) ** 2).sum())


@pytest.mark.parametrize("seed", [1, 6, 12])
def test_every_scan_reaches_its_minimum(kit: Any, seed: int) -> None:
    """Amplitudes per scan and phases per slot, from phases of 0: steps of one scan are corrected while the other needs none."""
    rng = np.random.default_rng(seed)
    a, f = 1 + 0.2 * rng.normal(size=(2, STATIONS)), rng.uniform(-3, 3, (SLOTS, STATIONS))
    jones = (a[SCAN] * np.exp(1j * f))[:, :, None, None]
    o = kit.observe(
        antennas=STATIONS, times=(5e9, SLOTS, 10.0), noise=NOISE, gain=lambda shape: jones * np.ones(shape), seed=seed
    )
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for s in ms.antennas:
        ns.a(s) << Meq.Parm(1.0, tags="x", solint=SLOTS // 2)
        ns.J(s) << Meq.Polar(ns.a(s), ns.f(s) << Meq.Parm(0.0, tags="x", solint=1))
    for s, t in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(s, t, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(s, t) << Meq.Condeq(ns.J(s) * x * Meq.Conj(ns.J(t)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    data = kit.getcol(o.path, "DATA")
    least = [lowest(o, data, scan, a[scan], f[scan == SCAN]) for scan in range(2)]
    np.testing.assert_allclose(report.solvers[0].chi2.ravel(), least, rtol=1e-5)


@pytest.mark.parametrize("order", ["gb", "bg"])
def test_what_a_class_alone_could_not_tell_is_judged_at_the_joint_minimum(kit: Any, order: str) -> None:
    """A bandpass per scan, fitted alone while gains had phases all around, shrinks to nothing in a channel. Gains first, it recovers and is
    as good as all others; bandpass first, it would stay there, but for a start with gains first."""
    rng, slots, chans = np.random.default_rng(9), 12, 6
    gain = np.exp(1j * rng.uniform(-3, 3, (slots, 5))) * (1 + 0.2 * rng.normal(size=(slots, 5)))
    band = 1 + 0.3 * (rng.normal(size=(3, 5, chans)) + 1j * rng.normal(size=(3, 5, chans))) / np.sqrt(2)
    band[1] *= np.exp(1j * rng.uniform(-3, 3, (5, chans)))
    jones = (gain[:, :, None] * np.repeat(band, 4, 0))[:, :, None] * np.ones((1, 1, 2, 1))
    o = kit.observe(times=(5e9, slots, 10.0), freqs=(1.4e9, chans, 1e6), noise=0.3, gain=lambda shape: jones, seed=9)
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for s in ms.antennas:
        parms = {"g": (1, None), "b": (4, 1)}
        one, two = (ns[n](s) << Meq.Parm(1 + 0j, tags="x", solint=parms[n]) for n in order)
        ns.J(s) << one * two
    for s, t in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(s, t, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(s, t) << Meq.Condeq(ns.J(s) * x * Meq.Conj(ns.J(t)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="x", min_snr=0)
    report = ns.forest().run(ms, progress=False)
    found = report.tables.parm("b")
    assert report.converged, str(report)
    assert np.isfinite(found.errors).all()
    ratio = np.abs(found.values[..., 0, 0].swapaxes(0, 1) / band)
    np.testing.assert_allclose(ratio / ratio.mean(2, keepdims=True), 1, atol=0.15)
