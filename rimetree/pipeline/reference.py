"""The reference antenna: which one, which phases the data leave free, and turning solutions to make its phases zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..batch.cascade import correlations
from ..io.solutions import ParmTable
from ..status import Status
from ..trees.terms import Term

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
    flux: float
    """Mean amplitude of the model's parallel hands, Jy; 0 where there are no data or no model."""

    def order(self, wanted: str | None = None) -> list[int]:
        """All antennas, the wanted one first, then by number of unflagged samples."""
        ranked = [int(i) for i in np.argsort(-self.links.sum(1), kind="stable")]
        if wanted is None or wanted not in self.antennas:
            return ranked
        first = list(self.antennas).index(wanted)
        return [first, *(i for i in ranked if i != first)]

    def live(self, wanted: str | None = None) -> str:
        """The first antenna in this order that has data."""
        order = self.order(wanted)
        return self.antennas[next((i for i in order if self.links[i].any()), order[0])]


def survey(ms: Any, group: Any, model_column: str) -> Survey:
    """Look at a few slots of a group, or at all where those have no data or no model. DataError where the model cannot be read."""
    found = _survey(ms, group, model_column, np.unique(np.linspace(0, group.time.size - 1, SAMPLES).astype(int)))
    if (found.links.any() and found.flux > 0) or group.time.size <= SAMPLES:
        return found
    return _survey(ms, group, model_column, np.arange(group.time.size))


def _survey(ms: Any, group: Any, model_column: str, slots: np.ndarray) -> Survey:
    pairs = baseline_numbers(ms)
    links = np.zeros((len(ms.antennas),) * 2)
    power, amplitude, samples = np.zeros(2), 0.0, 0
    places = correlations(group.corrs)
    for tile in ms.reader(group, [model_column], [slice(i, i + 1) for i in slots.tolist()], weights=False):
        good = tile.flags == 0
        there = tile.rows[:, 0] >= 0
        counts = good.sum((1, 2))[tile.rows[there, 0]]
        np.add.at(links, tuple(pairs[there].T), counts)
        squares = np.abs(tile.columns[model_column]) ** 2 * good
        for i, hands in enumerate(((0, 3), (1, 2))):
            power[i] += sum(np.nansum(squares[..., places[h]]) for h in hands if places[h] >= 0)
        for corr in (places[h] for h in (0, 3) if places[h] >= 0):
            amplitude += float(np.sqrt(squares[..., corr]).sum(where=np.isfinite(squares[..., corr])))
            samples += int(good[..., corr].sum())
    polarised = bool(power[1] > FAINT * power[0])
    return Survey(ms.antennas, links + links.T, polarised, amplitude / max(samples, 1))


def baseline_numbers(ms: Any) -> np.ndarray:
    """(nbaseline, 2): positions of the two antennas in `ms.antennas`."""
    number = {name: i for i, name in enumerate(ms.antennas)}
    return np.array([(number[p], number[q]) for p, q in ms.baselines])


def refer(
    solved: Mapping[str, tuple[Term, dict[str, ParmTable]]], order: Sequence[int], names: Sequence[str], together: bool
) -> list[str]:
    """Turn solved terms (key -> term, its Parms by name), in place, so that the reference antenna's phases and delays are 0.

    V = J X J^H does not change when all J are multiplied from the right by one phase, nor, where X and all terms to the
    right are diagonal, by one phase per column. So each column is turned by the reference antenna's phase of that column,
    or, with `together`, both by that of the first: the phase between x and y was then measured, and stays. In solution
    intervals where the reference antenna, order[0], has no solution the live antenna with most data takes its place.

    Returns notes for the user: antennas that stood in.
    """
    notes = []
    for key, (term, tables) in solved.items():
        turned = {}
        for what, param in term.params.items():
            if not param.refer:
                continue
            source = tables[_source(what, param.refer, together)]
            antennas = [qualifiers[-1] for qualifiers in source.qualifiers]
            choice, some = _first(source.status == Status.CONVERGED, _ranked(order, names, antennas))
            values = np.take_along_axis(source.values, choice[None, ..., None, None], 0) * some[..., None, None]
            turned[what] = _turned(tables[what].values, values)
            notes.append(_note(key, antennas, names[order[0]], choice[some]))
        for what, values in turned.items():
            tables[what].values = values
    return list(dict.fromkeys(note for note in notes if note))


def _source(what: str, column: str, together: bool) -> str:
    """The Parm that a Parm is referred to: "y" to itself or "x", "yx" to "xx", "phase_y" to itself or "phase_x"."""
    if column == "both":
        return what
    column = "x" if together else column
    return 2 * column if what in ("xx", "xy", "yx", "yy") else what[:-1] + column


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


def _note(key: str, antennas: Sequence[str], wanted: str, used: np.ndarray) -> str:
    others = [antennas[i] for i in np.unique(used) if antennas[i] != wanted]
    if not others:
        return ""
    count = sum(antennas[i] != wanted for i in used.ravel())
    return (
        f"{key}: reference antenna {wanted} has no solution in {count} of {used.size} intervals; "
        f"phases are referred to {', '.join(others)} there"
    )
