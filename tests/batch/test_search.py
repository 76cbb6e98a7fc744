"""Cold starts of equations with many minima: what converges is the lowest, and what may not be is said not to have."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

SLOTS, ANTENNAS, CHANNELS = 12, 5, 16
X = np.linspace(-0.5, 0.5, CHANNELS)


def observed(kit: SimpleNamespace, gain: Any, **options: Any) -> SimpleNamespace:
    given = {"antennas": ANTENNAS, "times": (5e9, SLOTS, 10.0), "freqs": (1.4e9, CHANNELS, 4e6), "corrs": ("XX", "YY")}
    return kit.observe(gain=gain, **given | options)


def solve(o: Any, starts: dict[str, Any], gain: Callable[[rt.Scope, str], Any], **options: Any) -> SimpleNamespace:
    """Values and errors of each label (slot, antenna), status and chi2/dof of every slot; `gain` is that of both receptors."""
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    ns.x << Meq.Constant(X, axes="freq")
    for p in ms.antennas:
        for label, start in starts.items():
            getattr(ns, label)(p) << Meq.Parm(start, tags="gain", solint=1)
        ns.g(p) << gain(ns, p)
        ns.G(p) << Meq.Matrix22(ns.g(p), 0, 0, ns.g(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", max_iter=100, **options)
    report = ns.forest().run(ms, progress=False)
    (solver,), group = report.solvers, report.tables.groups[0]
    found = {t.label: (t.values[..., 0, 0, 0].T, t.errors[..., 0, 0, 0].T) for t in group.parms}
    return SimpleNamespace(
        **found, status=solver.status[:, 0], ratio=(solver.chi2 / solver.dof)[:, 0], text=str(report)
    )


def delayed(ns: rt.Scope, p: str) -> Any:
    return Meq.Exp(1j * (2 * np.pi * ns.d(p) * ns.x + ns.o(p)))


def turned(turns: np.ndarray, offset: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Gains of delays in turns over the band and phases (slot, antenna)."""
    return lambda _: np.exp(1j * (2 * np.pi * turns[:, :, None, None] * X + offset[:, :, None, None]))


def test_delays_of_several_turns_and_any_phase_are_found_from_zero(kit: SimpleNamespace) -> None:
    """Slot by slot on its own, from 0: every delay is true, or its slot is said not to have converged. From one start most slots
    end elsewhere, which `start="own"` still shows."""
    rng = np.random.default_rng(1)
    turns, offset = rng.uniform(-1.5, 1.5, (SLOTS, ANTENNAS)), rng.uniform(-np.pi, np.pi, (SLOTS, ANTENNAS))
    o = observed(kit, turned(turns, offset), noise=1.0)
    wrong = {}
    for start in ("auto", "own"):
        found = solve(o, {"d": 0.0, "o": 0.0}, delayed, start=start)
        off = found.d[0] - turns - (found.d[0] - turns)[:, :1]
        wrong[start] = (abs(off) > 0.1).any(1) & (found.status == Status.CONVERGED)
        if start == "auto":
            assert (found.status == Status.CONVERGED).all()
    assert not wrong["auto"].any()
    assert wrong["own"].sum() > SLOTS / 3, "the test needs delays that one start does not find"


def test_a_model_that_lacks_something_does_not_make_delays_ambiguous(kit: SimpleNamespace) -> None:
    """Phase errors of baselines, which no delay describes, far above the noise: different starts agree, and the delays are right."""
    rng = np.random.default_rng(2)
    turns, offset = rng.uniform(-1.5, 1.5, (SLOTS, ANTENNAS)), rng.uniform(-np.pi, np.pi, (SLOTS, ANTENNAS))
    o = observed(kit, turned(turns, offset), noise=0.1)
    errors = np.exp(0.4j * rng.normal(size=(len(o.p), 1, 1)))
    kit.putcol(o.path, DATA=(kit.getcol(o.path, "DATA") * errors).astype(np.complex64))
    found = solve(o, {"d": 0.0, "o": 0.0}, delayed)
    off = found.d[0] - turns - (found.d[0] - turns)[:, :1]
    assert (found.ratio > 10).all()
    assert (found.status == Status.CONVERGED).all()
    assert abs(off).max() < 0.1


def test_minima_between_which_nothing_decides_are_not_called_converged(kit: SimpleNamespace) -> None:
    """Delays without a phase of their own turn it thirty times as fast in all of the band: minima are too many to try them.
    What converged fits the data; the rest says why it has not, and no visibility is corrected with it."""
    rng = np.random.default_rng(3)
    turns = rng.uniform(-1.5, 1.5, (SLOTS, ANTENNAS))
    o = observed(kit, lambda _: np.exp(2j * np.pi * turns[:, :, None, None] * (X + 30.0)), noise=0.2)
    found = solve(o, {"d": 0.0}, lambda ns, p: Meq.Exp(2j * np.pi * ns.d(p) * (ns.x + 30.0)))
    off = found.d[0] - turns - (found.d[0] - turns)[:, :1]
    right, good = abs(off).max(1) < 0.1, found.status == Status.CONVERGED
    assert not (good & ~right).any()
    assert (~right).any(), "the test needs minima that are not found"
    assert (found.status == Status.AMBIGUOUS).sum() > (~right).sum() / 2
    assert "ambiguous: a minimum far above the noise, which other starts or most data contradict" in found.text


def test_delays_across_a_gap_in_frequency(kit: SimpleNamespace) -> None:
    """Half of the band is missing in its middle, and delays turn all of the phase: sidelobes are nearly as high as the peak. Windows of
    cells hardly tell them apart, but each station against all others does."""
    rng = np.random.default_rng(7)
    turns = rng.uniform(-2, 2, (SLOTS, ANTENNAS))
    o = observed(kit, turned(turns, 0 * turns), noise=1.0)
    flags = kit.getcol(o.path, "FLAG")
    flags[:, CHANNELS // 4 : -CHANNELS // 4] = True
    kit.putcol(o.path, FLAG=flags)
    wrong = {}
    for start in ("auto", "own"):
        found = solve(o, {"d": 0.0}, lambda ns, p: Meq.Exp(2j * np.pi * ns.d(p) * ns.x), start=start)
        off = found.d[0] - turns - (found.d[0] - turns)[:, :1]
        wrong[start] = (abs(off) > 0.5).any(1)
        if start == "auto":
            assert (found.status == Status.CONVERGED).all()
    assert not wrong["auto"].any()
    assert wrong["own"].sum() > SLOTS / 3, "the test needs delays that one start does not find"


def test_signs_of_real_gains(kit: SimpleNamespace) -> None:
    """Real gains of random sign on a source that long baselines resolve, half the data flagged: no small step changes a sign."""
    rng = np.random.default_rng(4)
    slots, antennas = 40, 9
    gains = rng.choice([-1.0, 1.0], (slots, antennas)) * rng.uniform(0.5, 2, (slots, antennas))
    o = observed(
        kit, lambda _: gains[:, :, None, None] + 0j, antennas=antennas, times=(5e9, slots, 10.0), noise=1e-3
    )  # fmt: skip
    model = np.where(rng.random((len(o.p), 1, 1)) < 0.3, 1.0, 0.02) * np.ones(o.model.shape)
    noise = 1e-3 * rng.normal(size=(2, *model.shape)) / np.sqrt(2)
    data = (gains[o.slot, o.p] * gains[o.slot, o.q])[:, None, None] * model + noise[0] + 1j * noise[1]
    kit.putcol(o.path, MODEL_DATA=model.astype(np.complex64), DATA=data.astype(np.complex64))
    kit.putcol(o.path, FLAG=np.broadcast_to(rng.random((len(o.p), 1, 1)) < 0.5, model.shape).copy())
    own = solve(o, {"a": 1.0}, lambda ns, p: ns.a(p), start="own")
    found = solve(o, {"a": 1.0}, lambda ns, p: ns.a(p))
    good = found.status == Status.CONVERGED
    assert good.sum() > 0.9 * slots
    assert (found.ratio[good] < 1.5).all()
    off = abs(abs(found.a[0]) - abs(gains)) / found.a[1]
    assert np.nanmax(off[good]) < 6
    assert ((own.ratio > 10) & (own.status == Status.CONVERGED)).any(), (
        "the test needs signs that one start does not find"
    )


def test_inverses_that_run_away_are_no_solutions(kit: SimpleNamespace) -> None:
    """A gain that enters by its inverse goes to infinity where it should change its phase: said, without a traceback."""
    rng = np.random.default_rng(5)
    offset = rng.uniform(-np.pi, np.pi, (SLOTS, ANTENNAS))
    o = observed(kit, turned(0 * offset, offset), freqs=(1.4e9, CHANNELS, 1e3), noise=0.1)
    found = solve(o, {"b": 1 + 0j}, lambda ns, p: 1 / ns.b(p))
    good = found.status == Status.CONVERGED
    assert (found.ratio[good] < 1.5).all()
    assert (found.ratio > 2).any()
    assert not good[found.ratio > 2].any()


def test_tied_phases_go_on_beyond_a_turn(kit: SimpleNamespace) -> None:
    """Phases that walk several turns away: intervals by themselves know them up to whole turns, their tie knows better. Against the truth,
    and against the chi2 that its steps have as a walk."""
    rng, slots = np.random.default_rng(6), 40
    steps = 0.5 * rng.normal(size=(slots, ANTENNAS)) + 0.25 * np.arange(ANTENNAS)
    phase = np.cumsum(steps, 0) - np.cumsum(steps, 0)[:, :1]
    assert abs(phase).max() > 4 * np.pi, "the test needs turns"
    o = observed(kit, turned(0 * phase, phase), times=(5e9, slots, 10.0), noise=1.0)
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for i, p in enumerate(ms.antennas):
        angle = ns.angle(p) << Meq.Parm(0.0, tags="gain", solint=1, smooth="0.8/10s") if i else Meq.Constant(0.0)
        ns.g(p) << Meq.Exp(1j * angle)
    for p, q in ms.baselines:
        model = ns.g(p) * Meq.Conj(ns.g(q)) * Meq.Spigot(p, q, column="MODEL_DATA")
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    report = ns.forest().run(ms, progress=False)
    (table,), (solver,) = report.tables.groups[0].parms, report.solvers
    assert (solver.status == Status.CONVERGED).all()
    off = table.values[:, :, 0, 0, 0].T - phase[:, 1:]
    assert abs(off / table.errors[:, :, 0, 0, 0].T).max() < 6
    walk = (np.diff(phase[:, 1:], axis=0) ** 2 / 0.8**2).sum()
    assert abs(solver.smoothness.sum() - walk) < 0.3 * walk


def test_real_and_imaginary_parts_lost_in_the_noise_are_said(kit: SimpleNamespace) -> None:
    """A gain written as a sum of its parts is judged as a complex one is: at a hundredth of the noise nothing converges;
    at ten times all converges.
    """
    for noise, wanted in ((300.0, 0), (0.3, SLOTS)):
        o = observed(
            kit,
            lambda s: np.ones(s, complex),
            antennas=4,
            freqs=(1.4e9, CHANNELS, 1e3),
            name=f"{noise}.ms",
            noise=noise,
        )
        found = solve(o, {"re": 1.0, "im": 0.0}, lambda ns, p: Meq.ToComplex(ns.re(p), ns.im(p)))
        assert (found.status == Status.CONVERGED).sum() == wanted
    np.testing.assert_array_less(abs(abs(found.re[0] + 1j * found.im[0]) - 1), 0.2)
