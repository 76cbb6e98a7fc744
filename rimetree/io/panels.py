"""Small multiples: pages of panels with lines, error bands and marks of failed intervals; axes in readable units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#d9661f", "#2a8f5b", "#8e5bb5")
FAILED, FAILED_LABEL = "#c0272d", "no solution"
TURN_TICKS = (-180, -90, 0, 90, 180)
COLUMNS, PANELS = 5, 30
MJD = datetime(1858, 11, 17)


@dataclass(slots=True, eq=False)
class Series:
    """One colour: values and 1-sigma errors (panel, line, x), NaN where nothing is drawn; `bad` marks failed cells."""

    label: str
    colour: str
    values: np.ndarray
    errors: np.ndarray
    bad: np.ndarray


@dataclass(slots=True, eq=False)
class Curves:
    """What a figure shows: panel names, a common x axis, series. Errors too large to be shown beside the values are not drawn."""

    title: str
    place: str
    names: list[str]
    x: np.ndarray
    xlabel: str
    ylabel: str
    series: list[Series]
    notes: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Errors above what the values are (a whole turn: 360 degrees) would paint over them: only their existence is noted."""
        values = np.concatenate([s.values.ravel() for s in self.series])
        values = values[np.isfinite(values)]
        if not values.size:
            self.notes.append("no solution")
            return
        most = 180.0 if self.turn else float(np.percentile(np.abs(values), 99.5))
        hidden = False
        for series in self.series:
            large = (series.errors >= most) & np.isfinite(series.values)
            hidden |= bool(large.any())
            series.errors = np.where(large, np.nan, series.errors)
        if hidden:
            self.notes.append(f"errors above {most:.3g} are not drawn")

    @property
    def turn(self) -> float:
        """360 for phases in degrees; 0: the values are not periodic."""
        return 360.0 if "(deg)" in self.ylabel else 0.0


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """A figure of its own (inches): no window, no global state, so that plotting is safe in any thread and script."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def outline(ax: Axes) -> None:
    """The common look of a panel."""
    ax.grid(color="#e6e6e6", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def time_axis(time: np.ndarray) -> tuple[np.ndarray, str]:
    """Times (s; MJD seconds where they can be) as an axis that starts at 0, and its label."""
    if not np.isfinite(time).all():
        return np.full(time.shape, np.nan), "solution interval"
    span = float(np.ptp(time))
    scale, unit = (1.0, "s") if span < 300 else (60.0, "min") if span < 3 * 3600 else (3600.0, "h")
    start = float(time.min())
    since = f" since {MJD + timedelta(seconds=round(start))} UTC" if start > 1e9 else ""
    return (time - start) / scale if since else time / scale, f"time ({unit}{since})"


def freq_axis(freq: np.ndarray) -> tuple[np.ndarray, str]:
    """Frequencies (Hz) in MHz or GHz, and the label."""
    if not np.isfinite(freq).all():
        return np.full(freq.shape, np.nan), "solution interval"
    scale, unit = (1e9, "GHz") if freq.max() >= 1e10 else (1e6, "MHz")
    return freq / scale, f"frequency ({unit})"


def draw(curves: Curves) -> Iterator[Figure]:
    """Pages of at most 30 panels, all with the same limits.

    Panels have places, limits and ticks of their own: a page whose axes are shared, and laid out by what matplotlib measures of every text,
    takes three times as long.
    """
    limits, outside = _limits(curves)
    count = len(curves.names)
    for first in range(0, count, PANELS):
        panels = range(first, min(first + PANELS, count))
        figure, grid = _grid(len(panels))
        _ticks(grid, len(panels), curves, limits)
        for ax, panel in zip(grid.flat, panels, strict=False):
            _panel(ax, curves, panel)
        power = _power(limits)
        ylabel = f"{curves.ylabel} / 1e{power}" if power else curves.ylabel
        figure.supxlabel(curves.xlabel, y=0.08 / figure.get_figheight(), fontsize=10)
        figure.supylabel(ylabel, x=0.08 / figure.get_figwidth(), fontsize=10)
        page = f", page {first // PANELS + 1} of {-(-count // PANELS)}" if count > PANELS else ""
        beyond = f", {outside} point{'s' if outside > 1 else ''} outside the panels" if outside else ""
        _head(figure, curves, f"{curves.place}{page}{beyond}")
        yield figure


def _grid(count: int) -> tuple[Figure, np.ndarray]:
    """A figure of rows of panels, and its axes (rows, columns), of which the last may be hidden; margins in inches."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    width, height = max(2.4 * columns, 7.5), 1.35 * rows + 1.6
    left, right, top, bottom = 0.8, 0.1, 0.7, 0.5
    figure = new_figure(width, height, None)
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={
        "left": left / width, "right": 1 - right / width, "top": 1 - top / height, "bottom": bottom / height,
        "wspace": 0.06, "hspace": 0.2,
    })  # fmt: skip
    for ax in grid.flat[count:]:
        ax.set_visible(False)
    return figure, grid


def _ticks(grid: np.ndarray, count: int, curves: Curves, limits: tuple[float, float]) -> None:
    """Limits and ticks of all panels, with numbers at the left and below the lowest only."""
    from matplotlib.ticker import MaxNLocator

    x = curves.x[np.isfinite(curves.x)]
    low, high = (x.min(), x.max()) if x.size else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.5
    across = (float(low - margin), float(high + margin))
    ends = (across, limits)
    places = [
        np.asarray(MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]).tick_values(*e)) for n, e in zip((4, 5), ends, strict=True)
    ]
    if curves.turn and limits[1] - limits[0] > 300:
        places[1] = np.array(TURN_TICKS, float)
    places = [p[(p >= e[0]) & (p <= e[1])] for p, e in zip(places, ends, strict=True)]
    numbers = [f"{place / 10.0 ** _power(limits):.6g}" for place in places[1]]
    columns = grid.shape[1]
    for k, ax in enumerate(grid.flat[:count]):
        ax.set_autoscale_on(False)
        ax.set_xlim(*across)
        ax.set_ylim(*limits)
        ax.set_xticks(places[0], [f"{p:.8g}" for p in places[0]] if k >= count - columns else [""] * len(places[0]))
        ax.set_yticks(places[1], numbers if k % columns == 0 else [""] * len(places[1]))


def _power(limits: tuple[float, float]) -> int:
    """The power of ten by which numbers at an axis are divided; 0 where they are short without."""
    power = int(np.floor(np.log10(max(map(abs, limits)))))
    return 0 if -3 <= power <= 4 else power


def against_names(curves: Curves) -> Figure:
    """One panel with a point and error bar per name, for values with a single cell."""
    figure = new_figure(min(max(6.5, 0.3 * len(curves.names) + 2), 20), 4.2)
    ax = figure.subplots()
    outline(ax)
    x = np.arange(len(curves.names))
    for k, series in enumerate(curves.series):
        values, errors, bad = series.values[:, 0, 0], series.errors[:, 0, 0], series.bad[:, 0, 0]
        shift = 0.12 * (k - (len(curves.series) - 1) / 2)
        spread = np.where(np.isfinite(errors), errors, 0)
        ax.errorbar(x + shift, values, spread, fmt="o", ms=4, lw=1.2, color=series.colour, label=series.label)
        _mark_failed(ax, x, bad)
    every = -(-x.size // 60)
    ax.set_xticks(
        x[::every], curves.names[::every], rotation=60 if x.size > 8 else 0, ha="right" if x.size > 8 else "center"
    )
    ax.set_ylabel(curves.ylabel)
    limits, _ = _limits(curves)
    ax.set_ylim(*limits)
    if curves.turn and limits[1] - limits[0] > 300:
        ax.set_yticks(TURN_TICKS)
    _head(figure, curves, curves.place)
    return figure


def _panel(ax: Axes, curves: Curves, panel: int) -> None:
    outline(ax)
    ax.set_title(curves.names[panel], fontsize=8, loc="left", pad=2, color="#333333")
    marker, size = "." if curves.x.size <= 150 else "", 2.5 if curves.x.size > 20 else 5
    for series in curves.series:
        many = series.values.shape[1]
        for k, (y, error) in enumerate(zip(series.values[panel], series.errors[panel], strict=True)):
            shade = 0.9 if many == 1 else 0.35 + 0.5 * k / (many - 1)
            cuts = _cuts(curves.x, y, curves.turn or np.inf)
            x, broken, error = (np.insert(a, cuts, np.nan) for a in (curves.x, y, error))
            if np.isfinite(error).any():
                ax.fill_between(x, broken - error, broken + error, color=series.colour, alpha=0.22 / many, lw=0)
            name = series.label if k == many - 1 else None
            ax.plot(x, broken, color=series.colour, lw=0.9, marker=marker, ms=size, mew=0, alpha=shade, label=name)
    failed = np.any([s.bad[panel].any(0) for s in curves.series], 0)
    _mark_failed(ax, curves.x, failed)


def _mark_failed(ax: Axes, x: np.ndarray, failed: np.ndarray) -> None:
    if failed.any():
        at = np.full(failed.sum(), 0.03)
        ax.plot(x[failed], at, "|", ms=6, mew=1.0, color=FAILED, transform=ax.get_xaxis_transform(), label=FAILED_LABEL)


def _cuts(x: np.ndarray, y: np.ndarray, turn: float) -> np.ndarray:
    """Where to cut a line: phases that wrap (by more than half a `turn`), gaps between scans, ends of polynomials."""
    steps = np.diff(x)
    edge = (steps > 3 * np.median(steps)) | (steps <= 1e-9 * np.ptp(x))
    return np.flatnonzero(edge | (np.abs(np.diff(y)) > turn / 2)) + 1


def _limits(curves: Curves) -> tuple[tuple[float, float], int]:
    """Common limits that a few wild values or errors cannot spoil, and how many points lie outside."""
    values, errors = (np.concatenate([a.ravel() for a in arrays]) for arrays in zip(
        *((s.values, s.errors) for s in curves.series), strict=True
    ))  # fmt: skip
    good = np.isfinite(values)
    values, errors = values[good], np.where(np.isfinite(errors[good]), errors[good], 0)
    if not values.size:
        return (0.0, 1.0), 0
    if curves.turn and np.ptp(values) > 180:
        return (-190.0, 190.0), 0
    low, high = np.percentile(values, [0.5, 99.5])
    # Rounding errors are not blown up to the height of a panel.
    least = 0.01 if curves.turn else 1e-6 * max(abs(low), abs(high))
    margin = max(0.3 * (high - low), 2 * float(np.median(errors)))
    margin = margin if margin > least else least if curves.turn else 0.1 * abs(high) or 1.0
    limits = (
        max(low - margin, float((values - errors).min()) - 0.2 * margin),
        min(high + margin, float((values + errors).max()) + 0.2 * margin),
    )
    return limits, int(((values < limits[0]) | (values > limits[1])).sum())


def _head(figure: Figure, curves: Curves, place: str) -> None:
    """Bold title, grey subtitle, one legend for the page."""
    entries: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            if label:
                entries.setdefault(label, handle)
    if FAILED_LABEL in entries:
        entries[FAILED_LABEL] = entries.pop(FAILED_LABEL)  # last
    height = figure.get_figheight()
    top = {} if figure.get_layout_engine() else {"y": 1 - 0.07 / height, "va": "top"}
    figure.suptitle(f"{curves.title}\n", x=0.01, ha="left", weight="bold", fontsize=11, **top)
    figure.text(0.01, 1 - 0.27 / height, ", ".join((place, *curves.notes)), color="#555555", fontsize=9, va="top")
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="upper right",
            ncols=len(entries),
            frameon=False,
            fontsize=9,
        )
