"""What the stations of an interval have in common, for preconditioning coupled problems and for their errors.

Blocks of stations say nothing of a change that all stations share, and chi2 may hardly see it: the phase of x against y where only a weakly
polarised source shows it has eigenvalues a thousand times below the others, one in every slot and channel. For each class, component and
interval a few such moves (scale and phase of all gains of a name, a common value of real Parms; of every coefficient, where they have
several) span a coarse space; what is slow in it is treated exactly (additive two-level preconditioners: Nabben & Vuik 2006, SIAM J.
Sci. Comput. 27, 1742).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array, csr_array

from .cg import Blocks

if TYPE_CHECKING:
    from .joined import Class

NULL, SLOW = 1e-7, 0.3
"""Eigenvalues relative to the blocks: null directions lie below the first and are never entered; above the second nothing is slow."""

MOST = 600
"""Moves that are looked at together; more are taken in turns, some coefficients at a time."""

Vector = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Common moves of some unknowns, `rows` of `where` in the vector of all: of each kind of move (a scale, a phase, a value) what it
    does to every row (kinds, rows, intervals), and the number of the move that this is a part of, as sparse ones (rows, moves)."""

    where: slice
    rows: np.ndarray
    value: np.ndarray
    number: Sequence[csr_array]

    def within(self, x: Vector) -> np.ndarray:
        """W^T x, (moves, intervals)."""
        own = x[self.where].reshape(-1, self.value.shape[2])[self.rows]
        return np.asarray(sum(s.T @ (v * own) for v, s in zip(self.value, self.number, strict=True)))

    def add(self, amount: np.ndarray, to: Vector) -> None:
        """Add W times amounts (moves, intervals) to x."""
        to[self.where].reshape(-1, self.value.shape[2])[self.rows] += sum(
            v * (s @ amount) for v, s in zip(self.value, self.number, strict=True)
        )

    def combined(self, T: np.ndarray) -> np.ndarray:
        """W T (combinations, rows, intervals) for T (intervals, moves, combinations)."""
        made = T.transpose(2, 1, 0)
        return np.asarray(sum(v * made[:, s.indices] for v, s in zip(self.value, self.number, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Slow combinations of moves, T (intervals, moves, combinations), of unit length in the metric B of the blocks; their eigenvalues
    (combinations, intervals), 1 where there is none."""

    moves: _Moves
    T: np.ndarray
    value: np.ndarray

    def amount(self, x: Vector) -> np.ndarray:
        """w^T x, (combinations, intervals)."""
        return np.asarray(np.einsum("tms,mt->st", self.T, self.moves.within(x)))

    def add(self, amount: np.ndarray, to: Vector) -> None:
        """Add w times amounts (combinations, intervals)."""
        self.moves.add(np.einsum("tms,st->mt", self.T, amount), to)


@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """M = B - sum (1 - value) (B w) (B w)^T, and its inverse."""

    parts: Sequence[_Part]
    fresh = False
    """Whether it is worth making anew at every step."""

    def preconditioner(
        self, inverse: Callable[[Vector], Vector], damping: Vector | None = None
    ) -> Callable[[Vector], Vector]:
        """The inverse of M, given that of the blocks; both with `damping` (unknowns,) times B besides."""
        factors = []
        for part in self.parts:
            more = 0.0 if damping is None else damping[part.moves.where].reshape(-1, part.value.shape[1]).max(0)
            factors.append(1 / (part.value + more) - 1 / (1 + more))

        def apply(r: Vector) -> Vector:
            result = inverse(r)
            for part, factor in zip(self.parts, factors, strict=True):
                part.add(part.amount(r) * factor, result)
            return result

        return apply

    def diagonal(self, count: int) -> Vector:
        """Of the inverse of M, besides that of the blocks."""
        result = np.zeros(count)
        for part in self.parts:
            own, moves = np.einsum("sct,st->ct", part.moves.combined(part.T) ** 2, 1 / part.value - 1), part.moves
            result[moves.where].reshape(-1, own.shape[1])[moves.rows] += own
        return result

    def directions(self, count: int) -> tuple[csr_array, np.ndarray]:
        """All slow moves as the columns W of a sparse matrix (unknowns, moves), and what the inverse of M has times W W^T."""
        rows, values, more, total = [], [], [], 0
        for part in self.parts:
            w = part.moves.combined(part.T)
            moves, _, intervals = w.shape
            unknown = part.moves.where.start + part.moves.rows[:, None] * intervals + np.arange(intervals)
            column = total + np.arange(moves * intervals).reshape(moves, 1, intervals)
            rows.append(np.stack(np.broadcast_arrays(unknown, column)).reshape(2, -1))
            values.append(w.ravel())
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
            slow = np.zeros_like(x)
            for part in self.parts:
                part.add(part.amount(result) * (part.value - 1), slow)
            return result + blocks @ slow

        return apply


def coarse(classes: Sequence[Class], x: Vector, product: Callable[[Vector], Vector], blocks: Blocks) -> Coarse:
    """The slow moves at the unknowns x of all classes: a product for each kind of move, for all intervals and for all coefficients of
    a colour (see `Colours`) at once."""
    parts: list[_Part] = []
    start = 0
    for c in classes:
        where, start = slice(start, start + c.size), start + c.size
        for k in range(int(c.component.max(initial=-1)) + 1):
            parts += _component(c, where, x, np.flatnonzero(c.component == k), product, blocks)
    return Coarse(parts)


def _component(
    c: Class, where: slice, x: Vector, rows: np.ndarray, product: Callable[[Vector], Vector], blocks: Blocks
) -> Iterator[_Part]:
    """Those of the unknowns `rows` of a class."""
    value = _moves(c, x[where].reshape(c.count, c.intervals), rows)
    kinds, kind = np.unique(c.kind[rows], return_inverse=True)
    site, name = np.empty((2, len(kinds)), int)
    site[kind], name[kind] = c.colours.site[rows], c.name[rows]
    colour, chunk = c.colours.colour[site], np.empty(len(kinds), int)
    chunk[kind] = c.coefficient[rows] * -(-2 * len(kinds) // MOST) // (c.coefficient[rows].max(initial=0) + 1)
    # of kind i the moves i (scale or value) and len(kinds) + i (phase), those of a chunk numbered from 0
    moved = np.array([np.bincount(kind, v.any(1), len(kinds)) > 0 for v in value])
    local = np.zeros(moved.shape, int)
    for i in np.unique(chunk):
        own = moved & (chunk == i)
        local[own] = np.arange(own.sum())
    sizes = np.bincount(chunk, moved.sum(0)).astype(int)
    made = [np.zeros((2, c.intervals, n, n)) for n in sizes]
    source = np.full((int(site.max()) + 1, int(name.max()) + 1), -1)
    source[site, name] = np.arange(len(kinds))
    for shade, label, way in np.ndindex(int(colour.max()) + 1, int(name.max()) + 1, 2):
        giving = (colour == shade) & (name == label) & moved[way]
        if not giving.any():
            continue
        q = np.zeros((c.count, c.intervals))
        q[rows] = value[way] * giving[kind][:, None]
        whole = np.zeros(len(x))
        whole[where] = q.ravel()
        near = c.colours.near[shade][site]  # the site whose change each kind feels
        giver = np.where(near >= 0, source[np.minimum(near, len(source) - 1), label], -1)
        giver = np.where((giver >= 0) & (chunk[giver] == chunk), giver, -1)
        giver = np.where((giver >= 0) & giving[giver], giver, -1)
        for which, image in enumerate((product(whole), blocks @ whole)):
            own = image[where].reshape(c.count, c.intervals)[rows]
            for other in range(2):
                taking = np.flatnonzero((giver >= 0) & moved[other])
                if not taking.size:
                    continue
                sums = csr_array((np.ones(len(rows)), (kind, np.arange(len(rows))))) @ (value[other] * own)
                for i in np.unique(chunk[taking]):
                    to = taking[chunk[taking] == i]
                    made[i][which][:, local[other, to], local[way, giver[to]]] = sums[to].T
    for i, (E, G) in enumerate(made):
        mine = chunk[kind] == i
        number = [
            csr_array(
                (moved[way][kind[mine]] * 1.0, local[way][kind[mine]], np.arange(mine.sum() + 1)),
                (mine.sum(), sizes[i]),
            )
            for way in range(2)
        ]
        yield from _slow(_Moves(where, rows[mine], value[:, mine], number), E, G)


def _moves(c: Class, value: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(2, rows, intervals): what a common scale, or a common value of what has none, does to unknowns of a class; and a common phase."""
    real = c.turning[np.isin(c.turning, rows)]
    found = np.zeros((2, *value.shape))
    found[0, rows] = 1
    found[0, real], found[0, real + 1] = value[real], value[real + 1]
    found[1, real], found[1, real + 1] = -value[real + 1], value[real]
    return np.asarray((found * c.free)[:, rows])


def _slow(moves: _Moves, E: np.ndarray, G: np.ndarray) -> Iterator[_Part]:
    """What of the moves is slow, interval by interval, given their products with the matrix and with the blocks."""
    size = np.sqrt(np.maximum(np.einsum("tkk->tk", G), 0))
    unit = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    g, U = np.linalg.eigh((G + G.transpose(0, 2, 1)) / 2 * unit[:, :, None] * unit[:, None])
    good = g > 1e-6
    T = unit[:, :, None] * U * np.where(good, 1 / np.sqrt(np.where(good, g, 1)), 0)[:, None]
    value, y = np.linalg.eigh(T.transpose(0, 2, 1) @ ((E + E.transpose(0, 2, 1)) / 2) @ T)
    use = (value > NULL) & (value < SLOW)
    if use.any():
        keep = use.any(0)
        yield _Part(moves, ((T @ y) * use[:, None])[:, :, keep], np.where(use, value, 1.0)[:, keep].T)
