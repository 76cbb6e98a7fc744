"""Node classes whose function fails: one line that names the node, its script line and the line of the function."""

from __future__ import annotations

import re

import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.graph import registry
from rimetree.graph.definition import Maker
from rimetree.graph.node import Elementwise, Function, Ring, child
from rimetree.ring import Tensor

pytestmark = pytest.mark.usefixtures("own_registry")


def raises(error):
    def function(*args):
        raise error

    return function


@pytest.mark.parametrize(
    ("base", "function", "message"),
    [
        (
            Elementwise,
            raises(ZeroDivisionError("no")),
            r"its function raised ZeroDivisionError: no \(.*test_faults\.py:\d+\)",
        ),
        (Elementwise, raises(ValueError()), r"its function raised ValueError: "),
        (Elementwise, lambda x: {}["gain"], r"KeyError: 'gain' \(.*test_faults\.py:\d+\)"),
        (Ring, lambda x: x.no_such, r"AttributeError.*no_such"),
        (Function, lambda x: 3.0, r"returned float, not a Tensor"),
        (Function, lambda x: Tensor((2,), x.elements), r"returned 1 elements for dims \(2,\)"),
    ],
)
def test_functions_that_fail(base, function, message):
    name = "ring" if base is Ring else "compute"
    body = {"__module__": __name__, "x": child(help="x"), name: staticmethod(function)}
    maker = Maker(registry.node(type("Broken", (base,), body)))
    ns = rt.Scope()
    ns.root << maker(Meq.Time())
    forest = ns.forest()
    for oracle in (False, True):
        with pytest.raises(rt.ForestError, match=message) as caught:
            forest.evaluate("root", rt.Cells(time=(0, 1, 2)), oracle=oracle)
        assert re.search(r"root \(Broken\) \(.*test_faults\.py:\d+\)", str(caught.value))
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(rt.ForestError, match=message):
        forest.explain("root")


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (lambda: Meq.WSum(1.0, 2.0, weights=[1.0]), "1 weights do not go with 2 children"),
        (lambda: Meq.WMean(Meq.Time(), 2.0, weights=[1.0, -1.0]), "the weights add up to 0"),
        (lambda: Meq.Determinant(Meq.Constant([[1, 2, 3]])), "must be a square matrix or a scalar, not a (1,3) tensor"),
        (lambda: Meq.MatrixInvert(Meq.Constant([[1, 2, 3], [2, 4, 6], [0, 0, 1]])), "singular"),
        (lambda: Meq.Trace(Meq.Constant([1, 2])), "must be a square matrix"),
        (lambda: Meq.Paster(Meq.Constant([1, 2]), 3.0, index=2), "index=2 is not in a (2,) tensor"),
        (lambda: Meq.Paster(Meq.Constant([[1, 2], [3, 4]]), Meq.Constant([1, 2, 3]), index=[0, -1]), "b must be"),
        (lambda: Meq.DataCollect(1.0, 2.0, labels=["one"]), "1 labels do not go with 2 children"),
        (lambda: Meq.Max(Meq.Time() * 1j), "must be real, not complex"),
        (lambda: Meq.Bessel(Meq.Time(), 21), "order must be a whole number from -20 to 20"),
        (lambda: Meq.Sum(Meq.Time(), axis="time"), "did you mean 'axes'"),
        (lambda: Meq.Sum(Meq.Time(), Meq.Freq(), Meq.Freq(), Meq.Freq()), "Sum takes 1 child (x)"),
        (lambda: Meq.Grid(""), "axis must be the name of an axis"),
        (lambda: Meq.Constant([1.0], axes=("time", "freq")), "fewer than axes"),
    ],
)
def test_classes_that_refuse(definition, message):
    ns = rt.Scope()
    ns.root << definition()
    with pytest.raises(rt.ForestError, match=re.escape(message)) as caught:
        ns.forest().evaluate("root", rt.Cells(time=(0, 1, 2)))
    assert re.search(r"root .*test_faults\.py:\d+", str(caught.value))
