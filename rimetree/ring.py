"""Planes: arrays over (member, grid...) that add, multiply and conjugate, knowing 0 and 1 when compiling.

Ring node classes are written on *elements*: Python numbers, `Plane`s, or the lowering's polynomials. Python numbers are
compile-time constants; `0 * plane` is the number 0 and `1 * plane` is `plane`, so a diagonal Jones costs what a diagonal costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Number = int | float | complex
NUMBERS = (int, float, complex)


class Plane:
    """One array with leading member axis (extent n or 1) and grid axes, each of extent 1 where nothing varies."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array

    def __add__(self, other: Element) -> Element:
        if isinstance(other, NUMBERS):
            return self if other == 0 else Plane(self.array + other)
        return Plane(self.array + other.array) if isinstance(other, Plane) else NotImplemented

    def __sub__(self, other: Element) -> Element:
        if isinstance(other, NUMBERS):
            return self if other == 0 else Plane(self.array - other)
        return Plane(self.array - other.array) if isinstance(other, Plane) else NotImplemented

    def __rsub__(self, other: Element) -> Element:
        if isinstance(other, NUMBERS):
            return Plane(-self.array) if other == 0 else Plane(other - self.array)
        return NotImplemented

    def __mul__(self, other: Element) -> Element:
        if isinstance(other, NUMBERS):
            if other == 0:
                return 0
            return self if other == 1 else Plane(self.array * other)
        return Plane(self.array * other.array) if isinstance(other, Plane) else NotImplemented

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Plane:
        return Plane(-self.array)

    def conjugate(self) -> Plane:
        """Complex conjugate."""
        return Plane(self.array.conj())


class Bits:
    """The flags of one element: an int32 array as a Plane's (bit by bit, 0 is good), or None where it has none.

    Supports the ring operations, so that a Ring class passes on flags by its own function: a sum or a product has the flags
    of both, and the number 0 hides those of what it multiplies. No number is ever computed from flags, and
    2 - 2 is no such 0: whether a flag passes depends on the tree, not on what happens to be known when compiling.
    """

    __slots__ = ("array",)

    def __init__(self, array: Any = None) -> None:
        self.array = array

    def __or__(self, other: Any) -> Bits:
        if not isinstance(other, Bits) or other.array is None:
            return self
        return other if self.array is None else Bits(self.array | other.array)

    def __mul__(self, other: Any) -> Any:
        return self | other if isinstance(other, Bits) else 0 if other == 0 else self

    __ror__ = __add__ = __radd__ = __sub__ = __rsub__ = __or__
    __rmul__ = __mul__

    def __neg__(self) -> Bits:
        return self

    def conjugate(self) -> Bits:
        """The same flags."""
        return self

    def masked(self, mask: int) -> Bits:
        """Only the bits of `mask`; -1 is all."""
        return self if mask == -1 or self.array is None else Bits(self.array & np.int32(mask))


Element = Any  # Number | Plane | Bits | plan.lower.Poly


@dataclass(frozen=True, slots=True)
class Tensor:
    """Elements in row-major order with their tensor shape; `dims == ()` is a scalar with one element."""

    dims: tuple[int, ...]
    elements: tuple[Element, ...]

    @staticmethod
    def scalar(element: Element) -> Tensor:
        """A tensor without axes."""
        return Tensor((), (element,))

    def __getitem__(self, index: tuple[int, ...]) -> Element:
        flat = 0
        for i, n in zip(index, self.dims, strict=True):
            flat = flat * n + i
        return self.elements[flat]

    def map(self, function: Any) -> Tensor:
        """The tensor of `function(element)`."""
        return Tensor(self.dims, tuple(function(e) for e in self.elements))
