"""Listens to numba loading and compiling kernels, for `rimetree.compiling`."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from numba.core import event

from ..compiling import COMPILED, LOADED, note

LOOKED_UP = 1e-4
"""Seconds that numba holds its lock at most when it has only looked into a table."""


class Kernels(event.Listener):
    """Events "numba:compiler_lock" (held while a kernel is loaded or compiled) and "numba:compile" within it.

    They nest, for a kernel calls others, and threads wait for each other: the time from the first start to the last end
    counts.
    """

    def __init__(self) -> None:
        self.depth: Counter[str] = Counter()
        self.began: dict[str, float] = {}
        self.compiled = False

    def on_start(self, event: Any) -> None:
        """What numba calls first."""
        self.depth[event.kind] += 1
        if self.depth[event.kind] == 1:
            self.began[event.kind] = time.perf_counter()

    def on_end(self, event: Any) -> None:
        """What numba calls last."""
        self.depth[event.kind] -= 1
        if self.depth[event.kind]:
            return
        spent = time.perf_counter() - self.began[event.kind]
        if event.kind == "numba:compile":
            self.compiled = True
            note(f"{COMPILED} {event.data['dispatcher'].py_func.__name__}", spent)
        elif self.compiled:
            self.compiled = False
        elif spent > LOOKED_UP:
            note(LOADED, spent)


def listen() -> None:
    """Begin."""
    kernels = Kernels()
    for kind in ("numba:compiler_lock", "numba:compile"):
        event.register(kind, kernels)
