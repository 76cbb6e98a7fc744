"""A tree at a finer resolution than that of the cells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from rimetree.graph import kinds
from rimetree.graph.node import Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples
from rimetree.ring import Tensor

AXES = {"time": ("Time", "SlotLength"), "freq": ("Freq", "ChannelWidth")}
"""Per axis the leaves that give centre and width of each cell."""


@node
class ModRes(Ring):
    """x averaged over each cell instead of taken at its centre: the mean of its values at the centres of `time` x `freq` equal parts.

    What changes over a slot or channel is so smeared as data are, whatever it is; the work grows with the number of parts. An
    expression that does not vary along an axis costs nothing there. Short for a sum of CoordTransforms, whose rules hold. The
    error of n parts falls as 1/n^2. (MeqTrees: ModRes with upsample below, and Resampler with mode 2 above; a coarser grid, which
    saved time there, would save none here: work is done on the axes along which something varies.)
    """

    x = child(help="what is averaged, any unit")
    time = option(1, type=kinds.whole(1, 1000), help="equal parts of each slot")
    freq = option(1, type=kinds.whole(1, 1000), help="equal parts of each channel")

    @classmethod
    def expanded(
        cls, children: dict[str, Any], options: dict[str, Any], make: Callable[..., Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        parts = {axis: options.get(axis, 1) for axis in AXES}
        if set(children) != {"x"} or not all(type(n) is int and 1 <= n <= 1000 for n in parts.values()):
            return children, options
        fine = [axis for axis, n in parts.items() if n > 1]
        shifts = product(*([(k + 0.5) / parts[axis] - 0.5 for k in range(parts[axis])] for axis in fine))
        if not fine:
            return children, options

        def at(axis: str, shift: float) -> Any:
            centre, width = AXES[axis]
            return make("Add", make(centre), make("Multiply", shift, make(width)))

        moved = [make("CoordTransform", children["x"], *map(at, fine, shift), axes=tuple(fine)) for shift in shifts]
        return {"x": make("Multiply", 1 / len(moved), make("Add", *moved))}, {
            k: v for k, v in options.items() if k not in AXES
        }

    @staticmethod
    def example() -> Examples:
        return [(((),), {}), (((2, 2),), {})]

    @staticmethod
    def ring(x: Tensor, **options: Any) -> Tensor:
        return x
