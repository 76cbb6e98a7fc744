"""Full names of nodes, kept as tables of qualifiers until somebody asks for the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .rows import identity, joined


@dataclass(slots=True, eq=False)
class NameTable:
    """Nodes of one name (subscope prefix included): the qualifiers of each, either as tuples or as coded columns."""

    full: str
    tuples: list[tuple[str, ...]] | None
    columns: tuple[np.ndarray, ...]
    texts: list[str]
    numbers: np.ndarray
    """The number of each node (n,)."""

    def qualifiers(self, row: int) -> tuple[str, ...]:
        """The qualifiers in one row."""
        if self.tuples is not None:
            return self.tuples[row]
        return tuple([self.texts[column[row]] for column in self.columns])

    def text(self, row: int) -> str:
        """The full name in one row."""
        return ":".join([self.full, *self.qualifiers(row)])

    def all_texts(self) -> list[str]:
        """The full name in every row."""
        if self.tuples is not None:
            return [":".join((self.full, *quals)) for quals in self.tuples]
        columns = [map(self.texts.__getitem__, column.tolist()) for column in self.columns]
        if not columns:
            return [self.full] * len(self.numbers)
        return [":".join((self.full, *quals)) for quals in zip(*columns, strict=True)]

    def select(self, keep: np.ndarray, numbers: np.ndarray) -> NameTable:
        """Some of the rows, with new numbers."""
        if bool(keep.all()):
            return NameTable(self.full, self.tuples, self.columns, self.texts, numbers)
        rows = np.flatnonzero(keep).tolist()
        tuples = None if self.tuples is None else [self.tuples[r] for r in rows]
        return NameTable(self.full, tuples, tuple(c[keep] for c in self.columns), self.texts, numbers[keep])


class Names(Mapping[str, int]):
    """Full name -> node number, and back. Texts are made when asked for, one name's table at a time."""

    def __init__(self, tables: list[NameTable], count: int) -> None:
        self.tables = tables
        self._offsets = np.cumsum([0, *(len(t.numbers) for t in tables)])
        self._count = count
        self._owner: np.ndarray | None = None
        self._by_full: dict[str, list[NameTable]] = {}
        for table in tables:
            self._by_full.setdefault(table.full, []).append(table)
        self._found: dict[str, dict[str, int]] = {}

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def __iter__(self) -> Iterator[str]:
        for table in self.tables:
            yield from table.all_texts()

    def __getitem__(self, name: str) -> int:
        return self.of(base_of(name))[name]

    def of(self, full: str) -> dict[str, int]:
        """Full names with qualifiers -> numbers, for the nodes of one name."""
        if full not in self._found:
            self._found[full] = {}
            for table in self._by_full.get(full, ()):
                self._found[full].update(zip(table.all_texts(), table.numbers.tolist(), strict=True))
        return self._found[full]

    def bases(self) -> list[str]:
        """The names without qualifiers."""
        return list(self._by_full)

    def texts(self, numbers: np.ndarray) -> list[str | None]:
        """Each node's first name; None for a nameless node."""
        if self._owner is None:
            named = joined([t.numbers for t in self.tables]) if self.tables else np.zeros(0, np.int32)
            self._owner = np.full(self._count, -1, np.int32)
            self._owner[named[::-1]] = identity(len(named))[::-1]  # the last assignment stands
        owners = self._owner[numbers]
        places = np.searchsorted(self._offsets, owners, side="right") - 1
        rows = owners - self._offsets[places]
        return [self.tables[p].text(r) if p >= 0 else None for p, r in zip(places.tolist(), rows.tolist(), strict=True)]

    def text(self, number: int) -> str | None:
        """A node's first name; None for a nameless node."""
        return self.texts(np.array([number]))[0]


def base_of(name: str) -> str:
    """`foo:1::G` of `foo:1::G:p:q`."""
    prefix, mark, rest = name.rpartition("::")
    return prefix + mark + rest.split(":", 1)[0]
