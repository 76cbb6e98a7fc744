"""Functions of numpy, called while a compiled program runs: values by `jax.pure_callback`, derivatives by differences.

A node's function that JAX cannot trace is called on the host instead. It acts cell by cell, on arrays that broadcast; its
derivatives are central differences of sixth order, a complex step, or what its author gives, and so are those of
derivatives. Where it raises, its value is NaN there and nowhere else, and the family remembers what it raised.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..graph.node import Family, NodeClass, Unusable
from .template import NodeFailure

Numeric = Callable[..., np.ndarray]
"""A function of numpy arrays that broadcast; its value has the outputs as its last axis."""

Slopes = Callable[..., Sequence[np.ndarray]]
"""The derivatives of such a function with one output, one for each argument, as its author gives them."""

TRIES = 400
"""Calls in which the cells where a function raises are told from those where it does not."""

STEPS = 2.0 ** -np.arange(5, 45, 2)
"""Steps of differences, relative to the value (to 1 where that is 0); the best of neighbouring ones is taken, cell by cell."""

AGREED = 1e-10
"""Relative difference between two steps at which no smaller one is tried."""

TINY = 1e-30
"""The complex step: so small that its square vanishes beside any number of interest."""


def on_host(
    family: Family, function: Numeric, arrays: Sequence[Any], outputs: int, slopes: Slopes | None = None
) -> list[Any]:
    """The outputs of a numpy function on JAX arrays, as JAX arrays, with derivatives.

    `function(*arrays)` returns (..., outputs), and `slopes(*arrays)` its derivative for each of those that have one. What it
    raises while the program runs is noted in `family.calls`.
    """
    cls = family.cls
    dtype = cls.returns or _found_type(function, arrays)
    call = _traced(Guarded(family, function, outputs, np.dtype(dtype)), slopes, cls.derivative == "complex-step")
    value = call(*arrays)
    return [value[..., k] for k in range(outputs)]


def _found_type(function: Numeric, arrays: Sequence[Any]) -> Any:
    """float or complex: what the function returns for ones; where it refuses these, complex if any argument is."""
    ones = [np.ones((1,) * np.ndim(a), a.dtype) for a in arrays]
    try:
        with np.errstate(all="ignore"):
            found = np.result_type(function(*ones), float)
    except Exception:  # a user's function may raise anything; the values themselves will show it
        found = np.result_type(float, *ones)
    return found if found.kind in "fc" else float


class Guarded:
    """A user's function of numpy arrays: checked, NaN where it raises, and its troubles kept by the family."""

    def __init__(self, family: Family, function: Numeric, outputs: int, dtype: np.dtype) -> None:
        self.family, self.function, self.outputs, self.dtype = family, function, outputs, dtype

    def __call__(self, *arrays: Any) -> np.ndarray:
        """The value (broadcast shape, outputs)."""
        given = [np.asarray(a) for a in arrays]
        shape = np.broadcast_shapes(*(a.shape for a in given))
        try:
            return self._value(given, shape)
        except Unusable as refusal:
            self._note(str(refusal))
        except Exception as error:  # a user's function may raise anything
            return self._apart(given, shape, error)
        return np.full((*shape, self.outputs), np.nan, self.dtype)

    def _value(self, given: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        with np.errstate(all="ignore"):
            value = np.asarray(self.function(*given))
        if value.dtype.kind not in "biufc":
            raise Unusable(f"its function returned {value.dtype}, not numbers")
        if value.dtype.kind == "c" and self.dtype.kind != "c":
            raise Unusable(
                "its function returned complex numbers where it returned real ones before: declare returns=complex"
            )
        try:
            found = np.broadcast_to(value, (*shape, self.outputs)).astype(self.dtype)
        except ValueError:
            raise Unusable(
                f"its function returned an array of shape {value.shape[:-1]}, where {shape} is needed: it must act cell by cell"
            ) from None
        self.family.calls.gave |= bool(np.isfinite(found).any())
        return found

    def _apart(self, given: Sequence[np.ndarray], shape: tuple[int, ...], error: Exception) -> np.ndarray:
        """The value, NaN in those cells where the function raises, found by halving."""
        count = int(np.prod(shape))
        tail = (1,) * max(len(shape) - 1, 0)
        flat = [np.broadcast_to(a, shape).reshape(count, *tail) for a in given]
        out = np.full((count, self.outputs), np.nan, self.dtype)
        parts = [(0, count // 2), (count // 2, count)] if count > 1 else []
        tries = 0
        while parts and tries < TRIES:
            low, high = parts.pop(0)
            tries += 1
            try:
                out[low:high] = self._value([a[low:high] for a in flat], (high - low, *tail)).reshape(high - low, -1)
            except Exception as again:
                error = again
                if high - low > 1:
                    parts += [(low, (low + high) // 2), ((low + high) // 2, high)]
        self._note(raised(self.family.cls, error))
        return out.reshape(*shape, self.outputs)

    def _note(self, trouble: str) -> None:
        if trouble not in self.family.calls.troubles:
            self.family.calls.troubles.append(trouble)

    def derived(self, function: Numeric, dtype: Any) -> Guarded:
        """Another function with the same family and outputs."""
        return Guarded(self.family, function, self.outputs, np.dtype(dtype))


def _traced(guarded: Guarded, given: Slopes | None, complex_step: bool) -> Callable[..., Any]:
    """A guarded function as one of JAX arrays, value (..., outputs), differentiable any number of times."""
    from .xla import jax

    @jax.custom_jvp
    def call(*arrays: Any) -> Any:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        result = jax.ShapeDtypeStruct((*shape, guarded.outputs), guarded.dtype)
        return jax.pure_callback(guarded, result, *arrays, vmap_method="expand_dims")

    def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        value = call(*primals)
        total = jax.numpy.zeros_like(value)
        for k, (x, v) in enumerate(zip(primals, tangents, strict=True)):
            if isinstance(v, jax.custom_derivatives.SymbolicZero):
                continue
            for direction in (1.0, 1j) if jax.numpy.iscomplexobj(x) else (1.0,):
                slope = _slope(guarded, given, complex_step, k, direction)(*primals)
                part = v.imag if direction == 1j else v.real
                total += (slope * part[..., None]).astype(value.dtype)
        return value, total

    call.defjvp(rule, symbolic_zeros=True)
    return call


def _slope(
    guarded: Guarded, given: Slopes | None, complex_step: bool, k: int, direction: complex
) -> Callable[..., Any]:
    """The derivative with respect to argument k along 1 or i, traced."""
    if given is not None:
        dtype = np.result_type(guarded.dtype, complex) if direction == 1j else guarded.dtype
        return _traced(guarded.derived(_given(given, k, direction), dtype), None, False)
    moved = guarded.derived(guarded.function, complex) if complex_step else guarded
    return _traced(guarded.derived(difference(moved, k, direction, complex_step), guarded.dtype), None, False)


def _given(slopes: Slopes, k: int, direction: complex) -> Numeric:
    """One of the derivatives that the author gives; that of a complex argument is a complex derivative."""

    def function(*arrays: np.ndarray) -> np.ndarray:
        slope = np.asarray(slopes(*arrays)[k])[..., None]
        return slope * direction if direction == 1j else slope

    return function


def difference(function: Numeric, k: int, direction: complex = 1.0, complex_step: bool = False) -> Numeric:
    """The derivative of a numpy function with respect to argument k, along 1 or along i.

    Central differences of sixth order (Fornberg 1988, table 1) with steps that shrink until two agree; of those tried, each
    cell takes the one nearest to its neighbour. Or a complex step (Squire & Trapp 1998), where the argument is real.
    """

    def moved(arrays: Sequence[np.ndarray], step: np.ndarray) -> np.ndarray:
        return function(*arrays[:k], arrays[k] + direction * step, *arrays[k + 1 :])

    def along(*arrays: np.ndarray) -> np.ndarray:
        x = arrays[k]
        if complex_step and not np.iscomplexobj(x):
            return np.asarray(moved(arrays, np.full(x.shape, TINY * 1j))).imag / TINY
        steps = (np.where(x == 0, 1.0, np.abs(x)) * relative for relative in STEPS)
        best, _ = last, _ = _sixth(moved, arrays, next(steps))
        error = np.full(best.shape, np.inf)
        for step in steps:
            slope, noise = _sixth(moved, arrays, step)
            size = np.maximum(np.abs(slope), np.abs(last))
            change = np.abs(slope - last) / np.where(size > 0, size, 1.0)
            nearer = change < error
            best, error, last = np.where(nearer, slope, best), np.where(nearer, change, error), slope
            if ((error <= AGREED) | (size <= noise)).all():
                break
        return best

    return along


def _sixth(f: Callable[..., np.ndarray], arrays: Sequence[np.ndarray], h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A central difference of sixth order, and what rounding makes of it."""
    above, below = ([f(arrays, sign * n * h) for n in (1, 2, 3)] for sign in (1, -1))
    total = sum(w * (a - b) for w, a, b in zip((45, -9, 1), above, below, strict=True))
    noise = 4 * np.finfo(float).eps * np.maximum(np.abs(above[0]), np.abs(below[0])) / h[..., None]
    return total / (60 * h)[..., None], noise


def take(family: Family) -> list[str]:
    """What a family's function raised since this was last asked."""
    calls = family.calls
    troubles, calls.troubles, calls.gave = calls.troubles, [], False
    return troubles


def refuse(families: Iterable[Family]) -> None:
    """Raise NodeFailure where a function has raised in all cells up to now: nothing can be known from it."""
    for family in families:
        if family.calls.troubles and not family.calls.gave:
            raise NodeFailure(family.number, f"{take(family)[0]}, in every cell")


def raised(cls: type[NodeClass], error: Exception) -> str:
    """What the function of a class raised, with its last line that was on the way, as (file.py:12)."""
    function = getattr(cls, "function", None)
    code = getattr(inspect.unwrap(function), "__code__", None) if function else None
    own = code.co_filename if code else getattr(sys.modules.get(cls.__module__), "__file__", None)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    place = f" ({lines[-1].filename}:{lines[-1].lineno})" if lines else ""
    return f"its function raised {type(error).__name__}: {next(iter(str(error).splitlines()), '')}{place}"
