"""How feeds are turned on the sky, as a tree."""

from __future__ import annotations

from typing import Any

import numpy as np

from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq

SAME = {"": "alt-az", "altaz": "alt-az", "alt-az+rotator": "equatorial"}
"""Other words for mounts; a rotator holds the feed fixed against the sky, and no word is the usual mount."""


def feed_angle(antenna: str, direction: Any, position: Any, mount: str) -> Definition:
    """The angle (rad) by which the mount of an antenna turns its feeds, from J2000 north through east.

    direction: right ascension and declination, J2000 rad; position: ITRF, m. Raises for an unknown mount, naming the known.
    """
    word = mount.strip().lower()
    where = Meq.PhaseCentre(radec=tuple(np.asarray(direction).tolist()))
    place = Meq.Position(antenna, position=tuple(np.asarray(position).tolist()))
    turns = Meq.Mount(antenna, mount=SAME.get(word, word))
    made: Definition = Meq.FeedAngle(Meq.ParAngle(where, place), Meq.AzEl(where, place), turns)
    return made
