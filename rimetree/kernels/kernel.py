"""The decorator `kernel`, and how compiled functions are called from Python."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable
from functools import cached_property, update_wrapper
from importlib import import_module
from threading import RLock
from typing import Any, ClassVar

import numpy as np

from ..compiling import COMPILED, LOADED, note
from . import objects

DONE = (0, -2)
"""What numba's functions return when they end well: with a value, without one."""

LAYOUTS = {
    flags: flags & ~2 if flags & 1 else flags for flags in (a | b for a in range(4) for b in (0, 0x100, 0x400, 0x500))
}
"""What of `ndarray.flags.num` numba's types know: C order, else Fortran order; aligned, writeable."""

DEBUGGING = ("NUMBA_BOUNDSCHECK", "NUMBA_DEBUGINFO", "NUMBA_DISABLE_JIT")
"""Variables of numba: see `debugging`."""

TOO_LARGE = "kernel {}: expected integers of 64 bits, got a larger one"

_lock = RLock()


class Kernel:
    """A function that is compiled for every signature it is called with.

    Called from Python with arrays, numbers and (named) tuples of them; returns None, an array, a number or a tuple of these, and
    releases the interpreter lock. Other kernels call it like any function. Constants are those of the first call. Raises
    MemoryError where it cannot allocate, TypeError for arguments or results of other kinds.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.path = f"{function.__module__}.{function.__qualname__}"
        self.options = options
        self._entries: dict[tuple[Any, ...], _Entry] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Run it, compiled or loaded if this signature is new."""
        kinds: list[Any] = []
        words: list[Any] = []
        for value in arguments:
            _flatten(value, kinds, words)
        signature = tuple(kinds)
        entry = self._entries.get(signature) or self._load(signature, arguments, words)
        return entry(words)

    @property
    def globals(self) -> dict[str, Any]:
        """What its names mean."""
        own = self.function
        closed = (cell.cell_contents for cell in own.__closure__ or ())
        return {**own.__globals__, **dict(zip(own.__code__.co_freevars, closed, strict=True))}

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own, for compiling."""
        from .build import dispatcher

        return dispatcher(self)

    def _load(self, signature: tuple[Any, ...], arguments: tuple[Any, ...], words: list[Any]) -> _Entry:
        if not all(-(2**63) <= word < 2**63 for word in words if isinstance(word, int)):
            raise TypeError(TOO_LARGE.format(self.path))  # numba would take it for a type of its own
        with _lock:
            if signature not in self._entries:
                began, what = time.perf_counter(), LOADED
                name = objects.name(self, signature)
                code = objects.read(name)
                if code is None:
                    from .build import build

                    what = f"{COMPILED} {self.name}"
                    code = build(self, signature, arguments, name)
                    objects.write(name, code)
                self._entries[signature] = _Entry(self.path, objects.load(name, code), code)
                note(what, time.perf_counter() - began)
            return self._entries[signature]


class _Entry:
    """One compiled signature: `int32 entry(arguments, results)`, the arguments words of 8 bytes."""

    def __init__(self, path: str, address: int, code: objects.Code) -> None:
        self.path = path
        self.pack = struct.Struct(code.arguments).pack
        self.results = Results(code.results)
        self.call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p)(address)

    def __call__(self, words: list[Any]) -> Any:
        try:
            block = self.pack(*words)
        except struct.error:
            raise TypeError(TOO_LARGE.format(self.path)) from None
        room = ctypes.create_string_buffer(self.results.size)
        if self.call(block, room) not in DONE:
            raise MemoryError(
                f"kernel {self.path} failed: not enough memory, arrays that do not fit together, or a list"
            )
        return self.results.read(room)


class Results:
    """What a kernel returns, as a structure of C: `q`: a number (a character of `struct`), `d2`: an array of as many dimensions,
    `q,d2,`: a tuple."""

    def __init__(self, text: str) -> None:
        self.tuple = text.endswith(",")
        self.parts = [word for word in text.split(",") if word]
        self.struct = struct.Struct("".join(f"{5 + 2 * int(w[1:])}q" if w[1:] else w for w in self.parts))
        self.size = max(8, self.struct.size)

    def read(self, room: Any) -> Any:
        """The results; arrays are copied, and the memory of the kernel freed."""
        words = self.struct.unpack_from(room)
        values: list[Any] = []
        for part in self.parts:
            count = 5 + 2 * int(part[1:]) if part[1:] else 1
            own, words = words[:count], words[count:]
            values.append(_taken(own, np.dtype(part[0])) if part[1:] else own[0])
        return tuple(values) if self.tuple else values[0] if values else None


def _taken(words: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array (in C order) that a kernel returns: its owner (0: an argument), parent, size, bytes per item, address, shape, strides."""
    result = np.empty(words[5 : (len(words) + 5) // 2], dtype)
    ctypes.memmove(result.ctypes.data, words[4], result.nbytes)
    if words[0]:
        references = ctypes.c_int64.from_address(words[0])
        references.value -= 1
        if not references.value:
            ctypes.pythonapi.free(ctypes.c_void_p(words[0]))
    return result


def _flatten(value: Any, kinds: list[Any], words: list[Any]) -> None:
    """Append what the type of a value depends on, and its words for `build.entry`: of an array its object, where its address, shape and
    strides are."""
    if isinstance(value, np.ndarray):
        kinds.append((value.dtype, value.ndim, LAYOUTS[value.flags.num & 0x503]))
        words.append(id(value))
    elif isinstance(value, tuple):
        kinds.append((type(value), len(value)))
        for item in value:
            _flatten(item, kinds, words)
    elif isinstance(value, (bool, int, float)):
        kinds.append(type(value))
        words.append(value)
    elif isinstance(value, (np.bool_, np.integer, np.floating)):
        kinds.append(type(value))
        words.append(value.item())
    else:
        raise TypeError(f"kernels take arrays, numbers and tuples of them, not {type(value).__name__}")


class Intrinsic:
    """Stands, in the globals of a module of kernels, for an LLVM instruction: an object of `<module>_code`, which imports numba."""

    known: ClassVar[list[Intrinsic]] = []

    def __init__(self, module: str, name: str) -> None:
        self.place = module
        self.module = f"{module}_code"
        self.name = name
        self.known.append(self)

    def __call__(self, *arguments: Any) -> Any:
        """Only kernels can. Raises TypeError."""
        raise TypeError(f"{self.name} is an instruction of kernels")

    @cached_property
    def real(self) -> Any:
        """The object; imports its module."""
        return getattr(import_module(self.module), self.name)


class _Debugged(Kernel):
    """A kernel that numba calls, with what it has for debugging: messages of errors, printing, bounds, plain Python."""

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """A decorator: compile the function with these options of `numba.njit` when it is first called. Division by zero is infinity."""
    kind = _Debugged if debugging() else Kernel
    return lambda function: kind(function, {"error_model": "numpy", **options})


def debugging() -> bool:
    """Whether the environment asks for kernels that can be debugged, compiled by numba in every process."""
    return any(os.environ.get(name, "0") != "0" for name in DEBUGGING)
