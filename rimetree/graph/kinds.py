"""What the value of an option may be: one declaration says how it is checked, how that is worded, and its JSON Schema.

Types and annotations are short for kinds: `float` is any finite number, `(int, str)` or `int | str` either of two, `tuple[str, ...]`
and `Literal["a", "b"]` what they say. JSON has no complex numbers, infinities or functions: these are texts with "format": "python", a
Python expression.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from ..errors import RimetreeError, nearest

Schema = dict[str, Any]

EXPRESSION: Schema = {"type": "string", "format": "python", "pattern": r"\S"}
UNBOUNDED = {'float("inf")': math.inf, 'float("-inf")': -math.inf, 'float("nan")': math.nan}
_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
COMPLEX: Schema = {"type": "string", "format": "python", "pattern": rf"^[-+]?(?:{_NUMBER}[-+])?{_NUMBER}j$"}


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A set of values: what fits after "must be", what JSON says of them, one of them, and how one is read."""

    words: str
    schema: Schema
    example: Any
    read: Callable[[Any], Any]
    """The value as it is stored (lists as tuples). Raises ValueError, perhaps with a hint, where it is none of these."""
    lists: bool = False
    """Whether there are lists among them."""
    choices: tuple[Any, ...] | None = None
    """All of them, where they are few."""


def _kind(words: str, schema: Schema, example: Any, has: Callable[[Any], bool], lists: bool = False) -> Kind:
    """A kind whose values are stored as they are."""

    def read(value: Any) -> Any:
        plain = value.item() if isinstance(value, np.generic) else value
        if not has(plain):
            raise ValueError
        return plain

    return Kind(words, schema, example, read, lists)


def whole(least: int | None = None, most: int | None = None, words: str = "") -> Kind:
    """Whole numbers from `least` to `most`."""
    return _kind(
        words or f"a whole number{_range(least, None, most)}",
        {"type": "integer"} | _known(minimum=least, maximum=most),
        1 if most is None or most >= 1 >= (least or 0) else least,
        lambda v: _is(v, int) and (least is None or v >= least) and (most is None or v <= most),
    )


def real(
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    *,
    finite: bool = True,
    words: str = "",
) -> Kind:
    """Numbers from `least`, or above `above`, to `most`; also infinity and NaN where need not be finite."""

    def has(v: Any) -> bool:
        if isinstance(v, float) and not math.isfinite(v):
            return not finite
        return (least is None or v >= least) and (above is None or v > above) and (most is None or v <= most)

    limits = _known(minimum=least, maximum=most, exclusiveMinimum=above)
    schema: Schema = {"type": "number"} | limits
    if not finite:
        schema = {"anyOf": [schema, {"enum": list(UNBOUNDED), "type": "string", "format": "python"}]}
    example = next(float(v) for v in (1, most, least, 0) if v is not None and has(v))
    return _kind(
        words or f"a number{_range(least, above, most)}", schema, example, lambda v: _is(v, (int, float)) and has(v)
    )


def cmplx(finite: bool = True) -> Kind:
    """Numbers, real or complex."""
    reals = real(finite=finite).schema
    return _kind(
        "a number, real or complex",
        {"anyOf": [*reals.get("anyOf", [reals]), COMPLEX]},
        1.0,
        lambda v: _is(v, (int, float, complex)) and (not finite or bool(np.isfinite(v))),
    )


def text(pattern: str = "", words: str = "a text", example: str = "") -> Kind:
    """Texts in which this regular expression is found; it must mean the same in Python and JavaScript."""
    return _kind(
        words,
        {"type": "string"} | ({"pattern": pattern} if pattern else {}),
        example,
        lambda v: isinstance(v, str) and re.search(pattern, v) is not None,
    )


def choice(values: Collection[Any], fold: bool = False) -> Kind:
    """One of these values; capitals and blanks around do not matter where `fold` is set."""

    def read(value: Any) -> Any:
        value = value.strip().lower() if fold and isinstance(value, str) else value
        value = value.item() if isinstance(value, np.generic) else value
        for one in () if isinstance(value, np.ndarray) else values:
            if isinstance(one, bool) is isinstance(value, bool) and one == value:
                return one
        raise ValueError(nearest(value, values))

    words = f"one of {', '.join(map(repr, values))}"
    return Kind(words, {"enum": list(values)}, next(iter(values)), read, choices=tuple(values))


def items(of: Any, least: int = 0, distinct: bool = False, words: str = "") -> Kind:
    """Lists, tuples or arrays of values of one kind, at least so many, stored as tuples."""
    every = kind(of)
    counts = _known(minItems=least or None, uniqueItems=distinct or None)

    def read(value: Any) -> Any:
        found = tuple(map(every.read, _listed(value)))
        if len(found) < least or (distinct and len(set(found)) < len(found)):
            raise ValueError
        return found

    schema = {"type": "array", "items": every.schema} | counts
    return Kind(words or f"a list, each {every.words}", schema, (every.example,) * least, read, lists=True)


def each(*of: Any, words: str) -> Kind:
    """Lists, tuples or arrays with a value of its own kind in each place, stored as tuples."""
    places = list(map(kind, of))

    def read(value: Any) -> Any:
        given = _listed(value)
        if len(given) != len(places):
            raise ValueError
        return tuple(one.read(v) for one, v in zip(places, given, strict=True))

    counts = {"minItems": len(places), "maxItems": len(places)}
    schema = {"type": "array", "prefixItems": [one.schema for one in places]} | counts
    return Kind(words, schema, tuple(one.example for one in places), read, lists=True)


def either(*kinds: Any, words: str = "") -> Kind:
    """Values of any of these kinds, read as the first that fits."""
    known = [kind(one) for one in kinds]

    def read(value: Any) -> Any:
        hints = [""]
        for one in known:
            try:
                return one.read(value)
            except ValueError as error:
                hints.append(str(error))
        raise ValueError(max(hints, key=len))

    # A form takes what is typed for the first that fits: texts come last.
    flat = [part for one in known for part in (one.schema["anyOf"] if set(one.schema) == {"anyOf"} else [one.schema])]
    flat.sort(key=lambda part: (part.get("type") == "string") + (part is EXPRESSION))
    all_words = words or " or ".join(one.words for one in known)
    return Kind(all_words, {"anyOf": flat}, known[0].example, read, any(one.lists for one in known))


def read_by_class(given: Kind) -> Kind:
    """The same, but told only: whether a value is one of these is for `normalise` of the class, which says it in its own words."""
    return replace(given, read=lambda value: value)


def numbers(finite: bool = True, complex: bool = True) -> Kind:
    """Numbers, and nested lists and arrays of them, which the class reads."""
    name = f"{'finite-' if finite else ''}{'complex' if complex else 'real'}"
    words = "a number or a nested list of numbers"
    return _kind(words, {"$ref": f"#/$defs/{name}"}, 1.0, lambda value: value is not None, lists=True)


def definitions(schema: Schema) -> dict[str, Schema]:
    """The definitions that a schema refers to: those of `numbers`."""
    found = {}
    for finite, complex in product((True, False), repeat=2):
        reference = numbers(finite, complex).schema
        one = cmplx(finite) if complex else real(finite=finite)
        deeper = {"type": "array", "items": reference, "minItems": 1}
        if repr(reference)[1:-1] in repr(schema):
            single = one.schema.get("anyOf", [one.schema])
            found[reference["$ref"].rpartition("/")[2]] = {"anyOf": [*single, {"type": "boolean"}, deeper]}
    return found


def kind(given: Any) -> Kind:
    """The kind that a Python type or annotation, or a tuple of kinds, is short for. Raises RimetreeError."""
    if isinstance(given, Kind):
        return given
    if given is None:
        return NONE
    origin, args = get_origin(given), get_args(given)
    if isinstance(given, tuple) or origin in (Union, UnionType):
        return either(*(args or given))
    if origin is Literal:
        return choice(args)
    if origin is list or (origin is tuple and args[1:] == (...,)):
        return items(args[0])
    if origin is tuple:
        places = list(map(kind, args))
        return each(*places, words=f"({', '.join(one.words for one in places)})")
    if not isinstance(given, type):
        raise RimetreeError(f"an option cannot be declared with type={given!r}: give a type, such as float, or several")
    lists = issubclass(given, (list, tuple, np.ndarray))
    return _PLAIN.get(given) or _kind(f"a {given.__name__}", EXPRESSION, None, lambda v: isinstance(v, given), lists)


def or_none(given: Kind) -> Kind:
    """This kind, or None."""
    known = {"type": "null"} in given.schema.get("anyOf", ()) or None in given.schema.get("enum", ())
    return given if known else replace(either(given, NONE, words=f"{given.words}, or None"), choices=given.choices)


def names_of(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """One or several of NAMES, as a tuple of different ones."""
    return tuple(dict.fromkeys(name.strip() for name in ((given,) if isinstance(given, str) else given)))


def to_json(value: Any) -> Any:
    """A value as JSON has it: tuples as lists; what JSON does not know as a Python expression."""
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return to_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return next(words for words, one in UNBOUNDED.items() if repr(one) == repr(value))
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value).strip("()") if isinstance(value, (Path, complex)) else repr(value)


def _is(value: Any, types: type | tuple[type, ...]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _listed(value: Any) -> Sequence[Any]:
    given = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(given, (list, tuple)):
        raise ValueError
    return given


def _known(**facts: Any) -> Schema:
    return {name: fact for name, fact in facts.items() if fact is not None}


def _range(least: float | None, above: float | None, most: float | None) -> str:
    low = f"{least}" if least is not None else ""
    if low and most is not None:
        return f" from {low} to {most}"
    facts = [f"at least {low}" if low else "", f"above {above:g}" if above is not None else ""]
    facts.append(f"at most {most:.6g}" if most is not None else "")
    return f", {' and '.join(filter(None, facts))}" if any(facts) else ""


NONE = _kind("None", {"type": "null"}, None, lambda v: v is None)
TRUTH = _kind("True or False", {"type": "boolean"}, False, lambda v: isinstance(v, bool))
ANYTHING = _kind(
    "anything", {"anyOf": [{"type": ["number", "boolean", "null", "array"]}, EXPRESSION]}, None, lambda v: True, True
)
NAME = text(r"\S", "a name", "name")
NAMES = either(NAME, items(NAME, 1), words="a name or a list of names")
PATH = _kind("a path", NAME.schema, "file", lambda v: isinstance(v, Path) or (isinstance(v, str) and bool(v.strip())))
BITS = whole(-(2**31), 2**31 - 1, "a whole number of 32 bits")

_PLAIN: dict[Any, Kind] = {
    bool: TRUTH,
    int: whole(),
    float: real(),
    complex: cmplx(),
    str: text(),
    object: ANYTHING,
    list: items(ANYTHING),
    tuple: items(ANYTHING),
    type(None): NONE,
}
