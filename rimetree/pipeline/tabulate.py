"""From a finished fit to calibration tables, and from tables to where a fit starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..io.caltable import CalTable, Values, worst
from ..io.solutions import GroupSolutions, ParmTable, Solutions, SolverTable
from ..parms.intervals import bounds, freq_intervals, time_intervals
from ..status import Status
from ..trees.terms import Placed
from .interpolate import kind_of
from .jones import matrices
from .settling import complete


def tabulate(
    placed: Placed,
    kind: str,
    group: Any,
    antennas: Sequence[str],
    parms: Mapping[str, ParmTable],
    solvers: Sequence[SolverTable],
    attrs: Mapping[str, Any],
) -> CalTable:
    """The table of a solved term from its Parms, of one group of data."""
    slots = time_intervals(placed.solint[0], group.time, group.interval, group.scan)
    chans = freq_intervals(placed.solint[1], group.freq, group.width)
    time, freq = (np.bincount(i, x) / np.bincount(i) for i, x in ((slots, group.time), (chans, group.freq)))
    first = np.flatnonzero(np.diff(slots, prepend=-1))
    values = {what: _ordered(table, antennas, placed) for what, table in parms.items()}
    cells = np.arange(time.size), np.arange(freq.size)
    centres = {what: _curve(parms[what], values[what]).on(time, freq, cells) for what in values}
    jones = matrices(placed, antennas, centres, time, freq)
    status = worst(values, len(antennas))
    flags = (status != Status.CONVERGED) | ~np.isfinite(jones).all((-1, -2))
    return CalTable(
        placed.key,
        kind,
        str(group.field_name),
        int(group.spw_id),
        list(antennas),
        time,
        bounds(slots, group.time, group.interval),
        freq,
        bounds(chans, group.freq, group.width),
        np.asarray(group.scan)[first],
        jones,
        flags,
        _errors(placed, values, jones.shape),
        values,
        _delay(placed, centres, len(antennas)),
        _stats(placed.key, solvers, time.size, freq.size),
        dict(attrs),
    )


def evaluated(
    placed: Placed, antennas: Sequence[str], tables: GroupSolutions, group: Any, freq: np.ndarray, slots: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices (nant, nfreq, nslot, 2, 2) of a solved term at some slots of a group, and statuses (nant, nslot).

    `freq` (Hz): any, in the one solution interval in frequency that the term has.
    """
    found: dict[str, ParmTable | None] = dict.fromkeys(placed.term.params)
    found |= {what: table for table in tables.parms for what in found if table.label == f"{placed.key}.{what}"}
    own = complete(found, placed.term)
    inside = time_intervals(placed.solint[0], group.time, group.interval, group.scan)[slots]
    cells, time = (inside, np.zeros(freq.size, int)), group.time[slots]
    values = {what: _ordered(table, antennas, placed) for what, table in own.items()}
    curves = {what: _curve(own[what], values[what]).on(time, freq, cells) for what in values}
    return matrices(placed, antennas, curves, time, freq), worst(values, len(antennas))[:, 0, inside]


def _ordered(table: ParmTable, antennas: Sequence[str], placed: Placed) -> Values:
    """Values by antenna; an antenna whose Parm was held has the start's value, without error."""
    if placed.term.common:
        return Values(table.values, table.errors, table.status)
    what = table.label.rpartition(".")[2]
    row = {q[-1]: i for i, q in enumerate(table.qualifiers)}
    index = np.array([row.get(name, -1) for name in antennas])
    values, errors, status = table.values[index], table.errors[index], table.status[index].copy()
    held = index < 0
    if held.any():
        param = placed.term.params[what]
        values[held] = np.reshape(param.shape.starting(param.start), values.shape[3:])
        errors[held], status[held] = 0, Status.CONVERGED
    return Values(values, errors, status)


def _curve(solved: ParmTable, values: Values) -> ParmTable:
    """A table with other values."""
    names = [str(i) for i in range(len(values.values))]
    return replace(solved, names=names, values=values.values)


def _errors(placed: Placed, values: Mapping[str, Values], shape: tuple[int, ...]) -> np.ndarray:
    """1 sigma of the matrices' elements, NaN where it takes more than the Parms' own errors to tell."""
    if not all(placed.term.params[what].shape.constant(v.values.shape[3:]) for what, v in values.items()):
        return np.full(shape, np.nan)
    errors = {
        what: np.broadcast_to(v.errors[..., 0, 0], (shape[0], *v.errors.shape[1:3])) for what, v in values.items()
    }
    found = placed.term.errors(errors)
    return np.full(shape, np.nan) if found is None else np.asarray(found.swapaxes(1, 2))


def _delay(placed: Placed, values: Mapping[str, np.ndarray], antennas: int) -> np.ndarray | None:
    """(antenna, freq, time, 2) s."""
    names = placed.term.delays
    if not names:
        return None
    found = [np.broadcast_to(values[name], (antennas, *values[name].shape[1:])) for name in names]
    found += [np.zeros_like(found[0])] * (2 - len(found))
    return np.stack(found, -1).swapaxes(1, 2)


def _stats(key: str, solvers: Sequence[SolverTable], nt: int, nf: int) -> dict[str, np.ndarray]:
    """Per cell (freq, time): whether all components converged, the worst status, iterations, chi-squared before and after, and
    degrees of freedom."""
    own = [s for s in solvers if s.status.shape[1:] == (nt, nf) and any(f"{key}." in c for c in s.components)]
    if not own:
        return {}
    status = np.concatenate([s.status for s in own])
    fine = (status == Status.CONVERGED) | (status == Status.NO_DATA)
    converged = (fine.all(0) & (status == Status.CONVERGED).any(0)).T
    worst = np.where(status == Status.NO_DATA, Status.CONVERGED, status).max(0)
    before, chi2 = (np.nansum([getattr(s, name).sum(0) for s in own], 0).T for name in ("chi2_start", "chi2"))
    return {
        "converged": converged,
        "status": np.where((status == Status.NO_DATA).all(0), Status.NO_DATA, worst).astype(np.uint8).T,
        "n_iter": np.max([s.iterations.max(0) for s in own], 0).T.astype(np.int64),
        "cost": chi2 / 2,
        "chi2_start": before,
        "chi2": chi2,
        "dof": np.sum([s.dof.sum(0) for s in own], 0).T.astype(np.int64),
    }


def start_tables(tables: Sequence[CalTable], groups: Sequence[Any]) -> Solutions:
    """Solutions that a fit on some groups starts from."""
    found = []
    for group in groups:
        parms = []
        for table in tables:
            if table.field == str(group.field_name):
                for what, v in table.parms.items():
                    made = _parm(f"{table.key}.{what}", table.antennas, v, table.time_edges, table.freq_edges)
                    parms.append(replace(made, funklet=kind_of(table).params[what].shape))
        found.append(GroupSolutions(str(group.field_name), str(group.spw_id), parms, [], []))
    return Solutions(found)


def tabulate_guess(
    placed: Placed, found: Mapping[str, np.ndarray], group: Any, antennas: Sequence[str]
) -> GroupSolutions:
    """Starting values (nant or 1, ncell), cells numbered t * nf + f, as solutions of a group."""
    slots = time_intervals(placed.solint[0], group.time, group.interval, group.scan)
    chans = freq_intervals(placed.solint[1], group.freq, group.width)
    times, freqs = bounds(slots, group.time, group.interval), bounds(chans, group.freq, group.width)
    parms = []
    for what, cells in found.items():
        values = cells.reshape(len(cells), len(times), len(freqs), 1, 1)
        fine = Values(values, np.full(values.shape, np.nan), np.full(values.shape[:3], Status.CONVERGED, np.uint8))
        parms.append(_parm(f"{placed.key}.{what}", antennas, fine, times, freqs))
    return GroupSolutions(str(group.field_name), str(group.spw_id), parms, [], [])


def angle_table(key: str, antennas: Sequence[str], values: np.ndarray, group: Any) -> ParmTable:
    """Known angles (nant, nslot) rad as solutions."""
    whole = values[:, :, None, None, None]
    fine = Values(whole, np.full(whole.shape, np.nan), np.full(whole.shape[:3], Status.CONVERGED, np.uint8))
    slots, band = np.arange(group.time.size), np.zeros(group.freq.size, int)
    times, freqs = bounds(slots, group.time, group.interval), bounds(band, group.freq, group.width)
    return _parm(f"{key}.angle", antennas, fine, times, freqs)


def _parm(label: str, antennas: Sequence[str], values: Values, time: np.ndarray, freq: np.ndarray) -> ParmTable:
    names = [f"{label}:{name}" for name in antennas] if len(values.values) == len(antennas) else [label]
    qualifiers = [tuple(name.split(":")[1:]) for name in names]
    return ParmTable(label, names, qualifiers, values.values, values.errors, values.status, time, freq)
