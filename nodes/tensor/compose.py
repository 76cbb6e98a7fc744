"""Tensors from pieces, and pieces of tensors. (MeqTrees: same names and options.)"""

from __future__ import annotations

import math
from typing import Any

from rimetree.graph.node import Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import Examples, dims_text, expect
from rimetree.ring import Element, Tensor


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
    dims = option(None, type=(tuple, int), help="shape of the result (row-major); [0] stacks; default: a vector")

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
            if not dims or not all(isinstance(d, int) and (d > 0 or dims == (0,)) for d in dims):
                raise ValueError(f"dims must be positive whole numbers, or [0] to stack, not {list(dims)}")
        return {**options, "dims": dims}

    @staticmethod
    def example() -> Examples:
        return [(((), (2,)), {}), (((),) * 4, {"dims": (2, 2)}), (((2,), (2,), (2,)), {"dims": (0,)})]


@node
class Selector(Ring):
    """Elements of a tensor, counted from 0.

    `index=2` is the third element in row-major order; `index=[0, 1]` the element (0, 1), where -1 keeps a whole axis;
    with `multi`, `index=[0, 3]` is the vector of those two elements.
    """

    tensor = child(help="any tensor")
    index = option(0, type=(int, tuple), help="element number, or a list: see `multi`")
    multi = option(False, type=bool, help="a vector of these elements, not one place per axis")

    @staticmethod
    def ring(tensor: Tensor, index: int | tuple[int, ...], multi: bool = False) -> Tensor:
        count = len(tensor.elements)
        if multi or isinstance(index, int):
            numbers = (index,) if isinstance(index, int) else index
            if not all(0 <= i < count for i in numbers):
                raise ValueError(
                    f"index={index} is not in {dims_text(tensor.dims)}, which has elements 0 to {count - 1}"
                )
            picked = tuple(tensor.elements[i] for i in numbers)
            return Tensor((len(picked),), picked) if multi else Tensor.scalar(picked[0])
        if len(index) != len(tensor.dims) or not all(-1 <= i < n for i, n in zip(index, tensor.dims, strict=True)):
            raise ValueError(f"index={list(index)} is not in {dims_text(tensor.dims)}")
        return _slice(tensor, index)

    @staticmethod
    def example() -> Examples:
        picks: list[dict[str, Any]] = [{"index": i} for i in (2, (1, 0), (-1, 1))]
        return [(((2, 2),), pick) for pick in (*picks, {"index": (0, 3), "multi": True})]


def _slice(tensor: Tensor, index: tuple[int, ...]) -> Tensor:
    """The elements at these places; -1 keeps an axis."""
    dims, elements = tensor.dims, tensor.elements
    for axis in range(len(dims) - 1, -1, -1):
        if index[axis] < 0:
            continue
        inner = math.prod(dims[axis + 1 :])
        block = dims[axis] * inner
        start = index[axis] * inner
        elements = tuple(e for i in range(0, len(elements), block) for e in elements[i + start : i + start + inner])
        dims = dims[:axis] + dims[axis + 1 :]
    return Tensor(dims, elements)
