"""The Sun, the Moon and the planets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import Lookup, Observation, option
from rimetree.graph.registry import node
from rimetree.nodes.coords.observatories import observatory_position
from rimetree.nodes.coords.observed import PLACE, ArrayCentre, vector
from rimetree.nodes.coords.orientation import Instants, celestial_to_terrestrial, quiet

BODIES = ("sun", "moon", "mercury", "venus", "mars", "jupiter", "saturn", "uranus", "neptune")


@node
class ObjectRaDec(Lookup):
    """Right ascension and declination of a body of the solar system, (2,) in rad, J2000, as seen from one place.

    Without aberration, like a catalogue direction, so that AzEl, UVW and LMN may take it: those add the aberration. The
    place is the array's centre in a run, else `position` or `observatory`, else the Earth's centre (which matters for the
    Moon: 1 degree). Light time is taken into account. Ephemerides: ERFA epv00, plan94, moon98 through astropy, good to 1"
    to Mars, 10" to Neptune, 20" for the Moon. (MeqTrees: ObjectRADec.)
    """

    axes: ClassVar[tuple[str, ...]] = ("time",)
    body = option(type=kinds.choice(BODIES, fold=True), required=True, help="the Sun, the Moon or a planet")
    position = option(None, type=PLACE, per_member=True, help="ITRF x, y, z of the place", unit="m")
    observatory = option(None, type=str, help="the reference position of this observatory instead")

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        return (2,)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        if options["observatory"] is not None:
            observatory_position(options["observatory"])
        return options | {"position": vector(options["position"])}

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        return ArrayCentre.observe(observation, options)

    @staticmethod
    def look_up(time: np.ndarray, body: str, position: Any, observatory: str | None) -> Any:
        if position is None and observatory is not None:
            position = observatory_position(observatory)
        return astrometric(body, time, position)


@quiet
def astrometric(body: str, time: np.ndarray, position: np.ndarray | None) -> np.ndarray:
    """Right ascension and declination (2, n), rad, ICRS, of a body seen from an ITRF position or the Earth's centre."""
    from astropy import units as u
    from astropy.coordinates import CartesianRepresentation, get_body_barycentric, solar_system_ephemeris
    from astropy.time import Time

    instants = Instants(time)
    with solar_system_ephemeris.set("builtin"):
        now = Time(*instants.tt, format="jd", scale="tt")
        here = get_body_barycentric("earth", now)
        if position is not None:
            inertial = np.einsum("tji,j->it", celestial_to_terrestrial(time), position)
            here = here + CartesianRepresentation(inertial * u.m)
        delay = 0 * u.s
        for _ in range(3):
            away = get_body_barycentric(body, now - delay) - here
            delay = away.norm() / (299792458.0 * u.m / u.s)
    x, y, z = away.xyz.to_value(u.m)
    return np.array([np.arctan2(y, x) % (2 * np.pi), np.arctan2(z, np.hypot(x, y))])
