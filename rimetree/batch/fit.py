"""Solve one Solver node on a span of slots: class by class of equal solution intervals, from sums over the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph.node import Family
from ..parms.intervals import AxisGrid
from ..plan.atoms import Atoms, Unknowns
from ..plan.lower import Lowering, Poly, Source, terms_of
from ..plan.template import Template
from ..solve.reduce.backends import backend
from ..solve.reduce.sums import ElementTable
from ..solve.result.outcome import Outcome
from ..solve.settings import Settings
from ..solve.single.doubt import doubtful
from ..solve.single.problem import AtomValues, Equations, Problem
from ..solve.single.search import search as searched
from ..solve.single.search import searched_before
from ..solve.single.smooth import solve_smooth
from ..status import Status
from .cascade import Cascade
from .dense import refuse_large
from .flagging import equation_flags
from .following import before, better, nearer, solve_around, solve_from
from .known import constraints
from .solvable import SolverNode
from .span import Span, SpanSums
from .state import State
from .structure import Structure
from .tables import Visibilities, equations
from .unfit import Unfit
from .walk import random_walk, refuse_bounds
from .windows import windows


@dataclass(slots=True, eq=False)
class Fitted:
    """The outcome of one class of parameters on one span: per component its unknowns and what became of them."""

    parms: tuple[int, ...]
    intervals: tuple[int, int]
    first: int
    components: list[tuple[str, Problem, Outcome]]
    dropped: int

    def emptied(self) -> Fitted:
        """Without the data of its problems: a run keeps this of every span."""
        return replace(self, components=[(name, part.emptied(), outcome) for name, part, outcome in self.components])


@dataclass(frozen=True, slots=True, eq=False)
class _Summed:
    """What the data of a span come down to."""

    span: Span
    tgrid: AxisGrid
    fgrid: AxisGrid
    equations: list[Equations]
    boundary: Mapping[int, Any]
    dropped: int

    def only(self, i: int, first: bool) -> _Summed:
        """One time interval; `first` has the data that were dropped."""
        own, tgrid = self.tgrid.only(i)
        span = Span(self.span.start + own.start, self.span.start + own.stop, self.span.tiles)
        which = slice(i * self.fgrid.count, (i + 1) * self.fgrid.count)
        boundary = {
            n: tuple(plane[:, i : i + 1] if plane.shape[1] > 1 else plane for plane in planes)
            for n, planes in self.boundary.items()
        }
        equations_ = [eq.intervals(which) for eq in self.equations]
        return _Summed(span, tgrid, self.fgrid, equations_, boundary, self.dropped if first else 0)


class ClassFit:
    """The compiled fit of one class: Parm families with the same solution intervals, everything else fixed."""

    def __init__(
        self,
        families: Mapping[int, Family],
        solver: SolverNode,
        parms: Sequence[int],
        templates: Mapping[int, Template],
        real: Mapping[Source, bool],
        visibilities: Visibilities,
        state: State,
    ) -> None:
        self.families, self.state, self.parms, self.visibilities = families, state, tuple(parms), visibilities
        self.real, self.start, self.backend = real, solver.options["start"], solver.options["backend"]
        self.low = Lowering(families, templates, frozenset(parms))
        self.condeqs = list(solver.condeqs.values())
        lowered = [self.low.family(n) for n in solver.condeqs]
        wanted = {
            token[:2]
            for tensor in lowered
            for element in tensor.elements
            if isinstance(element, Poly)
            for term in terms_of(self.low, element)
            for token in term.solvable
        }
        shapes = {n: (families[n].size, *state.parms[n].coefs.shape[1:3]) for n in parms}
        self.unknowns = Unknowns.of(shapes, {n: np.iscomplexobj(state.parms[n].coefs) for n in parms})
        funklets = {n: state.parms[n].funklet for n in parms}
        self.atoms = Atoms(families, templates, self.low.solvable, sorted(wanted), self.unknowns, funklets)
        self.tables = [equations(self.low, n, self.atoms, visibilities, real) for n in solver.condeqs]
        self.forms = [
            [form.members(rows) for form in table.forms] for table, rows in zip(self.tables, self.condeqs, strict=True)
        ]
        self.flagging = equation_flags(families, list(solver.condeqs), templates, visibilities, state)
        sources = {s for table in self.tables for s in table.sources if s[0] not in visibilities.baseline}
        targets = {family for family, _ in sources} | set(self.atoms.boundary)
        self.cascade = Cascade(families, targets, templates, state, visibilities.data)
        self.fitted = self._fitted(solver)
        own = Structure(families, state, self.low, self.unknowns, self.parms)
        self.retract, self.blocks, self.meaning = own.retraction(), own.blocks(), own.meaning()
        self.multiplicative = any((f.term_factor >= 0).sum(1).max(initial=0) > 1 for t in self.tables for f in t.forms)
        self.varies: tuple[bool, bool] | None = None
        self.clock: Callable[[str], Any] = nullcontext
        """`clock(stage)` is a context that adds the time spent within to a stage of the report."""
        self.structure: dict[Any, Any] = {}
        self.unfit = Unfit(self.atoms)
        refuse_bounds(families, {n: state.parms[n] for n in parms})

    def _fitted(self, solver: SolverNode) -> np.ndarray:
        """(unknowns,) True for those that this Solver fits: members of a family may be left out."""
        chosen = np.zeros((self.unknowns.count, 1))
        for n in self.parms:
            own = solver.parms[n][:, None, None, None] * (1 + 1j)
            self.unknowns.store(chosen, n, np.broadcast_to(own, (*self.unknowns.shapes[n], 1)))
        return chosen[:, 0] > 0

    @property
    def follows(self) -> bool:
        """Whether tiles can be summed while they are being read: nothing but their columns is needed, by kernels."""
        return self.backend == "numba" and not self.cascade.targets and not any(self.flagging)

    @property
    def searches(self) -> bool:
        """Whether uncertain intervals are fitted from other starts: not where solutions were given to start from."""
        return self.start != "own" and not any(self.state.parms[n].begun for n in self.parms)

    @property
    def cascades(self) -> list[Cascade]:
        """All that is computed tile by tile."""
        return [self.cascade, *(own.cascade for own in self.flagging if own)]

    def data(self, place: int, tile: Any) -> tuple[ElementTable, np.ndarray, np.ndarray]:
        """What one family of equations takes of a tile beside values: which data, and their flags and weights."""
        table, own = self.tables[place], self.flagging[place]
        return own.data(tile, table.elements, table.names) if own else (table.elements, tile.flags, tile.weights)

    # What the structure of the equation says.

    def seen(self) -> dict[int, np.ndarray]:
        """Parm family -> which of its members are in some equation, once zeros and absent correlations are left out."""
        unknowns = np.zeros((self.unknowns.count, 1))
        for table, rows in zip(self.tables, self.condeqs, strict=True):
            for form in table.forms:
                unknowns[self.atoms.parameters[form.factor_atom[rows][:, form.units[:, 0]], form.units[:, 1]]] = 1
        return {n: np.asarray(self.unknowns.values(unknowns, n).real.any((1, 2, 3))) for n in self.parms}

    # One span.

    def run(self, span: Span, settings: Settings, known: list[Equations] | None = None) -> Fitted:
        """Sums over the tiles of the span, unless its equations are known, then the fit; the state receives coefficients, errors
        and statuses."""
        return self._fit(self._sums(span, settings, known), settings)

    def in_turn(self, span: Span, settings: Settings) -> list[Fitted]:
        """The same; time interval by time interval, each from the solution of the one before, where that is wanted or better."""
        made = self._sums(span, settings)
        first = self._fit(made, settings, search=self.searches) if self.start != "previous" else None
        if first and (self.start == "own" or self.atoms.linear or not self._helps(made, first, settings)):
            return [first]
        found, count = [], made.fgrid.count
        for i in range(made.tgrid.count):
            where = slice(i * count, (i + 1) * count)
            earlier = [outcome.only(where) for _, _, outcome in first.components] if first else ()
            found.append(self._fit(made.only(i, i == 0), settings, follow=True, earlier=earlier))
        return found

    def spread(self, span: Span, settings: Settings) -> None:
        """Fit from the present coefficients; then, as long as the solution of the time interval before or after some interval fits its
        data better, or leads to what does where they are fitted worse than noise allows, from there."""
        made = self._sums(span, settings)
        fitted = self._fit(made, settings)
        parms = {n: self.state.parms[n] for n in self.parms}
        for _ in range(made.tgrid.count):
            theta = self._theta(fitted.first, made.tgrid.count)
            around = [before(parms, self.unknowns, fitted.first, theta, after) for after in (False, True)]
            moved = [nearer(part, outcome, theta, around, settings) for _, part, outcome in fitted.components]
            if not any(moved) and not any(doubtful(outcome).any() for _, _, outcome in fitted.components):
                break
            chi2 = _total(fitted)
            fitted = self._fit(made, settings, start=theta, around=() if any(moved) else around)
            if not any(moved) and not _total(fitted) < chi2 * (1 - settings.tol):
                break

    def _helps(self, made: _Summed, fitted: Fitted, settings: Settings) -> bool:
        """Whether some interval of a fit has not converged, or the solution before it fits its data better than its own."""
        parms = {n: self.state.parms[n] for n in self.parms}
        if any(parm.smooth[0] is not None for parm in parms.values()):
            return False
        own = self._theta(fitted.first, made.tgrid.count)
        other = before(parms, self.unknowns, fitted.first, own)
        return any(better(part, outcome, own, other, settings) for _, part, outcome in fitted.components)

    def _sums(self, span: Span, settings: Settings, known: list[Equations] | None = None) -> _Summed:
        first = self.state.parms[self.parms[0]]
        slots, chans = first.slot_interval[span.slots], first.chan_interval
        collapse_t, collapse_f = self.collapses()
        tgrid, fgrid = AxisGrid.of(slots - int(slots[0]), collapse_t), AxisGrid.of(chans, collapse_f)
        if known is not None:
            return _Summed(span, tgrid, fgrid, known, {}, 0)
        sums = SpanSums(self, span, tgrid, fgrid, backend(settings.backend))
        with self.clock("sums"):
            boundary = sums.collect()
            return _Summed(span, tgrid, fgrid, sums.equations(), boundary, sums.dropped)

    def _fit(
        self, made: _Summed, settings: Settings, follow: bool = False, start: np.ndarray | None = None,
        around: Sequence[np.ndarray] = (), search: bool = False, earlier: Sequence[Outcome] = (),
    ) -> Fitted:  # fmt: skip
        tgrid, fgrid = made.tgrid, made.fgrid
        offset = int(self.state.parms[self.parms[0]].slot_interval[made.span.start])
        problem = self._problem(made.equations, tgrid, fgrid, made.boundary, made.span)
        theta = self._theta(offset, tgrid.count) if start is None else start
        parms = {n: self.state.parms[n] for n in self.parms}
        walk = random_walk(parms, self.unknowns, self.fitted, offset, tgrid.count)
        other = before(parms, self.unknowns, offset, theta) if follow else theta
        components = []
        places = windows(tgrid, fgrid) if search else []
        for number, part in enumerate(problem.components()):
            refuse_large(self._name(part), part)
            tie = walk.part(part.unknowns) if walk else None
            if tie and any(tie.axes):
                outcome = solve_smooth(part, theta, settings, tie, places if search else None)
            elif follow:
                outcome = solve_from(part, theta, other, settings)
                if earlier:
                    outcome = searched_before(part, outcome, earlier[number], settings)
            else:
                given = theta.copy() if search else theta
                outcome = solve_around(part, theta, around, settings)
                if search:
                    outcome = searched(part, theta, outcome, places, settings, given)
            components.append((self._name(part), part, outcome))
        self._store(theta, offset, tgrid.count, components)
        return Fitted(self.parms, (tgrid.count, fgrid.count), offset, components, made.dropped)

    def collapses(self) -> tuple[bool, bool]:
        """Whether all atoms are constant within an interval, along time and frequency (found by abstract evaluation)."""
        if self.varies is None and self.atoms.linear:
            varying = frozenset[str]().union(*(self.state.parms[n].varying for n in self.parms))
            self.varies = "time" in varying, "freq" in varying
        if self.varies is None:
            from ..plan.xla import jax

            state = self.state
            first = np.zeros((2, 3), int)  # any cells will do
            linear = [n for n in self.parms if self.state.parms[n].funklet.linear]  # one value instead of coefficients
            shapes = {n: (len(p.coefs), 1, 1) if n in linear else p.coefs.shape[:3] for n, p in state.parms.items()}
            coefs = {n: jax.ShapeDtypeStruct((*shapes[n], 2, 2), state.parms[n].coefs.dtype) for n in self.parms}
            cells = state.prepared([n for n in self.parms if n not in linear], first, first)
            for n in linear:
                wide = [3 if axis in state.parms[n].varying else 1 for axis in ("time", "freq")]
                cells[n] = (np.ones((2, wide[0], 2, wide[1])),)
            axes = self._boundary_axes()
            fixed = {
                n: tuple(
                    jax.ShapeDtypeStruct((1, 2 if "time" in axes[n] else 1, 3 if "time" in axes[n] else 1,
                                          2 if "freq" in axes[n] else 1, 3 if "freq" in axes[n] else 1),
                                         np.float64 if self.real.get((n, e), False) else np.complex128)
                    for e, number in enumerate(self.low.templates[n][1]) if number is None
                )
                for n in self.atoms.boundary
            }  # fmt: skip
            inputs = {"values": fixed, "coordinates": state.coordinates(first, first)}
            traced = jax.eval_shape(self.atoms.values, coefs, inputs, cells)
            flat = [a.shape for arrays in traced.values() for a in arrays]
            self.varies = any(s[2] > 1 for s in flat), any(s[4] > 1 for s in flat)
        return not self.varies[0], not self.varies[1]

    def _boundary_axes(self) -> Mapping[int, frozenset[str]]:
        known = self.state.known(self.families)
        return {n: known[n].axes for n in self.atoms.boundary}

    def _problem(
        self, equations_: list[Equations], tgrid: AxisGrid, fgrid: AxisGrid, boundary: Mapping[int, Any], span: Span
    ) -> Problem:
        group = self.state.group
        offset = int(self.state.parms[self.parms[0]].slot_interval[span.start])
        slots, counts = np.arange(group.time.size)[span.slots][tgrid.cell_of], (tgrid.count, fgrid.count)
        cells, shape = self.state.prepared(self.parms, slots, fgrid.cell_of), (*slots.shape, *fgrid.cell_of.shape)
        fixed = {"values": boundary, "coordinates": self.state.coordinates(slots, fgrid.cell_of)}

        def coefficients(theta: np.ndarray) -> dict[int, np.ndarray]:
            return {n: self.unknowns.values(theta, n).reshape(*self.unknowns.shapes[n], *counts) for n in self.parms}

        def curvature(theta: np.ndarray) -> np.ndarray:
            bent = np.asarray(self.atoms.curvature(coefficients(theta), fixed, cells))
            known = self.fitted[self.atoms.parameters]
            return bent * (known[:, :, None] & known[:, None])[..., None, None]

        moves = self.fitted[self.atoms.parameters][..., None, None]  # what has no derivative does not move
        sent: list[Any] = []

        def evaluated(coefs: Mapping[int, np.ndarray]) -> tuple[Any, Any]:
            """Where JAX is; all that they need but coefficients goes there once."""
            from ..plan.xla import jax

            if not sent:
                sent.append(jax.device_put((self.atoms.complete(fixed), cells)))
            return self.atoms.evaluate(coefs, *sent[0])

        def atoms(theta: np.ndarray) -> AtomValues:
            coefs = coefficients(theta)
            if self.atoms.linear:
                values, tangents = self.atoms.plainly(coefs, cells, shape)
            else:
                values, tangents = evaluated(coefs)
                self.unfit.watch(np.asarray(values), offset, counts, (coefs, fixed, cells))
            v, t = np.asarray(values), np.asarray(tangents)
            if not self.fitted.all():
                t = t * moves
            return tuple(np.ascontiguousarray(a) for a in (v.real, v.imag, t.real, t.imag))  # type: ignore[return-value]

        def traced(theta: np.ndarray) -> tuple[Any, Any]:
            from ..plan.xla import jnp

            coefs = coefficients(theta)
            values, tangents = evaluated(coefs)
            if not self.atoms.linear and not jnp.isfinite(values).all():
                self.unfit.watch(np.asarray(values), offset, counts, (coefs, fixed, cells))
            return values, tangents if self.fitted.all() else tangents * moves

        return Problem(
            tuple(equations_), self.atoms.parameters, self.blocks, self.retract, atoms, self.multiplicative,
            self.unknowns.count, tgrid.count * fgrid.count, linear=self.atoms.linear, meaning=self.meaning,
            traced=None if self.backend == "numba" else traced,
            curvature=None if self.atoms.linear else curvature, structure=self.structure, constraints=constraints(
                self.families, self.parms, self.unknowns, self.fitted, tgrid.count * fgrid.count),
            fitted=self.fitted,
        )  # fmt: skip

    def _theta(self, offset: int, count: int) -> np.ndarray:
        nf = self.state.parms[self.parms[0]].coefs.shape[-1]
        theta = np.zeros((self.unknowns.count, count * nf))
        for n in self.parms:
            coefs = self.state.parms[n].coefs[..., offset : offset + count, :]
            self.unknowns.store(theta, n, coefs.reshape(*coefs.shape[:3], -1))
        return theta

    def put(self, theta: np.ndarray, offset: int, count: int) -> None:
        """Make unknowns (unknowns, S) the present coefficients of `count` intervals in time."""
        for n in self.parms:
            into = self.state.parms[n].coefs[..., offset : offset + count, :]
            into[:] = self.unknowns.values(theta, n).reshape(into.shape)

    def _store(
        self, theta: np.ndarray, offset: int, count: int, components: list[tuple[str, Problem, Outcome]]
    ) -> None:
        variance = np.full(theta.shape, np.nan)
        status = np.full(theta.shape, Status.NO_DATA, np.uint8)
        for _, part, outcome in components:
            whole = np.where(outcome.status == Status.SINGULAR, Status.CONVERGED, outcome.status)
            own = np.where(np.isnan(outcome.variance) & (whole != Status.LOW_SNR), Status.NO_DATA, whole)
            own = np.where(outcome.lost, Status.LOW_SNR, own)
            status[part.unknowns] = np.where(outcome.unconstrained, Status.SINGULAR, own)
            variance[part.unknowns] = np.where(
                outcome.unconstrained | np.isinf(outcome.variance), np.nan, outcome.variance
            )
        self.put(theta, offset, count)
        for n in self.parms:
            parm = self.state.parms[n]
            where = slice(offset, offset + count)
            shape = (*parm.coefs.shape[:3], count, parm.coefs.shape[-1])
            error = self.unknowns.values(variance, n).reshape(shape)
            total = (error.real + error.imag) / 2 if np.iscomplexobj(error) else error
            parm.errors[..., where, :] = np.sqrt(total)
            parts = self.unknowns.values(status.astype(float), n).reshape(shape)
            codes = np.maximum(parts.real, parts.imag)
            own = np.flatnonzero(
                parm.fitted & (self.unknowns.values(self.fitted[:, None] * 1.0, n)[:, 0, 0, 0].real > 0)
            )
            parm.status[own, where] = codes.max((1, 2)).astype(np.uint8)[own]

    def _name(self, part: Problem) -> str:
        """The labels of the Parms of a component that are fitted."""
        nodes = self.meaning.node[part.unknowns[self.fitted[part.unknowns]]]
        return "+".join(dict.fromkeys(node.split(":")[0] for node in nodes.tolist()))


def _total(fitted: Fitted) -> float:
    return float(sum(np.nansum(outcome.chi2) for _, _, outcome in fitted.components))
