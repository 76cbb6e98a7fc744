"""Solution files in words and pictures."""

from __future__ import annotations

import base64
import html
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError
from ..io.caltable import CalFile, CalTable
from ..io.selection import runs
from ..io.solutions import GroupSolutions, JonesTable, ParmTable, Solutions, SolverTable
from ..status import counts
from ..trees.terms.base import Param
from .interpolate import kind_of


def info(path: str | Path) -> str:
    """A plain-text summary of a solution file: what it belongs to, terms with their shapes and statuses."""
    file = CalFile.load(path)
    lines = [f"{path}: {', '.join(file.keys)}; {Path(path).stat().st_size / 1e6:.2f} MB"]
    lines += [f"  {key}: {value}" for key, value in file.meta.items() if key not in ("config", "done")]
    for table in file.tables:
        a, f, t = table.flags.shape
        place = f"{table.key} {table.field or '(all fields)'}, spw {table.spw}"
        numbers = json.loads(table.attrs.get("scans", "null")) or np.unique(
            table.scan
        )  # that of a cell is its first one
        scans = f"scans {runs(numbers)}"
        reference = table.attrs.get("ref_ant_name", "unknown")
        flagged = 100 * table.flags.mean() if table.flags.size else 0.0
        lines.append(
            f"  {place}: {a} antennas x {f} freq x {t} time, {scans}, reference {reference}, {flagged:.3g} % flagged"
        )
        status = [p.status.ravel() for p in table.parms.values()]
        lines += [f"    {counts(np.concatenate(status))}{_reduced(table)}"] if status else []
    return "\n".join(lines + _flux_lines(file))


def _reduced(table: CalTable) -> str:
    if "dof" not in table.stats or not table.stats["dof"].sum():
        return ""
    return f"; chi2/dof {np.nansum(table.stats['chi2']) / table.stats['dof'].sum():.5g}"


def fluxscale_info(path: str | Path) -> str:
    """The flux scales in a solution file. DataError where it has none."""
    file = CalFile.load(path)
    if not file.flux:
        raise DataError(f"{path} holds no flux scales; they are made by a fluxscale block")
    return "\n".join([str(path), *_flux_lines(file)])


def _flux_lines(file: CalFile) -> list[str]:
    lines = []
    for (name, spw), a in file.flux.items():
        text = f"  fluxscale {name}, spw {spw}, from {a.get('reference_field', '?')}: gains x {a['scale_p']:.6g}, {a['scale_q']:.6g}"
        if "flux" in a:
            text += f"; {a['flux']:.6g} +- {a['flux_error']:.2g} Jy at {a['freq'] / 1e9:.6g} GHz"
        if "spectral_index" in a:
            text += f"; spectral index {a['spectral_index']:.4g} +- {a['spectral_index_error']:.2g}"
        lines.append(f"{text} ({a['n_ant']} antennas)")
    return lines


def as_solutions(tables: Iterable[CalTable]) -> Solutions:
    """Tables as the plots take them: matrices, and Parms that are no elements of them, such as delays."""
    groups: dict[tuple[str, int], GroupSolutions] = {}
    for table in tables:
        group = groups.setdefault((table.field, table.spw), GroupSolutions(table.field, str(table.spw), [], [], []))
        basis = str(table.attrs.get("feed_basis", "")).lower()
        if table.delay is None or table.freq.size > 1:
            group.jones.append(
                JonesTable(
                    table.key, table.antennas, table.jones, table.flags, table.time, table.freq, table.errors, basis
                )
            )
        group.solvers.extend(_convergence(table))
        for what, parm in table.parms.items():
            if not np.iscomplexobj(parm.values) and (
                table.delay is not None or what not in ("x", "y", "phase_x", "phase_y")
            ):
                label = f"{table.key}.{what}"
                names = [f"{label}:{a}" for a in table.antennas] if len(parm.values) == len(table.antennas) else [label]
                group.parms.append(
                    ParmTable(
                        label,
                        names,
                        [tuple(n.split(":")[1:]) for n in names],
                        parm.values,
                        parm.errors,
                        parm.status,
                        table.time_edges,
                        table.freq_edges,
                        _param(table, what).shape,
                    )
                )
    return Solutions(list(groups.values()))


def _param(table: CalTable, what: str) -> Param:
    """What the term says of a Parm: its function and unit. Those of a term that is not here are drawn as bare polynomials."""
    try:
        return kind_of(table).params[what]
    except (ConfigError, KeyError):
        return Param(0.0)


def _convergence(table: CalTable) -> Iterator[SolverTable]:
    """How the cells of a term were solved, where the file says so (ALAKAZAM's do not)."""
    if not {"status", "chi2_start"} <= table.stats.keys():
        return
    own = {name: table.stats[name].T[None] for name in ("status", "chi2_start", "chi2", "dof")}
    unknown = np.zeros(own["status"].shape, int)
    yield SolverTable(
        table.key, iterations=table.stats["n_iter"].T[None], rank=unknown, unknowns=unknown, condition=unknown * np.nan,
        time=table.time_edges, freq=table.freq_edges, components=[""], gauge=unknown, gauges=[""], **own,
    )  # fmt: skip


def plot(path: str | Path, folder: str | Path) -> list[Path]:
    """Draw all solutions of a file as PNG files in a folder. DataError where a file cannot be read or written."""
    return _draw(CalFile.load(path), folder)


def _draw(file: CalFile, folder: str | Path) -> list[Path]:
    from ..io.plots import plot as draw

    units = {f"{t.key}.{what}": _param(t, what).unit for t in file.tables for what in t.parms}
    return draw(as_solutions(file.tables), folder, units)


def write_page(config: Any, report: Any, path: str) -> str:
    """One HTML page on a run: what was done to which data by which versions, a table of all solutions, all plots."""
    from ..io.atomic import write_atomically

    text = "\n".join(_page(config, report))
    write_atomically(path, text.encode(), overwrite=True)
    return path


STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ddd;padding:.25rem .8rem;text-align:left}"
    "pre{background:#f6f6f6;padding:1rem;overflow-x:auto}img{max-width:100%;margin:.5rem 0}.bad{color:#b00020}"
)


def _page(config: Any, report: Any) -> Iterator[str]:
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>rimetree report</title><style>{STYLE}</style>"
    yield f"<h1>Calibration report</h1><p>{html.escape(_made(report))}</p>"
    yield f"<h2>Summary</h2>{_summary(report)}"
    if report.scales:
        yield "<h2>Flux scales</h2><ul>" + "".join(f"<li>{html.escape(str(s))}</li>" for s in report.scales) + "</ul>"
    yield f"<h2>What was done</h2><pre>{html.escape(str(report))}</pre>"
    import yaml

    chosen = config.model_dump(mode="json", exclude_defaults=True)
    yield f"<h2>Configuration</h2><pre>{html.escape(yaml.safe_dump(chosen, sort_keys=False))}</pre>"
    for path, file in report.files.items():
        yield f"<h2>{html.escape(path)}</h2>"
        with tempfile.TemporaryDirectory() as folder:
            for picture in _draw(file, folder):
                data = base64.b64encode(picture.read_bytes()).decode()
                name = html.escape(picture.stem)
                yield f'<h3>{name}</h3><img alt="{name}" src="data:image/png;base64,{data}">'


def _made(report: Any) -> str:
    from datetime import UTC, datetime
    from importlib.metadata import PackageNotFoundError, version

    parts = []
    for name in ("rimetree", "numpy", "jax", "numba", "python-casacore"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} (not installed)")
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {report.seconds:.1f} s; {', '.join(parts)}"


def _summary(report: Any) -> str:
    head = "".join(
        f"<th>{h}</th>" for h in ("file", "term", "field", "spw", "cells", "flagged", "converged", "chi2/dof")
    )
    rows = []
    for path, file in report.files.items():
        for t in file.tables:
            fine = f"{int(t.stats['converged'].sum())}/{t.freq.size * t.time.size}" if "converged" in t.stats else ""
            flagged = f"{100 * t.flags.mean():.3g} %" if t.flags.size else ""
            cells = f"{t.freq.size} freq x {t.time.size} time"
            values = (path, t.key, t.field, t.spw, cells, flagged, fine, _reduced(t).removeprefix("; chi2/dof "))
            rows.append("<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in values) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
