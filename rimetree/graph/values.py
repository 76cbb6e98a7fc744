"""Option values as small integers, equal for equal values of equal type, so that nodes are compared as integer rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ATOMS = (str, int, float, complex, bool, type(None))


def freeze(value: Any) -> Any:
    """A hashable key that is equal for equal values of equal types only."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return (np.ndarray, value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, np.ndarray):
        return (np.ndarray, freeze(value.tolist()))
    if isinstance(value, (list, tuple)):
        return (type(value), *map(freeze, value))
    if isinstance(value, Mapping):
        return (dict, *sorted((str(k), freeze(v)) for k, v in value.items()))
    return (type(value), value)


class _Table(dict[Any, int]):
    """Codes of the values of one type; a new value appends itself to the common list."""

    __slots__ = ("values_seen",)

    def __init__(self, values_seen: list[Any]) -> None:
        self.values_seen = values_seen

    def __missing__(self, value: Any) -> int:
        self[value] = code = len(self.values_seen)
        self.values_seen.append(value)
        return code


class Values:
    """The option values of one forest being built; `seen[code]` is the value."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self._atoms = {kind: _Table(self.seen) for kind in _ATOMS}
        self._others: dict[Any, int] = {}
        self._arrays: dict[tuple[str, bytes], np.ndarray] = {}

    def code(self, value: Any) -> int:
        """The code of one value of any type."""
        if isinstance(value, np.generic):
            value = value.item()
        table = self._atoms.get(type(value))
        if table is not None:
            return table[value]
        key = freeze(value)
        try:
            if key not in self._others:
                self._others[key] = len(self.seen)
                self.seen.append(value)
        except TypeError:  # not hashable: equal to itself only
            key = id(value)
            self._others[key] = len(self.seen)
            self.seen.append(value)
        return self._others[key]

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """Codes (n,) of a sequence of values."""
        kinds = set(map(type, values))
        table = self._atoms.get(kinds.pop()) if len(kinds) == 1 else None
        lookup = table.__getitem__ if table is not None else self.code
        return np.fromiter(map(lookup, values), np.int32, len(values))

    def encode_array(self, values: np.ndarray, rank: int) -> np.ndarray:
        """Codes of the elements along the first `rank` axes; further axes belong to the elements."""
        rank = min(rank, values.ndim)
        shape = values.shape[:rank]
        if values.ndim > rank:
            return self.encode([v.copy() for v in values.reshape(-1, *values.shape[rank:])]).reshape(shape)
        if values.dtype.kind in "iufc":
            distinct, inverse = np.unique(values.ravel(), return_inverse=True)
            return self.encode(distinct.tolist())[inverse].reshape(shape)
        if values.dtype.kind != "U":
            return self.encode(values.ravel().tolist()).reshape(shape)
        key = (values.dtype.str, values.tobytes())  # the same station names come again and again
        if key not in self._arrays:
            self._arrays[key] = self.encode(values.ravel().tolist())
        return self._arrays[key].reshape(shape)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The values of codes (n,): a numeric array (n, ...) if types and shapes agree, else an object array (n,)."""
        distinct, place = distinct_codes(codes, len(self.seen))
        inverse = place[codes]
        values = [self.seen[c] for c in distinct.tolist()]
        if values and len({_shape_and_kind(v) for v in values}) == 1 and _shape_and_kind(values[0]) is not None:
            return np.array(values)[inverse]
        return np.fromiter(values, object, len(values))[inverse]


def distinct_codes(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct codes, ascending, and a table of the place of each code among them; `count` exceeds every code."""
    present = np.zeros(count, bool)
    present[codes] = True
    return np.flatnonzero(present), np.cumsum(present) - 1


def _shape_and_kind(value: Any) -> tuple[Any, ...] | None:
    """What must agree for values to stack in one numeric array; None where they cannot."""
    if type(value) in (bool, int, float, complex):
        return (type(value),)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return (value.dtype.str, value.shape)
    return None
