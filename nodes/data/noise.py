"""Random numbers that belong to a place: to a seed, an element and the coordinates of a cell, not to an order of drawing.

So the noise of a cell is the same on any grid that has this cell, in any tile, on any device, and in every run; two
nodes of equal seeds are the same noise. Each value is a hash: the finaliser of SplitMix64 (Steele, Lea and Flood 2014,
OOPSLA, fig. 17) of the seed, chained with the bits of each coordinate in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtri

from rimetree.graph import kinds
from rimetree.graph.node import Function, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples
from rimetree.ring import Plane, Tensor

STEP = 0x9E3779B97F4A7C15
"""The odd integer nearest to 2^64 / golden ratio, SplitMix64's increment."""


def mix(state: Any) -> Any:
    """SplitMix64's next output: 64 bits, of which each depends on all bits of `state`."""
    z = state + jnp.uint64(STEP)
    z = (z ^ (z >> 30)) * jnp.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> 27)) * jnp.uint64(0x94D049BB133111EB)
    return z ^ (z >> 31)


def uniform(seed: Any, draw: int, centres: Sequence[Any]) -> Any:
    """A number between 0 and 1, both excluded, with 52 random bits, for each cell; `draw` tells several apart."""
    state = mix(mix(jnp.asarray(seed).astype(jnp.uint64)) ^ jnp.uint64(draw))
    for axis in centres:
        state = mix(state ^ lax.bitcast_convert_type(jnp.asarray(axis, float) + 0.0, jnp.uint64))  # -0.0 is 0.0
    return ((state >> 12).astype(float) + 0.5) * 2.0**-52


class Noise(Function):
    """What the noise leaves share: their options `seed`, `dims`, `complex` and `axes`."""

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        seed, dims, axes = options["seed"], options["dims"], options["axes"]
        if isinstance(seed, str):
            seed = int.from_bytes(blake2b(seed.encode(), digest_size=6).digest())
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        return {**options, "seed": seed, "dims": dims, "axes": kinds.names_of(axes)}

    @classmethod
    def axes_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(options["axes"])

    @staticmethod
    def example() -> Examples:
        return [
            ((), {"seed": 5}),
            ((), {"seed": "G:1", "dims": (2, 2), "complex": True}),
            ((), {"seed": 5, "axes": "freq"}),
        ]


SEEDS = kinds.either(kinds.whole(0, 2**53 - 1), str, words="a text, or a whole number from 0 to 2^53 - 1")
POSITIVE = kinds.either(kinds.whole(1), kinds.items(kinds.whole(1)), words="positive whole numbers")
AXIS_NAMES = kinds.either(kinds.NAME, kinds.items(kinds.NAME), words='names of axes, as ("time", "freq")')

SEED = option(type=SEEDS, required=True, per_member=True, help="which noise this is")
DIMS = option((), type=POSITIVE, help="shape of the tensor; default: a scalar")
COMPLEX = option(False, type=bool, help="real and imaginary part are both random")
AXES = option(("time", "freq"), type=AXIS_NAMES, help="axes of the grid along which it varies")


def tensor(
    centres: Sequence[Any], options: Mapping[str, Any], real: Callable[[Any], Any], imaginary: Callable[[Any], Any]
) -> Tensor:
    """A tensor of `real(u) + i imaginary(u')`, where all u are independent."""
    dims, seed = options["dims"], options["seed"]
    elements = []
    for i in range(math.prod(dims)):
        value = real(uniform(seed, 2 * i, centres))
        elements.append(
            Plane(value + 1j * imaginary(uniform(seed, 2 * i + 1, centres)) if options["complex"] else value)
        )
    return Tensor(dims, tuple(elements))


@node
class GaussNoise(Noise):
    """mean + stddev * normal noise. `complex`: the real and the imaginary part each have this standard deviation.

    Nodes with equal seeds are equal, so give each its own: `Meq.GaussNoise(0.1, seed=f"{p}-{q}")`. The same cell has the
    same noise in any tile, selection or run. (MeqTrees: GaussNoise, whose noise depends on the order of work.)
    """

    stddev = option(1.0, type=float, per_member=True, help="standard deviation, any unit")
    mean = option(0.0, type=float, per_member=True, help="mean (of the real part), in the unit of stddev")
    seed, dims, complex, axes = SEED, DIMS, COMPLEX, AXES

    @staticmethod
    def compute(*centres: Any, **options: Any) -> Tensor:
        stddev, mean = options["stddev"], options["mean"]
        return tensor(centres, options, lambda u: mean + stddev * ndtri(u), lambda u: stddev * ndtri(u))


@node
class RandomNoise(Noise):
    """Noise between `low` and `high`, all values equally likely; `complex`: so are both parts. Seeds as in GaussNoise.

    (MeqTrees: RandomNoise.)
    """

    low = option(0.0, type=float, per_member=True, help="lower limit, any unit")
    high = option(1.0, type=float, per_member=True, help="upper limit, in the unit of low")
    seed, dims, complex, axes = SEED, DIMS, COMPLEX, AXES

    @staticmethod
    def compute(*centres: Any, **options: Any) -> Tensor:
        low, high = options["low"], options["high"]

        def part(u: Any) -> Any:
            return low + (high - low) * u

        return tensor(centres, options, part, part)
