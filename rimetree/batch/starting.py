"""Starting and fixed values of Parms from earlier solutions, looked up by name and by domain in time and frequency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from ..funklets import Polynomial, on_cells, to_text
from ..io.parm_lookup import Index, apart, interval_of, looked_up
from ..io.solution_tables import ParmTable
from ..parms.intervals import bounds
from .state import ParmState, State

SAMPLES = 24
"""Most cells per coefficient and axis of a solution interval at which an earlier solution is taken over into another function."""

Where = Callable[[int, int], str]
"""Name and script line of a member of a family."""


class Starting:
    """Earlier solutions: `start` for solvable Parms, `fixed` for the others."""

    def __init__(self, start: _Source | None = None, fixed: _Source | None = None) -> None:
        self.start, self.fixed = start, fixed

    @classmethod
    def of(cls, start: Any, fixed: Any) -> Starting:
        """From paths or Solutions. Raises DataError where a file cannot be read."""
        return cls(_Source.of("start", start), _Source.of("fixed", fixed))

    def fill(self, state: State, group: Any, where: Where) -> None:
        """Overwrite the initial values of Parms that are found by name; one that is not found keeps its own.

        A fixed Parm becomes what the tables say in each cell, and has no solution in cells of which they say nothing. Raises DataError
        where the tables of a Parm hold in no cell at all, or are of another function than its own that cannot be taken over.
        """
        for number, parm in state.parms.items():
            for source, which in ((self.start, parm.fitted), (self.fixed, ~parm.fitted)):
                held = source.held(parm, np.flatnonzero(which), group) if source else []
                for part in held:
                    _overlap(part, group, where(number, int(part.members[0])))
                if held and not parm.solvable:
                    state.parms[number] = _given(parm, held, group)
                else:
                    parm.begun |= bool(held)
                    for part in held:
                        _begin(state, number, part, group, where(number, int(part.members[0])))
                        _exact(state, number, part, where)

    def check(self) -> None:
        """Raises DataError where solutions were given of which not one Parm was found."""
        for source in (self.start, self.fixed):
            if (
                source is not None
                and source.wanted
                and source.index.found
                and not source.wanted & set(source.index.found)
            ):
                first = min(source.wanted)
                labels = ", ".join(sorted({name.split(":")[0] for name in source.index.found}))
                near = nearest(first, source.index.found)
                kind = "solvable" if source is self.start else "fixed"
                raise DataError(
                    f"{source.name} has none of the {kind} Parms here, such as {first}{near}; it has {labels}"
                )


@dataclass(slots=True, eq=False)
class _Source:
    """Solutions by name of Parm; `wanted`: all names that were asked for."""

    name: str
    index: Index
    beyond: frozenset[str]
    wanted: set[str]

    @classmethod
    def of(cls, word: str, given: Any) -> _Source | None:
        if given is None:
            return None
        from ..io.solutions import Solutions

        loaded = given if hasattr(given, "groups") else Solutions.load(given)
        return cls(f"{word}=" if given is loaded else str(given), Index(loaded.groups), loaded.beyond, set())

    def held(self, parm: ParmState, members: np.ndarray, group: Any) -> list[_Held]:
        """The members that are in tables, those of the same tables together."""
        found: dict[tuple[int, ...], list[tuple[int, list[tuple[ParmTable, int]]]]] = {}
        for member in members.tolist():
            self.wanted.add(parm.names[member])
            tables = self.index.tables(parm.names[member], str(group.field_name), str(group.spw_id))
            if tables:
                found.setdefault(tuple(id(t) for t, _ in tables), []).append((member, tables))
        return [
            _Held(
                self,
                np.array([m for m, _ in own]),
                [t for t, _ in own[0][1]],
                [np.array([tables[k][1] for _, tables in own]) for k in range(len(own[0][1]))],
            )
            for own in found.values()
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Members of a family that are in the same tables, in these rows of each."""

    source: _Source
    members: np.ndarray
    tables: list[ParmTable]
    rows: list[np.ndarray]

    def at(self, time: np.ndarray, freq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and statuses (member, T, F)."""
        return looked_up(self.tables, self.rows, time, freq, self.source.beyond)

    def labels(self, axis: str, points: np.ndarray) -> Iterator[np.ndarray]:
        """For every table and every point a number that is equal where the values are."""
        for table in self.tables:
            if axis in table.function().axes(table.values.shape[3:]):
                yield np.arange(points.size)
            yield interval_of(getattr(table, axis), points, axis in self.source.beyond)


def _overlap(part: _Held, group: Any, node: str) -> None:
    """DataError where no table holds in any cell."""
    t, f = (
        [interval_of(getattr(table, axis), points, axis in part.source.beyond).max() >= 0 for table in part.tables]
        for axis, points in (("time", group.time), ("freq", group.freq))
    )
    if not any(a and b for a, b in zip(t, f, strict=True)):
        raise DataError(
            f"{node}: {part.source.name} says nothing about these data: {apart(part.tables, group.time, group.freq)}; "
            'to take the nearest, give rt.Solutions.load(...).nearest("time"), "freq" or both'
        )


def _given(parm: ParmState, held: list[_Held], group: Any) -> ParmState:
    """A Parm that is not fitted, as what tables say, on the largest cells on which that is constant."""
    own = parm.slot_interval, parm.chan_interval
    labels = []
    for axis, points, interval in (("time", group.time, own[0]), ("freq", group.freq, own[1])):
        keys = [label for part in held for label in part.labels(axis, points)]
        if sum(len(part.members) for part in held) < len(parm.names):
            keys += [interval, *([np.arange(points.size)] if axis in parm.varying else [])]
        changes = np.any([np.diff(key) != 0 for key in keys], axis=0)
        labels.append(np.concatenate([[0], np.cumsum(changes)]))
    first = [np.unique(label, return_index=True)[1] for label in labels]
    time, freq = group.time[first[0]], group.freq[first[1]]
    shape = (len(parm.names), time.size, freq.size)
    at = own[0][first[0]], own[1][first[1]]
    values = np.array(
        np.broadcast_to(on_cells(parm.funklet, parm.coefs, time, freq, parm.time_bounds, parm.freq_bounds, at), shape)
    )
    status = np.array(parm.status[:, at[0]][:, :, at[1]])
    for part in held:
        found, codes = part.at(time, freq)
        values, found = _alike(values, found, parm, part)
        values[part.members], status[part.members] = found, codes
    return replace(
        parm,
        funklet=Polynomial(),
        coefs=values[:, None, None],
        errors=np.full((shape[0], 1, 1, *shape[1:]), np.nan),
        status=status,
        slot_interval=labels[0],
        chan_interval=labels[1],
        time_bounds=bounds(labels[0], group.time, group.interval),
        freq_bounds=bounds(labels[1], group.freq, group.width),
    )


def _alike(values: np.ndarray, found: np.ndarray, parm: ParmState, part: _Held) -> tuple[np.ndarray, np.ndarray]:
    """Found values as real as a Parm's. Raises DataError where they are not."""
    if np.iscomplexobj(found) and not np.iscomplexobj(values):
        if np.nan_to_num(found.imag).any():
            name = parm.names[part.members[0]]
            raise DataError(
                f"{name}: its solutions in {part.source.name} are complex, but it is real; start it from 1+0j"
            )
        found = found.real
    return values, found


def _begin(state: State, number: int, part: _Held, group: Any, node: str) -> None:
    """Starting coefficients of members from what tables say: at the centre of each interval, or fitted to it over the interval."""
    parm = state.parms[number]
    if not parm.funklet.linear:
        _same_function(parm, part, node)
        return
    shape = parm.coefs.shape[1:3]
    axes = (parm.slot_interval, group.time, parm.time_bounds), (parm.chan_interval, group.freq, parm.freq_bounds)
    if parm.funklet.constant(shape):
        t, f = (_central(interval, centres, edges) for interval, centres, edges in axes)
        values, codes = part.at(group.time[t], group.freq[f])
        _, values = _alike(parm.coefs, values, parm, part)
        parm.coefs[part.members, 0, 0] = np.where(np.isfinite(values), values, parm.coefs[part.members, 0, 0])
        _keep_status(parm, part.members, codes)
        return
    for i in range(len(parm.time_bounds)):
        for j in range(len(parm.freq_bounds)):
            same = _same(parm, part, i, j)
            if same is not None:
                parm.coefs[part.members, :, :, i, j] = same
                continue
            slots, chans = (_some(interval == k, n) for (interval, _, _), k, n in zip(axes, (i, j), shape, strict=True))
            values, _ = part.at(group.time[slots], group.freq[chans])
            _, values = _alike(parm.coefs, values, parm, part)
            basis = state.prepared([number], slots[None], chans[None])[number]
            matrix = np.stack([np.broadcast_to(b, (1, slots.size, 1, chans.size)).ravel() for b in basis], 1)
            for member, own in zip(part.members, values.reshape(len(values), -1), strict=True):
                good = np.isfinite(own)
                if good.any():
                    parm.coefs[member, :, :, i, j] = np.linalg.lstsq(matrix[good], own[good])[0].reshape(shape)


def _exact(state: State, number: int, part: _Held, where: Where) -> None:
    """DataError where a member that is not fitted, beside others that are, varies more than the family can."""
    parm, group = state.parms[number], state.group
    fixed = ~parm.fitted[part.members]
    if not fixed.any():
        return
    slots, chans = (
        np.unique(np.linspace(0, n - 1, min(n, 256)).astype(int)) for n in (group.time.size, group.freq.size)
    )
    own = np.broadcast_to(state.plane(number, slice(None)), (len(parm.names), group.time.size, group.freq.size))
    found = part.at(group.time[slots], group.freq[chans])[0][fixed]
    here = own[part.members[fixed]][:, slots][:, :, chans]
    if np.isfinite(found).any() and np.nanmax(abs(found - here)) > 1e-9 * np.nanmax(abs(found)):
        raise DataError(
            f"{where(number, int(part.members[fixed][0]))}: its solutions in {part.source.name} vary within its solution intervals, "
            "which it shares with Parms that are solved; give it another solint or funklet than these have"
        )


def _keep_status(parm: ParmState, members: np.ndarray, codes: np.ndarray) -> None:
    """A member that is not fitted has the status that the tables say."""
    fixed = ~parm.fitted[members]
    parm.status[members[fixed]] = codes[fixed]


def _central(interval: np.ndarray, centres: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Of every interval the cell that is nearest to its centre."""
    away = abs(centres - edges.mean(1)[interval])
    order = np.lexsort((away, interval))
    return order[np.unique(interval[order], return_index=True)[1]]


def _some(chosen: np.ndarray, coefficients: int) -> np.ndarray:
    """Numbers of the chosen cells, or of enough of them for so many coefficients."""
    cells = np.flatnonzero(chosen)
    return cells[np.unique(np.linspace(0, cells.size - 1, min(cells.size, SAMPLES * coefficients)).round().astype(int))]


def _same(parm: ParmState, part: _Held, i: int, j: int) -> np.ndarray | None:
    """The coefficients (member, ...) of a table with the same function on the same interval."""
    for table, rows in zip(part.tables, part.rows, strict=True):
        if to_text(table.funklet) != to_text(parm.funklet) or table.values.shape[3:] != parm.coefs.shape[1:3]:
            continue
        t = np.flatnonzero(np.isclose(table.time, parm.time_bounds[i], rtol=0, atol=1e-6).all(1))
        f = np.flatnonzero(np.isclose(table.freq, parm.freq_bounds[j], rtol=1e-12).all(1))
        if t.size and f.size:
            values: np.ndarray = table.values[rows][:, t[0], f[0]]
            return values if np.iscomplexobj(parm.coefs) else values.real
    return None


def _same_function(parm: ParmState, part: _Held, node: str) -> None:
    """Coefficients of a user's function are taken from tables of the same one, at the centre of each interval."""
    text, shape = to_text(parm.funklet), parm.coefs.shape[1:3]
    fitting = [k for k, t in enumerate(part.tables) if to_text(t.funklet) == text and t.values.shape[3:] == shape]
    if not fitting:
        raise DataError(f"{node}: its solutions in {part.source.name} are not coefficients of its function {text}")
    for k in reversed(fitting):
        table, rows = part.tables[k], part.rows[k]
        t = interval_of(table.time, parm.time_bounds.mean(1), "time" in part.source.beyond)
        f = interval_of(table.freq, parm.freq_bounds.mean(1), "freq" in part.source.beyond)
        for i in np.flatnonzero(t >= 0):
            for j in np.flatnonzero(f >= 0):
                parm.coefs[part.members, :, :, i, j] = table.values[rows][:, t[i], f[j]]
