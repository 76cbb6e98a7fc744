"""Random tables of planes with their values worked out the slow way, cell by cell, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rimetree.solve.reduce.sources import PlaneTable, Sources
from rimetree.solve.reduce.sums import ElementTable

Factor = tuple[int, bool, np.ndarray]


@dataclass(eq=False)
class Memory:
    """Sources with a plain numpy twin: `("row", array (nrow, nchan))` or `("grid", array)`."""

    sources: Sources = field(default_factory=Sources)
    twins: list[tuple[str, np.ndarray]] = field(default_factory=list)

    def column(self, array: np.ndarray, corr: int) -> int:
        self.twins.append(("row", array[:, :, corr]))
        return self.sources.column(array, corr)

    def plane(self, array: np.ndarray) -> int:
        self.twins.append(("grid", array))
        return self.sources.plane(array)


def table_of(monomials: list[list[tuple[complex, list[Factor]]]], members: int) -> PlaneTable:
    """A PlaneTable from per plane a list of (coefficient, factors (source, conjugate, index))."""
    flat = [m for plane in monomials for m in plane]
    factors = [f for _, fs in flat for f in fs]
    starts = lambda lengths: np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)  # noqa: E731
    return PlaneTable(
        starts([len(p) for p in monomials]),
        np.array([c for c, _ in flat], complex),
        starts([len(fs) for _, fs in flat]),
        np.array([s for s, _, _ in factors], np.int32),
        np.array([c for _, c, _ in factors], bool),
        np.array([i for _, _, i in factors], np.int32).reshape(len(factors), members),
    )


def element_table(
    planes: list[list[int]], const: list[int], data: list[list[tuple[int, np.ndarray]]], members: int
) -> ElementTable:
    """An ElementTable from per element its planes, constant plane and data (correlation, baselines)."""
    padded = np.full((len(planes), max(map(len, planes))), -1, np.int32)
    for row, p in zip(padded, planes, strict=True):
        row[: len(p)] = p
    flat = [d for entries in data for d in entries]
    return ElementTable(
        padded,
        np.array([len(p) for p in planes], np.int32),
        np.array(const, np.int32),
        np.concatenate([[0], np.cumsum([len(d) for d in data])]).astype(np.int32),
        np.array([c for c, _ in flat], np.int32),
        np.array([i for _, i in flat], np.int32).reshape(len(flat), members),
    )


def plane_values(
    memory: Memory, monomials: Any, rows: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Values (planes, member, slot, channel) and whether a row is missing (planes, member, slot)."""
    values = np.zeros((len(monomials), *shape), complex)
    missing = np.zeros((len(monomials), *shape[:2]), bool)
    for p, plane in enumerate(monomials):
        for coef, factors in plane:
            for m in range(shape[0]):
                for t in range(shape[1]):
                    product = np.full(shape[2], coef, complex)
                    for s, conj, index in factors:
                        kind, array = memory.twins[s]
                        if kind == "row":
                            row = rows[index[m], t]
                            missing[p, m, t] |= row < 0
                            x = array[row]
                        else:
                            n, nt, _ = array.shape
                            x = array[index[m] if n > 1 else 0, t if nt > 1 else 0]
                        with np.errstate(invalid="ignore"):
                            product = product * (np.conj(x) if conj else x)
                    with np.errstate(invalid="ignore"):
                        values[p, m, t] += product
    return values, missing


@dataclass(eq=False)
class Case:
    """Random planes and elements over random data with holes, flags, bad weights and values that are not finite."""

    seed: int
    corrs: int = 4
    bad_values: bool = True
    collapsed_weights: bool = False
    equal_weights: bool = False
    shared_planes: bool = False

    def __post_init__(self) -> None:
        rng = self.rng = np.random.default_rng(self.seed)
        self.members, self.nbl = int(rng.integers(1, 5)), 5
        self.nslot, self.nchan = int(rng.integers(1, 7)), int(rng.integers(1, 21))
        count = self.nbl * self.nslot
        order = rng.permutation(count).reshape(self.nbl, self.nslot)
        self.rows = np.where(rng.random(order.shape) < 0.15, -1, order).astype(np.int32)
        self.memory = Memory()
        self._fill_memory(count)
        self.monomials = [self._plane() for _ in range(int(rng.integers(2, 6)))]
        self.table = table_of(self.monomials, self.members)
        self._weights(count)
        self._elements()
        self.tcell, self.fcell = self._cells(self.nslot), self._cells(self.nchan)

    def _complex(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape) + 1j * self.rng.standard_normal(shape)

    def _fill_memory(self, count: int) -> None:
        rng = self.rng
        for kind in (np.complex64, np.complex64, np.complex128):
            column = self._complex(count, self.nchan, self.corrs).astype(kind)
            if self.bad_values:
                column[rng.random(column.shape) < 0.02] = rng.choice([np.nan, np.inf, 1j * np.inf, complex(1, np.nan)])
            for corr in range(self.corrs):
                self.memory.column(column, corr)
        for bits in range(8):
            extent = [n if bits >> k & 1 else 1 for k, n in enumerate((3, self.nslot, self.nchan))]
            array = self._complex(*extent)
            self.memory.plane([array, array.astype(np.complex64), array.real.copy()][bits % 3])

    def _plane(self) -> list[tuple[complex, list[Factor]]]:
        rng, monomials = self.rng, []
        for _ in range(int(rng.integers(1, 4))):
            factors: list[Factor] = []
            for s in rng.integers(0, len(self.memory.twins), int(rng.integers(0, 4))).tolist():
                kind, _ = self.memory.twins[s]
                top = self.nbl if kind == "row" else 3
                factors.append((s, bool(rng.integers(2)), rng.integers(0, top, self.members)))
            monomials.append((complex(rng.choice([1, -1, 0.5 - 2j])), factors))
        return monomials

    def _weights(self, count: int) -> None:
        rng = self.rng
        self.flags = (rng.random((count, self.nchan, self.corrs)) < 0.1).astype(np.uint8)
        shape = (count, 1 if self.collapsed_weights else self.nchan, self.corrs)
        self.weights = rng.uniform(0.5, 2, shape).astype(np.float32)
        for bad in (0, -1, np.nan, np.inf):
            self.weights[rng.random(shape) < 0.02] = bad
        if self.equal_weights:
            self.flags[:] = self.flags[:, :, :1]
            self.weights[:] = self.weights[:, :, :1]

    def _elements(self) -> None:
        rng, top = self.rng, len(self.monomials)
        count = int(rng.integers(1, 5))
        first = rng.permutation(top)[: int(rng.integers(1, top))].tolist()
        self.planes, self.const, self.data = [], [], []
        for e in range(count):
            self.planes.append(
                first if self.shared_planes else rng.permutation(top)[: int(rng.integers(1, top + 1))].tolist()
            )
            self.const.append(int(rng.integers(-1, top)))
            entries = [(e % self.corrs, np.arange(self.members) % self.nbl)] if self.shared_planes else self._entries()
            self.data.append(entries)
        self.elements = element_table(self.planes, self.const, self.data, self.members)

    def _entries(self) -> list[tuple[int, np.ndarray]]:
        rng = self.rng
        return [
            (int(rng.integers(-1, self.corrs)), rng.integers(0, self.nbl, self.members))
            for _ in range(int(rng.integers(0, 3)))
        ]

    def _cells(self, n: int) -> np.ndarray:
        """Ascending cells, now and then one per place, with unused places."""
        rng = self.rng
        steps = [np.ones(n, int), rng.integers(0, 2, n), np.zeros(n, int)][int(rng.integers(3))]
        cells = np.cumsum(steps) - steps[0]
        return np.where(rng.random(n) < 0.1, -1, cells).astype(np.int32)

    def grid(self) -> tuple[int, int]:
        """Number of time and frequency cells."""
        return max(int(self.tcell.max()) + 1, 1), max(int(self.fcell.max()) + 1, 1)

    def samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Plane values, bad ones zero; w (element, member, slot, channel); how many an element lost as not finite."""
        values, missing = plane_values(self.memory, self.monomials, self.rows, (self.members, self.nslot, self.nchan))
        finite = np.isfinite(values)
        w = np.zeros((len(self.planes), self.members, self.nslot, self.nchan))
        lost = np.zeros(len(self.planes), int)
        for e, (planes, const) in enumerate(zip(self.planes, self.const, strict=True)):
            used = [*planes, const] if const >= 0 else list(planes)
            for m, t, c in np.ndindex(w.shape[1:]):
                if self.tcell[t] < 0 or self.fcell[c] < 0 or missing[used, m, t].any():
                    continue
                weight = self._weight(e, m, t, c)
                good = finite[used, m, t, c].all()
                lost[e] += weight > 0 and not good
                w[e, m, t, c] = weight if good else 0
        return np.where(finite, values, 0), w, lost

    def _weight(self, e: int, m: int, t: int, c: int) -> float:
        entries = [(corr, self.rows[index[m], t]) for corr, index in self.data[e] if corr >= 0]
        if not entries:
            return 1.0
        smallest = np.inf
        for corr, row in entries:
            if row < 0 or self.flags[row, c, corr]:
                return 0.0
            weight = float(self.weights[row, min(c, self.weights.shape[1] - 1), corr])
            smallest = min(smallest, weight if 0 < weight < np.inf else 0.0)
        return 2 * smallest


@pytest.fixture(scope="session")
def make_case() -> type[Case]:
    """The class of random cases."""
    return Case


@pytest.fixture(scope="session")
def tables() -> Any:
    """`tables.table_of`, `tables.element_table`, `tables.plane_values`, `tables.Memory`."""
    return SimpleNamespace(table_of=table_of, element_table=element_table, plane_values=plane_values, Memory=Memory)
