"""The spectrum of a source."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Function, child
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import expect
from rimetree.ring import Plane, Tensor


@node
class PowerLaw(Function):
    """flux (nu / freq0)^index, a scalar over frequency, for PointSource. (MeqTrees: Meow's spi and freq0.)"""

    coordinates = ("freq",)
    real = True
    flux = child(unit="Jy", help="flux density at freq0")
    index = child(help="spectral index")
    freq0 = child(unit="Hz", help="reference frequency")

    @staticmethod
    def compute(freq: Any, flux: Tensor, index: Tensor, freq0: Tensor) -> Tensor:
        s, alpha, nu0 = (
            expect(name, t, ()).elements[0] for name, t in (("flux", flux), ("index", index), ("freq0", freq0))
        )
        alpha, nu0 = (e.array if isinstance(e, Plane) else e for e in (alpha, nu0))
        return Tensor.scalar(s * Plane(jnp.power(jnp.divide(freq, nu0), alpha)))
