"""Trees on other coordinates: each `CoordTransform` is replaced by its first child with the coordinates put in.

A substitution in the graph, so that everything after it sees an ordinary forest. Leaves that give an axis are exchanged for
the coordinate; a Function that asks for the centres of an axis gets the coordinate as one more child (its option `moved`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import nearest
from .check import Faults
from .families import Block
from .node import Function, Lookup, NodeClass, Reducing
from .values import Values, freeze

ROLE = "transform"


@dataclass(slots=True, eq=False)
class _Node:
    """One node: a row of a block with children of its own, and the axes that more children give."""

    block: Block
    row: int
    kids: tuple[int, ...]
    moved: tuple[str, ...] = ()


class Transforms:
    """Puts coordinates in; `blocks` afterwards, and `stands_for`: node -> the node that takes its place."""

    def __init__(self, blocks: Sequence[Block], depth: np.ndarray, values: Values, faults: Faults) -> None:
        self.values, self.faults = values, faults
        self.stands_for = np.arange(len(depth), dtype=np.int32)
        self.count = len(depth)
        self.blocks = [b for b in blocks if b.cls.role != ROLE]
        self._first: dict[int, tuple[Block, int]] | None = None
        self._given = blocks
        self._made: dict[int, _Node] = {}
        self._used: set[str] = set()
        self._found: set[str] = set()
        """Axes along which a tree is moved, and those along which it varies."""
        todo = [
            (int(depth[i]), block, row) for block in blocks if block.cls.role == ROLE for row, i in enumerate(block.ids)
        ]
        for _, block, row in sorted(todo, key=lambda item: item[0]):
            self._replace(block, row)
        self.blocks += self._new_blocks()
        for block in self.blocks:
            old = block.kids < len(self.stands_for)
            block.kids = np.where(old, self.stands_for[np.where(old, block.kids, 0)], block.kids)

    def _replace(self, block: Block, row: int) -> None:
        number, (x, *coords) = int(block.ids[row]), (self._final(int(k)) for k in block.kids[row])
        axes = block.options["axes"]
        if len(axes) != len(coords):
            self.faults.add(
                number, block.site, f"{len(coords)} coordinates do not go with axes {axes}: give one for each"
            )
            return
        places = dict(zip(axes, coords, strict=True))
        self._used.clear()
        self._found.clear()
        copies: dict[int, int] = {}
        stack = [x]
        while stack:
            top = stack[-1]
            waiting = [k for k in self._kids(top) if k not in copies]
            if top in copies:
                stack.pop()
            elif waiting:
                stack.extend(waiting)
            else:
                stack.pop()
                copies[top] = self._copy(top, places, copies, number, block)
        idle = [axis for axis in axes if axis not in self._used]
        if len(idle) == len(axes):
            text = f"x does not vary along {' or '.join(axes)}: there is nothing to transform"
            self.faults.add(number, block.site, text + nearest(idle[0], self._found))
        elif idle := [axis for axis in idle if axis not in ("time", "freq")]:  # of these any tree may be asked
            self.faults.add(number, block.site, f"x does not vary along {idle[0]}{nearest(idle[0], self._found)}")
        self.stands_for[number] = copies[x]

    def _copy(self, number: int, places: Mapping[str, int], copies: Mapping[int, int], at: int, by: Block) -> int:
        """The node with the coordinates put in; itself where nothing changes."""
        node = self._node(number)
        cls, options = node.block.cls, node.block.options
        if cls.role == "coordinate":
            axis = options.get("axis") or cls.axis  # type: ignore[attr-defined]
            self._used |= {axis} & set(places)
            self._found.add(axis)
            return places.get(axis, number)
        asked = cls.axes_of(options) if issubclass(cls, Function) else _moving(cls)
        self._found |= {axis for axis in asked if axis not in node.moved}
        moved = tuple(axis for axis in asked if axis in places and axis not in node.moved)
        self._used.update(moved)
        fixed = [axis for axis in self._own_axes(node) if axis in places]
        kids = tuple(copies[k] for k in node.kids)
        if issubclass(cls, Reducing) and kids != node.kids and len(kids) == 1:
            taken = options["axes"]
            fixed += [axis for axis in places if taken is None or axis in taken]
        if kids != node.kids:
            fixed += [axis for axis in cls.taken(options) if axis in places]
        self._used.update(fixed)
        if fixed:
            text = f"varies along {fixed[0]!r} by itself, so that it cannot be moved to other coordinates"
            self.faults.add(at, by.site, f"{cls.__name__} below it {text}")
        if kids == node.kids and not moved:
            return number
        self._made[self.count] = _Node(
            node.block, node.row, (*kids, *(places[axis] for axis in moved)), node.moved + moved
        )
        self.count += 1
        return self.count - 1

    def _own_axes(self, node: _Node) -> Sequence[str]:
        """Axes along which a leaf varies by itself."""
        cls, options = node.block.cls, node.block.options
        if issubclass(cls, Lookup):
            return () if _moving(cls) else cls.axes
        if cls.role == "constant":
            return tuple(options.get("axes") or ())
        if cls.role != "parm":
            return ()
        own: dict[str, Any] = {
            name: self.values.seen[codes[node.row]] for name, codes in node.block.members.items()
        } | dict(options)
        if own.get("funklet") is not None:
            return ("time", "freq")
        shape = (*np.shape(own.get("value", 0.0)), 1, 1)[:2]
        return [axis for axis, n in zip(("time", "freq"), shape, strict=True) if n > 1]

    def _final(self, number: int) -> int:
        return int(self.stands_for[number]) if number < len(self.stands_for) else number

    def _kids(self, number: int) -> Sequence[int]:
        return self._node(number).kids

    def _node(self, number: int) -> _Node:
        if number in self._made:
            return self._made[number]
        if self._first is None:
            self._first = {int(i): (b, row) for b in self._given for row, i in enumerate(b.ids)}
        block, row = self._first[number]
        return _Node(block, row, tuple(self._final(int(k)) for k in block.kids[row]))

    def _new_blocks(self) -> list[Block]:
        """The copies, those of one block and of the same axes together."""
        groups: dict[tuple[int, tuple[str, ...]], list[tuple[int, _Node]]] = {}
        for number, node in self._made.items():
            groups.setdefault((id(node.block), node.moved), []).append((number, node))
        keys: dict[Any, int] = {}
        largest = max((b.key for b in self._given), default=0)
        found = []
        for (_, moved), nodes in groups.items():
            block = nodes[0][1].block.take(np.array([node.row for _, node in nodes]))
            block.ids = np.array([number for number, _ in nodes], np.int32)
            block.kids = np.array([node.kids for _, node in nodes], np.int32).reshape(len(nodes), -1)
            if moved:
                block.options = {**block.options, "moved": moved}
                block.key = keys.setdefault((block.cls, freeze(block.options)), largest + 1 + len(keys))
            found.append(block)
        return found


def _moving(cls: type[NodeClass]) -> tuple[str, ...]:
    """The axes along which a class of leaves that are looked up can be moved."""
    return cls.axes if issubclass(cls, Lookup) and len(cls.axes) == 1 and not cls.of_cells else ()
