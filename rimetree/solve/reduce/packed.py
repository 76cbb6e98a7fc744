"""Four complex64 numbers as they lie in memory, as one vector of float64: real and imaginary parts in turn.

Sums over rows of columns take all correlations at once by them, and need no copy.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from ...kernels import Intrinsic, kernel
from ..algebra.memory import peek, poke
from ..algebra.simd import INLINE, LANES

GROUP = LANES // 2
"""Complex numbers per vector."""

LARGE = 1e300
"""Beyond any sum of weighted squares of finite float32 numbers."""

usable, plain, swapped, crossed, halved = (
    Intrinsic(__name__, name) for name in ("usable", "plain", "swapped", "crossed", "halved")
)
"""Instructions; `packed_code` says what each does."""


@kernel(**INLINE)
def fold(out, first, stop, ncorr):
    """Add up several data of one correlation in the vectors first:stop at `out`."""
    for i in range(LANES * first, LANES * stop, LANES):
        if ncorr < 4:
            for k in range(i, i + 4):
                poke(out, k, peek(out, k) + peek(out, k + 4))
        if ncorr < 2:
            for k in range(i, i + 2):
                poke(out, k, peek(out, k) + peek(out, k + 2))
