"""Values averaged over blocks of cells, and interpolated between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Function, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples
from rimetree.ring import Bits, Plane, Tensor


@node
class Resampler(Function):
    """x integrated over blocks of `time` slots by `freq` channels: each cell has the weighted mean of its block, or, with `linear`,
    what lies on the straight line between the means of neighbouring blocks.

    Blocks are counted from the first slot and channel of a field and spectral window; the last may be shorter. Flagged values do not
    count; where more than `flag_density` of a block is flagged, the block is. Lines go through the centres of blocks, in numbers of
    cells, past blocks without a value, and are level before the first and after the last. What is below cannot be solved for.
    (MeqTrees: Resampler with modes 2 and 1, the grid of whose parent was asked of ModRes; from a finer grid than the cells: ModRes.)
    """

    sees_flags = True
    x = child(help="scalar or tensor, any unit")
    weight = child(
        dims=(), default=1.0, help="of each value; where its real part is not positive, the value does not count"
    )
    time = option(1, type=kinds.whole(1), help="slots in a block")
    freq = option(1, type=kinds.whole(1), help="channels in a block")
    linear = option(False, type=bool, help="interpolate between the centres of blocks")
    flag_density = option(0.5, type=kinds.real(0, 1), help="part of a block, 0 to 1, beyond which flags flag all of it")
    flag_mask = option(-1, type=kinds.BITS, help="bits of flags that leave a value out; -1: all")

    @classmethod
    def taken(cls, options: Any) -> tuple[str, ...]:
        """The axes with blocks of several cells."""
        return tuple(axis for axis in ("time", "freq") if options[axis] > 1)

    @staticmethod
    def compute(
        x: Tensor, weight: Tensor, time: int, freq: int, linear: bool, flag_density: float, flag_mask: int,
        flags: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        words = flags[0].elements if flags else (0,) * len(x.elements)
        (own,) = weight.elements
        heavy = jnp.real(own.array if isinstance(own, Plane) else jnp.asarray(own))
        heavy = jnp.where(heavy > 0, heavy, 0.0)

        def mean(element: Any, bits: Any) -> Any:
            if not isinstance(element, Plane):
                return element
            word = bits.array if isinstance(bits, Bits) else None
            good = heavy * (jnp.ones((1,) * element.array.ndim) if word is None else (word & flag_mask) == 0)
            shape = jnp.broadcast_shapes(element.array.shape, good.shape)
            value, good = jnp.broadcast_to(element.array, shape), jnp.broadcast_to(good, shape)
            count = _reduced(good, time, freq, jnp.sum)
            total = _reduced(jnp.where(good != 0, value, 0) * good, time, freq, jnp.sum)
            there = (count > 0) * 1.0
            means = jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), 0)
            near = _spread(there, shape, time, freq, linear)
            found = _spread(means * there, shape, time, freq, linear)
            return Plane(jnp.where(near > 0, found / jnp.where(near > 0, near, 1.0), 0))

        return Tensor(x.dims, tuple(mean(e, b) for e, b in zip(x.elements, words, strict=True)))

    @staticmethod
    def flag_rule(
        flags: Sequence[Tensor], time: int, freq: int, linear: bool, flag_density: float, flag_mask: int
    ) -> Tensor:
        def joined(bits: Any) -> Any:
            if not isinstance(bits, Bits) or bits.array is None:
                return bits
            shape = bits.array.shape
            flagged = ((bits.array & flag_mask) != 0) * 1.0
            part = _reduced(flagged, time, freq, jnp.sum) / _reduced(jnp.ones_like(flagged), time, freq, jnp.sum)
            every = _reduced(bits.array, time, freq, jnp.bitwise_or.reduce)
            words = jnp.where(part > flag_density, every, every & ~jnp.int32(flag_mask))
            return Bits(_spread(words, shape, time, freq, False))

        return flags[0].map(joined)

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {}), (((2, 2), ()), {})]


def _reduced(array: Any, time: int, freq: int, function: Callable[..., Any]) -> Any:
    """`function` of each block of an array (member, time, freq, ...); axes of extent 1 stay so."""
    for axis, cells in ((1, time), (2, freq)):
        extent = array.shape[axis]
        if extent == 1 or cells == 1:
            continue
        pad = [(0, -extent % cells if i == axis else 0) for i in range(array.ndim)]
        padded = jnp.pad(array, pad)
        split = padded.reshape(*array.shape[:axis], -1, cells, *array.shape[axis + 1 :])
        array = function(split, axis=axis + 1)
    return array


def _spread(array: Any, shape: Sequence[int], time: int, freq: int, linear: bool) -> Any:
    """Blocks of `_reduced` back on the cells of `shape`: each cell its block, or linear between the centres of blocks."""
    for axis, cells in ((1, time), (2, freq)):
        extent, count = shape[axis], array.shape[axis]
        if extent == 1 or cells == 1:
            continue
        place = np.arange(extent)
        if not linear:
            array = jnp.take(array, place // cells, axis)
            continue
        first = np.arange(count) * cells
        centres = (first + np.minimum(first + cells, extent) - 1) / 2
        at = np.interp(place, centres, np.arange(count))
        below = np.minimum(at.astype(int), max(count - 2, 0))
        above = np.minimum(below + 1, count - 1)
        part = (at - below).reshape([-1 if i == axis else 1 for i in range(array.ndim)])
        array = jnp.take(array, below, axis) * (1 - part) + jnp.take(array, above, axis) * part
    return array
