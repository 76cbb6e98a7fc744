"""The instructions of `packed`, for LLVM. Imported by the compiler only: it needs numba."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..algebra.simd import LANES
from ..algebra.simd_code import vec
from .gram import MOST
from .packed import GROUP

_INDEX = ir.IntType(32)
_PAIRS = ir.Constant(ir.VectorType(_INDEX, LANES), [k // 2 for k in range(LANES)])
"""A number for each of four data as one for their real and imaginary parts."""


def _read(builder: Any, address: Any, kind: Any, count: int) -> Any:
    return builder.load(builder.inttoptr(address, ir.VectorType(kind, count).as_pointer()), align=1)


@intrinsic
def usable(typingctx: Any, weights: Any, flags: Any) -> Any:
    """The weights of four data, 0 where they cannot be used, each for a real and an imaginary part."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight = _read(builder, args[0], ir.FloatType(), GROUP)
        flag = _read(builder, args[1], ir.IntType(8), GROUP)
        most, zero = (ir.Constant(weight.type, [v] * GROUP) for v in (float(MOST), 0.0))
        good = builder.and_(builder.fcmp_ordered("<=", weight, most), builder.fcmp_ordered(">", weight, zero))
        good = builder.and_(good, builder.icmp_unsigned("==", flag, ir.Constant(flag.type, [0] * GROUP)))
        weight, good = (builder.shuffle_vector(a, a, _PAIRS) for a in (weight, good))
        kept = builder.select(good, weight, ir.Constant(weight.type, [0.0] * LANES))
        return builder.fpext(kept, ir.VectorType(ir.DoubleType(), LANES))

    return vec(types.int64, types.int64), codegen


@intrinsic
def plain(typingctx: Any, address: Any) -> Any:
    """Four complex64 numbers, real and imaginary parts in turn, as float64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(_read(builder, args[0], ir.FloatType(), LANES), ir.VectorType(ir.DoubleType(), LANES))

    return vec(types.int64), codegen


def _exchange(distance: int, text: str) -> Any:
    @intrinsic
    def operation(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            places = ir.Constant(ir.VectorType(_INDEX, LANES), [k ^ distance for k in range(LANES)])
            return builder.shuffle_vector(args[0], args[0], places)

        return vec(x), codegen

    operation.__doc__ = text
    return operation


swapped = _exchange(1, "Real and imaginary parts changed over.")
crossed = _exchange(2, "The first number and the second, the third and the fourth changed over.")
halved = _exchange(4, "The first two numbers and the last two changed over.")
