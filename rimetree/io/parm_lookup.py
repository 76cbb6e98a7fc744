"""Parameter tables looked up by name and domain: which solution interval of which table holds in which cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ..status import Status
from .solution_tables import GroupSolutions, ParmTable

NOWHERE = frozenset[str]()
EPOCH = datetime(1858, 11, 17)
"""MJD 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Cells (numbers `times` and `freqs`) in which intervals (t and f, one per time and one per frequency) of a table hold."""

    table: ParmTable
    times: np.ndarray
    freqs: np.ndarray
    t: np.ndarray
    f: np.ndarray


class Index:
    """Where the Parms of some groups are: names, each with the tables that hold it."""

    def __init__(self, groups: Iterable[GroupSolutions]) -> None:
        self.found: dict[str, list[tuple[GroupSolutions, ParmTable, int]]] = {}
        for group in groups:
            for table in group.parms:
                for row, name in enumerate(table.names):
                    self.found.setdefault(name, []).append((group, table, row))

    def tables(self, name: str, field: str | None = None, spw: str | None = None) -> list[tuple[ParmTable, int]]:
        """Tables that hold a Parm, and its row: those of this spectral window and field first, of equal ones those put in last."""
        held = reversed(self.found.get(name, []))
        order = sorted(
            held, key=lambda h: (spw is not None and h[0].spw != spw, field is not None and h[0].field != field)
        )
        return [(table, row) for _, table, row in order]


def patches(
    tables: Sequence[ParmTable], time: np.ndarray, freq: np.ndarray, beyond: frozenset[str] = NOWHERE
) -> Iterator[Patch]:
    """What the tables say of cells at `time` (T,) and `freq` (F,), each cell by the first table that holds there.

    Cells outside all intervals are left out, unless their axis is among `beyond`: then the nearest interval holds.
    """
    free = np.ones((time.size, freq.size), bool)
    yield from _patches(tables, time, freq, NOWHERE, free)
    if beyond and free.any():
        order = sorted(tables, key=lambda table: (_gap(table.freq, freq), _gap(table.time, time)))
        yield from _patches(order, time, freq, beyond, free)


def _patches(
    tables: Sequence[ParmTable], time: np.ndarray, freq: np.ndarray, beyond: frozenset[str], free: np.ndarray
) -> Iterator[Patch]:
    """Those in cells that are still `free`, which they then are no more."""
    for table in tables:
        t = interval_of(table.time, time, "time" in beyond)
        f = interval_of(table.freq, freq, "freq" in beyond)
        mine = free & (t >= 0)[:, None] & (f >= 0)
        free &= ~mine
        rows = np.flatnonzero(mine.any(1))
        while rows.size:  # once, where nothing else holds in part of it
            columns = np.flatnonzero(mine[rows[0]])
            alike = (mine[rows] == mine[rows[0]]).all(1)
            yield Patch(table, rows[alike], columns, t[rows[alike]], f[columns])
            rows = rows[~alike]


def interval_of(edges: np.ndarray, points: np.ndarray, nearest: bool = False) -> np.ndarray:
    """Of every point the interval (edges (n, 2)) that holds it, the narrowest of several; -1, or the nearest, where there is none."""
    low, high = edges.min(1), edges.max(1)
    slack = 1e-9 * (high - low)
    order = np.argsort(low, kind="stable")
    place = order[(np.searchsorted(low[order], points, side="right") - 1).clip(0)]
    found = np.where((points >= low[place]) & (points <= high[place] + slack[place]), place, -1)
    if (low[order][1:] < (high - slack)[order][:-1]).any():  # intervals overlap
        for i in np.argsort(low - high, kind="stable"):
            found[(points >= low[i]) & (points <= high[i])] = i
    rest = np.flatnonzero(found < 0)
    if nearest and rest.size:
        found[rest] = np.maximum(low[:, None] - points[rest], points[rest] - high[:, None]).argmin(0)
    return found


def _gap(edges: np.ndarray, points: np.ndarray) -> float:
    """How far the intervals of a table are from points; 0 where they reach them."""
    return max(float(edges.min() - points.max()), float(points.min() - edges.max()), 0.0)


def looked_up(
    tables: Sequence[ParmTable],
    rows: Sequence[np.ndarray],
    time: np.ndarray,
    freq: np.ndarray,
    beyond: frozenset[str] = NOWHERE,
    function: Callable[..., Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Values and statuses (n, T, F) of n Parms, in these rows of each table: NaN and NO_DATA where no table says anything."""
    kind = complex if any(np.iscomplexobj(t.values) for t in tables) else float
    values = np.full((len(rows[0]), time.size, freq.size), np.nan, kind)
    status = np.full(values.shape, Status.NO_DATA, np.uint8)
    for patch in patches(tables, time, freq, beyond):
        own = patch.table.rows(rows[[t is patch.table for t in tables].index(True)])
        found = own.on(time[patch.times], freq[patch.freqs], (patch.t, patch.f), function)
        if np.iscomplexobj(found) and not np.iscomplexobj(values):
            values = values.astype(complex)
        cells = np.ix_(np.arange(len(values)), patch.times, patch.freqs)
        values[cells], status[cells] = found, own.status[:, patch.t][:, :, patch.f]
    return values, status


def apart(tables: Sequence[ParmTable], time: np.ndarray, freq: np.ndarray) -> str:
    """In words, what tables hold, and where the cells are that are outside them."""
    domains = [f"{span(t.time, 's')}, {span(t.freq, 'Hz')}" for t in tables]
    held = "; ".join(domains[:3]) + (f" and {len(domains) - 3} more" if len(domains) > 3 else "")
    return f"its tables hold for {held}, and not for {span(time, 's')}, {span(freq, 'Hz')}"


def span(values: np.ndarray, unit: str) -> str:
    """`100 to 200 MHz`, or from date to date for times of observations."""
    low, high = float(np.min(values)), float(np.max(values))
    if unit == "s" and low > 1e8:
        dates = [str(EPOCH + timedelta(seconds=round(v))) for v in (low, high)]
        return f"{dates[0]} to {dates[1].removeprefix(dates[0][:11])}"
    return f"{low:.6g} to {high:.6g} {unit}"
