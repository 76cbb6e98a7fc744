"""From the definitions of a scope to a checked forest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ForestError, RimetreeError, nearest
from . import relief
from .check import Wrong, check_kinds, cycles, place
from .definition import Definition
from .families import Block, intern
from .forest import Forest
from .gather import Gatherer
from .names import Names, NameTable, base_of
from .rows import depths, split
from .scope import Alias, Members, Root, Stub
from .transform import ROLE, Transforms


def build(root: Root, wanted: Sequence[Stub | Definition | str]) -> Forest:
    """The forest of a scope, or of what the nodes `wanted` need. Raises ForestError with all faults."""
    with relief.paused():
        try:
            return _Builder(root, wanted).forest()
        finally:
            relief.restore(root)


class _Builder:
    """The steps after gathering: names, aliases, checks, interning."""

    def __init__(self, root: Root, wanted: Sequence[Stub | Definition | str]) -> None:
        self.root = root
        self.wanted = wanted
        self.gathered = Gatherer(root)
        self.gathered.gather(wanted)
        self.blocks: list[Block] = self.gathered.blocks
        self.count = self.gathered.count
        self.faults = self.gathered.faults
        self.tables = self._tables()
        self.names = Names(self.tables, self.count)
        self.first: dict[int, int] = {}
        """For a second definition of a node: the number of the first."""

    def forest(self) -> Forest:
        """The forest; raises ForestError."""
        pairs = self._twice_bound()
        self.count = self.gathered.count
        self.first = {other: first for first, other in pairs}
        self._name_parms()
        target = self._drop_aliases()
        depth = depths([(b.ids, b.kids) for b in self.blocks], self.count)
        check_kinds(self.blocks, self.count, self.faults)
        self._check_cycles(depth)
        if not self.faults:
            self.blocks = [b for b in self.blocks if b.cls is not Wrong]
        if not self.faults and any(b.cls.role == ROLE for b in self.blocks):
            found = Transforms(self.blocks, depth, self.gathered.values, self.faults)
            self.blocks, self.count, target = found.blocks, found.count, found.stands_for[target]
            depth = depths([(b.ids, b.kids) for b in self.blocks], self.count)
        interned = intern(self.blocks, depth, self.gathered.values)
        self._check_twice_bound(pairs, interned.final[target])
        if self.faults:
            raise ForestError(self.faults.issues(self._describe))
        if self.wanted:
            self._keep(interned.final[target[[self._number(node) for node in self.wanted]]], interned.final, depth)
            interned = intern(self.blocks, depth, self.gathered.values)
        final = interned.final[target]
        kept = [(table, final[table.numbers]) for table in self.tables]
        names = [table.select(numbers >= 0, numbers) for table, numbers in kept if bool((numbers >= 0).any())]
        roots = [int(final[self._number(node)]) for node in self.wanted]
        return Forest(interned, names, list(dict.fromkeys(roots)) if roots else None)

    def _tables(self) -> list[NameTable]:
        """The bound names with provisional numbers; those that one by one were given first, then those of arrays."""
        texts, base, tables = self.root.codes.texts, self.gathered.base, []
        for name in self.root.names.values():
            stubs = [entry for entry in name.bound if type(entry) is Stub]
            if stubs:
                numbers = np.fromiter([s.number for s in stubs], np.int64, len(stubs)) - base
                tables.append(NameTable(name.full, [s.quals for s in stubs], (), texts, numbers))
            for entry in name.bound:
                if isinstance(entry, Members) and np.prod(entry.ref.shape):
                    size = int(np.prod(entry.ref.shape))
                    start = self.gathered.start[id(entry)]
                    numbers = np.arange(start, start + size, dtype=np.int32)
                    tables.append(NameTable(name.full, None, entry.ref.columns, texts, numbers))
        return tables

    def _number(self, node: Stub | Definition | str) -> int:
        """The provisional number of a wanted root. Raises RimetreeError where there is none of that name."""
        if isinstance(node, Definition):
            return node.number - self.gathered.base
        if str(node) not in self.names:
            same = self.names.of(base_of(str(node))) or self.names.bases()
            raise RimetreeError(f"there is no node {str(node)!r}{nearest(node, list(same)[:5000])}")
        return self.names[str(node)]

    def _name_parms(self) -> None:
        """A Parm's identity includes its name; an anonymous one is named by its definition: equal ones coincide."""
        for block in self.blocks:
            if block.cls.role == "parm" and "name" not in block.members:
                bound = block.ids
                if not self.first.keys().isdisjoint(bound.tolist()):
                    bound = np.array([self.first.get(number, number) for number in bound.tolist()])
                names = [name or self._parm_name(block, row) for row, name in enumerate(self.names.texts(bound))]
                block.members["name"] = self.gathered.values.encode(names)

    def _parm_name(self, block: Block, row: int) -> str:
        own = {name: self.gathered.values.seen[codes[row]] for name, codes in block.members.items()}
        given = {name: value for name, value in {**own, **block.options}.items() if _differs(block, name, value)}
        return f"{block.cls.__name__}({', '.join(f'{name}={_plain(value)}' for name, value in given.items())})"

    def _drop_aliases(self) -> np.ndarray:
        """Point everything at what aliases stand for; returns for each number the one that it stands for."""
        target = np.arange(self.count, dtype=np.int32)
        aliases = [b for b in self.blocks if b.cls is Alias]
        self.blocks = [b for b in self.blocks if b.cls is not Alias]
        if not aliases:
            return target
        for block in aliases:
            target[block.ids] = block.kids[:, 0]
        is_alias = np.zeros(self.count, bool)
        is_alias[np.concatenate([b.ids for b in aliases])] = True
        for _ in range(64):  # each round doubles the length of the chains that are followed
            target = target[target]
            if not is_alias[target].any():
                break
        for block in aliases:
            stuck = np.flatnonzero(is_alias[target[block.ids]])
            if stuck.size:  # aliases of each other: left in as nodes, for the cycle check to name
                self.blocks.append(block.take(stuck))
        target = np.where(is_alias[target], np.arange(self.count, dtype=np.int32), target)
        for block in self.blocks:
            block.kids = target[block.kids]
        return target

    def _check_cycles(self, depth: np.ndarray) -> None:
        if int(depth.min(initial=0)) >= 0 or not any((depth[b.ids] < 0).any() for b in self.blocks):
            return
        for cycle in cycles(self.blocks, depth)[:20]:
            named = [n for n in cycle[:-1] if self.names.text(n)] or cycle[:-1]
            start = min(named)  # the one that was bound first
            turn = cycle.index(start)
            loop = [*cycle[turn:-1], *cycle[:turn], start]
            path = " -> ".join(t for t in (self.names.text(n) for n in loop) if t)
            block, _ = self._find(start)
            self.faults.add(start, block.site, f"needs itself: {path}")

    def _keep(self, roots: np.ndarray, final: np.ndarray, depth: np.ndarray) -> None:
        """Drop the nodes that the roots (final numbers) do not need; definitions of equal nodes stay or go together."""
        needed = np.zeros(self.count, bool)
        needed[roots] = True
        parts = [b.take(rows) for b in self.blocks for rows in split(depth[b.ids])]
        for part in sorted(parts, key=lambda part: -int(depth[part.ids[0]])):
            needed[final[part.kids[needed[final[part.ids]]]]] = True
        kept = [b.take(np.flatnonzero(needed[final[b.ids]])) for b in self.blocks]
        self.blocks = [b for b in kept if len(b.ids)]

    def _twice_bound(self) -> list[tuple[int, int]]:
        """Provisional numbers of nodes that were bound to one name: (first, other)."""
        base = self.gathered.base
        pairs = [(s.number - base, d.number - base) for s, d in self.root.again]
        for name in self.root.names.values():
            if any(isinstance(entry, Members) for entry in name.bound):
                pairs += self.gathered.index(name).pairs
        return pairs

    def _check_twice_bound(self, pairs: list[tuple[int, int]], final: np.ndarray) -> None:
        """Binding an equal definition again is fine; a different one is a fault."""
        for first, other in pairs:
            if final[first] != final[other]:
                old, _ = self._find(first)
                new, _ = self._find(other)
                message = f"defined here, but already defined differently at {place(old.site)}"
                self.faults.add(self._describe(first), new.site, message)

    def _find(self, number: int) -> tuple[Block, int]:
        """The block and row of a provisional number."""
        for block in [*self.blocks, *self.gathered.blocks]:
            rows = np.flatnonzero(block.ids == number)
            if rows.size:
                return block, int(rows[0])
        raise KeyError(number)

    def _describe(self, number: int) -> str:
        """The name of a node for a message; an anonymous one by its class and the node in which it stands."""
        name, parents = self._name(number), 0
        while name is None and parents < 100:
            rows = ((b, np.flatnonzero((b.kids == number).any(axis=1))) for b in self.gathered.blocks)
            user = next((int(b.ids[found[0]]) for b, found in rows if found.size), None)
            if user is None:
                break
            number, parents = user, parents + 1
            name = self._name(number)
        if name is None:
            return "an anonymous node"
        return f"a child of {name}" if parents else name

    def _name(self, number: int) -> str | None:
        return self.names.text(self.first.get(number, number))


def _differs(block: Block, name: str, value: Any) -> bool:
    option = block.cls.options.get(name)
    default = option.default if option is not None else ()
    return type(value) is not type(default) or isinstance(value, np.ndarray) or value != default


def _plain(value: Any) -> str:
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
