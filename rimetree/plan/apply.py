"""One node class applied to the Tensors of its children, and what went wrong where that fails."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import nearest
from ..graph.node import Elementwise, Family, Function, Lookup, NodeClass, Over, Reducing, Ring, Unusable
from ..ring import NUMBERS, Plane, Tensor
from .calling import checked, elementwise, function
from .host import raised
from .lookup import looked_up_at
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
        if isinstance(error, Unusable) or (cls.__module__.startswith(OWN) and isinstance(error, ValueError)):
            raise NodeFailure(family, next(iter(str(error).splitlines()), "")) from error
        raise NodeFailure(family, raised(cls, error)) from error


def apply(
    family: Family,
    kids: Sequence[Tensor],
    members: Mapping[str, Any],
    coordinates: Mapping[str, Any],
    flags: Sequence[Tensor] = (),
) -> Tensor:
    """One node class applied to the Tensors of its children. Raises ValueError where they do not fit.

    `coordinates`: centres by axis, in the order of the axes of the grid. `flags`: those of the children (elements `Bits` or
    0), for a class that sees them; none: nothing is flagged.
    """
    cls = family.cls
    options = {k: v for k, v in family.options.items() if k in cls.options} | dict(members)
    if issubclass(cls, Elementwise):
        return _elementwise(family, cls, kids, options)
    if issubclass(cls, Ring):
        return checked(cls.ring(*kids, **options))
    if issubclass(cls, Function):
        moved = family.options.get("moved", ())
        given = dict(zip(moved, kids[len(kids) - len(moved) :], strict=True))
        kids = kids[: len(kids) - len(moved)]
        axes = [
            _scalar(name, given[name], max(map(np.ndim, coordinates.values())))
            if name in given
            else centres(name, coordinates)[None]
            for name in cls.axes_of(options)
        ]
        if not set(options) - set(cls.options):  # nothing was read before
            options |= cls.reads(options)
        if cls.sees_flags:
            options["flags"] = flags
        return function(family, cls, axes, kids, options)
    if issubclass(cls, Lookup):
        (axis,), (coordinate,) = cls.axes, kids
        return looked_up_at(family, _scalar(axis, coordinate, max(map(np.ndim, coordinates.values()))))
    if issubclass(cls, Reducing):
        return _reducing(cls, kids, options, coordinates, flags)
    if cls.role in ("sink", "sequence"):
        place = options.get("result", 0) if cls.role == "sequence" else 0
        if not 0 <= place < len(kids):
            raise ValueError(f"result={place} is not one of its {len(kids)} children, counted from 0")
        return kids[place]
    raise ValueError(f"a {cls.__name__} has no value of its own: use forest.run")


def _scalar(axis: str, coordinate: Tensor, rank: int) -> Any:
    """The array of a coordinate that a CoordTransform puts in."""
    if coordinate.dims:
        raise ValueError(f"the coordinate along {axis!r} must be a scalar, not a tensor of dims {coordinate.dims}")
    return _array(coordinate.elements[0], rank)


def centres(axis: str, coordinates: Mapping[str, Any]) -> Any:
    """The centres along one axis of the grid. Raises ValueError where there is no such axis."""
    if axis not in coordinates:
        raise ValueError(f"needs the axis {axis!r}, which the cells do not have{nearest(axis, coordinates)}")
    return coordinates[axis]


def aligned(kids: Sequence[Tensor]) -> tuple[tuple[int, ...], list[list[Any]]]:
    """Common dims, and per element those of all children; scalars go with every element."""
    shapes = {kid.dims for kid in kids if kid.dims}
    if len(shapes) > 1:
        raise ValueError(
            f"children of unequal shapes {', '.join(map(str, sorted(shapes)))}: expected equal ones or scalars"
        )
    dims = shapes.pop() if shapes else ()
    return dims, [[kid.elements[i if kid.dims else 0] for kid in kids] for i in range(math.prod(dims))]


def _elementwise(family: Family, cls: type[Elementwise], kids: Sequence[Tensor], options: Mapping[str, Any]) -> Tensor:
    dims, columns = aligned(kids)
    elements: list[Any] = []
    for args in columns:
        if all(isinstance(a, NUMBERS) for a in args):
            from .xla import jax

            with jax.ensure_compile_time_eval():
                elements.append(np.asarray(cls.compute(*map(np.asarray, args), **options)).item())
        else:
            arrays = [a.array if isinstance(a, Plane) else a for a in args]
            elements.append(Plane(elementwise(family, cls, arrays, options)))
    return Tensor(dims, tuple(elements))


def _reducing(
    cls: type[Reducing],
    kids: Sequence[Tensor],
    options: Mapping[str, Any],
    coordinates: Mapping[str, Any],
    flags: Sequence[Tensor],
) -> Tensor:
    """Over cells for one child; over corresponding elements for several."""
    if len(kids) > 1 and options["axes"] is not None:
        raise ValueError("axes are for one child; of several children the corresponding elements are taken together")
    dims, columns = aligned(kids)
    words = aligned(flags)[1] if flags else [[]] * len(columns)
    results = [_reduced(cls, x, bits, options, coordinates) for x, bits in zip(columns, words, strict=True)]
    if isinstance(results[0], tuple):
        return Tensor((*dims, len(results[0])), tuple(Plane(array) for result in results for array in result))
    return Tensor(dims, tuple(map(Plane, results)))


def _reduced(
    cls: type[Reducing], args: Sequence[Any], bits: Sequence[Any], options: Mapping[str, Any], coordinates: Any
) -> Any:
    """What a class makes of one element of its child, or of that element of all its children."""
    from .xla import jnp

    rank = len(coordinates)
    arrays = [_array(e, rank) for e in args]
    x = jnp.stack(jnp.broadcast_arrays(*arrays)) if len(arrays) > 1 else arrays[0]
    flags = stacked(bits, rank)
    good = None if flags is None else (flags & np.int32(options["flag_mask"])) == 0
    if good is not None:  # a value that does not vary may be flagged in some cells only
        x = jnp.broadcast_to(x, np.broadcast_shapes(x.shape, good.shape))
    if len(arrays) > 1:
        over = Over((-x.ndim,), good=good)
    else:
        places = cell_axes(options["axes"], coordinates)
        extents = {place: list(coordinates.values())[place].shape[place] for place in places}
        if any(c.size != c.shape[i] for i, c in enumerate(coordinates.values())):
            order = list(coordinates)
            raise AssertionError(f"coordinates in the order {order} do not have the shapes of these axes")
        varying = tuple(place for place in places if x.shape[place] > 1)
        repeats = math.prod(n for place, n in extents.items() if place not in varying)
        over = Over(varying, repeats, good, tuple(list(coordinates.values())[place][None] for place in places))
    found = cls.reduce(x, over)
    results = found if isinstance(found, tuple) else (found,)
    if good is not None:
        some = jnp.any(good, over.axes, keepdims=True)
        results = tuple(jnp.where(some, array, 0) for array in results)
    if len(arrays) > 1:
        results = tuple(array[0] for array in results)
    return results if isinstance(found, tuple) else results[0]


def cell_axes(names: Sequence[str] | None, coordinates: Mapping[str, Any]) -> tuple[int, ...]:
    """Where these axes are in arrays over the grid, counted from the end; None: all. Raises ValueError for an unknown one."""
    order = list(coordinates)
    for name in names or ():
        centres(name, coordinates)
    return tuple(order.index(name) - len(order) for name in names or order)


def stacked(column: Sequence[Any], rank: int) -> Any:
    """Words of flags of one element, or of several elements stacked along a new first axis; None where there are none."""
    arrays = [getattr(bits, "array", None) for bits in column]
    if all(array is None for array in arrays):
        return None
    if len(arrays) == 1:
        return arrays[0]
    from .xla import jnp

    none = np.zeros((1,) * (rank + 1), np.int32)
    return jnp.stack(jnp.broadcast_arrays(*(none if array is None else array for array in arrays)))


def _array(element: Any, rank: int) -> Any:
    return element.array if isinstance(element, Plane) else np.full((1,) * (rank + 1), element * 1.0)
