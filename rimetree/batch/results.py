"""From a finished run to solution tables."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from ..io.solutions import GroupSolutions, JonesTable, ParmTable, SolverTable
from ..plan.subset import paths
from ..ring import Plane
from ..solve.result.report import Report
from ..status import Status
from .cascade import Cascade
from .grid import further
from .group import GroupRun
from .jones_errors import errors
from .summaries import summaries


def metadata(report: Report) -> dict[str, str | float | int]:
    """What is stored beside the solutions: data, date, versions."""
    try:
        own = version("rimetree")
    except PackageNotFoundError:
        own = "uninstalled"
    return {"data": report.data, "created": datetime.now(UTC).isoformat(timespec="seconds"), "rimetree": own}


def group_solutions(run: GroupRun) -> GroupSolutions:
    """All tables of one field and spectral window."""
    group = run.group
    solvers = []
    for s in summaries(run):
        time, freq = _grid_of(run, s.status.shape)
        solvers.append(
            SolverTable(
                name=s.solver,
                status=s.status[None],
                iterations=s.iterations[None],
                chi2_start=s.chi2_start[None],
                chi2=s.chi2[None],
                dof=s.dof[None],
                rank=s.rank[None],
                unknowns=np.full((1, *s.status.shape), s.unknowns),
                condition=s.condition[None],
                time=time,
                freq=freq,
                components=[s.component],
                gauge=s.gauge[None],
                gauges=s.gauges,
            )
        )
    return GroupSolutions(str(group.field_name), str(group.spw_id), _parms(run), _jones(run), solvers)


def _grid_of(run: GroupRun, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    for parm in run.state.parms.values():
        if parm.solvable and parm.status.shape[1:] == shape:
            return parm.time_bounds, parm.freq_bounds
    return np.full((shape[0], 2), np.nan), np.full((shape[1], 2), np.nan)


def _parms(run: GroupRun) -> list[ParmTable]:
    """One table per label; a family may hold several labels, and a label may need several families."""
    tables: dict[str, ParmTable] = {}
    for parm in run.state.parms.values():
        if not parm.solvable:
            continue
        labels = np.array([name.split(":")[0] for name in parm.names])
        values, errors = (a.transpose(0, 3, 4, 1, 2) for a in (parm.coefs, parm.errors))
        for label in dict.fromkeys(labels.tolist()):
            own = np.flatnonzero((labels == label) & parm.fitted)
            if not own.size:
                continue
            names = [parm.names[i] for i in own]
            qualifiers = [tuple(name.split(":")[1:]) for name in names]
            unique = label
            while unique in tables:
                unique += "'"
            tables[unique] = ParmTable(
                unique,
                names,
                qualifiers,
                values[own],
                errors[own],
                parm.status[own],
                parm.time_bounds,
                parm.freq_bounds,
                parm.funklet,
            )
    return list(tables.values())


def _jones(run: GroupRun) -> list[JonesTable]:
    """2x2 families with one antenna as qualifier that depend on solved parameters, evaluated on their own axes."""
    families, state = run.families, run.state
    known = state.known(families)
    tables: list[JonesTable] = []
    if further(run.group):
        return tables
    for number, family in families.items():
        solved = [n for n in known[number].parms if state.parms[n].solvable]
        if not solved or known[number].data or family.cls.role != "compute" or run.templates[number][0] != (2, 2):
            continue
        names = [run.found.forest.qualifiers(number, m) for m in range(family.size)]
        if any(len(q) != 1 for q in names):
            continue
        label = run.found.forest.name_of(number, 0).split(":")[0]
        tables.append(_jones_table(run, number, label, [str(q[0]) for q in names], solved))
    return tables


def _jones_table(run: GroupRun, number: int, label: str, antennas: list[str], solved: list[int]) -> JonesTable:
    state, group = run.state, run.group
    cascade = Cascade(run.families, [number], run.templates, state, run.visibilities.data)
    tile = type("Slots", (), {"start": 0, "stop": group.time.size, "group": group})
    tensor = cascade.tensors(tile)[number]
    planes = [np.asarray(e.array) if isinstance(e, Plane) else np.full((1, 1, 1), e) for e in tensor.elements]
    shape = np.broadcast_shapes(*(p.shape for p in planes))
    known = errors(cascade, number, tile, solved, planes)
    full, sigma = (
        np.broadcast_to(np.stack([np.broadcast_to(p, shape) for p in parts], -1), (len(antennas), *shape[1:], 4))
        for parts in (planes, known)
    )
    slots, time = _axis([state.parms[n].slot_interval for n in solved], group.time, full.swapaxes(0, 1))
    chans, freq = _axis([state.parms[n].chan_interval for n in solved], group.freq, full.swapaxes(0, 2))
    bad = np.zeros((len(antennas), group.time.size, group.freq.size), bool)
    for n, members in paths(run.families, number, np.arange(len(antennas)), solved):
        parm = state.parms[n]
        wrong = (parm.status[members] != Status.CONVERGED) & parm.fitted[members, None, None]
        bad |= wrong[:, parm.slot_interval][:, :, parm.chan_interval]
    t, f = slots if shape[1] > 1 else np.zeros_like(slots), chans if shape[2] > 1 else np.zeros_like(chans)
    jones, spread = (
        a[:, t][:, :, f].transpose(0, 2, 1, 3).reshape(len(antennas), len(chans), len(slots), 2, 2)
        for a in (full.astype(complex), sigma)
    )
    flags = bad[:, slots][:, :, chans].transpose(0, 2, 1)
    basis = {"X": "linear", "R": "circular"}.get((group.corrs or ("",))[0][:1], "")
    return JonesTable(label, antennas, jones, flags, time, freq, spread, basis)


def _axis(intervals: list[np.ndarray], centres: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells at which to take the Jones, and their centres: one per common interval where the `values` (cells or 1, ...) are
    constant in it, else all."""
    changes = np.zeros(centres.size, bool)
    changes[0] = True
    for interval in intervals:
        changes[1:] |= np.diff(interval) != 0
    starts, label = np.flatnonzero(changes), np.cumsum(changes) - 1
    within = len(values) > 1 and starts.size < centres.size
    if within and not np.array_equal(values[starts][label], values, equal_nan=True):
        return np.arange(centres.size), centres
    return starts, np.bincount(label, centres) / np.bincount(label)
