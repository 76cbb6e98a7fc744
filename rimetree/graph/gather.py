"""Definitions of a scope become blocks of integers: every node numbered, every call understood, every option checked.

Every definition gets a provisional number. Definitions made by loops are grouped by script line and class and become
one block per group; array-wise ones are blocks already (see `bulk`). A node with a fault becomes a `Wrong`, so that all
faults are found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from ..errors import RimetreeError
from .bulk import Bulk
from .calls import Layout, Options, layout
from .check import Faults, Wrong, suggest
from .definition import BULK, Definition
from .families import Block, Site
from .index import NameIndex
from .node import NodeClass
from .registry import get
from .scope import Members, Name, Root, Stub
from .values import Values

SUGGESTIONS = 50
"""How many undefined nodes are named one by one with a suggestion; finding one takes milliseconds."""

_next_number = 0


class Gatherer:
    """Gathers `blocks` and `faults`. Provisional numbers are those of the definitions, less `base`."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.base = _next_number
        self.count = 0
        self.values = Values()
        self.faults = Faults()
        self.blocks: list[Block] = []
        self.start: dict[int, int] = {}
        self.wrong = self.allocate(1)
        self.add_wrong(np.array([self.wrong]), (None, 0))
        self._options = Options(self.values)
        self._bulk = Bulk(self)
        self._work: list[Definition] = []
        self._layouts: dict[Any, Layout | str] = {}
        self._indices: dict[str, NameIndex] = {}
        self._constants: dict[int, int] = {}
        self._undefined: set[Any] = set()
        self._bound: dict[str, list[str]] | None = None

    def gather(self, wanted: Sequence[Stub | Definition | str]) -> None:
        """Number all that is bound or wanted, and turn it into blocks."""
        global _next_number
        try:
            bulk = self._number(wanted)
            for group in self._discover(bulk):
                self._group(group)
        finally:
            _next_number = self.base + self.count

    def allocate(self, count: int) -> int:
        """The first of `count` new provisional numbers."""
        start = self.count
        self.count += count
        return start

    def add_definition(self, definition: Definition) -> int:
        """The provisional number of a definition, which is put to work unless it is known."""
        if definition.number < self.base:
            definition.number = self.base + self.allocate(1)
            self._work.append(definition)
        return definition.number - self.base

    def _number(self, wanted: Sequence[Stub | Definition | str]) -> list[Members]:
        """Number what is bound or wanted; returns the array-wise bindings."""
        bulk = []
        for name in self.root.names.values():
            for entry in name.bound:
                if isinstance(entry, Members):
                    self.start[id(entry)] = self.allocate(int(np.prod(entry.ref.shape)))
                    bulk.append(entry)
                elif entry.definition is not None:
                    entry.number = self.base + self.add_definition(entry.definition)
        for _, definition in self.root.again:
            self.add_definition(definition)
        for node in wanted:
            if isinstance(node, Definition):
                self.add_definition(node)
        return bulk

    def _discover(self, bulk: list[Members]) -> list[list[Definition]]:
        """Number anonymous definitions too, and group all by script line and way of calling; do array-wise ones."""
        for entry in bulk:
            self._bulk.define(entry.definition, entry.ref.shape, self.start[id(entry)])
        groups: dict[Any, list[Definition]] = {}
        base = self.base
        for definition in self._work:  # grows meanwhile
            if definition.bulk == BULK:
                self._bulk.define(definition, (), definition.number - base)
                continue
            for arg in definition.args:
                if type(arg) is Definition and arg.number < base:
                    self.add_definition(arg)
            key = (definition.cls, id(definition.code), definition.lasti, definition.names, len(definition.args))
            if key in groups:
                groups[key].append(definition)
            else:
                groups[key] = [definition]
        return list(groups.values())

    # ---- loop-made definitions

    def _group(self, group: list[Definition]) -> None:
        """Blocks for definitions of one class, script line and way of calling."""
        first = group[0]
        site: Site = (first.code, first.lasti)
        ids = (np.fromiter(map(attrgetter("number"), group), np.int64, len(group)) - self.base).astype(np.int32)
        cls, plan = self.layout(first)
        if isinstance(plan, str):
            self.faults.add(int(ids[0]), site, plan, len(ids))
            self.add_wrong(ids, site)
            return
        arity = len(plan.children)
        if plan.children == tuple(range(len(first.args))):
            flat: list[Any] = list(chain.from_iterable([d.args for d in group]))
        else:
            flat = [d.args[place] for d in group for place in plan.children]
        kids = self._numbers(flat, ids, plan, site).reshape(len(group), arity)
        if plan.spreads and (plural := np.flatnonzero((kids < 0).any(axis=1))).size:
            for row in plural.tolist():  # ns.eq, bound only with qualifiers, stands for all of them
                self._bulk.define(group[row], (), int(ids[row]))
            keep = np.flatnonzero((kids >= 0).all(axis=1))
            group, ids, kids = [group[row] for row in keep.tolist()], ids[keep], kids[keep]
        given = {name: self.values.encode([d.args[at] for d in group]) for name, at in plan.options.items()}
        if len(ids):
            self.add_nodes(cls, site, ids, kids, given)

    def layout(self, definition: Definition) -> tuple[type[NodeClass], Layout | str]:
        """The class of a definition and what its arguments mean, or what is wrong with them."""
        key = (definition.cls, definition.names, len(definition.args))
        cls = definition.cls
        if isinstance(cls, str):
            try:
                cls = get(cls)
            except RimetreeError as error:
                return Wrong, str(error)
        if key not in self._layouts:
            try:
                self._layouts[key] = layout(cls, len(definition.args) - len(definition.names), definition.names)
            except ValueError as error:
                self._layouts[key] = str(error)
        return cls, self._layouts[key]

    def _numbers(self, flat: list[Any], ids: np.ndarray, plan: Layout, site: Site) -> np.ndarray:
        """Provisional numbers of children given as written; -1 for a stub that stands for many nodes."""
        arity = len(plan.children)
        try:
            numbers = (np.fromiter(map(attrgetter("number"), flat), np.int64, len(flat)) - self.base).astype(np.int32)
        except AttributeError:  # numbers, lists or mistakes among them
            numbers = np.empty(len(flat), np.int32)
            for at, arg in enumerate(flat):
                known = type(arg) is Stub or type(arg) is Definition
                numbers[at] = arg.number - self.base if known else self.operand(arg, int(ids[at // arity]), site)
        missing = np.flatnonzero(numbers < 0).tolist()
        self.resolve([flat[at] for at in missing])
        for at in missing:
            numbers[at] = self.stub_number(flat[at], site, plan.spreads)
        return numbers

    def resolve(self, stubs: list[Stub]) -> None:
        """Number stubs that are members of array-wise bindings, all of one name at once."""
        by_name: dict[str, dict[tuple[str, ...], Stub]] = {}
        for stub in stubs:
            if stub.number < self.base:
                by_name.setdefault(stub.name.full, {})[stub.quals] = stub
        for full, some in by_name.items():
            by_depth: dict[int, list[Stub]] = {}
            for stub in some.values():
                by_depth.setdefault(len(stub.quals), []).append(stub)
            for depth, same in by_depth.items():
                if depth:
                    columns = [self.root.codes.encode(c) for c in zip(*[s.quals for s in same], strict=True)]
                    found = self.index(self.root.names[full]).find_columns(columns, len(same))
                    for stub, number in zip(same, found.tolist(), strict=True):
                        stub.number = self.base + number if number >= 0 else -1

    def stub_number(self, stub: Stub, site: Site, spreads: bool) -> int:
        """The number of a resolved stub; -1 where it may stand for many nodes and does; a fault where undefined."""
        if stub.number >= self.base:
            return stub.number - self.base
        if spreads and not stub.quals and stub.name.bound:
            return -1
        self.undefined(stub.name, stub.quals, site)
        return self.wrong

    def undefined(self, name: Name, quals: tuple[str, ...], site: Site) -> None:
        """Record that a node is not defined, with the nearest name that is, once per script line."""
        text = ":".join((name.full, *quals))
        if (text, id(site[0]), site[1]) in self._undefined:
            return
        self._undefined.add((text, id(site[0]), site[1]))
        hint = ""
        if len(self._undefined) > SUGGESTIONS:
            text = name.full
        else:
            if self._bound is None:
                self._bound = {full: [str(s) for s in n.stubs()] for full, n in self.root.names.items() if n.bound}
            hint = suggest(name.full, quals, self._bound)
        self.faults.add(text, site, f"used here but never defined{hint}")

    # ---- shared with the array-wise path

    def operand(self, arg: Any, user: int, site: Site) -> int:
        """The number of a child that is neither node nor reference: a constant, or a fault of the node `user`."""
        if isinstance(arg, (bool, int, float, complex, np.generic, np.ndarray, list, tuple)):
            try:
                if (array := np.asarray(arg)).dtype.kind in "biufc" and array.size:
                    return self.constant(arg, site)
            except ValueError:  # nested lists of unequal lengths
                pass
        hint = f"; write ns[{arg!r}] for the node of that name" if isinstance(arg, str) else ""
        if isinstance(arg, (list, tuple)):
            each = "Meq.Composer(*list) makes one vector of its nodes, *list passes each as a child"
            hint = f"; {each}" if arg else "; the list is empty"
        self.faults.add(user, site, f"a child must be a node or a number, not {_short(arg)}{hint}")
        return self.wrong

    def constant(self, value: Any, site: Site) -> int:
        """The number of the shared Constant of this value."""
        code = self.values.code(value)
        if code not in self._constants:
            self._constants[code] = number = self.allocate(1)
            self.constants(np.array([number]), np.array([code]), site)
        return self._constants[code]

    def constants(self, ids: np.ndarray, codes: np.ndarray, site: Site) -> None:
        """Blocks of Constants with these value codes."""
        self.add_nodes(get("Constant"), site, ids, np.zeros((len(ids), 0), np.int64), {"value": codes})

    def add_nodes(
        self, cls: type[NodeClass], site: Site, ids: np.ndarray, kids: np.ndarray, given: Mapping[str, np.ndarray]
    ) -> None:
        """Blocks for nodes of one class with these children and codes of given options, split by static options."""
        for part in self._options.resolve(cls, given, len(ids)):
            if part.fault:
                wrong = ids[part.rows]
                self.faults.add(int(wrong[0]), site, part.fault, len(wrong))
                self.add_wrong(wrong, site)
            else:
                block = Block(cls, part.key, part.options, ids[part.rows], kids[part.rows], part.members, site)
                self.blocks.append(block)

    def add_wrong(self, ids: np.ndarray, site: Site) -> None:
        """Blocks for nodes that have a fault."""
        self.blocks.append(Block(Wrong, -1, {}, ids, np.zeros((len(ids), 0), np.int64), {}, site))

    def index(self, name: Name) -> NameIndex:
        """The index of a name's nodes by qualifiers."""
        if name.full not in self._indices:
            self._indices[name.full] = NameIndex(name, self.start, self.base)
        return self._indices[name.full]

    def all_members(self, name: Name) -> np.ndarray:
        """The numbers of all bound nodes of a name, in binding order."""
        parts: list[Any] = []
        for entry in name.bound:
            if isinstance(entry, Members):
                start = self.start[id(entry)]
                parts.append(np.arange(start, start + int(np.prod(entry.ref.shape)), dtype=np.int32))
            else:
                parts.append([entry.number - self.base])
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
