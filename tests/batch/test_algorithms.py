"""The algorithms and backends of a Solver in a run: the same gains from the same data, and what is refused."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.errors import SolveError
from rimetree.solve import outside


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
