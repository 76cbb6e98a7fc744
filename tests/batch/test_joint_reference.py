"""Joint fits referred to an antenna: its phases are zero where they are free, and errors are those of differences to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.solve.joint import coupled_errors

STATIONS, SLOTS, CHANS, NOISE, DRAWS = 4, 4, 6, 0.2, 60
X = np.linspace(-1, 1, CHANS)
HALF = np.arange(SLOTS) // 2
SOURCES = np.array([[[5.4, 0.7 + 0.2j], [0.7 - 0.2j, 4.6]], [[2.2, 0.4j], [-0.4j, 1.8]], [[1.5, -0.5], [-0.5, 2.5]]])


def forest(ms: Any) -> Any:
    """diag(exp(i (a + b X))) for x and y per two slots, times leakages."""
    ns = rt.Scope()
    ns.x << Meq.Constant(X, axes="freq")
    for p in ms.antennas:
        waves = []
        for h in "xy":
            a, b = (ns[name + h](p) << Meq.Parm(0.0, tags="joint", solint=2) for name in "ab")
            waves.append(Meq.Polar(1, a + b * ns.x))
        xy, yx = (ns[name](p) << Meq.Parm(0j, tags="joint", solint=SLOTS) for name in ("dxy", "dyx"))
        ns.J(p) << Meq.MatrixMultiply(Meq.Matrix22(waves[0], 0, 0, waves[1]), Meq.Matrix22(1, xy, yx, 1))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    return ns.forest()


LABELS = ("ax", "bx", "ay", "by")
WAVES = 4 * STATIONS * (SLOTS // 2)


def predicted(o: Any, x: np.ndarray) -> np.ndarray:
    """Visibilities for waves (label, station, interval), leakages (2, station, part)."""
    ax, bx, ay, by = x[:WAVES].reshape(4, STATIONS, -1)[..., HALF, None]
    leak = x[WAVES:].reshape(2, STATIONS, 2) @ [1, 1j]
    jones = np.zeros((STATIONS, SLOTS, CHANS, 2, 2), complex)
    jones[..., 0, 0], jones[..., 1, 1] = np.exp(1j * (ax + bx * X)), np.exp(1j * (ay + by * X))
    mixed = np.broadcast_to(np.eye(2, dtype=complex), (STATIONS, 2, 2)).copy()
    mixed[:, 0, 1], mixed[:, 1, 0] = leak
    jones = jones @ mixed[:, None, None]
    return np.asarray(jones[o.p, o.slot] @ sky(o) @ jones[o.q, o.slot].conj().swapaxes(-1, -2))


def sky(o: Any) -> np.ndarray:
    """Three sources of different polarisation, two with fringes: one alone would leave freedoms."""
    turns = np.random.default_rng(1).uniform(-3, 3, (2, len(o.p)))
    fringes = np.exp(1j * turns[:, :, None] * (1 + X / 3))
    return np.asarray(SOURCES[0] + np.einsum("srf,sij->rfij", fringes, SOURCES[1:]))


def truth() -> np.ndarray:
    """With phases and slopes of x of the reference zero."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(-0.5, 0.5, WAVES), 0.05 * rng.normal(size=4 * STATIONS)])
    x[:WAVES].reshape(4, STATIONS, -1)[:2, 0] = 0
    return x


def covariance(o: Any, x: np.ndarray) -> np.ndarray:
    """(J^T J)^-1 of all unknowns by differences, with phases and slopes of x of the reference held."""
    step = 1e-6 * np.eye(len(x))
    J = np.stack([((predicted(o, x + d) - predicted(o, x - d)) / 2e-6).ravel().view(float) for d in step], 1)
    H = J.T @ J * 2 / NOISE**2
    free = np.ones(len(x), bool)
    free[:WAVES].reshape(4, STATIONS, -1)[:2, 0] = False
    made = np.zeros_like(H)
    made[np.ix_(free, free)] = np.linalg.inv(H[np.ix_(free, free)])
    return made


def found(report: Any, field: str = "values") -> np.ndarray:
    """(draws, unknowns): what a report says, in the order of `predicted`; errors of leakages are of their parts."""
    tables = {t.label: getattr(t, field)[:, :, 0, 0, 0] for t in report.tables.groups[0].parms}
    waves = np.stack([tables[label] for label in LABELS]).reshape(4, STATIONS, -1, SLOTS // 2)
    leak = np.stack([tables[n] for n in ("dxy", "dyx")])
    parts = np.stack([leak.real, leak.imag], -1) if np.iscomplexobj(leak) else np.repeat(leak[..., None], 2, -1)
    return np.concatenate([np.moveaxis(a, 2, 0).reshape(a.shape[2], -1) for a in (waves, parts)], 1)


def observed(kit: Any, draws: int) -> Any:
    """The same truth again and again, each time for SLOTS slots, with noise of its own; the first draw is all that `predicted` knows."""
    o = kit.observe(antennas=STATIONS, times=(5e9, SLOTS * draws, 10.0), freqs=(1.4e9, CHANS, 1e6), noise=NOISE)
    first = o.slot < SLOTS
    one = SimpleNamespace(p=o.p[first], q=o.q[first], slot=o.slot[first], path=o.path)
    noise = np.random.default_rng(3).normal(size=(2, *o.model.shape)) * NOISE / np.sqrt(2)
    true, model = (np.tile(a.reshape(-1, CHANS, 4), (draws, 1, 1)) for a in (predicted(one, truth()), sky(one)))
    kit.putcol(
        o.path, MODEL_DATA=model.astype(np.complex64), DATA=(true + noise[0] + 1j * noise[1]).astype(np.complex64)
    )
    return one


@pytest.mark.parametrize(("way", "draws"), [("exact", DRAWS), ("probes", 6)])
def test_errors_are_those_of_differences_to_the_reference(
    kit: Any, monkeypatch: pytest.MonkeyPatch, way: str, draws: int
) -> None:
    """Against the covariance of the whole problem by numpy; and where there are many draws of the noise, against their scatter."""
    if way == "probes":
        monkeypatch.setattr(coupled_errors, "EXACT", 0)
    o, x = observed(kit, draws), truth()
    report = forest(rt.MeasurementSet(o.path)).run(rt.MeasurementSet(o.path), progress=False, ref_antenna="ant00")
    assert report.converged
    assert any(f"zero is the phase (or value) of ax:ant00 in {2 * draws}, " in note for note in report.notes)
    assert any("random probes" in note for note in report.notes) == (way == "probes")
    fit, given = found(report), found(report, "errors")
    zero = np.zeros(len(x), bool)
    zero[:WAVES].reshape(4, STATIONS, -1)[:2, 0] = True
    assert (fit[:, zero] == 0).all() and (given[:, zero] == 0).all()
    for draw in range(3):
        expected = np.sqrt(np.diag(covariance(o, fit[draw])))
        parts = expected[WAVES:].reshape(-1, 2)
        parts[:] = np.sqrt((parts**2).mean(1, keepdims=True))  # one error is given for both parts
        np.testing.assert_allclose(given[draw], expected, rtol=2e-3 if way == "exact" else 0.2)
    if draws < DRAWS:
        return
    pull = ((fit - x) / np.where(zero, 1, given))[:, ~zero]
    width = np.square(pull).mean(0)
    leaks = width[-4 * STATIONS :].reshape(-1, 2)
    leaks[:] = leaks.mean(1, keepdims=True)
    assert abs(np.sqrt(width.mean()) - 1) < 0.05
    assert (abs(np.sqrt(width) - 1) < 4 / np.sqrt(2 * draws)).all()


def test_another_antenna_stands_in(kit: Any) -> None:
    """Where the reference has no data, the phases of another one are zero."""
    o = observed(kit, 1)
    kit.putcol(o.path, FLAG=np.tile(((o.slot < 2) & (o.p == 0))[:, None, None], (1, CHANS, 4)))
    ms = rt.MeasurementSet(o.path)
    report = forest(ms).run(ms, progress=False, ref_antenna="ant00")
    values = report.tables.parm("ax").values[:, :, 0, 0, 0]
    assert values[0, 1] == 0 and (values[1:, 0] == 0).sum() == 1
    assert any("reference antenna ant00 has no solution" in note for note in report.notes)
