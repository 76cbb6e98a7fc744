"""The instructions of `simd`, for LLVM. Imported by the compiler only: it needs numba."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic, overload

from .simd import LANES

FAST = ("contract", "nsz", "arcp", "reassoc")
"""NaN and infinity keep their meaning: a lane that fails carries them to its end without touching the others."""

_DOUBLES, _SINGLES = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.FloatType(), LANES)


class VecType(types.Type):
    """The numba type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Vec")


vec = VecType()


@register_default(VecType)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _DOUBLES)


def _pointer(context: Any, builder: Any, kinds: Any, array_and_index: Any, step: int, kind: Any) -> Any:
    """Address of a vector that begins `index` times `step` numbers after the first of an array."""
    array, index = array_and_index
    data = context.make_array(kinds[0])(context, builder, value=array).data
    first = builder.gep(data, [builder.mul(context.cast(builder, index, kinds[1], types.intp), ir.IntType(64)(step))])
    return builder.bitcast(first, kind.as_pointer())


def _loading(step: int, text: str) -> Any:
    @intrinsic
    def operation(typingctx: Any, array: Any, index: Any) -> Any:
        small = array.dtype == types.float32
        kind = _SINGLES if small else _DOUBLES

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found = builder.load(_pointer(context, builder, signature.args, args, step, kind), align=4 if small else 8)
            return builder.fpext(found, _DOUBLES) if small else found

        return vec(array, index), codegen

    operation.__doc__ = text
    return operation


def _storing(step: int, text: str) -> Any:
    @intrinsic
    def operation(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
        small = array.dtype == types.float32
        kind = _SINGLES if small else _DOUBLES

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            where = _pointer(context, builder, signature.args, args[:2], step, kind)
            builder.store(builder.fptrunc(args[2], kind) if small else args[2], where, align=4 if small else 8)
            return context.get_dummy_value()

        return types.void(array, index, vec), codegen

    operation.__doc__ = text
    return operation


load = _loading(LANES, "The vector at a position; arrays are of float64 or float32, and need not be aligned.")
store = _storing(LANES, "Put a vector at a position.")
load_from = _loading(1, "The vector whose first number is at a position.")
store_from = _storing(1, "Put a vector where its first number is at a position.")


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """A vector of equal numbers."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = context.cast(builder, args[0], signature.args[0], types.float64)
        one = builder.insert_element(ir.Constant(_DOUBLES, ir.Undefined), number, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, ir.Constant(_DOUBLES, ir.Undefined), zeros)

    return vec(value), codegen


@intrinsic
def root(typingctx: Any, x: Any) -> Any:
    """Square root; NaN where negative."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_DOUBLES, [_DOUBLES])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f64")
        return builder.call(function, args)

    return vec(x), codegen


@intrinsic
def total(typingctx: Any, x: Any) -> Any:
    """The sum of all lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType(), _DOUBLES])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f64")
        return builder.call(function, [ir.DoubleType()(-0.0), args[0]], fastmath=FAST)

    return types.float64(x), codegen


@intrinsic
def choose(typingctx: Any, x: Any, yes: Any, no: Any) -> Any:
    """`yes` in lanes where x > 0, else `no`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(_DOUBLES, [0.0] * LANES))
        return builder.select(positive, args[1], args[2])

    return vec(x, yes, no), codegen


def _arithmetic(method: str) -> Any:
    @intrinsic
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, method)(*args, flags=FAST)

        return vec(a, b), codegen

    return operation


def _overload(function: Any, method: str) -> None:
    operation = _arithmetic(method)

    @overload(function)
    def typed(a, b):  # type: ignore[no-untyped-def]  # numba compares signatures
        if isinstance(a, VecType) and isinstance(b, VecType):
            return lambda a, b: operation(a, b)
        if isinstance(a, VecType) and isinstance(b, types.Number):
            return lambda a, b: operation(a, splat(b))
        if isinstance(b, VecType) and isinstance(a, types.Number):
            return lambda a, b: operation(splat(a), b)
        return None


for _function, _method in (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.isub, "fsub"),
    (operator.mul, "fmul"),
    (operator.imul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _overload(_function, _method)
