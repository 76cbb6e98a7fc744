"""The phase of a signal path that is too long."""

from __future__ import annotations

import cmath
import math
from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Function, Law, child
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import NUMBERS, Plane, Tensor


@node
class Delay(Function):
    """exp(-2 pi i nu delay + i phase), a scalar: a signal that arrives late by `delay`, with an optional phase.

    Between two stations the phase is that of the difference of their delays: V_pq = K_p X conj(K_q).
    """

    coordinates = ("freq",)
    real = True
    law = Law(sums=("delay", "phase"), of_parts=(("Delay", "Delay", 1),), mirror="negative")
    delay = child(unit="s", help="delay; positive is late")
    phase = child(unit="rad", help="phase at frequency 0; left out: 0", many=True, least=0)

    @staticmethod
    def compute(freq: Any, delay: Tensor, *phase: Tensor) -> Tensor:
        if len(phase) > 1:
            raise ValueError(f"Delay takes a delay and at most one phase, got {1 + len(phase)} children")
        angle = expect("delay", delay, ()).elements[0] * (-2 * math.pi) * Plane(freq)
        if phase:
            angle = expect("phase", phase[0], ()).elements[0] + angle
        if isinstance(angle, NUMBERS):
            return Tensor.scalar(cmath.exp(1j * angle) if angle else 1)
        return Tensor.scalar(Plane(jnp.exp(1j * angle.array)))

    @staticmethod
    def example() -> Examples:
        return [(((),), {}), (((), ()), {})]
