"""Slots that are solved together, and the sums over their data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.node import Family
from ..parms.intervals import AxisGrid
from ..plan.lower import Source
from ..solve.reduce.backends import Backend
from ..solve.reduce.sources import Sources
from ..solve.reduce.sums import empty_gram
from ..solve.single.problem import Equations
from .cascade import planes_of
from .tables import EquationTable, Visibilities

if TYPE_CHECKING:
    from .fit import ClassFit

Tiles = Callable[[], Iterable[Any]]
"""Reads the span again, tile by tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Slots that are solved together: every solution interval that begins in it ends in it."""

    start: int
    stop: int
    tiles: Tiles
    early: Tiles | None = None
    """Reads it, too, and hands tiles out before they are complete (see `Tile.complete`)."""

    @property
    def slots(self) -> slice:
        """The slots, as a slice of the group's."""
        return slice(self.start, self.stop)


class SpanSums:
    """The sums of one span: Gram matrices where cells are joined, single data where every joint cell is one datum."""

    def __init__(self, fit: ClassFit, span: Span, tgrid: AxisGrid, fgrid: AxisGrid, backend: Backend) -> None:
        self.fit, self.span, self.tgrid, self.fgrid, self.backend = fit, span, tgrid, fgrid, backend
        self.dropped = 0
        self.single = (
            tgrid.joint * tgrid.count >= tgrid.interval.size and fgrid.joint * fgrid.count >= fgrid.interval.size
        )
        self.grams: list[Any] = []
        self.direct: list[list[Any]] = []

    def collect(self) -> dict[int, Any]:
        """Pass over all tiles; returns the boundary planes of the atoms on the grid of intervals."""
        if self._follow():
            return {}
        boundary: dict[int, list[Any]] = {n: [] for n in self.fit.atoms.boundary}
        for tile in self.span.tiles():
            tensors = self.fit.cascade.tensors(tile)
            for n, parts in boundary.items():
                parts.append(self.fit.cascade.boundary(tensors, n))
            self._add(tile, tensors)
        return {n: self._regrid(parts) for n, parts in boundary.items()}

    def _follow(self) -> bool:
        """Sum tiles while they are being read, where nothing but their columns is needed; False where that is not so, or one has
        become another tile."""
        if self.span.early is None or self.single or not self.fit.follows:
            return False
        for tile in self.span.early():
            self._add(tile, {}, tile.landed)
            if tile.complete().rows is not tile.rows:
                self.grams, self.dropped = [], 0
                return False
        return True

    def _add(self, tile: Any, tensors: Mapping[int, Any], landed: np.ndarray | None = None) -> None:
        fit = self.fit
        tcell = self.tgrid.joint_cell[tile.start - self.span.start : tile.stop - self.span.start]
        sources = None
        for place, table in enumerate(fit.tables):
            made = self.backend.sources(sources)
            sources = bind(table.sources, fit.families, fit.visibilities, tile, tensors, made)
            members = fit.families[table.family].size
            extent = self.tgrid.count * self.tgrid.joint, self.fgrid.count * self.fgrid.joint
            elements, flags, weights = fit.data(place, tile)
            arguments = (table.planes, sources, tile.rows, elements)
            if self.single:
                self._direct(place, table, arguments, tcell, flags, weights)
                continue
            if len(self.grams) <= place:
                self.grams.append(empty_gram(table.elements, members, *extent))
            gram, count = self.grams[place]
            cells = tcell, self.fgrid.joint_cell
            following = {} if landed is None else {"landed": landed}
            self.dropped += self.backend.accumulate(gram, count, *arguments, *cells, flags, weights, **following)

    def _direct(
        self,
        place: int,
        table: EquationTable,
        arguments: tuple[Any, Any, Any, Any],
        tcell: np.ndarray,
        flags: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        if len(self.direct) <= place:
            self.direct.append([None] * len(table.forms))
        made = self.direct[place]
        for e in range(len(table.forms)):
            made[e], dropped = self.backend.direct(
                *arguments, e, tcell, self.fgrid.joint_cell, flags, weights,
                self.tgrid.count, self.tgrid.joint, self.fgrid.count, self.fgrid.joint, made[e],
            )  # fmt: skip
            self.dropped += dropped

    def equations(self) -> list[Equations]:
        """Pseudo-visibilities of all equations."""
        shape = self.tgrid.count, self.tgrid.joint, self.fgrid.count, self.fgrid.joint
        result = []
        for place, table in enumerate(self.fit.tables):
            lanes: Sequence[Any] = (
                self.direct[place] if self.single else self.backend.factors(*self.grams[place], *shape)
            )
            for e, made in enumerate(table.forms):
                rr, ri, yr, yi, constant, count = lanes[e]
                whole = Equations(made, (rr, ri), (yr, yi), constant, count * (1 if table.real[e] else 2))
                result.append(whole.members(self.fit.condeqs[place], self.fit.forms[place][e]))
        return result

    def _regrid(self, parts: list[list[np.ndarray]]) -> tuple[np.ndarray, ...]:
        """(n, nslot or 1, nchan or 1) planes as (n, St, Jt, Sf, Jf), kept collapsed."""
        result = []
        for pieces in zip(*parts, strict=True):
            whole = pieces[0] if pieces[0].shape[1] == 1 else np.concatenate(pieces, 1)
            _, t, f = whole.shape
            grid = whole[:, self.tgrid.cell_of] if t > 1 else whole[:, None]
            result.append(grid[..., self.fgrid.cell_of] if f > 1 else grid[..., None])
        return tuple(result)


def bind(
    wanted: Sequence[Source],
    families: Mapping[int, Family],
    visibilities: Visibilities,
    tile: Any,
    tensors: Mapping[int, Any],
    into: Sources | None = None,
) -> Sources:
    """The memory behind a table's sources, for one tile: columns in place, evaluated planes otherwise; in `into`, or new."""
    sources = Sources() if into is None else into
    planes = planes_of(tensors, (s for s in wanted if s[0] not in visibilities.baseline))
    for family, element in wanted:
        if family in visibilities.baseline:
            sources.column(tile.columns[families[family].options["column"]], visibilities.corr[element])
        else:
            sources.plane(planes[family, element])
    return sources
