"""The loss of visibility by averaging over a channel and a time slot."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from rimetree.graph.node import Function, child
from rimetree.graph.registry import node
from rimetree.nodes.jones.phase_delay import LIGHT
from rimetree.nodes.tensor.arrays import Vector, lifted
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import Plane, Tensor


@node
class Smearing(Function):
    """sinc(width tau) sinc(interval nu dtau/dt), a real scalar over time and frequency, with sinc x = sin(pi x) / (pi x).

    tau = (u l + v m + w (n - 1)) / c; the mean of the phase of PhaseDelay over a channel and over a slot, to first order of
    its change. Exact over a channel; over a slot where the baseline turns little within it. Without `rate` = UVWRate(uvw),
    or with width or interval 0, there is no smearing in time or frequency. Reference: Smirnov 2011, A&A 527, A106,
    section 5.2. (MeqTrees: TFSmearFactor.)
    """

    coordinates = ("freq",)
    real = True
    lmn = child(dims=(3,), help="direction cosines l, m, n")
    uvw = child(unit="m", dims=(3,), help="u, v, w of the baseline")
    rate = child(unit="m", dims=(3,), help="their rates per s, such as UVWRate")
    width = child(unit="Hz", help="width of the channels", default="ChannelWidth")
    interval = child(help="length of the slots, s", default="SlotLength")

    @staticmethod
    def compute(freq: Any, lmn: Tensor, uvw: Tensor, rate: Tensor, width: Tensor, interval: Tensor) -> Tensor:
        def formula(freq: Vector, lmn: Vector, uvw: Vector, rate: Vector, width: Vector, slot: Vector) -> Vector:
            l, m, n = lmn[0], lmn[1], lmn[2] - 1
            delay, change = ((x[0] * l + x[1] * m + x[2] * n) / LIGHT for x in (uvw, rate))
            return [jnp.sinc(jnp.asarray(width[0] * delay)) * jnp.sinc(jnp.asarray(slot[0] * freq[0] * change))]

        vectors = (expect(name, t, (3,)) for name, t in (("lmn", lmn), ("uvw", uvw), ("rate", rate)))
        scalars = (expect(name, t, ()) for name, t in (("width", width), ("interval", interval)))
        return lifted((), formula, Tensor.scalar(Plane(freq)), *vectors, *scalars)

    @staticmethod
    def example() -> Examples:
        lmn, uvw = np.array([0.02, 0.01, 0.999]), np.array([1e3, 2e3, 500.0])
        return [((lmn, uvw, uvw * 7e-5, np.array(1e6), np.array(10.0)), {})]
