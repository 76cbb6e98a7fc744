"""The part of a forest that some of its nodes need."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..graph.node import Family, Kid


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Families in topological order with only the needed members; numbers are those of the forest."""

    families: Mapping[int, Family]
    members: Mapping[int, np.ndarray]
    """Family number -> which members of the forest's family are kept, increasing."""

    def member(self, family: int, member: int) -> int:
        """Position in the subset of a member of the forest's family."""
        return int(np.searchsorted(self.members[family], member))


def subset(
    families: Sequence[Family], wanted: Mapping[int, np.ndarray], leaves: frozenset[int] = frozenset()
) -> Subset:
    """Families and members that the `wanted` members (family -> indices) depend on; below `leaves` nothing is needed."""
    needed = marks(families, wanted, leaves)
    position = {number: np.cumsum(mark) - 1 for number, mark in needed.items()}
    kept = {number: np.flatnonzero(mark) for number, mark in needed.items()}
    result: dict[int, Family] = {}
    for number in sorted(kept):
        family, rows = families[number], kept[number]
        kids = (
            ()
            if number in leaves
            else tuple(
                Kid(kid.family, position[kid.family][np.asarray(kid.index)[rows]].astype(np.int32))
                for kid in family.kids
            )
        )
        members = {key: _take(value, rows) for key, value in family.members.items()}
        result[number] = replace(family, kids=kids, size=len(rows), members=members)
    return Subset(result, kept)


def marks(
    families: Sequence[Family], wanted: Mapping[int, np.ndarray], leaves: frozenset[int] = frozenset()
) -> dict[int, np.ndarray]:
    """Family -> which of its members the `wanted` ones depend on (themselves included)."""
    found = {number: _mark(families[number].size, index) for number, index in wanted.items()}
    for number in range(len(families) - 1, -1, -1):
        if number not in found or number in leaves:
            continue
        for kid in families[number].kids:
            used = np.unique(np.asarray(kid.index)[found[number]])
            if kid.family in found:
                found[kid.family][used] = True
            else:
                found[kid.family] = _mark(families[kid.family].size, used)
    return found


def paths(
    families: Mapping[int, Family], number: int, members: np.ndarray, wanted: Container[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Each way from some `members` of a family down to one of the families `wanted`: its number, and which member each gets to."""
    stack, seen = [(number, members)], set()
    while stack:
        n, path = stack.pop()
        if (n, path.tobytes()) in seen:
            continue
        seen.add((n, path.tobytes()))
        if n in wanted:
            yield n, path
        for kid in families[n].kids:
            stack.extend((kid.family, column) for column in np.atleast_2d(np.asarray(kid.index)[path].T))


def _mark(size: int, index: np.ndarray) -> np.ndarray:
    mark = np.zeros(size, bool)
    mark[index] = True
    return mark


def _take(values: object, rows: np.ndarray) -> object:
    return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]  # type: ignore[index]
