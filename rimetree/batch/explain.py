"""What a forest will compute, and how a run on a Measurement Set would fit it: what is summed, on which cells, how, in which tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RimetreeError
from ..parms.intervals import AxisGrid
from ..plan.explain import amount
from ..plan.explain import explain as families
from .fit import ClassFit
from .group import GroupRun
from .known import bounded
from .run import compiled
from .solvable import SolverNode
from .span import Span
from .tiling import TilePlan

if TYPE_CHECKING:
    from ..graph.forest import Forest


def explain(forest: Forest, root: str | None = None, data: Any = None, memory: float | None = None) -> str:
    """The families of a forest (or of what the node `root` needs), their shapes, bytes and caching, and its solvers.

    `data` (a MeasurementSet or Cells) gives sizes and bytes; without it they are in terms of T slots and F channels. On a
    MeasurementSet the whole forest is compiled as for a run within `memory` (bytes): how every Solver would fit, the cells that
    data are summed into, and the tiles.
    Raises RimetreeError where there is no such node, ForestError where children do not fit.
    """
    text = families(forest, root, data)
    if root is not None or not hasattr(data, "groups"):
        return text
    if not any(family.cls.role in ("solver", "sink") for family in forest.families):
        return text
    try:
        lines = [line for run, plan in zip(*compiled(forest, data, memory), strict=True) for line in _run(run, plan)]
    except RimetreeError as error:
        lines = ["", f"a run would stop: {error}"]
    return "\n".join([text, *lines])


def _run(run: GroupRun, plan: TilePlan) -> Iterator[str]:
    """On one field and spectral window."""
    group = run.group
    yield ""
    yield (
        f"Run on {run.name}: {group.time.size} slots x {group.freq.size} channels x {len(group.rows)} baselines, "
        f"{' '.join(group.corrs)}"
    )
    reads, writes = (", ".join(sorted(names)) or "no columns" for names in (run.found.reads, run.found.writes))
    yield f"  reads {reads}; writes {writes}"
    count = sum(map(len, plan.tiles))
    yield (
        f"  {count} tile{'s' if count > 1 else ''} of up to {plan.slots} slot{'s' if plan.slots > 1 else ''}, "
        f"about {amount(plan.bytes)} of the {amount(plan.limit)} that may be used"
    )
    longest = max(zip(plan.spans, plan.tiles, strict=True), key=lambda pair: len(pair[1]))
    if len(longest[1]) > 1:
        size = longest[0].stop - longest[0].start
        yield f"  solutions join {size} slots, which are read in {len(longest[1])} tiles, again for every class and round"
    for solver in run.found.solvers:
        yield f"  {solver.name}: {_way(run, solver, plan)}"
        yield from (f"    {line}" for line in _starts(run, solver, plan))
        for fit in run.classes[solver.name]:
            yield from _class(fit)


def _way(run: GroupRun, solver: SolverNode, plan: TilePlan) -> str:
    """Algorithm, backend, and what else changes the fit."""
    options, fits = solver.options, run.classes[solver.name]
    asked = options["algorithm"]
    words = ["lm" if asked == "auto" else asked]
    if free := run.free.get(solver.name):
        whole = _longest(plan)
        time, freq = free.joint.axes(whole)
        why = free.unsummed(whole, options["backend"])
        how = (
            f"every product is a pass over the data, because {why}" if why else f"on {time.count} x {freq.count} cells"
        )
        words = [f"gn-cg for all unknowns together, without a normal matrix ({free.why}), {how}"]
    elif len(fits) > 1:
        joint = run.joint[solver.name]
        axes = joint.axes(_longest(plan)) if joint else None
        if joint and axes and joint.fits(*axes):
            time, freq = axes
            words = [f"lm for each class, then gn-cg for all together on {time.count} x {freq.count} cells"]
        elif joint and asked == "gn-cg":
            words = [
                "gn-cg for all unknowns together, without sums, which need more memory: every product is a pass over the data"
            ]
        elif joint:
            words = ["lm for the classes in turn: the sums of all together need more memory than there is"]
        else:
            words = [f"{words[0]} for the classes in turn"]
    words.append(f"backend {options['backend']}, at most {options['max_iter']} iterations, tol {options['tol']:g}")
    if options["robust"]:
        scale = f"clip {options['clip']:g} sigma" if options["robust"] == "clip" else f"dof {options['dof']:g}"
        words.append(f"robust={options['robust']!r} ({scale}): fitted again with new weights until nothing moves")
    return "; ".join(words)


def _starts(run: GroupRun, solver: SolverNode, plan: TilePlan) -> Iterator[str]:
    """Where else a fit begins, and how errors are found."""
    fits, start = run.classes[solver.name], solver.options["start"]
    curved = [fit for fit in fits if not fit.atoms.linear]
    joint = run.joint.get(solver.name)
    together = bool(run.free.get(solver.name)) or (joint and joint.fits(*joint.axes(_longest(plan))))
    if run.free.get(solver.name):
        pass
    elif start == "previous":
        yield "start: every time interval from the solution of the one before"
    elif start == "own":
        yield "start: every interval from its own values only"
    elif curved and len(fits) == 1:
        yield "other starts: the interval before, where one does not converge, or is fitted worse than noise allows or than from there"
        if fits[0].searches:
            yield "other starts, where chi2 does not rule out a wrong minimum: windows of cells that widen, and values turned at random"
    elif curved and together:
        where = "where chi2 stays above noise or a fit does not converge"
        drifting = [fit for fit in curved if np.ptp(fit.state.parms[fit.parms[0]].slot_interval)]
        names = ", ".join(dict.fromkeys(label for fit in drifting for label in _labels(fit)))
        first = f"{names} fitted first, and from their neighbours in time; " if names else ""
        yield f"other starts, {where}: {first}the class that by itself explains most"
    if together:
        yield "errors: of all classes together; exact where that is cheap, else by random probes"
    elif len(fits) > 1:
        yield "errors: of each class with the others held, hence too small where they are correlated"
    else:
        yield "errors: the inverse of the normal matrix of each interval"


def _labels(fit: ClassFit) -> list[str]:
    return list(dict.fromkeys(name.split(":")[0] for name in fit.meaning.node[fit.fitted].tolist()))


def _longest(plan: TilePlan) -> Span:
    span = max(plan.spans, key=lambda s: s.stop - s.start)
    return Span(span.start, span.stop, tuple)


def _class(fit: ClassFit) -> Iterator[str]:
    """One class of Parms: intervals, cells, what is known of them."""
    first = fit.state.parms[fit.parms[0]]
    collapse = fit.collapses()
    grids = [
        AxisGrid.of(own, flat) for own, flat in zip((first.slot_interval, first.chan_interval), collapse, strict=True)
    ]
    slots, channels = len(first.slot_interval), len(first.chan_interval)
    time, freq = (grid.count * grid.joint for grid in grids)
    intervals = (
        f"{grids[0].count} x {grids[1].count} solution interval{'s' if grids[0].count * grids[1].count > 1 else ''}"
    )
    yield f"    {', '.join(_labels(fit))}: {intervals}, {int(fit.fitted.sum()):,} unknowns in each"
    elements = sum(len(rows) * len(table.forms) for table, rows in zip(fit.tables, fit.condeqs, strict=True))
    if time >= slots and freq >= channels:
        how = "every one by itself"
    else:
        how = f"summed into {time} x {freq} cells"
    yield f"      {elements:,} residuals of {slots} x {channels} data: {how}"
    yield from (f"      {line}" for line in _known(fit))


def _known(fit: ClassFit) -> Iterator[str]:
    """Bounds, priors and ties."""
    for n in fit.parms:
        family, state = fit.families[n], fit.state.parms[n]
        label = ", ".join(dict.fromkeys(name.split(":")[0] for name in state.names))
        if bounded(family):
            yield f"{label}: kept within bounds at every step"
        priors = sum(p is not None for p in family.members.get("prior", ()))
        if priors:
            yield f"{label}: {priors} with a prior, one more datum per solution interval each"
        axes = [axis for axis, tie in zip(("time", "frequency"), state.smooth, strict=True) if tie is not None]
        if axes:
            yield f"{label}: tied to its neighbours along {' and '.join(axes)}, whose intervals are fitted together"
