"""Angles of the feeds against the sky, which the time and the mount give."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError, RimetreeError
from ..graph.registry import Meq
from ..graph.scope import Scope
from ..grid import Cells
from ..trees.feeds import feed_angle


def feed_angles(ms: Any, group: Any) -> np.ndarray:
    """(nant, nslot) rad: the parallactic angle of the field, plus or minus the elevation on a Nasmyth mount, 0 on an equatorial.

    The nodes ParAngle, AzEl and FeedAngle, for the middle of every slot. DataError where a mount or direction is unknown.
    """
    if group.nowhere:
        raise DataError(f"{ms.path}: parallactic angles are not known: {group.nowhere}")
    ns = Scope()
    for i, (name, mount) in enumerate(zip(ms.antennas, ms.mounts, strict=True)):
        ns.angle(i) << feed_angle(name, group.phase_dir, ms.positions[i], mount)
        try:
            if mount not in ms.mounts[:i]:
                ns.forest()
        except RimetreeError as error:
            why = str(error).partition(": ")[2].partition(" (and")[0]
            raise DataError(
                f"{ms.path}: antenna {name} has mount {mount!r}, whose feed angle is not known: {why}"
            ) from error
    ns.angles << Meq.Composer(*(ns.angle(i) for i in range(len(ms.antennas))))
    found: np.ndarray = ns.forest().evaluate("angles", Cells(time=group.time)).values[..., 0]
    return np.broadcast_to(found, (len(ms.antennas), group.time.size))
