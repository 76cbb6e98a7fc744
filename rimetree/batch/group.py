"""One field and spectral window of a run: its state, compiled solvers and sinks, span by span."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SolveError
from ..graph.node import Observation
from ..plan.host import refuse
from ..plan.lookup import observed
from ..solve.algebra.simd import LANES
from ..solve.algebra.threads import threads
from ..solve.reduce.backends import device, room
from ..solve.result.report import Report
from ..solve.settings import Settings
from ..status import Status
from .apply import Sinks, Written
from .cascade import Cascade, correlations
from .fit import ClassFit, Fitted
from .grid import BareTile, further, sizes
from .known import bounded
from .layout import Layout
from .memory import sums_bytes, too_large
from .robust import Reweighting
from .solvable import SolverNode
from .span import Span, Tiles
from .starting import Starting
from .state import State
from .tables import Visibilities

if TYPE_CHECKING:
    from .joint import JointFit
    from .matrix_free import MatrixFreeFit

SHARE = 0.2
"""Of the memory, for sums of intervals that are fitted together."""

SWEEPS = 12
"""Most block-coordinate sweeps over classes of parameters with different solution intervals."""

SETTLED = 1e-4
"""Sweeps end when chi2 falls by less than this times its degrees of freedom."""

UNSETTLED = 0.01
"""Where the last sweep still lowered chi2 by more than this part of it, nothing has converged."""


class GroupRun:
    """Compiled solvers and sinks of a forest on one group of data."""

    def __init__(
        self,
        found: Layout,
        group: Any,
        observation: Observation | None,
        starting: Starting,
        report: Report,
        clock: Callable[[str], Any],
    ) -> None:
        self.found, self.group, self.report, self.clock = found, group, report, clock
        window = "spw" + "+".join(map(str, getattr(group, "windows", [group.spw_id])))
        self.name = f"{group.field_name}/{window}" if group.field_name else window
        self.families = observed(found.families, observation) if observation else found.families
        self.state = State(self.families, found.solvable, group)
        names = found.forest
        starting.fill(self.state, group, lambda n, m: f"{names.name_of(n, m)} ({names.where(n, m)})")
        self.visibilities = Visibilities(found.visibilities(), correlations(group.corrs), found.baseline)
        complex_ = {n for n, p in self.state.parms.items() if p.is_complex} | set(self.visibilities.baseline)
        self.templates, self.real = found.shapes(group.corrs, frozenset(complex_), sizes(group))
        self.classes = {solver.name: self._classes(solver) for solver in found.solvers}
        for fit in (fit for fits in self.classes.values() for fit in fits):
            fit.clock = clock
        self.apart: dict[str, str] = {}
        """Solver -> why its classes would be fitted in turn, "" where nothing speaks against fitting them together."""
        self.joint = {solver.name: self._joint(solver) for solver in found.solvers}
        self.free: dict[str, MatrixFreeFit] = {}
        """Solvers that are fitted without sums (see `choose`)."""
        for solver in found.solvers:
            if solver.options["algorithm"] == "gn-cg" and self._chained(solver):
                raise SolveError(f"{solver.name}: algorithm='gn-cg' keeps no smooth=; remove them, or choose 'lm'")
        self._leave_out_unseen()
        self.robust = {
            s.name: Reweighting(
                s, self.classes[s.name], self.templates, self.visibilities, self.state, len(group.corrs)
            )
            for s in found.solvers
            if s.options["robust"]
        }
        self.sinks = Sinks(found.sinks, self.families, self.templates, self.visibilities, self.state)
        self.history: dict[str, list[Fitted]] = {}
        self.latest: list[Fitted] = []
        """Fits of the last span."""
        self.reference = ""
        self.memory = 0.0

    def _leave_out_unseen(self) -> None:
        """Parms that drop out of every equation keep their values: right where correlations are absent, else a fault.

        Raises SolveError then, and where a Solver is left with nothing to fit.
        """
        seen = {n: np.zeros_like(parm.fitted) for n, parm in self.state.parms.items()}
        for name, fits in self.classes.items():
            for fit in fits:
                for n, members in fit.seen().items():
                    seen[n] |= members
            if not any(members.any() for fit in fits for members in fit.seen().values()):
                why = "the model is zero, or of other correlations"
                raise SolveError(f"{name}: no Parm is left in its equations for {self.name} ({self._corrs()}): {why}")
        for n, parm in self.state.parms.items():
            lost = parm.fitted & ~seen[n]
            if not lost.any():
                continue
            first = parm.names[int(np.argmax(lost))]
            if min(correlations(self.group.corrs)) >= 0 or self.group.bare:
                raise SolveError(
                    f"Parm {first} is solvable but drops out of every equation, multiplied by 0; do not solve it"
                )
            text = f"{self.name} has {self._corrs()} only: {int(lost.sum())} Parms such as {first} are in no equation"
            self.report.notes.append(f"{text} and keep their values")
            parm.fitted = parm.fitted & seen[n]
            parm.status[lost] = Status.CONVERGED

    def _corrs(self) -> str:
        return f"correlations {' '.join(self.group.corrs)}" if self.group.corrs else "no correlations"

    def prepare(self, slots: int) -> None:
        """Fix the tile shape that everything is compiled for: shorter tiles are padded to it."""
        for cascade in self._cascades():
            cascade.slots = slots

    @property
    def flagging(self) -> bool:
        """Whether flags are computed, beside those that kernels join as they read."""
        return any(cascade.heeding for cascade in self._cascades())

    @property
    def follows(self) -> bool:
        """Whether what is done first with a tile is to sum it, while it is being read."""
        name = self.found.solvers[0].name if self.found.solvers else ""
        others = name in self.free or name in self.robust or self.joint.get(name)
        return bool(name) and not others and self.classes[name][0].follows

    def _cascades(self) -> Iterator[Cascade]:
        """All that is computed tile by tile."""
        for fits in self.classes.values():
            for fit in fits:
                yield from fit.cascades
        for joint in self.joint.values():
            yield from joint.whole.cascades if joint else ()
        for reweighting in self.robust.values():
            yield from (item.cascade for item in reweighting.items)
        for sink in self.sinks.compiled:
            yield sink.cascade
            if sink.flags:
                yield sink.flags.cascade

    def batch(self, memory: float) -> int:
        """Time intervals that are better fitted together than one by one: they fill vectors and threads.

        With one class of Parms and one pass only: others read the data of a long span once for each.
        """
        fits = [fit for fits in self.classes.values() for fit in fits]
        if len(fits) != 1 or self.robust or self.group.bare or self.free:
            return 1
        wanted = -(-LANES * threads() // self.state.parms[fits[0].parms[0]].coefs.shape[-1])
        each = sums_bytes(fits[0], slice(0, self.group.time.size)) / self.state.parms[fits[0].parms[0]].coefs.shape[-2]
        return max(1, min(wanted, int(SHARE * memory / each)))

    def _classes(self, solver: SolverNode) -> list[ClassFit]:
        """One fit per set of Parms with equal solution intervals."""
        keys: dict[Any, list[int]] = {}
        for n in solver.parms:
            keys.setdefault(self.state.parms[n].grid_key, []).append(n)
        return [
            ClassFit(self.families, solver, parms, self.templates, self.real, self.visibilities, self.state)
            for parms in keys.values()
        ]

    def _joint(self, solver: SolverNode) -> JointFit | None:
        """The joint fit of a Solver's classes from sums, where there are several and nothing forbids it."""
        options = solver.options
        reasons = {
            f"algorithm={options['algorithm']!r} was asked for": options["algorithm"] not in ("auto", "gn-cg"),
            f"backend={options['backend']!r} was asked for": options["backend"] != "numba",
            "some have bounds": any(bounded(self.families[n]) for n in solver.parms),
            "some have smooth=": self._tied(solver),
        }
        self.apart[solver.name] = next((text for text, so in reasons.items() if so), "")
        return self._coupled(solver) if len(self.classes[solver.name]) > 1 and not self.apart[solver.name] else None

    def _coupled(self, solver: SolverNode) -> JointFit:
        from .joint import JointFit  # needs scipy

        return JointFit(solver, self.classes[solver.name], self.templates, self.real)

    def _chained(self, solver: SolverNode) -> bool:
        """Whether solution intervals have to do with those before."""
        return self._tied(solver) or solver.options["start"] == "previous"

    def _tied(self, solver: SolverNode) -> bool:
        return any(self.state.parms[n].smooth != (None, None) for n in solver.parms)

    def choose(self, memory: float) -> None:
        """Decide which Solvers are fitted without sums and normal matrices, given the memory (bytes): those that ask for conjugate
        gradients where `_joint` has none, and those for which there is not enough memory otherwise."""
        self.memory = memory
        for solver in self.found.solvers:
            asked = solver.options["algorithm"] == "gn-cg" and not self.joint[solver.name]
            forced = solver.options["algorithm"] in ("auto", "gn-cg") and any(
                too_large(fit, memory) for fit in self.classes[solver.name]
            )
            if not (asked or forced) or self._chained(solver):
                continue
            if asked and (others := list(further(self.group))):
                text = f"fits on time and freq, and these cells have the axis {others[0]!r} too; use 'lm'"
                raise SolveError(f"{solver.name}: algorithm='gn-cg' {text}")
            if further(self.group):
                continue
            from .matrix_free import MatrixFreeFit  # needs JAX

            why = "sums or normal matrices need more memory" if forced else "as asked"
            own = min(memory, room(solver.options["backend"]))
            self.free[solver.name] = MatrixFreeFit(self.joint[solver.name] or self._coupled(solver), own, why)

    def room(self) -> float:
        """Bytes of data that all devices on which Solvers work can hold."""
        return min((room(solver.options["backend"]) for solver in self.found.solvers), default=np.inf)

    def summed(self) -> dict[str, list[ClassFit]]:
        """The classes of Solvers that are fitted from sums."""
        return {name: fits for name, fits in self.classes.items() if name not in self.free}

    def _note(self, notes: list[str]) -> None:
        """Add to the report what it does not say yet."""
        self.report.notes.extend(f"{self.name} {n}" for n in notes if f"{self.name} {n}" not in self.report.notes)

    def bare_tile(self) -> BareTile:
        """All slots of a group without data."""
        return BareTile(self.group)

    def span(self, slots: slice, tiles: Tiles, early: Tiles | None = None) -> None:
        """Run all solvers, in order, on the slots of a span. `early`: see `Span`."""
        span = Span(slots.start, slots.stop, tiles, early)
        self.latest = []
        for solver in self.found.solvers:
            fits = self.classes[solver.name]
            names = ("max_iter", "tol", "lm", "min_snr", "algorithm", "backend")
            own = {name: solver.options[name] for name in names}
            settings = Settings(damping=own.pop("lm"), reference=self.reference, **own)
            with self.clock("solve"), device(settings.backend):
                robust = self.robust.get(solver.name)
                solve = partial(self._solve, solver.name, fits, settings=settings)
                fitted = robust.solve(solve, span) if robust else solve(span)
            refuse(self.families.values())
            self.report.dropped += max(
                item.dropped for item in fitted
            )  # the classes of a Solver have seen the same data
            for item in (item.emptied() for item in fitted):
                self.latest.append(item)
                self.history.setdefault(solver.name, []).append(item)

    def _solve(self, solver: str, fits: list[ClassFit], span: Span, settings: Settings) -> list[Fitted]:
        if solver in self.free:
            return self._without_sums(self.free[solver], span, settings)
        if len(fits) == 1:
            return fits[0].in_turn(span, settings)
        joint = self.joint[solver]
        if joint:
            found = joint.run(span, settings)
            if found is None and settings.algorithm == "gn-cg":
                from .matrix_free import MatrixFreeFit  # needs JAX

                self.free[solver] = MatrixFreeFit(joint, self.memory, "the sums of all together need more memory")
                return self._without_sums(self.free[solver], span, settings)
            why = "the sums of all together need more memory; algorithm='gn-cg' needs none, and reads the data for each product"
            self._note(
                joint.notes if found else [f"{solver}: fitted in turn, errors of each class for given others: {why}"]
            )
            if found:
                return found
        else:
            self._note([f"{solver}: fitted in turn, errors of each class for given others: {self.apart[solver]}"])
        chi2, fall = np.inf, np.inf
        for _ in range(SWEEPS):
            by_class = [fit.in_turn(span, settings) for fit in fits]
            fitted = [item for items in by_class for item in items]
            last = [outcome for item in by_class[-1] for _, _, outcome in item.components]
            before, chi2 = chi2, float(sum(np.nansum(o.chi2) for o in last))
            fall = before - chi2
            if fall < SETTLED * float(sum(np.nansum(o.dof) for o in last)):
                return fitted
        part = fall / max(chi2, 1e-300)
        self._note(
            [f"{solver}: not settled after {SWEEPS} sweeps over its classes: the last one lowered chi2 by {part:.2g}"]
        )
        if part > UNSETTLED:
            self._unsettled(fitted)
        return fitted

    def _without_sums(self, free: MatrixFreeFit, span: Span, settings: Settings) -> list[Fitted]:
        found = free.run(span, settings)
        self._note(free.notes)
        return found

    def _unsettled(self, fitted: list[Fitted]) -> None:
        """What converged did so for values of other classes that still change."""
        for item in fitted:
            for _, _, outcome in item.components:
                outcome.status[outcome.status == Status.CONVERGED] = Status.ITERATION_LIMIT
            for n in item.parms:
                parm = self.state.parms[n]
                own = parm.status[:, item.first : item.first + item.intervals[0]]
                own[parm.fitted[:, None, None] & (own == Status.CONVERGED)] = Status.ITERATION_LIMIT

    def write(self, ms: Any, tile: Any) -> None:
        """Write the columns of all sinks for one tile."""
        if not self.found.sinks:
            return
        with self.clock("apply"):
            before = {name: tile.columns[name] for name in self.found.writes if name in tile.columns}
            found = self.sinks.columns(tile, before)
            refuse(self.families.values())
            self._clip(tile, found)
        self.report.invalid += found.invalid
        self.report.unfit += found.unfit
        with self.clock("write"):
            for name, values in found.columns.items():
                ms.write(tile, name, values)
                self.report.written[name] = self.report.written.get(name, 0) + values.size
                self.report.bytes_written += values.nbytes
            if found.flags is not None or found.flagsets:
                ms.write_flags(tile, found.flags, found.flagsets)

    def _clip(self, tile: Any, found: Written) -> None:
        """Flag the data that Solvers clip, where a Sink asks for flags."""
        asking = [sink for sink in self.found.sinks if sink.flag or sink.flagset]
        for reweighting in self.robust.values() if asking else ():
            clipped = reweighting.clipped(tile)
            if clipped is not None and clipped.any():
                for sink in asking:
                    found.mark(sink, clipped)
                self.report.clipped += int(clipped.sum())
