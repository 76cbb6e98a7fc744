"""Formulas on whole tensors written in plain JAX: elements in, elements out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rimetree.ring import NUMBERS, Plane, Tensor

Vector = Sequence[Any]
"""Arrays (or numbers) that broadcast against each other, one per component."""


def lifted(dims: tuple[int, ...], function: Callable[..., Vector], *tensors: Tensor) -> Tensor:
    """The Tensor of `function(elements of each tensor...)`, which returns the elements of the result in order.

    Elements are passed as arrays or numbers; the result is numbers where all are numbers.
    """
    arguments = [[e.array if isinstance(e, Plane) else e for e in tensor.elements] for tensor in tensors]
    rank = max((np.ndim(e) for elements in arguments for e in elements), default=0)
    if not rank:
        with jax.ensure_compile_time_eval():
            return Tensor(dims, tuple(np.asarray(value).item() for value in function(*arguments)))
    return Tensor(dims, tuple(_element(value, rank) for value in function(*arguments)))


def _element(value: Any, rank: int) -> Any:
    if isinstance(value, NUMBERS):
        return value
    return Plane(value if jnp.ndim(value) else jnp.reshape(value, (1,) * rank))
