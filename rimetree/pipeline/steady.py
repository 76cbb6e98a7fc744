"""Gains that drift within the solution intervals of a term are taken out beforehand, slot by slot, and given up afterwards.

A bandpass over an hour of drifting phases would be fitted to what is left of an average, and an average over time of a source
that is not a point has another spectrum than the source: delays of 1 ns and bandpasses of 1 % come from that alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph.scope import Scope
from ..io.solutions import GroupSolutions, ParmTable, Solutions
from ..parms.intervals import freq_intervals, time_intervals
from ..status import Status
from ..trees import chain
from ..trees.terms import Placed, Term, term
from .config import Step
from .interpolate import NEAR
from .reference import Survey, refer

KEY = "drift"
ROUNDS = 2
"""The gains are fitted with the term at its guess, then with the term as they leave it."""

ENOUGH = 0.9
"""Gains slot by slot are of use where so many of those with data are solutions."""


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Gains per slot: the fixed term that takes them out, and their values x, y of each group."""

    placed: Placed
    tables: Sequence[Sequence[ParmTable]]

    def give_back(self, step: Step, number: int, group: Any, own: dict[str, ParmTable]) -> None:
        """Put the mean gain over each solution interval into the solved term, where it can hold one."""
        slots = time_intervals(step.solint[0], group.time, group.interval, group.scan)
        means = []
        for table in self.tables[number]:
            row = {qualifiers[-1]: i for i, qualifiers in enumerate(table.qualifiers)}
            wanted = [row[qualifiers[-1]] for qualifiers in next(iter(own.values())).qualifiers]
            means.append(_mean(table, slots)[wanted][..., None, None, None])
        absorbed = step.term.absorb({what: table.values for what, table in own.items()}, *means)
        for what, values in absorbed.items():
            own[what].values = values


def helps(step: Step, earlier: Sequence[Step], groups: Sequence[Any]) -> bool:
    """Whether a term is found apart from gains that drift: it is diagonal, has several channels and longer intervals than they."""
    if not step.term.diagonal or step.term.common or step.term.hands != "parallel":
        return False
    if any(not s.term.diagonal for s in earlier):
        return False
    shortest = min([1 << 30, *(_longest(s, groups) for s in earlier if _is_gain(s.term))])
    several = step.term.spectral or any(freq_intervals(step.solint[1], g.freq, g.width)[-1] for g in groups)
    return bool(several and _longest(step, groups) > 1 and shortest >= _longest(step, groups))


def _is_gain(of: Term) -> bool:
    return of.diagonal and not of.common and not of.spectral and any(p.refer for p in of.params.values())


def _longest(step: Step, groups: Sequence[Any]) -> int:
    """Slots in the longest solution interval."""
    return max(int(np.bincount(time_intervals(step.solint[0], g.time, g.interval, g.scan)).max()) for g in groups)


def fit(
    ms: Any, left: Sequence[Placed], right: Sequence[Placed], fixed: Sequence[GroupSolutions], solved: Placed,
    start: Solutions | None, surveys: Sequence[Survey], ref: str | None, hands: str, together: bool,
    columns: tuple[str, str], memory: float | None, **options: Any,
) -> Drift | None:  # fmt: skip
    """Gains per slot of what the fixed terms, and the solved one at its start, leave. None where they are lost in the noise."""
    gain = Placed(KEY, term("G"), solint=(1, None), band=solved.band)
    drifting = replace(gain, fixed=dict.fromkeys(gain.term.params, (True, False)))
    steady = replace(solved, fixed=dict.fromkeys(solved.term.params, (True, True)))

    def report(places: Sequence[Placed], key: str, given: Sequence[GroupSolutions], start: Solutions | None) -> Any:
        ns = Scope()
        chain.solve(ns, ms, [*places, *right], [key], hands, columns, **options)
        return ns.forest().run(ms, memory=memory, progress=False, start=start, fixed=Solutions(list(given)))

    made = None
    for _ in range(ROUNDS):
        if made is not None:
            found = report([drifting, *left, solved], solved.key, _with(fixed, made), start)
            start = Solutions([replace(g, jones=[], solvers=[]) for g in found.tables.groups])
        given = fixed if start is None else _with(fixed, [group.parms for group in start.groups])
        after = report([gain, *left, *([] if start is None else [steady])], KEY, given, None)
        made = []
        for survey, tables in zip(surveys, after.tables.groups, strict=True):
            own = {what: next(t for t in tables.parms if t.label == f"{KEY}.{what}") for what in gain.term.params}
            status = np.stack([table.status for table in own.values()])
            good, there = np.isin(status, list(NEAR)), status != Status.NO_DATA
            if good.sum() < ENOUGH * there.sum():
                return None
            refer({KEY: (gain.term, own)}, survey.order(ref), survey.antennas, together)
            for table in own.values():
                table.status = np.where(np.isin(table.status, list(NEAR)), Status.CONVERGED, table.status)
            made.append(list(own.values()))
    assert made is not None
    return Drift(drifting, made)


def _with(groups: Sequence[GroupSolutions], more: Sequence[Sequence[ParmTable]]) -> list[GroupSolutions]:
    return [replace(group, parms=[*group.parms, *tables]) for group, tables in zip(groups, more, strict=True)]


def _mean(table: ParmTable, slots: np.ndarray) -> np.ndarray:
    """(antennas, intervals): mean amplitude, at the phase of the sum of unit phases; 1 where there is no solution."""
    values = table.values[:, :, 0, 0, 0]
    size = np.where(table.status[:, :, 0] == Status.CONVERGED, np.abs(values), 0.0)
    unit = np.divide(values, size, where=size > 0, out=np.zeros_like(values))
    count, total, turned = (np.zeros((len(values), slots[-1] + 1), kind) for kind in (int, float, complex))
    for sums, parts in ((count, size > 0), (total, size), (turned, unit)):
        np.add.at(sums.T, slots, parts.T)
    mean: np.ndarray = np.where(count > 0, total / np.maximum(count, 1) * np.exp(1j * np.angle(turned)), 1)
    return mean
