"""The equation of condition."""

from __future__ import annotations

from collections.abc import Callable
from operator import sub
from typing import Any

import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, elementwise
from rimetree.ring import Tensor

PARTS = {"amplitude": "Abs", "phase": "Arg"}


@node
class Condeq(Ring):
    """The equation model = data; a Solver makes |data - model|^2 small. Its value is data - model: Condeq(5, 3) = -2.

    Element by element; a scalar stands for a tensor of equal elements. The sides may be swapped: only the sign of the
    value changes. Spigots among the children bring their flags and weights; where a cell is flagged there is no equation.
    (MeqTrees: Condeq, with the same sign.)

    `on="amplitude"` equates |model| with |data|, `on="phase"` their phases; what is left is real. Phases differ by -pi to pi; with
    `modulo` the sides, which must be real, by at most half of that. Where a model is 0 it has no phase, and nothing is learnt. The
    noise of an amplitude is that of one part of the datum (above some 3 sigma); that of a phase too, if `weight` is |data|^2.

    `weight` multiplies the weights of the data; where it is 0, less or NaN the equation does not count. The value then is
    sqrt(weight) (data - model). These are short for nodes between the children and the equation: Abs, Arg, Unwrap, Sqrt.
    """

    role = "equation"
    model = child(help="what depends on parameters, usually")
    data = child(help="what it should equal, in the same unit")
    weight = child(help="what the weights of the data are multiplied by; real, of known values", optional=True)
    on = option("complex", choices=("complex", *PARTS), help="what of both sides is equated")
    modulo = option(
        None,
        type=kinds.real(above=0, words="positive and finite"),
        help="the period of both sides, in their unit; None: none, 2 pi for phases",
    )

    flag_mask = option(-1, type=kinds.BITS, help="bits of flags that leave an equation out; -1: all")

    @classmethod
    def expanded(
        cls, children: dict[str, Any], options: dict[str, Any], make: Callable[..., Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        on, period = options.get("on", "complex"), options.get("modulo")
        model, data, weight = (children.get(name) for name in ("model", "data", "weight"))
        legal = on in ("complex", *PARTS) and (period is None or (type(period) in (int, float) and 0 < period < np.inf))
        if not legal or model is None or data is None:
            return children, options
        if on in PARTS:
            model, data = make(PARTS[on], model), make(PARTS[on], data)
        if on == "phase" or period is not None:
            model = make("Unwrap", model, data, period=float(period or 2 * np.pi))
        if weight is not None:
            root = make("Sqrt", make("ZeroFlagger", weight, oper="LE"))
            model, data = make("Multiply", root, model), make("Multiply", root, data)
        return {"model": model, "data": data}, {k: v for k, v in options.items() if k not in ("on", "modulo")}

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {}), (((2, 2), (2, 2)), {}), (((2, 2), ()), {})]

    @staticmethod
    def ring(model: Tensor, data: Tensor, **options: Any) -> Tensor:
        return elementwise("equated", sub, data, model)
