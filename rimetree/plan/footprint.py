"""What a factor of an equation varies with: classes of parameters, axes of the grid, and which equations share it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.node import Family, Reducing
from ..parms.funklet import varying


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """`classes`: Parms by who fits them, in which solution intervals; `axes`: those along which something else varies; `shared`: equal
    numbers where members of a family have the same factor (n,)."""

    classes: frozenset[Any]
    axes: frozenset[str]
    shared: np.ndarray

    def __le__(self, other: Footprint) -> bool:
        """Whether the other varies with all that this does: nothing is lost where the two are one factor."""
        if not (self.classes <= other.classes and self.axes <= other.axes):
            return False
        return len(np.unique(np.stack([other.shared, self.shared], 1), axis=0)) == len(np.unique(other.shared))

    def __or__(self, other: Footprint) -> Footprint:
        shared = labels(np.stack([self.shared, other.shared], 1))
        return Footprint(self.classes | other.classes, self.axes | other.axes, shared)


def labels(rows: np.ndarray) -> np.ndarray:
    """(n,) equal numbers for equal rows (n, k)."""
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def widest(given: Iterable[Footprint]) -> list[Footprint]:
    """Those that no other includes, one of equal ones."""
    found: list[Footprint] = []
    for one in given:
        if not any(one <= other for other in found):
            found = [other for other in found if not other <= one] + [one]
    return found


def parm_classes(families: Sequence[Family], fitted: Mapping[int, frozenset[Any]]) -> dict[int, Any]:
    """Parm family -> its class, for those that some Solver fits (`fitted`: family -> Solvers)."""
    return {n: (solvers, families[n].options.get("solint") or (None, None)) for n, solvers in fitted.items() if solvers}


def of_family(
    number: int, family: Family, below: Mapping[int, tuple[frozenset[Any], frozenset[str]]], classes: Mapping[int, Any]
) -> tuple[frozenset[Any], frozenset[str]]:
    """Classes and axes of a family, from those of the families below it."""
    if family.cls.role == "parm":
        if number in classes:
            return frozenset({classes[number]}), varying(family)
        solint = family.options.get("solint") or (None, None)
        several = {axis for axis, interval in zip(("time", "freq"), solint, strict=True) if interval is not None}
        return frozenset(), varying(family) | several
    own = frozenset(("time", "freq") if family.cls.role == "data" else family.own_axes)
    kids = [below[kid.family] for kid in family.kids]
    axes = own.union(*(axes for _, axes in kids))
    if issubclass(family.cls, Reducing):
        axes -= family.whole(axes)
    return frozenset[Any]().union(*(found for found, _ in kids)), axes
