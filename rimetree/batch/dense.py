"""Memory of normal matrices that are made: refused before it is taken."""

from __future__ import annotations

from ..errors import SolveError
from ..solve.algebra.simd import LANES
from ..solve.algebra.threads import threads
from ..solve.single.problem import Problem
from .tiling import available_memory

COPIES = 4
"""Packed triangles that a block of intervals holds at once: the matrix, its share in the making, scaled, and factored."""


def normal_bytes(unknowns: int, intervals: int) -> int:
    """Bytes of normal matrices in a fit of so many intervals."""
    return COPIES * min(threads(), -(-intervals // LANES)) * LANES * 8 * unknowns * (unknowns + 1) // 2


def refuse_large(name: str, part: Problem) -> None:
    """Raises SolveError where the normal matrices of the unknowns of one interval, eight intervals per thread, do not fit in memory."""
    needed, free = normal_bytes(part.count, part.intervals), available_memory()
    if needed > free:
        raise SolveError(
            f"{name}: {part.count:,} unknowns in one solution interval, whose normal matrices take {needed / 1e9:.3g} GB, and "
            f"{free / 1e9:.3g} GB are free; algorithm='gn-cg' needs none"
        )
