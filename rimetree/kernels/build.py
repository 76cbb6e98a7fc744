"""Compiling a kernel with numba into an object file that needs nothing but the C library.

numba's functions take arrays as separate words, by its calling convention `status f(results, exception, arguments...)`; a function
of a few lines around it reads them from one block of memory. Everything else that numba makes, above all for calls from Python, is
dropped. What is left of its run-time library is allocation, written here.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding as ll
from numba import typeof
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import typeof_impl

from . import objects
from .kernel import Intrinsic, Kernel

RUNTIME = """
declare ptr @malloc(i64)
declare void @free(ptr)

define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {
  %whole = add i64 %size, 128
  %info = call ptr @malloc(i64 %whole)
  %none = icmp eq ptr %info, null
  br i1 %none, label %fail, label %fill
fill:
  store i64 1, ptr %info
  %at = ptrtoint ptr %info to i64
  %beyond = add i64 %at, 127
  %even = and i64 %beyond, -64
  %data = inttoptr i64 %even to ptr
  %place = getelementptr i64, ptr %info, i64 3
  store ptr %data, ptr %place
  ret ptr %info
fail:
  ret ptr null
}

define ptr @NRT_MemInfo_alloc(i64 %size) {
  %info = call ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 64)
  ret ptr %info
}

define void @NRT_MemInfo_call_dtor(ptr %info) {
  call void @free(ptr %info)
  ret void
}

define ptr @NRT_Allocate(i64 %size) {
  %room = call ptr @malloc(i64 %size)
  ret ptr %room
}

define void @NRT_Free(ptr %room) {
  call void @free(ptr %room)
  ret void
}

define i32 @numba_attempt_nocopy_reshape(i64 %n, ptr %dims, ptr %strides, i64 %m, ptr %new, ptr %out, i64 %size, i32 %fortran) {
  %other = icmp ne i32 %fortran, 0
  br i1 %other, label %fail, label %next
next:
  %i = phi i64 [ %n, %0 ], [ %k, %step ]
  %wanted = phi i64 [ %size, %0 ], [ %wider, %step ]
  %k = sub i64 %i, 1
  %end = icmp eq i64 %i, 0
  br i1 %end, label %fill, label %step0
step0:
  %d = getelementptr i64, ptr %dims, i64 %k
  %dim = load i64, ptr %d
  %s = getelementptr i64, ptr %strides, i64 %k
  %stride = load i64, ptr %s
  %wider = mul i64 %wanted, %dim
  %tight = icmp eq i64 %stride, %wanted
  %one = icmp eq i64 %dim, 1
  %good = or i1 %tight, %one
  br i1 %good, label %step, label %fail
step:
  br label %next
fill:
  %j = phi i64 [ %m, %next ], [ %l, %put ]
  %step1 = phi i64 [ %size, %next ], [ %larger, %put ]
  %l = sub i64 %j, 1
  %done = icmp eq i64 %j, 0
  br i1 %done, label %success, label %put
put:
  %o = getelementptr i64, ptr %out, i64 %l
  store i64 %step1, ptr %o
  %e = getelementptr i64, ptr %new, i64 %l
  %extent = load i64, ptr %e
  %larger = mul i64 %step1, %extent
  br label %fill
success:
  ret i32 1
fail:
  ret i32 0
}

define ptr @NRT_MemInfo_new_varsize_dtor(i64 %size, ptr %dtor) {
  ret ptr null
}

define ptr @NRT_MemInfo_varsize_realloc(ptr %info, i64 %size) {
  ret ptr null
}

define ptr @numba_runtime_build_excinfo_struct(ptr %struct, ptr %arguments) {
  ret ptr null
}

define ptr @numba_unpickle(ptr %data, i32 %size, ptr %digest) {
  ret ptr null
}
"""
"""numba's structure of allocated memory: references first, the address of the data fourth. They begin at multiples of 64 bytes, so
that no vector of eight float64 crosses a line of the cache, which would halve the speed of each access. Arrays in C
order can be reshaped. numba words the
errors of assignments to slices with lists and Python objects: there are none here, a status is enough."""


@typeof_impl.register(Kernel)
def _type_of_kernel(value: Kernel, context: Any) -> Any:
    return types.Dispatcher(value.dispatcher)


@typeof_impl.register(Intrinsic)
def _type_of_intrinsic(value: Intrinsic, context: Any) -> Any:
    return cpu_target.typing_context.resolve_value_type(value.real)


def build(kernel: Kernel, arguments: tuple[Any, ...], name: str) -> objects.Code:
    """Machine code of the kernel for arguments of these types, as a function `name`."""
    for intrinsic in Intrinsic.known:
        intrinsic.real  # noqa: B018  # makes them known to numba
    dispatcher = kernel.dispatcher
    signature = tuple(map(typeof, arguments))
    dispatcher.compile(signature)
    result = dispatcher.overloads[signature]
    module = ll.parse_assembly(result.library.get_llvm_str())
    native = module.get_function(result.fndesc.llvm_func_name)
    kinds = [str(argument.type) for argument in native.arguments][2:]
    layout = f'target datalayout = "{module.data_layout}"\ntarget triple = "{module.triple}"\n'
    for text in (_entry(name, native.name, kinds), RUNTIME):
        module.link_in(ll.parse_assembly(layout + text))
    for thing in (*module.functions, *module.global_variables):
        if not thing.is_declaration and thing.name != name:
            thing.linkage = "internal"
    machine = objects.machine()
    passes = ll.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, ll.create_pass_builder(machine, ll.create_pipeline_tuning_options()))
    _check(kernel, module)
    packed = "".join("d" if kind in ("double", "float") else "q" for kind in kinds)
    return objects.Code(packed, _results(kernel, result.signature.return_type), machine.emit_object(module))


def _entry(name: str, native: str, kinds: list[str]) -> str:
    """The function that reads arguments from a block of words."""
    lines, given = [], []
    for i, kind in enumerate(kinds):
        word = "double" if kind in ("double", "float") else "i64"
        lines += [f"%p{i} = getelementptr i64, ptr %block, i64 {i}", f"%w{i} = load {word}, ptr %p{i}"]
        if kind != word:
            change = {"ptr": "inttoptr", "float": "fptrunc"}.get(kind, "trunc")
            lines.append(f"%a{i} = {change} {word} %w{i} to {kind}")
        given.append(f"{kind} %{'w' if kind == word else 'a'}{i}")
    call = ", ".join(("ptr %results", "ptr %exception", *given))
    body = "\n  ".join(
        ("%exception = alloca ptr", *lines, f'%status = call i32 @"{native}"({call})', "ret i32 %status")
    )
    declared = ", ".join(("ptr", "ptr", *kinds))
    return f'declare i32 @"{native}"({declared})\n\ndefine i32 @"{name}"(ptr %block, ptr %results) {{\n  {body}\n}}\n'


def _results(kernel: Kernel, kind: Any) -> str:
    """What `kernel.Results` reads: for a number its character of `struct`, for an array also its dimensions, commas after each of
    a tuple."""
    if kind == types.none:
        return ""
    words = []
    for part in map(types.unliteral, getattr(kind, "types", (kind,))):  # type: ignore[attr-defined]
        if isinstance(part, types.Array) and part.layout == "C":
            words.append(f"{_CHARS[str(part.dtype)]}{part.ndim}")
        elif str(part) in _CHARS:
            words.append(_CHARS[str(part)])
        else:
            raise TypeError(f"kernel {kernel.path} returns {kind}, not arrays and numbers")
    return "".join(f"{word}," for word in words) if hasattr(kind, "types") else words[0]


_CHARS = {
    "bool": "?", "int64": "q", "uint64": "Q", "int32": "i", "uint32": "I", "int8": "b", "uint8": "B", "float64": "d", "float32": "f",
}  # fmt: skip


def _check(kernel: Kernel, module: Any) -> None:
    """Raise unless all that is declared and not defined is in the C library."""
    library = ctypes.CDLL(None)
    for function in module.functions:
        own = function.name.startswith(("NRT_", "numba_"))
        if (
            function.is_declaration
            and not function.name.startswith("llvm.")
            and (own or not hasattr(library, function.name))
        ):
            raise TypeError(f"kernel {kernel.path} needs {function.name}, which only numba has")
