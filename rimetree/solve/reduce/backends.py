"""Who makes sums over the data and normal equations: numba on the host, JAX on any device. One interface, same results to rounding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from . import sums
from .sources import Sources

BACKENDS = ("numba", "jax", "gpu")
"""jax: on the device that JAX chooses; gpu: on a GPU, refused where there is none."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Sources and sums, as `sums` documents them; `device()` is a context in which its arrays are made."""

    name: str
    sources: Callable[[], Any]
    accumulate: Callable[..., int]
    direct: Callable[..., tuple[sums.Lanes, int]]
    factors: Callable[..., list[sums.Lanes]]
    device: Callable[[], AbstractContextManager[Any]]


def backend(name: str) -> Backend:
    """One of `BACKENDS`."""
    if name == "numba":
        return Backend(name, Sources, sums.accumulate, sums.direct, sums.factors, nullcontext)
    from . import jax_sums

    device = gpu if name == "gpu" else nullcontext
    return Backend(name, jax_sums.Views, jax_sums.accumulate, jax_sums.direct, jax_sums.factors, device)


def gpu() -> AbstractContextManager[Any]:
    """A context in which JAX works on the first GPU."""
    from ...plan.xla import jax

    context: AbstractContextManager[Any] = jax.default_device(jax.devices("gpu")[0])
    return context


def unavailable(name: str) -> str:
    """One line that says why a backend cannot be used here; "" where it can."""
    if name == "numba":
        return ""
    from ...plan.xla import jax

    try:
        jax.devices("gpu") if name == "gpu" else jax.devices()
    except RuntimeError as error:
        why = " ".join(str(error).split())
        if name == "gpu":
            return f"backend='gpu' finds no GPU ({why}); use 'jax' or 'numba', or install JAX for your GPU"
        return f"backend='jax' finds no device ({why}); look at the environment variable JAX_PLATFORMS"
    return ""
