"""Array-wise definitions: one definition becomes blocks of many nodes; references and values broadcast as in numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .calls import Layout
from .definition import BULK, PLAIN, Definition, Ref
from .families import Block, Site
from .node import NodeClass, Option
from .scope import Alias, Stub

if TYPE_CHECKING:
    from .gather import Gatherer

Shape = tuple[int, ...]


class Bulk:
    """Turns array-wise definitions into blocks of the gatherer. Node numbers are arrays of the nodes' natural shape."""

    def __init__(self, gatherer: Gatherer) -> None:
        self.gatherer = gatherer

    def define(self, definition: Definition, shape: Shape, start: int) -> None:
        """Define the members of `shape`, numbered from `start` in row-major order."""
        found: dict[int, np.ndarray] = {}
        for part in _postorder(definition, shape):
            found[id(part)] = self._nodes(part, shape, start, found, part is definition)
        ids = found[id(definition)]
        if ids.shape == shape and (ids.size == 0 or ids.ravel()[0] == start):
            return
        members = _numbers(start, int(np.prod(shape)))
        site: Site = (definition.code, definition.lasti)
        try:
            kids = np.broadcast_to(ids, shape).reshape(-1, 1)
        except ValueError:
            hint = "; name them with .over(...), or pass the reference alone to sum over it" if shape == () else ""
            message = (
                f"the definition has shape {ids.shape} and does not fit the shape {shape} of what it defines{hint}"
            )
            self.gatherer.faults.add(start, site, message)
            self.gatherer.add_wrong(members, site)
            return
        self.gatherer.blocks.append(Block(Alias, -1, {}, members, kids, {}, site))

    def _nodes(
        self, definition: Definition, shape: Shape, start: int, found: dict[int, np.ndarray], top: bool
    ) -> np.ndarray:
        """Nodes of one definition, whose children's numbers are in `found`; in a shape that broadcasts to `shape`."""
        gatherer = self.gatherer
        site: Site = (definition.code, definition.lasti)
        cls, plan = gatherer.layout(definition)
        if isinstance(plan, str):
            gatherer.faults.add(start, site, plan)
            return np.array(gatherer.wrong)
        kids = self._kids(definition, cls, plan, shape, start, found)
        given = {
            name: self._option(cls.options.get(name), definition.args[at], len(shape))
            for name, at in plan.options.items()
        }
        own = [shape] if top and cls.role == "parm" else []  # every name is a parameter of its own
        shapes = [k.shape[:-1] for k in kids] + [codes.shape for codes in given.values()] + own
        try:
            natural = np.broadcast_shapes(*shapes)
        except ValueError:
            listed = ", ".join(map(str, dict.fromkeys(shapes)))
            hint = "; for one value for all members write a nested list" if given else ""
            gatherer.faults.add(start, site, f"the shapes {listed} do not broadcast against each other{hint}")
            return np.array(gatherer.wrong)
        count = int(np.prod(natural))
        first = start if top and natural == shape else gatherer.allocate(count)
        columns = [np.broadcast_to(k, (*natural, k.shape[-1])).reshape(count, k.shape[-1]) for k in kids]
        matrix = np.concatenate(columns, axis=1) if columns else np.zeros((count, 0), np.int32)
        codes = {name: _spread(c, natural) for name, c in given.items()}
        ids = _numbers(first, count)
        if kids and not matrix.shape[1]:
            gatherer.faults.add(start, site, f"{cls.__name__} is given a reference to no nodes at all")
            gatherer.add_wrong(ids, site)
        elif count:
            gatherer.add_nodes(cls, site, ids, matrix, codes)
        return ids.reshape(natural)

    def _kids(
        self,
        definition: Definition,
        cls: type[NodeClass],
        plan: Layout,
        shape: Shape,
        start: int,
        found: dict[int, Any],
    ) -> list[np.ndarray]:
        """Numbers of the children, (..., k) each: k is 1, or what a class with many children spreads over."""
        rank = len(shape)
        alone = len(plan.children) == 1 or cls.role in ("solver", "sequence")
        site: Site = (definition.code, definition.lasti)
        kids = []
        for at, place in enumerate(plan.children):
            many = plan.spreads and at >= plan.many
            numbers = self._operand(definition.args[place], rank, start, site, found, many)
            if many and alone and numbers.ndim > rank:
                kids.append(numbers.reshape(*numbers.shape[:rank], -1))
            else:
                kids.append(numbers[..., None])
        return kids

    def _operand(
        self, arg: Any, rank: int, start: int, site: Site, found: dict[int, np.ndarray], many: bool
    ) -> np.ndarray:
        """Numbers of the nodes that one argument stands for."""
        gatherer = self.gatherer
        if isinstance(arg, Ref):
            return self._referred(arg, site)
        if isinstance(arg, Definition):
            return found[id(arg)] if id(arg) in found else np.array(gatherer.add_definition(arg))
        if isinstance(arg, Stub):
            gatherer.resolve([arg])
            number = gatherer.stub_number(arg, site, many)
            return gatherer.all_members(arg.name) if number < 0 else np.array(number)
        if isinstance(arg, np.ndarray) and rank and arg.ndim and arg.dtype.kind in "biufc":
            codes = gatherer.values.encode_array(arg, rank)
            ids = _numbers(gatherer.allocate(codes.size), codes.size)
            gatherer.constants(ids, codes.ravel(), site)
            return ids.reshape(codes.shape)
        return np.array(gatherer.operand(arg, start, site))

    def _referred(self, ref: Ref, site: Site) -> np.ndarray:
        """Numbers of the nodes of a reference; undefined ones are faults."""
        gatherer = self.gatherer
        if ref.codes is None:
            numbers = gatherer.all_members(ref.name)
            if not numbers.size:
                gatherer.undefined(ref.name, (), site)
            return numbers if numbers.size else np.array([gatherer.wrong])
        numbers = gatherer.index(ref.name).find(ref)
        if numbers.size and numbers.min() < 0:
            texts = ref.name.root.codes.texts
            for place in np.argwhere(numbers < 0).tolist():
                quals = tuple(texts[codes[tuple(place)]] for codes in ref.codes)
                gatherer.undefined(ref.name, quals, site)
            numbers = np.where(numbers < 0, gatherer.wrong, numbers)
        return numbers

    def _option(self, option: Option | None, value: Any, rank: int) -> np.ndarray:
        """Codes of an option: one for all members, or an array that broadcasts against them."""
        values = self.gatherer.values
        if option is not None and option.per_member and rank:
            if isinstance(value, (list, tuple)) and _holds_texts(value):
                value = np.array(value, object)
            elif isinstance(value, (list, tuple)) and not option.kind.lists:
                value = np.array(value)
            if isinstance(value, np.ndarray) and value.ndim:
                return values.encode_array(value, rank)
        return np.array(values.code(value))


def _numbers(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count, dtype=np.int32)


def _spread(codes: np.ndarray, shape: Shape) -> np.ndarray:
    """The codes of each member of `shape`; one for all costs no memory."""
    return np.broadcast_to(codes, int(np.prod(shape))) if codes.ndim == 0 else np.broadcast_to(codes, shape).ravel()


def _postorder(definition: Definition, shape: Shape) -> list[Definition]:
    """The array-wise definitions within one, children first, itself last. (A recursion would limit the depth.)"""
    least = PLAIN + 1 if shape else BULK
    order: list[Definition] = []
    seen: set[int] = set()
    stack = [(definition, False)]
    while stack:
        part, children_done = stack.pop()
        if children_done:
            order.append(part)
        elif id(part) not in seen:
            seen.add(id(part))
            stack.append((part, True))
            stack += [(a, False) for a in part.args if isinstance(a, Definition) and a.bulk >= least]
    return order


def _holds_texts(value: list[Any] | tuple[Any, ...]) -> bool:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, str)
