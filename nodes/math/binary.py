"""Functions of two children, element by element; scalars go with every element of a tensor. (MeqTrees: same names.)"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from rimetree.graph import kinds
from rimetree.graph.node import Elementwise, Law, child, option
from rimetree.graph.registry import node
from rimetree.nodes.math.real import real_only, require_real


@node
class Divide(Elementwise):
    """a / b; infinite or NaN where b is 0."""

    law = Law(proportional="a", product="b", mirror="conjugate")
    a = child(help="numerator, any unit")
    b = child(help="denominator, any unit")

    @staticmethod
    def compute(a: Any, b: Any) -> Any:
        return jnp.divide(a, b)


@node
class Pow(Elementwise):
    """a^b. A real negative a needs an integer b; a complex a gives the principal branch."""

    a = child(help="base")
    b = child(help="exponent")

    @staticmethod
    def compute(a: Any, b: Any) -> Any:
        # An integer exponent known when compiling multiplies instead of exp(b log a): exact, and right for negative a.
        if isinstance(b, (int, float)) and float(b).is_integer() and abs(b) < 64:
            return jnp.asarray(a) ** int(b) if b >= 0 else jnp.divide(1, jnp.asarray(a) ** int(-b))
        return jnp.power(jnp.asarray(a) * 1.0, b)


@node
class FMod(Elementwise):
    """The remainder of a / b with the sign of a, as C's fmod: FMod(-7.5, 2) = -1.5."""

    real = True
    a = child(help="real, any unit")
    b = child(help="real divisor, in the unit of a")
    compute = staticmethod(real_only(jnp.fmod))


@node
class Mod(Elementwise):
    """FMod under its other name, and what `a % b` between nodes means: the sign is that of a (C), not of b (Python)."""

    real = True
    a = child(help="real, any unit")
    b = child(help="real divisor, in the unit of a")
    compute = staticmethod(real_only(jnp.fmod))


@node
class Atan2(Elementwise):
    """The angle in rad, -pi to pi, of the point (x, y): the arctangent of y / x in the right quadrant."""

    real = True
    y = child(help="real, any unit")
    x = child(help="real, in the unit of y")
    compute = staticmethod(real_only(jnp.arctan2))


@node
class Polar(Elementwise):
    """amplitude * e^(i phase)."""

    law = Law(proportional="amplitude", like=("Exp", 1j))
    amplitude = child(help="any unit")
    phase = child(unit="rad", help="real phase")

    @staticmethod
    def compute(amplitude: Any, phase: Any) -> Any:
        return amplitude * jnp.exp(1j * phase)


@node
class Unwrap(Elementwise):
    """x plus the multiple of `period` that brings it nearest to `near`: an angle on the branch of another one.

    x itself where `near` is not finite. The derivative is that of x alone: where the branch changes, it jumps.
    """

    real = True
    smooth = False
    x = child(help="real, any unit")
    near = child(help="what it is to be near, in the unit of x")
    period = option(2 * math.pi, type=kinds.real(above=0), help="positive, in the unit of x")

    @staticmethod
    def compute(x: Any, near: Any, period: float) -> Any:
        require_real(x, near)
        turns = jax.lax.stop_gradient(jnp.round((near - x) / period))
        return x + period * jnp.where(jnp.isfinite(turns), turns, 0.0)
