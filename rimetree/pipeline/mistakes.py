"""What is wrong with a configuration, all of it at once: each mistake at its place, and where in the file that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import ConfigError, DataError, RimetreeError

Place = tuple[str | int, ...]
"""Keys and numbers that lead to a value: ("solve", 0, "ref_ant") is written solve.0.ref_ant."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from; `where` says file and line, or command-line option, of each place."""

    name: str = "configuration"
    where: Mapping[Place, str] = field(default_factory=dict)

    def at(self, place: Place) -> str:
        """`c.yaml:7` of a place, or of the nearest around it that is written down."""
        around = (self.where[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.where)
        return next(around, self.name)


class Mistake(NamedTuple):
    """Its place, relative to what is looked at, what is wrong there, and the error that says so where there is no other."""

    place: Place
    text: str
    kind: type[RimetreeError]


class Mistakes(ValueError):
    """Mistakes, found one after another."""

    def __init__(self) -> None:
        self.found: list[Mistake] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, place: Place, text: str, kind: type[RimetreeError] = ConfigError) -> None:
        """Note a mistake; one that says the same of the same place, or of what is around it, is noted once."""
        if not any(text == known.text and place[: len(known.place)] == known.place for known in self.found):
            self.found.append(Mistake(place, text, kind))

    def of(self, place: Place, instead: Any, check: Callable[..., Any], *args: Any) -> Any:
        """`check(*args)`; where that raises, the mistakes are noted and `instead` taken."""
        try:
            return check(*args)
        except Mistakes as error:
            self.within(place, error)
        except (RimetreeError, ValueError) as error:
            about = getattr(error, "about", "")
            kind = type(error) if isinstance(error, RimetreeError) else ConfigError
            self.add((*place, *([about] if about else [])), str(error), kind)
        return instead

    def obstacles(self, key: str, lines: Sequence[str]) -> None:
        """Note what is in the way of reading or writing what a key names; each once."""
        for line in lines:
            if all(line != known.text for known in self.found):
                self.add((key,), line, DataError)

    def within(self, place: Place, inner: Mistakes) -> None:
        """Take over the mistakes of what is at a place."""
        for below, text, kind in inner.found:
            self.add((*place, *below), text, kind)

    def report(self, source: Source) -> None:
        """Raise one error that says all, in the order of the file, if there is any: ConfigError, or a more special kind."""
        if not self.found:
            return
        order = {place: number for number, place in enumerate(source.where)}
        ordered = sorted(self.found, key=lambda one: (_position(one.place, order), list(map(str, one.place))))
        lines = list(dict.fromkeys(_line(source, one.place, one.text) for one in ordered))
        head = [f"{source.name}: {len(lines)} mistakes:"] if len(lines) > 1 else []
        kinds = {one.kind for one in self.found}
        kind = kinds.pop() if len(kinds) == 1 else ConfigError
        raise kind("\n".join([*head, *((f"  {line}" if head else line) for line in lines)]))


def _position(place: Place, order: Mapping[Place, int]) -> int:
    return next((order[place[:n]] for n in range(len(place), 0, -1) if place[:n] in order), -1)


def _line(source: Source, place: Sequence[Any], text: str) -> str:
    name = ".".join(map(str, place))
    return f"{source.at(tuple(place))}: {name}: {text}" if name else f"{source.at(())}: {text}"
