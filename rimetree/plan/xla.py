"""JAX, set up: take `jax` and `jnp` from here, inside the functions that need them.

Importing JAX takes half a second and 120 MB, which a run whose equations are sums and products never needs.
"""

import os
from contextlib import suppress

import jax
import jax.numpy as jnp

from ..compiling import cache_folder, on_xla

__all__ = ["jax", "jnp"]

jax.config.update("jax_enable_x64", True)

if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    with suppress(
        OSError, RuntimeError
    ):  # no home, or something in the way: JAX would warn of each program that it cannot keep
        _cache = cache_folder("xla")
        _cache.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(_cache))
        _shortest = 0.1 if os.access(_cache, os.W_OK) else float("inf")  # seconds of compiling that are worth a file
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _shortest)

jax.monitoring.register_event_duration_secs_listener(on_xla)
