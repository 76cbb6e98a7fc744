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


def complete(found: Mapping[str, ParmTable | None], term: Term) -> dict[str, ParmTable]:
    """Parms of a hand that the data do not have, as nothing was solved: at their start, without an error."""
    like = next(table for table in found.values() if table is not None)
    made = {}
    for what, table in found.items():
        if table is None:
            label = f"{like.label.rpartition('.')[0]}.{what}"
            values = np.full((*like.status.shape, 1, 1), term.params[what].scalar)
            names = [":".join((label, *qualifiers)) for qualifiers in like.qualifiers]
            table = replace(like, label=label, names=names, values=values, errors=np.full(values.shape, np.nan))
        made[what] = table
    return made


def settle(solved: Solved, centre: float) -> None:
    """Keep what terms solved together keep, in place.

    A phase that one gives up, such as that of a cross-hand delay, goes to one solved with it that can hold it: only both
    together were fitted. `centre`: the reference frequency, Hz.
    """
    for key, (term, own) in solved.items():
        kept = term.settle({what: table.values for what, table in own.items()}, centre)
        given = {what: own[what].values - values for what, values in kept.items() if what in term.gives_up}
        for what, values in kept.items():
            own[what].values = values
        takers = [s for k, s in solved.items() if k != key and s[0].common == term.common]
        if given and takers:
            _hand_over(term, own, given, *takers[0])


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


def _between(term: Term, own: Mapping[str, ParmTable], reference: str) -> complex:
    """exp(i phase) of y of the reference antenna, the mean over its solutions; 1 where there is none."""
    tables = [
        table for what, table in own.items()
        if term.params[what].refer == "y" and (term.params[what].angle or np.iscomplexobj(table.values))
    ]  # fmt: skip
    if term.common or not tables:
        return 1
    row = next((i for i, q in enumerate(tables[0].qualifiers) if q[-1] == reference), None)
    if row is None:
        return 1
    good = tables[0].status[row] == Status.CONVERGED
    values = tables[0].values[row][good][..., 0, 0]
    mean = (values / np.abs(values) if np.iscomplexobj(values) else np.exp(1j * values)).sum()
    return complex(mean / abs(mean)) if abs(mean) > 0 else 1


def _hand_over(
    term: Term, own: Mapping[str, ParmTable], given: Mapping[str, np.ndarray], taker: Term, tables: dict[str, ParmTable]
) -> None:
    source, target = next(iter(own.values())), next(iter(tables.values()))
    cells = _cells(target.time, source.time), _cells(target.freq, source.freq)
    gains = {"x": np.ones((1, 1, 1, 1, 1), complex), "y": np.ones((1, 1, 1, 1, 1), complex)}
    for what, phase in given.items():
        gains[term.gives_up[what]] = np.exp(1j * phase[:, cells[0]][:, :, cells[1]])
    for what, values in taker.absorb({w: t.values for w, t in tables.items()}, gains["x"], gains["y"]).items():
        tables[what].values = values


def _cells(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """For every interval of one grid the interval of another whose centre is nearest to its own."""
    nearest: np.ndarray = np.abs(inner.mean(1)[:, None] - outer.mean(1)).argmin(1)
    return nearest
