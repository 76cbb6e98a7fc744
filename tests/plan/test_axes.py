"""Axes of the grid: any number of them, collapsed where nothing varies, taken together by reductions."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.plan.program import Program

CELLS = rt.Cells(time=(0, 4, 4), freq=(10, 16, 3), l=(-1, 1, 5), m=[0.5, 0.25])
T, F, L, M = np.ix_([0.5, 1.5, 2.5, 3.5], [11.0, 13.0, 15.0], [-0.8, -0.4, 0.0, 0.4, 0.8], [0.5, 0.25])


def value(definition, cells=CELLS):
    """Evaluated and interpreted, which must agree."""
    ns = rt.Scope()
    ns.root << definition
    forest = ns.forest()
    compiled, oracle = forest.evaluate("root", cells), forest.evaluate("root", cells, oracle=True)
    assert compiled.dims == oracle.dims
    np.testing.assert_allclose(np.broadcast_to(compiled.values, oracle.values.shape), oracle.values, rtol=1e-13)
    return compiled


def test_a_named_axis_varies_along_itself_only():
    result = value(Meq.Grid("l") * 2)
    assert result.values.shape == (1, 1, 5, 1)
    np.testing.assert_allclose(result.values, 2 * L)


def test_axes_combine():
    result = value(Meq.Exp(Meq.Grid("l") * Meq.Grid("m")) * Meq.Time() + Meq.Freq())
    np.testing.assert_allclose(result.values, np.exp(L * M) * T + F)
    planes = value(Meq.Composer(Meq.Grid("l"), Meq.Grid(axis="m"), Meq.Grid("time"))).planes
    assert [p.shape for p in planes] == [(1, 1, 5, 1), (1, 1, 1, 2), (4, 1, 1, 1)]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (None, (T * F * (L + 2) * M).sum(keepdims=True)),
        ("l", (T * F * (L + 2) * M).sum(2, keepdims=True)),
        (("m", "time"), (T * F * (L + 2) * M).sum((0, 3), keepdims=True)),
    ],
)
def test_sums_over_any_axes(axes, expected):
    product = Meq.Time() * Meq.Freq() * (Meq.Grid("l") + 2) * Meq.Grid("m")
    np.testing.assert_allclose(value(Meq.Sum(product, axes=axes)).values, expected)


def test_collapsed_cells_count():
    """A value that does not vary along an axis is there once per cell."""
    assert value(Meq.Sum(3.0)).values.item() == 3 * 4 * 3 * 5 * 2
    np.testing.assert_allclose(value(Meq.Sum(Meq.Time(), axes=("time", "l"))).values.item(), 8 * 5)
    np.testing.assert_allclose(value(Meq.Product(Meq.Grid("m"), axes=("m", "freq"))).values.item(), (0.5 * 0.25) ** 3)
    assert value(Meq.NElements(Meq.Time(), axes="l")).values.item() == 5


def test_places_of_extremes():
    """Along every axis that is asked for, in that order; the first cell where nothing varies."""
    hill = -Meq.Sqr(Meq.Grid("l") - 0.3) - Meq.Sqr(Meq.Time() - 2.6)
    result = value(Meq.MaxLocation(hill, axes=("l", "time", "freq")))
    assert result.dims == (3,)
    np.testing.assert_allclose(result.values.ravel(), [0.4, 2.5, 11.0])
    ridge = value(Meq.MinLocation(Meq.Abs(Meq.Grid("l") * 5 - Meq.Time()), axes="l"))
    np.testing.assert_allclose(ridge.values[0, :, 0, 0, 0], [0.0, 0.4, 0.4, 0.8])  # 1.5 / 5 is nearest to 0.4


def test_constants_on_a_grid():
    bandpass = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(
        value(Meq.Constant(bandpass, axes="freq") * Meq.Time()).values, T * bandpass[:, None, None]
    )
    table = np.arange(20.0).reshape(5, 4)
    result = value(Meq.Constant(table, axes=("l", "time")))
    np.testing.assert_allclose(result.values[:, 0, :, 0], table.T)
    matrix = np.arange(12.0).reshape(2, 2, 3)
    product = value(Meq.MatrixMultiply(Meq.Constant(matrix, axes=["freq"]), Meq.Constant([[0, 1], [1, 0]])))
    np.testing.assert_allclose(product.values[:, :, 0, :, 0, 0], matrix[:, ::-1])


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (lambda: Meq.Grid("ll"), "needs the axis 'll', which the cells do not have (did you mean 'l'?)"),
        (lambda: Meq.Mean(Meq.Time(), axes="frequency"), "needs the axis 'frequency'"),
        (lambda: Meq.GaussNoise(seed=1, axes="z"), "needs the axis 'z'"),
        (lambda: Meq.Constant([1.0, 2.0], axes="freq"), "has 2 values along 'freq', where the cells are 3"),
        (lambda: Meq.Constant([1.0, 2.0], axes="x"), "has values along 'x', an axis that the cells do not have"),
        (lambda: Meq.Mean(Meq.Time(), 1.0, axes="freq"), "axes are for one child"),
    ],
)
def test_axes_that_are_not_there(definition, message):
    ns = rt.Scope()
    ns.root << definition()
    for oracle in (False, True):
        with pytest.raises(rt.ForestError, match=re.escape(message)) as caught:
            ns.forest().evaluate("root", CELLS, oracle=oracle)
        assert re.search(r"root .*test_axes\.py:\d+", str(caught.value))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((0, 4, 0), "expected (start, stop, number of cells)"),
        ((4, 0, np.int64(4)), "expected (start, stop, number of cells)"),
        ([1.0, np.nan], "finite"),
        ([1.0, 3.0, 2.0], "in one direction"),
        ([1.0, 1.0], "in one direction"),
        ("fine", "expected (start, stop, number)"),
        ([[1.0, 2.0]], "expected (start, stop, number)"),
    ],
)
def test_wrong_axes(spec, message):
    with pytest.raises(rt.ConfigError, match=re.escape(message)):
        rt.Cells(l=spec)


def test_the_number_of_cells_may_be_numpys():
    assert rt.Cells(time=(0, 4, np.int64(4))).shape == (4, 1)


def sines(jaxpr):
    """Numbers evaluated by each sin of a jaxpr, those of inner ones too."""
    found = [int(np.prod(e.outvars[0].aval.shape)) for e in jaxpr.eqns if e.primitive.name == "sin"]
    inner = (p.jaxpr for e in jaxpr.eqns for p in e.params.values() if hasattr(p, "jaxpr"))
    return found + [n for one in inner for n in sines(getattr(one, "jaxpr", one))]


def test_work_is_done_on_the_smallest_axes():
    """sin(t) + sin(f) are M + N sines and one sum of M x N, and explain says so."""
    ns = rt.Scope()
    ns.root << Meq.Sin(Meq.Time()) + Meq.Sin(Meq.Freq())
    forest = ns.forest()
    cells = rt.Cells(time=(0, 1, 1000), freq=(0, 1, 300))
    program = Program(dict(enumerate(forest.families)), [forest.find("root")[0]])
    jaxpr = jax.make_jaxpr(program._trace)(program.inputs(cells.coordinates())).jaxpr
    assert sorted(sines(jaxpr)) == [300, 1000]
    text = forest.explain("root", data=cells)
    assert "301,300 cell evaluations (900,000 on the whole grid)" in text


def test_explain_knows_named_axes():
    ns = rt.Scope()
    ns.root << Meq.Sum(Meq.Grid("l") * Meq.Time() * Meq.Constant([1.0, 2, 3], axes="freq"), axes="l")
    forest = ns.forest()
    assert re.search(r"Sum .* time freq", forest.explain("root"))
    assert re.search(r"Grid .* l .*40 B", forest.explain("root", data=CELLS))


def test_a_node_on_a_grid_of_the_same_shape_compiles_once(monkeypatch):
    traced = []
    trace = Program._trace
    monkeypatch.setattr(Program, "_trace", lambda self, inputs: traced.append(1) or trace(self, inputs))
    ns = rt.Scope()
    ns.p << Meq.Parm(2.0)
    ns.root << Meq.Sin(Meq.Time()) * ns.p
    forest = ns.forest()
    for start in (0.0, 1.0):
        result = forest.evaluate("root", rt.Cells(time=(start, start + 3, 3)))
        np.testing.assert_allclose(result.values[:, 0], 2 * np.sin(start + np.arange(3) + 0.5))
    assert len(traced) == 1
