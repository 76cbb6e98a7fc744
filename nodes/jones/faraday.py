"""Faraday rotation."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Function, child, option
from rimetree.graph.registry import node
from rimetree.nodes.jones.phase_delay import LIGHT
from rimetree.nodes.tensor.shapes import expect
from rimetree.ring import Plane, Tensor


@node
class FaradayRotation(Function):
    """The Jones matrix that turns the plane of polarisation by rm lambda^2, north through east: (2,2) over frequency.

    linear feeds: [[cos, -sin], [sin, cos]]; circular feeds: diag(e^i, e^-i). F B F^H turns Q + iU by 2 rm lambda^2: for a
    source, or for the ionosphere above a station. Reference: Smirnov 2011, A&A 527, A106, section 6.
    """

    coordinates = ("freq",)
    real = True
    rm = child(help="rotation measure, rad/m^2")
    basis = option("linear", choices=("linear", "circular"), help="feeds of the telescope")

    @staticmethod
    def compute(freq: Any, rm: Tensor, basis: str = "linear") -> Tensor:
        (measure,) = expect("rm", rm, ()).elements
        angle = (measure.array if isinstance(measure, Plane) else measure) * (LIGHT / freq) ** 2
        if basis == "circular":
            turned = Plane(jnp.exp(1j * angle))
            return Tensor((2, 2), (turned, 0, 0, turned.conjugate()))
        c, s = Plane(jnp.cos(angle)), Plane(jnp.sin(angle))
        return Tensor((2, 2), (c, -s, s, c))
