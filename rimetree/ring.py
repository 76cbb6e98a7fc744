"""Planes: arrays over (member, grid...) that add, multiply and conjugate, knowing 0 and 1 when compiling.

Ring node classes are written on *elements*: Python numbers, `Plane`s, or the lowering's polynomials. Python numbers are
compile-time constants; `0 * plane` is the number 0 and `1 * plane` is `plane`, so a diagonal Jones costs what a diagonal costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


Element = Any  # Number | Plane | plan.lower.Poly


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
