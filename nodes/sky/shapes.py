"""What the shape of an extended source does to its visibility: factors that are 1 at u = v = 0."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from rimetree.graph.node import Function, child, option
from rimetree.graph.registry import node
from rimetree.nodes.jones.phase_delay import LIGHT
from rimetree.nodes.tensor.arrays import Vector, lifted
from rimetree.nodes.tensor.shapes import Examples, dims_text, expect
from rimetree.ring import Plane, Tensor

UVW = np.array([300.0, 200.0, 100.0])
TINY = np.array(1e-3)


@node
class GaussianShape(Function):
    """Visibility of an elliptical Gaussian of flux 1 at the phase centre, a real scalar over time and frequency.

    exp(-pi^2 / (4 ln 2) ((major v')^2 + (minor u')^2)), in wavelengths u' = u cos pa - v sin pa, v' = u sin pa + v cos pa.
    `major` and `minor` are full widths at half maximum; `pa` is the position angle of the major axis, from north (m) through
    east (l). Multiply by PhaseDelay for its place. Reference: Condon 1997, PASP 109, 166. (MeqTrees: PSVTensor's shape.)
    """

    coordinates = ("freq",)
    real = True
    major = child(unit="rad", help="full width at half maximum along the major axis")
    minor = child(unit="rad", help="full width at half maximum along the minor axis")
    pa = child(unit="rad", help="position angle of the major axis, north through east")
    uvw = child(unit="m", dims=(3,), help="u, v, w of the baseline")

    @staticmethod
    def compute(freq: Any, major: Tensor, minor: Tensor, pa: Tensor, uvw: Tensor) -> Tensor:
        def formula(freq: Vector, major: Vector, minor: Vector, pa: Vector, uvw: Vector) -> Vector:
            u, v, _ = (x * (freq[0] / LIGHT) for x in uvw)
            c, s = jnp.cos(pa[0]), jnp.sin(pa[0])
            along, across = major[0] * (u * s + v * c), minor[0] * (u * c - v * s)
            return [jnp.exp(-(math.pi**2) / (4 * math.log(2)) * (along**2 + across**2))]

        scalars = (expect(name, t, ()) for name, t in (("major", major), ("minor", minor), ("pa", pa)))
        return lifted((), formula, Tensor.scalar(Plane(freq)), *scalars, expect("uvw", uvw, (3,)))

    @staticmethod
    def example() -> Examples:
        return [((TINY, TINY / 2, (), UVW), {})]


@node
class ShapeletShape(Function):
    """Visibility of a sum of shapelets at the phase centre, a complex scalar over time and frequency.

    The image is sum over j, k of c[j,k] B_j(l) B_k(m), with B_n(x) = phi_n(x / beta) / sqrt(beta) and
    phi_n(x) = H_n(x) exp(-x^2 / 2) / sqrt(2^n sqrt(pi) n!). Its transform is 2 pi (sign i)^(j+k) c[j,k] beta phi_j(2 pi beta u)
    phi_k(2 pi beta v), summed; the flux is its value at u = v = 0. Reference: Refregier 2003, MNRAS 338, 35, eq. 1 to 9.
    (MeqTrees: ShapeletVisTf.)
    """

    coordinates = ("freq",)
    real = True
    coefficients = child(help="c[j,k], a (J,K) tensor: j along l (east), k along m (north)")
    beta = child(unit="rad", help="scale")
    uvw = child(unit="m", dims=(3,), help="u, v, w of the baseline")
    sign = option(-1, choices=(-1, 1), help="sign of the exponent of the phase, as of PhaseDelay")

    @staticmethod
    def compute(freq: Any, coefficients: Tensor, beta: Tensor, uvw: Tensor, sign: int = -1) -> Tensor:
        if len(coefficients.dims) != 2:
            raise ValueError(f"coefficients must be a (J,K) tensor, not {dims_text(coefficients.dims)}")
        rows, columns = coefficients.dims

        def formula(freq: Vector, coefficients: Vector, beta: Vector, uvw: Vector) -> Vector:
            scale = 2 * math.pi * beta[0] * (freq[0] / LIGHT)
            along_l, along_m = hermite(uvw[0] * scale, rows), hermite(uvw[1] * scale, columns)
            total: Any = 0
            for j in range(rows):
                line = sum((sign * 1j) ** k * coefficients[j * columns + k] * along_m[k] for k in range(columns))
                total = total + (sign * 1j) ** j * along_l[j] * line
            return [2 * math.pi * beta[0] * total]

        tensors = coefficients, expect("beta", beta, ()), expect("uvw", uvw, (3,))
        return lifted((), formula, Tensor.scalar(Plane(freq)), *tensors)

    @staticmethod
    def example() -> Examples:
        return [(((3, 2), TINY, UVW), {}), (((1, 1), TINY, UVW), {"sign": 1})]


def hermite(x: Any, count: int) -> list[Any]:
    """phi_0 to phi_(count - 1) at x, by the recurrence of the normalised Hermite functions."""
    found = [math.pi**-0.25 * jnp.exp(-(x**2) / 2)]
    if count > 1:
        found.append(math.sqrt(2) * x * found[0])
    for n in range(2, count):
        found.append(math.sqrt(2 / n) * x * found[n - 1] - math.sqrt((n - 1) / n) * found[n - 2])
    return found
