"""The decorator `kernel`, and how compiled functions are called from Python."""

from __future__ import annotations

import ctypes
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

LAYOUT = 0x001 | 0x002 | 0x100 | 0x400
"""What of ndarray.flags.num numba's types know: C and Fortran order, aligned, writeable."""

DONE = (0, -2)
"""What numba's functions return when they end well: with a value, without one."""

_lock = RLock()


class Kernel:
    """A function that is compiled for every signature it is called with.

    Called from Python with arrays, numbers and (named) tuples of them; returns None, an array, a number or a tuple of numbers, and
    releases the interpreter lock. Other kernels call it like any function. Raises MemoryError where it cannot allocate.
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
        entry = self._entries.get(signature) or self._load(signature, arguments)
        return entry(words)

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own, for compiling."""
        from numba import njit

        return njit(**self.options, no_cpython_wrapper=True, no_cfunc_wrapper=True)(self.function)

    def _load(self, signature: tuple[Any, ...], arguments: tuple[Any, ...]) -> _Entry:
        with _lock:
            if signature not in self._entries:
                began, what = time.perf_counter(), LOADED
                name = objects.name(self, signature)
                code = objects.read(name)
                if code is None:
                    from .build import build

                    what = f"{COMPILED} {self.name}"
                    code = build(self, arguments, name)
                    objects.write(name, code)
                self._entries[signature] = _Entry(self.name, objects.load(name, code), code)
                note(what, time.perf_counter() - began)
            return self._entries[signature]


class _Entry:
    """One compiled signature: `int32 entry(arguments, results)`, the arguments words of 8 bytes."""

    def __init__(self, name: str, address: int, code: objects.Code) -> None:
        self.name = name
        self.pack = struct.Struct(code.arguments).pack
        self.results = Results(code.results)
        self.call = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p, ctypes.c_char_p)(address)

    def __call__(self, words: list[Any]) -> Any:
        room = ctypes.create_string_buffer(self.results.size)
        if self.call(self.pack(*words), room) not in DONE:
            raise MemoryError(f"kernel {self.name} failed: not enough memory, or arrays that do not fit together")
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
    """The array that a kernel made: its owner, parent, size, bytes per item, address, shape and strides."""
    result = np.empty(words[5 : (len(words) + 5) // 2], dtype)
    ctypes.memmove(result.ctypes.data, words[4], result.nbytes)
    ctypes.pythonapi.free(ctypes.c_void_p(words[0]))
    return result


def _flatten(value: Any, kinds: list[Any], words: list[Any]) -> None:
    """Append what the type of a value depends on, and the words that numba's functions take for it: of an array no owner, size,
    bytes per item, address, shape and strides."""
    if isinstance(value, np.ndarray):
        kinds.append((value.dtype.str, value.ndim, value.flags.num & LAYOUT))
        words += (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides)
    elif isinstance(value, tuple):
        kinds += (type(value).__name__, len(value))
        for item in value:
            _flatten(item, kinds, words)
    elif isinstance(value, (bool, np.bool_, int, np.integer, float, np.floating)):
        kinds.append(type(value).__name__)
        words.append(value.item() if isinstance(value, np.generic) else value)
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


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """A decorator: compile the function with these options of `numba.njit` when it is first called."""
    return lambda function: Kernel(function, options)
