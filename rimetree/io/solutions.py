"""Solutions: what a run found, saved to and loaded from HDF5 files (layout: `solution_file`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from ..status import Status, counts
from .atomic import check_writable, write_atomically
from .parm_lookup import NOWHERE, Index, apart, looked_up, patches, span
from .solution_file import Meta, decode, encode
from .solution_tables import GroupSolutions, JonesTable, ParmTable, SolverTable

__all__ = ["GroupSolutions", "JonesTable", "ParmTable", "Solutions", "SolverTable", "check_writable", "info"]


@dataclass(slots=True, eq=False)
class Solutions:
    """All solutions of a run, or of several: a group per field and spectral window; `meta` says what was solved, when, by what.

    As a table of parameters: `parm` gives arrays, which may be changed in place and saved; `evaluate` looks up by name and domain;
    `put` adds what another run found; `forest.run(ms, start=solutions)` and `fixed=` use them.
    """

    groups: list[GroupSolutions]
    meta: Meta = field(default_factory=dict)
    beyond: frozenset[str] = NOWHERE
    """Axes along which the nearest interval holds where none does (see `nearest`); not saved."""

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write an HDF5 file, whole or not at all. DataError where it exists or cannot be written."""
        check_writable(path, overwrite)
        write_atomically(path, encode(self.groups, self.meta), overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Solutions:
        """Read a file made by `save`. DataError where it is missing, damaged or of another kind or version."""
        return cls(*decode(Path(path)))

    def parm(self, name: str, field: str | None = None, spw: str | int | None = None) -> ParmTable:
        """The solutions of one Parm ("gx:m001", a table with n = 1), or of all Parms of a label ("gx").

        Its arrays are those of the solutions: what is changed in them is changed here. Raises DataError where there is none, or
        where several fields, spectral windows or runs have it and none was chosen.
        """
        tables = [(g, t) for g, t in self._chosen(field, spw) if name == t.label or name in t.names]
        if len(tables) == 1:
            table = tables[0][1]
            return table.rows(slice(i := table.names.index(name), i + 1)) if name in table.names else table
        if tables:
            places = ", ".join(f"field {g.field!r} spw {g.spw!r} {span(t.time, 's')}" for g, t in tables)
            raise DataError(
                f"Parm {name!r} was solved for {places}: say which with field= and spw=, or take it from groups"
            )
        raise self._unknown(name, field, spw)

    def evaluate(
        self,
        name: str,
        time: Any,
        freq: Any,
        field: str | None = None,
        spw: str | int | None = None,
        function: Callable[..., Any] | None = None,
    ) -> np.ndarray:
        """Values (T, F) of a Parm at `time` (s) and `freq` (Hz), each a number or an array; NaN where it has no valid solution.

        Where the intervals of several tables hold, that of the last one put in counts. `function`: that of a Parm that is a function
        of its user's, where it is not loaded. Raises DataError where there is no such Parm, or no interval in any of these cells.
        """
        index = Index({id(g): g for g, _ in self._chosen(field, spw)}.values())
        tables = index.tables(name)
        if not tables:
            raise self._unknown(name, field, spw)
        t, f = np.atleast_1d(np.asarray(time, float)), np.atleast_1d(np.asarray(freq, float))
        if not (t.ndim == f.ndim == 1 and t.size and f.size and np.isfinite(t).all() and np.isfinite(f).all()):
            raise DataError(f"Parm {name!r}: time and freq must be finite numbers or 1-D arrays of them, in s and Hz")
        only = [table for table, _ in tables]
        values, status = looked_up(only, [np.array([row]) for _, row in tables], t, f, self.beyond, function)
        if (status == Status.NO_DATA).all() and not any(patches(only, t, f, self.beyond)):
            raise DataError(f"Parm {name!r} has no solution there: {apart(only, t, f)}")
        return np.where(status[0] == Status.CONVERGED, values[0], np.nan)

    def put(self, other: Solutions) -> None:
        """Add the solutions of another run. Tables of the same Parms and domain take the place of those that are here."""
        new = {_key(group, table) for group in other.groups for table in group.parms}
        left = [(g, [t for t in g.parms if _key(g, t) not in new]) for g in self.groups]
        # What is left of a run of which all Parms have been replaced says nothing any more.
        kept = [replace(g, parms=parms) for g, parms in left if parms or not g.parms]
        self.groups[:] = kept + [replace(g) for g in other.groups]

    def nearest(self, *axes: str) -> Solutions:
        """The same solutions, which hold outside their domain too: along "time", "freq" or both, as the nearest does."""
        wrong = [axis for axis in axes if axis not in ("time", "freq")]
        if wrong or not axes:
            raise DataError(f'nearest takes "time", "freq" or both, not {wrong[0] if wrong else "nothing"!r}')
        return replace(self, beyond=frozenset(axes))

    def plot(self, folder: str | Path) -> list[Path]:
        """Draw all solutions as PNG files in `folder`; returns their paths. DataError where it cannot be written."""
        from .plots import plot

        return plot(self, folder)

    def _chosen(self, field: str | None, spw: str | int | None) -> list[tuple[GroupSolutions, ParmTable]]:
        groups = [g for g in self.groups if (field is None or g.field == field) and (spw is None or g.spw == str(spw))]
        return [(g, t) for g in groups for t in g.parms]

    def _unknown(self, name: str, field: str | None, spw: str | int | None) -> DataError:
        tables = [t for _, t in self._chosen(field, spw)]
        labels = ", ".join(sorted({t.label for t in tables})) or "none"
        near = nearest(name, [word for t in tables for word in (t.label, *t.names)])
        return DataError(f"there are no solutions of Parm {name!r}{near}; solved Parms: {labels}")


def _key(group: GroupSolutions, table: ParmTable) -> tuple[Any, ...]:
    """What is equal for tables of the same Parms on the same domain."""
    return group.field, group.spw, table.label, tuple(table.names), table.time.tobytes(), table.freq.tobytes()


def info(path: str | Path) -> str:
    """A plain-text summary of a solution file: what it belongs to, terms and their shapes, statuses, chi-squared."""
    solutions = Solutions.load(path)
    lines = [f"{path}: rimetree solutions, {Path(path).stat().st_size / 1e6:.2f} MB"]
    lines += [f"  {key}: {value}" for key, value in solutions.meta.items() if "\n" not in str(value)]
    for group in solutions.groups:
        lines.append(f"field {group.field}, spw {group.spw}")
        lines += [f"  Jones {t.label}: {_describe_jones(t)}" for t in group.jones]
        lines += [f"  Parm {t.label}: {_describe_parm(t)}" for t in group.parms]
        lines += [f"  Solver {t.name}{_describe_solver(t)}" for t in group.solvers]
    return "\n".join(lines)


def _describe_jones(table: JonesTable) -> str:
    antennas, freqs, times = table.flags.shape
    basis = f", {table.feed_basis} feeds" if table.feed_basis else ""
    flagged = 100 * table.flags.mean() if table.flags.size else 0.0
    return f"{antennas} antennas x {freqs} frequencies x {times} times{basis}, {flagged:.3g} % flagged"


def _describe_parm(table: ParmTable) -> str:
    n, nt, nf, powers_t, powers_f = table.values.shape
    kind = "complex" if np.iscomplexobj(table.values) else "real"
    curve = table.funklet.kind
    plain = powers_t * powers_f == 1 and curve == "polynomial"
    shape = "" if plain else f", {powers_t} x {powers_f} coefficients of a {curve}"
    return f"{n} {kind} x {nt} time x {nf} frequency intervals{shape}: {counts(table.status)}"


def _describe_solver(table: SolverTable) -> str:
    good = (table.status == Status.CONVERGED) & (table.dof > 0)
    reduced = f"{table.chi2[good].sum() / table.dof[good].sum():.5g}" if good.any() else "unknown"
    its = table.iterations
    spent = f"{int(np.median(its))} (most {its.max()})" if its.size else "none"
    names = [c for c in table.components if c]
    which = f" [{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}]" if names else ""
    free = [text for i, text in enumerate(table.gauges) if text and (table.gauge == i).any()]
    lines = [f"\n    free in {(table.gauge == table.gauges.index(text)).sum()} intervals: {text}" for text in free]
    return f"{which}: {counts(table.status)}; chi2/dof {reduced}; iterations {spent}{''.join(lines)}"
