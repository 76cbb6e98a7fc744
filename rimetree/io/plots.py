"""Pictures of solutions: PNG files with a small panel per antenna or Parm, and one with the statistics of a Solver."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..status import Status
from .convergence import solver_figure
from .panels import COLOURS, Curves, Series, against_names, draw, freq_axis, time_axis
from .solution_tables import GroupSolutions, JonesTable, ParmTable
from .solutions import Solutions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECEPTORS = {"linear": "XY", "circular": "RL"}
LINES = 5
"""How many channels (or slots) are drawn as lines of their own where a table varies along the other axis too."""


def plot(solutions: Solutions, folder: str | Path, units: Mapping[str, str] | None = None) -> list[Path]:
    """Draw all solutions as PNG files in `folder` (made where missing), whose paths are returned.

    A Jones term gives amplitude and phase against time and against frequency; real Parms (and complex ones that are no elements
    of Jones terms) their value; a Solver of several intervals chi-squared before and after, and iterations, per
    interval. What is trivial (amplitudes that are all 1, phases that are all 0) is left out. `units` of Parms by their
    label, where known: s is shown in ns, rad (an angle) in deg. Raises DataError where the folder cannot be written.
    """
    folder = Path(folder)
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for group in solutions.groups:
            for stem, figure in _figures(group, units or {}):
                path = _unused(folder, f"{stem}_{group.field or 'all_fields'}_spw{group.spw}", paths)
                figure.savefig(path, dpi=110)
                paths.append(path)
    except OSError as error:
        raise DataError(f"plots cannot be written into {folder} ({(error.strerror or str(error)).lower()})") from error
    return paths


def _unused(folder: Path, stem: str, taken: list[Path]) -> Path:
    """A file name without odd characters that is not one of `taken`."""
    stem = re.sub(r"[^\w.+-]+", "_", stem).lstrip(".")
    path, count = folder / f"{stem}.png", 2
    while path in taken:
        path, count = folder / f"{stem}_{count}.png", count + 1
    return path


def _figures(group: GroupSolutions, units: Mapping[str, str]) -> Iterator[tuple[str, Figure]]:
    place = f"{f'field {group.field}' if group.field else 'all fields'}, spw {group.spw}"
    for jones in group.jones:
        if jones.jones.size:
            yield from _jones_figures(jones, place)
    for parm in group.parms:
        if parm.values.size and not any(_element(parm, jones) for jones in group.jones):
            yield from _parm_figures(parm, place, units.get(parm.label, ""))
    for solver in group.solvers:
        if np.prod(solver.status.shape[1:]) > 1:  # one interval would be one dot
            yield f"solver_{solver.name}", solver_figure(solver, place)


def _element(parm: ParmTable, jones: JonesTable) -> bool:
    """Whether complex Parms are elements of a Jones term, which shows them: all their values are among those of their antennas."""
    if not np.iscomplexobj(parm.values):
        return False
    rows = dict(zip(jones.antennas, jones.jones, strict=True))
    own = [rows.get(qualifiers[0]) if qualifiers else None for qualifiers in parm.qualifiers]
    return all(
        row is not None and np.isin(values[np.isfinite(values)], row).all()
        for values, row in zip(parm.values, own, strict=True)
    )


def _jones_figures(table: JonesTable, place: str) -> Iterator[tuple[str, Figure]]:
    letters = RECEPTORS.get(table.feed_basis, "12")
    size = _largest(table.jones)
    elements = [(0, 0), (1, 1)] + [e for e in ((0, 1), (1, 0)) if _largest(table.jones[..., *e]) > 1e-9 * size]
    values = {letters[i] + letters[j]: table.jones[..., i, j].transpose(0, 2, 1) for i, j in elements}
    errors = {letters[i] + letters[j]: table.errors[..., i, j].transpose(0, 2, 1) for i, j in elements}
    bad = table.flags.transpose(0, 2, 1)
    title = f"Jones {table.label}"
    yield from _complex_figures(title, place, table.antennas, values, errors, bad, table.time, table.freq)


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))


def _parm_figures(table: ParmTable, place: str, unit: str) -> Iterator[tuple[str, Figure]]:
    try:
        values, time, freq = _sampled(table)
    except DataError:  # a function that is not here: its coefficients, then
        if table.values.shape[3:] != (1, 1):
            yield from chain.from_iterable(_parm_figures(part, place, "") for part in table.coefficients())
            return
        values, time, freq = table.values[..., 0, 0], table.time.mean(1), table.freq.mean(1)
    factor = (values.shape[1] // table.status.shape[1], values.shape[2] // table.status.shape[2])
    bad = np.repeat(np.repeat(table.status != Status.CONVERGED, factor[0], 1), factor[1], 2)
    # The errors of several coefficients are correlated: a band from their diagonal alone would be wrong.
    constant = values.shape == table.status.shape
    errors = table.errors[..., 0, 0] if constant else np.full(values.shape, np.nan)
    title, names = f"Parm {table.label}", [name.removeprefix(f"{table.label}:") for name in table.names]
    if np.iscomplexobj(values):
        yield from _complex_figures(title, place, names, {"": values}, {"": errors}, bad, time, freq)
        return
    if not unit and re.search(r"tau|delay|dly", table.label, re.IGNORECASE) and _largest(values) < 1e-4:
        unit = "s"
    label, scale = {"s": ("delay (ns)", 1e9), "rad": ("phase (deg)", 180 / np.pi), "": ("value", 1.0)}.get(
        unit, (f"value ({unit})", 1.0)
    )
    if unit == "rad":
        values = np.angle(np.exp(1j * values))
    shown = {"": (values * scale, errors * scale)}
    yield from _value_figures(f"{title}: {label}", place, names, shown, bad, time, freq, label)


def _sampled(table: ParmTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values on points: the centre of each interval, or points over it along an axis on which they vary."""
    varying = table.function().axes(table.values.shape[3:])
    axes, intervals = [], []
    for name, limits in (("time", table.time), ("freq", table.freq)):
        count = max(9, 4 * table.values.shape[3] * table.values.shape[4]) if name in varying else 1
        place = np.linspace(0, 1, min(count, 129)) if count > 1 else np.full(1, 0.5)
        axes.append((limits[:, :1] + np.ptp(limits, 1)[:, None] * place).ravel())
        intervals.append(np.repeat(np.arange(len(limits)), len(place)))
    return table.on(axes[0], axes[1], (intervals[0], intervals[1])), axes[0], axes[1]


def _complex_figures(
    title: str,
    place: str,
    names: list[str],
    values: dict[str, np.ndarray],
    errors: dict[str, np.ndarray],
    bad: np.ndarray,
    time: np.ndarray,
    freq: np.ndarray,
) -> Iterator[tuple[str, Figure]]:
    """Amplitude and phase of complex values (name, time, freq) per element; left out where all are 1 or all 0."""
    good = np.concatenate([v[~bad] for v in values.values()])
    good = good[np.isfinite(good) & (good != 0)]
    amplitude = {k: (np.abs(v), errors[k]) for k, v in values.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        phase = {
            k: (np.angle(v, deg=True), np.minimum(np.degrees(errors[k] / np.abs(v)), 180)) for k, v in values.items()
        }
    phase_moves = good.size > 0 and np.abs(np.angle(good)).max() > 1e-9
    if not phase_moves or np.abs(np.abs(good) - 1).max() > 1e-9:
        yield from _value_figures(f"{title}: amplitude", place, names, amplitude, bad, time, freq, "amplitude")
    if phase_moves:
        yield from _value_figures(f"{title}: phase", place, names, phase, bad, time, freq, "phase (deg)")


def _value_figures(
    title: str,
    place: str,
    names: list[str],
    shown: dict[str, tuple[np.ndarray, np.ndarray]],
    bad: np.ndarray,
    time: np.ndarray,
    freq: np.ndarray,
    label: str,
) -> Iterator[tuple[str, Figure]]:
    """Values and errors (name, time, freq) against time and frequency, or against name where they have one cell."""
    stem = title.split(" ", 1)[1].split(" (")[0].replace(": ", "_")
    if time.size == freq.size == 1:
        curves = Curves(title, place, names, np.zeros(1), "", label, _series(shown, bad, 1))
        yield stem, against_names(curves)
    for axis, (centres, others) in ((1, (time, freq)), (2, (freq, time))):
        if centres.size == 1:
            continue
        x, xlabel = time_axis(centres) if axis == 1 else freq_axis(centres)
        series = _series(shown, bad, axis)
        lines = series[0].values.shape[1]
        some = f", {lines} of {others.size} {'channels' if axis == 1 else 'times'}" if others.size > 1 else ""
        curves = Curves(
            f"{title} against {('time', 'frequency')[axis - 1]}", place + some, names, x, xlabel, label, series
        )
        for page, figure in enumerate(pages := list(draw(curves))):
            number = f"_page{page + 1}" if len(pages) > 1 else ""
            yield f"{stem}_{('time', 'freq')[axis - 1]}{number}", figure


def _series(shown: dict[str, tuple[np.ndarray, np.ndarray]], bad: np.ndarray, axis: int) -> list[Series]:
    """Lines (name, line, x) along `axis`, of a few cells of the other axis."""
    count = bad.shape[3 - axis]
    picks = np.unique(np.linspace(0, count - 1, min(count, LINES)).round().astype(int))

    def lines(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.take(array, picks, 3 - axis), axis, 2)

    wrong = lines(bad)
    return [
        Series(name, COLOURS[k % len(COLOURS)], np.where(wrong, np.nan, lines(v)), lines(e), wrong)
        for k, (name, (v, e)) in enumerate(shown.items())
    ]
