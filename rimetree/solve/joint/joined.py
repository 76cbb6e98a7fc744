"""Classes of parameters with different solution intervals as the unknowns of one problem, whatever makes its products.

All unknowns of all classes are one vector: class by class, unknown by unknown, interval by interval. Problems that no datum connects
(polarisations, scans) are systems of their own: each has its damping, its convergence and its status.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..single.bounds import TOUCHING, Bounds, Prior, clip
from ..single.retract import Retraction
from .cg import Blocks, Systems
from .coarse import Coarse, coarse
from .colours import Colours

WIDE = 64
"""Coefficients of a Parm that may be in one block."""


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """One class: `count` unknowns in each of `intervals` intervals; `cell` (cells,) the interval of every cell."""

    count: int
    intervals: int
    cell: np.ndarray
    retract: Retraction
    component: np.ndarray
    """(count,) component of each unknown within the class, -1 where no equation sees it."""
    of_part: np.ndarray
    """(parts,) the component that each part of the equations sees, -1 where it sees none."""
    free: np.ndarray
    """(count, intervals) whether an unknown is fitted there."""
    bounds: Bounds
    """The same in all intervals."""
    coefficient: np.ndarray
    """(count,) which coefficient of its Parm an unknown is."""
    colours: Colours
    turning: np.ndarray
    """Real parts of the complex unknowns that have a common scale and phase: gains, and what has several coefficients."""
    name: np.ndarray
    """(count,) number of the name of its Parm; for a complex one with neither scale nor phase, other numbers for the two parts."""
    kind: np.ndarray
    """(count,) equal numbers for what is alike in all stations: the same coefficient of Parms of one name."""

    @property
    def size(self) -> int:
        """Unknowns in all."""
        return self.count * self.intervals


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Directions that are held at bounds: along (cosine, sine) of the unknowns `real` and `imag` (the same one where it is real)."""

    real: np.ndarray
    imag: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray

    def without(self, x: np.ndarray) -> np.ndarray:
        """x without its parts along these."""
        result, along = x.copy(), self.cosine * x[self.real] + self.sine * x[self.imag]
        result[self.real] -= self.cosine * along
        result[self.imag] -= self.sine * along
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Joined(ABC):
    """A problem over the unknowns of `classes`; `data` (parts, cells) real data, in cells within which no interval ends.

    A point is whatever a problem keeps of some unknowns.
    """

    classes: tuple[Class, ...]
    data: np.ndarray
    prior: Prior
    """Mean and precision of every unknown, (unknowns,)."""

    @abstractmethod
    def points(self, x: np.ndarray) -> Any:
        """The point at the unknowns x."""

    @abstractmethod
    def slopes(self, points: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Half the gradient of chi2 at x, and the data's part of chi2 (parts, cells)."""

    @abstractmethod
    def product(self, points: Any, x: np.ndarray) -> np.ndarray:
        """The Gauss-Newton matrix, J^T J and the precision of priors, times x."""

    @abstractmethod
    def blocks(self, points: Any) -> Blocks:
        """Blocks on the diagonal of J^T J, exact or nearly so."""

    def stations(self, points: Any) -> Blocks:
        """Blocks that say of a station all that a step by these alone needs."""
        return self.blocks(points)

    @abstractmethod
    def power(self) -> np.ndarray:
        """(parts, cells) what sets the rounding errors of chi2."""

    @abstractmethod
    def wake(self, cells: np.ndarray) -> None:
        """From now on, only these cells (cells,) matter."""

    def coarse(self, points: Any, x: np.ndarray, blocks: Blocks) -> Coarse:
        """What all stations have in common and chi2 hardly sees: it costs a few products."""
        return coarse(self.classes, x, lambda v: self.product(points, v), blocks)

    def labour(self, systems: Systems) -> float:
        """Products that take as long as `exact`; infinitely many where that is not possible."""
        return np.inf

    def exact(self, points: Any, blocks: Blocks, systems: Systems) -> Any:
        """Like `coarse`, but the whole matrix of some systems."""
        raise NotImplementedError

    def allowance(self, systems: Systems) -> np.ndarray:
        """How many times `tol` the next step may promise in each system that has converged: once for each interval of each class."""
        seen = systems.label < systems.count
        pairs = np.unique(np.stack([systems.label[seen], self.owner()[seen]]), axis=1)
        return np.bincount(pairs[0], minlength=systems.count)

    @property
    def count(self) -> int:
        """Unknowns in all."""
        return sum(c.size for c in self.classes)

    def split(self, x: np.ndarray) -> list[np.ndarray]:
        """Unknowns class by class, (count, intervals)."""
        ends = np.cumsum([c.size for c in self.classes])[:-1]
        return [part.reshape(c.count, c.intervals) for c, part in zip(self.classes, np.split(x, ends), strict=True)]

    def retract(self, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        """x after a step, within bounds."""
        parts = zip(self.classes, self.split(x), self.split(step), strict=True)
        return np.concatenate(
            [_inside(c, c.retract(np.ascontiguousarray(a), np.ascontiguousarray(b))).ravel() for c, a, b in parts]
        )

    def held(self, x: np.ndarray, gradient: np.ndarray) -> Held | None:
        """What lies at a bound and would leave it; None where nothing does."""
        rows = [_at_bounds(*own) for own in zip(self.classes, self.split(x), self.split(gradient), strict=True)]
        starts = np.cumsum([0, *(c.size for c in self.classes)])
        numbers = [np.concatenate([r[i] + s for r, s in zip(rows, starts, strict=False)]) for i in range(2)]
        cosine, sine = (np.concatenate([r[i] for r in rows]) for i in (2, 3))
        return Held(numbers[0], numbers[1], cosine, sine) if numbers[0].size else None

    def surprise(self, x: np.ndarray) -> np.ndarray:
        """The priors' part of chi2, per unknown."""
        return self.prior.precision * (x - self.prior.mean) ** 2

    def sections(self, wide: int = WIDE) -> np.ndarray:
        """Number of the class, interval and coefficients (`wide` at a time) that each unknown belongs to: what a block is part of."""
        parts, start = [], 0
        for c in self.classes:
            own = c.coefficient[:, None] // wide * c.intervals + np.arange(c.intervals)
            parts.append(start + own.ravel())
            start += int(own.max(initial=-1)) + 1
        return np.concatenate(parts)

    def owner(self) -> np.ndarray:
        """Class and interval of every unknown, as one number."""
        parts, start = [], 0
        for c in self.classes:
            parts.append(np.tile(np.arange(c.intervals) + start, c.count))
            start += c.intervals
        return np.concatenate(parts)

    def systems(self) -> tuple[Systems, np.ndarray]:
        """The independent systems, and the system of each part in each cell (parts, cells), -1 where there are no data."""
        parts, cells = self.data.shape
        starts = np.cumsum([0, *((c.component.max(initial=-1) + 1) * c.intervals for c in self.classes)])
        node = np.full((len(self.classes), parts, cells), -1)
        for i, c in enumerate(self.classes):
            own = starts[i] + c.of_part[:, None] * c.intervals + c.cell
            node[i] = np.where((c.of_part[:, None] >= 0) & (self.data > 0), own, -1)
        first = node.max(0)
        one, other = np.broadcast_to(first, node.shape)[node >= 0], node[node >= 0]
        graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(starts[-1], starts[-1]))
        _, found = connected_components(graph, directed=False)
        of_cell = np.where(first >= 0, found[np.maximum(first, 0)], -1)
        numbers = np.unique(of_cell[of_cell >= 0])
        of_cell[of_cell >= 0] = np.searchsorted(numbers, of_cell[of_cell >= 0])
        seen = np.zeros(starts[-1], bool)
        seen[other] = True
        system = np.where(seen, np.searchsorted(numbers, found), len(numbers))
        labels = []
        for c, start in zip(self.classes, starts, strict=False):
            place = start + c.component[:, None] * c.intervals + np.arange(c.intervals)
            label = np.where(c.free & (c.component >= 0)[:, None], system[np.maximum(place, 0)], len(numbers))
            labels.append(label.ravel())
        return Systems(np.concatenate(labels), len(numbers)), of_cell


def per_system(of_cell: np.ndarray, count: int, x: np.ndarray) -> np.ndarray:
    """Sums of x (parts, cells) over each of `count` systems."""
    return np.bincount(of_cell.ravel() + 1, x.ravel(), count + 1)[1:]


def _inside(c: Class, x: np.ndarray) -> np.ndarray:
    """Unknowns (count, intervals) moved into their bounds."""
    clip(c.bounds, x)
    return x


def _at_bounds(c: Class, x: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of what is held: number of the real and imaginary part within the class, and the direction along which it is bounded."""
    bounds = c.bounds
    first, second = bounds.unknown, bounds.unknown + bounds.modulus
    value, side = x[first], np.where(bounds.modulus[:, None], x[second], 0.0)
    size = np.hypot(value, side)
    turned = bounds.modulus[:, None] & (size > 0)
    cosine = np.where(turned, value / np.where(size > 0, size, 1), 1.0)
    sine = np.where(turned, side / np.where(size > 0, size, 1), 0.0)
    along = np.where(bounds.modulus[:, None], size, value)
    rise = cosine * slope[first] + sine * slope[second]
    low, high = bounds.lower[:, None], bounds.upper[:, None]
    held = (rise > 0) & (along <= low + TOUCHING * abs(low)) | (rise < 0) & (along >= high - TOUCHING * abs(high))
    row, interval = np.nonzero(held)
    number = [n[row] * c.intervals + interval for n in (first, second)]
    return number[0], number[1], cosine[held], sine[held]
