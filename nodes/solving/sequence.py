"""Nodes that hold what is to be done. A run does every Solver before every Sink that depends on its parameters."""

from __future__ import annotations

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, child, option
from rimetree.graph.registry import node


@node
class ReqSeq(NodeClass):
    """Does its children in order (solvers, sinks, or nodes with a value); its value is that of child number `result`.

    A Solver before a Sink is solved before the Sink is written. (MeqTrees: ReqSeq, with result_index.)
    """

    role = "sequence"
    steps = child(help="nodes, in the order in which they are done", many=True)
    result = option(0, type=kinds.whole(0), help="number, from 0, of the child whose value is passed on")


@node
class ReqMux(ReqSeq):
    """ReqSeq where the order does not matter. (MeqTrees: ReqMux.)"""

    steps = child(help="nodes", many=True)


@node
class VisDataMux(NodeClass):
    """The root of a forest that works on a Measurement Set: its Sinks, and what belongs to them.

    It says nothing that a run does not know: all Solvers and Sinks of a scope are done, Solvers first, tile by tile, so
    that it may be left out. (MeqTrees: VisDataMux, which calls `start`, `pre`, the Sinks and `post` for each tile.)
    """

    role = "sequence"
    start = child(help="a node done first", optional=True)
    pre = child(help="a node done before the sinks, such as a ReqSeq of Solvers", optional=True)
    post = child(help="a node done after the sinks", optional=True)
    sinks = child(help="Sinks", many=True)
