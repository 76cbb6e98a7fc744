"""Sums over rows of columns of equations that have several solvable planes, of any correlations (see `aligned`).

Planes of different correlations meet by vectors whose numbers change places: with c and c' = c xor r, lane c of x times what lane c'
of y was is the product of both correlations, for all c at once. The weights are those of the data of an element, of correlation q:
in lane c, those of c xor u. As the right factor is y times w with its numbers changed over by s, and then both by r, s = r xor u is
c' xor q: none for the data, whose correlation is q. Models have sums for each s, unless all correlations have the same weights,
as they mostly have.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ..algebra.memory import fetch, float64s, int32s, int64s, peek, poke
from ..algebra.simd import INLINE, KERNEL, LANES, choose, load, splat, store, total, vectors
from ..algebra.threads import take
from .aligned import Aligned
from .gram import Job, add_block, scratch
from .packed import GROUP, crossed, fold, halved, plain, swapped, usable
from .turns import begin, end, number

CACHE = 24 << 10
"""Bytes of vectors to work on at once: what a core keeps nearest."""

NEAR, LINE = 2048, 64
"""Bytes of a Gram matrix that are fetched while its sums are made, and those of a line of a cache."""

CORRELATIONS = 4


ALWAYS, EVEN, UNEVEN = 0, 1, 2
"""When something is needed: where all correlations have the same weights, or not."""

MIXED = 2 * CORRELATIONS
"""Vectors of the sums of a pair of columns: sum x y and sum x swapped y, by part, for r = 0, 1, 3, 2."""

PLACE = (0, 1, 3, 2)
"""Of r among these."""


class Pairs(NamedTuple):
    """The products of columns that elements are made of."""

    columns: np.ndarray
    """(columns, 2): address; 1 where values only count with the weights of their own correlation."""
    rights: np.ndarray
    """(rights, 3): column, s, when."""
    groups: np.ndarray
    """(groups, 8): when, right factor, first vector of the sums, number of left columns (0: one, with each r), these."""
    parts: np.ndarray
    """(parts, 2): first vector of sums, and of those that are part of them where weights were EVEN."""
    terms: np.ndarray
    """(terms, 5): element, places of the real and imaginary part in its Gram matrix, first vector, correlation."""
    coef: np.ndarray
    """(terms, 2): what multiplies the term, real and imaginary part."""
    corr: np.ndarray
    """(elements,): of the data."""
    size: np.ndarray
    """(elements,): numbers in a Gram matrix."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """Baseline of each member."""
    weights: np.ndarray
    vectors: int
    """Of sums; the last one is of the data used."""
    chunk: int
    """Vectors of a column to work on at once."""


class Term(NamedTuple):
    """Planes a <= b of an element: their columns, their correlations xor each other, and that of b xor that of the data."""

    element: int
    a: int
    b: int
    left: int
    right: int
    r: int
    s: int


class Product(NamedTuple):
    """Sums of a left column times a right one."""

    left: int
    right: int
    s: int
    when: int


def pairs_of(found: Aligned, job: Job) -> Pairs:
    """What the kernel takes."""
    terms = list(_terms(found, job.ntheta.tolist()))
    uneven = {(t.left, t.right) for t in terms if t.s}
    own = np.ones(len(found.columns), np.int64)
    wanted: dict[Product, bool] = {}
    """Whether numbers change places."""
    for t in terms:
        own[t.left] &= t.r == t.s
        own[t.right] &= t.s == 0
        product, apart = _product(t, uneven), (t.left, t.right) in uneven
        wanted[product] = wanted.get(product, False) or apart or t.r > 0
        if apart:
            wanted[product._replace(s=0, when=EVEN)] = True
    rights: dict[tuple[int, int], set[int]] = {}
    for product in wanted:
        rights.setdefault((product.right, product.s), set()).add(product.when)
    groups, first, count = _groups(wanted, list(rights))
    place, coef = [], []
    for t in terms:
        k, corr = job.ntheta[t.element] + 1, found.corr[t.element, t.a]
        place.append([t.element, t.a * k + t.b, t.b * k + t.a, first[_product(t, uneven)] + 2 * PLACE[t.r], corr])
        coef.append(2 * found.coef[t.element, t.a].conj() * found.coef[t.element, t.b])  # w is twice the weight
    needed = [[*right, whens.pop() if len(whens) == 1 else ALWAYS] for right, whens in rights.items()]
    parts = [[first[p], first[p._replace(s=0, when=EVEN)]] for p in wanted if p.when == UNEVEN]
    room = 8 * LANES * (CORRELATIONS + len(own) + len(rights))
    return Pairs(
        np.stack([found.columns, own], 1), np.array(needed), np.array(groups), np.array(parts, np.int64).reshape(-1, 2),
        np.array(place), np.array(coef).view(float).reshape(-1, 2), found.own, (job.ntheta.astype(np.int64) + 1) ** 2,
        found.index, job.weights, count + 1, max(1, CACHE // room),
    )  # fmt: skip


def _terms(found: Aligned, counts: list[int]) -> Iterator[Term]:
    for e, count in enumerate(counts):
        column, corr, own = found.column[e].tolist(), found.corr[e].tolist(), int(found.own[e])
        for b in range(count + 1):
            for a in range(b + 1):
                yield Term(e, a, b, column[a], column[b], corr[a] ^ corr[b], corr[b] ^ own)


def _product(term: Term, uneven: set[tuple[int, int]]) -> Product:
    """The sums that a term is of, where weights are not even."""
    return Product(term.left, term.right, term.s, UNEVEN if (term.left, term.right) in uneven else ALWAYS)


def _groups(
    wanted: dict[Product, bool], rights: list[tuple[int, int]]
) -> tuple[list[list[int]], dict[Product, int], int]:
    """`Pairs.groups`, the first vector of each product, and the number of vectors."""
    groups, first, count = [], dict[Product, int](), 0
    alike: dict[tuple[int, int], list[Product]] = {}
    for product, mixed in wanted.items():
        right = rights.index((product.right, product.s))
        if mixed:
            groups.append([product.when, right, count, 0, product.left, 0, 0, 0])
            first[product] = count
            count += MIXED
        else:
            alike.setdefault((product.when, right), []).append(product)
    for (when, right), products in alike.items():
        while products:
            n = next(n for n in (4, 2, 1) if n <= len(products))
            groups.append([when, right, count, n, *([p.left for p in products[:n]] + 3 * [0])[:4]])
            for p in products[:n]:
                first[p] = count
                count += 2
            products = products[n:]
    return groups, first, count


@kernel(**INLINE)
def _weights(weights, flags, first, n, room):
    """Vectors 0:n of `room`: weights of the numbers from `first` on, 0 where they cannot be used. Returns how many can be, by part."""
    used = splat(0.0)
    for i in range(n):
        at = first + GROUP * i
        w = usable(weights + 4 * at, flags + at)
        store(room, i, w)
        used += choose(w, splat(0.5), splat(0.0))
    return used


@kernel(**INLINE)
def _even(room, n):
    """Whether the weights of all correlations are the same."""
    differ = splat(0.0)
    for i in range(n):
        w = load(room, i)
        d, e = w - crossed(w), w - halved(w)
        differ += d * d + e * e
    return total(differ) == 0.0


@kernel(**INLINE)
def _change_over(room, n, chunk):
    """Weights as `room` has them at 0, with numbers changed over by s: at s * chunk."""
    for i in range(n):
        w = load(room, i)
        v = halved(w)
        store(room, chunk + i, crossed(w))
        store(room, 2 * chunk + i, v)
        store(room, 3 * chunk + i, crossed(v))


@kernel(**INLINE)
def _read(address, own, first, n, room, to):
    """Numbers of a column from `first` on, 0 where they count with their `own` weights only and these are 0."""
    for i in range(n):
        x = plain(address + 8 * (first + GROUP * i))
        store(room, to + i, choose(load(room, i), x, splat(0.0)) if own else x)


@kernel(**INLINE)
def _add_mixed(room, x, y, n, out, at):
    a, b, c, d = load(out, at), load(out, at + 1), load(out, at + 2), load(out, at + 3)
    e, f, g, h = load(out, at + 4), load(out, at + 5), load(out, at + 6), load(out, at + 7)
    for i in range(n):
        u, v = load(room, x + i), load(room, y + i)
        a, b, v = a + u * v, b + u * swapped(v), crossed(v)
        c, d, v = c + u * v, d + u * swapped(v), halved(v)
        e, f, v = e + u * v, f + u * swapped(v), crossed(v)
        g, h = g + u * v, h + u * swapped(v)
    for k, value in enumerate((a, b, c, d, e, f, g, h)):
        store(out, at + k, value)


@kernel(**INLINE)
def _add_four(room, w, x, y, z, right, n, out, at):
    a, b, c, d = load(out, at), load(out, at + 1), load(out, at + 2), load(out, at + 3)
    e, f, g, h = load(out, at + 4), load(out, at + 5), load(out, at + 6), load(out, at + 7)
    for i in range(n):
        v = load(room, right + i)
        t = swapped(v)
        a, b = a + load(room, w + i) * v, b + load(room, w + i) * t
        c, d = c + load(room, x + i) * v, d + load(room, x + i) * t
        e, f = e + load(room, y + i) * v, f + load(room, y + i) * t
        g, h = g + load(room, z + i) * v, h + load(room, z + i) * t
    for k, value in enumerate((a, b, c, d, e, f, g, h)):
        store(out, at + k, value)


@kernel(**INLINE)
def _add_two(room, w, x, right, n, out, at):
    a, b, c, d = load(out, at), load(out, at + 1), load(out, at + 2), load(out, at + 3)
    for i in range(n):
        v = load(room, right + i)
        t = swapped(v)
        a, b = a + load(room, w + i) * v, b + load(room, w + i) * t
        c, d = c + load(room, x + i) * v, d + load(room, x + i) * t
    for k, value in enumerate((a, b, c, d)):
        store(out, at + k, value)


@kernel(**INLINE)
def _add_one(room, w, right, n, out, at):
    a, b = load(out, at), load(out, at + 1)
    for i in range(n):
        v, u = load(room, right + i), load(room, w + i)
        a, b = a + u * v, b + u * swapped(v)
    store(out, at, a)
    store(out, at + 1, b)


@kernel(**KERNEL)
def _sum(extent, columns, rights, groups, parts, weights, flags, first, stop, room, out, base):
    """Write the sums over complex numbers first:stop of a row to vectors `base`... of `out`. Returns whether all are finite.
    Numbers in `extent`: of columns, right factors, groups, parts, vectors of a chunk and of sums (see `Pairs`)."""
    ncolumn, nright, ngroup, npart, chunk, count = extent
    for k in range(base, base + count):
        store(out, k, splat(0.0))
    used = splat(0.0)
    for origin in range(first, stop, GROUP * chunk):
        n = min(chunk, (stop - origin) // GROUP)
        used += _weights(weights, flags, origin, n, room)
        skipped = UNEVEN
        if npart and not _even(room, n):
            _change_over(room, n, chunk)
            skipped = EVEN
        for k in range(ncolumn):
            to = (CORRELATIONS + k) * chunk
            if peek(columns, 2 * k + 1):
                _read(peek(columns, 2 * k), True, origin, n, room, to)
            else:
                _read(peek(columns, 2 * k), False, origin, n, room, to)
        last = (CORRELATIONS + ncolumn) * chunk
        for k in range(nright):
            if peek(rights, 3 * k + 2) == skipped:
                continue
            x, w = (CORRELATIONS + peek(rights, 3 * k)) * chunk, peek(rights, 3 * k + 1) * chunk
            for i in range(n):
                store(room, last + k * chunk + i, load(room, x + i) * load(room, w + i))
        for k in range(ngroup):
            at = 8 * k
            if peek(groups, at) == skipped:
                continue
            right, to, lefts = last + peek(groups, at + 1) * chunk, base + peek(groups, at + 2), peek(groups, at + 3)
            a, b = (CORRELATIONS + peek(groups, at + 4)) * chunk, (CORRELATIONS + peek(groups, at + 5)) * chunk
            c, d = (CORRELATIONS + peek(groups, at + 6)) * chunk, (CORRELATIONS + peek(groups, at + 7)) * chunk
            if lefts == 0:
                _add_mixed(room, a, right, n, out, to)
            elif lefts == 1:
                _add_one(room, a, right, n, out, to)
            elif lefts == 2:
                _add_two(room, a, b, right, n, out, to)
            else:
                _add_four(room, a, b, c, d, right, n, out, to)
    store(out, base + count - 1, used)
    for k in range(npart):
        to, part = base + peek(parts, 2 * k), base + peek(parts, 2 * k + 1)
        for i in range(MIXED):
            store(out, to + i, load(out, to + i) + load(out, part + i))
    bad = splat(0.0)
    for k in range(base, base + count):
        bad += load(out, k) * 0.0
    return total(bad) == 0.0


@kernel(**INLINE)
def _fetch(grams, square, ne, nf, cell):
    """Have the Gram matrices of a cell of all elements brought near."""
    for e in range(ne):
        size = 8 * peek(square, e) * nf
        for k in range(0, min(size, NEAR) + LINE, LINE):
            fetch(peek(grams, e) + size * cell + k)


@kernel(**INLINE)
def _give(out, terms, coef, nterm, grams, square, cell, nf):
    """Add sums to the Gram matrices of all elements, at `cell`: frequency cells before those of its time and member, and among these."""
    for k in range(nterm):
        e, up, low = peek(terms, 5 * k), nf * peek(terms, 5 * k + 1), nf * peek(terms, 5 * k + 2)
        v = LANES * peek(terms, 5 * k + 3) + 2 * peek(terms, 5 * k + 4)
        gram = float64s(peek(grams, e) + 8 * (peek(square, e) * cell[0] + cell[1]))
        re, im = peek(out, v) + peek(out, v + 1), peek(out, v + LANES) - peek(out, v + LANES + 1)
        cr, ci = peek(coef, 2 * k), peek(coef, 2 * k + 1)
        poke(gram, up, peek(gram, up) + (cr * re - ci * im))
        if low != up:
            poke(gram, low, peek(gram, low) + (cr * im + ci * re))


@kernel(**KERNEL)
def add_pairs(pairs, address, count, p, job, turns, counter):
    """Add all data to the Gram matrices at `address` (elements,) and to `count`, as `gram.add_lines` does. Returns the number
    of data dropped because they are not finite."""
    ne, members, nt, nf = count.shape
    ncorr, size, slots = job.flags.shape[2], job.flags.shape[1] * job.flags.shape[2], p.rows.shape[1]
    index, rows = int32s(pairs.index.ctypes.data), int32s(p.rows.ctypes.data)
    weights, flags = pairs.weights.ctypes.data, job.flags.ctypes.data
    nrun, runs, tcell = job.runs.shape[0], int32s(job.runs.ctypes.data), int32s(job.tcell.ctypes.data)
    terms, coef, nterm = int64s(pairs.terms.ctypes.data), float64s(pairs.coef.ctypes.data), pairs.terms.shape[0]
    corr, square = int64s(pairs.corr.ctypes.data), int64s(pairs.size.ctypes.data)
    grams, counts, sums = int64s(address.ctypes.data), count.ctypes.data, pairs.vectors
    columns, rights = int64s(pairs.columns.ctypes.data), int64s(pairs.rights.ctypes.data)
    groups, parts = int64s(pairs.groups.ctypes.data), int64s(pairs.parts.ctypes.data)
    extent = (
        pairs.columns.shape[0], pairs.rights.shape[0], pairs.groups.shape[0], pairs.parts.shape[0], pairs.chunk, sums
    )  # fmt: skip
    room = vectors((CORRELATIONS + pairs.columns.shape[0] + pairs.rights.shape[0]) * pairs.chunk)
    found, dropped = vectors(sums * nrun), 0
    turn = take(counter)
    while turn < number(turns):
        s0, s1, m0, m1 = begin(turns, turn)
        for s in range(s0, s1):
            t = np.int64(peek(tcell, s))
            for m in range(m0, m1 if t >= 0 else m0):
                b = np.int64(peek(index, m))
                row = np.int64(peek(rows, b * slots + s)) if b >= 0 else -1
                if row < 0:
                    continue
                fine, at = True, row * size
                _fetch(grams, square, ne, nf, m * nt + t)
                for r in range(nrun):
                    first, stop = at + peek(runs, 4 * r) * ncorr, at + peek(runs, 4 * r + 1) * ncorr
                    fine &= _sum(
                        extent, columns, rights, groups, parts, weights, flags, first, stop, room, found, sums * r
                    )
                if not fine:  # a datum is NaN or infinite
                    dropped += add_block(scratch(job), address, count, p, job, s, s + 1, m, m + 1, (0, 0))
                    continue
                for r in range(nrun):
                    out = float64s(found.ctypes.data + 8 * LANES * sums * r)
                    fold(out, 0, sums, ncorr)
                    f = np.int64(peek(runs, 4 * r + 2))
                    _give(out, terms, coef, nterm, grams, square, (nf * (m * nt + t), f), nf)
                    for e in range(ne):
                        used = int64s(counts + 8 * (((e * members + m) * nt + t) * nf + f))
                        v = LANES * (sums - 1) + 2 * peek(corr, e)
                        poke(used, 0, peek(used, 0) + np.int64(peek(out, v) + peek(out, v + 1) + 0.5))
        end(turns, turn)
        turn = take(counter)
    return dropped
