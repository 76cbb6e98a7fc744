"""Solutions tied to their neighbours (`Parm(smooth=...)`), against the dense normal equations of the same problem and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status


def one_number(ms, **options) -> rt.Forest:
    """DATA = a MODEL_DATA for all baselines."""
    ns = rt.Scope()
    ns.a << Meq.Parm(1 + 0j, **options)
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="a")
    return ns.forest()


def stations(ms, **options) -> rt.Forest:
    """One complex gain per antenna for XX."""
    ns = rt.Scope()
    for p in ms.antennas:
        ns.g(p) << Meq.Parm(1 + 0j, **options)
    for p, q in ms.baselines:
        x = Meq.Selector(Meq.Spigot(p, q, column="MODEL_DATA"), index=(0, 0))
        ns.eq(p, q) << Meq.Condeq(ns.g(p) * x * Meq.Conj(ns.g(q)), Meq.Selector(Meq.Spigot(p, q), index=(0, 0)))
    ns.solve << Meq.Solver(*ns.eq, solvable="g", tol=1e-12, min_snr=0)  # errors of any gain are wanted
    return ns.forest()


@pytest.mark.parametrize("smooth", [("0.1/60s", None), (None, "0.05/10MHz"), ("0.1/60s", "0.05/10MHz")], ids=str)
@pytest.mark.parametrize("tiled", [False, True])
def test_linear_problem_is_the_dense_one(kit, smooth, tiled):
    """Values, errors, chi2 of both kinds and effective parameters; an empty interval gets what its neighbours say."""
    o = kit.observe(times=(5e9, 11, 10.0), scans=2, noise=2.0)
    flag = np.zeros(o.model.shape, bool)
    flag[o.slot == 4] = True
    kit.putcol(o.path, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    memory = 45 * ms.groups[0].bytes_per_slot(["DATA", "MODEL_DATA"]) if tiled else None
    report = one_number(ms, solint=(2, 1), smooth=smooth).run(ms, progress=False, memory=memory)
    assert ("tiles of up to" in report.plan) == tiled
    table, summary = report.tables.groups[0].parms[0], report.solvers[0]
    nt, nf = summary.status.shape
    t = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5])[o.slot] if nt == 6 else None
    centre = table.time.mean(1)
    assert nt == 6 and np.ptp(np.diff(centre)) > 0  # scans of 6 and 5 slots, a gap between them
    data, model = kit.getcol(o.path, "DATA"), o.model.astype(np.complex64)
    w = np.where(flag, 0, 1 / o.sigma**2)
    normal = np.zeros((nt * nf, nt * nf))
    right = np.zeros(nt * nf, complex)
    for i in range(nt):
        for f in range(nf):
            own = t == i
            normal[i * nf + f, i * nf + f] = (2 * w[own, f] * abs(model[own, f]) ** 2).sum()
            right[i * nf + f] = (2 * w[own, f] * model[own, f].conj() * data[own, f]).sum()
    information = np.diag(normal).copy()
    number = np.arange(nt * nf).reshape(nt, nf)
    pairs = []
    if smooth[0]:
        pairs += [
            (number[i, f], number[i + 1, f], 2 / (0.1**2 / 60 * (centre[i + 1] - centre[i])))
            for i in range(nt - 1)
            for f in range(nf)
        ]
    if smooth[1]:
        pairs += [
            (number[i, f], number[i, f + 1], 2 / (0.05**2 / 10e6 * 1e6)) for i in range(nt) for f in range(nf - 1)
        ]
    for a, b, k in pairs:
        normal[np.ix_([a, b], [a, b])] += k * np.array([[1, -1], [-1, 1]])
    used = np.diag(normal) > 0
    inverse = np.zeros_like(normal)
    inverse[np.ix_(used, used)] = np.linalg.inv(normal[np.ix_(used, used)])
    value = inverse @ right
    value[~used] = 1  # nothing is known there, so it stays
    solved = table.values[0, ..., 0, 0].ravel()
    np.testing.assert_allclose(solved[used], value[used], rtol=1e-5)
    np.testing.assert_allclose(table.errors[0, ..., 0, 0].ravel()[used], np.sqrt(np.diag(inverse)[used]), rtol=1e-4)
    chi2 = [
        (2 * w[t == i, f] * abs(data[t == i, f] - solved[i * nf + f] * model[t == i, f]) ** 2).sum()
        for i in range(nt)
        for f in range(nf)
    ]
    np.testing.assert_allclose(summary.chi2.ravel(), chi2, rtol=1e-5, atol=1e-5)
    expected = sum(k * abs(solved[a] - solved[b]) ** 2 for a, b, k in pairs)
    assert summary.smoothness.sum() == pytest.approx(expected, rel=1e-5)
    effective = np.rint(2 * information * np.diag(inverse)).reshape(nt, nf)
    np.testing.assert_array_equal(summary.rank, effective)
    np.testing.assert_array_equal(
        summary.status == Status.CONVERGED, np.bincount(t, (w > 0).any((1, 2)))[:, None].repeat(nf, 1) > 0
    )


def test_gains_are_those_of_scipy(kit):
    """A random walk of gains at a signal that one slot alone cannot solve: minimum of chi2 + walk, and its pseudo-inverse."""
    steps = np.random.default_rng(8)
    walk = 1 + np.cumsum(0.1 * (steps.normal(size=(8, 4, 2, 1)) + 1j * steps.normal(size=(8, 4, 2, 1))), 0)
    o = kit.observe(antennas=4, times=(5e9, 8, 10.0), freqs=(1.4e9, 2, 1e6), noise=3.0, gain=lambda shape: walk)
    flag = np.zeros(o.model.shape, bool)
    flag[(o.slot == 3) & (o.p == 0)] = True  # antenna 0 is lost in one slot
    flag[(o.slot == 6) & (o.p > 0)] = True  # and one slot keeps three baselines of six
    kit.putcol(o.path, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    sigma = 0.1 * np.sqrt(2 / 10)  # per root of 1 s
    report = stations(ms, solint=1, smooth=sigma).run(ms, progress=False)
    summary = report.solvers[0]
    assert (summary.status == Status.CONVERGED).all(), report.full()
    data, model = kit.getcol(o.path, "DATA")[..., 0], o.model.astype(np.complex64)[..., 0]
    root = np.sqrt(2 * np.where(flag[..., 0], 0, 1 / o.sigma**2))

    def residuals(x):
        g = (x[::2] + 1j * x[1::2]).reshape(8, 4)
        r = (root * (data - g[o.slot, o.p, None] * model * g[o.slot, o.q, None].conj())).ravel()
        change = np.diff(g, axis=0).ravel() * np.sqrt(2 / (sigma**2 * 10))
        return np.concatenate([r.real, r.imag, change.real, change.imag])

    start = walk[:, :, 0, 0].ravel()
    best = least_squares(residuals, np.stack([start.real, start.imag], 1).ravel(), xtol=1e-14, ftol=1e-14, gtol=1e-12)
    total = summary.chi2.sum() + summary.smoothness.sum()
    assert total == pytest.approx(2 * best.cost, rel=1e-8)
    table = report.tables.groups[0].parms[0]
    found = table.values[..., 0, 0, 0].T
    other = (best.x[::2] + 1j * best.x[1::2]).reshape(8, 4)
    phase = (found * other.conj()).sum()
    np.testing.assert_allclose(found, other * phase / abs(phase), atol=1e-5)
    jacobian = least_squares(residuals, np.stack([found.ravel().real, found.ravel().imag], 1).ravel(), max_nfev=1).jac
    data = (
        (jacobian[: -2 * 28] ** 2).sum(0).reshape(8, 8).mean(0)
    )  # in units of the mean information of the data on each unknown ...
    scale = np.tile(1 / np.sqrt(data), 8)
    phase = (
        np.stack([-found.ravel().imag, found.ravel().real], 1).ravel() / scale
    )  # ... nothing moves along the common phase
    phase /= np.linalg.norm(phase)
    free = np.eye(64) - np.outer(phase, phase)
    inverse = np.linalg.pinv(free @ (jacobian.T @ jacobian * scale[:, None] * scale) @ free, rcond=1e-10)
    variance = (np.diag(inverse) * scale**2).reshape(8, 4, 2).mean(2)
    np.testing.assert_allclose(table.errors[..., 0, 0, 0].T, np.sqrt(variance), rtol=1e-4)


def test_ties_that_are_loose_or_rigid(kit):
    """Without bound it is the ordinary solution, with a bound of nothing the common one."""
    o = kit.observe(times=(5e9, 6, 10.0), noise=1.0)
    ms = rt.MeasurementSet(o.path)
    free, loose = (one_number(ms, solint=1, smooth=s).run(ms, progress=False) for s in (None, 1e6))
    common, rigid = (one_number(ms, solint=i, smooth=s).run(ms, progress=False) for i, s in (("all", None), (1, 1e-6)))
    tables = [r.tables.groups[0].parms[0] for r in (free, loose, common, rigid)]
    np.testing.assert_allclose(tables[1].values, tables[0].values, rtol=1e-6)
    np.testing.assert_allclose(tables[1].errors, tables[0].errors, rtol=1e-5)
    np.testing.assert_allclose(tables[3].values, tables[2].values.repeat(6, 1), rtol=1e-5)
    np.testing.assert_allclose(tables[3].errors, tables[2].errors.repeat(6, 1), rtol=1e-4)
    assert rigid.solvers[0].chi2.sum() == pytest.approx(common.solvers[0].chi2.sum(), rel=1e-6)


def test_a_walk_from_random_phases_in_the_noise(kit):
    """Gains that wander, with random phases at the start: better than slot by slot, chi2/dof 1, errors that are right."""
    rng = np.random.default_rng(2)
    begin = np.exp(6j * rng.random((1, 7, 2, 1)))
    walk = begin * np.exp(np.cumsum(0.1 * rng.normal(size=(60, 7, 2, 1)), 0) * 1j)
    o = kit.observe(antennas=7, times=(5e9, 60, 10.0), freqs=(1.4e9, 1, 1e6), noise=3.0, gain=lambda shape: walk)
    ms = rt.MeasurementSet(o.path)
    alone, joint = (stations(ms, solint=1, smooth=s).run(ms, progress=False) for s in (None, "0.1/10s"))
    truth = walk[:, :, 0, 0]
    error, pulls = [], []
    for report in (alone, joint):
        table = report.tables.groups[0].parms[0]
        found = table.values[..., 0, 0, 0].T
        phase = (found.conj() * truth).sum(1, keepdims=True)
        off = found * phase / abs(phase) - truth
        error.append(np.sqrt((abs(off) ** 2).mean()))
        pulls.append(np.sqrt((abs(off) ** 2 / table.errors[..., 0, 0, 0].T ** 2 / 2).mean()))
    assert error[1] < 0.5 * error[0]
    assert 0.6 < pulls[1] < 1.1  # the truth wanders in phase only, so amplitudes do better than their errors
    summary = joint.solvers[0]
    assert (summary.status == Status.CONVERGED).all()
    assert abs(summary.chi2.sum() / summary.dof.sum() - 1) < 5 * np.sqrt(2 / summary.dof.sum())
    assert "walk" in str(joint)


@pytest.mark.parametrize(
    ("smooth", "words"),
    [
        (-1, "smooth in time must be an rms change"),
        ("0.1", "0.1/60s"),
        ("0.1/60MHz", "not '0.1/60MHz'"),
        ((None, "1/5s"), "smooth in freq"),
        ((1, 2, 3), "one value for time, or two"),
        (float("nan"), "must be an rms change"),
    ],
    ids=str,
)
def test_faults_name_the_option(smooth, words):
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0, smooth=smooth)
    with pytest.raises(rt.ForestError, match=words):
        ns.forest()


def test_priors_join_and_bounds_are_refused(kit):
    """A prior in every interval pulls each of them; bounds are not for steps that know none."""
    o = kit.observe(times=(5e9, 3, 10.0), noise=2.0)
    ms = rt.MeasurementSet(o.path)
    report = one_number(ms, solint=1, smooth=0.1, prior=(0.5, 0.02)).run(ms, progress=False)
    data, model = kit.getcol(o.path, "DATA"), o.model.astype(np.complex64)
    power = [2 / o.sigma**2 * (abs(model[o.slot == t]) ** 2).sum() for t in range(3)]
    right = [2 / o.sigma**2 * (model[o.slot == t].conj() * data[o.slot == t]).sum() for t in range(3)]
    tie, own = 2 / (0.1**2 * 10), 1 / 0.02**2
    normal = np.diag(power) + own * np.eye(3) + tie * np.array([[1, -1, 0], [-1, 2, -1], [0, -1, 1]])
    table = report.tables.groups[0].parms[0]
    np.testing.assert_allclose(
        table.values[0, :, 0, 0, 0], np.linalg.solve(normal, np.array(right) + own * 0.5), rtol=1e-5
    )
    np.testing.assert_allclose(table.errors[0, :, 0, 0, 0], np.sqrt(np.diag(np.linalg.inv(normal))), rtol=1e-4)
    with pytest.raises(rt.SolveError, match="these steps know no bounds"):
        one_number(ms, solint=1, smooth=0.1, bounds=(0, 2)).run(ms, progress=False)


def jones(ms, full: bool, **options) -> rt.Forest:
    """A matrix per antenna: diagonal, or full."""
    ns = rt.Scope()
    for p in ms.antennas:
        corner = {
            ij: ns["g" + ij](p) << Meq.Parm(complex(ij[0] == ij[1]), tags="g", **options)
            for ij in ("xx", "xy", "yx", "yy")
            if full or ij[0] == ij[1]
        }
        ns.G(p) << Meq.Matrix22(*(corner.get(ij, 0) for ij in ("xx", "xy", "yx", "yy")))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="g", tol=1e-10, min_snr=0)
    return ns.forest()


def wandering(shape: tuple[int, int, int], seed: int = 5) -> np.ndarray:
    """Complex numbers (slot, antenna, hand) that begin anywhere and walk."""
    rng = np.random.default_rng(seed)
    steps = 0.05 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    return np.exp(2j * np.pi * rng.random((1, *shape[1:]))) + np.cumsum(steps, 0)


def test_full_matrices_are_those_of_scipy(kit):
    """An unpolarised source leaves a unitary matrix free in every interval, which only the walk ties."""
    slots, stations = 3, 4
    o = kit.observe(antennas=stations, times=(5e9, slots, 10.0), freqs=(1.4e9, 3, 1e6), noise=0.5)
    walk = wandering((slots, stations, 4)).reshape(slots, stations, 2, 2) + np.eye(2)
    noise = np.random.default_rng(6).normal(size=(2, *o.model.shape)) * 0.5 / np.sqrt(2)
    model = np.zeros(o.model.shape, np.complex64) + np.array([3, 0, 0, 3], np.complex64)
    true = 3 * walk[o.slot, o.p] @ walk[o.slot, o.q].conj().swapaxes(1, 2)
    data = true.reshape(-1, 1, 4) + noise[0] + 1j * noise[1]
    kit.putcol(o.path, MODEL_DATA=model, DATA=data)
    data = kit.getcol(o.path, "DATA")
    ms = rt.MeasurementSet(o.path)
    sigma = 0.1
    report = jones(ms, True, solint=1, smooth=sigma).run(ms, progress=False)
    summary = report.solvers[0]
    assert (summary.status == Status.CONVERGED).all(), report.full()
    table = {t.label: t.values[..., 0, 0, 0] for t in report.tables.groups[0].parms}
    found = np.stack([table["g" + ij].T for ij in ("xx", "xy", "yx", "yy")], -1)

    def residuals(x):
        g = (x[::2] + 1j * x[1::2]).reshape(slots, stations, 2, 2)
        seen = 3 * g[o.slot, o.p] @ g[o.slot, o.q].conj().swapaxes(1, 2)
        r = ((data - seen.reshape(-1, 1, 4)) * np.sqrt(2) / 0.5).ravel()
        change = np.diff(g, axis=0).ravel() * np.sqrt(2 / (sigma**2 * 10))
        return np.concatenate([r.real, r.imag, change.real, change.imag])

    start = np.stack([found.ravel().real, found.ravel().imag], 1).ravel()
    total = (residuals(start) ** 2).sum()
    assert summary.chi2.sum() + summary.smoothness.sum() == pytest.approx(total, rel=1e-6)
    true = np.stack([walk.ravel().real, walk.ravel().imag], 1).ravel()
    best = least_squares(residuals, true, xtol=1e-10, ftol=1e-10, gtol=1e-8)
    assert total == pytest.approx(2 * best.cost, rel=1e-6)


def test_a_whole_array_is_tied_in_few_steps(kit):
    """28 antennas, both hands: 112 unknowns per interval, whose common phases are anywhere in every interval by itself."""
    o = kit.observe(
        antennas=28, times=(5e9, 30, 10.0), freqs=(1.4e9, 1, 1e6), noise=1.0,
        gain=lambda shape: wandering(shape[:3])[..., None],
    )  # fmt: skip
    ms = rt.MeasurementSet(o.path)
    alone, tied = (jones(ms, False, solint=1, smooth=s).run(ms, progress=False) for s in (None, 0.05 * np.sqrt(2 / 10)))
    summary = tied.solvers[0]
    assert (summary.status == Status.CONVERGED).all(), str(tied)
    assert (summary.iterations - alone.solvers[0].iterations).max() < 10
    off, given = [], []
    for t in tied.tables.groups[0].parms:
        hand = ["gxx", "gyy"].index(t.label)
        off.append(t.values[..., 0, 0, 0].T - o.gains[:, :, hand, 0])
        given.append(t.errors[..., 0, 0, 0].T)
    found = np.stack(off, -1) + o.gains[..., 0]
    phase = (found * o.gains[..., 0].conj()).sum((1, 2), keepdims=True)
    pull = np.abs(found * phase.conj() / abs(phase) - o.gains[..., 0]) ** 2 / np.stack(given, -1) ** 2 / 2
    assert abs(pull.mean() - 1) < 0.15


def test_beside_another_class_it_is_fitted_in_turn(kit):
    """Phases that walk and amplitudes per channel: the lowest chi2 of data and walk, and the report says what errors are."""
    rng, stations, slots, chans = np.random.default_rng(4), 4, 8, 3
    phase = np.cumsum(0.1 * rng.normal(size=(slots, stations)), 0)
    size = 1 + 0.2 * rng.normal(size=(stations, chans))
    jones = (np.exp(1j * phase)[:, :, None] * size)[:, :, None]
    o = kit.observe(
        antennas=stations,
        times=(5e9, slots, 10.0),
        freqs=(1.4e9, chans, 1e6),
        noise=1.0,
        gain=lambda shape: jones.repeat(2, 2),
    )
    ms, ns, sigma = rt.MeasurementSet(o.path), rt.Scope(), 0.1 / np.sqrt(10)
    for p in ms.antennas:
        f = ns.f(p) << Meq.Parm(0.0, tags="x", solint=(1, None), smooth=sigma)
        ns.J(p) << Meq.Polar(ns.a(p) << Meq.Parm(1.0, tags="x", solint=(None, 1)), f)
    for p, q in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(p, q) << Meq.Condeq(ns.J(p) * x * Meq.Conj(ns.J(q)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    assert any("in turn, errors of each class for given others: some have smooth=" in note for note in report.notes)
    data, model = kit.getcol(o.path, "DATA")[..., 0], o.model.astype(np.complex64)[..., 0]

    def residuals(x):
        f, a = x[: phase.size].reshape(phase.shape), x[phase.size :].reshape(size.shape)
        g = a * np.exp(1j * f)[..., None]
        r = ((data - g[o.slot, o.p] * model * g[o.slot, o.q].conj()) * np.sqrt(2) / o.sigma).ravel()
        return np.concatenate([r.real, r.imag, np.diff(f, axis=0).ravel() / (sigma * np.sqrt(10))])

    best = least_squares(residuals, np.append(phase, size), xtol=1e-10, ftol=1e-12, gtol=1e-9)
    f, a = (report.tables.parm(n).values[..., 0, 0] for n in "fa")
    found = (residuals(np.append(f[:, :, 0].T, a[:, 0])) ** 2).sum()
    assert 2 * best.cost * (1 - 1e-9) <= found < 2 * best.cost + 1e-4 * o.model[..., 0].size * 2
