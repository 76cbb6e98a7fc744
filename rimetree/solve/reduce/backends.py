"""Who makes sums over the data and normal equations: numba on the host, JAX on any device. One interface, same results to rounding."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ...errors import SolveError
from . import sums
from .sources import Sources

BACKENDS = ("numba", "jax", "gpu")
"""jax: on the device that JAX chooses; gpu: on a GPU, refused where there is none."""

SHARE = 0.5
"""Of what JAX has of a device's memory, for data; the rest is for what compiled programs need beside it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Sums, as `sums` documents them; `sources(earlier)` makes an empty table of sources of the tile that `earlier` ones are of."""

    name: str
    sources: Callable[[Any], Any]
    accumulate: Callable[..., int]
    direct: Callable[..., tuple[sums.Lanes, int]]
    factors: Callable[..., list[sums.Lanes]]


def backend(name: str) -> Backend:
    """One of `BACKENDS`."""
    if name == "numba":
        return Backend(name, lambda earlier: Sources(), sums.accumulate, sums.direct, sums.factors)
    from . import jax_sums

    return Backend(name, jax_sums.Views, jax_sums.accumulate, jax_sums.direct, jax_sums.factors)


@contextmanager
def device(name: str) -> Iterator[None]:
    """Within it, what JAX evaluates for a backend is on its device.

    Raises MemoryError where that is full, and SolveError where it fails, such as a driver that JAX was not made for.
    """
    if name == "numba":
        yield
        return
    from ...plan.xla import jax

    with jax.default_device(jax.devices("gpu")[0]) if name == "gpu" else nullcontext():
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            words = " ".join(str(error).split())
            if "RESOURCE_EXHAUSTED" in words:
                raise MemoryError(f"backend={name!r}: {words}; give a smaller memory=") from error
            raise SolveError(f"backend={name!r}: JAX stopped: {words}") from error


def room(name: str) -> float:
    """Bytes of data that the device of a backend can hold; infinite where it is the host, whose memory is known otherwise."""
    if name == "numba":
        return float("inf")
    from ...plan.xla import jax

    one = jax.devices("gpu")[0] if name == "gpu" else jax.devices()[0]
    known = one.memory_stats() or {}
    return SHARE * known["bytes_limit"] if "bytes_limit" in known else float("inf")


def unavailable(name: str) -> str:
    """One line that says why a backend cannot be used here; "" where it can."""
    if name == "numba":
        return ""
    from ...plan.xla import jax

    try:
        jax.devices("gpu") if name == "gpu" else jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that one of JAX_PLATFORMS is there
        why = " ".join(str(error).split()) or f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS')}"
        if name == "gpu":
            return f"backend='gpu' finds no GPU ({why}); use 'jax' or 'numba', or install JAX for your GPU"
        return f"backend='jax' finds no device ({why}); look at the environment variable JAX_PLATFORMS"
    return ""
