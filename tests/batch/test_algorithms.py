"""The algorithms and backends of a Solver in a run: the same gains from the same data, and what is refused."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.errors import SolveError
from rimetree.solve.single import outside


def solve(ms, model, **options):
    """`model(ns, p)` is the gain of antenna p; scalar gains, correlations XX and YY alike."""
    ns = rt.Scope()
    for p in ms.antennas:
        g = model(ns, p)
        ns.G(p) << Meq.Matrix22(g, 0, 0, g)
    for p, q in ms.baselines:
        there = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(there, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", **options)
    return ns.forest().run(ms, progress=False)


MODELS = {
    "complex": lambda ns, p: ns.g(p) << Meq.Parm(1 + 0j, tags="gain", solint=3),
    "phase": lambda ns, p: Meq.Exp(1j * (ns.phase(p) << Meq.Parm(0.1, tags="gain", solint=3))),
}


OTHERS = [{"algorithm": "scipy"}, {"algorithm": "newton"}, {"backend": "jax"}]
OTHERS += [{"algorithm": "ceres"}] if find_spec("pyceres") else []  # not a package that rimetree asks for


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("options", OTHERS, ids=lambda o: next(iter(o.values())))
def test_others_agree_with_the_default(kit, model, options):
    o = kit.observe(spread=0.2)
    ms = rt.MeasurementSet(o.path)
    ours, theirs = (solve(ms, MODELS[model], **given) for given in ({"tol": 1e-10}, options))
    assert ours.converged and theirs.converged
    a, b = ours.solvers[0], theirs.solvers[0]
    np.testing.assert_allclose(b.chi2, a.chi2, rtol=1e-7)
    np.testing.assert_array_equal(b.rank, a.rank)
    np.testing.assert_array_equal(b.dof, a.dof)
    one, two = (r.tables.groups[0].parms[0].values[..., 0, 0] for r in (ours, theirs))
    if model == "phase":
        one, two = np.exp(1j * one), np.exp(1j * two)
    pairs = [np.einsum("atf,btf->abtf", g, g.conj()) for g in (one, two)]
    np.testing.assert_allclose(pairs[1], pairs[0], atol=1e-4)


@pytest.mark.parametrize("solint", [(2, None), (1, 1), (4, 3)], ids=["time", "single data", "uneven"])
def test_jax_gives_the_same_report(kit, solint):
    """Flags, NaN and several tiles: statuses, iterations, chi2 and errors are those of the kernels, and so are the gains."""
    o = kit.observe(times=(5e9, 7, 10.0), spread=0.2)
    data, flag = kit.getcol(o.path, "DATA"), np.random.default_rng(1).random(o.model.shape) < 0.1
    data[5, 1], flag[5, 1] = np.nan, False
    flag[(o.slot == 2) & (o.q == 3)] = True
    kit.putcol(o.path, DATA=data, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    made = []
    for backend in ("numba", "jax"):
        ns = kit.diagonal(ms, solint, sink=False)
        ns.solve2 << Meq.Solver(*ns.eq, solvable="gain", backend=backend)
        made.append(ns.forest(ns.solve2).run(ms, progress=False, memory=3e5))
    ours, theirs = made
    assert ours.dropped == theirs.dropped == 4
    for a, b in zip(ours.solvers, theirs.solvers, strict=True):
        for name in ("status", "iterations", "rank", "dof"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        np.testing.assert_allclose(b.chi2, a.chi2, rtol=1e-9)
        np.testing.assert_allclose(b.chi2_start, a.chi2_start, rtol=1e-9)
    for a, b in zip(ours.tables.groups[0].parms, theirs.tables.groups[0].parms, strict=True):
        np.testing.assert_allclose(b.values, a.values, atol=1e-6)
        np.testing.assert_allclose(b.errors, a.errors, rtol=1e-5)


def test_jax_fits_several_intervals_in_turn(kit):
    o = kit.observe(spread=0.2)
    ms = rt.MeasurementSet(o.path)
    chi2 = []
    for options in ({"algorithm": "lm"}, {"backend": "jax"}):
        ns = rt.Scope()
        for p in ms.antennas:
            g = (ns.g(p) << Meq.Parm(1 + 0j, tags="gain", solint=2)) * (
                ns.b(p) << Meq.Parm(1 + 0j, tags="gain", solint=(None, 1))
            )
            ns.G(p) << Meq.Matrix22(g, 0, 0, g)
        for p, q in ms.baselines:
            there = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(there, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain", **options)
        report = ns.forest().run(ms, progress=False)
        chi2.append([s.chi2.sum() for s in report.solvers])
    np.testing.assert_allclose(*chi2, rtol=1e-6)


def test_jax_ties_no_neighbours(kit):
    o = kit.observe()
    smooth = lambda ns, p: ns.g(p) << Meq.Parm(1 + 0j, tags="gain", solint=1, smooth="0.1/60s")  # noqa: E731
    with pytest.raises(
        SolveError, match=r"^solve: backend='jax' ties no solutions to their neighbours.*; use 'numba'$"
    ):
        solve(rt.MeasurementSet(o.path), smooth, backend="jax")


def test_jax_weighs_outliers_down_alike(kit):
    o = kit.observe(spread=0.2)
    data = kit.getcol(o.path, "DATA")
    data[::17] += 30
    kit.putcol(o.path, DATA=data)
    ms = rt.MeasurementSet(o.path)
    one, two = (
        solve(ms, MODELS["complex"], robust="student-t", tol=1e-9, backend=backend) for backend in ("numba", "jax")
    )
    np.testing.assert_allclose(two.solvers[0].chi2, one.solvers[0].chi2, rtol=1e-4)
    np.testing.assert_allclose(two.tables.parm("g").values, one.tables.parm("g").values, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"backend": "gpu"},
            "^solve: backend='gpu' finds no GPU .*; use 'jax' or 'numba', or install JAX for your GPU$",
        ),
        (
            {"backend": "jax", "algorithm": "newton"},
            "^solve: backend='jax' has no algorithm='newton'; use 'lm', or backend='numba'$",
        ),
    ],
    ids=["gpu", "newton"],
)
def test_what_a_backend_cannot_do_is_refused(kit, monkeypatch, options, words):
    import jax

    def devices(kind=None):
        raise RuntimeError(f"Unknown backend {kind}")

    o = kit.observe()
    if options["backend"] == "gpu":
        monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(SolveError, match=words):
        solve(rt.MeasurementSet(o.path), MODELS["complex"], **options)


def test_a_package_that_is_missing_is_named(kit, monkeypatch):
    o = kit.observe()
    monkeypatch.setattr(outside, "find_spec", lambda name: None)
    with pytest.raises(SolveError, match="solve: algorithm='ceres' needs the package pyceres.*pip install pyceres"):
        solve(rt.MeasurementSet(o.path), MODELS["complex"], algorithm="ceres")


@pytest.mark.parametrize(("algorithm", "words"), [("scipy", "bounds of amplitudes"), ("ceres", "crawls along bounds")])
def test_what_an_algorithm_cannot_do_is_refused(kit, monkeypatch, algorithm, words):
    monkeypatch.setattr(outside, "find_spec", lambda name: True)  # the package is not needed to refuse
    o = kit.observe()
    bounded = lambda ns, p: ns.g(p) << Meq.Parm(1 + 0j, tags="gain", bounds=(0.5, 2))  # noqa: E731
    with pytest.raises(SolveError, match=words):
        solve(rt.MeasurementSet(o.path), bounded, algorithm=algorithm)


def test_an_unknown_algorithm_is_a_fault_of_the_forest():
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0)
    ns.eq << Meq.Condeq(ns.a, 3.0)
    ns.solve << Meq.Solver(ns.eq, solvable="a", algorithm="newtn")
    with pytest.raises(rt.ForestError, match="did you mean 'newton'"):
        ns.forest()
