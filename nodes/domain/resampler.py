"""Values averaged over blocks of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from rimetree.graph.node import Function, check_bits, child, option
from rimetree.graph.registry import node
from rimetree.ring import Bits, Plane, Tensor


@node
class Resampler(Function):
    """x integrated over blocks of `time` slots by `freq` channels: each cell has the mean of its block.

    Blocks are counted from the first slot and channel of a field and spectral window; the last may be shorter. Flagged values do not
    count; where more than `flag_density` of a block is flagged, the block is. What is below it cannot be solved for. (MeqTrees:
    Resampler with mode 2, the grid of whose parent was asked of ModRes; from a finer grid than the cells: ModRes.)
    """

    sees_flags = True
    x = child(help="scalar or tensor, any unit")
    time = option(1, type=int, help="slots in a block")
    freq = option(1, type=int, help="channels in a block")
    flag_density = option(0.5, type=float, help="part of a block, 0 to 1, beyond which flags flag all of it")
    flag_mask = option(-1, type=int, help="bits of flags that leave a value out; -1: all")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        check_bits("flag_mask", options["flag_mask"])
        for axis in ("time", "freq"):
            if options[axis] < 1:
                raise ValueError(f"{axis} counts the cells of a block: at least 1, not {options[axis]}")
        if not 0 <= options["flag_density"] <= 1:
            raise ValueError(f"flag_density is a part, 0 to 1, not {options['flag_density']}")
        return options

    @classmethod
    def taken(cls, options: Any) -> tuple[str, ...]:
        """The axes with blocks of several cells."""
        return tuple(axis for axis in ("time", "freq") if options[axis] > 1)

    @staticmethod
    def compute(
        x: Tensor, time: int, freq: int, flag_density: float, flag_mask: int, flags: Sequence[Tensor] = ()
    ) -> Tensor:
        words = flags[0].elements if flags else (0,) * len(x.elements)

        def mean(element: Any, bits: Any) -> Any:
            if not isinstance(element, Plane):
                return element
            word = bits.array if isinstance(bits, Bits) else None
            good = jnp.ones((1,) * element.array.ndim) if word is None else (word & flag_mask) == 0
            shape = jnp.broadcast_shapes(element.array.shape, good.shape)
            value, good = jnp.broadcast_to(element.array, shape), jnp.broadcast_to(good, shape)
            count = _blocks(good * 1.0, time, freq, jnp.sum)
            total = _blocks(jnp.where(good, value, 0), time, freq, jnp.sum)
            return Plane(jnp.where(count > 0, total / jnp.maximum(count, 1.0), 0))

        return Tensor(x.dims, tuple(mean(e, b) for e, b in zip(x.elements, words, strict=True)))

    @staticmethod
    def flag_rule(flags: Sequence[Tensor], time: int, freq: int, flag_density: float, flag_mask: int) -> Tensor:
        def joined(bits: Any) -> Any:
            if not isinstance(bits, Bits) or bits.array is None:
                return bits
            flagged = ((bits.array & flag_mask) != 0) * 1.0
            part = _blocks(flagged, time, freq, jnp.sum) / _blocks(jnp.ones_like(flagged), time, freq, jnp.sum)
            every = _blocks(bits.array, time, freq, jnp.bitwise_or.reduce)
            return Bits(jnp.where(part > flag_density, every, every & ~jnp.int32(flag_mask)))

        return flags[0].map(joined)


def _blocks(array: Any, time: int, freq: int, function: Callable[..., Any]) -> Any:
    """`function` of each block of an array (member, time, freq, ...), in each of its cells; axes of extent 1 stay so."""
    for axis, cells in ((1, time), (2, freq)):
        extent = array.shape[axis]
        if extent == 1 or cells == 1:
            continue
        pad = [(0, -extent % cells if i == axis else 0) for i in range(array.ndim)]
        padded = jnp.pad(array, pad)
        split = padded.reshape(*array.shape[:axis], -1, cells, *array.shape[axis + 1 :])
        array = jnp.repeat(function(split, axis=axis + 1), cells, axis)
        array = jnp.take(array, jnp.arange(extent), axis)
    return array
