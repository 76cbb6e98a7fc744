"""The Earth as leaves: its orientation and velocity, and sidereal time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rimetree.graph.node import Lookup
from rimetree.graph.registry import node
from rimetree.nodes.coords.orientation import celestial_to_terrestrial, sidereal_time, velocity


@node
class Earth(Lookup):
    """Orientation and velocity of the Earth over time: (4,3), the child that other coordinates take by default.

    Rows 0 to 2: the matrix from ICRS to ITRF axes (IAU 2006 precession, IAU 2000A nutation, IERS UT1 and polar motion). Row
    3: velocity of the Earth's centre about the barycentre over the speed of light, on ICRS axes (ERFA epv00).
    """

    axes: ClassVar[tuple[str, ...]] = ("time",)

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (4, 3)

    @staticmethod
    def look_up(time: np.ndarray) -> Any:
        rows = np.concatenate([celestial_to_terrestrial(time), velocity(time)[:, None]], 1)
        return rows.transpose(1, 2, 0)


@node
class SiderealTime(Lookup):
    """Greenwich apparent sidereal time over time, in rad, 0 to 2 pi (IAU 2006/2000A, ERFA gst06a)."""

    axes: ClassVar[tuple[str, ...]] = ("time",)

    @staticmethod
    def look_up(time: np.ndarray) -> Any:
        return sidereal_time(time)
