"""How wide the cells are."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Lookup, Observation, option
from rimetree.graph.registry import node


@node
class ChannelWidth(Lookup):
    """The width of each channel over frequency, in Hz.

    In a run that of the spectral window, unless `width` is given; on bare Cells `width`, or the distance of the centres.
    """

    axes: ClassVar[tuple[str, ...]] = ("freq",)
    of_cells = True
    width = option(
        None, type=kinds.real(0, words="a number, 0 or more"), per_member=True, help="one width for all", unit="Hz"
    )

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        return {"width": observation.channels} if options["width"] is None else options

    @staticmethod
    def look_up(freq: np.ndarray, width: Any) -> Any:
        return _nearest("width", freq, width)


@node
class SlotLength(Lookup):
    """The length of each slot over time, in s.

    In a run that of the INTERVAL column, unless `length` is given; on bare Cells `length`, or the distance of the centres.
    """

    axes: ClassVar[tuple[str, ...]] = ("time",)
    of_cells = True
    length = option(
        None, type=kinds.real(0, words="a number, 0 or more"), per_member=True, help="one length for all", unit="s"
    )

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        return {"length": observation.slots} if options["length"] is None else options

    @staticmethod
    def look_up(time: np.ndarray, length: Any) -> Any:
        return _nearest("length", time, length)


def _nearest(name: str, centres: np.ndarray, known: Any) -> np.ndarray:
    """The width at each centre: one for all, or of the nearest of (centres, widths), or else the distance of centres."""
    if known is None:
        if centres.size < 2:
            raise ValueError(f"the cells have one centre only, which says nothing of their {name}: give {name}=")
        return np.abs(np.gradient(centres))
    if np.ndim(known) == 0:
        return np.full(centres.shape, float(known))
    there, widths = known
    order = np.argsort(there)
    between = (there[order][1:] + there[order][:-1]) / 2
    found: np.ndarray = widths[order][np.searchsorted(between, centres)]
    return found
