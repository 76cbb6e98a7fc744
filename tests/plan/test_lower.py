"""Lowered equations against the same formulas in plain numpy, term by term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.plan.lower import Lowering, columns, terms_of
from rimetree.plan.shapes import shapes
from rimetree.plan.template import open_template

STATIONS, DIRECTIONS = 3, 4
PAIRS = [(p, q) for p in range(STATIONS) for q in range(p + 1, STATIONS)]


def lowered(define: Callable[[rt.Scope], None], values: dict[str, Any]) -> np.ndarray:
    """First children (elements, equations) of the Condeqs, second ones 0, of a forest whose Parms have these values
    by name."""
    ns = rt.Scope()
    define(ns)
    forest = ns.forest()
    families = dict(enumerate(forest.families))
    parms = {n for n, f in families.items() if f.cls.role == "parm"}
    sizes = {"time": 2, "freq": 3}
    templates, _ = shapes(families, {n: open_template(()) for n in parms}, frozenset(parms), sizes)
    low = Lowering(families, templates, frozenset(parms))
    (condeq,) = (n for n, f in families.items() if f.cls.role == "equation")
    known = {n: np.array([values[name] for name in families[n].members["name"]]) for n in parms}
    return -np.array([_value(low, element, known, families[condeq].size) for element in low.family(condeq).elements])


def _value(low: Lowering, element: Any, known: dict[int, np.ndarray], equations: int) -> np.ndarray:
    total = np.zeros(equations, complex)
    for term in terms_of(low, element):
        product = np.full((equations, int(np.prod(term.extent, dtype=int))), term.coef)
        for family, _, path, conj in (*term.solvable, *term.fixed):
            factor = known[family][columns(low, path, term.labels, term.extent)]
            product = product * (factor.conj() if conj else factor)
        total += product.sum(1)
    return total


@pytest.fixture
def values() -> dict[str, complex]:
    rng = np.random.default_rng(0)
    names = [f"{name}:{p}:{d}" for name in "gxs" for p in range(STATIONS) for d in range(DIRECTIONS)]
    return {name: complex(*rng.normal(size=2)) for name in names}


def test_directions_are_summed_once_for_all_factors(values: dict[str, complex]) -> None:
    def define(ns: rt.Scope) -> None:
        for p in range(STATIONS):
            for d in range(DIRECTIONS):
                ns.g(p, d) << Meq.Parm(1 + 0j)
                ns.x(p, d) << Meq.Parm(1 + 0j)
                ns.G(p, d) << Meq.Matrix22(ns.g(p, d), 0, 0, ns.x(p, d))
        for p, q in PAIRS:
            terms = [Meq.MatrixMultiply(ns.G(p, d), Meq.ConjTranspose(ns.G(q, d))) for d in range(DIRECTIONS)]
            ns.eq(p, q) << Meq.Condeq(Meq.Add(*terms), Meq.Matrix22(0, 0, 0, 0))

    result = lowered(define, values)
    for i, (p, q) in enumerate(PAIRS):
        for element, name in ((0, "g"), (3, "x")):
            expected = sum(values[f"{name}:{p}:{d}"] * np.conj(values[f"{name}:{q}:{d}"]) for d in range(DIRECTIONS))
            assert result[element, i] == pytest.approx(expected)


def test_two_sums_over_one_axis_stay_apart(values: dict[str, complex]) -> None:
    def define(ns: rt.Scope) -> None:
        for p in range(STATIONS):
            for d in range(DIRECTIONS):
                ns.g(p, d) << Meq.Parm(1 + 0j)
            ns.sum(p) << Meq.Add(*[ns.g(p, d) for d in range(DIRECTIONS)])
            ns.eq(p) << Meq.Condeq(ns.sum(p) * ns.sum(p), 0.0)

    result = lowered(define, values)
    for p in range(STATIONS):
        assert result[0, p] == pytest.approx(sum(values[f"g:{p}:{d}"] for d in range(DIRECTIONS)) ** 2)


def test_numbers_in_a_sum_count_once_per_term(values: dict[str, complex]) -> None:
    def define(ns: rt.Scope) -> None:
        for p in range(STATIONS):
            for d in range(DIRECTIONS):
                ns.g(p, d) << Meq.Parm(1 + 0j)
                ns.J(p, d) << Meq.Matrix22(1, ns.g(p, d), 0, ns.g(p, d))
            ns.eq(p) << Meq.Condeq(Meq.Add(*[ns.J(p, d) for d in range(DIRECTIONS)]), Meq.Matrix22(0, 0, 0, 0))

    result = lowered(define, values)
    for p in range(STATIONS):
        total = sum(values[f"g:{p}:{d}"] for d in range(DIRECTIONS))
        np.testing.assert_allclose(result[:, p], [DIRECTIONS, total, 0, total])
