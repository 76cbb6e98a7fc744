"""Delays per slot that drift far, or by whole turns, within the solution intervals of what they are fitted jointly with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

SLOTS, BAND, STATIONS, CHANS = 60, 30, 5, 16
X = np.linspace(-1, 1, CHANS)


def drifting(kit: Any, seed: int) -> tuple[Any, np.ndarray]:
    """An observation, and the turns of half a band (slot, station): drifts of many rad and a random walk, with bands of any phases."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, SLOTS)[:, None] * rng.uniform(-16, 16, STATIONS)
    late = ramp + np.cumsum(0.15 * rng.normal(size=(SLOTS, STATIONS)), 0)
    band = np.exp(0.1 * rng.normal(size=(STATIONS, 2, CHANS)) + 1j * rng.uniform(-3, 3, (STATIONS, 2, CHANS)))
    o = kit.observe(
        antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=0.3,
        gain=lambda _: np.exp(1j * late[:, :, None, None] * X) * band,
    )  # fmt: skip
    return o, late


def solved(o: Any, **options: Any) -> Any:
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    ns.x << Meq.Constant(X, axes="freq")
    for p in ms.antennas:
        wave = Meq.Polar(1, (ns.late(p) << Meq.Parm(0.0, tags="joint", solint=1)) * ns.x)
        x, y = (ns["b" + h](p) << Meq.Parm(1 + 0j, tags="joint", solint=(BAND, 1)) for h in "xy")
        ns.J(p) << Meq.MatrixMultiply(Meq.Matrix22(wave, 0, 0, wave), Meq.Matrix22(x, 0, 0, y))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint", **options)
    return ns.forest().run(ms, progress=False)


def wrong(report: Any, late: np.ndarray) -> np.ndarray:
    """(slots,) whether some delay, against the first station's and the mean of the interval of the bandpass, is at another minimum."""
    off = (report.tables.parm("late").values[:, :, 0, 0, 0].T - late).reshape(-1, BAND, STATIONS)
    off = off - np.median(off, 1, keepdims=True)
    return (abs(off - off[..., :1]) > 0.5).any(2).ravel()


def test_delays_follow_those_of_other_slots(kit: Any) -> None:
    """All is right, where own starts lead to other minima."""
    o, late = drifting(kit, 4)
    assert wrong(solved(o, start="own"), late).sum() >= BAND, "the test needs delays that are lost from 0"
    for start in ("auto", "previous"):
        report = solved(o, start=start)
        assert report.converged
        assert not wrong(report, late).any()
        assert abs(report.solvers[0].chi2_per_dof() - 1) < 0.02
        assert (report.tables.parm("late").status == Status.CONVERGED).all()
        assert not any("chi2 stays above" in note for note in report.notes)


def test_nothing_is_taken_that_is_not_better(kit: Any) -> None:
    """Data that no delays explain: the minimum is as low as from the own starts."""
    o, _ = drifting(kit, 3)
    rng = np.random.default_rng(0)
    kit.putcol(o.path, DATA=(rng.normal(size=(2, *o.model.shape)).T @ [1, 1j]).T.astype(np.complex64))
    own, default = (solved(o, start=start, max_iter=8) for start in ("own", "auto"))
    assert any("chi2 stays above what noise explains from all starts" in note for note in default.notes)
    assert default.solvers[0].chi2.sum() <= own.solvers[0].chi2.sum() * (1 + 1e-9)


def test_lost_slots_are_bridged(kit: Any) -> None:
    """Slots without data, and one without a station, harm nothing that comes after them."""
    o, late = drifting(kit, 5)
    flags = np.isin(o.slot, (20, 21))[:, None, None] | (((o.p == 2) | (o.q == 2)) & (o.slot == 40))[:, None, None]
    kit.putcol(o.path, FLAG=np.broadcast_to(flags, o.model.shape))
    report = solved(o)
    status = report.tables.parm("late").status[:, :, 0]
    assert (status[:, 20:22] == Status.NO_DATA).all() and status[2, 40] == Status.NO_DATA
    assert (np.delete(status, [20, 21, 40], 1) == Status.CONVERGED).all()
    assert not wrong(report, late)[~np.isin(np.arange(SLOTS), (20, 21, 40))].any()


@pytest.mark.parametrize("alone", [False, True])
def test_whole_turns(kit: Any, alone: bool) -> None:
    """Clocks that walk by more than a turn of the whole frequency, with amplitudes per ten slots or alone: where a turn too many fits
    nearly as well, what the neighbours lead to tells."""
    count, slots, freqs, rng = 8, 40, 1.2e9 + 4e6 * np.arange(16), np.random.default_rng(4)
    size = 1 + 0.2 * rng.normal(size=(count, 4)) * (not alone)
    clock = np.cumsum(5e-11 * rng.normal(size=(count, slots)), 1)
    phase = 2 * np.pi * clock.T[:, :, None, None] * freqs
    o = kit.observe(
        antennas=count, times=(5e9, slots, 10.0), freqs=(freqs[0], len(freqs), 4e6), noise=0.1,
        gain=lambda _: size.T.repeat(slots // 4, 0)[:, :, None, None] * np.exp(1j * phase).repeat(2, 2),
    )  # fmt: skip
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for p in ms.antennas:
        ns.clock(p) << Meq.Parm(0.0, tags="fit", solint=1)
        ns.size(p) << (Meq.Constant(1.0) if alone else Meq.Parm(1.0, tags="fit", solint=slots // 4))
        ns.g(p) << ns.size(p) * Meq.Exp(Meq.ToComplex(0, 2 * np.pi * ns.clock(p) * Meq.Freq()))
    for p, q in ms.baselines:
        model = ns.g(p) * Meq.Conj(ns.g(q)) * Meq.Spigot(p, q, column="MODEL_DATA")
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="fit")
    report = ns.forest().run(ms, progress=False)
    found = report.tables.parm("clock").values[:, :, 0, 0, 0]
    assert report.converged
    assert abs(report.solvers[0].chi2_per_dof() - 1) < 0.03
    assert np.abs((found - found[0]) - (clock - clock[0])).max() < 5e-11  # a turn is 8e-10 s
