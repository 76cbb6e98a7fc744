"""How numpy's linear algebra waits. Imported before numpy, for OpenBLAS looks when it is loaded."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

SPINNING = "numpy" in sys.modules
"""Whether it was loaded before and is past being told."""

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "8")
# Its threads spin for 2^26 cycles after every call, in case there is another: a tenth of the processor time of a chain.


@contextmanager
def alone() -> Iterator[None]:
    """Linear algebra within is done by the calling thread, for matrices so small that others would only spin."""
    if not SPINNING:
        yield
        return
    with single():
        yield


@contextmanager
def single() -> Iterator[None]:
    """The same wherever threads lose more than they gain: thousands of matrices of hundreds of rows, one after another."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@lru_cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
