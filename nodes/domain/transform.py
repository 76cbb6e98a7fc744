"""A tree on other coordinates."""

from __future__ import annotations

from typing import Any

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, child, option
from rimetree.graph.registry import node


@node
class CoordTransform(NodeClass):
    """x where the grid's coordinates are not those of the cells but `coords`, one for each of `axes`: a beam, given over l and m,
    at where a source is seen, or an expression in frequency at the frequency of the source.

    `Meq.CoordTransform(beam, dl, dm, axes=("l", "m"))`: wherever `beam` has Grid("l"), Freq, or a class that asks for an axis,
    such as PhaseDelay or FITSReader, it gets the child instead, which may vary over the grid and be solved for: derivatives are
    exact. The forest has the result, not this node. Cells then need no axis l. Leaves that are looked up by time (Earth, SiderealTime,
    ObjectRaDec) are so for each cell, with differences for derivatives. What varies along an axis by itself, such as a
    Constant with axes or a Parm with coefficients, cannot be moved; data and solution intervals stay those of the cell.
    (MeqTrees: CoordTransform and Compounder, whose coordinates come first, and which interpolate.)
    """

    role = "transform"
    x = child(help="what is evaluated at the coordinates")
    coords = child(help="coordinates, scalars, in the unit of the axis", many=True)
    axes = option(
        type=kinds.NAMES,
        required=True,
        example="freq",
        help='axes of the grid, as "freq" or ("l", "m"), one for each of coords',
    )

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "axes": kinds.names_of(options["axes"])}
