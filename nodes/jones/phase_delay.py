"""The phase of a plane wave from one direction at one station or on one baseline."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Function, Law, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import expect
from rimetree.ring import NUMBERS, Plane, Tensor

LIGHT = 299792458.0
"""The speed of light, m/s."""


@node
class PhaseDelay(Function):
    """exp(sign 2 pi i nu/c (u l + v m + w (n - 1))), a scalar over time and frequency.

    `lmn` are direction cosines with n itself (the phase centre is 0, 0, 1); the 1 is subtracted here. `uvw` belong to a
    station (then V_pq = K_p B K_q^H and uvw_pq = uvw_p - uvw_q) or to a baseline. `sign` depends on who wrote the UVW
    column; MeqTrees' PSVTensor has +1. Reference: Smirnov 2011, A&A 527, A106. (MeqTrees: VisPhaseShift.)
    """

    coordinates = ("freq",)
    real = True
    law = Law(sums=("uvw",), of_parts=(("PhaseDelay", "PhaseDelay", 1),), mirror="negative")
    lmn = child(dims=(3,), help="direction cosines l, m, n")
    uvw = child(dims=(3,), unit="m", help="u, v, w")
    sign = option(-1, choices=(-1, 1), help="sign of the exponent")

    @staticmethod
    def compute(freq: Any, lmn: Tensor, uvw: Tensor, sign: int = -1) -> Tensor:
        l, m, n = expect("lmn", lmn, (3,)).elements
        u, v, w = expect("uvw", uvw, (3,)).elements
        path = u * l + v * m + w * (n - 1)
        if isinstance(path, NUMBERS):
            if path == 0:
                return Tensor.scalar(1)
            path = Plane(jnp.full((1,) * freq.ndim, path))
        return Tensor.scalar(Plane(jnp.exp((sign * 2j * math.pi / LIGHT) * freq * path.array)))
