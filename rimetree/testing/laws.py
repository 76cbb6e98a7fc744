"""Whether what a class declares of its values at sums and products (`graph.node.Law`) is so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.node import NodeClass
from ..graph.registry import get

Value = Callable[[type[NodeClass], Sequence[Any], Mapping[str, Any]], Any]
"""The value of a class, from values of its children and options."""


def law_sides(
    cls: type[NodeClass], children: Sequence[Any], options: Mapping[str, Any], value: Value, random: np.random.Generator
) -> Iterator[tuple[str, Any, Any]]:
    """What each part of the law says, its two sides: at the children, taken apart at random where it is about sums or products."""
    law = cls.law
    if law is None:
        return
    names = list(cls.children)
    names = [names[min(i, len(names) - 1)] for i in range(len(children))]
    whole = value(cls, children, options)
    if law.proportional:
        place = names.index(law.proportional)
        rest = [np.ones_like(c.real) if i == place else c for i, c in enumerate(children)]
        yield f"proportional to {law.proportional}", children[place] * value(cls, rest, options), whole
        if law.like:
            name, factor = law.like
            (only,) = (c for i, c in enumerate(children) if i != place)
            yield f"like {name}", children[place] * value(get(name), [only * factor], {}), whole
    if law.sums:
        part = [
            c * random.uniform(-1, 1, c.shape) if n in law.sums else c for c, n in zip(children, names, strict=True)
        ]
        other = [c - p if n in law.sums else c for c, p, n in zip(children, part, names, strict=True)]
        found = sum(
            sign * value(get(one), part, options) * value(get(two), other, options) for one, two, sign in law.of_parts
        )
        yield "at a sum", found, whole
    alone = children
    if law.product:
        by = {n: random.uniform(-2, 2, c.shape) for c, n in zip(children, names, strict=True)}
        if law.proportional:
            alone = [np.ones_like(c.real) if n == law.proportional else c for c, n in zip(children, names, strict=True)]
        part = [by[n] if n == law.product else c for c, n in zip(alone, names, strict=True)]
        other = [c / by[n] if n == law.product else c for c, n in zip(alone, names, strict=True)]
        yield "at a product", value(cls, part, options) * value(cls, other, options), value(cls, alone, options)
    if law.mirror:
        turned = [
            (c.conj() if law.mirror == "conjugate" else -c) if n in (*law.sums, law.product) else c
            for c, n in zip(alone, names, strict=True)
        ]
        yield "of the mirror image", value(cls, turned, options), np.conj(value(cls, alone, options))
