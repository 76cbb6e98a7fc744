"""Nodes that make flags, move them, and act on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import eq, ge, gt, le, lt, ne, or_
from typing import Any

import jax.numpy as jnp
import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Function, Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.math.real import require_real
from rimetree.nodes.tensor.shapes import Examples, dims_text
from rimetree.ring import Bits, Plane, Tensor

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {"EQ": eq, "NE": ne, "LT": lt, "LE": le, "GT": gt, "GE": ge}

SOME_BITS = kinds.either(
    kinds.whole(1, 2**31 - 1),
    kinds.whole(-(2**31), -1),
    words="a whole number of 32 bits that are not all 0",
)

MASK = option(-1, type=kinds.BITS, help="bits that count; -1: all")


@node
class ZeroFlagger(Ring):
    """x itself, with a flag in every cell where `x OP limit` is true, such as x > 0; element by element.

    The flags that x has are kept. NaN is flagged whatever the comparison, for nothing is known of it. Only EQ and NE compare
    complex numbers. To flag data by something else, put the flagger over that, and its flags on the data by MergeFlags:
    `Meq.MergeFlags(data, Meq.ZeroFlagger(Meq.Abs(data), oper="GT", limit=10.0))`. Flags follow from data and known values,
    not from what the same Solver fits. (MeqTrees: ZeroFlagger, which compares with 0, and forgets the flags of x.)
    """

    flags_values = True
    x = child(help="scalar or tensor, any unit")
    oper = option("NE", choices=tuple(COMPARISONS), help="which comparison")
    limit = option(
        0.0, type=kinds.real(words="a finite number"), per_member=True, help="what x is compared with, in its unit"
    )
    flag_bit = option(2, type=SOME_BITS, help="the bit or bits that are set: 1, 2, 4 ...; 1 is that of Spigots")

    @staticmethod
    def ring(x: Tensor, **options: Any) -> Tensor:
        return x

    @staticmethod
    def flag_rule(flags: Sequence[Tensor], values: Sequence[Tensor], oper: str, limit: Any, flag_bit: int) -> Tensor:
        def flagged(element: Any, own: Any) -> Bits:
            x = element.array if isinstance(element, Plane) else np.asarray(element)
            if oper not in ("EQ", "NE"):
                require_real(x)
            hit = COMPARISONS[oper](x, limit) | (x != x)
            return Bits(hit.astype(np.int32) * np.int32(flag_bit)) | own

        elements = zip(values[0].elements, flags[0].elements, strict=True)
        return Tensor(values[0].dims, tuple(flagged(element, own) for element, own in elements))


def merged(flags: Sequence[Tensor], mask: int, every: bool) -> list[Bits]:
    """Flags of each element of the first child, with those bits of `mask` that the others have there (`every`: anywhere)."""
    first, others = flags[0], flags[1:]
    for other in others:
        if other.dims and other.dims != first.dims and not every:
            raise ValueError(
                f"flags of {dims_text(other.dims)} do not go with {dims_text(first.dims)}; merge_all=True joins them"
            )
    found = []
    for i, own in enumerate(first.elements):
        added = [e for t in others for e in (t.elements if every or not t.dims else t.elements[i : i + 1])]
        found.append(reduce(or_, (e.masked(mask) for e in added if isinstance(e, Bits)), own or Bits()))
    return found


@node
class MergeFlags(Ring):
    """x itself, with its own flags and those of the further children, element by element; a scalar's go to all elements.

    With `merge_all`, every element of x gets the flags of all elements of the others: one bad correlation flags all four.
    (MeqTrees: MergeFlags, which takes the flags of the last element for all.)
    """

    x = child(help="scalar or tensor, any unit")
    marks = child(help="what has flags; values do not matter", many=True)
    flag_mask = MASK
    merge_all = option(False, type=bool, help="flags of any element of the others go to all elements of x")

    @staticmethod
    def ring(x: Tensor, *marks: Tensor, **options: Any) -> Tensor:
        return x

    @staticmethod
    def flag_rule(flags: Sequence[Tensor], flag_mask: int, merge_all: bool) -> Tensor:
        return Tensor(flags[0].dims, tuple(merged(flags, flag_mask, merge_all)))

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {}), (((2, 2), (), (2, 2)), {}), (((2, 2), (3,)), {"merge_all": True})]


@node
class ReplaceFlagged(Function):
    """x, with `value` in its place where x, or a further child, has flags; these are then cleared.

    Bits outside `flag_mask` replace nothing and stay. Further children as for MergeFlags: element by element, scalars go to
    all. In a solve, what was replaced counts with the weight of the datum. (MeqTrees: ReplaceFlaggedValues.)
    """

    sees_flags = True
    x = child(help="scalar or tensor, any unit")
    marks = child(help="what else has flags; values do not matter", many=True, least=0)
    value = option(0.0, type=kinds.cmplx(finite=False), help="what takes the place of flagged values, in the unit of x")
    flag_mask = MASK

    @staticmethod
    def compute(x: Tensor, *marks: Tensor, value: Any, flag_mask: int, flags: Sequence[Tensor] = ()) -> Tensor:
        words = merged(flags, flag_mask, False) if flags else [Bits()] * len(x.elements)

        def replaced(element: Any, bits: Any) -> Any:
            array = bits.masked(flag_mask).array
            if array is None:
                return element
            return Plane(jnp.where(array != 0, value, element.array if isinstance(element, Plane) else element))

        return Tensor(x.dims, tuple(replaced(e, b) for e, b in zip(x.elements, words, strict=True)))

    @staticmethod
    def flag_rule(flags: Sequence[Tensor], value: Any, flag_mask: int) -> Tensor:
        return flags[0].map(lambda e: e.masked(~flag_mask) if isinstance(e, Bits) else e)

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {}), (((2, 2),), {"value": 1j}), (((2, 2), (2, 2), ()), {})]
