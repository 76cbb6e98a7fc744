"""Random trees on other coordinates and on finer and coarser grids, against numpy that evaluates them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq

AXES = ("time", "freq", "l")
FUNCTIONS = {"Sin": np.sin, "Cos": np.cos, "Atan": np.arctan, "Tanh": np.tanh}
OF_TWO = {"Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply}

Places = Mapping[str, np.ndarray]
"""Per axis the coordinate of each cell."""


class Tree(NamedTuple):
    """A node, the same as a function of coordinates in numpy, and the axes along which it varies."""

    node: Any
    value: Callable[[Places], np.ndarray]
    axes: frozenset[str]


def leaf(draw: Any) -> Tree:
    axis = draw(st.sampled_from((*AXES, "number")))
    if axis == "number":
        number = round(draw(st.floats(-2, 2)), 2)
        return Tree(Meq.Constant(number), lambda at: np.full((1, 1, 1), number), frozenset())
    node = {"time": Meq.Time(), "freq": Meq.Freq()}.get(axis, Meq.Grid(axis))
    return Tree(node, lambda at: at[axis], frozenset({axis}))


@st.composite
def pointwise(draw: Any, depth: int = 4) -> Tree:
    """Functions of coordinates, some of which are moved."""
    kind = draw(st.sampled_from(("leaf", "function", "two", "moved", "moved") if depth else ("leaf",)))
    below = pointwise(depth=depth - 1)
    if kind == "leaf":
        return leaf(draw)
    if kind == "function":
        name, x = draw(st.sampled_from(sorted(FUNCTIONS))), draw(below)
        return Tree(getattr(Meq, name)(x.node), lambda at: FUNCTIONS[name](x.value(at)), x.axes)
    if kind == "two":
        name, x, y = draw(st.sampled_from(sorted(OF_TWO))), draw(below), draw(below)
        return Tree(
            getattr(Meq, name)(x.node, y.node), lambda at: OF_TWO[name](x.value(at), y.value(at)), x.axes | y.axes
        )
    return moved(draw, draw(below), below)


def moved(draw: Any, x: Tree, coordinates: Any, allowed: Sequence[str] = AXES) -> Tree:
    """A CoordTransform along some of the axes along which x varies; itself where there are none."""
    choices = sorted(x.axes & set(allowed))
    axes = (
        tuple(draw(st.permutations(draw(st.lists(st.sampled_from(choices), min_size=1, unique=True)))))
        if choices
        else ()
    )
    if not axes:
        return x
    coords = [draw(coordinates) for _ in axes]

    def value(at: Places) -> np.ndarray:
        return x.value({**at, **{axis: c.value(at) for axis, c in zip(axes, coords, strict=True)}})

    varies = (x.axes - set(axes)).union(*(c.axes for c in coords))
    return Tree(Meq.CoordTransform(x.node, *(c.node for c in coords), axes=axes), value, varies)


@st.composite
def on_cells(draw: Any, cells: rt.Cells, depth: int = 3) -> Tree:
    """Means over parts and blocks of cells, functions of these, and these moved along l."""
    kind = draw(st.sampled_from(("points", "parts", "blocks", "two", "moved") if depth else ("points",)))
    if kind == "points":
        return draw(pointwise())
    if kind == "parts":
        return parts(draw, draw(pointwise()), cells)
    x = draw(on_cells(cells, depth=depth - 1))
    if kind == "blocks":
        return blocks(draw, x, cells.shape)
    if kind == "two":
        y = draw(on_cells(cells, depth=depth - 1))
        return Tree(Meq.Sin(x.node) * y.node, lambda at: np.sin(x.value(at)) * y.value(at), x.axes | y.axes)
    return moved(draw, x, pointwise(depth=1), ("l",))


def parts(draw: Any, x: Tree, cells: rt.Cells) -> Tree:
    """ModRes: the mean over the centres of equal parts of each cell."""
    count = [draw(st.integers(1, 3)) for _ in range(2)]
    widths = cells.axes["time"].widths[:, None, None], cells.axes["freq"].widths[:, None]

    def value(at: Places) -> np.ndarray:
        total: Any = 0.0
        for i, j in np.ndindex(*count):
            shift = [(k + 0.5) / n - 0.5 for k, n in zip((i, j), count, strict=True)]
            near = {a: at[a] + s * w for a, s, w in zip(("time", "freq"), shift, widths, strict=True)}
            total = total + x.value({**at, **near})
        return total / np.prod(count)

    if not x.axes & {axis for axis, n in zip(("time", "freq"), count, strict=True) if n > 1}:
        return x
    return Tree(Meq.ModRes(x.node, time=count[0], freq=count[1]), value, x.axes)


def blocks(draw: Any, x: Tree, shape: tuple[int, ...]) -> Tree:
    """Resampler: each cell the mean of its block, or what lies between the means of neighbouring ones."""
    steps, linear = [draw(st.integers(1, 3)) for _ in range(2)], draw(st.booleans())

    def value(at: Places) -> np.ndarray:
        found = np.broadcast_to(x.value(at), shape)
        for axis, step in enumerate(steps):
            starts = range(0, shape[axis], step)
            means = [found.take(range(i, min(i + step, shape[axis])), axis).mean(axis) for i in starts]
            centres = [np.mean(range(i, min(i + step, shape[axis]))) for i in starts]
            every = np.arange(shape[axis])
            if linear:
                lines = np.apply_along_axis(lambda y, c=centres, e=every: np.interp(e, c, y), 0, np.stack(means))
                found = np.moveaxis(lines, 0, axis)
            else:
                found = np.stack([means[k // step] for k in every], axis)
        return found

    return Tree(Meq.Resampler(x.node, time=steps[0], freq=steps[1], linear=linear), value, x.axes)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(2, 7), st.integers(2, 5), st.integers(1, 2))
def test_moved_and_resampled_trees(data: Any, nt: int, nf: int, nl: int) -> None:
    """Compiled and oracle are numpy's values on full grids; nothing varies along an axis that nothing depends on."""
    cells = rt.Cells(time=(0, 1.5, nt), freq=(0.5, 2, nf), l=(-1, 1, nl))
    tree = data.draw(on_cells(cells))
    ns = rt.Scope()
    ns.root << tree.node
    expected = np.broadcast_to(tree.value(cells.coordinates()), cells.shape)
    forest = ns.forest()
    for oracle in (False, True):
        result = forest.evaluate("root", cells, oracle=oracle)
        np.testing.assert_allclose(np.broadcast_to(result.values, cells.shape), expected, rtol=1e-9, atol=1e-9)
        if not oracle:
            assert all(n == 1 for n, axis in zip(result.values.shape, AXES, strict=True) if axis not in tree.axes)
