"""The axes of the grid as values."""

from __future__ import annotations

from typing import ClassVar

from rimetree.graph.node import NodeClass
from rimetree.graph.registry import node


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
