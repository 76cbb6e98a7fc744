"""Gains that drift within the solution intervals of a term are taken out beforehand, slot by slot, and given up afterwards.

A bandpass over an hour of drifting phases would be fitted to what is left of an average, and an average over time of a source
that is not a point has another spectrum than the source: delays of 1 ns and bandpasses of 1 % come from that alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph.scope import Scope
from ..io.solutions import GroupSolutions, ParmTable, Solutions
from ..parms.intervals import freq_intervals, time_intervals
from ..status import Status
from ..trees import chain
from ..trees.terms import Placed, Term, term
from .averages import Averages, average, serve
from .config import Step
from .interpolate import NEAR
from .reference import Survey, refer
from .settling import complete

KEY = "drift"
ROUNDS = 2
"""The gains are fitted with the term at its guess, then with the term as they leave it."""

TRIES = 2
"""Averages are made with the term at its guess, and where that was not near enough with it as found."""

ENOUGH = 0.9
"""Gains slot by slot are of use where so many of those with data are solutions."""


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Gains per slot, or else per solution interval: the fixed term that takes them out, and their values x, y of each group;
    what they were found from, and where the solved term was then."""

    placed: Placed
    tables: Sequence[Sequence[ParmTable]]
    seen: Seen
    start: Solutions | None

    @property
    def averaged(self) -> bool:
        """Whether gains per slot were lost in the noise, and these are of the term's own intervals."""
        return self.placed.solint[0] != 1

    def give_back(self, step: Step, number: int, group: Any, own: dict[str, ParmTable]) -> None:
        """Put the mean gain over each solution interval into the solved term, where it can hold one."""
        slots = time_intervals(step.solint[0], group.time, group.interval, group.scan)
        slots = np.unique(slots) if self.averaged else slots
        means = {}
        for hand, table in zip("xy", self.tables[number], strict=True):
            row = {qualifiers[-1]: i for i, qualifiers in enumerate(table.qualifiers)}
            wanted = [row[qualifiers[-1]] for qualifiers in next(iter(own.values())).qualifiers]
            mean, found = _mean(table, slots)
            means[hand] = mean[wanted][..., None, None, None]
            for what, solved in own.items():
                if what[-1] == hand:  # what multiplies no signal is not known
                    nothing = ~found[wanted][..., None] & (solved.status == Status.CONVERGED)
                    solved.status = np.where(nothing, Status.LOW_SNR, solved.status)
        absorbed = step.term.absorb({what: table.values for what, table in own.items()}, means["x"], means["y"])
        for what, values in absorbed.items():
            own[what].values = values


def helps(step: Step, earlier: Sequence[Step], groups: Sequence[Any]) -> bool:
    """Whether a term is found apart from gains that drift: it is diagonal, has several channels and longer intervals than they.

    Terms that are phases only are, whatever their intervals: steps in phase are of the right size where the amplitude is.
    """
    if not step.term.diagonal or step.term.common or step.term.hands != "parallel":
        return False
    if any(not s.term.diagonal for s in earlier):
        return False
    gains = [_longest(s, groups) for s in earlier if _is_gain(s.term)]
    several = step.term.spectral or any(freq_intervals(step.solint[1], g.freq, g.width)[-1] for g in groups)
    if not gains:
        return bool(several and (step.term.spectral or _longest(step, groups) > 1))
    return bool(several and min(gains) >= _longest(step, groups) > 1)


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
    """Gains of what the fixed terms, and the solved one at its start, leave: per slot, or per solution interval where those are
    lost in the noise. None where both are.

    They are found from averages of the data where these serve as well. Outliers are told among samples, so not where those
    are looked for.
    """

    def gains(groups: Sequence[GroupSolutions], gain: Placed) -> list[list[ParmTable]] | None:
        return _gains(groups, gain, surveys, ref, together)

    whole = Seen(ms, left, right, fixed, hands, columns, memory, options)
    at, tries = start, TRIES if serve(solved.term, solved.solint, bool(options.get("robust"))) else 0
    for _ in range(tries):
        means = average(ms, left, right, fixed, solved, at, hands, columns, memory)
        if means is None:
            break
        drift = _in_turn(whole.averaged(means), solved, at, gains)
        if drift is None or drift.start is None or means.hold(drift.start.groups):
            return drift
        at = drift.start
    return _in_turn(whole, solved, start, gains)


def _in_turn(seen: Seen, solved: Placed, start: Solutions | None, gains: Any) -> Drift | None:
    """Gains, then the solved term given them, and again; per slot, or else per solution interval."""
    steady = replace(solved, fixed=dict.fromkeys(solved.term.params, (True, True)))
    for solint in dict.fromkeys((1, solved.solint[0])):
        gain = Placed(KEY, term("G"), solint=(solint, None), band=solved.band)
        drifting = replace(gain, fixed=dict.fromkeys(gain.term.params, (True, False)))
        made: list[list[ParmTable]] | None = None
        at = start
        for _ in range(ROUNDS):
            if made is not None:
                found = seen.solve([drifting, *seen.left, solved], solved.key, made, at)
                at = Solutions([replace(g, jones=[], solvers=[]) for g in found])
            known = [] if at is None else [group.parms for group in at.groups]
            made = gains(seen.solve([gain, *seen.left, *([] if at is None else [steady])], KEY, known, None), gain)
            if made is None:
                break
        if made is not None:
            return Drift(drifting, made, seen, at)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What gains are fitted to: data, the fixed terms to the left and right with their values, and how."""

    ms: Any
    left: Sequence[Placed]
    right: Sequence[Placed]
    fixed: Sequence[GroupSolutions]
    hands: str
    columns: tuple[str, str]
    memory: float | None
    options: Mapping[str, Any]

    def averaged(self, means: Averages) -> Seen:
        """Averages in place of the data: what is fixed is taken out already."""
        return replace(self, ms=means, left=[], right=[], fixed=[replace(group, parms=[]) for group in self.fixed])

    def solve(
        self, places: Sequence[Placed], key: str, known: Sequence[Sequence[ParmTable]], start: Solutions | None
    ) -> Sequence[GroupSolutions]:
        """The solutions of one term of a chain, with further Parms known."""
        ns = Scope()
        chain.solve(ns, self.ms, [*places, *self.right], [key], self.hands, self.columns, **self.options)
        fixed = Solutions(self.given(known))
        found = ns.forest().run(self.ms, memory=self.memory, progress=False, start=start, fixed=fixed)
        groups: Sequence[GroupSolutions] = found.tables.groups
        return groups

    def given(self, known: Sequence[Sequence[ParmTable]]) -> list[GroupSolutions]:
        """What is fixed, with further Parms of each group."""
        more = known or [()] * len(self.fixed)
        return [replace(group, parms=[*group.parms, *own]) for group, own in zip(self.fixed, more, strict=True)]


def _gains(
    groups: Sequence[GroupSolutions], gain: Placed, surveys: Sequence[Survey], ref: str | None, together: bool
) -> list[list[ParmTable]] | None:
    """x and y of each group, the reference antenna's phase taken out; None where too many are lost in the noise."""
    made = []
    for survey, tables in zip(surveys, groups, strict=True):
        found = {what: [t for t in tables.parms if t.label == f"{KEY}.{what}"] for what in gain.term.params}
        own = complete({what: one[0] if one else None for what, one in found.items()}, gain.term)
        status = np.stack([table.status for table in own.values()])
        good, there = np.isin(status, list(NEAR)), status != Status.NO_DATA
        if good.sum() < ENOUGH * there.sum():
            return None
        refer({KEY: (gain.term, own)}, survey.order(ref), survey.antennas, together)
        for table in own.values():
            table.status = np.where(np.isin(table.status, list(NEAR)), Status.CONVERGED, table.status)
        made.append(list(own.values()))
    return made


def _mean(table: ParmTable, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(antennas, intervals): mean amplitude, at the phase of the sum of unit phases, 1 where there is no solution; and where some is."""
    values = table.values[:, :, 0, 0, 0]
    size = np.where(table.status[:, :, 0] == Status.CONVERGED, np.abs(values), 0.0)
    unit = np.divide(values, size, where=size > 0, out=np.zeros_like(values))
    count, total, turned = (np.zeros((len(values), slots[-1] + 1), kind) for kind in (int, float, complex))
    for sums, parts in ((count, size > 0), (total, size), (turned, unit)):
        np.add.at(sums.T, slots, parts.T)
    return np.where(count > 0, total / np.maximum(count, 1) * np.exp(1j * np.angle(turned)), 1), count > 0
