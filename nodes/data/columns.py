"""What is read from and written to a Measurement Set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, child, option
from rimetree.graph.registry import node

COLUMN = kinds.text(r"\S", "the name of a column", "DATA")
FLAGSETS = kinds.either(kinds.NAME, kinds.items(kinds.NAME), words='a name or a list of names, as "legacy"')


@node
class Spigot(NodeClass):
    """A column of a Measurement Set on the baseline p, q.

    A (2,2) tensor [[XX, XY], [YX, YY]] or [[RR, RL], [LR, LL]], whatever the order in the file, in the column's unit;
    `column="UVW"` is the (3,) vector u, v, w in m over time, with the sign that the file has. Bad data, and rows that are missing,
    have the flag `flag_bit`: what FLAG, FLAG_ROW or a weight that is no positive number says; with `flagsets`, what these bits
    of BITFLAG say instead of FLAG and FLAG_ROW. (MeqTrees: Spigot.)
    """

    role = "data"
    p = option(type=(str, int), per_member=True, required=True, example="ant01", help="first antenna: name or number")
    q = option(type=(str, int), per_member=True, required=True, example="ant02", help="second antenna: name or number")
    column = option("DATA", type=COLUMN, help="DATA, MODEL_DATA, CORRECTED_DATA, any column like these, or UVW")
    flag_bit = option(1, type=kinds.BITS, help="the bit, or bits, of bad data")
    flagsets = option((), type=FLAGSETS, help="flagsets of BITFLAG that count instead of FLAG")

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        """The dims of the value: (3,) for UVW, else (2, 2)."""
        return (3,) if options["column"] == "UVW" else (2, 2)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        sets = kinds.names_of(options["flagsets"])
        return options | {"column": options["column"].strip(), "flagsets": tuple(sorted(sets))}


@node
class Sink(NodeClass):
    """Writes its child, a (2,2) tensor, to a column for the baseline p, q.

    Without p and q, the baseline is that of the node's own qualifiers, or of the spigots below it. Flags are written where
    asked: those of the child, where there is no valid solution, and what a robust Solver clips. `flag` adds them to FLAG;
    `flagset` puts them into a flagset of that name in BITFLAG, without those that came with the data, and never touches FLAG
    by itself. (MeqTrees: Sink.)
    """

    role = "sink"
    value = child(help="what is written: [[XX, XY], [YX, YY]] or [[RR, RL], [LR, LL]]")
    p = option(None, type=(str, int), per_member=True, help="first antenna: name or number")
    q = option(None, type=(str, int), per_member=True, help="second antenna: name or number")
    column = option("CORRECTED_DATA", type=COLUMN, help="column, made like DATA where it does not exist")
    flag = option(False, type=bool, help="also set FLAG")
    flagset = option(None, type=str, help="name of a flagset to be written, made where it does not exist")
    flag_mask = option(-1, type=kinds.BITS, help="bits of the child's flags that are written; -1: all")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"column": options["column"].strip(), "flagset": options["flagset"] or None}
