"""The instructions of `memory`, for LLVM. Imported by the compiler only: it needs numba."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _pointer(kind: Any) -> Any:
    @intrinsic
    def pointer(typingctx: Any, address: Any) -> Any:
        return types.CPointer(kind)(types.int64), lambda c, b, s, a: b.inttoptr(a[0], c.get_value_type(s.return_type))

    return pointer


uint8s, float32s, float64s = _pointer(types.uint8), _pointer(types.float32), _pointer(types.float64)
int32s, int64s = _pointer(types.int32), _pointer(types.int64)
"""A pointer from an address (int64)."""


@intrinsic
def after(typingctx: Any, pointer: Any, count: Any) -> Any:
    """The pointer `count` values further on."""
    return pointer(pointer, types.int64), lambda c, b, s, a: b.gep(a[0], [a[1]])


@intrinsic
def peek(typingctx: Any, pointer: Any, index: Any) -> Any:
    """pointer[index]."""
    return pointer.dtype(pointer, types.int64), lambda c, b, s, a: b.load(b.gep(a[0], [a[1]]))


@intrinsic
def poke(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    """pointer[index] = value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, pointer.dtype), codegen


@intrinsic
def fetch(typingctx: Any, address: Any) -> Any:
    """Have the line of memory at an address brought near, to be changed soon."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [builder.inttoptr(args[0], pointer), number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _vector(builder: Any, pointer: Any, kind: Any, count: int) -> Any:
    return builder.bitcast(pointer, ir.VectorType(kind, count).as_pointer())


def _lanes(*lanes: int) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))


def _places(builder: Any, pointer: Any, step: Any, count: int) -> list[Any]:
    return [builder.gep(pointer, [builder.mul(step, ir.Constant(step.type, k))]) for k in range(count)]


@intrinsic
def pick(typingctx: Any, data: Any, step: Any, target: Any) -> Any:
    """target[0:8] = eight values `step` apart."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.args[0].dtype)
        value = ir.Constant(ir.VectorType(kind, 8), ir.Undefined)
        for k, place in enumerate(_places(builder, args[0], args[1], 8)):
            value = builder.insert_element(value, builder.load(place), ir.Constant(ir.IntType(32), k))
        builder.store(value, _vector(builder, args[2], kind, 8)).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, data), codegen


@intrinsic
def split(typingctx: Any, data: Any, step: Any, re: Any, im: Any) -> Any:
    """re[0:4], im[0:4] (float64) = four complex numbers `step` reals apart."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.args[0].dtype)
        pairs = [builder.load(_vector(builder, place, kind, 2)) for place in _places(builder, args[0], args[1], 4)]
        for pair in pairs:
            pair.align = 4
        halves = [builder.shuffle_vector(pairs[k], pairs[k + 1], _lanes(0, 2, 1, 3)) for k in (0, 2)]
        for target, lanes in ((args[2], (0, 1, 4, 5)), (args[3], (2, 3, 6, 7))):
            value = builder.shuffle_vector(*halves, _lanes(*lanes))
            if kind != ir.DoubleType():
                value = builder.fpext(value, ir.VectorType(ir.DoubleType(), 4))
            builder.store(value, _vector(builder, target, ir.DoubleType(), 4)).align = 8
        return context.get_dummy_value()

    real = types.CPointer(types.float64)
    return types.void(data, types.int64, real, real), codegen


@intrinsic
def merge(typingctx: Any, re: Any, im: Any, data: Any, step: Any) -> Any:
    """Four complex64 numbers, `step` reals apart at `data`, from re[0:4] and im[0:4] (float64)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        single = ir.VectorType(ir.FloatType(), 4)
        parts = [
            builder.fptrunc(builder.load(_vector(builder, a, ir.DoubleType(), 4), align=8), single) for a in args[:2]
        ]
        for k, place in enumerate(_places(builder, args[2], args[3], 4)):
            pair = builder.shuffle_vector(*parts, _lanes(k, k + 4))
            builder.store(pair, _vector(builder, place, ir.FloatType(), 2)).align = 4
        return context.get_dummy_value()

    return types.void(re, im, data, types.int64), codegen
