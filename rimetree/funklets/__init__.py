"""Funklets: what the coefficients of a Parm mean, as a function of time and frequency (`Meq.Parm(start, funklet=...)`)."""

from .base import At, Funklet
from .composed import Composed, On
from .function import Function
from .polynomial import LogPolynomial, Polynomial
from .spline import Spline
from .text import from_text, funklet, to_text
from .values import on_cells

__all__ = [
    "At",
    "Composed",
    "Function",
    "Funklet",
    "LogPolynomial",
    "On",
    "Polynomial",
    "Spline",
    "from_text",
    "funklet",
    "on_cells",
    "to_text",
]
