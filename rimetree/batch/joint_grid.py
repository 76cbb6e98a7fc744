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

from ..plan.atoms import Atoms
from ..solve.coupled import Points
from .fit import ClassFit

if TYPE_CHECKING:
    from .span import Span


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
        self.width = whole.atoms.parameters.shape[1]
        self.parts: dict[int, Atoms] = {}
        self.boundary: Mapping[int, Any] = {}
        self.fixed_part: tuple[np.ndarray, np.ndarray] | None = None

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

    def unknown(self, i: int, local: Any, cells_t: np.ndarray, cells_f: np.ndarray) -> np.ndarray:
        """Numbers of unknowns `local` (of class i, any shape) at a grid of cells: (..., places)."""
        st, sf = self.shapes[i]
        interval = (self.time.intervals[i][cells_t][:, None] * sf + self.freq.intervals[i][cells_f]).ravel()
        return np.asarray(self.starts[i] + np.asarray(local)[..., None] * (st * sf) + interval)

    def prepared(self, parms: Iterable[int], cells_t: np.ndarray, cells_f: np.ndarray) -> dict[int, tuple[Any, ...]]:
        """What the funklets of Parms need to know of a grid of cells."""
        slots = self.span.start + self.time.first[cells_t]
        return self.whole.state.prepared(parms, slots[:, None], self.freq.first[cells_f][:, None])

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
        values, slopes, indices = (np.concatenate(part) for part in zip(*found, strict=True))
        return values, slopes, indices

    def _parm(self, family: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of a Parm family that is linear in its coefficients."""
        i, grid = self.of_parm[family], self.grids[family]
        unknowns = self.classes[i].unknowns
        members, ct, cf = unknowns.shapes[family]
        cells = grid.cells()
        basis = self.prepared([family], *cells)[family]
        slope = np.zeros((members, grid.size, self.width), complex)
        index = np.zeros((members, grid.size, self.width), np.int64)
        parts = unknowns.parts[family]
        for k in range(ct * cf):
            own = np.broadcast_to(basis[k], (len(cells[0]), 1, len(cells[1]), 1)).ravel()
            for part in range(parts):
                slope[..., k * parts + part] = own * 1j**part
                local = unknowns.index(family, np.arange(members), k, part)
                index[..., k * parts + part] = self.unknown(i, local, *cells)
        value = (slope * x[index]).sum(2).ravel()
        return value, slope.reshape(-1, self.width), index.reshape(-1, self.width)

    def _function(self, family: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of any other family: by JAX."""
        if family not in self.parts:
            wanted = [(family, e) for e in self.whole.atoms.elements[family]]
            atoms = self.whole.atoms
            self.parts[family] = Atoms(
                atoms.families, atoms.templates, atoms.solvable, wanted, atoms.unknowns, atoms.funklets
            )
        own, grid = self.parts[family], self.grids[family]
        cells_t, cells_f = grid.cells()
        parms = {s.parm for s in own.slots[family]}
        coefs = {}
        for n in parms:
            fit = self.classes[self.of_parm[n]]
            shape, start = fit.unknowns.shapes[n], fit.unknowns.offsets[n]
            parts = fit.unknowns.parts[n]
            local = start + np.arange(int(np.prod(shape)) * parts)
            values = x[self.unknown(self.of_parm[n], local, cells_t, cells_f)].reshape(*shape, parts, *grid.shape)
            coefs[n] = values[:, :, :, 0] + 1j * values[:, :, :, 1] if parts == 2 else values[:, :, :, 0]
        slots, chans = self.span.start + self.time.first[cells_t], self.freq.first[cells_f]
        coordinates = self.whole.state.coordinates(slots[:, None], chans[:, None])
        fixed = {"values": self._fixed(own, cells_t, cells_f), "coordinates": coordinates}
        values, tangents = (np.asarray(a) for a in own.evaluate(coefs, fixed, self.prepared(parms, cells_t, cells_f)))
        slope = np.zeros((len(values), grid.size, self.width), complex)
        index = np.zeros((len(values), grid.size, self.width), np.int64)
        slope[..., : tangents.shape[1]] = tangents[:, :, 0].transpose(0, 2, 1)
        ends = np.concatenate([[0], np.cumsum([fit.unknowns.count for fit in self.classes])])
        for k in range(tangents.shape[1]):
            number = np.maximum(own.parameters[:, k], 0)
            for i in range(len(self.classes)):
                mine = (number >= ends[i]) & (number < ends[i + 1])
                index[mine, :, k] = self.unknown(i, number[mine] - ends[i], cells_t, cells_f)
        return values.reshape(-1), slope.reshape(-1, self.width), index.reshape(-1, self.width)

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
