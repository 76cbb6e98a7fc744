"""Data selection: what a user may write, checked against what the Measurement Set holds."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import ConfigError, nearest


class Named(Protocol):
    """Anything that can be selected by name or number."""

    @property
    def id(self) -> int:
        """Number in its sub-table."""

    @property
    def name(self) -> str:
        """Name in its sub-table."""


@dataclass(frozen=True, slots=True)
class Selection:
    """As given by the user; None selects all."""

    field: Any = None
    spw: Any = None
    scans: Any = None
    channels: Any = None
    antennas: Any = None
    taql: str | None = None
    intent: Any = None

    def __str__(self) -> str:
        given = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) is not None}
        return ", ".join(f"{k}={v!r}" for k, v in given.items()) or "everything"


def choose(spec: Any, valid: Sequence[Named], what: str, where: Any = "the Measurement Set") -> list[int]:
    """Numbers of the items that `spec` selects: a name, a number, a glob, "1~3", a comma-separated string, or a list.

    Raises `ConfigError` listing what exists where anything selects nothing.
    """
    found: list[int] = []
    for part in parts_of(spec, what):
        ids = _match(part, valid)
        if not ids:
            known = ", ".join(f"{item.name} ({item.id})" if item.name else str(item.id) for item in valid[:50])
            hint = nearest(part, (item.name for item in valid))
            raise ConfigError(f"{what}={spec!r}: there is no {what} {part!r}{hint}; {where} has {known}", what)
        found += ids
    return sorted(set(found))


def choose_numbers(spec: Any, valid: Iterable[int], what: str, where: Any = "the Measurement Set") -> list[int]:
    """Numbers out of `valid` by "1~3,5", an int or a list; `ConfigError` where one does not exist."""
    present = sorted({int(v) for v in valid})
    found: list[int] = []
    for part in parts_of(spec, what):
        limits = _range(part)
        if limits is None:
            raise ConfigError(f"{what}={spec!r}: expected numbers such as 3, [1, 2] or '1~3,5', not {part!r}", what)
        inside = [n for n in present if limits[0] <= n <= limits[1]]
        if not inside:
            raise ConfigError(f"{what}={spec!r}: there is no {part!r}; {where} has {runs(present)}", what)
        found += inside
    return sorted(set(found))


def choose_channels(spec: Any, nchan: int, spw: int) -> slice:
    """Channels by slice, (start, stop) or "10~20" (inclusive), as a slice with start < stop and step 1.

    Raises `ConfigError` where the form is wrong or nothing is selected in spectral window `spw` of `nchan` channels.
    """
    if spec is None:
        return slice(0, nchan, 1)
    if isinstance(spec, slice) and spec.step in (None, 1):
        start, stop, _ = spec.indices(nchan)
    elif isinstance(spec, str) and (limits := _range(spec)) is not None:
        start, stop = limits[0], limits[1] + 1
    elif isinstance(spec, (tuple, list)) and len(spec) == 2 and all(_is_int(n) for n in spec):
        start, stop = int(spec[0]), int(spec[1])
    else:
        raise ConfigError(
            f"channels={spec!r}: expected 'first~last' (both included), (start, stop) or a slice without step"
        )
    if not 0 <= start < stop <= nchan:
        raise ConfigError(
            f"channels={spec!r}: spectral window {spw} has channels 0~{nchan - 1}; select fewer, or windows by spw="
        )
    return slice(start, stop, 1)


def _match(part: Any, valid: Sequence[Named]) -> list[int]:
    """A whole name wins over a number, a number or range over a glob."""
    by_name = [item.id for item in valid if item.name == part]
    if by_name:
        return by_name
    limits = _range(part)
    if limits is not None:
        return [item.id for item in valid if limits[0] <= item.id <= limits[1]]
    return [item.id for item in valid if fnmatch.fnmatchcase(item.name, str(part))]


def parts_of(spec: Any, what: str) -> list[Any]:
    """The names, numbers and ranges of a selection. ConfigError where it is empty or neither text, number nor list."""
    if isinstance(spec, str):
        parts: list[Any] = [part.strip() for part in spec.split(",")]
    elif isinstance(spec, Iterable):
        parts = [part for item in spec for part in parts_of(item, what)]
    elif _is_int(spec):
        parts = [int(spec)]
    else:
        raise ConfigError(f"{what}={spec!r}: expected a name, a number, or a list of them", what)
    if not parts or "" in parts:
        raise ConfigError(f"{what}={spec!r} selects nothing; leave it out to select everything", what)
    return parts


def _range(part: Any) -> tuple[int, int] | None:
    """(first, last) of 3, "3" or "3~5"; None where it is none of these."""
    if _is_int(part):
        return int(part), int(part)
    first, mark, last = str(part).partition("~")
    if first.strip().isdecimal() and (not mark or last.strip().isdecimal()):
        return int(first), int(last if mark else first)
    return None


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def runs(numbers: Iterable[int]) -> str:
    """Numbers as text, runs written first~last."""
    array = np.array(list(numbers))
    runs = np.split(array, np.flatnonzero(np.diff(array) != 1) + 1)
    return ", ".join(f"{r[0]}~{r[-1]}" if r.size > 1 else str(r[0]) for r in runs if r.size)
