"""Functions that exist for real numbers only, and the square root of what is not negative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp


def require_real(*args: Any) -> None:
    """Refuse complex arrays and numbers with a ValueError: JAX would take some of them and give nonsense."""
    if any(jnp.iscomplexobj(a) for a in args):
        raise ValueError("the children must be real, not complex: take Real, Imag, Abs or Arg of them first")


def real_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, refusing complex arguments."""

    def checked(*args: Any) -> Any:
        require_real(*args)
        return function(*args)

    return checked


def root(square: Any) -> Any:
    """The square root; its derivative is 0, not infinite, at 0."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), square)


def phase(x: Any) -> Any:
    """The phase of a complex number; 0 with derivative 0, not NaN, at 0."""
    return jnp.angle(jnp.where(x == 0, 1.0, x))
