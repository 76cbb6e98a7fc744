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


@intrinsic
def take(typingctx: Any, counter: Any) -> Any:
    """The value of `counter` (an int64 array of one number), which then is one more, whichever threads take at once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        return builder.atomic_rmw("add", data, ir.IntType(64)(1), "monotonic")

    return types.int64(counter), codegen


@intrinsic
def seen(typingctx: Any, array: Any, index: Any) -> Any:
    """An item of an integer array that another thread may change; what that thread wrote before it did is seen too."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, size = _place(context, builder, signature, args)
        value = builder.load_atomic(place, "acquire", size)
        return context.cast(builder, value, signature.args[0].dtype, types.int64)

    return types.int64(array, index), codegen


@intrinsic
def tell(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Change an item of an integer array that other threads look at by `seen`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, size = _place(context, builder, signature, args)
        number = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
        builder.store_atomic(number, place, "release", size)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


def _place(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, int]:
    data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    return builder.gep(data, [index]), signature.args[0].dtype.bitwidth // 8


_sleep: Any = types.ExternalFunction("usleep", types.int32.__call__(types.uint32))


@nb.njit(cache=True, nogil=True)
def reached(array, index, least):  # type: ignore[no-untyped-def]
    """Wait until another thread has made an item at least `least`; False where it made it negative: it never will."""
    value = seen(array, index)
    while 0 <= value < least:
        _sleep(300)
        value = seen(array, index)
    return value >= least


@nb.njit(nogil=True, forceinline=True)
def wait_for(array, index):  # type: ignore[no-untyped-def]
    """Return once an item is not 0: soon, so without sleep. The thread that is to change it must itself wait only for what other
    threads took before; then somebody always works."""
    while seen(array, index) == 0:
        pass
