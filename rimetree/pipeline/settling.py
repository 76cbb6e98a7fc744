"""What terms keep of solved values, where a Parm was there for the fit only; and who takes what they give up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..io.solutions import ParmTable
from ..status import Status
from ..trees.terms import Term

Solved = Mapping[str, tuple[Term, dict[str, ParmTable]]]
"""Key -> a term and its Parms, by name."""


def complete(
    found: Mapping[str, ParmTable | None], term: Term, held: Mapping[str, str] | None = None
) -> dict[str, ParmTable]:
    """Parms of a hand that the data do not have, as nothing was solved: at their start, without an error; and those `held` at
    their start (Parm -> antenna), with an error of 0."""
    like = max((t for t in found.values() if t is not None), key=lambda t: len(t.names))
    made = {}
    for what, table in found.items():
        if table is None:
            label = f"{like.label.rpartition('.')[0]}.{what}"
            values = np.full((*like.status.shape, 1, 1), term.params[what].scalar)
            names = [":".join((label, *qualifiers)) for qualifiers in like.qualifiers]
            table = replace(like, label=label, names=names, values=values, errors=np.full(values.shape, np.nan))
        name = (held or {}).get(what)
        made[what] = table if name is None else _with_held(table, name, term.params[what].scalar)
    return made


def _with_held(table: ParmTable, antenna: str, start: complex | float) -> ParmTable:
    """A table with the row of an antenna whose Parm was held at its start."""
    if any(qualifiers[-1] == antenna for qualifiers in table.qualifiers):
        return table

    def more(values: np.ndarray, fill: complex) -> np.ndarray:
        return np.concatenate([values, np.full_like(values[:1], fill)])

    return replace(
        table,
        names=[*table.names, f"{table.label}:{antenna}"],
        qualifiers=[*table.qualifiers, (antenna,)],
        values=more(table.values, start),
        errors=more(table.errors, 0),
        status=more(table.status, Status.CONVERGED),
    )


def settle(solved: Solved, centre: float) -> None:
    """Keep what terms solved together keep, in place.

    A phase that one gives up, such as that of a cross-hand delay, goes to one solved with it that can hold it: only both
    together were fitted. `centre`: the reference frequency, Hz.
    """
    for key, (term, own) in solved.items():
        before = {what: table.values for what, table in own.items()}
        kept = term.settle(before, centre)
        given = {what: before[what] - values for what, values in kept.items() if what in term.gives_up}
        doubt = {what: _doubt(term, own, what, centre) for what in given}
        for what, values in kept.items():
            own[what].values = values
        takers = [s for k, s in solved.items() if k != key and s[0].common == term.common]
        if given and takers:
            _hand_over(term, own, given, doubt, *takers[0])


def _doubt(term: Term, own: Mapping[str, ParmTable], what: str, centre: float) -> np.ndarray:
    """Variance of what a term gives up of a Parm: of that, and of all that the part kept is made of (a phase that is the delay's)."""
    values = {name: table.values for name, table in own.items()}
    kept = term.settle(values, centre)[what]
    total: np.ndarray = own[what].errors ** 2
    for name, table in own.items():
        total = total + (term.settle(values | {name: values[name] + table.errors}, centre)[what] - kept) ** 2
    return total


def gather_cross_phase(solved: Solved, reference: str) -> None:
    """Move the phase between x and y of the reference antenna into the phase that all antennas share, where both were solved.

    Data leave free how they divide it. G D C = (G U^-1) (U D U^-1) (U C) with U = diag(1, exp(i b)); b is the mean over time.
    """
    takers = [term for term, _ in solved.values() if term.common and not term.spectral and term.hands == "cross"]
    if not takers or any(not term.diagonal and term.turned({}, 1, 1) is None for term, _ in solved.values()):
        return
    total = 1 + 0j
    for term, own in solved.values():
        tables = {what: table.values for what, table in own.items()}
        if term is takers[0]:
            for what, values in term.absorb(tables, np.ones(1), np.full(1, total)).items():
                own[what].values = values
            return  # what stands behind it is not passed
        if not term.diagonal:
            new = term.turned(tables, 1, total) or {}
        else:
            unit = _between(term, own, reference)
            new = term.absorb(tables, np.ones(1), np.full(1, np.conj(unit))) if unit != 1 else {}
            total = total * unit if new else total
        for what, values in new.items():
            own[what].values = values


def gather_cross_delay(solved: Solved, reference: str, centre: float) -> None:
    """Move the slope in frequency of the phase between x and y of the reference antenna's gains into the delay that all antennas
    share, where both were solved and nothing between them mixes x and y. `centre`: the reference frequency, Hz.

    diag(1, exp(2 pi i s (nu - centre))) is a delay s of x against y, but for a phase that x and y have in common.
    """
    for key, (taker, kept) in solved.items():
        if not (taker.common and taker.hands == "cross" and taker.delays):
            continue
        for term, own in list(solved.values())[: list(solved).index(key)][::-1]:
            if not term.diagonal:
                return
            table = own.get("y")
            row = None if table is None else _row(table, reference)
            if table is None or row is None or table.values.shape[2] < 2 or not np.iscomplexobj(table.values):
                continue
            away = table.freq.mean(1) - centre
            good = (table.status[row] == Status.CONVERGED).all(0)
            turns = np.unwrap(np.angle(table.values[row].sum(0)[good, 0, 0])) / (2 * np.pi)
            slope = np.polyfit(away[good], turns, 1)[0] if good.sum() > 1 else 0.0
            wave = np.exp(-2j * np.pi * slope * away)[None, None, :, None, None]
            for what, values in term.absorb({w: t.values for w, t in own.items()}, np.ones(1), wave).items():
                own[what].values = values
            kept[taker.delays[0]].values = kept[taker.delays[0]].values + slope


def _row(table: ParmTable, antenna: str) -> int | None:
    return next((i for i, qualifiers in enumerate(table.qualifiers) if qualifiers[-1:] == (antenna,)), None)


def _between(term: Term, own: Mapping[str, ParmTable], reference: str) -> complex:
    """exp(i phase) of y of the reference antenna, the mean over its solutions; 1 where there is none."""
    tables = [
        table for what, table in own.items()
        if term.params[what].refer == "y" and (term.params[what].angle or np.iscomplexobj(table.values))
    ]  # fmt: skip
    if term.common or not tables:
        return 1
    row = _row(tables[0], reference)
    if row is None:
        return 1
    good = tables[0].status[row] == Status.CONVERGED
    values = tables[0].values[row][good][..., 0, 0]
    mean = (values / np.abs(values) if np.iscomplexobj(values) else np.exp(1j * values)).sum()
    return complex(mean / abs(mean)) if abs(mean) > 0 else 1


def _hand_over(
    term: Term, own: Mapping[str, ParmTable], given: Mapping[str, np.ndarray], doubt: Mapping[str, np.ndarray],
    taker: Term, tables: dict[str, ParmTable],
) -> None:  # fmt: skip
    """Put phases given up into the taker; errors too, where they are of phases."""
    source, target = next(iter(own.values())), next(iter(tables.values()))
    cells = _cells(target.time, source.time), _cells(target.freq, source.freq)
    gains = {"x": np.ones((1, 1, 1, 1, 1), complex), "y": np.ones((1, 1, 1, 1, 1), complex)}
    for what, phase in given.items():
        gains[term.gives_up[what]] = np.exp(1j * phase[:, cells[0]][:, :, cells[1]])
    for what, values in taker.absorb({w: t.values for w, t in tables.items()}, gains["x"], gains["y"]).items():
        tables[what].values = values
        if taker.common and taker.params[what].angle:
            wider = sum(variance[:, cells[0]][:, :, cells[1]] for variance in doubt.values())
            tables[what].errors = np.sqrt(tables[what].errors ** 2 + wider)


def _cells(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """For every interval of one grid the interval of another whose centre is nearest to its own."""
    nearest: np.ndarray = np.abs(inner.mean(1)[:, None] - outer.mean(1)).argmin(1)
    return nearest
