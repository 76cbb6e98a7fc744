"""The spectrum of a source."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Function, Law, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import Element, Plane, Tensor


@node
class PowerLaw(Function):
    """flux (nu / freq0)^(index + c1 L + c2 L^2 + ...), a scalar over frequency, for PointSource.

    L is ln(nu / freq0), or with `log="log10"`, as in BBS and WSClean files, log10(nu / freq0). (MeqTrees: Meow's spi and
    freq0, with ln.)
    """

    coordinates = ("freq",)
    real = True
    law = Law(proportional="flux")
    flux = child(unit="Jy", help="flux density at freq0")
    index = child(help="spectral index")
    freq0 = child(unit="Hz", help="reference frequency")
    curvature = child(help="c1, c2, ...", many=True, least=0)
    log = option("ln", choices=("ln", "log10"), help="logarithm in the exponent")

    @staticmethod
    def compute(freq: Any, flux: Tensor, index: Tensor, freq0: Tensor, *curvature: Tensor, log: str = "ln") -> Tensor:
        s, alpha, nu0 = (_scalar(n, t) for n, t in (("flux", flux), ("index", index), ("freq0", freq0)))
        ratio = jnp.divide(freq, nu0.array if isinstance(nu0, Plane) else nu0)
        scale = jnp.log(ratio) if log == "ln" else jnp.log10(ratio)
        exponent: Element = _polynomial([alpha, *(_scalar("curvature", c) for c in curvature)], Plane(scale))
        power = exponent.array if isinstance(exponent, Plane) else exponent
        return Tensor.scalar(s * Plane(jnp.power(ratio, power)))

    @staticmethod
    def example() -> Examples:
        return [(((), (), ()), {}), (((), (), (), (), ()), {}), (((), (), (), ()), {"log": "log10"})]


@node
class PolynomialSpectrum(Function):
    """flux + c1 x + c2 x^2 + ..., x = nu / freq0 - 1, a scalar over frequency: WSClean's ordinary polynomial.

    Reference: the WSClean manual, component list format, LogarithmicSI false.
    """

    coordinates = ("freq",)
    real = True
    flux = child(unit="Jy", help="flux density at freq0")
    freq0 = child(unit="Hz", help="reference frequency")
    slopes = child(help="c1, c2, ...", unit="Jy", many=True)

    @staticmethod
    def compute(freq: Any, flux: Tensor, freq0: Tensor, *slopes: Tensor) -> Tensor:
        nu0 = _scalar("freq0", freq0)
        x = Plane(jnp.divide(freq, nu0.array if isinstance(nu0, Plane) else nu0) - 1)
        return Tensor.scalar(_polynomial([_scalar("flux", flux), *(_scalar("slopes", c) for c in slopes)], x))


def _scalar(name: str, tensor: Tensor) -> Element:
    return expect(name, tensor, ()).elements[0]


def _polynomial(coefficients: list[Element], x: Plane) -> Element:
    """By Horner's rule."""
    total: Element = 0
    for c in reversed(coefficients):
        total = total * x + c
    return total
