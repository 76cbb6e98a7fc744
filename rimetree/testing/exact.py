"""An element that can do nothing but what every ring element can, to find out what a function uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ring import NUMBERS


class Exact:
    """A wrapped array with + - * unary minus and conjugate(), with its like and with numbers; nothing else."""

    __slots__ = ("hidden",)
    __array_ufunc__ = None

    def __init__(self, array: Any) -> None:
        self.hidden = np.asarray(array)

    def _with(self, other: Any, function: Any) -> Any:
        if isinstance(other, Exact):
            return Exact(function(self.hidden, other.hidden))
        return Exact(function(self.hidden, other)) if isinstance(other, NUMBERS) else NotImplemented

    def __add__(self, other: Any) -> Any:
        return self._with(other, np.add)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, np.subtract)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, np.multiply)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Exact:
        return Exact(-self.hidden)

    def conjugate(self) -> Exact:
        """Complex conjugate."""
        return Exact(self.hidden.conj())
