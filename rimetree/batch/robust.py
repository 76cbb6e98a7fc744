"""Robust fits: the data's weights follow from their residuals, the sums are made again, until the solution stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..graph.node import Family
from ..plan.lower import Lowering, Source
from ..plan.template import Template
from ..solve.reduce.contract import contract
from ..solve.reduce.robust import Robust, reweighted, scale
from ..solve.reduce.sources import PlaneTable
from ..status import Status
from .cascade import Cascade
from .fit import ClassFit, Fitted
from .flagging import FamilyFlags
from .solvable import SolverNode
from .span import Span, bind
from .state import State
from .tables import Visibilities, products

ROUNDS = 20
"""Most times that data are weighted anew."""

BYTES = 12
"""Memory per visibility: residual and weight."""

CUT = 0.25
"""Part of the largest factor below which a weight is lost: 3 % of Gaussian noise (student-t of a few degrees of freedom)."""

BREAKDOWN = 0.5
"""Part of an interval's data that may lose their weights: what most of them contradict is no solution."""

STILL = 0.05
"""The solution stays where no coefficient moves by more than this fraction of its error."""


@dataclass(slots=True, eq=False)
class _Residuals:
    """Residuals of one Condeq family: where the plane of each correlation goes, baseline by baseline."""

    planes: PlaneTable
    sources: list[Source]
    cascade: Cascade
    places: list[tuple[np.ndarray, np.ndarray]]
    """(plane of each correlation, -1 where there is none; baseline of each member), as `contract` takes them."""
    flags: FamilyFlags | None
    members: np.ndarray
    """Members of the family that the Solver uses."""
    data: list[tuple[int, int, int, np.ndarray]]
    """(place, element, correlation, baseline of each member)."""

    def without_flagged(self, tile: Any, place: int, residual: np.ndarray) -> None:
        """Set the residuals of one place to NaN where the equations are flagged."""
        if self.flags is None:
            return
        own = [item[1:] for item in self.data if item[0] == place]
        for bad, (_, corr, baseline) in zip(self.flags.bad(tile, [item[0] for item in own]), own, strict=True):
            rows = tile.rows[baseline]
            there = rows >= 0
            all_ = np.broadcast_to(bad[self.members] if len(bad) > 1 else bad, (*rows.shape, residual.shape[1]))
            at = rows[there]
            residual[at, :, corr] = np.where(all_[there], np.nan, residual[at, :, corr])


class Reweighting:
    """Weights of the data of one Solver from the residuals of its equations at the present solution.

    Raises SolveError on data without visibilities, whose equations have no weights.
    """

    def __init__(
        self,
        solver: SolverNode,
        fits: Sequence[ClassFit],
        templates: Mapping[int, Template],
        visibilities: Visibilities,
        state: State,
        ncorr: int,
    ) -> None:
        self.robust = robust_of(solver.options)
        self.families: Mapping[int, Family] = fits[0].families
        self.visibilities, self.state = visibilities, state
        self.items = [
            self._compile(solver, fits, place, number, templates, ncorr) for place, number in enumerate(solver.condeqs)
        ]
        self.lost, self.used = np.zeros((2, state.group.time.size, state.group.freq.size))
        if not any(item.places for item in self.items):
            text = "its equations use no visibilities, so there are no weights to change"
            raise SolveError(f"{solver.name}: robust={solver.options['robust']!r} needs data; {text}")

    def _compile(
        self,
        solver: SolverNode,
        fits: Sequence[ClassFit],
        place: int,
        number: int,
        templates: Mapping[int, Template],
        ncorr: int,
    ) -> _Residuals:
        rows = solver.condeqs[number]
        low = Lowering(self.families, templates, max_fixed_terms=64)
        tensor = low.members(number, rows)
        planes, sources, plane_of = products(low, tensor.elements, self.visibilities, len(rows))
        targets = {family for family, _ in sources if family not in self.visibilities.baseline}
        cascade = Cascade(self.families, targets, templates, self.state, self.visibilities.data)
        places: list[tuple[np.ndarray, np.ndarray]] = []
        data: list[tuple[int, int, int, np.ndarray]] = []
        for element, corr, baseline in _data(fits, place):
            own = np.ascontiguousarray(baseline[rows], np.int32)
            at = next((i for i, (w, b) in enumerate(places) if w[corr] < 0 and np.array_equal(b, own)), len(places))
            if at == len(places):
                places.append((np.full(ncorr, -1, np.int32), own))
            places[at][0][corr] = plane_of[element]
            data.append((at, element, corr, own))
        return _Residuals(planes, sources, cascade, places, fits[0].flagging[place], rows, data)

    def weights(self, tile: Any) -> np.ndarray:
        """(nrow, nchan, ncorr) float32: the weights of a tile times their factors."""
        out = np.empty(tile.shape, np.float32)
        out[:] = tile.weights
        given, flags = tile.weights, tile.flags
        used = np.zeros(tile.shape, np.bool_)
        for item in self.items:
            sources = bind(item.sources, self.families, self.visibilities, tile, item.cascade.tensors(tile))
            for place, (wanted, baseline) in enumerate(item.places):
                residual = np.full(tile.shape, np.nan, np.complex64)
                contract(residual, item.planes, sources, tile.rows, wanted, baseline)
                item.without_flagged(tile, place, residual)
                scales = np.array([
                    scale(given[..., k], flags[..., k], residual[..., k]) if wanted[k] >= 0 else 1.0
                    for k in range(tile.shape[2])
                ])  # fmt: skip
                reweighted(self.robust, residual, given, scales, out)
                used |= np.isfinite(residual)
        used &= given > 0
        self._count(tile, used, used & (out < CUT * self.robust.top * given))
        return out

    def _count(self, tile: Any, used: np.ndarray, lost: np.ndarray) -> None:
        """Add to how many data of each slot and channel are used, and how many of them have lost their weights."""
        for total, found in ((self.used, used), (self.lost, lost)):
            for t, rows in enumerate(tile.rows.T, tile.start):
                total[t] += found[rows[rows >= 0]].sum((0, 2))

    def clipped(self, tile: Any) -> np.ndarray | None:
        """(nrow, nchan, ncorr) True where a datum is clipped; None where nothing is ever clipped."""
        return None if self.robust.dof else (self.weights(tile) == 0) & (tile.flags == 0)

    def tiles(self, tiles: Iterable[Any]) -> Iterable[Any]:
        """The tiles with these weights: made at once where they stay in memory, else as they are read."""
        made = (replace(tile, weights=self.weights(tile)) for tile in tiles)
        return list(made) if isinstance(tiles, list) else made

    def solve(self, solve: Callable[[Span], list[Fitted]], span: Span) -> list[Fitted]:
        """`solve(span)` with reweighted data until no parameter moves any more. chi2 is brought to the scale of plain
        least squares: 1 per degree of freedom for Gaussian noise of the given weights."""
        fitted: list[Fitted] = []
        for _ in range(ROUNDS):
            self.lost[span.slots] = self.used[span.slots] = 0
            before = {n: parm.coefs.copy() for n, parm in self.state.parms.items() if parm.solvable}
            again: list[Any] = []  # tiles in memory are weighted once per round, streams whenever they are read

            def weighed(again: list[Any] = again) -> Iterable[Any]:
                if not again:
                    tiles = self.tiles(span.tiles())
                    if not isinstance(tiles, list):
                        return tiles
                    again.extend(tiles)
                return again

            fitted = solve(Span(span.start, span.stop, weighed))
            if self._moved(before, span) <= STILL:
                break
        for item in fitted:
            self._doubt(item, span)
            for _, _, outcome in item.components:
                outcome.chi2_start, outcome.chi2 = (
                    a / self.robust.expected for a in (outcome.chi2_start, outcome.chi2)
                )
        return fitted

    def _doubt(self, item: Fitted, span: Span) -> None:
        """Intervals in which most data have lost their weights are beyond the breakdown of any robust fit: AMBIGUOUS."""
        first = self.state.parms[item.parms[0]]
        interval = first.slot_interval[span.slots] - item.first
        slots = np.flatnonzero((interval >= 0) & (interval < item.intervals[0]))
        lost, used = np.zeros((2, *item.intervals))
        for total, found in ((used, self.used), (lost, self.lost)):
            np.add.at(total, (interval[slots][:, None], first.chan_interval), found[span.slots][slots])
        broken = lost > BREAKDOWN * used
        for _, _, outcome in item.components:
            outcome.status[broken.ravel() & (outcome.status == Status.CONVERGED)] = Status.AMBIGUOUS
        for n in item.parms:
            own = self.state.parms[n].status[:, item.first : item.first + item.intervals[0]]
            own[broken & (own == Status.CONVERGED)] = Status.AMBIGUOUS

    def _moved(self, before: Mapping[int, np.ndarray], span: Span) -> float:
        """The largest change of a coefficient in this span, in its own error."""
        most = 0.0
        for n, coefs in before.items():
            parm = self.state.parms[n]
            own = np.unique(parm.slot_interval[span.slots])
            change, error = np.abs(parm.coefs - coefs)[..., own, :], parm.errors[..., own, :]
            known = error > 0
            most = max(most, float((change[known] / error[known]).max(initial=0.0)))
        return most


def robust_of(options: Mapping[str, Any]) -> Robust:
    """The weight function that a Solver asks for."""
    if options["robust"] == "student-t":
        return Robust(dof=float(options["dof"]))
    return Robust(sigmas=float(options["clip"]))


def _data(fits: Sequence[ClassFit], place: int) -> list[tuple[int, int, np.ndarray]]:
    """(element, correlation, baseline of each member) of all data of one Condeq family."""
    found: dict[tuple[int, int, bytes], tuple[int, int, np.ndarray]] = {}
    for fit in fits:
        table = fit.tables[place]
        start = table.elements.data_start
        for k, element in enumerate(table.names):
            for d in range(start[k], start[k + 1]):
                corr, baseline = int(table.elements.data_corr[d]), table.elements.data_index[d]
                if corr >= 0:
                    found.setdefault((element, corr, baseline.tobytes()), (element, corr, baseline))
    return list(found.values())
