"""Errors of joint fits whose classes exchange something, by Monte Carlo: a delay and the slope of a bandpass, gains and its scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.solve.joint import assembled, coupled, coupled_errors

STATIONS, SLOTS, CHANS, TRIALS = 6, 8, 10, 20


def delays_gains_bandpass(ms: Any) -> Any:
    """exp(-2 pi i tau (f - mean)) per half of the slots, a gain per slot, a bandpass per channel; XX only."""
    ns = rt.Scope()
    turn = (Meq.Freq() - float(ms.groups[0].freq.mean())) * (-2e-9j * np.pi)
    for p in ms.antennas:
        ns.k(p) << Meq.Exp(turn * (ns.tau(p) << Meq.Parm(0.0, tags="joint", solint=(SLOTS // 2, None))))
        ns.g(p) << Meq.Parm(1 + 0j, tags="joint", solint=(1, None))
        ns.b(p) << Meq.Parm(1 + 0j, tags="joint", solint=(None, 1))
        ns.J(p) << ns.k(p) * ns.g(p) * ns.b(p)
    for p, q in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(p, q) << Meq.Condeq(ns.J(p) * x * Meq.Conj(ns.J(q)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    return ns.forest()


@pytest.mark.parametrize("way", ["exact", "probes"])
def test_pulls_have_unit_width(kit: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Delays as differences to their mean over stations, bandpasses to their mean phase in each channel: the truth has a
    bandpass of 1, so that what is exchanged is where the convention puts it."""
    if way == "probes":
        monkeypatch.setattr(coupled_errors, "EXACT", 0)
    rng = np.random.default_rng(4)
    late, phase = rng.uniform(-15, 15, (STATIONS, 1)), rng.uniform(-3, 3, (SLOTS, STATIONS))
    freq = 1.4e9 + 1e6 * np.arange(CHANS)

    def gain(shape: tuple[int, ...]) -> np.ndarray:
        wave = np.exp(-2e-9j * np.pi * late * (freq - freq.mean()))
        return np.exp(1j * phase)[:, :, None, None] * wave[:, None] * np.ones(shape)

    o = kit.observe(antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=0.3, gain=gain)
    data = kit.getcol(o.path, "DATA")
    jones = o.gains[o.slot, o.p, 0] * o.gains[o.slot, o.q, 0].conj()
    ms = rt.MeasurementSet(o.path)
    forest = delays_gains_bandpass(ms)
    pulls: dict[str, list[np.ndarray]] = {"tau": [], "scale": [], "phase": []}
    for _ in range(TRIALS):
        noise = 0.3 / np.sqrt(2) * (rng.normal(size=jones.shape) + 1j * rng.normal(size=jones.shape))
        data[..., 0] = jones * o.model[..., 0] + noise
        kit.putcol(o.path, DATA=data)
        report = forest.run(ms, progress=False)
        assert report.converged
        tau, band = (report.tables.parm(n) for n in ("tau", "b"))
        away = tau.values[:, :, 0, 0, 0] - late
        pulls["tau"].append((away - away.mean(0)) / tau.errors[:, :, 0, 0, 0])
        logs = np.log(band.values[:, 0, :, 0, 0])
        error = band.errors[:, 0, :, 0, 0] / np.abs(np.exp(logs))
        pulls["scale"].append(logs.real / error)
        pulls["phase"].append((logs.imag - logs.imag.mean(0)) / error)
    # the error given for a gain is the mean of those of its scale and its phase
    both = np.concatenate([np.square(pulls["scale"]), np.square(pulls["phase"])]).mean()
    assert abs(both - 1) < 0.1
    assert abs(np.square(pulls["tau"]).mean() - 1) < 0.3
    for words in ("the scale between g and b", "tau and the slope in frequency of the phase of b"):
        assert any(words in note for note in report.notes)
    assert any("random probes, to about" in note for note in report.notes) == (way == "probes")


def test_errors_are_the_same_whatever_is_eliminated(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The normal matrix as a whole, without each of the three classes, and where random probes would be too few."""
    rng = np.random.default_rng(2)
    gain = np.exp(1j * rng.uniform(-1, 1, (SLOTS, STATIONS)))[:, :, None, None]
    o = kit.observe(
        antennas=STATIONS,
        times=(5e9, SLOTS, 10.0),
        freqs=(1.4e9, CHANS, 1e6),
        noise=0.3,
        gain=lambda shape: gain * np.ones(shape),
    )
    forest = delays_gains_bandpass(rt.MeasurementSet(o.path))
    ways: list[list[np.ndarray]] = []
    for chosen in (0, 1, 2, 3, None):
        with monkeypatch.context() as patch:
            if chosen is None:
                patch.setattr(coupled_errors, "CHEAP", 0)
                patch.setattr(coupled_errors, "TOLERABLE", 1e-9)
            else:
                patch.setattr(coupled_errors, "planned", lambda p, s, k=chosen: assembled.plans(p, s)[k])
            report = forest.run(rt.MeasurementSet(o.path), progress=False)
        assert not any("probes" in note for note in report.notes)
        ways.append([report.tables.parm(name).errors for name in ("tau", "g", "b")])
    for other in ways[1:]:
        for one, two in zip(ways[0], other, strict=True):
            assert (one > 0).all()
            np.testing.assert_allclose(two, one, rtol=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_hands_of_which_one_has_no_bandpass(kit: Any, monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    """Where one class is eliminated nothing is left of systems that have no other: all is as if the hands were fitted one by one."""
    if exact:
        monkeypatch.setattr(coupled.Coupled, "labour", lambda self, systems: -1)
    o = kit.observe(antennas=STATIONS, times=(5e9, 24, 10.0), freqs=(1.4e9, 20, 1e6), noise=0.3)

    def fitted(hands: str) -> Any:
        ms, ns = rt.MeasurementSet(o.path), rt.Scope()
        for p in ms.antennas:
            for h in hands:
                ns[h](p) << Meq.Parm(1 + 0j, tags="joint", solint=(1, None))
            if "x" in hands:
                ns.b(p) << Meq.Parm(1 + 0j, tags="joint", solint=(None, 1))
        for p, q in ms.baselines:
            for h in hands:
                of_p, of_q = (ns[h](a) * ns.b(a) if h == "x" else ns[h](a) for a in (p, q))
                x, d = (
                    Meq.Selector(Meq.Spigot(p, q, column=c), index=("xy".index(h),) * 2) for c in ("MODEL_DATA", "DATA")
                )
                ns[f"e{h}"](p, q) << Meq.Condeq(of_p * x * Meq.Conj(of_q), d)
        ns.solve << Meq.Solver(*(node for h in hands for node in ns[f"e{h}"]), solvable="joint")
        report = ns.forest().run(ms, progress=False)
        assert report.converged
        return report.tables

    both = fitted("xy")
    for hands, names in (("x", "xb"), ("y", "y")):
        alone = fitted(hands)
        for name in names:
            one, other = both.parm(name), alone.parm(name)
            np.testing.assert_allclose(one.errors, other.errors, rtol=1e-3)
            assert (abs(one.values - other.values) < 0.02 * other.errors).all()


def test_names_do_not_decide_on_what_is_exchanged(kit: Any) -> None:
    """A real Parm that is called as what gains may exchange."""
    o = kit.observe(antennas=5, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6))

    def fitted(name: str) -> Any:
        ms, ns = rt.MeasurementSet(o.path), rt.Scope()
        for p in ms.antennas:
            turn = Meq.Exp(2j * (ns[name](p) << Meq.Parm(0.0, tags="joint", solint=(1, None))))
            ns.J(p) << turn * (ns.b(p) << Meq.Parm(1 + 0j, tags="joint", solint=(None, 1)))
        for p, q in ms.baselines:
            x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
            ns.eq(p, q) << Meq.Condeq(ns.J(p) * x * Meq.Conj(ns.J(q)), d)
        ns.solve << Meq.Solver(*ns.eq, solvable="joint")
        report = ns.forest().run(ms, progress=False)
        assert any(f"{name} and the phase of b are not both determined: it goes to {name}" in n for n in report.notes)
        return report.tables.parm(name)

    first, *others = map(fitted, ("turn", "phase", "scale"))
    for other in others:
        np.testing.assert_allclose(other.values, first.values, atol=1e-9)
        np.testing.assert_allclose(other.errors, first.errors, rtol=1e-6)


def test_phases_by_themselves(kit):
    """Equations of amplitudes and of phases: a phase that all antennas have in common is no error, though the equations of an
    interval are one block. Expected: the pseudo-inverse of sum w |d|^2 (e_p - e_q) (e_p - e_q)^T."""
    o = kit.observe(
        noise=0.05, gain=lambda shape: (1 + 0.2 * np.sin(np.arange(shape[1]))[:, None, None]) * np.ones(shape)
    )
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        ns.amp(p) << Meq.Parm(1.0, tags="gain")
        ns.phase(p) << Meq.Parm(0.0, tags="gain", solint=3)
        ns.g(p) << Meq.Polar(ns.amp(p), ns.phase(p))
    for p, q in ms.baselines:
        sky, data = (Meq.Selector(Meq.Spigot(p, q, column=c), index=0) for c in ("MODEL_DATA", "DATA"))
        model = ns.g(p) * sky * Meq.Conj(ns.g(q))
        ns.eq(p, q, 1) << Meq.Condeq(Meq.Abs(sky) * ns.amp(p) * ns.amp(q), data, on="amplitude")
        ns.eq(p, q, 2) << Meq.Condeq(model, data, on="phase", weight=Meq.Sqr(Meq.Abs(data)))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    report = ns.forest().run(ms, progress=False)
    errors = next(t for t in report.tables.groups[0].parms if t.label == "phase").errors[..., 0, 0, 0]
    power = (abs(kit.getcol(o.path, "DATA")[..., 0]) ** 2).sum(1) * 2 / o.sigma**2
    for interval in range(2):
        H = np.zeros((5, 5))
        for row in np.flatnonzero(o.slot // 3 == interval):
            way = np.eye(5)[o.p[row]] - np.eye(5)[o.q[row]]
            H += power[row] * np.outer(way, way)
        np.testing.assert_allclose(errors[:, interval], np.sqrt(np.diag(np.linalg.pinv(H))), rtol=0.15)


@pytest.mark.parametrize("start", [1 + 0j, 1.0], ids=["phases free", "phases known"])
def test_what_no_class_has_by_itself_is_spoken_of(tmp_path, start):
    """Circular feeds see the angle of a polarised source as a phase between R and L: free, with Q, U and all gains turning together,
    where gains are complex, and known where they are real."""
    path = rt.simulate(tmp_path / "x.ms", antennas=5, times=(5e9, 4, 10.0), corrs="circular", noise=0.1)
    ms = rt.MeasurementSet(path)
    for simulating in (True, False):
        ns = rt.Scope()
        value = Meq.Constant if simulating else Meq.Parm
        more = {} if simulating else {"tags": "fit"}
        ns.Q << value(0.3 if simulating else 0.2, **more)
        ns.U << value(-0.2 if simulating else -0.1, **more)
        ns.sky << Meq.PointSource(1.5, ns.Q, ns.U, 0, basis="circular")
        for p in ms.antennas:
            for g in (ns.r, ns.l):
                g(p) << value(start, **more, **({} if simulating else {"solint": 1}))
            ns.G(p) << Meq.Matrix22(ns.r(p), 0, 0, ns.l(p))
        for p, q in ms.baselines:
            model, data = Meq.MatrixMultiply(ns.G(p), ns.sky, Meq.ConjTranspose(ns.G(q))), Meq.Spigot(p, q)
            if simulating:
                ns.out(p, q) << Meq.Sink(model + data, column="DATA")
            else:
                ns.eq(p, q) << Meq.Condeq(model, data)
        if not simulating:
            ns.solve << Meq.Solver(*ns.eq, solvable="fit")
        report = ns.forest().run(ms, progress=False)
    assert report.converged
    words = [note for note in report.notes if "not determined apart" in note]
    if np.iscomplexobj(start):
        assert len(words) == 1 and "Q, U, r and l" in words[0]
    else:
        assert not words
        for name, truth in (("Q", 0.3), ("U", -0.2)):
            found = report.tables.parm(name)
            assert abs(found.values.item() - truth) < 5 * found.errors.item()


def test_numbers_of_which_only_the_phase_counts(kit):
    """A user's function of unit modulus has two parameters per antenna, of which data see one: amplitudes beside it have finite errors,
    those of their scatter, for the modulus is null in the block of a station already."""
    import jax.numpy as jnp

    @rt.node
    def unit(re, im):
        """Of unit modulus.

        re: real part
        im: imaginary part
        """
        return (re + 1j * im) / jnp.sqrt(re * re + im * im)

    o = kit.observe(
        noise=0.05, gain=lambda shape: 1.2 * np.exp(1j * np.arange(shape[1]))[:, None, None] * np.ones(shape)
    )
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        ns.amp(p) << Meq.Parm(1.0, tags="gain", solint=(None, 1))
        ns.re(p) << Meq.Parm(1.0, tags="gain", solint=3)
        ns.im(p) << Meq.Parm(0.0, tags="gain", solint=3)
        ns.g(p) << ns.amp(p) * unit(ns.re(p), ns.im(p))
    for p, q in ms.baselines:
        model = ns.g(p) * Meq.Spigot(p, q, column="MODEL_DATA") * Meq.Conj(ns.g(q))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    amp = next(t for t in report.tables.groups[0].parms if t.label == "amp")
    pull = (abs(amp.values) - 1.2) / amp.errors
    assert np.isfinite(pull).all() and 0.5 < np.sqrt((pull**2).mean()) < 1.6
