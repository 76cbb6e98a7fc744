"""Values of leaves that are looked up outside the tree (see `graph.node.Lookup`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..graph.node import Family, Function, Lookup, Observation
from ..graph.values import freeze
from ..ring import Plane, Tensor
from .template import NodeFailure, Template, open_template


def lookup_template(family: Family) -> Template:
    """The shape of the value of a Lookup family: all elements come at run time."""
    return open_template(family.cls.dims(family.options))  # type: ignore[attr-defined]


def looked_up(number: int, family: Family, coordinates: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """The elements of all members of a Lookup family, each (n, grid...) with extent 1 along what it does not vary with.

    Raises NodeFailure naming the first member whose value cannot be known.
    """
    cls = family.cls
    assert issubclass(cls, Lookup)
    absent = [axis for axis in cls.axes if axis not in coordinates]
    if absent:
        raise NodeFailure(number, f"needs the axis {absent[0]!r}, which the cells do not have")
    centres = [np.asarray(coordinates[axis]).reshape(-1) for axis in cls.axes]
    shape = [np.size(coordinates[axis]) if axis in cls.axes else 1 for axis in coordinates]
    places = {axis: list(coordinates).index(axis) for axis in cls.axes}
    order = [sorted(places.values()).index(place) for place in places.values()]
    dims = cls.dims(family.options)
    members = []
    for member, options in enumerate(_options(family)):
        try:
            value = np.asarray(cls.look_up(*centres, **options), float)
        except ValueError as error:
            raise NodeFailure(number, str(error).splitlines()[0], member) from error
        value = value.reshape(-1, *value.shape[len(dims) :])
        members.append(np.moveaxis(value, range(1, value.ndim), [1 + i for i in order]).reshape(-1, *shape))
    return tuple(np.stack(members, 1))


def looked_up_at(family: Family, at: Any) -> Tensor:
    """The value of a Lookup family of one axis at the coordinates `at`, (n or 1, grid...), cell by cell; may be traced."""
    cls = family.cls
    assert issubclass(cls, Lookup)
    dims = cls.dims(family.options)
    options = list(_options(family))
    if len({freeze(own) for own in options}) > 1:
        at = at + np.zeros((len(options), *(1,) * (np.ndim(at) - 1)))

    def numeric(given: np.ndarray) -> np.ndarray:
        each = options if len(given) == len(options) else options[:1] * len(given)
        found = [np.asarray(cls.look_up(row.ravel(), **own), float) for row, own in zip(given, each, strict=True)]
        stacked = np.stack([v.reshape(-1, *row.shape) for v, row in zip(found, given, strict=True)])
        return np.moveaxis(stacked, 1, -1)

    if isinstance(at, np.ndarray):
        planes: Any = np.moveaxis(numeric(at), -1, 0)
    else:
        from .host import on_host

        planes = on_host(family, numeric, [at], math.prod(dims))
    return Tensor(dims, tuple(map(Plane, planes)))


def read(families: Mapping[int, Family]) -> dict[int, Mapping[str, Any]]:
    """What families of Functions read from outside the tree, see `Function.reads`. Raises NodeFailure."""
    found = {}
    for number, family in families.items():
        if issubclass(family.cls, Function):
            try:
                arrays = family.cls.reads(family.options)
            except ValueError as error:
                raise NodeFailure(number, str(error).splitlines()[0]) from error
            if arrays:
                found[number] = arrays
    return found


def observed(families: Mapping[int, Family], observation: Observation) -> dict[int, Family]:
    """The families, with the options of Lookup nodes completed from the observation.

    Raises NodeFailure where the observation lacks what a node names.
    """
    result = dict(families)
    for number, family in families.items():
        cls = family.cls
        if not issubclass(cls, Lookup):
            continue
        found = []
        for member, options in enumerate(_options(family)):
            try:
                found.append(cls.observe(observation, options))
            except ValueError as error:
                raise NodeFailure(number, str(error), member) from error
        names = [name for name, option in cls.options.items() if option.per_member]
        members = {**family.members, **{name: [options[name] for options in found] for name in names}}
        result[number] = replace(family, members=members)
    return result


def _options(family: Family) -> Iterator[dict[str, Any]]:
    """The options of each member."""
    static = {name: value for name, value in family.options.items() if name in family.cls.options}
    for member in range(family.size):
        own = {name: values[member] for name, values in family.members.items() if name in family.cls.options}
        yield static | own
