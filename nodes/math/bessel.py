"""Bessel functions of the first kind."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Elementwise, child, option
from rimetree.graph.registry import node
from rimetree.nodes.math.real import require_real

HIGHEST = 20
"""Highest order; the limit between the two formulas grows with its square."""

TERMS = 20
"""Terms of Hankel's series: enough for 1e-15 beyond the limit."""


@node
class Bessel(Elementwise):
    """J_n(x), the Bessel function of the first kind of whole order n, -20 to 20, to 3e-15.

    Up to |x| = 25 + n^2/2 Bessel's integral, 2/pi int_0^(pi/2) of sin(n t) sin(x sin t) dt for odd n, cos cos for even
    n, by midpoints, which converge exponentially; beyond, Hankel's asymptotic series. Reference: Abramowitz and Stegun
    9.1.21 and 9.2.5. (MeqTrees: Bessel.)
    """

    real = True
    x = child(help="real scalar or tensor")
    order = option(0, type=kinds.whole(-HIGHEST, HIGHEST), help="order n")

    @staticmethod
    def compute(x: Any, order: int = 0) -> Any:
        require_real(x)
        n = abs(order)
        limit = 25 + n * n / 2
        near = jnp.abs(x) < limit
        value = jnp.where(near, _integral(n, jnp.where(near, x, 0.0)), _series(n, jnp.where(near, limit, jnp.abs(x))))
        odd = jnp.where(near, 1.0, jnp.sign(x)) if n % 2 else 1.0  # J_n(-x) = (-1)^n J_n(x), which the integral has
        return value * odd * (-1 if order < 0 and n % 2 else 1)


def _integral(n: int, x: Any) -> Any:
    points = math.ceil((25 + n * n / 2) / 4 + n / 2) + 16
    angles = (np.arange(points) + 0.5) * (np.pi / 2 / points)
    wave = (np.sin, jnp.sin) if n % 2 else (np.cos, jnp.cos)
    return sum(float(wave[0](n * t)) * wave[1](x * float(np.sin(t))) for t in angles) / points


def _series(n: int, x: Any) -> Any:
    terms = [1.0]
    for k in range(1, TERMS):
        terms.append(terms[-1] * (4 * n * n - (2 * k - 1) ** 2) / (8 * k))
    even, odd = (sum((-1) ** (k // 2) * terms[k] / x**k for k in range(first, TERMS, 2)) for first in (0, 1))
    angle = x - (n / 2 + 0.25) * math.pi
    return jnp.sqrt(2 / (math.pi * x)) * (jnp.cos(angle) * even - jnp.sin(angle) * odd)
