"""Finding many nodes of one name by their coded qualifiers at once."""

from __future__ import annotations

import numpy as np

from .definition import Ref
from .rows import identity, joined
from .scope import Members, Name, Stub

_LARGEST = 2**62


class QualifierIndex:
    """The bound nodes of one name that have the same number of qualifiers.

    `pairs` are numbers of nodes that were bound twice: (first, other).
    """

    def __init__(self, columns: list[np.ndarray], numbers: np.ndarray) -> None:
        self._places: list[np.ndarray] = []
        self._sizes: list[int] = []
        for column in columns:
            present = np.zeros(int(column.max()) + 1, bool)
            present[column] = True
            self._places.append(np.where(present, np.cumsum(present) - 1, -1))
            self._sizes.append(int(present.sum()))
        total = 1
        for size in self._sizes:
            total *= size
        self._tuples: dict[tuple[int, ...], int] | None = {} if total > _LARGEST else None
        self._numbers = numbers
        if self._tuples is not None:
            self.pairs = self._fill_tuples(columns, numbers)
            return
        keys = np.zeros(len(numbers), np.int64)
        for column, places, size in zip(columns, self._places, self._sizes, strict=True):
            keys *= size
            keys += places[column]
        if total > 8 * len(numbers) + 100_000:
            self._order: np.ndarray | None = np.argsort(keys, kind="stable")
            self._sorted = keys[self._order]
            same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
            self.pairs = [(int(numbers[self._order[i]]), int(numbers[self._order[i + 1]])) for i in same]
            return
        self._order = None
        self._table = np.full(total, -1, np.int32)
        self._table[keys[::-1]] = identity(len(keys))[::-1]  # the last assignment stands: the first binding
        again = np.flatnonzero(self._table[keys] != identity(len(keys)))
        self.pairs = [(int(numbers[self._table[keys[i]]]), int(numbers[i])) for i in again]

    def _fill_tuples(self, columns: list[np.ndarray], numbers: np.ndarray) -> list[tuple[int, int]]:
        assert self._tuples is not None
        pairs = []
        for number, key in zip(numbers.tolist(), zip(*[c.tolist() for c in columns], strict=True), strict=True):
            if self._tuples.setdefault(key, number) != number:
                pairs.append((self._tuples[key], number))
        return pairs

    def _keys(self, columns: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
        """One number per row, and whether each qualifier occurs in the index at all."""
        keys, known = np.zeros(count, np.int64), np.ones(1, bool)
        for column, places, size in zip(columns, self._places, self._sizes, strict=True):
            if count and int(column.max()) >= len(places):
                known = known & (column < len(places))
                column = np.minimum(column, len(places) - 1)
            place = places[column]
            if count and int(place.min()) < 0:
                known = known & (place >= 0)
                place = np.maximum(place, 0)
            keys *= size
            keys += place
        return keys, known

    def find(self, columns: list[np.ndarray], count: int) -> np.ndarray:
        """The number of the node with each of `count` rows' qualifiers, -1 where there is none."""
        if self._tuples is not None:
            rows = zip(*[c.tolist() for c in columns], strict=True)
            return np.array([self._tuples.get(row, -1) for row in rows], np.int64)
        keys, known = self._keys(columns, count)
        if self._order is None:
            rows_ = self._table[keys]
        else:
            place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
            rows_ = np.where(self._sorted[place] == keys, self._order[place], -1)
        if known.all() and (count == 0 or int(rows_.min()) >= 0):
            return self._numbers[rows_]
        return np.where(known & (rows_ >= 0), self._numbers[rows_], -1)


class NameIndex:
    """All bound nodes of one name, array-wise or one by one. `start` holds the first number of each Members."""

    def __init__(self, name: Name, start: dict[int, int], base: int) -> None:
        self.name = name
        parts: dict[int, list[tuple[list[np.ndarray], np.ndarray]]] = {}
        self._members: list[tuple[Ref, np.ndarray]] = []
        stubs: dict[int, list[Stub]] = {}
        for entry in name.bound:
            if isinstance(entry, Members):
                columns = list(entry.ref.columns)
                size = int(np.prod(entry.ref.shape))
                numbers = np.arange(start[id(entry)], start[id(entry)] + size, dtype=np.int32)
                self._members.append((entry.ref, numbers.reshape(entry.ref.shape)))
                if size:
                    parts.setdefault(len(columns), []).append((columns, numbers))
            else:
                stubs.setdefault(len(entry.quals), []).append(entry)
        encode = name.root.codes.encode
        for depth, same in stubs.items():
            columns = [encode(column) for column in zip(*[s.quals for s in same], strict=True)]
            numbers = (np.array([s.number for s in same], np.int64) - base).astype(np.int32)
            parts.setdefault(depth, []).append((columns, numbers))
        self._by_depth = {
            depth: QualifierIndex(
                [joined(c) for c in zip(*[columns for columns, _ in some], strict=True)],
                joined([numbers for _, numbers in some]),
            )
            for depth, some in parts.items()
        }

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Numbers of nodes of the same full name: (first, other)."""
        return [pair for index in self._by_depth.values() for pair in index.pairs]

    def find(self, ref: Ref) -> np.ndarray:
        """Numbers in the reference's shape, -1 where nothing is bound."""
        codes = ref.codes or ()
        for known, numbers in self._members:
            theirs = known.codes or ()
            if known.shape == ref.shape and len(theirs) == len(codes) and all(map(np.array_equal, theirs, codes)):
                return numbers
        return self.find_columns(list(ref.columns), int(np.prod(ref.shape))).reshape(ref.shape)

    def find_columns(self, columns: list[np.ndarray], count: int) -> np.ndarray:
        """Numbers (count,) of the nodes with these coded qualifiers, -1 where nothing is bound."""
        index = self._by_depth.get(len(columns))
        return index.find(columns, count) if index is not None else np.full(count, -1)
