"""How compiled functions are entered: from a block of words, one for each number and array, by numba's calling convention.

numba's functions take an array as seven or more arguments. A function of a few lines around them reads these where numpy keeps them,
in the structure of its object (PyArrayObject: address, dimensions, their extents and strides), so Python passes only the object.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import __version__ as version
from numba.core import types


class Words:
    """The text of a function that reads arguments of another one from a block of words."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.given: list[tuple[str, str]] = []
        """Type and value of each argument."""

    def put(self, text: str) -> str:
        """Add an instruction; returns the name of its value."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def word(self, base: str, place: int, kind: str) -> str:
        """What lies at word `place`."""
        return self.put(f"load {kind}, ptr {self.put(f'getelementptr i64, ptr {base}, i64 {place}')}")

    def array(self, place: int, ndim: int, itemsize: int) -> None:
        """No owner, size, bytes per item, address, shape and strides, from numpy's object."""
        given = self.word("%block", place, "ptr")
        head = object.__basicsize__ // 8
        data, shape, strides = (self.word(given, head + k, "ptr") for k in (0, 2, 3))
        extents = [self.word(shape, k, "i64") for k in range(ndim)]
        steps = [self.word(strides, k, "i64") for k in range(ndim)]
        size = "1"
        for extent in extents:
            size = self.put(f"mul i64 {size}, {extent}")
        self.given += [("ptr", "null"), ("ptr", "null"), ("i64", size), ("i64", str(itemsize)), ("ptr", data)]
        self.given += [("i64", value) for value in (*extents, *steps)]

    def number(self, place: int, kind: type) -> str:
        """A number; returns its character of `struct`."""
        if issubclass(kind, (float, np.floating)):
            value = self.word("%block", place, "double")
            narrow = kind is np.float32
            self.given.append(("float", self.put(f"fptrunc double {value} to float")) if narrow else ("double", value))
            return "d"
        value = self.word("%block", place, "i64")
        bits = 8 * np.dtype(kind).itemsize
        self.given.append((f"i{bits}", value if bits == 64 else self.put(f"trunc i64 {value} to i{bits}")))
        return "q"


def entry(path: str, name: str, native: Any, signature: tuple[Any, ...]) -> tuple[str, str]:
    """The function that is called from Python, and the format of `struct` for its block of words."""
    words, packed = Words(), ""
    for kind in signature:
        if isinstance(kind, type):
            packed += words.number(len(packed), kind)
        elif isinstance(kind[0], np.dtype):
            words.array(len(packed), kind[1], kind[0].itemsize)
            packed += "q"
    kinds, expected = (
        [str(argument.type) for argument in native.arguments],
        ["ptr", "ptr", *(kind for kind, _ in words.given)],
    )
    if kinds != expected:
        raise TypeError(
            f"kernel {path}: numba {version} passes {kinds}, expected {expected}; install a version that pyproject.toml names"
        )
    call = ", ".join(("ptr %results", "ptr %exception", *(f"{kind} {value}" for kind, value in words.given)))
    body = "\n  ".join(
        ("%exception = alloca ptr", *words.lines, f'%status = call i32 @"{native.name}"({call})', "ret i32 %status")
    )
    text = f'declare i32 @"{native.name}"({", ".join(kinds)})\n\ndefine i32 @"{name}"(ptr %block, ptr %results) {{\n  {body}\n}}\n'
    return text, packed


def results(path: str, kind: Any) -> str:
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
            raise TypeError(f"kernel {path} returns {kind}, not arrays and numbers")
    return "".join(f"{word}," for word in words) if hasattr(kind, "types") else words[0]


_CHARS = {
    "bool": "?", "int64": "q", "uint64": "Q", "int32": "i", "uint32": "I", "int8": "b", "uint8": "B", "float64": "d", "float32": "f",
}  # fmt: skip
