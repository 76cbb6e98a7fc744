"""Flags of equations and of Sinks, where they are not simply those of the data that they use.

The kernels join the flags of an equation's data as they read them. Only where a tree changes flags (`plan.flags.changed`) are they
computed, tile by tile, and given to the kernels as data of the equation's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from ..graph.node import Family
from ..plan.flags import changed
from ..plan.template import Template
from ..ring import Plane
from ..solve.reduce.sums import ElementTable
from .cascade import Cascade
from .state import State
from .tables import Visibilities

BYTES = 32
"""Memory per visibility: data and words of flags as they are gathered, flags and weights of equations."""


@dataclass(frozen=True, slots=True, eq=False)
class FamilyFlags:
    """What is flagged of the members of one family, of equations or below Sinks."""

    cascade: Cascade
    family: int
    members: int
    mask: int

    def words(self, tile: Any, names: Sequence[int]) -> Iterator[np.ndarray]:
        """Flags of each of these tensor elements, (member or 1, slot or 1, channel or 1) int32, bits of the mask only."""
        tensor = self.cascade.tensors(tile)[self.family]
        for name in names:
            element = tensor.elements[name]
            words = np.asarray(element.array) if isinstance(element, Plane) else np.zeros((1, 1, 1), np.int32)
            yield words & np.int32(self.mask)

    def bad(self, tile: Any, names: Sequence[int]) -> Iterator[np.ndarray]:
        """For each of these tensor elements, (member or 1, slot or 1, channel or 1): where a bit of the mask is set."""
        return (words != 0 for words in self.words(tile, names))

    def data(
        self, tile: Any, elements: ElementTable, names: Sequence[int]
    ) -> tuple[ElementTable, np.ndarray, np.ndarray]:
        """What `solve.reduce.sums` takes: `elements`, or these with one datum of its own per equation and cell, flags and weights."""
        if _one_to_one(elements):
            flags = tile.flags.copy()
            for k, bad in enumerate(self.bad(tile, names)):
                rows = tile.rows[elements.data_index[k]]
                there = rows >= 0
                every = np.broadcast_to(bad, (*rows.shape, tile.flags.shape[1]))
                flags[rows[there], :, elements.data_corr[k]] = every[there]
            return elements, flags, tile.weights
        n, slots, chans = self.members, tile.rows.shape[1], tile.flags.shape[1]
        flags = np.empty((n, slots, chans, len(names)), np.uint8)
        weights = np.empty((n, slots, tile.weights.shape[1] if tile.weights is not None else 1, len(names)), np.float32)
        for k, bad in enumerate(self.bad(tile, names)):
            flags[..., k] = bad
            weights[..., k] = _weights(tile, elements, k)
        lines = np.arange(n * slots, dtype=np.int32).reshape(n, slots)
        index = np.tile(np.arange(n, dtype=np.int32), (len(names), 1))
        count = np.arange(len(names) + 1, dtype=np.int32)
        own = replace(elements, data_start=count, data_corr=count[:-1], data_index=index, rows=lines)
        return own, flags.reshape(n * slots, chans, -1), weights.reshape(n * slots, -1, len(names))


def equation_flags(
    families: Mapping[int, Family],
    numbers: Sequence[int],
    templates: Mapping[int, Template],
    visibilities: Visibilities,
    state: State,
) -> list[FamilyFlags | None]:
    """For each of these families of equations its flags, None where they are simply those of its data."""
    special = changed(families)
    found: list[FamilyFlags | None] = []
    for number in numbers:
        mask = families[number].options.get("flag_mask", -1)
        if number in special or mask != -1:
            cascade = Cascade(families, {number}, templates, state, visibilities.data, flags=True)
            found.append(FamilyFlags(cascade, number, families[number].size, mask))
        else:
            found.append(None)
    return found


def _one_to_one(elements: ElementTable) -> bool:
    """Whether every equation has one datum, which no other has: its place can hold the flags of the equation."""
    if (np.diff(elements.data_start) != 1).any() or np.unique(elements.data_corr).size < elements.data_corr.size:
        return False
    distinct = all(np.unique(index).size == index.size for index in elements.data_index)
    return distinct and bool((elements.data_corr >= 0).all() and (elements.data_index >= 0).all())


def data_bits(families: Mapping[int, Family], below: Collection[int]) -> int:
    """The bits that data among these families bring along."""
    bits = (families[n].options.get("flag_bit", 1) for n in below if families[n].cls.role == "data")
    return reduce(or_, bits, 0)


def _weights(tile: Any, elements: ElementTable, k: int) -> np.ndarray | float:
    """Weights of the equations of one element: the least of their data's, (member, slot, channel or 1), 0 without a row.

    Equations without data have w = 1, which is twice the weight.
    """
    entries = [d for d in range(elements.data_start[k], elements.data_start[k + 1]) if elements.data_corr[d] >= 0]
    least: Any = None
    for d in entries:
        rows = tile.rows[elements.data_index[d]]
        own = np.ones((*rows.shape, 1), np.float32)
        if tile.weights is not None:
            own = tile.weights[rows, :, elements.data_corr[d]]
        own[rows < 0] = 0
        least = own if least is None else np.minimum(least, own, out=own)
    return 0.5 if least is None else least
