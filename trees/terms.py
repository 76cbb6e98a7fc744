"""Jones terms: each a short function that adds one 2x2 matrix per antenna, and the Parms it is made of, to a scope.

To add a term, write a function like those below and put it in `TERMS`. Its Parms are labelled `<term>.<what><column>`,
where the last letter, x or y, is the column of the matrix that the Parm belongs to; phases are referred by column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rimetree.errors import ConfigError, nearest
from rimetree.graph.registry import Meq
from rimetree.graph.scope import Scope
from rimetree.nodes.solving.parm import solution_interval

Interval = tuple[int | str | None, int | str | None]
"""Solution interval (time, frequency), as of `Meq.Parm`."""


def diagonal(ns: Scope, name: str, antennas: Sequence[str], solint: Interval, centre: float) -> None:
    """diag(x, y), two complex gains per antenna."""
    for hand in "xy":
        ns[f"{name}.{hand}"].over(antennas) << Meq.Parm(1 + 0j, solint=solint, tags=name)
    ns[name].over(antennas) << Meq.Matrix22(ns[f"{name}.x"].at(antennas), 0, 0, ns[f"{name}.y"].at(antennas))


def delay(ns: Scope, name: str, antennas: Sequence[str], solint: Interval, centre: float) -> None:
    """diag(x, y) with x = exp(i (phase - 2 pi delay (nu - centre))): delay in s, phase in rad at `centre` (Hz)."""
    turns = ns[f"{name}.turns"] << (Meq.Freq() - centre) * (-2 * math.pi)
    for hand in "xy":
        late, phase = ns[f"{name}.delay_{hand}"], ns[f"{name}.phase_{hand}"]
        late.over(antennas) << Meq.Parm(0.0, solint=solint, tags=name)
        phase.over(antennas) << Meq.Parm(0.0, solint=solint, tags=name)
        ns[f"{name}.{hand}"].over(antennas) << Meq.Polar(1, phase.at(antennas) + late.at(antennas) * turns)
    ns[name].over(antennas) << Meq.Matrix22(ns[f"{name}.x"].at(antennas), 0, 0, ns[f"{name}.y"].at(antennas))


def full(ns: Scope, name: str, antennas: Sequence[str], solint: Interval, centre: float) -> None:
    """[[xx, xy], [yx, yy]], four complex gains per antenna."""
    elements = [ns[f"{name}.{row}{column}"] for row in "xy" for column in "xy"]
    for place, element in enumerate(elements):
        start = 1 + 0j if place in (0, 3) else 0j
        element.over(antennas) << Meq.Parm(start, solint=solint, tags=name)
    ns[name].over(antennas) << Meq.Matrix22(*(element.at(antennas) for element in elements))


@dataclass(frozen=True, slots=True)
class Term:
    """A kind of Jones term: what builds it, its usual solution interval, one line of help, whether it is a delay."""

    build: Callable[[Scope, str, Sequence[str], Interval, float], None]
    solint: Interval
    help: str
    delays: bool = False


TERMS = {
    "K": Term(delay, ("scan", None), "a delay and a phase per antenna and polarisation", delays=True),
    "G": Term(diagonal, (1, None), "a complex gain per antenna and polarisation, constant over the band"),
    "B": Term(diagonal, (None, 1), "a complex bandpass per antenna and polarisation, constant in time"),
    "J": Term(full, (10, None), "a full 2x2 complex matrix per antenna"),
}
"""The terms that chains can be made of."""


def term(name: str) -> Term:
    """The term of a name. Raises ConfigError, with the nearest name, where there is none."""
    if name not in TERMS:
        known = ", ".join(f"{key} ({value.help})" for key, value in TERMS.items())
        raise ConfigError(f"there is no Jones term {name!r}{nearest(name, TERMS)}; known are {known}")
    return TERMS[name]


def interval(name: str, solint: Any = None) -> Interval:
    """A checked solution interval of a term, by default its usual one. Raises ConfigError where it is wrong."""
    usual = term(name).solint
    if solint is None:
        return usual
    try:
        return solution_interval(solint)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def band_centre(frequencies: Iterable[Any]) -> float:
    """The middle between the lowest and the highest of some arrays of frequencies, Hz."""
    edges = [edge for freq in frequencies for edge in (float(min(freq)), float(max(freq)))]
    return (min(edges) + max(edges)) / 2
