"""What one group of data has to say in the report: summaries per Solver and component, and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plan.host import take
from ..plan.template import NodeFailure
from ..solve.result.report import SolverSummary, counted
from ..status import Status

if TYPE_CHECKING:
    from .fit import Fitted
    from .group import GroupRun


def summaries(run: GroupRun) -> list[SolverSummary]:
    """Per solver and component, all spans joined along time."""
    result = []
    for solver, fitted in run.history.items():
        by_component: dict[Any, list[tuple[Fitted, Any, Any]]] = {}
        for item in fitted:
            for i, (name, part, outcome) in enumerate(item.components):
                by_component.setdefault((item.parms, i, name), []).append((item, part, outcome))
        for (_, _, name), pieces in by_component.items():
            result.append(_summary(solver, run.name, name, pieces))
    return result


def _failures(run: GroupRun) -> list[str]:
    """What nodes did wrong that harmed some intervals only, a sentence with node and script line each."""
    fits = [fit for fits in run.classes.values() for fit in fits]
    found = {n: NodeFailure(n, text) for n, family in run.families.items() for text in take(family)}
    for failure in [*(fit.unfit.failure() for fit in fits), *run.sinks.failures()]:
        if failure:
            found.setdefault(failure.family, failure)
    forest = run.found.forest
    return [
        f"{forest.name_of(f.family, f.member)} ({forest.class_of(f.family, f.member)}) "
        f"({forest.where(f.family, f.member)}): {f}"
        for f in found.values()
    ]


def notes(run: GroupRun) -> list[str]:
    """What the user should know of single Parms where their interval as a whole is good."""
    found = [f"{run.name} {text}" for text in _failures(run)]
    found += [f"{run.name} {text}" for text in _referred(run)] if run.reference else []
    found += [f"{run.name} {text}" for text in _free(run)]
    for parm in run.state.parms.values():
        unseen = (parm.status == Status.NO_DATA) | ~parm.fitted[:, None, None]
        blind = unseen & ~unseen.all(0) & parm.fitted[:, None, None]
        lost = (parm.status == Status.LOW_SNR) & parm.fitted[:, None, None]
        for where, why in ((blind, "no data"), (lost, "zero within the errors, hence no solution,")):
            often = where.sum((1, 2))
            names = [parm.names[i] for i in np.flatnonzero(often)]
            if names:
                some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
                text = f"{some}: {why} in {often.max()} of {counted(parm.status[0].size, 'interval')}"
                found.append(f"{run.name} {text}{' at most' if np.ptp(often[often > 0]) else ''}")
    return found


def _free(run: GroupRun) -> Iterator[str]:
    """Solvers whose Parms take one another's part: each converged, and no value of its own is known. What all antennas have in common is
    left free by nearly all equations, and goes without saying."""
    for solver, fitted in run.history.items():
        found: dict[str, None] = {}
        for item in fitted:
            for _, _, outcome in item.components:
                for number in np.unique(outcome.gauge[outcome.status == Status.CONVERGED]):
                    words = outcome.gauges[number].split("; ")
                    found |= dict.fromkeys(word for word in words if " between " in word or "pattern" in word)
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            yield f"{solver}: not determined: {'; '.join(list(found)[:3])}{more}: these values are one choice of many"


def _referred(run: GroupRun) -> Iterator[str]:
    """What was made zero at the reference antenna, and what took its place where it has no solution."""
    counts, coupled = Counter[str](), False
    for item in (item for fitted in run.history.values() for item in fitted):
        for _, _, outcome in item.components:
            coupled |= outcome.referred is None
            counts.update(outcome.referred or {})
    own = [f"{node} in {count}" for node, count in counts.items() if run.reference in node.split(":")[1:]]
    if own:
        more = f" and {len(own) - 4} more Parms" if len(own) > 4 else ""
        yield f"refers to {run.reference}: zero is the phase (or value) of {', '.join(own[:4])}{more} intervals"
    if coupled:
        yield f"has Parms that are tied to their neighbours: these do not refer to {run.reference}"
    elif not counts:
        yield f"leaves nothing free that could refer to {run.reference}"
    for node, count in counts.items():
        if run.reference not in node.split(":")[1:]:
            yield f"reference antenna {run.reference} has no solution in {counted(count, 'interval')}: {node} took its place there"


def _summary(solver: str, group: str, component: str, pieces: list[tuple[Fitted, Any, Any]]) -> SolverSummary:
    def joined(field: str) -> np.ndarray:
        return np.concatenate([getattr(outcome, field).reshape(item.intervals) for item, _, outcome in pieces])

    fields = ("status", "iterations", "chi2_start", "chi2", "dof", "rank", "condition")
    lost = np.concatenate([outcome.lost.sum(0).reshape(item.intervals) for item, _, outcome in pieces])
    gauges = list(dict.fromkeys(text for _, _, outcome in pieces for text in outcome.gauges))
    gauge = np.concatenate(
        [
            np.array([gauges.index(text) for text in outcome.gauges])[outcome.gauge].reshape(item.intervals)
            for item, _, outcome in pieces
        ]
    )
    arrays = {field: joined(field) for field in fields}
    unknowns = pieces[0][1].moving
    smooth = joined("smoothness") if all(outcome.smoothness is not None for _, _, outcome in pieces) else None
    return SolverSummary(
        solver, group, component, unknowns, lost=lost, gauge=gauge, gauges=gauges, smoothness=smooth, **arrays
    )
