"""What the arguments of `Meq.Xyz(...)` mean: which are children, which options, and whether the options are legal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import nearest
from .definition import Arithmetic
from .kinds import either, items
from .node import NodeClass, Option
from .rows import Rows, distinct_rows, split
from .scope import tag_tuple
from .values import Values, distinct_codes, freeze

TAGS = Option((), either(str, items(str)), "blank-separated words, by which nodes are found")


@dataclass(frozen=True, slots=True)
class Layout:
    """The meaning of each argument position of one way of calling a class."""

    children: tuple[int, ...]
    """Argument positions of the children, in declared order."""
    many: int
    """Place in `children` from which on they belong to the `many` child; len(children) without one."""
    options: Mapping[str, int]
    """Argument positions of the options given."""
    spreads: bool
    """Takes any number of children."""


def layout(cls: type[NodeClass], positional: int, keywords: tuple[str, ...]) -> Layout:
    """The layout of a call with so many positional arguments and these keywords. Raises ValueError."""
    options: dict[str, int] = {}
    given: dict[str, int] = {}
    for place, name in enumerate(keywords, positional):
        if name in cls.children and not cls.children[name].many:
            given[name] = place
        elif name in cls.options or name == "tags":
            options[name] = place
        else:
            known = [*cls.options, *cls.children, "tags"]
            raise ValueError(f"{cls.__name__} has no option {name!r}{nearest(name, known)}; it has {', '.join(known)}")
    free = list(range(positional))
    places: list[int] = []
    rest: list[int] = []
    spreads = False
    for name, declared in cls.children.items():
        if declared.many:
            spreads, rest, free = True, free, []
            if len(rest) < declared.least:
                hint = "; a node must be bound before *ns.name finds it" if not rest else ""
                raise ValueError(f"{_takes(cls)}, got {len(rest)}{hint}")
        elif name in given:
            places.append(given[name])
        elif declared.optional:
            continue
        elif free:
            places.append(free.pop(0))
        else:
            raise ValueError(f"{_takes(cls)}, got {positional + len(given)}")
    for name in cls.options:
        if free and name not in options:
            options[name] = free.pop(0)
    if free:
        raise ValueError(f"{_takes(cls)}, got {positional} argument{'' if positional == 1 else 's'}")
    for name, option in cls.options.items():
        if option.required and name not in options:
            raise ValueError(f"{cls.__name__} needs the option {name}" + (f" ({option.help})" if option.help else ""))
    return Layout((*places, *rest), len(places), options, spreads)


def _takes(cls: type[NodeClass]) -> str:
    fixed = [name for name, c in cls.children.items() if not (c.many or c.optional)]
    many = [f"at least {c.least} {name}" for name, c in cls.children.items() if c.many]
    count = f"{len(fixed)} child{'' if len(fixed) == 1 else 'ren'}"
    children = [f"{count} ({', '.join(fixed)})"] if fixed else [] if many else ["no children"]
    options = "" if many or not cls.options else f" and then the options {', '.join(cls.options)}"
    return f"{cls.__name__} takes {' and '.join([*children, *many])}{options}"


def check(name: str, option: Option, value: Any) -> Any:
    """A legal value of an option, numpy scalars as Python's. Raises ValueError."""
    if isinstance(value, Arithmetic):
        raise ValueError(f"{name} is an option and cannot be a node")
    if isinstance(value, np.generic):
        value = value.item()
    try:
        return option.kind.read(value)
    except ValueError as error:
        raise ValueError(f"{name} must be {option.kind.words}, not {value!r}{error}") from None


@dataclass(slots=True)
class Resolved:
    """Rows of a block with one set of static options: their key and values, and codes of the per-member options.

    Where `fault` is not empty the rows are wrong for that reason.
    """

    rows: Rows
    key: int
    options: Mapping[str, Any]
    members: dict[str, np.ndarray]
    fault: str = ""


class Options:
    """Checks and normalises options, each distinct value once, however many nodes have it."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self._static: dict[Any, tuple[int, dict[str, Any]] | str] = {}
        self._members: dict[Any, int | str] = {}
        self._keys: dict[Any, int] = {}

    def resolve(self, cls: type[NodeClass], given: Mapping[str, np.ndarray], count: int) -> list[Resolved]:
        """Split `count` nodes, whose given options have these codes (count,), by static options and faults."""
        declared = {**cls.options, "tags": TAGS}
        static = [name for name in given if not declared[name].per_member]
        codes = {name: given.get(name) for name, option in cls.options.items() if option.per_member}
        columns = {
            name: np.broadcast_to(self.values.code(cls.options[name].default), count) if c is None else c
            for name, c in codes.items()
        }
        _first, labels = distinct_rows([given[name] for name in static], count)
        result = []
        for rows in split(labels):
            own = {name: int(given[name][rows][0]) for name in static}
            result += self._resolve(cls, own, {name: c[rows] for name, c in columns.items()}, rows, count)
        return result

    def _resolve(
        self, cls: type[NodeClass], static: dict[str, int], members: dict[str, np.ndarray], rows: Rows, count: int
    ) -> list[Resolved]:
        """One set of static options, checked; rows apart whose per-member options are wrong."""
        found = self._static_options(cls, static)
        if isinstance(found, str):
            return [Resolved(rows, -1, {}, {}, found)]
        key, options = found
        messages = [""]
        fault = np.zeros(1, np.int64)
        stored = {}
        for name, codes in members.items():
            distinct, _ = distinct_codes(codes, len(self.values.seen))
            results = {code: self._member(cls, key, options, name, code) for code in distinct.tolist()}
            stored[name] = codes
            if any(result != code for code, result in results.items()):
                table, wrong = np.arange(len(self.values.seen)), np.zeros(len(self.values.seen), np.int64)
                for code, result in results.items():
                    if isinstance(result, str):
                        wrong[code] = len(messages)
                        messages.append(result)
                    else:
                        table[code] = result
                stored[name] = table[codes]
                fault = np.maximum(fault, wrong[codes])
        if len(messages) == 1:
            return [Resolved(rows, key, options, stored)]
        places = np.arange(count)[rows]
        return [
            Resolved(places[part], key, options, {n: c[part] for n, c in stored.items()}, messages[fault[part][0]])
            for part in split(fault)
        ]

    def _static_options(self, cls: type[NodeClass], static: dict[str, int]) -> tuple[int, dict[str, Any]] | str:
        place = (cls, *sorted(static.items()))
        if place not in self._static:
            try:
                options = self._normalised(cls, static)
                self._static[place] = self._keys.setdefault((cls, freeze(options)), len(self._keys)), options
            except ValueError as error:
                self._static[place] = str(error)
        return self._static[place]

    def _normalised(self, cls: type[NodeClass], static: dict[str, int]) -> dict[str, Any]:
        """The static options, with defaults and tags; raises ValueError."""
        options = {}
        for name, option in cls.options.items():
            given = name in static and not option.per_member
            options[name] = check(name, option, self.values.seen[static[name]]) if given else option.default
        options = cls.normalise(options)
        tags = tag_tuple(self.values.seen[static["tags"]] if "tags" in static else None)
        members = [name for name, option in cls.options.items() if option.per_member]
        return {**{name: v for name, v in options.items() if name not in members}, "tags": tags}

    def _member(self, cls: type[NodeClass], key: int, static: Mapping[str, Any], name: str, code: int) -> int | str:
        """The code of a per-member value as stored, or what is wrong with it; both depend on the static options, `key`."""
        place = (key, name, code)
        if place not in self._members:
            try:
                value = check(name, cls.options[name], self.values.seen[code])
                defaults = {n: option.default for n, option in cls.options.items() if option.per_member}
                known = {n: v for n, v in static.items() if n in cls.options}
                self._members[place] = self.values.code(cls.normalise({**known, **defaults, name: value})[name])
            except ValueError as error:
                self._members[place] = str(error)
        return self._members[place]
