"""Classes of parameters with different solution intervals reach the joint minimum, with joint errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq
from rimetree.batch import joint
from rimetree.solve.joint import coupled_errors
from rimetree.status import Status

SLOTS, CHANS, STATIONS = 6, 4, 5


def product(ms: Any, terms: dict[str, Any], full: str = "") -> rt.Scope:
    """DATA = J MODEL_DATA J^H with J a product of diagonal terms (those in `full` are full matrices)."""
    ns = rt.Scope()
    for p in ms.antennas:
        for name, solint in terms.items():
            corner = {
                ij: ns[name + ij](p) << Meq.Parm(complex(ij[0] == ij[1]), tags="joint", solint=solint)
                for ij in ("xx", "xy", "yx", "yy")
                if ij[0] == ij[1] or name in full
            }
            ns[name](p) << Meq.Matrix22(*(corner.get(ij, 0) for ij in ("xx", "xy", "yx", "yy")))
        ns.J(p) << (Meq.MatrixMultiply(*(ns[n](p) for n in terms)) if len(terms) > 1 else ns[next(iter(terms))](p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    return ns


def smooth(rng: np.random.Generator, *shape: int, size: float = 0.3) -> np.ndarray:
    return 1 + size * (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)


def separable(shape: tuple[int, ...]) -> np.ndarray:
    """Gains (slot, antenna, hand, channel) that are a product of a part per slot and one per channel."""
    rng = np.random.default_rng(5)
    slots, antennas, hands, chans = shape
    return smooth(rng, slots, antennas, hands, 1) * smooth(rng, 1, antennas, hands, chans)


@pytest.fixture
def seen(kit: Any) -> SimpleNamespace:
    """Data with separable gains, noise, and 10 % flags."""
    o = kit.observe(antennas=STATIONS, times=(5e9, SLOTS, 10.0), freqs=(1.4e9, CHANS, 1e6), gain=separable)
    flags = np.random.default_rng(6).random(o.model.shape) < 0.1
    kit.putcol(o.path, FLAG=flags)
    o.good, o.data = ~flags, kit.getcol(o.path, "DATA")
    return o


def residuals(o: Any, x: np.ndarray) -> np.ndarray:
    """Weighted residuals of all correlations, real and imaginary parts, for unknowns g (slot, station, hand), b
    (channel, station, hand), each complex as two numbers."""
    g, b = np.split(x, [4 * SLOTS * STATIONS])
    g, b = (v.reshape(-1, STATIONS, 2, 2) @ [1, 1j] for v in (g, b))
    j = g[o.slot][:, None] * b[None]
    row, parts = np.arange(len(o.slot)), []
    for k, (h, i) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        model = j[row, :, o.p, h] * j[row, :, o.q, i].conj() * o.model[..., k].astype(np.complex64)
        parts.append((model - o.data[..., k])[o.good[..., k]] * np.sqrt(2) / o.sigma)
    r = np.concatenate(parts)
    return np.concatenate([r.real, r.imag])


def found(report: Any, field: str = "values") -> np.ndarray:
    """The unknowns of `residuals`, or what else `field` says of them, flattened: g then b."""
    table = {t.label: getattr(t, field)[..., 0, 0] for t in report.tables.groups[0].parms}
    g = np.stack([table["Gxx"][:, :, 0], table["Gyy"][:, :, 0]], -1).swapaxes(0, 1)
    b = np.stack([table["Bxx"][:, 0], table["Byy"][:, 0]], -1).swapaxes(0, 1)
    return np.concatenate([g.ravel(), b.ravel()])


def parts(x: np.ndarray) -> np.ndarray:
    """Complex numbers as two real ones each."""
    return np.stack([x.real, x.imag], -1).ravel()


BOTH = {"G": (1, None), "B": (None, 1)}
UNKNOWNS, GAUGES = 4 * STATIONS * (SLOTS + CHANS), 4 * STATIONS + SLOTS + CHANS - 1
"""Between G and B a complex factor per station and hand; phases common to all stations and hands, per slot and channel."""


def test_the_joint_optimum_is_that_of_scipy(seen: Any) -> None:
    ms = rt.MeasurementSet(seen.path)
    report = product(ms, BOTH).forest().run(ms, progress=False)
    assert report.converged
    x = parts(found(report))
    best = least_squares(lambda v: residuals(seen, v), x + 0.01, xtol=1e-15, ftol=1e-15, gtol=1e-12)
    chi2 = (residuals(seen, x) ** 2).sum()
    assert abs(chi2 - 2 * best.cost) < 1e-3
    for summary in report.solvers:
        np.testing.assert_allclose(summary.chi2.sum(), chi2, rtol=1e-6)
    dof = 2 * seen.good.sum() - UNKNOWNS + GAUGES
    assert abs(chi2 / dof - 1) < 5 * np.sqrt(2 / dof)


def dense(o: Any, x: np.ndarray) -> np.ndarray:
    """The covariance by finite differences: the mean scale and phase of every bandpass (weighed with what the data say of
    them) are held; else the pseudo-inverse in the metric of the 2 x 2 blocks."""
    step = 1e-6 * np.eye(len(x))
    J = np.stack([(residuals(o, x + d) - residuals(o, x - d)) / 2e-6 for d in step], 1)
    H = J.T @ J
    metric, root = np.zeros_like(H), np.zeros_like(H)
    for i in range(0, len(x), 2):
        own = slice(i, i + 2)
        w, v = np.linalg.eigh(H[own, own])
        metric[own, own], root[own, own] = H[own, own], (v / np.sqrt(w)) @ v.T
    held = []
    for one in range(2 * STATIONS):
        for turn in (1, 1j):
            b = (x[4 * SLOTS * STATIONS :] @ np.kron(np.eye(2 * STATIONS * CHANS), [[1], [1j]])) * turn
            way = np.zeros((CHANS, 2 * STATIONS), complex)
            way[:, one] = b.reshape(CHANS, -1)[:, one]
            held.append(metric @ np.concatenate([np.zeros(4 * SLOTS * STATIONS), parts(way.ravel())]))
    W = np.array(held).T / np.sqrt(np.diag(H).mean())
    values, vectors = np.linalg.eigh(root @ (H + 1e4 * W @ W.T) @ root)
    assert (values > 1e-6).sum() == UNKNOWNS - (SLOTS + CHANS - 1)  # but for GAUGES, what is held
    spread = root @ (vectors / np.sqrt(np.where(values > 1e-6, values, np.inf)))
    return spread @ spread.T


def test_errors_are_the_inverse_of_the_whole_normal_matrix(seen: Any) -> None:
    ms = rt.MeasurementSet(seen.path)
    report = product(ms, BOTH).forest().run(ms, progress=False)
    covariance = dense(seen, parts(found(report)))
    expected = np.sqrt(np.diag(covariance).reshape(-1, 2).mean(1))
    np.testing.assert_allclose(found(report, "errors"), expected, rtol=1e-4)


def test_errors_of_large_systems_are_estimated(seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From random probes, within the scatter that so few intervals leave; conditional ones would be far off."""
    monkeypatch.setattr(coupled_errors, "EXACT", 0)
    monkeypatch.setattr(coupled_errors, "PROBES", (20, 20))
    ms = rt.MeasurementSet(seen.path)
    report = product(ms, BOTH).forest().run(ms, progress=False)
    expected = np.sqrt(np.diag(dense(seen, parts(found(report)))).reshape(-1, 2).mean(1))
    ratio = found(report, "errors") / expected
    assert abs(ratio.mean() - 1) < 0.02 and ratio.std() < 0.1


def test_probes_see_what_all_stations_share(seen: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weakly polarised source hardly shows the phase between x and y: in every slot and channel its error is many times that of
    the blocks. Probes say what inverting the matrix does."""
    rng, (i, j) = np.random.default_rng(7), np.divmod(np.arange(4), 2)
    weak = seen.model * np.where(i == j, 1, 0.03)
    turn = seen.gains[seen.slot, seen.p][:, i] * seen.gains[seen.slot, seen.q][:, j].conj()
    noise = 0.01 * (rng.normal(size=weak.shape) + 1j * rng.normal(size=weak.shape)) / np.sqrt(2)
    kit.putcol(seen.path, MODEL_DATA=weak, DATA=turn.transpose(0, 2, 1) * weak + noise)
    forest = product(rt.MeasurementSet(seen.path), BOTH).forest()
    exact = found(forest.run(rt.MeasurementSet(seen.path), progress=False), "errors")
    monkeypatch.setattr(coupled_errors, "EXACT", 0)
    report = forest.run(rt.MeasurementSet(seen.path), progress=False)
    assert report.converged and any("random probes" in note for note in report.notes)
    ratio = found(report, "errors") / exact
    assert abs(ratio.mean() - 1) < 0.03 and ratio.std() < 0.1


def test_three_classes(kit: Any) -> None:
    """A gain per slot, a bandpass per channel, and a leakage-like full matrix for all: chi2 is as it should be."""

    def gain(shape: tuple[int, ...]) -> np.ndarray:
        return separable(shape)

    o = kit.observe(antennas=7, times=(5e9, 8, 10.0), freqs=(1.4e9, 6, 1e6), gain=gain)
    ms = rt.MeasurementSet(o.path)
    terms = {"G": (1, None), "D": (None, None), "B": (None, 1)}
    report = product(ms, terms, full="D").forest().run(ms, progress=False)
    assert report.converged
    data = o.model.size * 2
    gauges = 2 * 7 * 2 * 2 + 8 + 6  # at least: factors per station and hand between the three; phases
    for summary in report.solvers:
        chi2 = summary.chi2.sum()
        free = data - 7 * (4 * 8 + 8 + 4 * 6) + gauges
        assert abs(chi2 / free - 1) < 5 * np.sqrt(2 / free)
        np.testing.assert_allclose(summary.dof.sum(), free, rtol=0.05)


def test_a_polynomial_and_a_delay_beside_gains(kit: Any) -> None:
    """A delay per station for all slots (not separable along frequency) times gains linear in time per slot pairs."""
    rng = np.random.default_rng(8)
    tau = np.concatenate([[0], rng.uniform(-20e-9, 20e-9, 5)])
    freq = 1.4e9 + 1e6 * np.arange(16)
    slope = smooth(rng, 6, 2, size=0.2)

    def gain(shape: tuple[int, ...]) -> np.ndarray:
        wave = np.exp(2j * np.pi * tau[:, None] * (freq - freq.mean()))
        drift = 1 + np.linspace(-1, 1, shape[0])[:, None, None] * (slope - 1)
        return drift[..., None] * wave[:, None] * np.ones(shape)

    o = kit.observe(antennas=6, times=(5e9, 8, 10.0), freqs=(1.4e9, 16, 1e6), gain=gain)
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        for h in "xy":
            ns["g" + h](p) << Meq.Parm([[1 + 0j], [0j]], tags="joint", solint=(4, None))
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
        ns.tau(p) << Meq.Parm(0.0, tags="joint" if p != "ant00" else "")
        ns.K(p) << Meq.Exp(2j * np.pi * ns.tau(p) * (Meq.Freq() - freq.mean()) * 1e-9)
    for p, q in ms.baselines:
        G = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(ns.K(p) * G * Meq.Conj(ns.K(q)), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    table = report.tables.parm("tau")
    pull = (table.values[:, 0, 0, 0, 0] - tau[1:] * 1e9) / table.errors[:, 0, 0, 0, 0]
    assert abs(pull).max() < 4.5
    assert abs(report.solvers[0].chi2_per_dof() - 1) < 5 * np.sqrt(1 / o.model.size)


def test_flagged_slots_and_a_dead_antenna_harm_nobody(kit: Any, seen: Any) -> None:
    """A slot without data and an antenna without any are said to have none; the others are fitted as without them."""
    flags = ~seen.good | (seen.slot == 2)[:, None, None] | ((seen.p == 3) | (seen.q == 3))[:, None, None]
    kit.putcol(seen.path, FLAG=flags)
    seen.good = ~flags
    ms = rt.MeasurementSet(seen.path)
    report = product(ms, BOTH).forest().run(ms, progress=False)
    table = {t.label: t for t in report.tables.groups[0].parms}
    assert (table["Gxx"].status[:, 2] == Status.NO_DATA).all()
    assert (table["Gxx"].status[3] == Status.NO_DATA).all() and (table["Byy"].status[3] == Status.NO_DATA).all()
    assert np.isnan(table["Gxx"].errors[3]).all() and np.isnan(table["Gyy"].errors[:, 2]).all()
    rest = np.delete(np.delete(table["Gxx"].status, 2, 1), 3, 0)
    assert (rest == Status.CONVERGED).all()
    chi2 = (residuals(seen, parts(found(report))) ** 2).sum()
    np.testing.assert_allclose(np.nansum(report.solvers[0].chi2), chi2, rtol=1e-6)
    assert abs(chi2 / np.nansum(report.solvers[0].dof) - 1) < 0.2


def test_nested_intervals_are_independent_systems(kit: Any) -> None:
    """A gain per slot times another per scan-like interval of 4 slots: each 4 slots are a problem of their own, and one
    of them that is garbage does not disturb the rest."""
    o = kit.observe(antennas=6, times=(5e9, 12, 10.0), freqs=(1.4e9, 5, 1e6), gain=separable)
    data = kit.getcol(o.path, "DATA")
    garbage = np.random.default_rng(1).normal(size=(2, *data.shape)) * 30
    results = []
    for bad in (False, True):
        kit.putcol(o.path, DATA=np.where((bad & (o.slot < 4))[:, None, None], garbage[0] + 1j * garbage[1], data))
        ms = rt.MeasurementSet(o.path)
        results.append(product(ms, {"G": (1, None), "B": (4, 1)}).forest().run(ms, progress=False))
    clean, mixed = (r.tables.parm("Bxx") for r in results)
    assert (mixed.status[:, 1:] == Status.CONVERGED).all()
    np.testing.assert_allclose(mixed.values[:, 1:], clean.values[:, 1:], rtol=1e-5, atol=1e-6)


def test_what_is_not_determined_is_said(seen: Any) -> None:
    """G and B exchange a factor: the gains have it, the bandpass is 1 in the mean."""
    ms = rt.MeasurementSet(seen.path)
    report = product(ms, BOTH).forest().run(ms, progress=False)
    for word in ("scale", "phase"):
        text = f"the {word} between Gxx+Gyy and Bxx+Byy is not determined: it goes to Gxx+Gyy"
        assert any(text in n for n in report.notes)
    x = parts(found(report))
    step = 1e-6 * np.eye(len(x))[4 * SLOTS * STATIONS :]
    power = np.array([((residuals(seen, x + d) - residuals(seen, x)) ** 2).sum() for d in step]) * 1e12
    b = found(report)[2 * SLOTS * STATIONS :]
    weight = (power.reshape(-1, 2).mean(1) * abs(b) ** 2).reshape(CHANS, -1)
    assert abs((np.log(b).reshape(CHANS, -1) * weight).sum(0) / weight.sum(0)).max() < 1e-4


def test_priors_enter_the_joint_fit(seen: Any) -> None:
    """A tight prior on the bandpass removes the freedom of scale, and draws the gains with it."""
    ms = rt.MeasurementSet(seen.path)
    ns = rt.Scope()
    for p in ms.antennas:
        for h in "xy":
            ns["g" + h](p) << Meq.Parm(1 + 0j, tags="joint", solint=(1, None))
            ns["b" + h](p) << Meq.Parm(1 + 0j, tags="joint", solint=(None, 1), prior=(2 + 0j, 1e-4))
        ns.J(p) << Meq.MatrixMultiply(Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p)), Meq.Matrix22(ns.bx(p), 0, 0, ns.by(p)))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="joint")
    report = ns.forest().run(ms, progress=False)
    band = report.tables.parm("bx")
    assert abs(band.values - 2).max() < 0.01
    assert not any("not determined" in note for note in report.notes)


def test_bounds_are_fitted_in_turn_or_jointly_where_asked(seen: Any) -> None:
    ms = rt.MeasurementSet(seen.path)
    for algorithm in ("auto", "gn-cg"):
        ns = rt.Scope()
        ns.a << Meq.Parm(1.0, tags="x", solint=(1, None), bounds=(0.5, 2))
        ns.b << Meq.Parm(0.0, tags="x", solint=(None, 1))
        for p, q in ms.baselines:
            ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA") + ns.b, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="x", algorithm=algorithm)
        words = {
            "auto": "fitted in turn, because some have bounds",
            "gn-cg": "gn-cg for all unknowns together, without a normal matrix (as asked), on",
        }
        assert words[algorithm] in ns.forest().explain(data=ms)
        assert ns.forest().run(ms, progress=False).converged


def test_sums_that_do_not_fit_in_memory_are_fitted_in_turn(seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ms = rt.MeasurementSet(seen.path)
    together = product(ms, BOTH).forest().run(ms, progress=False)
    monkeypatch.setattr(joint, "available_memory", lambda: 0)
    turns = product(ms, BOTH).forest().run(ms, progress=False)
    assert any("fitted in turn" in note for note in turns.notes)
    assert turns.solvers[0].chi2.sum() >= together.solvers[0].chi2.sum() * (1 - 1e-9)
    ns = product(ms, BOTH)
    ns.again << Meq.Solver(*ns.eq, solvable="joint", algorithm="gn-cg")
    passes = ns.forest("again").run(ms, progress=False)
    assert passes.converged
    for one, other in zip(passes.solvers, together.solvers, strict=True):
        np.testing.assert_allclose(one.chi2.sum(), other.chi2.sum(), rtol=1e-6)
        np.testing.assert_allclose(one.dof, other.dof, rtol=1e-9)


def test_data_that_are_not_finite_are_counted_once(kit, seen):
    """However many classes a Solver has."""
    data = seen.data.copy()
    data.reshape(-1)[::97] = np.nan
    kit.putcol(seen.path, DATA=data)
    ms = rt.MeasurementSet(seen.path)
    report = product(ms, {"G": (1, None), "B": (None, 1)}).forest().run(ms, progress=False)
    assert report.dropped == (~np.isfinite(data) & seen.good).sum() > 0


@pytest.mark.parametrize("algorithm", ["auto", "gn-cg"])
def test_nothing_but_flags_and_equations_without_unknowns(kit: Any, seen: Any, algorithm: str) -> None:
    """Without any data all is said to have none, and nothing is divided by how many there are (warnings are errors here)."""

    def fitted() -> Any:
        ms, ns = rt.MeasurementSet(seen.path), rt.Scope()
        first = ms.antennas[0]
        for name, solint in (("a", (1, None)), ("d", (None, 2))):
            ns[name] << Meq.Parm(1.0 if name == "a" else 0.0, tags="joint", solint=solint)
        for p, q in ms.baselines:
            model = Meq.Selector(Meq.Spigot(p, q, column="MODEL_DATA"), index=(0, 0))
            if p == first:  # the other equations know no unknown
                model = ns.a * Meq.Polar(1, ns.d) * model
            ns.eq(p, q) << Meq.Condeq(model, Meq.Selector(Meq.Spigot(p, q), index=(0, 0)))
        ns.solve << Meq.Solver(*ns.eq, solvable="joint", algorithm=algorithm)
        return ns.forest().run(ms, progress=False)

    both = fitted()
    assert {name: both.tables.parm(name).values.shape[1:3] for name in "ad"} == {"a": (SLOTS, 1), "d": (1, CHANS // 2)}
    assert np.isfinite(both.tables.parm("a").values).all()
    kit.putcol(seen.path, FLAG=np.ones_like(seen.good))
    none = fitted()
    assert all((none.tables.parm(name).status == Status.NO_DATA).all() for name in "ad")
