"""The oracle: interpret a forest node by node. Slow, obvious, and the reference for everything compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..funklets import At
from ..graph.node import Family
from ..grid import Cells
from ..parms.funklet import coefficients, funklet_of
from ..ring import Plane, Tensor
from .apply import apply, blaming, centres
from .flags import flags_of, leaf_flags
from .lookup import looked_up
from .program import spread
from .template import NodeFailure

Node = tuple[int, int]
"""Family and member."""


LEAVES = ("constant", "coordinate", "lookup", "parm", "data")


def interpret(families: Sequence[Family], family: int, member: int, cells: Cells) -> tuple[Tensor, Tensor]:
    """The value and the flags of one node, from those of its children, each node by itself on the whole grid."""
    known: dict[Node, tuple[Tensor, Tensor]] = {}
    stack = [(family, member)]
    while stack:
        node = stack[-1]
        children = _children(families[node[0]], node[1])
        waiting = [child for group in children for child in group if child not in known]
        if waiting:
            stack.extend(waiting)
        else:
            stack.pop()
            kids = [known[child] for group in children for child in group]
            known[node] = _result(families[node[0]], node, kids, cells)
    return known[family, member]


def _parm(family: Family, member: int, cells: Cells) -> np.ndarray:
    """A Parm cell by cell, (1, T, F)."""
    coefs, (time, freq) = coefficients(family)[member], (cells.axes[name] for name in ("time", "freq"))
    rows = []
    for t in time.centres:
        row = []
        for f in freq.centres:
            at = At(np.full((1, 1, 1, 1), t), np.full((1, 1, 1, 1), f), time.limits, freq.limits)
            funklet = funklet_of(family).bare()
            single = [c.reshape(1, 1, 1, 1, 1) for c in coefs.ravel()]
            value = funklet.combine(coefs.shape, single, funklet.prepare(coefs.shape, at))
            row.append(np.asarray(value).item())
        rows.append(row)
    return np.array([rows])


def _children(family: Family, member: int) -> list[list[tuple[int, int]]]:
    """Per Kid the nodes that it holds: one, or the terms of a reduction."""
    return [[(kid.family, int(i)) for i in np.atleast_1d(kid.index[member])] for kid in family.kids]


def _result(family: Family, node: Node, kids: list[tuple[Tensor, Tensor]], cells: Cells) -> tuple[Tensor, Tensor]:
    """Value and flags of a node from those of its children."""
    member = node[1]
    values, flags = [value for value, _ in kids], [bits for _, bits in kids]
    members = {
        key: np.reshape(value[member], (1,) * (1 + len(cells.shape)))
        for key, value in family.members.items()
        if key in family.cls.options and family.cls.role not in LEAVES
    }
    single = replace(family, kids=())
    value = _value(single, node, values, flags, members, cells)
    if kids:
        own = flags_of(single, lambda: value.dims, flags, lambda: values, members, cells.coordinates())
    else:
        numbers = [0 if family.cls.role == "constant" and not np.any(e.array) else None for e in value.elements]
        own = leaf_flags(family, (value.dims, tuple(numbers)), ())
    return value, own


def _value(
    family: Family,
    node: Node,
    values: list[Tensor],
    flags: list[Tensor],
    options: Mapping[str, Any],
    cells: Cells,
) -> Tensor:
    number, member = node
    role = family.cls.role
    shape = cells.shape
    if role == "constant":
        given = np.asarray(family.members["value"][member])
        dims = given.shape[: given.ndim - len(family.own_axes)]
        elements = given.reshape(-1, *given.shape[len(dims) :])
        planes = (spread(number, e[None], family.own_axes, cells.coordinates()) for e in elements)
        return Tensor(dims, tuple(Plane(np.broadcast_to(p, (1, *shape))) for p in planes))
    if role == "coordinate":
        with blaming(number, family.cls):
            return Tensor.scalar(Plane(np.broadcast_to(centres(family.own_axes[0], cells.coordinates()), shape)[None]))
    if role == "lookup":
        single = replace(family, members={key: [v[member]] for key, v in family.members.items()}, size=1)
        if values:
            with blaming(number, family.cls):
                return apply(single, values, {}, cells.coordinates(), flags)
        found = looked_up(number, single, cells.coordinates())
        return Tensor(family.cls.dims(family.options), tuple(Plane(np.broadcast_to(e, (1, *shape))) for e in found))  # type: ignore[attr-defined]
    if role == "parm":
        value = _parm(family, member, cells)
        return Tensor.scalar(Plane(np.broadcast_to(value.reshape(value.shape + (1,) * (len(shape) - 2)), (1, *shape))))
    if role == "data":
        raise NodeFailure(number, "has no value here: data are read in a run on a Measurement Set")
    with blaming(number, family.cls):
        return apply(family, values, options, cells.coordinates(), flags)
