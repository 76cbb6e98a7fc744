"""Reference positions of observatories, from the table that comes with casacore."""

from __future__ import annotations

from functools import cache

import numpy as np

from rimetree.errors import nearest


@cache
def _table() -> dict[str, np.ndarray]:
    """ITRF positions (3,) in m by name."""
    from casacore.measures import measures

    frame = measures()
    found = {}
    for name in frame.get_observatories():
        position = frame.measure(frame.observatory(name), "ITRF")
        longitude, latitude, radius = (position[key]["value"] for key in ("m0", "m1", "m2"))
        across = radius * np.cos(latitude)
        found[name] = np.array([across * np.cos(longitude), across * np.sin(longitude), radius * np.sin(latitude)])
    return found


def observatory_position(name: str) -> np.ndarray:
    """ITRF position (3,) in m of an observatory; capitals do not matter. Raises ValueError, with the nearest name."""
    table = _table()
    same = [known for known in table if known.lower() == name.strip().lower()]
    if not same:
        words = ", ".join(sorted(table))
        raise ValueError(f"observatory {name!r} is not known{nearest(name, table)}; known are {words}")
    return table[same[0]]
