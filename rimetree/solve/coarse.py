"""What the stations of an interval have in common, for preconditioning coupled problems and for their errors.

Blocks of stations say nothing of a change that all stations share, and chi2 may hardly see it: the phase of x against y where only a weakly
polarised source shows it has eigenvalues a thousand times below the others, one in every slot and channel. For each class, component and
interval a few such moves (scale and phase of all gains of a name, a common value of real Parms) span a coarse space; what is slow in it is
treated exactly (additive two-level preconditioners: Nabben & Vuik 2006, SIAM J. Sci. Comput. 27, 1742).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from .cg import Blocks
from .joined import Class

NULL, SLOW = 1e-7, 0.3
"""Eigenvalues relative to the blocks: null directions lie below the first and are never entered; above the second nothing is slow."""

Vector = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Slow moves of a component of a class, whose unknowns are `rows` of `where` in the vector of all: w (moves, rows, intervals), of unit
    length in the metric B of the blocks; B w; their eigenvalues (moves, intervals), 1 where there is none."""

    where: slice
    rows: np.ndarray
    w: np.ndarray
    Bw: np.ndarray
    value: np.ndarray

    def of(self, x: Vector) -> np.ndarray:
        """x of these unknowns (rows, intervals)."""
        return np.asarray(x[self.where].reshape(-1, self.w.shape[2])[self.rows])


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """M = B - sum (1 - value) (B w) (B w)^T, and its inverse."""

    parts: Sequence[_Part]

    def _add(self, result: Vector, part: _Part, own: np.ndarray) -> None:
        result[part.where].reshape(-1, own.shape[1])[part.rows] += own

    def preconditioner(
        self, inverse: Callable[[Vector], Vector], damping: Vector | None = None
    ) -> Callable[[Vector], Vector]:
        """The inverse of M, given that of the blocks; both with `damping` (unknowns,) times B besides."""
        factors = []
        for part in self.parts:
            more = 0.0 if damping is None else part.of(damping).max(0)
            factors.append(1 / (part.value + more) - 1 / (1 + more))

        def apply(r: Vector) -> Vector:
            result = inverse(r)
            for part, factor in zip(self.parts, factors, strict=True):
                amount = np.einsum("sct,ct->st", part.w, part.of(r)) * factor
                self._add(result, part, np.einsum("sct,st->ct", part.w, amount))
            return result

        return apply

    def diagonal(self, count: int) -> Vector:
        """Of the inverse of M, besides that of the blocks."""
        result = np.zeros(count)
        for part in self.parts:
            self._add(result, part, np.einsum("sct,st->ct", part.w**2, 1 / part.value - 1))
        return result

    def directions(self, count: int) -> tuple[csr_array, np.ndarray]:
        """All slow moves as the columns W of a sparse matrix (unknowns, moves), and what the inverse of M has times W W^T."""
        rows, values, more, total = [], [], [], 0
        for part in self.parts:
            moves, _, intervals = part.w.shape
            unknown = part.where.start + part.rows[:, None] * intervals + np.arange(intervals)
            column = total + np.arange(moves * intervals).reshape(moves, 1, intervals)
            rows.append(np.stack(np.broadcast_arrays(unknown, column)).reshape(2, -1))
            values.append(part.w.ravel())
            more.append((1 / part.value - 1).ravel())
            total += moves * intervals
        if not total:
            return csr_array((count, 0)), np.empty(0)
        made = coo_array((np.concatenate(values), np.concatenate(rows, 1)), shape=(count, total)).tocsr()
        return made, np.concatenate(more)

    def matrix(self, blocks: Blocks) -> Callable[[Vector], Vector]:
        """The product with M."""

        def apply(x: Vector) -> Vector:
            result = blocks @ x
            for part in self.parts:
                amount = np.einsum("sct,ct->st", part.Bw, part.of(x)) * (part.value - 1)
                self._add(result, part, np.einsum("sct,st->ct", part.Bw, amount))
            return result

        return apply


def coarse(classes: Sequence[Class], x: Vector, product: Callable[[Vector], Vector], blocks: Blocks) -> Coarse:
    """The slow moves at the unknowns x of all classes: a product for each kind of move, for all intervals at once."""
    parts: list[_Part] = []
    start = 0
    for c in classes:
        where, start = slice(start, start + c.size), start + c.size
        value = x[where].reshape(c.count, c.intervals)
        for k in range(int(c.component.max(initial=-1)) + 1):
            rows = np.flatnonzero(c.component == k)
            own = np.array([move[rows] * c.free[rows] for move in _moves(c, value, rows)])
            images = np.zeros((2, *own.shape))
            for i, move in enumerate(own):
                whole = np.zeros((c.count, c.intervals))
                whole[rows] = move
                q = np.zeros(len(x))
                q[where] = whole.ravel()
                for image, made in zip(images, (product(q), blocks @ q), strict=True):
                    image[i] = made[where].reshape(c.count, c.intervals)[rows]
            parts += _slow(where, rows, own, *images)
    return Coarse(parts)


def _moves(c: Class, value: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Common moves (count, intervals) of the unknowns `rows` of a class."""
    gain = np.zeros(c.count, bool)
    gain[c.retract.gains] = gain[c.retract.gains + 1] = True
    mine = np.isin(np.arange(c.count), rows)
    for kind in np.unique(c.kind[rows]):
        own = np.flatnonzero(mine & (c.kind == kind))
        first = own[np.isin(own, c.retract.gains)]
        if first.size:
            scale, phase = np.zeros_like(value), np.zeros_like(value)
            scale[first], scale[first + 1] = value[first], value[first + 1]
            phase[first], phase[first + 1] = -value[first + 1], value[first]
            yield from (scale, phase)
        elif not gain[own].any():
            same = np.zeros_like(value)
            same[own] = 1
            yield same


def _slow(where: slice, rows: np.ndarray, own: np.ndarray, Hw: np.ndarray, Bw: np.ndarray) -> Iterator[_Part]:
    """What of the moves (moves, rows, intervals) is slow, interval by interval."""
    E, G = (np.einsum("kct,lct->tkl", own, image) for image in (Hw, Bw))
    size = np.sqrt(np.einsum("tkk->tk", G))
    unit = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    g, U = np.linalg.eigh(G * unit[:, :, None] * unit[:, None])
    good = g > 1e-6
    T = unit[:, :, None] * U * np.where(good, 1 / np.sqrt(np.where(good, g, 1)), 0)[:, None]
    value, y = np.linalg.eigh(T.transpose(0, 2, 1) @ ((E + E.transpose(0, 2, 1)) / 2) @ T)
    use = (value > NULL) & (value < SLOW)
    use &= np.isfinite(value)
    if not use.any():
        return
    y = (T @ y) * use[:, None]
    keep = use.any(0)
    w, Bw = (np.einsum("kct,tks->sct", a, y[:, :, keep]) for a in (own, Bw))
    yield _Part(where, rows, w, Bw, np.where(use, value, 1.0)[:, keep].T)
