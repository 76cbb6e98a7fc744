"""The order of work."""

from __future__ import annotations

from typing import Any

from rimetree.graph.node import NodeClass, child, option
from rimetree.graph.registry import node


@node
class ReqSeq(NodeClass):
    """Does its children in order (solvers, sinks, or nodes with a value); its value is that of child number `result`.

    A Solver before a Sink is solved before the Sink is written. (MeqTrees: ReqSeq, with result_index.)
    """

    role = "sequence"
    steps = child(help="nodes, in the order in which they are done", many=True)
    result = option(0, type=int, help="number, from 0, of the child whose value is passed on")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["result"] < 0:
            raise ValueError(f"result counts the children from 0, so it cannot be {options['result']}")
        return options
