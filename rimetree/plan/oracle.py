"""The oracle: interpret a forest node by node. Slow, obvious, and the reference for everything compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..graph.node import Family
from ..grid import Cells
from ..parms.funklet import coefficients, polynomial
from ..ring import Plane, Tensor
from .apply import apply, blaming, centres
from .lookup import looked_up
from .program import spread
from .template import NodeFailure


def interpret(families: Sequence[Family], family: int, member: int, cells: Cells) -> Tensor:
    """The value of one node, from the values of its children, each node by itself on the whole grid."""
    known: dict[tuple[int, int], Tensor] = {}
    stack = [(family, member)]
    while stack:
        node = stack[-1]
        children = _children(families[node[0]], node[1])
        waiting = [child for group in children for child in group if child not in known]
        if waiting:
            stack.extend(waiting)
        else:
            stack.pop()
            known[node] = _value(families[node[0]], node, [[known[c] for c in group] for group in children], cells)
    return known[family, member]


def _children(family: Family, member: int) -> list[list[tuple[int, int]]]:
    """Per Kid the nodes that it holds: one, or the terms of a reduction."""
    return [[(kid.family, int(i)) for i in np.atleast_1d(kid.index[member])] for kid in family.kids]


def _value(family: Family, node: tuple[int, int], children: list[list[Tensor]], cells: Cells) -> Tensor:
    number, member = node
    role = family.cls.role
    shape = cells.shape
    if role == "constant":
        values = np.asarray(family.members["value"][member])
        dims = values.shape[: values.ndim - len(family.own_axes)]
        elements = values.reshape(-1, *values.shape[len(dims) :])
        planes = (spread(number, e[None], family.own_axes, cells.coordinates()) for e in elements)
        return Tensor(dims, tuple(Plane(np.broadcast_to(p, (1, *shape))) for p in planes))
    if role == "coordinate":
        with blaming(number, family.cls):
            return Tensor.scalar(Plane(np.broadcast_to(centres(family.own_axes[0], cells.coordinates()), shape)[None]))
    if role == "lookup":
        single = replace(family, members={key: [v[member]] for key, v in family.members.items()}, size=1)
        found = looked_up(number, single, cells.coordinates())
        return Tensor(family.cls.dims(family.options), tuple(Plane(np.broadcast_to(e, (1, *shape))) for e in found))  # type: ignore[attr-defined]
    if role == "parm":
        grid = cells.coordinates()
        value = polynomial(coefficients(family)[member : member + 1], grid["time"], grid["freq"])
        return Tensor.scalar(Plane(np.broadcast_to(value, (1, *shape))))
    if role == "data":
        raise NodeFailure(number, "has no value here: data are read in a run on a Measurement Set")
    members = {
        key: np.reshape(value[member], (1,) * (1 + len(shape)))
        for key, value in family.members.items()
        if key in family.cls.options
    }
    with blaming(number, family.cls):
        return apply(replace(family, kids=()), [t for group in children for t in group], members, cells.coordinates())
