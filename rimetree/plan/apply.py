"""One node class applied to the Tensors of its children, and what went wrong where that fails."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import nearest
from ..graph.node import Elementwise, Family, Function, NodeClass, Over, Reducing, Ring
from ..ring import NUMBERS, Plane, Tensor
from .template import NodeFailure

OWN = "rimetree.nodes."
"""Modules whose ValueErrors are sentences for the user."""


@contextmanager
def blaming(family: int, cls: type[NodeClass], *other: type[Exception]) -> Iterator[None]:
    """What a node's function raises becomes a NodeFailure of its family, with the line in the class; not so `other`."""
    try:
        yield
    except Exception as error:  # the function may be a user's own: it may raise anything
        if isinstance(error, (NodeFailure, MemoryError, *other)):
            raise
        text = next(iter(str(error).splitlines()), "")
        if cls.__module__.startswith(OWN) and isinstance(error, ValueError):
            raise NodeFailure(family, text) from error
        raise NodeFailure(family, f"its function raised {type(error).__name__}: {text}{_place(cls, error)}") from error


def _place(cls: type[NodeClass], error: Exception) -> str:
    """` (file.py:12)`, the last line of the class's own module that was on the way."""
    module = getattr(sys.modules.get(cls.__module__), "__file__", None)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == module]
    return f" ({lines[-1].filename}:{lines[-1].lineno})" if lines else ""


def apply(family: Family, kids: Sequence[Tensor], members: Mapping[str, Any], coordinates: Mapping[str, Any]) -> Tensor:
    """One node class applied to the Tensors of its children. Raises ValueError where they do not fit.

    `coordinates`: centres by axis, in the order of the axes of the grid.
    """
    cls = family.cls
    options = {k: v for k, v in family.options.items() if k in cls.options} | dict(members)
    if issubclass(cls, Elementwise):
        return _elementwise(cls, kids, options)
    if issubclass(cls, Ring):
        return _checked(cls.ring(*kids, **options))
    if issubclass(cls, Function):
        return _checked(
            cls.compute(*(centres(name, coordinates)[None] for name in cls.axes_of(options)), *kids, **options)
        )
    if issubclass(cls, Reducing):
        return _reducing(cls, kids, options, coordinates)
    if cls.role in ("sink", "sequence"):
        place = options.get("result", 0) if cls.role == "sequence" else 0
        if not 0 <= place < len(kids):
            raise ValueError(f"result={place} is not one of its {len(kids)} children, counted from 0")
        return kids[place]
    raise ValueError(f"a {cls.__name__} has no value of its own: use forest.run")


def centres(axis: str, coordinates: Mapping[str, Any]) -> Any:
    """The centres along one axis of the grid. Raises ValueError where there is no such axis."""
    if axis not in coordinates:
        raise ValueError(f"needs the axis {axis!r}, which the cells do not have{nearest(axis, coordinates)}")
    return coordinates[axis]


def _checked(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"it returned {type(value).__name__}, not a Tensor")
    if len(value.elements) != math.prod(value.dims):
        raise TypeError(f"it returned {len(value.elements)} elements for dims {value.dims}")
    return value


def _elements(kids: Sequence[Tensor]) -> tuple[tuple[int, ...], list[list[Any]]]:
    """Common dims, and per element those of all children; scalars go with every element."""
    shapes = {kid.dims for kid in kids if kid.dims}
    if len(shapes) > 1:
        raise ValueError(
            f"children of unequal shapes {', '.join(map(str, sorted(shapes)))}: expected equal ones or scalars"
        )
    dims = shapes.pop() if shapes else ()
    return dims, [[kid.elements[i if kid.dims else 0] for kid in kids] for i in range(math.prod(dims))]


def _elementwise(cls: type[Elementwise], kids: Sequence[Tensor], options: Mapping[str, Any]) -> Tensor:
    dims, columns = _elements(kids)
    elements: list[Any] = []
    for args in columns:
        if all(isinstance(a, NUMBERS) for a in args):
            from .xla import jax

            with jax.ensure_compile_time_eval():
                elements.append(np.asarray(cls.compute(*map(np.asarray, args), **options)).item())
        else:
            elements.append(Plane(cls.compute(*(a.array if isinstance(a, Plane) else a for a in args), **options)))
    return Tensor(dims, tuple(elements))


def _reducing(
    cls: type[Reducing], kids: Sequence[Tensor], options: Mapping[str, Any], coordinates: Mapping[str, Any]
) -> Tensor:
    """Over cells for one child; over corresponding elements for several."""
    from .xla import jnp

    dims, columns = _elements(kids)
    names = options["axes"] or tuple(coordinates)
    if len(kids) == 1:
        results = [_over_cells(cls, _array(e, len(coordinates)), names, coordinates) for (e,) in columns]
    elif options["axes"] is not None:
        raise ValueError("axes are for one child; of several children the corresponding elements are taken together")
    else:
        stacks = [jnp.stack(jnp.broadcast_arrays(*(_array(e, len(coordinates)) for e in args))) for args in columns]
        results = [cls.reduce(x, Over((-x.ndim,)))[0] for x in stacks]
    if results and isinstance(results[0], tuple):
        return Tensor((*dims, len(results[0])), tuple(Plane(a) for result in results for a in result))
    return Tensor(dims, tuple(map(Plane, results)))


def _over_cells(cls: type[Reducing], x: Any, names: Sequence[str], coordinates: Mapping[str, Any]) -> Any:
    order = list(coordinates)
    grid = [centres(name, coordinates) for name in names]
    places = [order.index(name) - len(order) for name in names]
    varying = tuple(place for place in places if x.shape[place] > 1)
    extents = [axis.shape[place] for axis, place in zip(grid, places, strict=True)]
    if any(axis.size != extent for axis, extent in zip(grid, extents, strict=True)):
        raise AssertionError(f"coordinates in the order {order} do not have the shapes of these axes: JAX sorts a dict")
    repeats = math.prod(n for n, place in zip(extents, places, strict=True) if place not in varying)
    return cls.reduce(x, Over(varying, repeats, None, tuple(axis[None] for axis in grid)))


def _array(element: Any, rank: int) -> Any:
    return element.array if isinstance(element, Plane) else np.full((1,) * (rank + 1), element * 1.0)
