"""Solutions referred to an antenna, for any equation: phases zero there, errors right, and what they correct unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status


def gains(ms: Any, kind: str, **options: Any) -> Any:
    """One gain of each kind per antenna and slot, the same equation for all."""
    ns = rt.Scope()
    for p in ms.antennas:
        if kind == "diagonal":
            parts = [ns[g](p) << Meq.Parm(1 + 0j, tags="x", solint=1) for g in ("gx", "gy")]
            ns.J(p) << Meq.Matrix22(parts[0], 0, 0, parts[1])
        elif kind == "polynomial":
            parts = [Meq.Polar(1, ns[f](p) << Meq.Parm([[0.0], [0.0]], tags="x", solint=4)) for f in ("fx", "fy")]
            ns.J(p) << Meq.Matrix22(parts[0], 0, 0, parts[1])
        elif kind == "amplitude and phase":
            parts = [
                Meq.Polar(
                    ns[f"a{g}"](p) << Meq.Parm(1.0, tags="x", solint=1),
                    ns[f"f{g}"](p) << Meq.Parm(0.0, tags="x", solint=1),
                )
                for g in "xy"
            ]
            ns.J(p) << Meq.Matrix22(parts[0], 0, 0, parts[1])
        else:
            starts = {"xx": 1 + 0j, "xy": 0j, "yx": 0j, "yy": 1 + 0j}
            ns.J(p) << Meq.Matrix22(*(ns[e](p) << Meq.Parm(v, tags="x", solint=1) for e, v in starts.items()))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        inverse = Meq.MatrixInvert22(ns.J(p)), Meq.ConjTranspose(Meq.MatrixInvert22(ns.J(q)))
        ns.out(p, q) << Meq.Sink(Meq.MatrixMultiply(inverse[0], Meq.Spigot(p, q), inverse[1]))
    ns.solve << Meq.Solver(*ns.eq, solvable="x", **options)
    return ns.forest()


def truth_of(label: str, gains: np.ndarray) -> np.ndarray:
    """(antenna, slot) of a Parm where J = gains (slot, antenna, 2), referred to the second antenna by each hand's phase."""
    hand = gains[:, :, int(label[-1] == "y")].T
    hand = hand * np.exp(-1j * np.angle(hand[1]))
    return {"a": np.abs, "f": np.angle}.get(label[0], np.asarray)(hand)


@pytest.mark.parametrize("kind", ["diagonal", "polynomial", "amplitude and phase", "full"])
def test_errors_have_the_width_of_the_scatter(kit, kind: str) -> None:
    """Monte Carlo: (fitted - true) / error over many slots of fresh noise has unit width, each for amplitude and phase
    (or what the parts of a Parm are) together; the reference's own phase has none."""
    slots = 400 if kind == "polynomial" else 100
    parallel = ("XX", "YY") if kind in ("diagonal", "polynomial", "amplitude and phase") else "linear"
    rng = np.random.default_rng(3)
    constant = 1 + 0.3 * (rng.normal(size=(1, 5, 2, 1)) + 1j * rng.normal(size=(1, 5, 2, 1)))
    if kind == "polynomial":
        constant = constant / abs(constant)
    o = kit.observe(times=(5e9, slots, 10.0), noise=0.15, corrs=parallel, gain=lambda shape: constant)
    ms = rt.MeasurementSet(o.path)
    report = gains(ms, kind).run(ms, progress=False, ref_antenna="ant01")
    assert report.converged, report.full()
    if kind == "polynomial":  # both coefficients are zero there: an interval is one
        assert "fx:ant01 in 100, fy:ant01 in 100 intervals" in str(report)
    true = np.broadcast_to(constant[..., 0], (slots, 5, 2))
    diagonal = {t.label: t for t in report.tables.groups[0].parms}
    if kind == "full":
        true = true * np.exp(-1j * np.angle(true[:, 1:2, :1]))  # one phase for both hands: the model is polarised
    pulls = []
    for label, table in diagonal.items():
        if kind == "full":
            i, j = "xy".index(label[0]), "xy".index(label[1])
            wanted = true[:, :, i].T if i == j else np.zeros((5, slots))
        else:
            wanted = truth_of(label, true)
        found, error = table.values[..., 0, 0, 0], table.errors[..., 0, 0, 0]
        wanted = wanted[:, : found.shape[1]]
        with np.errstate(divide="ignore", invalid="ignore"):  # the reference's own phase has no error
            own = (found - wanted) / error
        complex_ = np.iscomplexobj(found)
        own = np.stack([own.real, own.imag]) if complex_ else own[None]
        pinned = np.isclose(found.imag, 0, atol=1e-12).all(1) if complex_ else (error == 0).all(1)
        assert pinned[1] == (label[0] != "a" and (kind != "full" or label == "xx")) and pinned.sum() == pinned[1]
        pulls.extend(part[~pinned].ravel() for part in own)
        if kind == "polynomial":
            assert not table.values[1, :, 0, 1].any() and not table.errors[1, :, 0, 1].any()
            pulls.append((table.values[~pinned, :, 0, 1, 0] / table.errors[~pinned, :, 0, 1, 0]).ravel())
    whole = np.concatenate(pulls)
    assert whole.size > 1000 and np.isfinite(whole).all()
    assert abs(whole.mean()) < 0.15  # gains are biased by a small part of their errors
    assert np.sqrt((whole**2).mean()) == pytest.approx(1, abs=0.06)


def test_what_is_corrected_does_not_depend_on_it(kit) -> None:
    o = kit.observe(noise=0.1)
    ms = rt.MeasurementSet(o.path)
    written, values = [], []
    for name in (None, "ant02"):
        report = gains(ms, "diagonal").run(ms, progress=False, ref_antenna=name)
        written.append(kit.getcol(o.path, "CORRECTED_DATA"))
        values.append(report.tables.groups[0].parms[0].values)
    np.testing.assert_allclose(written[1], written[0], atol=1e-5)
    assert abs(np.angle(values[1][2])).max() == 0 and abs(np.angle(values[0][2])).max() > 1e-3


def test_a_dead_reference_is_replaced_and_said(kit) -> None:
    o = kit.observe()
    flag = np.zeros(o.model.shape, bool)
    flag[((o.p == 2) | (o.q == 2)) & (o.slot > 3)] = True
    kit.putcol(o.path, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    report = gains(ms, "full").run(ms, progress=False, ref_antenna="ant02")
    (table,) = (t for t in report.tables.groups[0].parms if t.label == "xx")
    phases = abs(np.angle(table.values[:, :, 0, 0, 0]))
    assert (phases[2, :4] == 0).all() and (table.status[2, 4:] == Status.NO_DATA).all()
    assert ((phases[[0, 1, 3, 4], 4:] == 0).sum(0) == 1).all()
    assert "reference antenna ant02 has no solution in " in str(report)
    assert "refers to ant02: zero is the phase (or value) of xx:ant02 in 4 intervals" in str(report)


def test_what_cannot_refer_is_said(kit) -> None:
    """Fits that couple intervals do not refer; a real gain has no phase that could be free."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)

    def said(value: complex, **options: Any) -> str:
        ns = rt.Scope()
        for p in ms.antennas:
            g = ns.g(p) << Meq.Parm(value, tags="x", solint=2, **options)
            ns.J(p) << Meq.Matrix22(g, 0, 0, g)
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="x")
        return str(ns.forest().run(ms, progress=False, ref_antenna="ant02"))

    assert "these do not refer to ant02" in said(1 + 0j, smooth="0.1/60s")
    assert "field0/spw0 leaves nothing free that could refer to ant02" in said(1.0)


def test_an_unknown_reference_is_refused(kit) -> None:
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)
    with pytest.raises(
        rt.ConfigError, match=r"ref_antenna='ant2' \(did you mean 'ant0\d'\?\) is not in the selected data: ant00"
    ):
        gains(ms, "diagonal").run(ms, progress=False, ref_antenna="ant2")


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6], ids=["s", "ns", "fs"])
def test_delays_and_phases_refer_together_whatever_their_units(kit, unit: float) -> None:
    """Both have a value that all antennas can share. Errors of differences: sqrt(2 / (f N)) of phases, with f = 2 w sum |model|^2 per
    baseline, and that over the root of the mean (2 pi (nu - centre))^2 of delays."""
    o = kit.observe(times=(5e9, 4, 10.0), freqs=(1.4e9, 16, 1e6), noise=0.05, gain=lambda shape: np.ones((1, 1, 1, 1)))
    ms = rt.MeasurementSet(o.path)
    freq = ms.groups[0].freq
    centre = float(freq.mean())
    ns = rt.Scope()
    for p in ms.antennas:
        turns = 2 * np.pi * (ns.delay(p) << Meq.Parm(0.0, tags="x")) * (1e-9 / unit) * (Meq.Freq() - centre)
        ns.J(p) << Meq.Exp(1j * ((ns.phase(p) << Meq.Parm(0.0, tags="x")) - turns))
    for p, q in ms.baselines:
        model = ns.J(p) * Meq.Spigot(p, q, column="MODEL_DATA") * Meq.Conj(ns.J(q))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    report = ns.forest().run(ms, progress=False, ref_antenna="ant01")
    assert "common value of all delay; common value of all phase" in report.full()
    delay, phase = (report.tables.parm(name) for name in ("delay", "phase"))
    f = 2 / o.sigma**2 * (abs(o.model) ** 2).sum() / len(ms.baselines)
    error = np.sqrt(2 / (f * len(ms.antennas))) * (np.arange(len(ms.antennas)) != 1)
    np.testing.assert_allclose(phase.errors.ravel(), error, rtol=0.05)
    spread = 2 * np.pi * np.std(freq) * 1e-9 / unit
    np.testing.assert_allclose(delay.errors.ravel(), error / spread, rtol=0.05)
    assert delay.values.ravel()[1] == phase.values.ravel()[1] == 0
    assert (abs(delay.values.ravel()) < 5 * error.max() / spread).all()
