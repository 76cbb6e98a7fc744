"""Tensors from pieces, and pieces of tensors. (MeqTrees: same names and options.)"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, dims_text, expect
from rimetree.ring import Element, Tensor

DIMS = kinds.either(
    kinds.whole(0),
    kinds.items(kinds.whole(1), 1),
    kinds.each(kinds.whole(0, 0), words="[0]"),
    words="positive whole numbers, or [0] to stack",
)


@node
class Matrix22(Ring):
    """The matrix [[a, b], [c, d]] of four scalars. A 0 or 1 given as a number costs nothing."""

    a = child(help="first row, first column")
    b = child(help="first row, second column")
    c = child(help="second row, first column")
    d = child(help="second row, second column")

    @staticmethod
    def ring(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        scalars = [expect(name, t, ()) for name, t in zip("abcd", (a, b, c, d), strict=True)]
        return Tensor((2, 2), tuple(t.elements[0] for t in scalars))


@node
class Composer(Ring):
    """All elements of all children, in order, as one vector; `dims` reshapes it.

    `dims=[2, 2]` makes a matrix of four scalars; `dims=[0]` stacks children of equal dims along a new first axis.
    """

    pieces = child(help="scalars and tensors, any unit", many=True)
    dims = option(None, type=DIMS, help="shape of the result (row-major); [0] stacks; default: a vector")

    @staticmethod
    def ring(*pieces: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
        elements: tuple[Element, ...] = tuple(e for piece in pieces for e in piece.elements)
        if dims == (0,):
            for piece in pieces:
                if piece.dims != pieces[0].dims:
                    raise ValueError(f"{dims_text(pieces[0].dims)} and {dims_text(piece.dims)} cannot be stacked")
            dims = (len(pieces), *pieces[0].dims)
        elif dims is None:
            dims = (len(elements),)
        if math.prod(dims) != len(elements):
            raise ValueError(f"{len(elements)} elements do not fill dims={list(dims)}")
        return Tensor(dims, elements)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        dims = options.get("dims")
        if dims is not None:
            dims = (dims,) if isinstance(dims, int) else tuple(dims)
        return {**options, "dims": dims}

    @staticmethod
    def example() -> Examples:
        return [(((), (2,)), {}), (((),) * 4, {"dims": (2, 2)}), (((2,), (2,), (2,)), {"dims": (0,)})]


@node
class DataCollect(Ring):
    """What is to be seen together: its children, of equal dims, stacked along a new first axis, with a label for each.

    (MeqTrees: DataCollect, which inspectors plot.)
    """

    pieces = child(help="scalars or tensors of equal dims, any unit", many=True)
    labels = option((), type=kinds.items(str), help="a text for each child")
    title = option("", type=str, help="a text for all")

    @staticmethod
    def ring(*pieces: Tensor, labels: tuple[str, ...] = (), title: str = "") -> Tensor:
        if labels and len(labels) != len(pieces):
            raise ValueError(f"{len(labels)} labels do not go with {len(pieces)} children: give one label for each")
        return Composer.ring(*pieces, dims=(0,))

    @staticmethod
    def example() -> Examples:
        return [(((), ()), {"labels": ("a", "b")}), (((2, 2),) * 3, {})]


def places(tensor: Tensor, index: int | tuple[int, ...], multi: bool) -> tuple[tuple[int, ...], list[int]]:
    """Dims of a selection, and the row-major numbers of its elements. Raises ValueError where they are not in the tensor."""
    dims, count = tensor.dims, len(tensor.elements)
    if multi or isinstance(index, int):
        numbers = [index] if isinstance(index, int) else list(index)
        if not all(0 <= i < count for i in numbers):
            raise ValueError(f"index={index} is not in {dims_text(dims)}, which has elements 0 to {count - 1}")
        return ((len(numbers),) if multi else ()), numbers
    if len(index) != len(dims) or not all(-1 <= i < n for i, n in zip(index, dims, strict=True)):
        raise ValueError(f"index={list(index)} is not in {dims_text(dims)}")
    chosen = np.arange(count).reshape(dims)[tuple(slice(None) if i < 0 else i for i in index)]
    return chosen.shape, chosen.ravel().tolist()


INDEX = "element number, or a list: see `multi`"
MULTI = "a vector of these elements, not one place per axis"
PICKS: list[dict[str, Any]] = [{"index": i} for i in (2, (1, 0), (-1, 1))] + [{"index": (0, 3), "multi": True}]


@node
class Selector(Ring):
    """Elements of a tensor, counted from 0.

    `index=2` is the third element in row-major order; `index=[0, 1]` the element (0, 1), where -1 keeps a whole axis;
    with `multi`, `index=[0, 3]` is the vector of those two elements.
    """

    tensor = child(help="any tensor")
    index = option(0, type=(int, kinds.items(int)), help=INDEX)
    multi = option(False, type=bool, help=MULTI)

    @staticmethod
    def ring(tensor: Tensor, index: int | tuple[int, ...], multi: bool = False) -> Tensor:
        dims, numbers = places(tensor, index, multi)
        return Tensor(dims, tuple(tensor.elements[i] for i in numbers))

    @staticmethod
    def example() -> Examples:
        return [(((2, 2),), pick) for pick in PICKS]


@node
class Paster(Ring):
    """The tensor `a` with the elements that a Selector of this `index` would give replaced by those of `b`.

    `b` has the dims of the selection, or is a scalar that goes into every place.
    """

    a = child(help="any tensor")
    b = child(help="what is put in, in the unit of a")
    index = option(0, type=(int, kinds.items(int)), help=INDEX)
    multi = option(False, type=bool, help=MULTI)

    @staticmethod
    def ring(a: Tensor, b: Tensor, index: int | tuple[int, ...], multi: bool = False) -> Tensor:
        dims, numbers = places(a, index, multi)
        new = dict(
            zip(numbers, expect("b", b, (), dims).elements if b.dims else b.elements * len(numbers), strict=True)
        )
        return Tensor(a.dims, tuple(new.get(i, e) for i, e in enumerate(a.elements)))

    @staticmethod
    def example() -> Examples:
        picked = [(), (), (2,), (2,)]
        return [(((2, 2), dims), pick) for dims, pick in zip(picked, PICKS, strict=True)] + [(((2, 2), ()), PICKS[2])]
