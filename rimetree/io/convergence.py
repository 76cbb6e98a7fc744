"""One picture per Solver: chi-squared before and after, and iterations, of every solution interval, coloured by status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..status import Status
from .panels import freq_axis, new_figure, outline, time_axis
from .solution_tables import SolverTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2a7f3f", "#e0a100", "#c46210", "#7a7a7a", "#8e44ad", "#c0272d", "#b9b9b9", "#d67ab1", "#1b3a8c")
"""Of each status, by its code."""

START = "#9db7d5"


def solver_figure(table: SolverTable, place: str) -> Figure:
    """Against time, or against frequency where there is one interval in time; where there are several in both, also as an image."""
    both = table.status.shape[1] > 1 and table.status.shape[2] > 1
    figure = new_figure(14 if both else 11, 6.5)
    columns = figure.subplots(2, 2 if both else 1, squeeze=False, width_ratios=(3, 2) if both else (1,))
    along_freq = table.status.shape[1] == 1 and table.status.shape[2] > 1
    x, xlabel = _axis(table.freq, freq_axis) if along_freq else _axis(table.time, time_axis)
    grid = np.broadcast_to(x if along_freq else x[:, None], table.status.shape)
    before, after = (_reduced(chi2, table.dof) for chi2 in (table.chi2_start, table.chi2))
    top, bottom = columns[:, 0]
    top.sharex(bottom)
    top.tick_params(labelbottom=False)
    top.plot(grid.ravel(), before.ravel(), "_", color=START, ms=5, mew=1.2, label="before", zorder=1)
    for ax, values, label in ((top, after, "chi² / dof"), (bottom, table.iterations, "iterations")):
        _status_dots(ax, grid, values, table.status)
        outline(ax)
        ax.set_ylabel(label)
    _scale(top, before, after)
    most = max(int(table.iterations.max()), 1)
    bottom.set_ylim(-0.05 * most, 1.08 * most)
    bottom.yaxis.get_major_locator().set_params(integer=True)
    bottom.set_xlabel(xlabel)
    if both:
        _images(figure, columns[:, 1], table, after)
    _head(figure, top, bottom, table, place)
    return figure


def _reduced(chi2: np.ndarray, dof: np.ndarray) -> np.ndarray:
    return np.where(dof > 0, chi2 / np.maximum(dof, 1), np.nan)


def _axis(limits: np.ndarray, words: object) -> tuple[np.ndarray, str]:
    """Centres of intervals in readable units, or their numbers where their limits are unknown."""
    x, label = words(limits.mean(1))  # type: ignore[operator]
    return (np.arange(x.size), "solution interval") if np.isnan(x).any() else (x, label)


def _scale(ax: Axes, before: np.ndarray, after: np.ndarray) -> None:
    """1 is where noise alone would be; logarithmic where values span decades."""
    ax.axhline(1, color="#888888", lw=0.8, ls="--", zorder=0)
    values = np.concatenate([[1.0], before.ravel(), after.ravel()])
    good = values[np.isfinite(values) & (values > 0)]
    if good.size and good.max() > 30 * good.min():
        ax.set_yscale("log")


def _status_dots(ax: Axes, x: np.ndarray, values: np.ndarray, status: np.ndarray) -> None:
    for code in np.unique(status):
        chosen = status == code
        label = f"{_word(code)} ({chosen.sum()})"
        ax.plot(x[chosen], values[chosen], ".", color=_colour(code), ms=5, label=label, zorder=2)


def _word(code: int) -> str:
    return {int(s): s.word for s in Status}.get(int(code), f"status {code}")


def _colour(code: int) -> str:
    return COLOURS[code] if code < len(COLOURS) else "black"


def _images(figure: Figure, axes: np.ndarray, table: SolverTable, after: np.ndarray) -> None:
    """chi-squared per degree of freedom (logarithmic) and status over time and frequency, of the first component."""
    from matplotlib.colors import ListedColormap

    (x, xlabel), (y, ylabel) = _axis(table.time, time_axis), _axis(table.freq, freq_axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(np.where(after[0] > 0, after[0], np.nan)).T
    codes = np.arange(len(COLOURS) + 1) - 0.5
    pictures = (
        (shown, {"cmap": "viridis"}, "log10 chi² / dof"),
        (table.status[0].T, {"cmap": ListedColormap(COLOURS), "vmin": codes[0], "vmax": codes[-1]}, "status"),
    )
    for ax, (values, options, label) in zip(axes, pictures, strict=True):
        image = ax.pcolormesh(x, y, values, shading="nearest", rasterized=True, **options)
        ax.set_ylabel(ylabel, fontsize=9)
        ax.set_title(label, fontsize=9, loc="left")
        ax.tick_params(labelsize=8)
        if label != "status":
            figure.colorbar(image, ax=ax)
    axes[-1].set_xlabel(xlabel, fontsize=9)


def _head(figure: Figure, top: Axes, bottom: Axes, table: SolverTable, place: str) -> None:
    parts = [c for c in table.components if c]
    title = f"Solver {table.name}" + (f" [{', '.join(parts[:3])}{', ...' if len(parts) > 3 else ''}]" if parts else "")
    handles, labels = bottom.get_legend_handles_labels()
    before, words = top.get_legend_handles_labels()
    figure.legend(
        [before[0], *handles],
        [words[0], *labels],
        loc="outside upper right",
        ncols=5,
        frameon=False,
        markerscale=2,
        fontsize=9,
    )
    figure.suptitle(f"{title}\n", x=0.01, ha="left", weight="bold")
    figure.text(0.01, 0.945, place, color="#555555", va="top")
