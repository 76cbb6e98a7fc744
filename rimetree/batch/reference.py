"""The reference antenna: which one, which phases the data leave free, and turning solutions to make its phases zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, nearest
from ..io.solutions import GroupSolutions, JonesTable
from ..status import Status
from .cascade import correlations

SAMPLES = 32
"""Slots looked at, spread evenly: enough to tell antennas with much data from those with little."""

FAINT = 1e-8
"""A model whose cross-hand power is less than this part of the parallel-hand power counts as unpolarised."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What a look at some slots of a group tells.

    `links` (nant, nant): unflagged samples between antennas; `polarised`: model and data have cross-hands, hence the
    phase between x and y is no free choice.
    """

    antennas: Sequence[str]
    links: np.ndarray
    polarised: bool

    def order(self, wanted: str = "auto") -> list[int]:
        """All antennas, the wanted one first, then by number of unflagged samples. ConfigError where it is unknown."""
        names = list(self.antennas)
        ranked = [int(i) for i in np.argsort(-self.links.sum(1), kind="stable")]
        if wanted == "auto":
            return ranked
        if wanted not in names:
            raise ConfigError(
                f"ref_ant: there is no antenna {wanted!r}{nearest(wanted, names)} in the selected data; "
                f"it has {', '.join(names)}, or say auto"
            )
        first = names.index(wanted)
        return [first, *(i for i in ranked if i != first)]


def survey(ms: Any, group: Any, model_column: str) -> Survey:
    """Read a few slots of a group. DataError where the model column cannot be read."""
    pairs = baseline_numbers(ms)
    links = np.zeros((len(ms.antennas),) * 2)
    power = np.zeros(2)
    places = correlations(group.corrs)
    slots = np.unique(np.linspace(0, group.time.size - 1, SAMPLES).astype(int))
    for tile in ms.reader(group, [model_column], [slice(i, i + 1) for i in slots.tolist()], weights=False):
        good = tile.flags == 0
        there = tile.rows[:, 0] >= 0
        counts = good.sum((1, 2))[tile.rows[there, 0]]
        np.add.at(links, tuple(pairs[there].T), counts)
        squares = np.abs(tile.columns[model_column]) ** 2 * good
        for i, hands in enumerate(((0, 3), (1, 2))):
            power[i] += sum(np.nansum(squares[..., places[h]]) for h in hands if places[h] >= 0)
    return Survey(ms.antennas, links + links.T, bool(power[1] > FAINT * power[0]))


def baseline_numbers(ms: Any) -> np.ndarray:
    """(nbaseline, 2): positions of the two antennas in `ms.antennas`."""
    number = {name: i for i, name in enumerate(ms.antennas)}
    return np.array([(number[p], number[q]) for p, q in ms.baselines])


def refer(solutions: GroupSolutions, found: Survey, wanted: str = "auto") -> list[str]:
    """Turn all terms of a group, in place, so that the phases (and delays) of the reference antenna are zero.

    V = J X J^H does not change when all J are multiplied from the right by one phase, nor, where X is diagonal, by one
    phase per column. So each column is turned by the reference antenna's phase of that column, or, where the model is
    polarised, both by that of the first: the phase between x and y was then measured, and stays. In solution intervals
    where the reference antenna has no solution the live antenna with most data takes its place.

    Returns notes for the user: antennas that stood in.
    """
    order = found.order(wanted)
    tables = {table.label: table for table in solutions.parms}
    turned, notes = {}, []
    for label, table in tables.items():
        source = tables[_reference_label(label, found.polarised)]
        antennas = [qualifiers[-1] for qualifiers in source.qualifiers]
        choice, some = _first(source.status == Status.CONVERGED, _ranked(order, found.antennas, antennas))
        values = np.take_along_axis(source.values, choice[None, ..., None, None], 0) * some[..., None, None]
        turned[label] = _turned(table.values, values)
        notes.append(_note(label, antennas, found.antennas[order[0]], choice[some]))
    for label, values in turned.items():
        tables[label].values = values
    for jones in solutions.jones:
        _turn_jones(jones, _ranked(order, found.antennas, jones.antennas), found.polarised)
    return list(dict.fromkeys(note for note in notes if note))


def _reference_label(label: str, together: bool) -> str:
    """The Parm that a Parm is referred to: "G.y" to itself or "G.x", "J.yx" to "J.xx"."""
    column = "x" if together else label[-1]
    return label[:-2] + 2 * column if label.rsplit(".")[-1] in ("xx", "xy", "yx", "yy") else label[:-1] + column


def _ranked(order: Sequence[int], antennas: Sequence[str], rows: Sequence[str]) -> list[int]:
    """The rows of a table in the order wanted; antennas without solutions have none."""
    place = {name: i for i, name in enumerate(rows)}
    return [place[antennas[i]] for i in order if antennas[i] in place]


def _first(alive: np.ndarray, order: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Per interval the first of `order` that is alive, and whether there is one; alive (nant, ...)."""
    ordered = alive[list(order)]
    return np.asarray(order)[ordered.argmax(0)], np.asarray(ordered.any(0))


def _turned(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if not np.iscomplexobj(values):
        return values - reference
    return values * unit_phase(reference[..., :1, :1]).conj()


def unit_phase(values: np.ndarray) -> np.ndarray:
    """exp(i arg values), 1 where the value is 0 or not finite."""
    size = np.abs(values)
    good = np.isfinite(size) & (size > 0)
    return np.where(good, np.divide(values, size, where=good, out=np.ones_like(values)), 1)


def _turn_jones(table: JonesTable, order: Sequence[int], together: bool) -> None:
    choice, some = _first(~table.flags, order)
    reference = np.take_along_axis(table.jones, choice[None, ..., None, None], 0)[0]
    phases = [unit_phase(reference[..., c, c] * some) for c in ((0, 0) if together else (0, 1))]
    table.jones = table.jones * np.stack(phases, -1).conj()[None, ..., None, :]


def _note(label: str, antennas: Sequence[str], wanted: str, used: np.ndarray) -> str:
    others = [antennas[i] for i in np.unique(used) if antennas[i] != wanted]
    if not others:
        return ""
    term = label.split(".")[0]
    count = sum(antennas[i] != wanted for i in used.ravel())
    return (
        f"{term}: reference antenna {wanted} has no solution in {count} of {used.size} intervals; "
        f"phases are referred to {', '.join(others)} there"
    )
