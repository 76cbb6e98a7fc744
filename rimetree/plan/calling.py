"""Calling the function of a node class: traced by JAX where that can be, else on the host; what it returns is checked."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.node import Elementwise, Family, Function, NodeClass, Unusable
from ..ring import NUMBERS, Plane, Tensor

ON_HOST = object()
"""Stands for a value that only the host can make."""

ADVICE = (
    "its function uses JAX, yet decides by values or hands them to numpy, which cannot be traced: use jax.numpy throughout "
    "(jnp.where instead of if), or numpy alone"
)


class Traced(Unusable):
    """A function that must be called on the host calls JAX."""


def elementwise(family: Family, cls: type[Elementwise], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The value of an elementwise class for one array or Python number per child, of which one is an array.

    Raises Unusable where it is not an array of the cells of the children.
    """
    members = [k for k, v in options.items() if k in cls.options and cls.options[k].per_member and np.ndim(v)]
    arrays = [*(a for a in args if not isinstance(a, NUMBERS)), *(options[k] for k in members)]

    def call(function: Callable[..., Any], given: Sequence[Any]) -> Any:
        own = iter(given)
        children = [a if isinstance(a, NUMBERS) else next(own) for a in args]
        return function(*children, **{**options, **{k: next(own) for k in members}})

    def numeric(*given: np.ndarray) -> np.ndarray:
        return _of_numpy(call(cls.compute, given))[..., None]

    def slopes(*given: np.ndarray) -> list[np.ndarray]:
        assert callable(cls.derivative)
        found = call(cls.derivative, given)
        found = found if isinstance(found, (tuple, list)) else (found,)
        if len(found) != len(args):
            raise Unusable(f"its derivative returned {len(found)} values for {len(args)} children")
        return [np.asarray(f) for f, a in zip(found, args, strict=True) if not isinstance(a, NUMBERS)]

    value = _traced(cls, arrays, numeric, lambda: cls.compute(*args, **options))
    if value is ON_HOST:
        from .host import on_host

        return on_host(family, numeric, arrays, 1, slopes if callable(cls.derivative) else None)[0]
    return _cells(value, [np.shape(a) for a in arrays])


def function(
    family: Family, cls: type[Function], axes: Sequence[Any], kids: Sequence[Tensor], options: Mapping[str, Any]
) -> Tensor:
    """The value of a class of Tensors. Raises Unusable where it is not a Tensor of the cells of the children."""
    members = [k for k, v in options.items() if k in cls.options and cls.options[k].per_member and np.ndim(v)]
    arrays = [*axes, *(e.array for kid in kids for e in kid.elements if isinstance(e, Plane))]
    arrays += [options[k] for k in members]
    dims: list[tuple[int, ...]] = []

    def numeric(*given: np.ndarray) -> np.ndarray:
        own = iter(given)
        centres = [next(own) for _ in axes]
        tensors = [kid.map(lambda e: Plane(next(own)) if isinstance(e, Plane) else e) for kid in kids]
        own_options = {**options, **{k: next(own) for k in members}}
        value = checked(cls.compute(*centres, *tensors, **own_options))
        dims.append(value.dims)
        elements = (_of_numpy(e.array) if isinstance(e, Plane) else np.asarray(e) for e in value.elements)
        return np.stack(np.broadcast_arrays(*elements), -1)

    value = _traced(cls, arrays, numeric, lambda: cls.compute(*axes, *kids, **options))
    if value is not ON_HOST:
        shapes = [np.shape(a) for a in arrays]
        return checked(value).map(lambda e: Plane(_cells(e.array, shapes)) if isinstance(e, Plane) and shapes else e)
    from .host import on_host

    if not dims:
        numeric(*_ones(arrays))
    planes = on_host(family, numeric, arrays, math.prod(dims[0]))
    return Tensor(dims[0], tuple(map(Plane, planes)))


def checked(value: Any) -> Tensor:
    """The value, if it is a Tensor with as many elements as its dims say; else Unusable."""
    if not isinstance(value, Tensor):
        raise Unusable(f"its function returned {type(value).__name__}, not a Tensor")
    if len(value.elements) != math.prod(value.dims):
        raise Unusable(f"its function returned {len(value.elements)} elements for dims {value.dims}")
    return value


def _traced(
    cls: type[NodeClass], arrays: Sequence[Any], numeric: Callable[..., Any], compute: Callable[[], Any]
) -> Any:
    """What `compute` returns, or ON_HOST where its function is one of numpy's and some of the arrays are traced."""
    if cls.numpy is False:
        return compute()
    from .xla import jax

    traced = any(isinstance(a, jax.core.Tracer) for a in arrays)
    if cls.numpy:
        return ON_HOST if traced else compute()
    try:
        return compute()
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        try:
            numeric(*_ones(arrays))
        except Traced as refusal:
            raise refusal from error
        except Exception:  # what a user's function raises for ones says nothing: other values will show
            pass
        return ON_HOST


def _of_numpy(value: Any) -> np.ndarray:
    """The value as an array of numpy's. Raises Traced where JAX made it."""
    if "jax" in sys.modules and isinstance(value, sys.modules["jax"].Array):
        raise Traced(ADVICE)
    return np.asarray(value)


def _ones(arrays: Sequence[Any]) -> list[np.ndarray]:
    return [np.ones((1,) * np.ndim(a), a.dtype) for a in arrays]


def _cells(value: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    """The value, if it has the cells of arrays of these shapes; numbers become arrays."""
    shape = np.broadcast_shapes(*shapes)
    found = np.shape(value)
    if isinstance(value, (*NUMBERS, np.number)):
        return np.full((1,) * len(shape), value)
    if getattr(value, "dtype", np.dtype(object)).kind not in "biufc":
        raise Unusable(f"its function returned {type(value).__name__}, not an array of numbers")
    if len(found) != len(shape) or any(n not in (1, m) for n, m in zip(found, shape, strict=True)):
        raise Unusable(
            f"its function returned an array of shape {found}, where {shape} is needed: it must act cell by cell"
        )
    return value
