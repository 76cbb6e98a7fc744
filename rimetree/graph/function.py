"""Node classes made of plain functions: `@rt.node` on `def ripple(x, depth=0.1)` is the class Ripple.

The parameters of the function are the children, and those with a default its options. Annotations say what an option may be
(`depth: float = 1`, `basis: Literal["linear", "circular"] = "linear"`), else its default does:

    @rt.node
    def ripple(x, depth=0.1):
        '''A ripple of a passband.

        x: frequency, in Hz
        depth: relative amplitude
        '''
        return 1 + depth * jnp.sin(x / 1e6)
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import numpy as np

from ..errors import RimetreeError, nearest
from ..ring import NUMBERS, Plane, Tensor
from .kinds import kind, real
from .node import Child, Derivative, Elementwise, Function, NodeClass, Option, Unusable, child, option

WAYS = ("differences", "complex-step")


def class_of(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    dims: Sequence[int] | None = None,
    numpy: bool | None = None,
    derivative: Derivative = "differences",
    returns: type | None = None,
) -> type[NodeClass]:
    """The node class that a function makes; see `rimetree.node`. Raises RimetreeError where it makes none."""
    own = getattr(function, "__name__", type(function).__name__)
    where = f"node function {own}"
    title = name or _class_name(own)
    if not title.isidentifier() or not title[0].isupper():
        raise RimetreeError(f"{where} needs a name that begins with a letter: rt.node(function, name=...)")
    if isinstance(derivative, str) and derivative not in WAYS:
        raise RimetreeError(
            f"{where}: derivative must be one of {', '.join(WAYS)} or a function, not {derivative!r}{nearest(derivative, WAYS)}"
        )
    if callable(derivative) and dims is not None:
        raise RimetreeError(f"{where}: a derivative is for functions of scalars; use jax.custom_jvp with dims")
    if returns not in (None, float, complex):
        raise RimetreeError(f"{where}: returns must be float or complex, not {returns!r}")
    text = inspect.cleandoc(function.__doc__ or "")
    declared = _declared(function, where, text)
    body = {
        **declared,
        "__module__": getattr(function, "__module__", __name__),
        "__qualname__": getattr(function, "__qualname__", title),
        "__doc__": text or f"The function {own}.",
        "numpy": numpy,
        "derivative": staticmethod(derivative) if callable(derivative) else derivative,
        "returns": returns,
        "function": staticmethod(function),
    }
    if dims is None:
        return type(title, (Elementwise,), {**body, "compute": staticmethod(function)})
    shape = tuple(int(n) for n in dims)
    return type(title, (Function,), {**body, "compute": staticmethod(_of_tensors(function, shape))})


def _class_name(own: str) -> str:
    """`phase_ramp` is PhaseRamp; a name with capitals is kept."""
    if own[:1].isupper():
        return own
    return "".join(part[:1].upper() + part[1:] for part in own.split("_") if part)


def _declared(function: Callable[..., Any], where: str, text: str) -> dict[str, Child | Option]:
    """Children and options, from the parameters of a function and the lines `name: help` of its docstring."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        raise RimetreeError(f"{where} does not say what its parameters are: wrap it in a def") from None
    helps = dict(re.findall(r"^\s*`?\*{0,2}(\w+)`?\s*:\s+(.+?)\s*$", text, re.MULTILINE))
    hints = _hints(function)
    result: dict[str, Child | Option] = {}
    for key, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            raise RimetreeError(f"{where}: options are parameters with a default; **{key} cannot be declared")
        if hasattr(NodeClass, key) or key in ("tags", "name", "compute", "function"):
            raise RimetreeError(f"{where}: a parameter cannot be called {key!r}, which has a meaning of its own")
        given = parameter.default
        if isinstance(given, (Child, Option)):
            result[key] = given
        elif parameter.kind is parameter.VAR_POSITIONAL:
            result[key] = child(helps.get(key, ""), many=True)
        elif given is parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY:
            result[key] = child(helps.get(key, ""))
        elif given is parameter.empty:
            result[key] = option(type=_kind_of(hints.get(key), None), help=helps.get(key, ""), required=True)
        else:
            result[key] = option(given, type=_kind_of(hints.get(key), given), help=helps.get(key, ""))
    return result


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of parameters, where they can be understood."""
    try:
        return get_type_hints(function)
    except Exception:  # names that are defined nowhere, callables without annotations
        return {}


def _kind_of(hint: Any, default: Any) -> Any:
    """What an option may be: by its annotation, else by its default."""
    if isinstance(default, float) and hint in (None, float):
        return real(finite=math.isfinite(default))
    try:
        return kind(hint) if hint is not None else type(default) if isinstance(default, (str, bool, int)) else object
    except RimetreeError:  # an annotation that is no type of ours
        return object


def _of_tensors(function: Callable[..., Any], dims: tuple[int, ...]) -> Callable[..., Tensor]:
    """A function of arrays dims + (cells) as one of Tensors; its value is nested lists, or an array, of these dims."""

    def compute(*tensors: Tensor, **options: Any) -> Tensor:
        planes = [e.array for tensor in tensors for e in tensor.elements if isinstance(e, Plane)]
        elements: list[Any] = []
        if planes:
            rank = np.ndim(planes[0])
            _flatten(function(*(_stacked(t, rank) for t in tensors), **options), dims, dims, elements)
            return Tensor(dims, tuple(_plane(e, rank) for e in elements))
        import jax

        with jax.ensure_compile_time_eval():
            _flatten(function(*(_stacked(t, 0) for t in tensors), **options), dims, dims, elements)
            return Tensor(dims, tuple(np.asarray(e).item() for e in elements))

    return compute


def _stacked(tensor: Tensor, rank: int) -> Any:
    """A Tensor as one array, dims + (cells, `rank` axes); by numpy where all its elements are numpy's."""
    arrays = [e.array if isinstance(e, Plane) else np.full((1,) * rank, e) for e in tensor.elements]
    if not tensor.dims:
        return arrays[0]
    xp: Any = np
    if not all(isinstance(a, np.ndarray) for a in arrays):
        import jax.numpy as xp
    stacked = xp.stack(xp.broadcast_arrays(*arrays))
    return stacked.reshape(tensor.dims + stacked.shape[1:])


def _plane(element: Any, rank: int) -> Any:
    """An element of a value: a number, or an array, those without axes with as many as the cells have."""
    if isinstance(element, NUMBERS):
        return element
    return Plane(element.reshape((1,) * rank) if np.ndim(element) == 0 else element)


def _flatten(value: Any, dims: tuple[int, ...], whole: tuple[int, ...], into: list[Any]) -> None:
    """Append the elements of nested sequences, or of an array, of these dims. Raises Unusable."""
    if not dims:
        into.append(value)
        return
    try:
        parts = list(value)
    except TypeError:
        parts = []
    if len(parts) != dims[0]:
        raise Unusable(
            f"its function returned {len(parts) or 'no'} parts along an axis of {dims[0]}: its value must have dims {whole}"
        )
    for part in parts:
        _flatten(part, dims[1:], whole, into)
