"""Fits without sums and without a normal matrix, against numpy's least squares, the truth, and the fits with a matrix."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.sparse import csc_array

import rimetree as rt
from rimetree import Meq
from rimetree.batch import matrix_free, with_matrix
from rimetree.solve.joint import coupled_errors
from rimetree.solve.joint.banded import Banded
from rimetree.solve.joint.coupled import Coupled
from rimetree.solve.joint.coupled_fit import fit
from rimetree.solve.joint.matrix_free import MatrixFree, Summed

LIGHT = 299792458.0


@pytest.fixture(autouse=True)
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """No normal matrix, however small."""
    monkeypatch.setattr(with_matrix, "SMALL", 0)


def sky(count: int) -> SimpleNamespace:
    """Directions (l, m, n) and fluxes of sources."""
    rng = np.random.default_rng(3)
    l, m = rng.uniform(-0.02, 0.02, (2, count))
    return SimpleNamespace(l=l, m=m, n=np.sqrt(1 - l**2 - m**2), flux=rng.uniform(0.5, 2, count), count=count)


def phases(path: Any, kit: Any, made: SimpleNamespace) -> np.ndarray:
    """The visibility (row, channel, source) of 1 Jy of each source."""
    u, v, w = kit.getcol(path, "UVW").T[..., None]
    delay = (u * made.l + v * made.m + w * (made.n - 1)) / LIGHT
    return np.exp(-2j * np.pi * rt.MeasurementSet(path).groups[0].freq[:, None] * delay[:, None])


def fluxes(ms: rt.MeasurementSet, made: SimpleNamespace, bounds: Any = None, **solver: Any) -> rt.Scope:
    """One unknown flux per source."""
    first, second = np.array(ms.baselines).T
    p, q, s = first[:, None], second[:, None], np.arange(made.count)
    ns = rt.Scope()
    ns.I.over(s) << Meq.Parm(1.0, tags="flux", **({"bounds": bounds} if bounds else {}))
    ns.lmn.over(s) << Meq.Composer(Meq.Constant(made.l), Meq.Constant(made.m), Meq.Constant(made.n))
    ns.uvw.over(first, second) << Meq.Spigot(first, second, "UVW")
    ns.term.over(p, q, s) << Meq.PhaseDelay(ns.lmn.at(s), ns.uvw.at(p, q)) * Meq.PointSource(ns.I.at(s), 0, 0, 0)
    ns.eq.over(first, second) << Meq.Condeq(Meq.Add(ns.term.at(p, q, s)), Meq.Spigot(first, second))
    ns.solve << Meq.Solver(*ns.eq, solvable="flux", **{"algorithm": "gn-cg", **solver})
    return ns


@pytest.fixture
def field(kit: Any, tmp_path: Any) -> SimpleNamespace:
    """30 sources with noise, flags, uneven weights, NaN among the data; and what least squares say of it."""
    path = tmp_path / "field.ms"
    rt.simulate(path, antennas=7, times=(5e9, 20, 300.0), freqs=(1.4e9, 3, 3e7), noise=0.1, seed=1)
    made, rng = sky(30), np.random.default_rng(4)
    turn = phases(path, kit, made)
    data = kit.getcol(path, "DATA") + (turn @ made.flux)[..., None] * np.array([1, 0, 0, 1])
    flags = rng.random(data.shape) < 0.1
    weights = (100 * rng.uniform(0.5, 2, data.shape)).astype(np.float32)
    data[5, 1, 0] = np.nan
    kit.putcol(path, DATA=data, FLAG=flags, WEIGHT_SPECTRUM=weights)
    good = ~flags[..., [0, 3]] & np.isfinite(data[..., [0, 3]])
    root = np.sqrt(2 * weights[..., [0, 3]])[good]
    J = np.repeat(turn[..., None, :], 2, 2)[good] * root[:, None]
    y = data[..., [0, 3]][good].astype(complex) * root
    J, y = np.concatenate([J.real, J.imag]), np.concatenate([y.real, y.imag])
    best, (chi2,), *_ = np.linalg.lstsq(J, y)
    error = np.sqrt(np.diag(np.linalg.inv(J.T @ J)))
    return SimpleNamespace(path=path, sky=made, J=J, y=y, best=best, chi2=chi2, count=len(y), error=error)


def table(report: rt.Report, label: str) -> Any:
    return next(t for t in report.tables.groups[0].parms if t.label == label)


@pytest.mark.parametrize("backend", ["numba", "jax"])
def test_a_linear_problem_is_that_of_numpy(field, backend):
    ms = rt.MeasurementSet(field.path)
    report = fluxes(ms, field.sky, backend=backend).forest().run(ms, progress=False)
    assert report.converged
    assert report.dropped == 1
    found = table(report, "I")
    np.testing.assert_allclose(found.values.ravel(), field.best, atol=0.01 * field.error.min())
    np.testing.assert_allclose(found.errors.ravel(), field.error, rtol=0.25)
    assert abs(np.log(found.errors.ravel() / field.error).mean()) < 0.08
    np.testing.assert_allclose(report.solvers[0].chi2, field.chi2, rtol=1e-6)
    assert report.solvers[0].dof.item() == field.count - field.sky.count
    assert any("without a matrix" in note for note in report.notes)


def test_little_memory_chooses_it_and_tiles_change_nothing(field):
    """The sums of 30 planes take more than the data; with less memory than these, pieces are read again for every product."""
    ms = rt.MeasurementSet(field.path)
    whole = fluxes(ms, field.sky).forest().run(ms, progress=False)
    size = ms.groups[0].bytes_per_slot(["DATA"])
    forest = fluxes(ms, field.sky, algorithm="auto").forest()
    with pytest.raises(rt.ConfigError, match="is too little"):
        fluxes(ms, field.sky, algorithm="lm").forest().run(ms, progress=False, memory=40 * size)
    tiled = forest.run(ms, progress=False, memory=40 * size)
    assert "tiles of up to" in tiled.plan
    assert tiled.converged
    np.testing.assert_allclose(table(tiled, "I").values, table(whole, "I").values, atol=1e-3 * field.error.min())
    np.testing.assert_allclose(tiled.solvers[0].chi2, whole.solvers[0].chi2, rtol=1e-9)


def gains(ms: rt.MeasurementSet, solint: Any, parm: Any = MappingProxyType({}), **solver: Any) -> rt.Scope:
    """A gain per antenna and feed."""
    ns = rt.Scope()
    for p in ms.antennas:
        for g in (ns.gx, ns.gy):
            g(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint, **parm)
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", **solver)
    return ns


@pytest.mark.parametrize("solint", [None, (2, 2)], ids=str)
def test_gains_are_those_of_the_matrix(kit, solint):
    """From a cold start with phases all around, every interval, the minimum that Levenberg-Marquardt finds."""
    o = kit.observe(
        antennas=6, gain=lambda shape: np.exp(2j * np.pi * np.random.default_rng(2).random((1, *shape[1:3], 1)))
    )
    ms = rt.MeasurementSet(o.path)
    matrix, free = (gains(ms, solint, algorithm=a).forest().run(ms, progress=False) for a in ("lm", "gn-cg"))
    assert free.converged
    np.testing.assert_allclose(free.solvers[0].chi2, matrix.solvers[0].chi2, rtol=1e-6)
    for label in ("gx", "gy"):
        a, b = (np.stack([t.values for t in r.tables.groups[0].parms if t.label == label]) for r in (matrix, free))
        np.testing.assert_allclose(abs(a), abs(b), atol=1e-4)


def test_a_node_that_is_not_finite_in_some_iteration_is_named(kit):
    """Steps that go to the logarithm of a negative number are not taken, and the node is named."""
    o = kit.observe(antennas=5)
    data = kit.getcol(o.path, "MODEL_DATA").copy()
    data[o.slot < 3] *= -0.5
    kit.putcol(o.path, DATA=data)
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    ns.x << Meq.Parm(5.0, tags="x", solint=(3, None))
    ns.log << Meq.Log(ns.x)
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq((ns.log + 1) * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="x", algorithm="gn-cg")
    report = ns.forest().run(ms, progress=False)
    found = table(report, "x").values.ravel()
    np.testing.assert_allclose(found, [np.exp(-1.5), 1], rtol=1e-3)
    assert any("log (Log)" in note and "NaN or infinite" in note for note in report.notes)


def products(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The problem of each product that is taken from now on."""
    taken: list[type] = []
    for kind in (MatrixFree, Coupled):

        def product(problem: Any, points: Any, x: np.ndarray, made: Any = kind.product) -> np.ndarray:
            taken.append(type(problem))
            return made(problem, points, x)

        monkeypatch.setattr(kind, "product", product)
    return taken


def delays(ms: rt.MeasurementSet, **solver: Any) -> rt.Scope:
    """A delay for every antenna and 3 slots: channels cannot be summed, slots can."""
    ns = rt.Scope()
    for p in ms.antennas:
        ns.tau(p) << Meq.Parm(0.0, tags="tau", solint=(3, None))
        ns.K(p) << Meq.Exp(2j * np.pi * 1e-9 * ns.tau(p) * (Meq.Freq() - 1.4e9))
    for p, q in ms.baselines:
        model = ns.K(p) * Meq.Spigot(p, q, column="MODEL_DATA") * Meq.Conj(ns.K(q))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="tau", **solver)
    return ns


@pytest.mark.parametrize(
    "make", [delays, lambda ms, **s: splines(ms, 6, True, **s), lambda ms, **s: splines(ms, 6, False, **s)]
)
def test_sums_over_cells_are_the_data_themselves(kit, monkeypatch, make):
    """From the same start, products with sums and products with all data lead to one minimum, errors included; what is constant along
    an axis is summed along it, be it a spline or a delay, and products do not know how many channels there were."""
    o = kit.observe(antennas=6, times=(5e9, 12, 10.0), freqs=(1.4e9, 8, 1e6))
    ms = rt.MeasurementSet(o.path)
    taken = products(monkeypatch)
    runs = {}
    for backend, kind in (("numba", Summed), ("jax", MatrixFree)):
        taken.clear()
        runs[kind] = make(ms, algorithm="gn-cg", backend=backend).forest().run(ms, progress=False)
        assert runs[kind].converged
        assert taken
        assert set(taken) == {kind}
    for name in ("chi2", "dof"):
        one, other = (sum(getattr(s, name).sum() for s in r.solvers) for r in runs.values())
        np.testing.assert_allclose(one, other, rtol=1e-3)  # along a valley, passes over data give up sooner


def drift(shape: tuple[int, ...]) -> np.ndarray:
    """Gains (slot, antenna, feed, channel) whose amplitudes and phases are sines of time."""
    t, rng = np.linspace(0, 1, shape[0])[:, None, None, None], np.random.default_rng(7)
    rate, start = rng.uniform(-0.3, 0.3, (1, *shape[1:3], 1)), rng.uniform(-0.3, 0.3, (1, *shape[1:3], 1))
    return (1 + 0.2 * np.sin(7 * t + 9 * start)) * np.exp(1j * (start + rate * np.sin(5 * t)))


def splines(ms: rt.MeasurementSet, count: int, polar: bool, **solver: Any) -> rt.Scope:
    """DATA = G MODEL_DATA G^H with splines of `count` coefficients for complex gains, or (polar) for their amplitudes and phases."""
    ns, shape = rt.Scope(), rt.funklets.Spline(time=count - 3)
    for p in ms.antennas:
        for h in "xy":
            if polar:
                ns["a" + h](p) << Meq.Parm(1.0, tags="gain", funklet=shape)
                ns["f" + h](p) << Meq.Parm(0.0, tags="gain", funklet=shape)
                ns["g" + h](p) << ns["a" + h](p) * Meq.Exp(1j * ns["f" + h](p))
            else:
                ns["g" + h](p) << Meq.Parm(1.0 + 0j, tags="gain", funklet=shape)
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        ns.model(p, q) << Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(ns.model(p, q), Meq.Spigot(p, q))
        ns.out(p, q) << Meq.Sink(ns.model(p, q), column="PREDICTED")
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", **{"algorithm": "gn-cg", **solver})
    return ns


@pytest.mark.parametrize(
    ("antennas", "count", "polar"),
    [(10, 40, True), (8, 25, False), *(pytest.param(20, 125, p, marks=pytest.mark.slow) for p in (True, False))],
)
def test_splines_meet_the_noise_and_the_truth(kit, antennas, count, polar):
    """Up to 10,000 unknowns in one interval: chi2 per degree of freedom is 1 within its scatter, and what is predicted is as far from
    the truth as that many unknowns with noise must be: chi2 of the difference is their number (less those that are not determined)."""
    o = kit.observe(antennas=antennas, times=(5e9, 2 * count, 10.0), freqs=(1.4e9, 1, 1e6), gain=drift)
    report = splines(rt.MeasurementSet(o.path), count, polar).forest().run(rt.MeasurementSet(o.path), progress=False)
    unknowns = 4 * antennas * count
    assert sum(s.unknowns for s in report.solvers) == unknowns
    assert report.converged
    chi2, dof = (sum(getattr(s, name).sum() for s in report.solvers) for name in ("chi2", "dof"))
    assert abs(chi2 / dof - 1) < 0.01 + 4 * np.sqrt(2 / dof)
    truth = np.empty_like(o.model)
    for k, (i, j) in enumerate(map(kit.element, o.corrs)):
        truth[..., k] = o.gains[o.slot, o.p, i] * o.model[..., k] * o.gains[o.slot, o.q, j].conj()
    distance = 2 * (abs(kit.getcol(o.path, "PREDICTED") - truth) ** 2).sum() / o.sigma**2
    assert 0.85 * unknowns < distance < unknowns + 5 * np.sqrt(2 * unknowns)


def dense(made: Banded) -> np.ndarray:
    """The whole matrix."""
    count, width = made.own.shape[:2]
    ordered = np.zeros((count * width, count * width))
    for i in range(count):
        own = slice(i * width, (i + 1) * width)
        ordered[own, own] = np.tril(made.own[i]) + np.tril(made.own[i], -1).T
        if i + 1 < count:
            later = slice((i + 1) * width, (i + 2) * width)
            ordered[later, own], ordered[own, later] = made.below[i], made.below[i].T
    order = made.layout.order
    result = np.zeros((len(order), len(order)))
    result[np.ix_(order, order)] = ordered[: len(order), : len(order)]
    return result


def test_errors_of_splines_are_those_of_the_dense_matrix(kit, monkeypatch):
    """Of complex splines whose common phase is free and hardly curved otherwise: the pseudo-inverse of the whole normal matrix, made column
    by column, in a metric of its diagonal; few products lead there; with a reference antenna its first coefficient has no phase."""
    kept = {}

    def fitted(problem: Any, x: np.ndarray, settings: Any) -> Any:
        kept["problem"], kept["found"] = problem, fit(problem, x, settings)
        return kept["found"]

    monkeypatch.setattr(matrix_free, "fit", fitted)
    o = kit.observe(antennas=6, times=(5e9, 24, 10.0), freqs=(1.4e9, 4, 1e6), gain=drift)
    ms = rt.MeasurementSet(o.path)
    report = splines(ms, 12, False).forest().run(ms, progress=False)
    problem, found = kept["problem"], kept["found"]
    assert report.converged
    assert found.products < 60
    assert any("factor of a banded normal matrix" in note for note in report.notes)
    H = np.array([problem.product(found.points, e) for e in np.eye(problem.count)])
    unit = 1 / np.sqrt(found.blocks.diagonal(problem.count))
    w, v = np.linalg.eigh(unit[:, None] * H * unit)
    free = w < 1e-9
    assert 1 <= free.sum() <= 2
    variance = unit**2 * ((v[:, ~free] ** 2) @ (1 / w[~free]))
    made = problem.matrix(found.points)
    np.testing.assert_allclose(dense(made), H, atol=1e-12 * abs(H).max())
    np.testing.assert_allclose(made.variance(csc_array((problem.count, 0))), variance, rtol=0.05)
    r = np.random.default_rng(0).standard_normal(problem.count)
    ridge = found.blocks.diagonal(problem.count)
    np.testing.assert_allclose(made.factor(ridge).solve(r), np.linalg.solve(H + np.diag(ridge), r), rtol=1e-8)
    referred = splines(ms, 12, False).forest().run(ms, progress=False, ref_antenna=ms.antennas[1])
    gains = referred.tables.parm("gx")
    assert abs(np.angle(gains.values[gains.names.index(f"gx:{ms.antennas[1]}")].ravel()[0])) < 1e-9
    assert referred.converged


@pytest.mark.parametrize("way", ["banded", pytest.param("probes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("reference", [False, True])
def test_errors_are_what_noise_does(kit, monkeypatch, way, reference):
    """40 times the same observation with other noise: what is found differs from the truth (amplitudes 1, phases 0) by the errors that are
    said, be they from the factor of the normal matrix or from probes; phases, by those relative to a reference antenna."""
    monkeypatch.setattr(coupled_errors, "EXACT", 0)
    if way == "probes":
        monkeypatch.setattr(Summed, "matrix", lambda self, points: None)
    o = kit.observe(antennas=5, times=(5e9, 12, 10.0), freqs=(1.4e9, 2, 1e6), gain=np.ones)
    ms, rng, pulls = rt.MeasurementSet(o.path), np.random.default_rng(5), []
    forest = splines(ms, 6, True).forest()
    for _ in range(40):
        noise = rng.normal(0, o.sigma / np.sqrt(2), (*o.model.shape, 2)) @ [1, 1j]
        kit.putcol(o.path, DATA=(o.model + noise).astype(np.complex64))
        report = forest.run(ms, progress=False, ref_antenna=ms.antennas[0] if reference else None)
        assert report.converged
        assert any(way in note for note in report.notes)
        for label, truth in {"ax": 1.0, "ay": 1.0, **({"fx": 0.0, "fy": 0.0} if reference else {})}.items():
            found = table(report, label)
            free = found.errors > 0
            pulls.append(((found.values - truth)[free] / found.errors[free]).ravel())
    every = np.concatenate(pulls)
    assert len(every) == 40 * (
        2 * 30 + reference * (2 * 30 - 6)
    )  # all phases have a spline in common: one reference is zero
    width = every.std()
    assert 0.94 < width < 1.06


@pytest.mark.parametrize(("polar", "words", "free"), [
    (True, "common value of all fx and all fy (of each of 9 coefficients)", 9),
    (False, "common phase of all gx and all gy", 1),
])  # fmt: skip
def test_what_all_splines_share_is_named(kit, polar, words, free):
    """Baselines know differences of phases only: a function that all phases share is free, coefficient by coefficient, and of complex
    gains a phase; beside an antenna whose phases are zero, too. The fit with a matrix says the same, where it finds its way."""
    o = kit.observe(antennas=5, times=(5e9, 18, 10.0), freqs=(1.4e9, 2, 1e6), gain=drift)
    ms = rt.MeasurementSet(o.path)
    referred = {"ref_antenna": ms.antennas[1]}
    for option, run in (({}, {}), ({}, referred), *[({"algorithm": "lm"}, {})] * polar):
        report = splines(ms, 9, polar, **option).forest().run(ms, progress=False, **run)
        assert report.converged
        (solver,) = report.solvers
        assert solver.gauges[solver.gauge.item()] == words
        assert solver.rank.item() == 4 * 5 * 9 - free
        assert solver.dof.item() == 2 * 4 * 10 * 18 * 2 - solver.rank.item()


def test_bounds_are_those_of_scipy(field):
    """Fluxes between 0.8 and 1.5 Jy, at which half of them end."""
    ms = rt.MeasurementSet(field.path)
    report = fluxes(ms, field.sky, bounds=(0.8, 1.5)).forest().run(ms, progress=False)
    assert report.converged
    best = lsq_linear(field.J, field.y, (0.8, 1.5), tol=1e-12)
    np.testing.assert_allclose(table(report, "I").values.ravel(), best.x, atol=0.01 * field.error.min())
    np.testing.assert_allclose(report.solvers[0].chi2, 2 * best.cost, rtol=1e-6)


MEASURED = """
import sys
import numpy as np
import rimetree as rt
from test_matrix_free import fluxes, sky
ms, made = rt.MeasurementSet(sys.argv[1]), sky(600)
report = fluxes(ms, made, algorithm="auto").forest().run(ms, progress=False, memory=1e8)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss: that of parents too
print(report.converged, report.solvers[0].chi2_per_dof(), peak / 1e6)
"""


@pytest.mark.slow
def test_fluxes_by_the_hundred_stay_within_memory(kit, tmp_path):
    """600 sources in 100 MB, beside 0.5 GB of Python and JAX: their sums would take 601^2 numbers for each of 56 equations."""
    path = tmp_path / "many.ms"
    rt.simulate(path, antennas=8, times=(5e9, 40, 300.0), freqs=(1.4e9, 2, 3e7), noise=0.1, seed=1)
    made = sky(600)
    turn = phases(path, kit, made)
    kit.putcol(path, DATA=kit.getcol(path, "DATA") + (turn @ made.flux)[..., None] * np.array([1, 0, 0, 1]))
    found = subprocess.run(
        [sys.executable, "-P", "-c", MEASURED, str(path)],
        capture_output=True, text=True, timeout=300, check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    ).stdout.split()  # fmt: skip
    assert found[0] == "True"
    assert abs(float(found[1]) - 1) < 0.05
    assert float(found[2]) < 1.0
