"""The equation of condition."""

from __future__ import annotations

from operator import sub

from rimetree.graph.node import Ring, child
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import elementwise
from rimetree.ring import Tensor


@node
class Condeq(Ring):
    """The equation model = data; a Solver makes |data - model|^2 small. Its value is data - model: Condeq(5, 3) = -2.

    Element by element; a scalar stands for a tensor of equal elements. The sides may be swapped: only the sign of the
    value changes. Spigots among the children bring their flags and weights. (MeqTrees: Condeq, with the same sign.)
    """

    role = "equation"
    model = child(help="what depends on parameters, usually")
    data = child(help="what it should equal, in the same unit")

    @staticmethod
    def ring(model: Tensor, data: Tensor) -> Tensor:
        return elementwise("equated", sub, data, model)
