"""Work shared out over threads, item by item: unlike numba's prange, nobody waits for a thread that lost its core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from ...kernels import Intrinsic, kernel

_most: int | None = None


def threads() -> int:
    """How many threads work: one for each processor that the process may use, or what `limited` says."""
    return _most or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@contextmanager
def limited(count: int) -> Iterator[None]:
    """At most so many threads meanwhile, 0 for no limit."""
    global _most
    before = _most
    _most = min(count, threads()) if count else before
    try:
        yield
    finally:
        _most = before


def together(work: Callable[[], Any], spare: int = 0) -> list[Any]:
    """Results of `work()`, called once by every thread (but `spare` ones), the calling one among them."""
    others = [_pool(threads() - 1).submit(work) for _ in range(threads() - 1 - spare)]
    try:
        own = work()
    finally:
        wait(others)
    return [own, *(other.result() for other in others)]


def in_turns(kernel: Callable[..., Any], *arguments: Any, spare: int = 0) -> list[Any]:
    """What `kernel(*arguments, counter)` returns to each thread (but `spare` ones); threads share the work out by `take(counter)`."""
    counter = np.zeros(1, np.int64)
    return together(lambda: kernel(*arguments, counter), spare)


def shared(task: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Results of `task(item)` for all items, in order. The task should spend its time in kernels that release the
    interpreter lock."""
    results: list[Any] = [None] * len(items)
    left = iter(enumerate(items))

    def work() -> None:
        for i, item in left:
            results[i] = task(item)

    together(work) if len(items) > 1 else work()
    return results


@lru_cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "rimetree-solve")


take, seen, tell, _sleep = (Intrinsic(__name__, name) for name in ("take", "seen", "tell", "sleep"))
"""Instructions; `threads_code` says what each does."""


@kernel()
def reached(array, index, least):  # type: ignore[no-untyped-def]
    """Wait until another thread has made an item at least `least`; False where it made it negative: it never will."""
    value = seen(array, index)
    while 0 <= value < least:
        _sleep(300)
        value = seen(array, index)
    return value >= least


@kernel(forceinline=True)
def wait_for(array, index):  # type: ignore[no-untyped-def]
    """Return once an item is not 0: soon, so without sleep. The thread that is to change it must itself wait only for what other
    threads took before; then somebody always works."""
    while seen(array, index) == 0:
        pass
