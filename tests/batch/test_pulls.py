"""Errors are what noise, and truths drawn from priors, do: pulls of unit width and chi2/dof of 1 over 400 intervals of one solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

STATIONS, SLOTS, CHANS = 5, 400, 4
BAND = 1e6 * (np.arange(CHANS) - (CHANS - 1) / 2)
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """One Parm per station and slot: its start and options, what it is a Jones term as, how its truth is drawn; `noise` of the data."""

    start: complex
    draw: Draw
    term: Callable[[Any], Any] = lambda parm: parm
    jones: Callable[[np.ndarray], np.ndarray] = lambda x: x[..., None] * np.ones(CHANS)
    options: tuple[tuple[str, Any], ...] = ()
    noise: float = 0.3
    referred: bool = False


def normal(mean: float, sigma: float) -> Draw:
    return lambda rng, shape: rng.normal(mean, sigma, shape)


def gains(sigma: float) -> Draw:
    return lambda rng, shape: 1 + sigma * (rng.normal(size=shape) + 1j * rng.normal(size=shape))


KINDS = {
    "gains with a prior": Kind(1 + 0j, gains(0.02), options=(("prior", (1 + 0j, 0.02)),), noise=1.0),
    "amplitudes": Kind(1.0, normal(1, 0.15)),
    "amplitudes with a prior": Kind(1.0, normal(1, 0.1), options=(("prior", (1.0, 0.1)),), noise=1.0),
    "amplitudes within bounds": Kind(1.0, normal(1, 0.15), options=(("bounds", (0.1, 5)),)),
    "phases": Kind(0.0, normal(0, 0.7), lambda f: Meq.Polar(1, f), lambda f: np.exp(1j * f)[..., None] * np.ones(CHANS), referred=True),
    "phases with a prior": Kind(
        0.0, normal(0, 0.2), lambda f: Meq.Polar(1, f), lambda f: np.exp(1j * f)[..., None] * np.ones(CHANS),
        options=(("prior", (0.0, 0.2)),), noise=1.0,
    ),
    "delays": Kind(
        0.0, normal(0, 20), lambda tau: Meq.Exp((Meq.Freq() - 1.4e9 + BAND[0]) * 2e-9j * np.pi * tau),
        lambda tau: np.exp(2e-9j * np.pi * tau[..., None] * BAND), referred=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_pulls_have_unit_width(kit: Any, name: str) -> None:
    kind, rng = KINDS[name], np.random.default_rng(sum(map(ord, name)))
    truth = kind.draw(rng, (SLOTS, STATIONS))
    o = kit.observe(
        antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=kind.noise, seed=5,
        gain=lambda shape: np.broadcast_to(kind.jones(truth)[:, :, None], shape),
    )  # fmt: skip
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for p in ms.antennas:
        ns.J(p) << kind.term(ns.x(p) << Meq.Parm(kind.start, solint=(1, None), **dict(kind.options)))
    for p, q in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(p, q) << Meq.Condeq(ns.J(p) * x * Meq.Conj(ns.J(q)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="x", min_snr=0)
    report = ns.forest().run(ms, progress=False, ref_antenna=ms.antennas[0] if kind.referred else None)
    assert report.converged
    table, summary = report.tables.parm("x"), report.solvers[0]
    found, error = (a[..., 0, 0, 0].T for a in (table.values, table.errors))
    away = found - (truth - truth[:, :1] if kind.referred else truth)
    free = error > 0
    assert free.all(0).tolist() == [not (kind.referred and p == 0) for p in range(STATIONS)]
    pulls = (away[free] / error[free]).view(float)
    assert abs(np.sqrt((pulls**2).mean()) - 1) < 4 / np.sqrt(2 * pulls.size)
    assert abs(summary.chi2_per_dof() - 1) < 4 * np.sqrt(2 / summary.dof.sum())


def test_what_lies_at_a_bound_has_no_error(kit: Any) -> None:
    """Others, given these, have the error of what is left: amplitudes between 0.9 and 1.1, many of them true beyond."""
    rng = np.random.default_rng(3)
    truth = rng.normal(1, 0.1, (SLOTS, STATIONS))
    o = kit.observe(
        antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=0.3,
        gain=lambda shape: np.broadcast_to(truth[:, :, None, None] + 0j, shape),
    )  # fmt: skip
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for p in ms.antennas:
        ns.a(p) << Meq.Parm(1.0, solint=(1, None), bounds=(0.9, 1.1))
    for p, q in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(p, q) << Meq.Condeq(ns.a(p) * x * ns.a(q), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="a", min_snr=0)
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    table = report.tables.parm("a")
    found, error = (a[..., 0, 0, 0].T for a in (table.values, table.errors))
    held = (found <= 0.9) | (found >= 1.1)
    assert 0.2 < held.mean() < 0.6
    assert ((error == 0) == held).all()
    model = np.abs(o.model[..., 0]) ** 2 * 2 / o.sigma**2
    power = np.zeros((SLOTS, STATIONS, STATIONS))
    np.add.at(power, (o.slot, o.p, o.q), model.sum(1))
    power += power.swapaxes(1, 2)
    for t in range(0, SLOTS, 40):
        J = np.diag((power[t] * found[t] ** 2).sum(1)) + power[t] * np.outer(found[t], found[t])
        own = ~held[t]
        expected = np.sqrt(np.diag(np.linalg.inv(J[np.ix_(own, own)])))
        np.testing.assert_allclose(error[t, own], expected, rtol=1e-4)
