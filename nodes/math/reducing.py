"""Functions of all cells along some axes of the grid. (MeqTrees: same names; `axes` is its reduction_axes.)

A tensor is taken element by element. Mean, Min and Max of several children are taken over the children, cell by cell.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Over, Reducing, child
from rimetree.graph.registry import node
from rimetree.nodes.math.real import require_real, root
from rimetree.nodes.tensor.shapes import Examples

ONE = "scalar or tensor, any unit"
MANY = "one scalar or tensor, or several to be taken together cell by cell, any unit"


def total(x: Any, over: Over) -> Any:
    """The sum of the values that count."""
    return jnp.sum(x, over.axes, keepdims=True, where=over.good) * over.repeats


def count(x: Any, over: Over) -> Any:
    """How many values count."""
    if over.good is None:
        return jnp.full((1,) * x.ndim, float(math.prod(x.shape[a] for a in over.axes) * over.repeats))
    return total(jnp.where(over.good, jnp.ones(x.shape), 0.0), over)


def mean(x: Any, over: Over) -> Any:
    """The mean of the values that count; NaN where there are none."""
    return total(x, over) / count(x, over)


def power(x: Any) -> Any:
    """|x|^2."""
    return jnp.real(x * jnp.conj(x))


@node
class Sum(Reducing):
    """The sum over cells. A value that does not vary counts once per cell."""

    x = child(help=ONE)
    reduce = staticmethod(total)


@node
class Mean(Reducing):
    """The mean over cells, or of several children."""

    x = child(help=MANY, many=True)
    reduce = staticmethod(mean)

    @staticmethod
    def example() -> Examples:
        return [(((),), {}), (((2, 2),), {"axes": "freq"}), (((), (2, 2), ()), {})]


@node
class Product(Reducing):
    """The product over cells."""

    x = child(help=ONE)

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        return jnp.prod(x, over.axes, keepdims=True, where=over.good) ** over.repeats


@node
class StdDev(Reducing):
    """The standard deviation over cells: sqrt(mean |x - mean x|^2), of the population (n, not n - 1); always real."""

    x = child(help=ONE)

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        return root(mean(power(x - mean(x, over)), over))


@node
class Rms(Reducing):
    """The root mean square over cells: sqrt(mean |x|^2); always real."""

    x = child(help=ONE)

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        return root(mean(power(x), over))


@node
class NElements(Reducing):
    """How many cells there are."""

    x = child(help=ONE)
    reduce = staticmethod(count)


@node
class Min(Reducing):
    """The least value over cells, or among several children; NaN where any of these is NaN."""

    real = True
    x = child(help=f"real; {MANY}", many=True)
    example = Mean.example

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        require_real(x)
        return jnp.min(x, over.axes, keepdims=True, where=over.good, initial=None if over.good is None else jnp.inf)


@node
class Max(Reducing):
    """The greatest value over cells, or among several children; NaN where any of these is NaN."""

    real = True
    x = child(help=f"real; {MANY}", many=True)
    example = Mean.example

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        require_real(x)
        return jnp.max(x, over.axes, keepdims=True, where=over.good, initial=None if over.good is None else -jnp.inf)


def _where(x: Any, over: Over, find: Any, worst: float) -> tuple[Any, ...]:
    """The centres, along each axis taken together, of the cell that `find` (argmin or argmax) gives."""
    require_real(x)
    x = x if over.good is None else jnp.where(over.good, x, worst)
    rest = [a for a in range(-x.ndim, 0) if a not in over.axes]
    extents = [x.shape[a] for a in over.axes]
    shape = [1 if a in over.axes else x.shape[a] for a in range(-x.ndim, 0)]
    flat = jnp.transpose(x, [a % x.ndim for a in (*rest, *over.axes)]).reshape(*(x.shape[a] for a in rest), -1)
    place = dict(zip(over.axes, jnp.unravel_index(find(flat, axis=-1), extents), strict=True)) if extents else {}
    found = []
    for centres in over.centres:
        varying = [place[a] for a in over.axes if centres.shape[a] > 1]
        index = varying[0].reshape(shape) if varying else jnp.zeros(shape, int)
        found.append(jnp.asarray(centres).reshape(-1)[index])
    return tuple(found)


@node
class MinLocation(Reducing):
    """Where the least value is: the centre of its cell along each of `axes`, in SI, as a vector; the first of equal ones.

    Along an axis on which the value does not vary this is the first cell. The derivative is 0.
    """

    real = True
    locates = True
    x = child(help=f"real {ONE}")

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        return _where(x, over, jnp.argmin, jnp.inf)


@node
class MaxLocation(Reducing):
    """Where the greatest value is: as MinLocation."""

    real = True
    locates = True
    x = child(help=f"real {ONE}")

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        return _where(x, over, jnp.argmax, -jnp.inf)
