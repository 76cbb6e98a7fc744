"""What each family depends on: axes, parameters, data. That one fact decides what is cached, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..graph.node import Family, Reducing


@dataclass(frozen=True, slots=True)
class Depends:
    """Axes along which a family may vary, Parm families below it, and whether data of a tile are below it."""

    axes: frozenset[str] = frozenset()
    parms: frozenset[int] = frozenset()
    data: bool = False

    def __or__(self, other: Depends) -> Depends:
        return Depends(self.axes | other.axes, self.parms | other.parms, self.data or other.data)

    def stage(self, solvable: frozenset[int] = frozenset()) -> str:
        """How long a value stays valid: "run", "tile" or "iteration"."""
        if self.parms & solvable:
            return "iteration"
        return "tile" if self.data or "time" in self.axes or self.parms else "run"


def depends(
    families: Mapping[int, Family], parm_axes: Mapping[int, frozenset[str]] | None = None
) -> dict[int, Depends]:
    """Dependencies of every family; `parm_axes` says along which axes the values of Parm families vary."""
    found: dict[int, Depends] = {}
    axes_of = parm_axes or {}
    for number, family in families.items():
        role = family.cls.role
        if role == "parm":
            own = Depends(axes_of.get(number, frozenset()), frozenset({number}))
        elif role == "data":
            own = Depends(frozenset({"time", "freq"}), data=True)
        else:
            own = Depends(frozenset(family.own_axes))
        for kid in family.kids:
            own |= found[kid.family]
        if issubclass(family.cls, Reducing):
            own = replace(own, axes=own.axes - family.whole(own.axes))
        found[number] = own
    return found
