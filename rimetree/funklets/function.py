"""A user's own JAX function of time, frequency and coefficients."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .base import At, Funklet


@dataclass(frozen=True)
class Function(Funklet):
    """`function(time, freq, c)`, written with jax.numpy: time (T, 1) in s, freq (1, F) in Hz, c the coefficients.

    c is (k,), as many as the list has that the Parm starts from (a number: one), or (i, j) where it starts from nested lists.

    `scaled`: time and freq are from -1 to 1 over the solution interval instead. It returns the value, (T, F) or with 1 where it
    does not vary, and is differentiated exactly. `Meq.Parm(start, funklet=function)` is short for `funklet=Function(function)`.
    """

    function: Callable[..., Any] | str
    """Itself, or (from a solution file) its `module:name`, which is looked for among the loaded modules when it is called."""
    scaled: bool = False
    kind: ClassVar[str] = "function"
    linear: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """`module:function`, as solution files have it."""
        function = self.function
        if isinstance(function, str):
            return function
        return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', repr(function))}"

    @property
    def call(self) -> Callable[..., Any]:
        """The function. ValueError where it is not loaded: a data file must not make us import what it names."""
        if not isinstance(self.function, str):
            return self.function
        module, _, path = self.function.partition(":")
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            raise ValueError(
                f"it is a function of {module}, {path}, which is not loaded: import it first, or give function="
            )
        return found

    def starting(self, value: Any) -> Any:
        """Checked by calling the function with shapes only."""
        given = np.asarray(value)
        if given.ndim > 2 or not given.size or given.dtype.kind not in "biufc":
            raise ValueError(
                f"the start of a function is a number, a list of numbers or a list of such lists, not {value!r}"
            )
        given = given.reshape(len(given) if given.ndim else 1, -1)
        _traced(self, given.shape, np.result_type(given, float))
        return given

    def axes(self, shape: tuple[int, ...]) -> frozenset[str]:
        """As found by calling it with shapes only."""
        return _traced(self, shape, float)[0]

    def is_complex(self, start: np.ndarray) -> bool:
        """As found by calling it with types only."""
        return _traced(self, start.shape, start.dtype)[1]

    def prepare(self, shape: tuple[int, ...], at: At) -> tuple[Any, ...]:
        """Time and frequency."""
        return (at.x, at.y) if self.scaled else (at.time, at.freq)

    def combine(self, shape: tuple[int, ...], coefs: Sequence[Any], prepared: Sequence[Any]) -> Any:
        """The value on (n, St, Jt, Sf, Jf) from coefficients (n, St, 1, Sf, 1), time (St, Jt, 1, 1) and freq (1, 1, Sf, Jf)."""
        jax = _jax()
        jnp = jax.numpy
        time, freq = (jnp.asarray(p) for p in prepared)
        c = jnp.stack([jnp.asarray(v)[:, :, 0, :, 0] for v in coefs], -1)  # (n, St, Sf, K)
        layout = _flat(shape)

        def single(t: Any, f: Any, own: Any) -> Any:
            value = jnp.asarray(self.call(t[:, None], f[None, :], own.reshape(layout)))
            return value.reshape((1,) * (2 - value.ndim) + value.shape)

        over_freq = jax.vmap(single, (None, 0, 0))
        over_time = jax.vmap(over_freq, (0, None, 0))
        value = jax.vmap(over_time, (None, None, 0))(time[:, :, 0, 0], freq[0, 0], c)  # (n, St, Sf, Jt, Jf)
        return value.transpose(0, 1, 3, 2, 4)


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Coefficients (i, j) as the function sees them."""
    return shape[:1] if shape[1] == 1 else shape


@functools.lru_cache(maxsize=1024)
def _traced(funklet: Function, shape: tuple[int, ...], dtype: Any) -> tuple[frozenset[str], bool]:
    """Axes along which it varies, and whether it is complex: from a call with shapes only. Raises ValueError."""
    jax = _jax()
    function = funklet.call
    inputs = ((3, 1), float), ((1, 4), float), (_flat(shape), dtype)
    try:
        out = jax.eval_shape(function, *(jax.ShapeDtypeStruct(s, d) for s, d in inputs))
    except Exception as error:  # a user's function may raise anything
        text = next(iter(str(error).splitlines()), "")
        hint = "; write it with jax.numpy" if isinstance(error, jax.errors.JAXTypeError) else ""
        raise ValueError(f"the funklet {funklet.name} raised {type(error).__name__}: {text}{hint}") from error
    got = getattr(out, "shape", None)
    if got is None or len(got) > 2 or any(n not in (1, m) for n, m in zip(got[::-1], (4, 3), strict=False)):
        what = type(out).__name__ if got is None else f"shape {got}"
        raise ValueError(
            f"the funklet {funklet.name} returned {what} for time (3, 1) and freq (1, 4); "
            "it must return (3, 4), with 1 where it does not vary"
        )
    sizes = (1, 1, *got)[-2:]
    return frozenset(name for name, n in zip(("time", "freq"), sizes, strict=True) if n > 1), out.dtype.kind == "c"


@functools.cache
def _jax() -> Any:
    """JAX in double precision, loaded when first needed."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax
