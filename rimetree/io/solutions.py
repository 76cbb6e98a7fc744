"""Solutions: what a run found, saved to and loaded from HDF5 files (layout: `solution_file`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import DataError, nearest
from ..status import Status
from .atomic import check_writable, write_atomically
from .solution_file import Meta, decode, encode
from .solution_tables import GroupSolutions, JonesTable, ParmTable, SolverTable

__all__ = ["GroupSolutions", "JonesTable", "ParmTable", "Solutions", "SolverTable", "check_writable", "counts", "info"]


@dataclass(slots=True, eq=False)
class Solutions:
    """All solutions of a run: a group per field and spectral window; `meta` says what was solved, when, by what."""

    groups: list[GroupSolutions]
    meta: Meta = field(default_factory=dict)

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

        Raises DataError where there is none, or where several fields or spectral windows have it and none was chosen.
        """
        chosen = [g for g in self.groups if (field is None or g.field == field) and (spw is None or g.spw == str(spw))]
        tables = [(g, _pick(t, name)) for g in chosen for t in g.parms if name == t.label or name in t.names]
        if len(tables) == 1:
            return tables[0][1]
        if tables:
            places = ", ".join(f"field {g.field!r} spw {g.spw!r}" for g, _ in tables)
            raise DataError(f"Parm {name!r} was solved for {places}: say which with field= and spw=")
        known = [word for g in chosen for t in g.parms for word in (t.label, *t.names)]
        labels = ", ".join(sorted({t.label for g in chosen for t in g.parms})) or "none"
        raise DataError(f"there are no solutions of Parm {name!r}{nearest(name, known)}; solved Parms: {labels}")


def _pick(table: ParmTable, name: str) -> ParmTable:
    if name not in table.names:
        return table
    row = slice(i := table.names.index(name), i + 1)
    return replace(
        table,
        names=table.names[row],
        qualifiers=table.qualifiers[row],
        values=table.values[row],
        errors=table.errors[row],
        status=table.status[row],
    )


def counts(status: np.ndarray) -> str:
    """`110 converged, 2 no data`: how many intervals ended how; codes of a newer rimetree are shown as numbers."""
    codes, numbers = np.unique(status, return_counts=True)
    known = {int(s): s.word for s in Status}
    return ", ".join(f"{n} {known.get(int(c), f'status {c}')}" for c, n in zip(codes, numbers, strict=True)) or "none"


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
    shape = "" if powers_t * powers_f == 1 else f", {powers_t} x {powers_f} coefficients"
    return f"{n} {kind} x {nt} time x {nf} frequency intervals{shape}: {counts(table.status)}"


def _describe_solver(table: SolverTable) -> str:
    good = (table.status == Status.CONVERGED) & (table.dof > 0)
    reduced = f"{table.chi2[good].sum() / table.dof[good].sum():.4f}" if good.any() else "unknown"
    its = table.iterations
    spent = f"{int(np.median(its))} (most {its.max()})" if its.size else "none"
    names = [c for c in table.components if c]
    which = f" [{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}]" if names else ""
    free = [text for i, text in enumerate(table.gauges) if text and (table.gauge == i).any()]
    lines = [f"\n    free in {(table.gauge == table.gauges.index(text)).sum()} intervals: {text}" for text in free]
    return f"{which}: {counts(table.status)}; chi2/dof {reduced}; iterations {spent}{''.join(lines)}"
