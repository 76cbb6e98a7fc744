"""The sums over data in the cells of all classes of a joint fit, and the equations of each class by itself that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..solve.joint.cell_sums import CellSums
from ..solve.joint.class_sums import contracted
from ..solve.joint.coupled import Points
from ..solve.reduce.bilinear import Stems, pairs
from ..solve.reduce.forms import Form
from ..solve.single.problem import Equations, Problem, no_atoms
from .fit import ClassFit
from .joint_grid import Axis, JointAtoms
from .span import Span, bind

if TYPE_CHECKING:
    from .joint import JointFit

PARTS = 4_000_000
"""Numbers of independent components times cells up to which chi2 is kept for each."""


@dataclass(frozen=True, slots=True, eq=False)
class JointSums:
    """What the data of a span come down to. `components`: of each unknown of each class, as `JointFit.class_list` takes them with
    `parts`, which of each class the parts of the equations see; `whole`: no components were joined."""

    joint: JointFit
    span: Span
    time: Axis
    freq: Axis
    components: Sequence[np.ndarray]
    parts: np.ndarray
    whole: bool
    atoms: JointAtoms
    stems: Stems
    sums: CellSums
    points: Callable[[np.ndarray], Points]
    """All atoms at some unknowns of all classes."""
    dropped: int
    """Data that are not finite."""

    @classmethod
    def collect(cls, joint: JointFit, span: Span, time: Axis, freq: Axis) -> JointSums:
        """Pass over all tiles."""
        forms = [form for own in joint.whole.forms for form in own]
        components = [shell(own, 1).labels() for own in joint.classes]
        members, seen = joint.parts(forms, components)
        whole = len(seen) * time.count * freq.count <= PARTS
        if not whole:
            components = [np.minimum(c, 0) for c in components]
            members, seen = joint.parts(forms, components)
        table, stems = pairs(forms, members)
        atoms = JointAtoms(joint.whole, joint.classes, span, time, freq)
        sums = CellSums.empty(table, (time.count, freq.count), *atoms.layout())
        boundary, dropped = _collect(joint.whole, sums, span, time, freq)
        return cls(
            joint, span, time, freq, components, seen, whole, atoms, stems, sums, atoms.evaluator(boundary), dropped
        )

    def start(self) -> np.ndarray:
        """The present coefficients of all classes (unknowns,)."""
        return np.concatenate([own._theta(first, count).ravel() for own, first, count in self._places()])

    def put(self, x: np.ndarray) -> None:
        """Make unknowns the present coefficients."""
        parts = np.split(x, self.atoms.starts[1:-1])
        for (own, first, count), part in zip(self._places(), parts, strict=True):
            own.put(part.reshape(own.unknowns.count, -1), first, count)

    def _places(self) -> Iterator[tuple[ClassFit, int, int]]:
        """Classes with their first time interval and how many they have."""
        for own, time in zip(self.joint.classes, self.time.intervals, strict=True):
            yield own, int(own.state.parms[own.parms[0]].slot_interval[self.span.start]), int(time[-1]) + 1

    def equations(self, i: int) -> list[Equations] | None:
        """Those of class i by itself, the others held fixed where they are; None where they do not follow from sums over cells: where
        one has several planes, or an atom is not finite or varies within intervals."""
        own, table, cells = self.joint.classes[i], self.sums.table, self.sums.cells
        forms = [form for forms in own.forms for form in forms]
        if not self.whole or not table.plain.all() or own.atoms.boundary or own.collapses() != (True, True):
            return None
        mine = self._mine(i, forms)
        if mine is None:
            return None
        value = self.points(self.start()).value
        if not np.isfinite(value).all():
            return None
        value = value.copy()
        value[:, np.repeat(mine, (cells.place.max(1) + 1)[cells.grid])] = np.array([[1.0], [0.0]])
        shape = self.atoms.shapes[i]
        interval = (self.time.intervals[i][:, None] * shape[1] + self.freq.intervals[i]).ravel()
        weight, product, data = contracted(self.sums, self.stems, value, interval, shape)
        coef = np.repeat([complex(f.term_coef[0]) for f in forms], table.members)[:, None]
        root = np.sqrt(weight) / abs(coef)
        y = np.divide(product, root * coef.conj(), out=np.zeros_like(product), where=root > 0)
        rest = self._rest(y.real**2 + y.imag**2, interval)
        made = []
        for e, form in enumerate(forms):
            rows = slice(table.member[e], table.member[e + 1])
            R, parts = _wide(root[rows]), (_wide(y[rows].real)[:, 0], _wide(y[rows].imag)[:, 0])
            made.append(Equations(form, (R, 0 * R), parts, rest[rows], data[rows]))
        return made

    def _mine(self, i: int, forms: Sequence[Form]) -> np.ndarray | None:
        """(atoms,) which are of class i; None where its own equations are not made of what it gives to the stems of all."""
        own, whole, table = self.joint.classes[i].atoms, self.joint.whole.atoms, self.sums.table
        if len(forms) != len(table.members) or (np.diff(self.stems.first) != 1).any():
            return None
        number = np.full(own.count, -1)
        for family, elements in own.elements.items():
            if not set(elements) <= set(whole.elements.get(family, ())):
                return None
            for element in elements:
                members = np.arange(own.families[family].size)
                number[own.position(family, element) + members] = whole.position(family, element) + members
        mine = np.zeros(whole.count, bool)
        mine[number] = True
        stems = _padded(self.stems, mine)
        for e, form in enumerate(forms):
            if len(form.term_coef) != 1 or len(form.factor_atom) != table.members[e]:
                return None
            used = form.term_factor[0][form.term_factor[0] >= 0]
            for side, turned in ((table.left, False), (table.right, True)):
                atoms = np.sort(number[form.factor_atom[:, used[form.factor_conj[used] == turned]]], 1)
                taken = stems[side[table.use[e] : table.use[e + 1]]]
                width = atoms.shape[1]
                if width >= taken.shape[1] or (taken[:, :width] != atoms).any():
                    return None
                if (taken[:, width:] < whole.count).any():
                    return None
        return mine

    def _rest(self, power: np.ndarray, interval: np.ndarray) -> np.ndarray:
        """What of chi2 no parameter of a class changes, where `power` (members of all equations, intervals) is the rest: a part of the
        equations knows it of all of its members, the first of which gets it."""
        table, constant = self.sums.table, self.sums.of_cells(self.sums.constant)
        rest, total = -power, np.zeros((len(constant), power.shape[1]))
        np.add.at(total, table.part, power)
        parts, first = np.unique(table.part, return_index=True)
        for part, member in zip(parts, first, strict=True):
            rest[member] += np.maximum(np.bincount(interval, constant[part], power.shape[1]), total[part])
        return rest


def shell(own: ClassFit, intervals: int) -> Problem:
    """A class as a problem without data: its unknowns, and which of them equations connect."""
    equations = []
    for forms in own.forms:
        for form in forms:
            none = np.empty((len(form.factor_atom), 0))
            equations.append(Equations(form, (none, none), (none, none), none, none))
    return Problem(
        tuple(equations), own.atoms.parameters, own.blocks, own.retract, no_atoms, own.multiplicative, own.unknowns.count, intervals,
        linear=own.atoms.linear, meaning=own.meaning, structure=own.structure, fitted=own.fitted,
    )  # fmt: skip


def _wide(x: np.ndarray) -> np.ndarray:
    """(members, intervals) as (members, one row, one plane, one joint cell, intervals)."""
    return np.ascontiguousarray(x)[:, None, None, None]


def _padded(stems: Stems, mine: np.ndarray) -> np.ndarray:
    """(stems, most + 1): the atoms of each that are `mine` in order, then a number larger than all; every stem is one term."""
    term = np.repeat(np.arange(len(stems.start) - 1), np.diff(stems.start))
    place = np.arange(len(stems.atom)) - stems.start[term]
    result = np.full((len(stems.start) - 1, int(place.max(initial=-1)) + 2), len(mine))
    kept = mine[stems.atom]
    result[term[kept], place[kept]] = stems.atom[kept]
    return np.sort(result, 1)


def _collect(whole: ClassFit, sums: CellSums, span: Span, time: Axis, freq: Axis) -> tuple[dict[int, Any], int]:
    """Add all tiles; returns the fixed planes that atoms use, on the cells, and how many data were dropped."""
    dropped = 0
    planes: dict[int, list[Any]] = {n: [] for n in whole.atoms.boundary}
    for tile in span.tiles():
        tensors = whole.cascade.tensors(tile)
        for n, pieces in planes.items():
            pieces.append(whole.cascade.boundary(tensors, n))
        label, equation = time.label[tile.start - span.start : tile.stop - span.start], 0
        for place, table in enumerate(whole.tables):
            if not table.forms:  # nothing in it depends on any unknown
                continue
            sources = bind(table.sources, whole.families, whole.visibilities, tile, tensors)
            elements, flags, weights = whole.data(place, tile)
            number = np.full(whole.families[table.family].size, -1)
            number[whole.condeqs[place]] = np.arange(len(whole.condeqs[place]))
            dropped += sums.add(
                equation, number, np.array(table.real), table.planes, sources, tile.rows, elements, label, freq.label,
                flags, weights,
            )  # fmt: skip
            equation += len(table.forms)
    boundary = {n: [_on_cells(p, time, freq) for p in zip(*pieces, strict=True)] for n, pieces in planes.items()}
    return boundary, dropped


def _on_cells(pieces: Sequence[np.ndarray], time: Axis, freq: Axis) -> np.ndarray:
    """Planes (n, slots or 1, channels or 1) of consecutive tiles at the first slot and channel of each cell."""
    whole = pieces[0] if pieces[0].shape[1] == 1 else np.concatenate(pieces, 1)
    whole = whole[:, time.first] if whole.shape[1] > 1 else whole
    return np.asarray(whole[:, :, freq.first] if whole.shape[2] > 1 else whole)
