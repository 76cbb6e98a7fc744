"""What numba and XLA compile, or load from their caches, in this process: how often and how long. `--timings` prints it.

`kernels` and `plan.xla` tell it, and keep what they compile in folders of one cache.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path
from threading import Lock
from typing import Any

XLA = {
    "/jax/core/compile/jaxpr_trace_duration": "XLA, traced",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "XLA, lowered",
    "/jax/core/compile/backend_compile_duration": "XLA, compiled or loaded",
    "/jax/compilation_cache/cache_retrieval_time_sec": "XLA, of these loaded from its cache",
}
"""Events of `jax.monitoring` -> what they are called here."""

LOADED, COMPILED = "kernels, loaded", "kernels, compiled"

_seconds: defaultdict[str, float] = defaultdict(float)
_counts: Counter[str] = Counter()
_lock = Lock()

Mark = tuple[dict[str, float], Counter[str]]


def cache_folder(name: str) -> Path:
    """The folder, which need not exist, of what `name` compiled. RuntimeError where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rimetree" / name


def note(what: str, seconds: float) -> None:
    """Add one event."""
    with _lock:
        _seconds[what] += seconds
        _counts[what] += 1


def mark() -> Mark:
    """All up to now, for `since`."""
    with _lock:
        return _seconds.copy(), _counts.copy()


def since(then: Mark) -> list[str]:
    """`kernels, loaded: 7 in 0.03 s`: a line for each kind of event since a mark; compiled kernels by name."""
    now = mark()
    counts = now[1] - then[1]
    return [f"{what}: {counts[what]} in {now[0][what] - then[0].get(what, 0.0):.2f} s" for what in sorted(counts)]


def on_xla(event: str, duration_secs: float, **_: Any) -> None:
    """A listener for `jax.monitoring.register_event_duration_secs_listener`."""
    if event in XLA:
        note(XLA[event], duration_secs)
