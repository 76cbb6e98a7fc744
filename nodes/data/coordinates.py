"""The axes of the grid as values."""

from __future__ import annotations

from typing import Any, ClassVar

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, option
from rimetree.graph.registry import node

AXIS = kinds.text(r"\S", 'the name of an axis of the cells, as "l"', "l")


@node
class Time(NodeClass):
    """The time at the centre of each cell, in s (in a run: that of the TIME column, MJD). (MeqTrees: Time.)"""

    role = "coordinate"
    axis: ClassVar[str] = "time"


@node
class Freq(NodeClass):
    """The frequency at the centre of each cell, in Hz. (MeqTrees: Freq.)"""

    role = "coordinate"
    axis: ClassVar[str] = "freq"


@node
class Grid(NodeClass):
    """The centre of each cell along any axis of the cells, such as `rt.Cells(l=(-0.1, 0.1, 64))`, in the unit given there.

    Cells may have any axes, in runs too; data of a Measurement Set have "time" and "freq" only, where a CoordTransform gives what
    is on others, as l and m. (MeqTrees: Grid.)
    """

    role = "coordinate"
    axis = option(type=AXIS, required=True, help='name of the axis: "time", "freq", "l" ...')

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "axis": options["axis"].strip()}
