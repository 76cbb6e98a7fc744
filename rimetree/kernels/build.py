"""Compiling a kernel with numba into an object file that needs nothing but the C library.

Of what numba makes, only its native function is kept, by its calling convention `status f(results, exception, arguments...)`; all that
is for calls from Python is dropped.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import ctypes
import dis
import math
from types import CodeType
from typing import Any

import llvmlite.binding as ll
import numpy as np
from numba import njit, typeof
from numba.core.registry import cpu_target
from numba.extending import typeof_impl

from . import objects
from .entry import entry, results
from .kernel import Intrinsic, Kernel, debugging
from .runtime import RUNTIME

NOTICED = (Kernel, Intrinsic, int, float, str, tuple, np.generic, np.ndarray)
"""What `objects.name` tells apart."""


@typeof_impl.register(Kernel)
def _type_of_kernel(value: Kernel, context: Any) -> Any:
    return typeof(value.dispatcher)


@typeof_impl.register(Intrinsic)
def _type_of_intrinsic(value: Intrinsic, context: Any) -> Any:
    return cpu_target.typing_context.resolve_value_type(value.real)


def dispatcher(kernel: Kernel) -> Any:
    """numba's own function. Raises TypeError where it uses something whose changes `objects.name` would not notice."""
    for intrinsic in Intrinsic.known:
        intrinsic.real  # noqa: B018  # makes them known to numba
    for word in _globals(kernel.function.__code__) & kernel.globals.keys():
        value = kernel.globals[word]
        if not (isinstance(value, NOTICED) or hasattr(value, "_fields") or value in (np, math)):
            raise TypeError(
                f"kernel {kernel.path} uses {word}, a {type(value).__name__}; expected kernels, numbers, arrays, tuples, np or math"
            )
    if "RAISE_VARARGS" in {step.opname for step in dis.get_instructions(kernel.function)} and not debugging():
        raise TypeError(f"kernel {kernel.path} raises; return a status, which the caller raises for")
    calls = not debugging()
    return njit(**kernel.options, nogil=True, no_cpython_wrapper=calls, no_cfunc_wrapper=calls)(kernel.function)


def _globals(code: CodeType) -> set[str]:
    """Names of variables outside of it."""
    inner = (_globals(part) for part in code.co_consts if isinstance(part, CodeType))
    outer = ("LOAD_GLOBAL", "LOAD_DEREF")
    return {step.argval for step in dis.get_instructions(code) if step.opname in outer}.union(*inner)


def build(kernel: Kernel, signature: tuple[Any, ...], arguments: tuple[Any, ...], name: str) -> objects.Code:
    """Machine code of the kernel for arguments of these types, as a function `name`."""
    kinds = tuple(map(typeof, arguments))
    kernel.dispatcher.compile(kinds)
    result = kernel.dispatcher.overloads[kinds]
    module = ll.parse_assembly(result.library.get_llvm_str())
    native = module.get_function(result.fndesc.llvm_func_name)
    text, packed = entry(kernel.path, name, native, signature)
    layout = f'target datalayout = "{module.data_layout}"\ntarget triple = "{module.triple}"\n'
    for own in (text, RUNTIME):
        module.link_in(ll.parse_assembly(layout + own))
    for thing in (*module.functions, *module.global_variables):
        if not thing.is_declaration and thing.name != name:
            thing.linkage = "internal"
    machine = objects.machine()
    passes = ll.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, ll.create_pass_builder(machine, ll.create_pipeline_tuning_options()))
    _check(kernel, module)
    return objects.Code(packed, results(kernel.path, result.signature.return_type), machine.emit_object(module))


def _check(kernel: Kernel, module: Any) -> None:
    """Raise unless all that is declared and not defined is in the C library, or in Python without its lock: in errors that nobody reads."""
    library = ctypes.CDLL(None)
    for function in module.functions:
        foreign = function.name.startswith(("NRT_", "numba_", "__svml", "PyGILState_"))
        if not function.is_declaration or function.name.startswith("llvm."):
            continue
        if foreign or not hasattr(library, function.name):
            raise TypeError(
                f"kernel {kernel.path} needs {function.name}, which is neither in LLVM nor in the C library"
            )
