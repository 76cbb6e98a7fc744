"""What is read from and written to a Measurement Set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rimetree.graph.node import NodeClass, child, option
from rimetree.graph.registry import node


@node
class Spigot(NodeClass):
    """A column of a Measurement Set on the baseline p, q.

    A (2,2) tensor [[XX, XY], [YX, YY]] or [[RR, RL], [LR, LL]], whatever the order in the file, in the column's unit;
    `column="UVW"` is the (3,) vector u, v, w in m over time, with the sign that the file has. (MeqTrees: Spigot.)
    """

    role = "data"
    p = option(type=(str, int), per_member=True, required=True, help="first antenna: name or number")
    q = option(type=(str, int), per_member=True, required=True, help="second antenna: name or number")
    column = option("DATA", type=str, help="DATA, MODEL_DATA, CORRECTED_DATA, any column like these, or UVW")

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        """The dims of the value: (3,) for UVW, else (2, 2)."""
        return (3,) if options["column"] == "UVW" else (2, 2)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options | _column(options)


@node
class Sink(NodeClass):
    """Writes its child, a (2,2) tensor, to a column for the baseline p, q.

    Without p and q, the baseline is that of the node's own qualifiers, or of the spigots below it. (MeqTrees: Sink.)
    """

    role = "sink"
    value = child(help="what is written: [[XX, XY], [YX, YY]] or [[RR, RL], [LR, LL]]")
    p = option(None, type=(str, int), per_member=True, help="first antenna: name or number")
    q = option(None, type=(str, int), per_member=True, help="second antenna: name or number")
    column = option("CORRECTED_DATA", type=str, help="column, made like DATA where it does not exist")
    flag = option(False, type=bool, help="also set FLAG where there is no valid solution, or where a Solver clips")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options | _column(options)


def _column(options: Mapping[str, Any]) -> dict[str, str]:
    column = str(options["column"]).strip()
    if not column:
        raise ValueError("column must be the name of a column, not an empty text")
    return {"column": column}
