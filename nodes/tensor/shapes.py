"""How tensors combine: scalars with anything, tensors with equal dims. Raises ValueError with one plain sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rimetree.ring import Element, Tensor

Examples = list[tuple[tuple[Any, ...], dict[str, Any]]]
"""Ways of calling a class, for `rimetree.testing.check_node`: the children's dims or typical values, and options."""


def dims_text(dims: tuple[int, ...]) -> str:
    """`a (2,2) tensor`, `a scalar`."""
    return f"a ({','.join(map(str, dims))}{',' * (len(dims) == 1)}) tensor" if dims else "a scalar"


def elementwise(done: str, function: Callable[..., Element], *tensors: Tensor) -> Tensor:
    """`function` of corresponding elements; scalars go with every element. `done` says what was tried ("added")."""
    shaped = [t for t in tensors if t.dims]
    for tensor in shaped:
        if tensor.dims != shaped[0].dims:
            raise ValueError(f"{dims_text(shaped[0].dims)} and {dims_text(tensor.dims)} cannot be {done}")
    if not shaped:
        return Tensor.scalar(function(*(t.elements[0] for t in tensors)))
    columns = (t.elements if t.dims else t.elements * len(shaped[0].elements) for t in tensors)
    return Tensor(shaped[0].dims, tuple(function(*elements) for elements in zip(*columns, strict=True)))


def expect(name: str, tensor: Tensor, *allowed: tuple[int, ...]) -> Tensor:
    """The tensor, if its dims are among those allowed."""
    if tensor.dims not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(dims_text, allowed))}, not {dims_text(tensor.dims)}")
    return tensor


def order(name: str, matrix: Tensor) -> int:
    """The number of rows of a square matrix; 1 for a scalar."""
    if matrix.dims and (len(matrix.dims) != 2 or matrix.dims[0] != matrix.dims[1]):
        raise ValueError(f"the child of {name} must be a square matrix or a scalar, not {dims_text(matrix.dims)}")
    return matrix.dims[0] if matrix.dims else 1
