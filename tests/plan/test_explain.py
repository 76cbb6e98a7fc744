"""What explain says is true and readable."""

from __future__ import annotations

import re

import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.trees import chain
from rimetree.trees.terms import Placed, term


@pytest.fixture
def snippet() -> rt.Scope:
    ns = rt.Scope()
    ns.a << Meq.Parm([[1, 2], [3, 4]])
    ns.root << Meq.Sin(ns.a) + Meq.Cos(Meq.Freq()) * 2
    return ns


def row(text: str, name: str) -> str:
    """The line of the family whose class is `name`."""
    return next(line for line in text.splitlines() if re.match(rf"\s*\d+\s+{name}\b", line))


def test_the_snippet_of_the_documentation(snippet):
    text = snippet.forest().explain("root")
    assert text.startswith("root: 7 nodes in 7 families; T slots, F channels")
    assert row(text, "Parm").split()[-7:] == ["time", "freq", "tile", "8", "B", "T", "F"]
    assert row(text, "Cos").split()[-5:] == ["freq", "run", "8", "B", "F"]
    assert "2" in row(text, "Constant").split()
    assert "run: computed once" in text
    assert max(map(len, text.splitlines())) <= 130


def test_cells_give_bytes(snippet):
    cells = rt.Cells(time=(0, 4, 4), freq=(0, 4, 5))
    text = snippet.forest().explain("root", data=cells)
    assert "time 4, freq 5" in text
    assert row(text, "Sin").endswith("160 B")
    assert row(text, "Cos").endswith("40 B")


def test_only_what_the_root_needs(snippet):
    snippet.other << Meq.Exp(1.5)
    forest = snippet.forest()
    assert "Exp" in forest.explain()
    assert "Exp" not in forest.explain("root")


def test_unknown_node_and_shapes_that_do_not_match(snippet):
    with pytest.raises(rt.RimetreeError, match="did you mean 'root'"):
        snippet.forest().explain("rot")
    snippet.bad << Meq.MatrixMultiply(Meq.Constant([[1, 2, 3]]), Meq.Constant([[1, 2, 3]]))
    with pytest.raises(rt.ForestError, match=r"bad .*test_explain.py"):
        snippet.forest().explain("bad")


def test_a_measurement_set_gives_shapes_and_solvers(make_ms):
    with rt.MeasurementSet(make_ms()) as ms:
        ns = rt.Scope()
        solint = {"K": ("scan", None), "G": (1, None), "B": (None, 1)}
        terms = [Placed(key, term(key), solint[key]) for key in "KGB"]
        chain.solve(ns, ms, terms, "KGB", "all", ("DATA", "MODEL_DATA"))
        text = ns.forest().explain(data=ms)
    # 6 baselines x 6 slots x 5 channels x 4 correlations x 16 bytes
    assert "11.5 kB" in row(text, "Spigot")
    assert "[c 0 | 0 c]" in row(text, "Matrix22")
    assert "Solver solve: 6 equations, 3 classes of solution intervals, fitted jointly by conjugate" in text
    delay, gain, band = re.split(r"\n  (?=[KGB]\.)", text)[1:]
    assert delay.startswith("K.delay_x, K.delay_y, K.phase_x, K.phase_y (16 real unknowns) per scan x all channels")
    assert "time: the slots of an interval are summed" in delay
    assert "freq: channels are kept apart, because " in delay
    assert gain.startswith("G.x, G.y (16 real unknowns) per slot x all channels")
    assert "freq: the channels of an interval are summed" in gain
    assert "1 term of up to 2 solvable factors, 1 fixed plane, data apart" in gain
    assert "B.x, B.y (16 real unknowns) per all slots x channel" in band


def test_polynomials_and_sums_are_named():
    ns = rt.Scope()
    ns.g << Meq.Parm([[1, 0.5]], solint=("30s", None), tags="fit")
    for source in range(3):
        ns.flux(source) << Meq.Freq() * (1.5 + source)
    ns.model << Meq.Add(*(ns.g * ns.flux(s) for s in range(3)))
    ns.eq << Meq.Condeq(ns.model, Meq.Freq())
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    text = ns.forest().explain()
    assert "g (2 real unknowns) per 30s x all channels" in text
    assert "3 terms of up to 1 solvable factor, 3 fixed planes, data apart" in text
    assert "freq: channels are kept apart, because g is a polynomial along it" in text
    assert " x3" in row(text, "Add")


def test_what_iterations_change():
    ns = rt.Scope()
    ns.g << Meq.Parm(1.0, tags="fit")
    ns.h << Meq.Parm(2.0)
    ns.eq << Meq.Condeq(Meq.Exp(ns.g) * Meq.Sin(ns.h), 3)
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    text = ns.forest().explain()
    assert "iteration" in row(text, "Exp")
    assert "iteration" not in row(text, "Sin")
