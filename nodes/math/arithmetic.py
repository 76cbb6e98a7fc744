"""Sums, products and what else is made of + - * and conjugation; the solver sees through it. (MeqTrees: same names.)"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add, mul, sub
from typing import Any

from rimetree.graph import kinds
from rimetree.graph.node import Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, elementwise
from rimetree.ring import Tensor


@node
class Add(Ring):
    """a + b + ..., element by element; scalars are added to every element of a tensor."""

    commutative = True
    reduction = "add"
    terms = child(help="scalars and tensors of equal dims, any unit", many=True)

    @staticmethod
    def ring(*terms: Tensor) -> Tensor:
        return reduce(lambda a, b: elementwise("added", add, a, b), terms)

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {}), (((2, 2), (), (2, 2)), {})]


@node
class Multiply(Ring):
    """a * b * ..., element by element (the matrix product is MatrixMultiply); scalars multiply every element."""

    commutative = True
    reduction = "multiply"
    factors = child(help="scalars and tensors of equal dims, any unit", many=True)

    @staticmethod
    def ring(*factors: Tensor) -> Tensor:
        return reduce(lambda a, b: elementwise("multiplied", mul, a, b), factors)

    example = Add.example


def _weighted(terms: Sequence[Tensor], weights: Sequence[Any]) -> Tensor:
    """The sum of weight * term."""
    if len(weights) != len(terms):
        raise ValueError(f"{len(weights)} weights do not go with {len(terms)} children: give one weight for each")
    products = [t.map(lambda e, w=w: e * w) for t, w in zip(terms, weights, strict=True)]
    return reduce(lambda a, b: elementwise("added", add, a, b), products)


class Weighted(Ring):
    """What the weighted sums share."""

    terms = child(help="scalars and tensors of equal dims, any unit", many=True)
    weights = option(type=kinds.items(complex, 1), required=True, help="one number, real or complex, for each child")

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {"weights": (2.0, -0.5)}), (((2, 2), (), (2, 2)), {"weights": (1.0, 0.0, 3.0)})]


@node
class WSum(Weighted):
    """w1 a + w2 b + ..., element by element."""

    @staticmethod
    def ring(*terms: Tensor, weights: Sequence[Any]) -> Tensor:
        return _weighted(terms, weights)


@node
class WMean(Weighted):
    """(w1 a + w2 b + ...) / (w1 + w2 + ...), element by element."""

    @staticmethod
    def ring(*terms: Tensor, weights: Sequence[Any]) -> Tensor:
        if sum(weights) == 0:
            raise ValueError("the weights add up to 0: there is no mean")
        return _weighted(terms, [w / sum(weights) for w in weights])


@node
class Subtract(Ring):
    """a - b, element by element."""

    a = child(help="scalar or tensor, any unit")
    b = child(help="what is subtracted, in the unit of a")

    @staticmethod
    def ring(a: Tensor, b: Tensor) -> Tensor:
        return elementwise("subtracted", sub, a, b)


@node
class Negate(Ring):
    """-x, element by element."""

    x = child(help="scalar or tensor, any unit")

    @staticmethod
    def ring(x: Tensor) -> Tensor:
        return x.map(lambda e: -e)


@node
class Identity(Ring):
    """x itself, under another name."""

    x = child(help="scalar or tensor, any unit")

    @staticmethod
    def ring(x: Tensor) -> Tensor:
        return x


@node
class Conj(Ring):
    """The complex conjugate, element by element (no transpose: that is ConjTranspose)."""

    x = child(help="scalar or tensor, any unit")

    @staticmethod
    def ring(x: Tensor) -> Tensor:
        return x.map(lambda e: e.conjugate())


@node
class ToComplex(Ring):
    """re + i im, element by element. Where im is the number 0, the value stays real."""

    re = child(help="real part, any unit")
    im = child(help="imaginary part, in the unit of re")

    @staticmethod
    def ring(re: Tensor, im: Tensor) -> Tensor:
        return elementwise("made complex", lambda a, b: a + 1j * b, re, im)


def _power(name: str, exponent: int, formula: str) -> type[Ring]:
    def ring(x: Tensor) -> Tensor:
        return x.map(lambda e: reduce(mul, [e] * exponent))

    body = {"__doc__": f"{formula}, element by element.", "__module__": __name__, "ring": staticmethod(ring)}
    return node(type(name, (Ring,), {**body, "x": child(help="scalar or tensor, any unit")}))


Sqr = _power("Sqr", 2, "x^2 (not |x|^2)")
POWERS = {n: _power(f"Pow{n}", n, f"x^{n}") for n in range(2, 9)}
"""Pow2 ... Pow8 by exponent."""
