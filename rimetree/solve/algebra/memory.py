"""Memory by address, for kernels: reading and writing strided data as SIMD code.

numba's arrays would do, but an item of an array brings a test for negative indices, every slice (and every look at an array of a
tuple) a count of references, and LLVM turns loops over strided data into gathers, which are several times slower than what is
done here. Nothing here checks bounds.
"""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import Intrinsic, kernel

OPTIONS = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
"""How kernels are compiled. Sums may be reordered (SIMD); NaN and infinity keep their meaning, the masks depend on
it."""

LEAF = {**OPTIONS, "forceinline": True}
"""For loops within kernels: a call per line of data would cost as much as the loop."""


uint8s, int32s, int64s, float32s, float64s, after, peek, poke, fetch, _pick, _split, _merge = (
    Intrinsic(__name__, name)
    for name in (
        "uint8s", "int32s", "int64s", "float32s", "float64s", "after", "peek", "poke", "fetch", "pick", "split", "merge",
    )
)  # fmt: skip
"""Instructions; `memory_code` says what each does."""


@kernel(**LEAF)
def fill(target, value, n):
    """target[:n] = value."""
    for c in range(n):
        poke(target, c, value)


@kernel(**LEAF)
def gather(data, step, target, n):
    """target[:n] = n values `step` apart, of the same type."""
    whole = n - n % 8
    for c in range(0, whole, 8):
        _pick(after(data, c * step), step, after(target, c))
    for c in range(whole, n):
        poke(target, c, peek(data, c * step))


@kernel(**LEAF)
def split(data, step, re, im, n):
    """re + i im (float64) = n complex numbers `step` reals apart."""
    whole = n - n % 4
    for c in range(0, whole, 4):
        _split(after(data, c * step), step, after(re, c), after(im, c))
    for c in range(whole, n):
        poke(re, c, float(peek(data, c * step)))
        poke(im, c, float(peek(data, c * step + 1)))


@kernel(**LEAF)
def merge(re, im, data, step, n):
    """n complex64 numbers, `step` reals apart at `data`, = re + i im (float64)."""
    whole = n - n % 4
    for c in range(0, whole, 4):
        _merge(after(re, c), after(im, c), after(data, c * step), step)
    for c in range(whole, n):
        poke(data, c * step, np.float32(peek(re, c)))
        poke(data, c * step + 1, np.float32(peek(im, c)))
