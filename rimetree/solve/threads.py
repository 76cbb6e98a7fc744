"""Work shared out over threads, item by item: unlike numba's prange, nobody waits for a thread that lost its core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def threads() -> int:
    """How many threads work: numba's setting."""
    return int(nb.get_num_threads())


def together(work: Callable[[], Any]) -> list[Any]:
    """Results of `work()`, called once by every thread, the calling one among them."""
    others = [_pool(threads() - 1).submit(work) for _ in range(threads() - 1)]
    try:
        own = work()
    finally:
        wait(others)
    return [own, *(other.result() for other in others)]


def in_turns(kernel: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `kernel(*arguments, counter)` returns to each thread; threads share the work out by `take(counter)`."""
    counter = np.zeros(1, np.int64)
    return together(lambda: kernel(*arguments, counter))


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


@intrinsic
def take(typingctx: Any, counter: Any) -> Any:
    """The value of `counter` (an int64 array of one number), which then is one more, whichever threads take at once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.atomic_rmw("add", data, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), codegen
