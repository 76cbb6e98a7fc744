"""Funklets as users give them, and as the text that solution files hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from ..errors import nearest
from .base import Funklet
from .composed import Composed, On
from .function import Function
from .polynomial import LogPolynomial, Polynomial
from .spline import Spline

KINDS: Mapping[str, Callable[..., Funklet]] = {c.kind: c for c in (Polynomial, LogPolynomial, Spline, Function)}


def funklet(given: Any) -> Funklet:
    """A funklet from itself, its name ("polynomial", "log-polynomial"), a function, or None for a polynomial. Raises ValueError."""
    if given is None:
        return Polynomial()
    if isinstance(given, Funklet):
        return given
    if isinstance(given, str) and given in ("polynomial", "log-polynomial"):
        return KINDS[given]()
    if callable(given) and not isinstance(given, type):
        return Function(given)
    near = nearest(given, ("polynomial", "log-polynomial")) if isinstance(given, str) else ""
    raise ValueError(
        f'funklet must be "polynomial", "log-polynomial", a function of (time, freq, c), or made by rt.funklets, not {given!r}{near}'
    )


def to_text(given: Funklet) -> str:
    """JSON, as attribute of a table in a solution file."""
    return json.dumps(_plain(given))


def _plain(given: Funklet) -> dict[str, Any]:
    if isinstance(given, Function):
        return {"kind": given.kind, "function": given.name, "scaled": given.scaled}
    if isinstance(given, Composed):
        pieces = [{"funklet": _plain(p.funklet), "time": p.time, "freq": p.freq} for p in given.pieces]
        return {"kind": given.kind, "pieces": pieces}
    return {"kind": given.kind, **{f.name: getattr(given, f.name) for f in fields(given)}}  # type: ignore[arg-type]


def from_text(text: str) -> Funklet:
    """The funklet of a solution file. Raises ValueError where the text is not of a funklet."""
    return _made(json.loads(text))


def _made(plain: Any) -> Funklet:
    kind, options = plain["kind"], {k: v for k, v in plain.items() if k != "kind"}
    if kind == Composed.kind:
        return Composed(*(On(_made(p["funklet"]), p["time"], p["freq"]) for p in options["pieces"]))
    if kind not in KINDS:
        raise ValueError(f"funklet {kind!r} is unknown to this rimetree{nearest(kind, KINDS)}")
    return KINDS[kind](**options)
