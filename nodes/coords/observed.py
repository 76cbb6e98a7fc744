"""What a Measurement Set says of antennas and field; given by options where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rimetree.errors import nearest
from rimetree.graph import kinds
from rimetree.graph.node import Lookup, Observation, option
from rimetree.graph.registry import node
from rimetree.nodes.coords.observatories import observatory_position

MOUNTS = {
    "alt-az": (1.0, 0.0),
    "equatorial": (0.0, 0.0),
    "nasmyth-r": (1.0, 1.0),
    "alt-az+nasmyth-r": (1.0, 1.0),
    "nasmyth-l": (1.0, -1.0),
    "alt-az+nasmyth-l": (1.0, -1.0),
    "fixed": (1.0, 0.0),
}
"""By mount, in the words of the Measurement Set: by which multiples of parallactic angle and elevation feeds turn."""


PLACE = kinds.each(float, float, float, words="(x, y, z) in m")


def vector(value: Any) -> np.ndarray | None:
    """An option that is a vector, as an array; None where it was not given."""
    return None if value is None else np.asarray(value, float)


def _known(what: str, name: Any, facts: Mapping[Any, Any]) -> Any:
    """The fact about an antenna."""
    for key in (name, str(name)):
        if key in facts:
            return facts[key]
    words = sorted(str(key) for key in facts if isinstance(key, str))
    shown = ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")
    raise ValueError(f"there is no antenna {name!r}{nearest(name, words)} whose {what} is asked; there are {shown}")


@node
class PhaseCentre(Lookup):
    """Right ascension and declination of the phase centre of the field, (2,) in rad, J2000.

    In a run it is that of the field being worked on, unless `radec` is given; on bare Cells `radec` must be given.
    """

    radec = option(
        None,
        type=kinds.each(float, float, words="(ra, dec) in rad"),
        per_member=True,
        help="ra and dec, J2000, instead of the field's",
        unit="rad",
    )

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (2,)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"radec": vector(options["radec"])}

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        if options["radec"] is None and not np.isfinite(observation.centre).all():
            raise ValueError(f"{observation.nowhere or 'the field has no phase centre'}: give radec=(ra, dec) in rad")
        return {"radec": observation.centre} if options["radec"] is None else options

    @staticmethod
    def look_up(radec: Any) -> Any:
        if radec is None:
            raise ValueError("there is no field on bare Cells: give radec=(ra, dec) in rad")
        return radec


@node
class Position(Lookup):
    """Position of an antenna, (3,) in m, ITRF.

    In a run that of the ANTENNA table; elsewhere `position`, or `observatory`, must be given.
    """

    antenna = option("", type=(str, int), per_member=True, help="name, or number in the ANTENNA table")
    position = option(None, type=PLACE, per_member=True, help="ITRF x, y, z instead", unit="m")
    observatory = option(None, type=str, help="the reference position of this observatory instead")

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (3,)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return _checked_place(options)

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        if options["position"] is not None or options["observatory"] is not None:
            return options
        return options | {"position": _known("position", options["antenna"], observation.positions)}

    @staticmethod
    def look_up(antenna: Any, position: Any, observatory: str | None) -> Any:
        if position is not None:
            return position
        if observatory is not None:
            return observatory_position(observatory)
        raise ValueError("there are no antennas on bare Cells: give position=(x, y, z) in m, or observatory=")


@node
class ArrayCentre(Lookup):
    """The mean position of the antennas in use, (3,) in m, ITRF: where coordinates that need only one place are taken.

    On bare Cells `position` or `observatory` must be given.
    """

    position = option(None, type=PLACE, per_member=True, help="ITRF x, y, z instead", unit="m")
    observatory = option(None, type=str, help="the reference position of this observatory instead")

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (3,)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return _checked_place(options)

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        if options["position"] is not None or options["observatory"] is not None:
            return options
        return options | {"position": _centre(observation.positions.values())}

    @staticmethod
    def look_up(position: Any, observatory: str | None) -> Any:
        if position is not None:
            return position
        if observatory is not None:
            return observatory_position(observatory)
        raise ValueError("there are no antennas on bare Cells: give position=(x, y, z) in m, or observatory=")


def _centre(positions: Iterable[np.ndarray]) -> np.ndarray:
    distinct = np.unique(np.array(list(positions)), axis=0)
    centre: np.ndarray = distinct.mean(0)
    return centre


@node
class Mount(Lookup):
    """How the feeds of an antenna turn on the sky: the vector (p, e) of `feed angle = p parallactic angle + e elevation`.

    (1, 0) alt-az and fixed on the ground, (0, 0) equatorial, (1, 1) Nasmyth right, (1, -1) Nasmyth left. In a run that of the
    ANTENNA table, unless `mount` is given. Reference: Measurement Set definition 2.0 (CASA memo 229), MOUNT.
    """

    antenna = option("", type=(str, int), per_member=True, help="name, or number in the ANTENNA table")
    mount = option(
        None,
        type=kinds.choice(MOUNTS, fold=True),
        per_member=True,
        help="mount instead",
    )

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (2,)

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        if options["mount"] is not None:
            return options
        return options | {"mount": _known("mount", options["antenna"], observation.mounts)}

    @staticmethod
    def look_up(antenna: Any, mount: str | None) -> Any:
        if mount is None:
            raise ValueError("there are no antennas on bare Cells: give mount=, such as 'alt-az'")
        return _turns(mount)


def _turns(mount: str) -> tuple[float, float]:
    found = MOUNTS.get(mount.strip().lower())
    if found is None:
        raise ValueError(f"mount must be one of {', '.join(MOUNTS)}, not {mount!r}{nearest(mount, MOUNTS)}")
    return found


def _checked_place(options: dict[str, Any]) -> dict[str, Any]:
    """`position` and `observatory` as they are stored. Raises ValueError where they are no place."""
    if options["observatory"] is not None:
        observatory_position(options["observatory"])
    return options | {"position": vector(options["position"])}
