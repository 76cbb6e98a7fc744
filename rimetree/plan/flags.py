"""Flags of a family: the second question that is asked of every class, beside its value.

Flags are words of 32 bits, 0 is good. Those of all children are joined (OR), element by element where the class works so, each on
the axes along which it varies and no others. They are worked out only where somebody asks: a class whose value depends on
them (`sees_flags`), an equation or a Sink above one that changes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from ..graph.node import Elementwise, Family, Reducing, Ring
from ..ring import Bits, Plane, Tensor
from .apply import aligned, cell_axes, stacked
from .template import Template

NONE = Bits()


def flags_of(
    family: Family,
    dims: Callable[[], tuple[int, ...]],
    flags: Sequence[Tensor],
    values: Callable[[], Sequence[Tensor]],
    members: Mapping[str, Any],
    coordinates: Mapping[str, Any],
) -> Tensor:
    """The flags of a family that has children, elements `Bits` or 0, from `flags` of these.

    `dims()` is the shape of its value and `values()` are those of the children, for classes that ask; the rest as for `apply`.
    """
    cls = family.cls
    options = {k: v for k, v in family.options.items() if k in cls.options} | dict(members)
    if cls.flag_rule is not None:
        return cls.flag_rule(flags, **({"values": values()} if cls.flags_values else {}), **options)
    if issubclass(cls, Ring):
        return cls.ring(*flags, **options)
    if issubclass(cls, Elementwise):
        shape, columns = aligned(flags)
        return Tensor(shape, tuple(map(_joined, columns)))
    if issubclass(cls, Reducing):
        found = [_reduced(column, options, coordinates) for column in aligned(flags)[1]]
        copies = math.prod(dims()) // len(found)
        return Tensor(dims(), tuple(bits for bits in found for _ in range(copies)))
    if cls.role in ("sink", "sequence"):
        return flags[options.get("result", 0) if cls.role == "sequence" else 0]
    joined = _joined(element for tensor in flags for element in tensor.elements)
    return Tensor(dims(), (joined,) * math.prod(dims()))


def leaf_flags(family: Family, template: Template, given: Iterable[Any]) -> Tensor:
    """The flags of a family without children; `given`: arrays for the open elements of data."""
    dims, numbers = template
    if family.cls.role != "data":
        hiding = (
            family.cls.role == "constant" and not family.own_axes
        )  # 0 in one member is 0 in all: see its family_key
        return Tensor(dims, tuple(0 if hiding and number == 0 else NONE for number in numbers))
    arrays = iter(given)
    return Tensor(dims, tuple(0 if number == 0 else Bits(next(arrays, None)) for number in numbers))


def changed(families: Mapping[int, Family]) -> set[int]:
    """Families whose flags are not simply those of all data below them."""
    found: set[int] = set()
    data: set[int] = set()
    classes = {family.cls for family in families.values()}
    makers = any(cls.flag_rule is not None or cls.sees_flags for cls in classes)
    if not makers and not any(family.options.get("flagsets") for family in families.values()):
        return found
    for number, family in families.items():
        kids = {kid.family for kid in family.kids}
        if family.cls.role == "data" or kids & data:
            data.add(number)
        own = family.cls.flag_rule is not None or (family.cls.sees_flags and number in data)
        if own or kids & found or family.options.get("flagsets"):
            found.add(number)
    return found


def needs(
    families: Mapping[int, Family],
    known: Collection[int],
    values: Iterable[int],
    flags: Iterable[int],
    shaped: Collection[int] = (),
) -> tuple[frozenset[int], frozenset[int]]:
    """Families whose values, and those whose flags must be worked out for some values and flags, these included.

    `known`: families whose values are given; `shaped`: those whose shapes are, so that flags do without their values.
    """
    valued, flagged = set(values), set(flags)
    for number in sorted(families, reverse=True):
        family = families[number]
        if number in known:
            continue
        kids = {kid.family for kid in family.kids}
        if number in flagged:
            flagged |= kids
            valued |= kids if family.cls.flags_values else set()
            if family.cls.flag_rule is None and number not in shaped and not issubclass(family.cls, Ring):
                valued.add(number)
        if number in valued:
            valued |= kids
            flagged |= kids if family.cls.sees_flags else set()
    return frozenset(valued), frozenset(flagged)


def _joined(elements: Iterable[Any]) -> Bits:
    return reduce(or_, elements, NONE)


def _reduced(column: Sequence[Any], options: Mapping[str, Any], coordinates: Mapping[str, Any]) -> Bits:
    """Flags of what a Reducing class makes of some elements: where none of the values counts, those of all of them.

    Bits outside its mask, which leave no value out, are always passed on.
    """
    words = stacked(column, len(coordinates))
    if words is None:
        return NONE
    axes = (0,) if len(column) > 1 else tuple(p % words.ndim for p in cell_axes(options["axes"], coordinates))
    mask = np.int32(options["flag_mask"])
    every = any_bit(words, axes)
    alive = ((words & mask) == 0).any(axes, keepdims=True)
    result = every & (~mask | -(~alive).astype(np.int32))
    return Bits(result[0] if len(column) > 1 else result)


def any_bit(words: Any, axes: tuple[int, ...]) -> Any:
    """The OR of words along some axes, counted from the first; these stay with extent 1."""
    if isinstance(words, np.ndarray):
        return np.bitwise_or.reduce(words, axes, keepdims=True)
    from .xla import jax, jnp

    return jnp.expand_dims(jax.lax.reduce(words, np.int32(0), jax.lax.bitwise_or, axes), axes)


def gathered(element: Any, index: Any, several: bool) -> Any:
    """Flags of the members `index` (n,) or (n, k) of one element; `several`: joined along the second axis."""
    if not isinstance(element, Bits) or element.array is None or element.array.shape[0] == 1:
        return element
    words = element.array[index]
    if index.ndim == 2:
        words = any_bit(words, (1,))[:, 0] if several else words[:, 0]
    return Bits(words)


def as_tensor(tensor: Tensor) -> Tensor:
    """Flags as a Tensor of Planes, or the number 0 where there are none."""
    return tensor.map(lambda e: 0 if not isinstance(e, Bits) or e.array is None else Plane(e.array))
