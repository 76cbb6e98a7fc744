"""The inverse of a matrix, on elements: a diagonal costs what a diagonal costs. (MeqTrees: same.)"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from rimetree.graph.node import Function, child
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import NUMBERS, Element, Plane, Tensor


@node
class MatrixInvert22(Function):
    """The inverse of a 2x2 matrix, [[d, -b], [-c, a]] / (a d - b c), or of a scalar.

    Elements that are 0 when compiling stay 0: a diagonal matrix costs two divisions. Infinite or NaN where the matrix
    is singular; a matrix of constants that is singular is refused.
    """

    matrix = child(help="2x2 matrix or scalar, any unit")

    @staticmethod
    def compute(matrix: Tensor) -> Tensor:
        if not expect("the child of MatrixInvert22", matrix, (), (2, 2)).dims:
            return matrix.map(lambda e: _ratio(1, e))
        a, b, c, d = matrix.elements
        if _zero(b) and _zero(c):
            return Tensor((2, 2), (_ratio(1, a), 0, 0, _ratio(1, d)))
        determinant = a * d - b * c
        return Tensor((2, 2), tuple(_ratio(e, determinant) for e in (d, -b, -c, a)))

    @staticmethod
    def example() -> Examples:
        return [((np.array([[2.0, 0.3], [0.4, 1.5]]),), {}), (((),), {})]


def _zero(element: Element) -> bool:
    return isinstance(element, NUMBERS) and element == 0


def _ratio(above: Element, below: Element) -> Element:
    if _zero(below):
        raise ValueError("a matrix of constants is singular: it has no inverse")
    if isinstance(below, NUMBERS):
        return above * (1 / below)
    if _zero(above):
        return 0
    return Plane(jnp.divide(above.array if isinstance(above, Plane) else above, below.array))
