"""The instructions of `threads`, for LLVM. Imported by the compiler only: it needs numba."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _place(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, int]:
    """The address of an item of an array, and its size in bytes."""
    data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
    index = context.cast(builder, args[1], signature.args[1], types.intp)
    return builder.gep(data, [index]), signature.args[0].dtype.bitwidth // 8


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


@intrinsic
def sleep(typingctx: Any, microseconds: Any) -> Any:
    """Leave the processor to others for so long."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, [word]), "usleep")
        builder.call(function, [context.cast(builder, args[0], signature.args[0], types.uint32)])
        return context.get_dummy_value()

    return types.void(microseconds), codegen
