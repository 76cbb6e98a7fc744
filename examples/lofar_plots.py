"""The plots of lofar.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {"before": "0.6", "diagonal": "tab:blue", "full": "tab:red"}


def plot_residuals(path: Path, title: str, length: np.ndarray, left: dict[str, np.ndarray]) -> None:
    """rms(data - model) / rms(data) of every baseline against its length in km."""
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for label, values in left.items():
        axes.loglog(length, values, ".", ms=4, color=COLOURS[label], label=f"{label}: median {np.median(values):.2g}")
    axes.set(xlabel="baseline length (km)", ylabel="rms(data - model) / rms(data)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, frameon=False)
    _save(figure, path)


def plot_gains(path: Path, title: str, jones: Any) -> None:
    """Amplitude and phase (against the first station) of the diagonal elements over time, one line per station."""
    figure, panels = plt.subplots(2, 2, figsize=(9, 5), sharex=True, sharey="row", layout="constrained")
    gains = np.where(jones.flags[:, 0, :, None], np.nan, np.einsum("atii->ati", jones.jones[:, 0]))
    seconds = jones.time - jones.time[0]
    for hand, (above, below) in enumerate(panels.T):
        for name, gain in zip(jones.antennas, gains[..., hand], strict=True):
            if np.isfinite(gain).any():
                above.plot(seconds, 1e3 * np.abs(gain), ".-", label=name)
                below.plot(seconds, np.degrees(np.angle(gain * gains[0, :, hand].conj())), ".-")
        above.set(title=f"{title}, {'xy'[hand]}{'xy'[hand]}")
        below.set(xlabel="time (s)", ylim=(-190, 190), yticks=np.arange(-180, 181, 90))
    panels[0, 0].set(ylabel="amplitude (0.001)", ylim=(0, None))
    panels[1, 0].set(ylabel="phase (degrees)")
    for axes in panels.flat:
        axes.grid(alpha=0.3)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    _save(figure, path)


def plot_stations(path: Path, title: str, tables: dict[str, Any]) -> None:
    """Amplitude of every element in the first interval, one point per station: diagonal above, full Jones below."""
    figure, panels = plt.subplots(2, 1, figsize=(9, 6.4), sharex=True, layout="constrained")
    elements = {
        "xx": (0, 0, "tab:blue", "o"),
        "yy": (1, 1, "tab:orange", "o"),
        "xy": (0, 1, "tab:green", "x"),
        "yx": (1, 0, "tab:red", "x"),
    }
    for axes, (label, jones) in zip(panels, tables.items(), strict=True):
        values = 1e3 * np.abs(np.where(jones.flags[:, 0, 0, None, None], np.nan, jones.jones[:, 0, 0]))
        for name, (i, j, colour, marker) in elements.items():
            if np.nanmax(values[:, i, j], initial=0) > 0:
                axes.plot(values[:, i, j], marker, color=colour, ms=4, ls="none", label=name)
        axes.set(title=f"{title}, {label} Jones", ylabel="amplitude (0.001)", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    ticks = range(0, len(tables["full"].antennas), 4)
    panels[1].set_xticks(list(ticks), [tables["full"].antennas[i] for i in ticks], rotation=60, ha="right", fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=90)
    plt.close(figure)
    print(f"  plot: {path.name}")
