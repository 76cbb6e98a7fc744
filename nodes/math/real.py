"""Functions that exist for real numbers only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp


def real_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, refusing complex arguments with a ValueError: JAX would take some of them and give nonsense."""

    def checked(*args: Any) -> Any:
        if any(jnp.iscomplexobj(a) for a in args):
            raise ValueError("the children must be real, not complex: take Real, Imag, Abs or Arg of them first")
        return function(*args)

    return checked
