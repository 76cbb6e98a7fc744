"""Angles of the feeds against the sky, which the time and the mount give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError

EQUATORIAL = ("equatorial", "bizarre", "x-y")
_KNOWN = "ALT-AZ, ALT-AZ+ROTATOR, ALT-AZ+NASMYTH-R, ALT-AZ+NASMYTH-L, EQUATORIAL"


def feed_angles(ms: Any, group: Any) -> np.ndarray:
    """(nant, nslot) rad: the parallactic angle of the field, plus or minus the elevation on a Nasmyth mount, 0 on an equatorial.

    Computed by casacore (position angle of the local zenith, frame AZEL). DataError where a mount or direction is unknown.
    """
    kinds = [_kind(mount, name, ms.path) for mount, name in zip(ms.mounts, ms.antennas, strict=True)]
    if group.nowhere:
        raise DataError(f"{ms.path}: parallactic angles are not known: {group.nowhere}")
    angles = np.zeros((len(kinds), group.time.size))
    for i, kind in enumerate(kinds):
        if kind != "equatorial":
            angle, elevation = _parallactic(ms.positions[i], group.phase_dir, group.time)
            angles[i] = angle + {"nasmyth-r": elevation, "nasmyth-l": -elevation}.get(kind, 0)
    return angles


def _kind(mount: str, antenna: str, path: Any) -> str:
    text = mount.strip().lower()
    if text in ("alt-az", "altaz", "", "alt-az+rotator"):
        return "equatorial" if text.endswith("rotator") else "alt-az"  # a rotator holds the feed fixed against the sky
    for kind in ("nasmyth-r", "nasmyth-l"):
        if text.endswith(kind):
            return kind
    if text.startswith(EQUATORIAL):
        return "equatorial"
    raise DataError(f"{path}: antenna {antenna} has mount {mount!r}, whose feed angle is not known; known are {_KNOWN}")


def _parallactic(position: np.ndarray, direction: Sequence[float], time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parallactic angle and elevation (nslot,) rad at an ITRF position (m) for a J2000 direction (rad) at times (MJD s)."""
    from casacore.measures import measures

    measure = measures()
    measure.do_frame(measure.position("ITRF", *(f"{x!r}m" for x in position.tolist())))
    source = measure.direction("J2000", f"{float(direction[0])!r}rad", f"{float(direction[1])!r}rad")
    zenith = measure.direction("AZEL", "0deg", "90deg")
    found = np.zeros((2, time.size))
    for k, moment in enumerate(time.tolist()):
        measure.do_frame(measure.epoch("UTC", f"{moment!r}s"))
        found[0, k] = measure.posangle(source, zenith).get_value("rad")
        found[1, k] = measure.measure(source, "AZEL")["m1"]["value"]
    return found[0], found[1]
