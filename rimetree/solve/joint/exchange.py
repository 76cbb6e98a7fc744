"""What classes of parameters may exchange without any change of chi2: null directions of a coupled problem that no class has by
itself, such as a factor between gains and bandpass, or the slope of the bandpass's phase, which is a delay.

They are found station by station: unknowns that share a stem (see `bilinear`) are one component, and intervals of two classes that
share cells are one group. A move of one class, constant over a group, is offered to the gains of the other one, which take it up
as far as they can. It is null where chi2 has no curvature along it; as random amounts are offered for all components at once, one
product tells. What is exchanged goes to the real Parm that describes it (a slope to the delay), else to the class that comes
first; of the other class, its part is held (see `Exchanges.hold`): where all stations take part, that of a reference antenna, if any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array, hstack
from scipy.sparse.csgraph import connected_components

from ..result.gauges import Meaning
from .coupled import Coupled
from .coupled_fit import Minimum
from .datum import Datum

NULL = 1e-9
"""Curvature along a direction, relative to that of its parts by themselves, below which it has none."""

ALIKE = 1e-3
"""Part of a direction, in the metric of the blocks, that earlier ones must leave for it to be another."""


class Kind(NamedTuple):
    """What is changed: "scale" or "phase" of gains, or the value of the `real` Parms of a label."""

    name: str
    real: bool


GAINS = Kind("scale", False), Kind("phase", False)


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """Directions (unknowns, m) between two classes, one per component and group: a change of `kind` of class `keeper` that class `held`
    can take up."""

    keeper: int
    held: int
    kind: Kind
    directions: csc_array
    common: bool = False
    """Whether one Parm that all stations share is exchanged."""


@dataclass(frozen=True, slots=True, eq=False)
class Exchanges:
    """All of them. `hold` (unknowns, m): the part of the held class in each, times the metric, of unit length in it."""

    found: Sequence[Exchange]
    directions: csc_array
    hold: csc_array

    @classmethod
    def none(cls, count: int) -> Exchanges:
        """For `count` unknowns of which nothing is exchanged."""
        return cls((), csc_array((count, 0)), csc_array((count, 0)))


def exchanges(
    problem: Coupled, at: Minimum, meanings: Sequence[Meaning], datum: Datum, wanted: str
) -> Exchanges:  # fmt: skip
    """Find them at a minimum; `meanings`: of the unknowns of each class; `datum`: what is fixed at the antenna `wanted`."""
    metric = at.blocks.sparse(problem.count)
    finder = _Finder(problem, at, meanings)
    mine = np.concatenate([
        np.repeat([wanted in str(node).split(":")[1:] for node in meaning.node], c.intervals)
        for meaning, c in zip(meanings, problem.classes, strict=True)
    ])  # fmt: skip
    found: list[Exchange] = []
    known: csc_array | None = None
    for i, k in combinations(range(len(problem.classes)), 2):
        for item in finder.between(i, k):
            if item.common:
                item = replace(item, directions=datum.without(item.directions))
            fresh = _fresh(item.directions, known, metric)
            if fresh.any():
                own = csc_array(item.directions[:, np.flatnonzero(fresh)])
                found.append(replace(item, directions=own))
                known = own if known is None else csc_array(hstack([known, own]))
    if known is None:
        return Exchanges.none(problem.count)
    starts = np.cumsum([0, *(c.size for c in problem.classes)])
    held = []
    for item in found:
        taking = np.zeros(problem.count)
        taking[starts[item.held] : starts[item.held + 1]] = 1
        part = csc_array(item.directions.multiply(taking[:, None]))
        if item.common:
            referred = csc_array(part.multiply((taking * mine)[:, None]))
            part = referred if (np.diff(referred.indptr) > 0).all() else part
        weighed = csc_array(metric @ part)
        size = np.sqrt(np.maximum(np.asarray(part.multiply(weighed).sum(0)).ravel(), 1e-300))
        held.append(csc_array(weighed.multiply(1 / size[None])))
    return Exchanges(tuple(found), known, csc_array(hstack(held)))


def settled(
    problem: Coupled, x: np.ndarray, turned: np.ndarray, known: Exchanges
) -> np.ndarray:  # fmt: skip
    """`turned`, which is x referred to an antenna, with all that is exchanged at x given to the keepers: of the logarithms of the gains
    that are held, nothing is left along the directions, in the metric of the blocks."""
    if not known.found:
        return turned
    gain = np.zeros(problem.count, bool)
    start, rows_of = 0, []
    for c in problem.classes:
        rows = start + (c.retract.gains[:, None] * c.intervals + np.arange(c.intervals)).ravel()
        gain[rows] = gain[rows + c.intervals] = True
        rows_of.append(rows)
        start += c.size
    step = np.array([c.intervals for c in problem.classes]).repeat([c.size for c in problem.classes])
    first = np.concatenate(rows_of)
    second = first + step[first]
    value, final = x[first] + 1j * x[second], turned[first] + 1j * turned[second]
    value = np.where(value == 0, 1, value)
    logs = np.log(np.where(final == 0, 1, final))
    content = turned.copy()  # of what is multiplied in: the logarithm times the value, which is what directions change
    content[first], content[second] = (logs * value).real, (logs * value).imag
    inner = (known.hold.T @ known.directions).toarray()
    change = known.directions @ np.linalg.lstsq(inner, -(known.hold.T @ content), rcond=1e-10)[0]
    result = np.where(gain, turned, turned + change)
    moved = np.where(final == 0, 0, np.exp(logs + (change[first] + 1j * change[second]) / value))
    result[first], result[second] = moved.real, moved.imag
    return result


def _fresh(new: csc_array, known: csc_array | None, metric: csr_array) -> np.ndarray:
    """Which directions are no combinations of the known ones. Those of `new` have no unknowns in common."""
    size = np.asarray(new.multiply(metric @ new).sum(0)).ravel()
    if known is None:
        return np.asarray(size > 0)
    weighed = metric @ known
    inner = (known.T @ weighed).toarray()
    cross = (weighed.T @ new).toarray()
    left = size - np.einsum("ij,ij->j", cross, np.linalg.pinv(inner, rcond=1e-10, hermitian=True) @ cross)
    return np.asarray(left > ALIKE * size)


class _Finder:
    """Offers moves of one class to another."""

    def __init__(self, problem: Coupled, at: Minimum, meanings: Sequence[Meaning]) -> None:
        self.problem, self.at, self.meanings = problem, at, meanings
        self.active = at.systems.label < at.systems.count
        self.starts = np.cumsum([0, *(c.size for c in problem.classes)])
        self.values = problem.split(at.x)
        self.rng = np.random.default_rng(0)
        self.counts = np.cumsum([0, *(c.count for c in problem.classes)])
        self.seen = self._seen()
        self.stems = self._stems()

    def _seen(self) -> np.ndarray:
        """(2, pairs): atoms, and the unknowns (numbered class by class without intervals) that they depend on."""
        problem, points = self.problem, self.at.points
        point, column = np.nonzero(points.slope)
        unknown = points.index[point, column]
        owner = np.searchsorted(self.starts, unknown, "right") - 1
        intervals = np.array([c.intervals for c in problem.classes])
        local = self.counts[owner] + (unknown - self.starts[owner]) // intervals[owner]
        order = np.argsort(problem.cells.base)
        atom = order[np.searchsorted(problem.cells.base[order], point, "right") - 1]
        return np.stack(np.divmod(np.unique(atom * self.counts[-1] + local), self.counts[-1]))

    def _stems(self) -> np.ndarray:
        """(2, pairs): stems, and the unknowns (as in `seen`) that they depend on."""
        stems = self.problem.stems
        atoms, (atom, local) = len(self.problem.cells.base), self.seen
        terms = np.repeat(np.arange(len(stems.first) - 1), np.diff(stems.first))
        stem = np.repeat(terms, np.diff(stems.start))
        table = csr_array((np.ones(len(atom)), (atom, local)), shape=(atoms, int(self.counts[-1])))
        uses = csr_array((np.ones(len(stem)), (stem, stems.atom)), shape=(len(stems.first) - 1, atoms))
        both = coo_array(uses @ table)
        return np.stack([both.row, both.col])

    def between(self, i: int, k: int) -> Iterator[Exchange]:
        """What classes i and k exchange."""
        component, group = self._components(i, k), self._groups(i, k)
        for giver, taker in ((i, k), (k, i)):
            for kind, move in self._moves(giver):
                if not kind.real and giver == k:
                    continue  # the same as before with the other sign
                yield from self._offered(giver, taker, kind, move, component, group)

    def _components(self, i: int, k: int) -> dict[int, np.ndarray]:
        """Component of every unknown (count,) of two classes: those that share a stem."""
        counts = self.counts
        stem, local = self.stems
        own = ((local >= counts[i]) & (local < counts[i + 1])) | ((local >= counts[k]) & (local < counts[k + 1]))
        size = int(counts[-1] + stem.max(initial=0) + 1)
        graph = coo_array((np.ones(own.sum()), (local[own], counts[-1] + stem[own])), shape=(size, size))
        label = connected_components(graph, directed=False)[1]
        return {c: label[counts[c] : counts[c + 1]] for c in (i, k)}

    def _groups(self, i: int, k: int) -> dict[int, np.ndarray]:
        """Group of every interval of two classes: those that share cells."""
        a, b = self.problem.classes[i], self.problem.classes[k]
        size = a.intervals + b.intervals
        graph = coo_array((np.ones(len(a.cell)), (a.cell, a.intervals + b.cell)), shape=(size, size))
        label = connected_components(graph, directed=False)[1]
        return {i: label[: a.intervals], k: label[a.intervals :]}

    def _moves(self, c: int) -> Iterator[tuple[Kind, np.ndarray]]:
        """Moves (count, intervals) of a class: scale and phase of complex Parms, values of the n-th real unknown of each component."""
        meaning, value = self.meanings[c], self.values[c]
        first = np.flatnonzero(meaning.part == 1)
        if first.size:
            scale, phase = np.zeros_like(value), np.zeros_like(value)
            scale[first], scale[first + 1] = value[first], value[first + 1]
            phase[first], phase[first + 1] = -value[first + 1], value[first]
            yield from zip(GAINS, (scale, phase), strict=True)
        labels = np.array([node.split(":")[0] for node in meaning.node.tolist()])
        for label, coefficient in dict.fromkeys(
            zip(labels[meaning.part == 0].tolist(), meaning.coefficient[meaning.part == 0].tolist(), strict=True)
        ):
            mine = (labels == label) & (meaning.coefficient == coefficient) & (meaning.part == 0)
            yield Kind(str(label), True), np.broadcast_to(mine[:, None] * 1.0, value.shape)

    def _offered(
        self,
        giver: int,
        taker: int,
        kind: Kind,
        move: np.ndarray,
        component: dict[int, np.ndarray],
        group: dict[int, np.ndarray],
    ) -> Iterator[Exchange]:
        groups = int(max(g.max() for g in group.values())) + 1
        number = {c: (component[c][:, None] * groups + group[c]).ravel() for c in (giver, taker)}
        own, other = (slice(self.starts[c], self.starts[c + 1]) for c in (giver, taker))
        amount = self.rng.uniform(0.5, 1.5, max(int(n.max()) for n in number.values()) + 1)
        q = np.zeros(self.problem.count)
        q[own] = move.ravel() * amount[number[giver]]
        if not kind.real:
            back = dict(self._moves(taker)).get(kind)
            if back is None:
                return
            q[other] = -back.ravel() * amount[number[taker]]
        q[~self.active] = 0
        sides = [np.bincount(number[c], np.abs(q[s]), len(amount)) > 0 for c, s in ((giver, own), (taker, other))]
        both = sides[0] if kind.real else sides[0] & sides[1]
        for c, s in ((giver, own), (taker, other)):
            q[s] *= both[number[c]]
        if kind.real:
            q[other] = self._compensated(q, giver, taker, component).ravel()
            q[~self.active] = 0
        image = self.problem.product(self.at.points, q)
        if not (q[own].any() and q[other].any()) or q @ image > NULL * (q @ (self.at.blocks @ q)):
            return
        rows = np.flatnonzero(q)
        numbers = np.zeros(self.problem.count, int)
        for c, s in ((giver, own), (taker, other)):
            numbers[s] = number[c]
        distinct, column = np.unique(numbers[rows], return_inverse=True)
        entries = q[rows] / amount[numbers[rows]], (rows, column)
        directions = csc_array(coo_array(entries, shape=(self.problem.count, len(distinct))))
        yield Exchange(giver, taker, kind, directions, self._common(giver, kind))

    def _common(self, c: int, kind: Kind) -> bool:
        """Whether a real Parm has one node only, for all stations."""
        nodes = set(self.meanings[c].node.tolist())
        return kind.real and sum(node.split(":")[0] == kind.name for node in nodes) == 1

    def _compensated(self, q: np.ndarray, giver: int, taker: int, component: dict[int, np.ndarray]) -> np.ndarray:
        """The change (count, intervals) of the gains of a class that makes up for a change q of what they are multiplied with."""
        problem, points = self.problem, self.at.points
        made, value, cells = problem.classes[taker], self.values[taker], problem.cells
        change, before = (np.array([1, 1j]) @ v for v in (points.change(q), points.value))
        part = np.divide(change, before, out=np.zeros_like(change), where=before != 0)
        mine = self._of(giver)
        where = np.full(mine.shape, -1)
        where[mine] = component[giver][self.seen[1, mine] - self.counts[giver]]
        count = len(made.cell)
        total = np.bincount(made.cell, minlength=made.intervals)
        result = np.zeros(value.shape)
        for number in np.unique(component[taker][made.retract.gains]):
            atoms = np.unique(self.seen[0, where == number])
            rows = part[cells.base[atoms][:, None] + cells.place[cells.grid[atoms], :count]]
            rows = rows[rows.any(1)]
            if not len(rows):
                continue
            mean = rows.mean(0)
            turn = np.bincount(made.cell, mean.real) + 1j * np.bincount(made.cell, mean.imag)
            own = made.retract.gains[component[taker][made.retract.gains] == number]
            moved = -(value[own] + 1j * value[own + 1]) * turn / np.maximum(total, 1)
            result[own], result[own + 1] = moved.real, moved.imag
        return result

    def _of(self, c: int) -> np.ndarray:
        """Which of `seen` are of a class."""
        return np.asarray((self.seen[1] >= self.counts[c]) & (self.seen[1] < self.counts[c + 1]))
