"""Windows within solution intervals, from narrow to wide: where to begin with what wraps over the whole (see `solve/single/search`)."""

from __future__ import annotations

import numpy as np

from ..parms.intervals import AxisGrid
from ..solve.single.search import Window

CENTRES = 0.5, 0.2, 0.8
"""Of narrow windows, as parts of an interval."""

NARROWEST = 1 / 16
"""Part of an interval that the first window has; at least two cells."""


def windows(time: AxisGrid, freq: AxisGrid) -> list[Window]:
    """Starts, as stages of masks (J, S); none where an interval has too few cells for any."""
    places = time.places(), freq.places()
    cells = max(time.joint, freq.joint)
    if cells < 4:
        return []
    width = max(NARROWEST, 2 / cells)
    return [_stages(places, centre, width) for centre in CENTRES]


def _stages(places: tuple[np.ndarray, np.ndarray], centre: float, width: float) -> Window:
    found = []
    while width < 1:
        low = min(max(centre - width / 2, 0.0), 1 - width)
        t, f = (_within(own, low, width) for own in places)
        both = t[:, None, :, None] & f[None, :, None, :]
        found.append(both.reshape(len(t) * len(f), -1))
        width *= 2
    return found


def _within(places: np.ndarray, low: float, width: float) -> np.ndarray:
    """(J, intervals) whether a cell is in the window, of which there is at least the nearest one."""
    middle = np.abs(places - (low + width / 2))
    return np.asarray((middle <= width / 2) | (middle <= middle.min(0)))
