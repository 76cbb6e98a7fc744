"""Primary beams with a formula."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from rimetree.graph import kinds
from rimetree.graph.node import Function, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.arrays import Vector, lifted
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import Plane, Tensor


@node
class WSRTCos3Beam(Function):
    """cos^3(scale nu r), nu in GHz, r = sqrt(l^2 + m^2): the voltage beam of a WSRT dish, a real scalar over frequency.

    The argument goes up to `clip` rad, and stays there farther out. The usual scale is 68 at 1.4 GHz and 65 at 0.3 GHz; for
    a pointing error take l and m minus the offset. Reference: Popping & Braun 2008, A&A 479, 903. (MeqTrees: WSRTCos3Beam,
    whose children are scale, lm.)
    """

    coordinates = ("freq",)
    real = True
    lm = child(dims=(2,), help="direction cosines from the pointing centre")
    scale = child(help="scale in 1/GHz", default=68.0)
    clip = option(
        math.pi / 2, type=kinds.real(most=math.pi / 2, above=0), help="largest argument of the cosine", unit="rad"
    )

    @staticmethod
    def compute(freq: Any, lm: Tensor, scale: Tensor, clip: float = math.pi / 2) -> Tensor:
        def formula(freq: Vector, lm: Vector, scale: Vector) -> Vector:
            square = jnp.asarray(lm[0] ** 2 + lm[1] ** 2)
            safe = jnp.where(square > 0, square, 1.0)  # the slope of a root at 0 is infinite, but that of cos there 0
            r = jnp.where(square > 0, jnp.sqrt(safe), 0.0)
            return [jnp.cos(jnp.minimum(scale[0] * 1e-9 * freq[0] * r, clip)) ** 3]

        return lifted((), formula, Tensor.scalar(Plane(freq)), expect("lm", lm, (2,)), expect("scale", scale, ()))

    @staticmethod
    def example() -> Examples:
        return [(((2,), ()), {}), (((2,), ()), {"clip": 0.5})]
