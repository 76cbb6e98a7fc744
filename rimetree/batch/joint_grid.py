"""The cells of a coupled problem, and its atoms on grids of their own.

A cell is a maximal piece of the span within which every solution interval of every class is one (a single slot or
channel along an axis on which some atom varies within intervals). An atom that depends on one class only is evaluated
on the intervals of that class, any other on the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..funklets import Polynomial
from ..plan.atoms import Atoms, Unknowns
from ..solve.joint.coupled import Points
from .fit import ClassFit
from .local_basis import local_basis
from .unfit import Unfit

if TYPE_CHECKING:
    from .span import Span

VALUE = Polynomial()
"""What is its only coefficient."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of the cells: `label` (slots or channels of the span,) cell of each; `first`: its first slot or channel;
    per class the interval of every cell, from 0."""

    label: np.ndarray
    first: np.ndarray
    intervals: tuple[np.ndarray, ...]
    collapsed: bool

    @classmethod
    def of(cls, intervals: Sequence[np.ndarray], collapsed: bool) -> Axis:
        """From the interval of every slot or channel, per class."""
        own = [i - i[0] for i in intervals]
        changes = np.any([np.diff(i) != 0 for i in own], axis=0) if collapsed else np.ones(own[0].size - 1, bool)
        label = np.concatenate([[0], np.cumsum(changes)])
        first = np.concatenate([[0], np.flatnonzero(changes) + 1])
        return cls(label.astype(np.int32), first, tuple(i[first] for i in own), collapsed)

    @property
    def count(self) -> int:
        """Number of cells."""
        return len(self.first)


@dataclass(slots=True, eq=False)
class _Grid:
    """Where the points of one family of atoms lie: cell -> place along both axes, and the cell of each place."""

    time: np.ndarray
    freq: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.time[-1]) + 1, int(self.freq[-1]) + 1

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def place(self) -> np.ndarray:
        """The place of every cell."""
        return (self.time[:, None] * self.shape[1] + self.freq).ravel()

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """A cell along each axis for every place along it."""
        return np.unique(self.time, return_index=True)[1], np.unique(self.freq, return_index=True)[1]


class JointAtoms:
    """The atoms of all classes as points, for `Coupled`."""

    def __init__(self, whole: ClassFit, classes: Sequence[ClassFit], span: Span, time: Axis, freq: Axis) -> None:
        self.whole, self.classes, self.span, self.time, self.freq = whole, classes, span, time, freq
        self.of_parm = {n: i for i, fit in enumerate(classes) for n in fit.parms}
        self.shapes = [(int(t[-1]) + 1, int(f[-1]) + 1) for t, f in zip(time.intervals, freq.intervals, strict=True)]
        sizes = [fit.unknowns.count * st * sf for fit, (st, sf) in zip(classes, self.shapes, strict=True)]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.count = int(self.starts[-1])
        self.grids = {family: self._grid(family) for family in whole.atoms.elements}
        self._bases: dict[Any, Any] = {}
        self.parts: dict[int, Atoms] = {}
        self.boundary: Mapping[int, Any] = {}

    def layout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Base and grid of every atom, and the places of all cells on every grid."""
        base, grid, start = [], [], 0
        for k, (family, elements) in enumerate(self.whole.atoms.elements.items()):
            atoms = len(elements) * self.whole.families[family].size
            base.append(start + np.arange(atoms) * self.grids[family].size)
            grid.append(np.full(atoms, k))
            start += atoms * self.grids[family].size
        return np.concatenate(base), np.concatenate(grid), np.stack([g.place() for g in self.grids.values()])

    def alike(self) -> np.ndarray:
        """(atoms,) equal numbers for atoms that may share a block: those of one class and of one grid."""
        labels: dict[Any, int] = {}
        parts = []
        for family, elements in self.whole.atoms.elements.items():
            grid = self.grids[family]
            owners = tuple(sorted({self.of_parm[s.parm] for s in self.whole.atoms.slots[family]}))
            key = owners, grid.time.tobytes(), grid.freq.tobytes()
            parts.append(np.full(len(elements) * self.whole.families[family].size, labels.setdefault(key, len(labels))))
        return np.concatenate(parts)

    def _plain(self, family: int) -> bool:
        return self.whole.atoms.plain(family)

    def _grid(self, family: int) -> _Grid:
        """The coarsest grid on which a family of atoms is defined."""
        parms = [s.parm for s in self.whole.atoms.slots[family]]
        owners = {self.of_parm[n] for n in parms}
        axes = []
        for axis, name in ((self.time, "time"), (self.freq, "freq")):
            varying = self.whole.state.parms[family].varying if self._plain(family) else frozenset()
            smooth = name not in varying if self._plain(family) else axis.collapsed
            if smooth and len(owners) == 1:
                axes.append(axis.intervals[next(iter(owners))])
            elif smooth and all(axis.intervals[i][-1] == 0 for i in owners):
                axes.append(np.zeros(axis.count, int))
            else:
                axes.append(np.arange(axis.count))
        return _Grid(*axes)

    # Values and derivatives.

    def intervals(self, i: int, cells_t: np.ndarray, cells_f: np.ndarray) -> np.ndarray:
        """(places,) interval of class i at a grid of cells."""
        sf = self.shapes[i][1]
        return np.asarray((self.time.intervals[i][cells_t][:, None] * sf + self.freq.intervals[i][cells_f]).ravel())

    def prepared(self, parms: Iterable[int], cells_t: np.ndarray, cells_f: np.ndarray) -> dict[int, tuple[Any, ...]]:
        """What the funklets of Parms need to know of a grid of cells."""
        slots = self.span.start + self.time.first[cells_t]
        return self.whole.state.prepared(parms, slots[:, None], self.freq.first[cells_f][:, None])

    def _basis(self, parm: int, cells_t: np.ndarray, cells_f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of a Parm that is linear in its coefficients, those that are not multiplied by 0 at each place of a grid of cells, and by
        what (places, terms each): a few, however many pieces a spline has."""
        key = parm, cells_t.tobytes(), cells_f.tobytes()
        if key not in self._bases:
            slots = self.span.start + self.time.first[cells_t]
            self._bases[key] = local_basis(self.whole.state, parm, slots, self.freq.first[cells_f])
        return self._bases[key]

    def evaluator(self, boundary: Mapping[int, Any]) -> Callable[[np.ndarray], Points]:
        """`Coupled.points`; `boundary`: the fixed planes that atoms use, on all cells (n, time cells or 1, frequency
        cells or 1)."""
        self.boundary = boundary
        if all(map(self._plain, self.grids)):
            known: list[Points] = []

            def linear(x: np.ndarray) -> Points:
                if not known:
                    slope, index = self._pieces(x)[1:]
                    known.append(Points.of(None, slope, index, self.count, x))
                return known[0].moved(x)

            return linear
        return lambda x: Points.of(*self._pieces(x), self.count, x)

    def _pieces(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, derivatives and their unknowns of all points."""
        found = [self._parm(n, x) if self._plain(n) else self._function(n, x) for n in self.grids]
        width = max(slope.shape[1] for _, slope, _ in found)
        values, slopes, indices = zip(*found, strict=True)
        wide = [[np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in arrays] for arrays in (slopes, indices)]
        return np.concatenate(values), np.concatenate(wide[0]), np.concatenate(wide[1])

    def _terms(
        self, parm: int, members: np.ndarray, cells_t: np.ndarray, cells_f: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the unknowns in the value of some members of a linear Parm, and what multiplies each, 1j for imaginary parts:
        (members, places, terms, parts), and the same without members."""
        i = self.of_parm[parm]
        unknowns, interval = self.classes[i].unknowns, self.intervals(i, cells_t, cells_f)
        which, by = self._basis(parm, cells_t, cells_f)
        part = np.arange(unknowns.parts[parm])
        local = unknowns.index(parm, members[:, None, None, None], which[:, :, None], 0) + part
        index = self.starts[i] + local * int(np.prod(self.shapes[i])) + interval[:, None, None]
        return index, by[:, :, None] * 1j**part

    def _parm(self, family: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of a Parm family that is linear in its coefficients."""
        members = np.arange(self.whole.families[family].size)
        index, by = self._terms(family, members, *self.grids[family].cells())
        slope = np.broadcast_to(by, index.shape)
        value = (slope * x[index]).sum((2, 3)).ravel()
        return value, slope.reshape(value.size, -1), index.reshape(value.size, -1)

    def _atoms(self, family: int) -> Atoms:
        """The atoms of one family by themselves, in which Parms that are linear in their coefficients have one: their value."""
        if family not in self.parts:
            whole = self.whole.atoms
            parms = sorted({s.parm for s in whole.slots[family]})
            shapes, funklets = {}, {}
            for n in parms:
                linear = whole.funklets[n].linear
                shapes[n] = (whole.unknowns.shapes[n][0], 1, 1) if linear else whole.unknowns.shapes[n]
                funklets[n] = VALUE if linear else whole.funklets[n]
            own = Unknowns.of(shapes, {n: whole.unknowns.parts[n] == 2 for n in parms})
            wanted = [(family, e) for e in whole.elements[family]]
            self.parts[family] = Atoms(whole.families, whole.templates, whole.solvable, wanted, own, funklets)
        return self.parts[family]

    def _function(self, family: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of any other family: by JAX."""
        own, grid = self._atoms(family), self.grids[family]
        cells = cells_t, cells_f = grid.cells()
        coefs, cells_of, terms = {}, {}, {}
        for n in {s.parm for s in own.slots[family]}:
            i, (members, *shape) = self.of_parm[n], self.whole.unknowns.shapes[n]
            parts = self.whole.unknowns.parts[n]
            if self.whole.atoms.funklets[n].linear:
                terms[n] = index, by = self._terms(n, np.arange(members), *cells)
                value = (by * x[index]).sum((2, 3)).reshape(members, 1, 1, *grid.shape)
                coefs[n] = value if parts == 2 else value.real
                cells_of[n] = (1.0,)
                continue
            of_class = self.classes[i].unknowns
            local = of_class.index(n, np.arange(members)[:, None, None], np.arange(int(np.prod(shape)))[:, None], 0)
            local = (local + np.arange(parts))[:, None]  # (members, 1, coefficients, parts)
            index = self.starts[i] + local * int(np.prod(self.shapes[i])) + self.intervals(i, *cells)[:, None, None]
            terms[n] = index, np.ones(1)
            value = np.moveaxis(x[index], 1, -1).reshape(members, *shape, parts, *grid.shape)
            coefs[n] = value[:, :, :, 0] + 1j * value[:, :, :, 1] if parts == 2 else value[:, :, :, 0]
            cells_of |= self.prepared([n], *cells)
        slots, chans = self.span.start + self.time.first[cells_t], self.freq.first[cells_f]
        coordinates = self.whole.state.coordinates(slots[:, None], chans[:, None])
        fixed = {"values": self._fixed(own, cells_t, cells_f), "coordinates": coordinates}
        values, tangents = (np.asarray(a) for a in own.evaluate(coefs, fixed, cells_of))
        if not np.isfinite(values).all():
            self._watch(own, values, grid, (coefs, fixed, cells_of))
        count, size = self.whole.families[family].size, grid.size
        slopes, indices, k = [], [], 0
        for s in own.slots[family]:
            index, by = terms[s.parm]
            index = index[s.index]
            if self.whole.atoms.funklets[s.parm].linear:
                parts = index.shape[3]  # derivatives by the parts of the value: 1j is in these
                slope = tangents[:, k : k + parts, 0].transpose(0, 2, 1)[:, :, None] * by[:, :, :1].real
            else:
                parts = index.shape[2] * index.shape[3]
                slope = tangents[:, k : k + parts, 0].transpose(0, 2, 1)
            k += parts
            slopes.append(slope.reshape(len(values), size, -1))
            indices.append(np.tile(index.reshape(count, size, -1), (len(values) // count, 1, 1)))
        slope, index = np.concatenate(slopes, 2), np.concatenate(indices, 2)
        return values.reshape(-1), slope.reshape(values.size, -1), index.reshape(values.size, -1)

    def _watch(self, own: Atoms, values: np.ndarray, grid: _Grid, given: Any) -> None:
        """Remember which node is not finite, and in which intervals of the first class."""
        unfit, first = Unfit(own), self.classes[0]
        unfit.watch(values, 0, grid.shape, given)
        offset = int(first.state.parms[first.parms[0]].slot_interval[self.span.start])
        cells_t, cells_f = grid.cells()
        for t, f in unfit.intervals:
            place = self.time.intervals[0][cells_t[t]], self.freq.intervals[0][cells_f[f]]
            first.unfit.intervals.add((offset + int(place[0]), int(place[1])))
        first.unfit.culprit = first.unfit.culprit or unfit.culprit

    def _fixed(self, own: Atoms, cells_t: np.ndarray, cells_f: np.ndarray) -> dict[int, tuple[np.ndarray, ...]]:
        """Boundary planes at a grid of cells, (n, St, 1, Sf, 1)."""
        result = {}
        for n in own.boundary:
            planes = []
            for plane in self.boundary[n]:
                part = plane[:, cells_t] if plane.shape[1] > 1 else plane
                part = part[:, :, cells_f] if plane.shape[2] > 1 else part
                planes.append(part[:, :, None, :, None])
            result[n] = tuple(planes)
        return result
