"""JAX, set up: take `jax` and `jnp` from here, inside the functions that need them.

Importing JAX takes half a second and 120 MB, which a run whose equations are sums and products never needs.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp

from ..compiling import on_xla

__all__ = ["jax", "jnp"]

jax.config.update("jax_enable_x64", True)

if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    _cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rimetree" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(_cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

jax.monitoring.register_event_duration_secs_listener(on_xla)
