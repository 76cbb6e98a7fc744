"""Solutions at the slots and channels of other data: which field's, and how between the cells of solutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, nearest
from ..funklets import on_cells
from ..io.caltable import CalTable, Values
from ..io.solutions import ParmTable
from ..parms.intervals import bounds
from ..status import Status
from ..trees.terms import Param, Placed, Term, term
from ..trees.terms.base import Band
from .jones import matrices
from .smoothing import smooth

SELECTS = ("nearest_time", "nearest_sky", "pinned", "all")
TIMES = ("exact", "nearest", "linear", "cubic")
FREQS = ("nearest", "linear", "cubic")
DOMAINS = ("amp_phase", "real_imag")
GOOD = frozenset({Status.CONVERGED})
NEAR = GOOD | {Status.ITERATION_LIMIT, Status.STALLED}
"""Solutions good enough for other terms to be solved with, though not all to correct data with."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How solutions are chosen and interpolated; see the module's tuples for what each may be.

    In time, `exact` takes the cell that holds a datum, good or not; all others pass over cells without a good solution.
    In frequency `nearest` does not.
    """

    select: str = "nearest_time"
    fields: tuple[str, ...] = ()
    """With `pinned`: the fields whose solutions are taken."""
    time: str = "nearest"
    freq: str = "nearest"
    domain: str = "amp_phase"
    smooth_time: float = 0.0
    """Full width at half maximum (s) of the Gaussian that smooths solutions in time first; 0: none."""
    smooth_freq: float = 0.0
    """The same in frequency, Hz."""
    good: frozenset[Status] = GOOD


def spread(
    tables: Sequence[CalTable], placed: Placed, group: Any, antennas: Sequence[str], rule: Rule
) -> list[ParmTable]:
    """The Parms of a term at all slots and channels of a group, from its tables of one spectral window (one per field).

    Antennas without solutions have status NO_DATA. Raises ConfigError where a pinned field has no solutions, DataError
    where the tables cannot be read as this term. Where the group is of several windows, each takes the tables of its own.
    """
    windows = getattr(group, "windows", {})
    if len(windows) > 1:
        return _over_windows(tables, placed, group, antennas, rule)
    chosen = _chosen(tables, group, rule)
    which = _per_slot(chosen, group, rule)
    made = []
    for what, param in placed.term.params.items():
        pieces = [_aligned(table, what, placed, antennas) for table in chosen]
        values, status = _spread(pieces, chosen, which, param, group, rule)
        made.append(_table(f"{placed.key}.{what}", antennas, values, status, group))
    return made


def _over_windows(
    tables: Sequence[CalTable], placed: Placed, group: Any, antennas: Sequence[str], rule: Rule
) -> list[ParmTable]:
    """The Parms at all channels of several windows; constant in frequency where they are so and the same in all."""
    parts = []
    for number, chans in group.windows.items():
        own = {name: getattr(group, name) for name in ("time", "interval", "scan", "field_name", "phase_dir")}
        part = SimpleNamespace(**own, freq=group.freq[chans], width=group.width[chans])
        parts.append((chans, spread([t for t in tables if t.spw == number], placed, part, antennas, rule)))
    made = []
    for k, what in enumerate(placed.term.params):
        found = [(chans, own[k].values[..., 0, 0], own[k].status) for chans, own in parts]
        nt = max(values.shape[1] for _, values, _ in found)
        first = found[0][1]
        same = all(v.shape[2] == 1 and v.shape == first.shape and np.array_equal(v, first) for _, v, _ in found)
        nf = 1 if same and all(np.array_equal(s, found[0][2]) for _, _, s in found) else group.freq.size
        values = np.zeros((len(first), nt, nf), first.dtype)
        status = np.zeros(values.shape, np.uint8)
        for chans, value, state in found:
            where = slice(None) if nf == 1 else chans
            values[:, :, where], status[:, :, where] = value, state
        made.append(_table(f"{placed.key}.{what}", antennas, values, status, group))
    return made


def referred(placed: Placed, tables: Sequence[CalTable]) -> tuple[Placed, list[CalTable]]:
    """A term at the reference frequency of its solutions; where they have several, the solutions brought to that of the term."""
    centres = [float(t.attrs["freq_ref"]) if t.parms and "freq_ref" in t.attrs else None for t in tables]
    known = {centre for centre in centres if centre is not None}
    if len(known) == 1 and None not in centres:
        return replace(placed, band=replace(placed.band, centre=known.pop())), list(tables)
    moved = []
    for table, centre in zip(tables, centres, strict=True):
        if centre is not None and centre != placed.band.centre:
            values = {what: v.values for what, v in table.parms.items()}
            new = placed.term.moved(values, centre, placed.band.centre)
            parms = {what: replace(v, values=new.get(what, v.values)) for what, v in table.parms.items()}
            table = replace(table, parms=parms)
        moved.append(table)
    return placed, moved


def _table(label: str, antennas: Sequence[str], values: np.ndarray, status: np.ndarray, group: Any) -> ParmTable:
    n, nt, nf = values.shape
    slots = np.arange(group.time.size) if nt > 1 else np.zeros(group.time.size, int)
    chans = np.arange(group.freq.size) if nf > 1 else np.zeros(group.freq.size, int)
    names = [f"{label}:{name}" for name in antennas] if n == len(antennas) and n > 1 else [label]
    return ParmTable(
        label,
        names,
        [tuple(name.split(":")[1:]) for name in names],
        values[..., None, None],
        np.full((*values.shape, 1, 1), np.nan),
        status,
        bounds(slots, group.time, group.interval),
        bounds(chans, group.freq, group.width),
    )


# Which field.


def _chosen(tables: Sequence[CalTable], group: Any, rule: Rule) -> list[CalTable]:
    """The tables that may be used, that of the data's own field first."""
    ordered = sorted(tables, key=lambda t: t.field != group.field_name)
    if rule.select == "pinned":
        known = [t.field for t in tables]
        for name in rule.fields:
            if name not in known:
                where = f"{tables[0].key}: there are no solutions of field {name!r}"
                raise ConfigError(f"{where}{nearest(name, known)}; there are those of {', '.join(known)}")
        ordered = [t for t in ordered if t.field in rule.fields]
    if rule.select == "nearest_sky":
        return [min(ordered, key=lambda t: _separation(t, group))]
    return ordered


def _separation(table: CalTable, group: Any) -> float:
    """Angle on the sky between the field of a table and that of the data; infinite where it is not known."""
    if "field_ra" not in table.attrs or not np.isfinite(group.phase_dir).all():
        return float("inf") if table.field != group.field_name else 0.0
    (ra, dec), (other, height) = group.phase_dir, (float(table.attrs[f"field_{c}"]) for c in ("ra", "dec"))
    cosine = np.sin(dec) * np.sin(height) + np.cos(dec) * np.cos(height) * np.cos(ra - other)
    return float(np.arccos(np.clip(cosine, -1, 1)))


def _per_slot(chosen: Sequence[CalTable], group: Any, rule: Rule) -> np.ndarray:
    """For every slot the table whose nearest good cell is closest; among equals the first."""
    if len(chosen) == 1 or rule.select == "all":
        return np.zeros(group.time.size, int)
    away = np.full((len(chosen), group.time.size), np.inf)
    for row, table in zip(away, chosen, strict=True):
        alive = ~table.flags.all((0, 1))
        if alive.any():
            edges = table.time_edges[alive]
            row[:] = _distance(group.time, edges).min(1)
    return np.asarray(np.floor(away * 1e3).argmin(0))


def _distance(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(points, cells): how far each point is outside each cell, 0 inside."""
    return np.maximum(edges[:, 0] - points[:, None], points[:, None] - edges[:, 1]).clip(0)


# From the cells of one table to slots and channels.


def _aligned(table: CalTable, what: str, placed: Placed, antennas: Sequence[str]) -> Values:
    """A Parm of a table with the antennas of the data; those that the table lacks have no data."""
    parm = table.parms.get(what)
    if parm is None:
        parm = _foreign(table, what, placed)
    if len(parm.values) == 1 and placed.term.common:
        return parm
    number = {name: i for i, name in enumerate(table.antennas)}
    rows = np.array([number.get(name, -1) for name in antennas])
    values, status = parm.values[rows], parm.status[rows].copy()
    status[rows < 0] = Status.NO_DATA
    return Values(values, parm.errors[rows], status)


def _foreign(table: CalTable, what: str, placed: Placed) -> Values:
    """A Parm of a table that holds matrices only."""
    delay = None if table.delay is None else table.delay.swapaxes(1, 2)
    found = placed.term.read(table.jones.swapaxes(1, 2), delay, placed.band.centre)
    if what not in found:
        kind = type(placed.term).name
        raise DataError(
            f"{table.key} of field {table.field!r}: its file has no Parms, and {kind} cannot be told from matrices"
        )
    values = np.asarray(found[what])
    status = np.where(table.flags.swapaxes(1, 2), Status.NO_DATA, Status.CONVERGED).astype(np.uint8)
    if placed.term.common:
        live = int(np.argmax(~table.flags.all((1, 2))))
        values, status = values[live : live + 1], status[live : live + 1]
    return Values(values[..., None, None], np.full((*values.shape, 1, 1), np.nan), status)


def _spread(
    pieces: Sequence[Values], tables: Sequence[CalTable], which: np.ndarray, param: Param, group: Any, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Values and statuses (n, nslot or 1, nchan or 1)."""
    if rule.select == "all":
        pieces, tables = [_together(pieces, tables)], [_in_order(tables)]
    used = np.unique(which)
    if used.size == 1:
        return _one(pieces[used[0]], tables[used[0]], param, group, slice(None), rule)
    n = len(pieces[0].values)
    parts = [(which == k, *_one(pieces[k], tables[k], param, group, which == k, rule)) for k in used]
    chans = max(values.shape[2] for _, values, _ in parts)
    values = np.zeros((n, group.time.size, chans), np.result_type(*(v for _, v, _ in parts)))
    status = np.zeros(values.shape, np.uint8)
    for mask, value, state in parts:
        values[:, mask], status[:, mask] = value, state
    return values, status


def _in_order(tables: Sequence[CalTable]) -> Any:
    """The cells in time of several tables, as one table has them."""
    edges = np.concatenate([t.time_edges for t in tables])
    time = np.concatenate([t.time for t in tables])
    order = np.argsort(time, kind="stable")
    first = tables[0]
    made = type("Cells", (), {"time": time[order], "time_edges": edges[order], "order": order})
    made.freq, made.freq_edges = first.freq, first.freq_edges  # type: ignore[attr-defined]
    return made


def _together(pieces: Sequence[Values], tables: Sequence[CalTable]) -> Values:
    order = _in_order(tables).order
    return Values(
        *(np.concatenate([getattr(p, k) for p in pieces], 1)[:, order] for k in ("values", "errors", "status"))
    )


def _one(parm: Values, table: Any, param: Param, group: Any, slots: Any, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """From one table to some slots of a group and all its channels."""
    good = np.isin(parm.status, list(rule.good)) & np.isfinite(parm.values).all((-1, -2))
    time = group.time[slots]
    if not param.shape.constant(parm.values.shape[3:]):
        if rule.smooth_time or rule.smooth_freq:
            raise ConfigError(
                f"smooth_time, smooth_freq: {table.key} is a function of time and frequency already; leave it out"
            )
        return _curves(parm, good, table, param, time, group.freq)
    for width, axis, centres in ((rule.smooth_time, 1, table.time), (rule.smooth_freq, 2, table.freq)):
        if width > 0 and centres.size > 1:
            parm = smooth(parm, good, centres, width, axis, param, rule.domain)
    values = parm.values[..., 0, 0]
    # Along time first: then the larger of the two axes is made last.
    values, good = _along(
        values, good, table.time, table.time_edges, time, rule.time, param, rule.domain, fill=rule.time != "exact"
    )
    turn = (0, 2, 1)
    values, good = _along(
        values.transpose(turn), good.transpose(turn), table.freq, table.freq_edges, group.freq, rule.freq, param,
        rule.domain, fill=rule.freq != "nearest",
    )  # fmt: skip
    values, good = values.transpose(turn), good.transpose(turn)
    return values, np.where(good, Status.CONVERGED, Status.NO_DATA).astype(np.uint8)


def _along(
    values: np.ndarray, good: np.ndarray, centres: np.ndarray, edges: np.ndarray, points: np.ndarray, method: str,
    param: Param, domain: str, fill: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Values (n, cells, m) at points of the second axis; `fill`: over cells without solutions, from the others."""
    if centres.size == 1:
        return values, good
    n, _, m = values.shape
    flat, fine = values.transpose(0, 2, 1).reshape(n * m, -1), good.transpose(0, 2, 1).reshape(n * m, -1)
    out = np.zeros((n * m, points.size), values.dtype)
    there = np.zeros(out.shape, bool)
    for rows, cells in _patterns(fine, fill):
        if not cells.any():
            continue
        kept = flat[rows][:, cells]
        if method in ("exact", "nearest") or kept.shape[1] == 1:
            place = _nearest(points, centres[cells], edges[cells])
            out[rows], there[rows] = kept[:, place], fine[rows][:, cells][:, place]
        else:
            out[rows] = _smooth(kept, centres[cells], points, method, param, domain)
            there[rows] = True
    shape = (n, m, points.size)
    return out.reshape(shape).transpose(0, 2, 1), there.reshape(shape).transpose(0, 2, 1)


def _patterns(fine: np.ndarray, fill: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows with the same good cells, and those cells; all rows and cells at once where holes stay."""
    if not fill or fine.all():
        yield np.arange(len(fine)), np.ones(fine.shape[1], bool)
        return
    kinds, of_row = np.unique(fine, axis=0, return_inverse=True)
    for number, cells in enumerate(kinds):
        yield np.flatnonzero(of_row.reshape(-1) == number), cells


def _nearest(points: np.ndarray, centres: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The cell that holds each point, else the nearest one: a long one is not lost to a short neighbour."""
    order = np.argsort(centres, kind="stable")
    right = np.searchsorted(centres[order], points).clip(0, centres.size - 1)
    pair = np.stack([order[(right - 1).clip(0)], order[right]])
    outside = np.maximum(edges[pair, 0] - points, points - edges[pair, 1]).clip(0)
    away = np.abs(centres[pair] - points)
    nearer = np.where(np.isclose(outside[0], outside[1]), away[1] < away[0], outside[1] < outside[0])
    return np.where(nearer, pair[1], pair[0])


def _smooth(
    kept: np.ndarray, centres: np.ndarray, points: np.ndarray, method: str, param: Param, domain: str
) -> np.ndarray:
    """Linear or cubic interpolation of rows, constant outside."""
    if np.iscomplexobj(kept):
        if domain == "real_imag":
            parts = [_curve(part, centres, points, method) for part in (kept.real, kept.imag)]
            return np.asarray(parts[0] + 1j * parts[1])
        amplitude = _curve(np.abs(kept), centres, points, method)
        return np.asarray(amplitude * np.exp(1j * _curve(np.unwrap(np.angle(kept), axis=1), centres, points, method)))
    return _curve(np.unwrap(kept, axis=1) if param.angle else kept, centres, points, method)


def _curve(rows: np.ndarray, centres: np.ndarray, points: np.ndarray, method: str) -> np.ndarray:
    inside = points.clip(centres[0], centres[-1])
    if method == "cubic" and centres.size >= 4:
        from scipy.interpolate import CubicSpline

        return np.asarray(CubicSpline(centres, rows, axis=1)(inside))
    right = np.searchsorted(centres, inside).clip(1, centres.size - 1)
    weight = (inside - centres[right - 1]) / (centres[right] - centres[right - 1])
    return np.asarray(rows[:, right - 1] * (1 - weight) + rows[:, right] * weight)


def _curves(
    parm: Values, good: np.ndarray, table: Any, param: Param, time: np.ndarray, freq: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Polynomials and other functions over solution intervals, each where it holds, at the nearest edge of the nearest outside."""
    t, f = _nearest(time, table.time, table.time_edges), _nearest(freq, table.freq, table.freq_edges)
    time, freq = time.clip(*table.time_edges[t].T), freq.clip(*table.freq_edges[f].T)
    coefs = np.moveaxis(parm.values, (1, 2), (3, 4))
    values = on_cells(param.shape, coefs, time, freq, table.time_edges, table.freq_edges, (t, f))
    status = np.where(good[:, t][:, :, f], Status.CONVERGED, Status.NO_DATA).astype(np.uint8)
    return np.broadcast_to(values, status.shape), status


def varying(made: Mapping[Any, Sequence[ParmTable]], placed: Placed) -> dict[str, tuple[bool, bool]]:
    """Parm -> whether it varies in (time, frequency) in any of some groups' tables, as `Placed.fixed` wants it."""
    found = {}
    for number, what in enumerate(placed.term.params):
        shapes = [tables[number].status.shape for tables in made.values()]
        found[what] = (any(s[1] > 1 for s in shapes), any(s[2] > 1 for s in shapes))
    return found


def evaluate(table: CalTable, time: np.ndarray, freq: np.ndarray, rule: Rule | None = None) -> np.ndarray:
    """The matrices of a table at times (s) and frequencies (Hz): (antenna, freq, time, 2, 2), NaN where it has no solution."""
    placed = Placed(
        table.key, kind_of(table), band=Band(float(table.attrs.get("freq_ref", np.mean(freq))), circular(table))
    )
    axes = {"time": time, "interval": np.zeros(time.size), "freq": freq, "width": np.zeros(freq.size)}
    group = SimpleNamespace(**axes, field_name=table.field, phase_dir=np.full(2, np.nan))
    parms = spread([table], placed, group, table.antennas, rule or Rule())
    shape = (time.size, freq.size)
    values = {}
    for what, parm in zip(placed.term.params, parms, strict=True):
        fine = np.where(parm.status == Status.CONVERGED, parm.values[..., 0, 0], np.nan)
        values[what] = np.broadcast_to(fine, (len(fine), *shape))
    return matrices(placed, table.antennas, values, time, freq)


def circular(table: CalTable) -> bool:
    """Whether a table is of circular feeds."""
    return str(table.attrs.get("feed_basis", "")).upper() == "CIRCULAR"


def kind_of(table: CalTable) -> Term:
    """The term of a table. A phase-only gain is stored as a gain, with phases for Parms. ConfigError where it is unknown."""
    made = term(table.kind)
    if table.parms and set(table.parms) != set(made.params):
        phases = term("GP")
        if set(table.parms) != set(phases.params):
            raise ConfigError(f"{table.key}: its Parms {', '.join(table.parms)} are not those of {table.kind}")
        return phases
    return made
