"""Interning and grouping: equal nodes become one, and nodes of one kind with children in the same families one family.

Works on whole blocks of nodes with numpy, one depth after the other, children first; never on single nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

from .node import Family, Kid, NodeClass
from .rows import Rows, distinct_rows, joined, split
from .values import Values, freeze

Site = tuple[CodeType | None, int]
"""A place in a script: code object and bytecode offset."""


@dataclass(slots=True, eq=False)
class Block:
    """Nodes not yet interned: one class, static options (numbered by `key`), arity and script line.

    `ids` (n,) are the nodes' provisional numbers, `kids` (n, arity) those of their children, `members` the codes (n,)
    of per-member options.
    """

    cls: type[NodeClass]
    key: int
    options: Mapping[str, Any]
    ids: np.ndarray
    kids: np.ndarray
    members: dict[str, np.ndarray]
    site: Site

    def take(self, rows: Rows) -> Block:
        """The block with some of its rows."""
        members = {name: codes[rows] for name, codes in self.members.items()}
        return Block(self.cls, self.key, self.options, self.ids[rows], self.kids[rows], members, self.site)


@dataclass(slots=True, eq=False)
class Interned:
    """Families in topological order; node `member` of family f has the final number `offsets[f] + member`."""

    families: list[Family]
    offsets: np.ndarray
    """First final number of each family, and the number of nodes (nfamily + 1)."""
    final: np.ndarray
    """Final number of each provisional one; -1 where it was not interned."""
    sites: list[Site] = field(default_factory=list)
    site_of: list[np.ndarray] = field(default_factory=list)
    """Per family, the place in `sites` of each member's first definition."""


def intern(blocks: Iterable[Block], depth: np.ndarray, values: Values) -> Interned:
    """Intern all nodes of non-negative `depth` (indexed by provisional number)."""
    levels: dict[int, dict[Any, list[Block]]] = {}
    for block in blocks:
        for rows in split(depth[block.ids]):
            part = block.take(rows)
            level = int(depth[part.ids[0]])
            if level >= 0:
                kind = (block.cls, block.key, block.kids.shape[1], tuple(block.members))
                levels.setdefault(level, {}).setdefault(kind, []).append(part)
    interner = _Interner(len(depth), values)
    for level in sorted(levels):
        for group in levels[level].values():
            interner.add(group)
    return interner.result()


class _Interner:
    def __init__(self, count: int, values: Values) -> None:
        self.values = values
        self.final = np.full(count, -1, np.int32)
        self.family_of = np.zeros(count, np.int32)
        self.families: list[Family] = []
        self.offsets = [0]
        self.sites: dict[tuple[int, int], int] = {}
        self.site_list: list[Site] = []
        self.site_of: list[np.ndarray] = []

    def result(self) -> Interned:
        return Interned(self.families, np.array(self.offsets), self.final, self.site_list, self.site_of)

    def add(self, group: list[Block]) -> None:
        """Intern blocks of one class, static options and arity, all of one depth."""
        cls = group[0].cls
        ids = joined([b.ids for b in group])
        kids = self.final[joined([b.kids for b in group])]
        sites = np.repeat(np.array([self._site(b.site) for b in group], np.int32), [len(b.ids) for b in group])
        members = {name: joined([b.members[name] for b in group]) for name in group[0].members}
        if cls.commutative:
            kids.sort(axis=1)
        first, inverse = distinct_rows([*kids.T, *members.values()], len(ids))
        if len(first) < len(ids):
            kids = kids[first]
            members = {name: codes[first] for name, codes in members.items()}
        keys = self._family_keys(group[0], members, len(first))
        _, labels = distinct_rows([*self.family_of[kids].T, keys], len(first))
        new = np.empty(len(first), np.int32)
        for rows in split(labels):
            part = kids[rows]
            new[rows] = self.offsets[-1] + np.arange(len(part))
            self._family(group[0], part, {name: codes[rows] for name, codes in members.items()})
            self.site_of.append(sites[first[rows]])
        self.final[ids] = new if len(first) == len(ids) else new[inverse]

    def _family(self, block: Block, kids: np.ndarray, members: dict[str, np.ndarray]) -> None:
        number, size, offset = len(self.families), len(kids), self.offsets[-1]
        self.family_of[offset : offset + size] = number
        self.offsets.append(offset + size)
        owners = self.family_of[kids[0]]
        parts: list[Kid] = []
        if block.cls.commutative and len(owners):
            cuts = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
            for start, stop in itertools.pairwise(cuts):
                parts.append(self._kid(int(owners[start]), kids[:, start:stop]))
        else:
            parts = [self._kid(int(owner), kids[:, place]) for place, owner in enumerate(owners)]
        decoded = {name: self.values.decode(codes) for name, codes in members.items()}
        self.families.append(Family(number, block.cls, block.options, tuple(parts), size, decoded))

    def _kid(self, family: int, index: np.ndarray) -> Kid:
        return Kid(family, index - self.offsets[family])

    def _family_keys(self, block: Block, members: dict[str, np.ndarray], count: int) -> np.ndarray:
        """What the class wants equal within a family, as a number per node."""
        function: Any = block.cls.family_key
        if function.__func__ is NodeClass.family_key.__func__:  # type: ignore[attr-defined]
            return np.zeros(count, np.int64)
        declared = [name for name in members if name in block.cls.options]
        first, inverse = distinct_rows([members[name] for name in declared], count)
        numbers: dict[Any, int] = {}
        keys = []
        for row in first.tolist():
            own = {name: self.values.seen[members[name][row]] for name in declared}
            keys.append(numbers.setdefault(freeze(function({**block.options, **own})), len(numbers)))
        return np.array(keys, np.int64)[inverse]

    def _site(self, site: Site) -> int:
        key = (id(site[0]), site[1])
        if key not in self.sites:
            self.sites[key] = len(self.site_list)
            self.site_list.append(site)
        return self.sites[key]
