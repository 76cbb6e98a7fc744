"""The elementary functions: one table, one class each, applied element by element.

As in numpy, a real child gives a real value (NaN outside the domain); give a complex child for the complex branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rimetree.graph.node import Elementwise, Law, child
from rimetree.graph.registry import node
from rimetree.nodes.math.real import phase, real_only


class Row(NamedTuple):
    """One elementary function; `real` ones take no complex child."""

    name: str
    function: Callable[[Any], Any]
    formula: str
    unit: str = ""
    real: bool = False
    law: Law | None = None


TABLE = (
    Row("Exp", jnp.exp, "e^x", law=Law(sums=("x",), of_parts=(("Exp", "Exp", 1),), mirror="conjugate")),
    Row("Log", jnp.log, "ln x, the natural logarithm"),
    Row("Sqrt", jnp.sqrt, "The square root of x"),
    Row(
        "Invert",
        lambda x: jnp.divide(1, x),
        "1 / x (of a matrix: MatrixInvert22)",
        law=Law(product="x", mirror="conjugate"),
    ),
    Row("Abs", jnp.abs, "|x|", law=Law(product="x")),
    Row("Arg", phase, "The phase of x in rad, -pi to pi; 0, with derivative 0, where x is 0"),
    Row("Real", jnp.real, "The real part of x"),
    Row("Imag", jnp.imag, "The imaginary part of x"),
    Row("Sin", jnp.sin, "sin x", "rad", law=Law(sums=("x",), of_parts=(("Sin", "Cos", 1), ("Cos", "Sin", 1)))),
    Row("Cos", jnp.cos, "cos x", "rad", law=Law(sums=("x",), of_parts=(("Cos", "Cos", 1), ("Sin", "Sin", -1)))),
    Row("Tan", jnp.tan, "tan x", "rad"),
    Row("Asin", jnp.arcsin, "arcsin x, in rad"),
    Row("Acos", jnp.arccos, "arccos x, in rad"),
    Row("Atan", jnp.arctan, "arctan x, in rad"),
    Row("Sinh", jnp.sinh, "sinh x"),
    Row("Cosh", jnp.cosh, "cosh x"),
    Row("Tanh", jnp.tanh, "tanh x"),
    Row("Ceil", jnp.ceil, "The smallest integer >= x", real=True),
    Row("Floor", jnp.floor, "The largest integer <= x", real=True),
)


def _define(row: Row) -> type[Elementwise]:
    body = {
        "__doc__": f"{row.formula}; element by element. MeqTrees: {row.name}.",
        "__module__": __name__,
        "real": row.real,
        "law": row.law,
        "x": child(unit=row.unit, help="real scalar or tensor" if row.real else "real or complex scalar or tensor"),
        "compute": staticmethod(real_only(row.function) if row.real else row.function),
    }
    return node(type(row.name, (Elementwise,), body))


CLASSES = {row.name: _define(row) for row in TABLE}
"""The classes of the table by name."""
