"""Problems whose data are never summed: residuals and their derivatives, piece by piece of the data, whenever they are needed.

For equations that have no small sums (thousands of sources in each), for unknowns that are too many for a normal matrix, and for data
that do not fit in memory: every product is one pass. Nothing is made that grows with data times unknowns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...plan.residuals import Piece, Residuals
from .band_sums import Layout
from .banded import Banded, banded
from .cg import Blocks, Systems
from .coupled import Coupled, Points
from .joined import WIDE, Joined

SEED = 0

COARSER = 100
"""Times `tol` that the last step may promise per unknown: 1 % of their errors (rms) with the usual `tol`; errors are known to 5 %."""


@dataclass(frozen=True, slots=True, eq=False)
class MatrixFree(Joined):
    """A problem on pieces of data, which `pieces()` gives, always the same. A point is the unknowns themselves."""

    residuals: Residuals
    pieces: Callable[[], Iterable[Piece]]
    samples: int
    """Samples of which the blocks are the mean."""
    scale: np.ndarray
    """(parts, cells) chi2 of the data themselves."""
    watch: Callable[[np.ndarray, Piece, np.ndarray], None]
    """Told of unknowns and a piece at which chi2 (parts, cells) is not finite."""

    def points(self, x: np.ndarray) -> np.ndarray:
        """The unknowns."""
        return x

    def slopes(self, points: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Joined.slopes`."""
        chi2: Any = np.zeros(self.data.shape)
        gradient: Any = self.prior.precision * (x - self.prior.mean)
        for piece in self.pieces():
            own, slope = self.residuals.slopes(points, piece)
            chi2, gradient = chi2 + own, gradient + slope
            if not np.isfinite(own).all():
                self.watch(points, piece, np.asarray(own))
        return np.asarray(gradient), np.asarray(chi2)

    def product(self, points: np.ndarray, x: np.ndarray) -> np.ndarray:
        """See `Joined.product`: one pass over the data."""
        from ...plan.xla import jax

        there, total = jax.device_put((points, x)), np.zeros(())
        for piece in self.pieces():
            total = total + self.residuals.product(
                there[0], piece, there[1]
            )  # on the device: pieces need not wait for the host
        return self.prior.precision * x + np.asarray(total)

    def blocks(self, points: np.ndarray) -> Blocks:
        """Means of samples; a group whose blocks are diagonal has blocks of one unknown."""
        from ...plan.xla import jax

        groups, key = self.residuals.groups, jax.random.key(SEED)
        total: list[Any] = [0.0] * len(groups)
        for i, piece in enumerate(self.pieces()):
            for k in range(self.samples):
                made = self.residuals.sample(points, piece, jax.random.fold_in(key, i * self.samples + k))
                total = [t + m for t, m in zip(total, made, strict=True)]
        free = np.concatenate([c.free.ravel() for c in self.classes])
        unknowns, matrices = [], []
        for group, whole in zip(groups, total, strict=True):
            number = group.unknowns(self.residuals.solved)
            size = 1 if group.diagonal else len(number)
            number = np.moveaxis(number, 0, -1).reshape(-1, size)
            mean = np.asarray(whole) / self.samples
            if group.diagonal:
                matrix = np.moveaxis(mean, 0, -1).reshape(-1, 1, 1)
            else:
                matrix = np.moveaxis(mean, (0, 1), (-2, -1)).reshape(-1, size, size)
            matrix = matrix * free[number][:, :, None] * free[number][:, None]
            matrix[:, range(size), range(size)] += self.prior.precision[number]
            unknowns.append(number)
            matrices.append(matrix)
        return Blocks(unknowns, matrices)

    def power(self) -> np.ndarray:
        """See `Joined.power`."""
        return self.scale

    def allowance(self, systems: Systems) -> np.ndarray:
        """See `Joined.allowance`."""
        return by_unknowns(systems)

    def wake(self, cells: np.ndarray) -> None:
        """Every pass is over all data."""


NARROW = 16
"""Coefficients of a Parm in one block, with which fits start where all of the matrix follows."""


@dataclass(frozen=True, slots=True, eq=False)
class Summed(Coupled):
    """The same fit where equations separate and their sums over cells fit in memory: a product takes these instead of data."""

    kept: dict[str, Layout | None] = field(default_factory=dict)
    """The layout of the normal matrix."""

    def matrix(self, points: Points) -> Banded | None:
        """All of the normal matrix, where that is banded and small enough."""
        for _ in range(2):  # once more where other unknowns meet now
            layout = self._layout(points)
            if layout is None:
                break
            if made := banded(self, points, layout):
                return made
            self.kept.clear()
        return None

    def _layout(self, points: Points) -> Layout | None:
        if "layout" not in self.kept:
            self.kept["layout"] = Layout.of(self, points)
        return self.kept["layout"]

    def blocks(self, points: Points) -> Blocks:
        """See `Joined.blocks`; where all of the matrix can be made, its diagonal will do."""
        if self._layout(points) is None:
            return Coupled.blocks(self, points)
        p, q, weight, _ = self.met(points)
        own = np.flatnonzero(p == q)
        each = weight[own, None] * abs(points.slope[p[own]]) ** 2
        found = self.prior.precision + np.bincount(points.index[p[own]].ravel(), each.ravel(), self.count)
        seen = np.flatnonzero(found > 0)
        return Blocks([seen[:, None]], [found[seen, None, None]])

    def sections(self, wide: int = WIDE) -> np.ndarray:
        """See `Joined.sections`; where all of the matrix can be made, small ones will do for a start."""
        return Coupled.sections(self, NARROW if self.kept.get("layout") else wide)

    def stations(self, points: Points) -> Blocks:
        """See `Joined.stations`."""
        return Coupled.blocks(self, points)

    def coarse(self, points: Points, x: np.ndarray, blocks: Blocks) -> Any:
        """See `Joined.coarse`: all of the normal matrix, where that is banded."""
        return self.matrix(points) or Coupled.coarse(self, points, x, blocks)

    def allowance(self, systems: Systems) -> np.ndarray:
        """See `Joined.allowance`."""
        return by_unknowns(systems)


def by_unknowns(systems: Systems) -> np.ndarray:
    """An allowance by the number of unknowns. What chi2 hardly sees (a phase that the splines of all antennas share) is a curved valley,
    in which steps gain less and less, exact ones too."""
    return COARSER * np.bincount(systems.label, minlength=systems.count + 1)[: systems.count]


ALTERNATIONS = 16
"""Steps with alternating factors 1 and 1/2 that a cold start gets."""


def started(problem: Joined, x: np.ndarray) -> np.ndarray:
    """A start from which products of unknowns find their minimum: steps by the blocks alone, as the kernels take them (see `lm`;
    Salvini & Wijnholds 2014, A&A 571, A97), or x itself where these do not lower chi2."""
    free = np.concatenate([c.free.ravel() for c in problem.classes])
    points = problem.points(x)
    gradient, chi2 = problem.slopes(points, x)
    best = float(chi2.sum())
    here, found = x, x
    for k in range(ALTERNATIONS):
        inverse = problem.stations(points).inverse(np.zeros(len(x)))
        here = problem.retract(here, -(free * (inverse @ (free * gradient))) / (1 + k % 2))
        points = problem.points(here)
        gradient, chi2 = problem.slopes(points, here)
        now = float(chi2.sum())
        if not np.isfinite(now) or (k % 2 and now > 0.9 * best):
            break
        if now < best:
            best, found = now, here
    return found
