"""Equations taken apart before they are solved have the values and derivatives that they had."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq
from rimetree.plan.program import Program
from rimetree.plan.rewrite import Rewritten, rewritten
from rimetree.plan.subset import subset
from rimetree.plan.template import open_template
from rimetree.plan.xla import jax

SOLINT = {"s": (1, None), "c": (None, 1), "a": (None, None)}
CELLS = rt.Cells(time=(0, 3, 3), freq=(1, 2, 4))


def leaf(kind: str, place: int) -> Any:
    """A Parm per slot, per channel or for all; a number; or what varies with frequency and is known."""
    if kind == "f":
        return Meq.Freq()
    if kind == "n":
        return 0.3 + place
    return Meq.Parm(0.4 + 0.13 * place, solint=SOLINT[kind], tags="fit")


LEAVES = st.builds(leaf, st.sampled_from("sscaafn"), st.integers(0, 2))
UNARY = {
    "exp": Meq.Exp,
    "cos": Meq.Cos,
    "sin": Meq.Sin,
    "inv": Meq.Invert,
    "abs": Meq.Abs,
    "turn": lambda x: Meq.Exp(1j * x),
}
BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "polar": lambda a, b: Meq.Polar(a, Meq.Real(b)),
    "power": lambda a, b: Meq.PowerLaw(Meq.Real(a), Meq.Real(b), 2.0),
    "delay": lambda a, b: Meq.Delay(Meq.Real(a) * 0.1 - Meq.Real(b), Meq.Real(b)),
}  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.builds(lambda name, x: UNARY[name](x), st.sampled_from(sorted(UNARY)), below),
        st.builds(lambda name, a, b: BINARY[name](a, b), st.sampled_from(sorted(BINARY)), below, below),
    ),
    max_leaves=7,
)


def pushed(forest: rt.Forest, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Value of a node, and its derivative along a random direction of the Parms."""
    family, member = forest.find(name)
    sub = subset(forest.families, {family: np.array([member])})
    parms = [n for n, f in sub.families.items() if f.cls.role == "parm"]
    program = Program(sub.families, [family], {n: open_template(()) for n in parms})
    by_name = {}
    for n in parms:
        for value, parm in zip(sub.families[n].members["value"], sub.families[n].members["name"], strict=True):
            by_name[str(parm)] = float(value)
    rng = np.random.default_rng(seed)
    towards = {parm: rng.normal() for parm in sorted(by_name)}
    coordinates = OrderedDict(CELLS.coordinates())

    def value(values: dict[int, Any]) -> Any:
        inputs = program.inputs(coordinates)
        return program._trace({**inputs, "values": {**inputs["values"], **{n: (v,) for n, v in values.items()}}})

    def planes(of: dict[str, float]) -> dict[int, Any]:
        return {n: np.array([of[str(p)] for p in sub.families[n].members["name"]]).reshape(-1, 1, 1) for n in parms}

    found, slope = jax.jvp(value, (planes(by_name),), (planes(towards),)) if parms else (value({}), value({}))
    return np.asarray(found[family][0]), np.asarray(slope[family][0])


@settings(max_examples=25, deadline=None)
@given(TREES, st.integers(0, 9))
def test_values_and_derivatives_stay(tree: Any, seed: int) -> None:
    ns = rt.Scope()
    (
        ns.model
        << Meq.Polar(Meq.Parm(1.0, solint=(1, None), tags="fit"), Meq.Parm(1.0, solint=(None, 1), tags="fit")) * tree
    )
    ns.eq << Meq.Condeq(ns.model, 1)
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    forest = ns.forest()
    other = rewritten(forest)
    assert isinstance(other, Rewritten)
    assert other.names.keys() == forest.names.keys()
    for one, two in zip(pushed(forest, "model", seed), pushed(other, "model", seed), strict=True):
        good = np.isfinite(one)
        np.testing.assert_array_equal(good, np.isfinite(two))
        one, two = np.broadcast_arrays(one, two)
        np.testing.assert_allclose(two[np.isfinite(one)], one[np.isfinite(one)], rtol=1e-9, atol=1e-12)
