"""The matrices of a term where its Parms are given: for files, plots and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..graph.scope import Scope
from ..plan.depends import depends
from ..plan.program import Program
from ..plan.subset import subset
from ..plan.template import open_template
from ..ring import Plane
from ..trees.terms import Placed


def own_axes(placed: Placed, antennas: Sequence[str]) -> frozenset[str]:
    """The axes along which a term varies where its Parms do not."""
    ns = Scope()
    placed.build(ns, antennas)
    forest = ns.forest()
    return depends(dict(enumerate(forest.families)))[forest.names[f"{placed.key}:{antennas[0]}"][0]].axes


def matrices(
    placed: Placed, antennas: Sequence[str], values: Mapping[str, np.ndarray], time: np.ndarray, freq: np.ndarray
) -> np.ndarray:
    """Jones matrices (nant, nfreq, ntime, 2, 2) from Parms (nant or 1, ntime, nfreq) at time (s) and freq (Hz)."""
    ns = Scope()
    Placed(placed.key, placed.term, band=placed.band, fixed=dict.fromkeys(placed.term.params, (True, True))).build(
        ns, antennas
    )
    forest = ns.forest()
    places = [forest.names[f"{placed.key}:{name}"] for name in antennas]
    members = np.array([member for _, member in places])
    number = places[0][0]
    sub = subset(forest.families, {number: np.unique(members)})
    rows = {f"{placed.key}.{what}": value for what, value in values.items()}
    given = {}
    for n, family in sub.families.items():
        if family.cls.role == "parm":
            planes = []
            for name in family.members["name"]:
                label, _, antenna = str(name).partition(":")
                planes.append(rows[label][antennas.index(antenna) if antenna else 0])
            given[n] = [np.stack(planes)]
    templates = {n: open_template(()) for n in given}
    program = Program(sub.families, [number], templates, {"time": time.size, "freq": freq.size})
    tensor = program({"time": time[:, None], "freq": freq[None, :]}, given)[number]
    which = np.searchsorted(sub.members[number], members)
    result = np.empty((len(antennas), freq.size, time.size, 2, 2), complex)
    for e, element in enumerate(tensor.elements):
        plane = np.asarray(element.array) if isinstance(element, Plane) else np.full((1, 1, 1), element)
        plane = np.broadcast_to(plane, (sub.members[number].size, time.size, freq.size))
        result[..., e // 2, e % 2] = plane[which].transpose(0, 2, 1)
    return result
