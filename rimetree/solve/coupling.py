"""Kernels of coupled problems: chi-squared with its gradient, products with the Gauss-Newton matrix, and the blocks on
its diagonal.

Lanes are cells: maximal pieces of time and frequency within which every solution interval of every class is one. All
that chi2 knows of a cell are the Gram matrices A of the fixed planes and b of planes and data (see `sums`); with phi_a =
P_a conj(Q_a) (see `bilinear`) chi2 = phi^H A phi + 2 Re(phi^H b) + c. Derivatives run backwards from the residual to
stems, atoms and **points** (values of atoms on grids of their own), so that neither the Jacobian nor any product of
unknowns is ever stored: a product with the Gauss-Newton matrix reads A once.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from .simd import INLINE, KERNEL, LANES, add, load, splat, store
from .threads import take


class Cells(NamedTuple):
    """Data of all cells, eight by eight; cells beyond the last have zeros."""

    A: np.ndarray
    """(blocks, vectors, LANES): per equation and member the planes x planes Gram matrix, laid out as `sums.Gram`."""
    b: np.ndarray
    """(blocks, vectors, LANES): per equation, member and plane its product with the constant part, real and imaginary."""
    first: np.ndarray
    """(equations + 1, 2): where each equation begins in A and in b."""
    live: np.ndarray
    """(blocks,) whether a block is worked on."""
    base: np.ndarray
    """(atoms,) the first point of each atom."""
    grid: np.ndarray
    """(atoms,) the grid of its points."""
    place: np.ndarray
    """(grids, cells): the point, after the first, at which a grid is taken in each cell."""


@nb.njit(**INLINE)
def _copy(gram, m, t, i, k, f, kept, whole, out, block, at):
    """Eight cells (those of `kept`) of an element of the Gram matrices of a member, of which the first is t, f."""
    if whole:
        for v in range(LANES):
            out[block, at, v] = gram[m, t, i, k, f + v]
        return
    nf = gram.shape[4]
    for v in range(LANES):
        out[block, at, v] = gram[m, t + (f + v) // nf, i, k, (f + v) % nf] if kept[v] else 0.0


@nb.njit(**KERNEL)
def pack(gram, rows, parts, keep, equation, cells, constant, counter):
    """A and b of one equation from `sums.Gram` (members, time cells, T + 1, T + 1, frequency cells), its members `rows`.

    keep (parts, cells): whether a cell counts for a component, parts (members,); adds to constant (parts, blocks, LANES).
    """
    count, nf, n = gram.shape[1] * gram.shape[4], gram.shape[4], gram.shape[2] - 1
    kept, spare = np.empty(LANES, np.bool_), np.empty((1, 1, LANES))
    block = take(counter)
    while block < cells.A.shape[0]:
        t, f = block * LANES // nf, block * LANES % nf
        for r in range(rows.shape[0]):
            m, p = rows[r], parts[r]
            a0, b0 = cells.first[equation, 0] + r * n * n, cells.first[equation, 1] + r * 2 * n
            whole = f + LANES <= nf
            for v in range(LANES):
                kept[v] = block * LANES + v < count and keep[p, block * LANES + v]
                whole &= kept[v]
            for i in range(n):
                for k in range(n):
                    _copy(gram, m, t, i, k, f, kept, whole, cells.A, block, a0 + i * n + k)
                _copy(gram, m, t, i, n, f, kept, whole, cells.b, block, b0 + 2 * i)
                _copy(gram, m, t, n, i, f, kept, whole, cells.b, block, b0 + 2 * i + 1)
            _copy(gram, m, t, n, n, f, kept, whole, spare, 0, 0)
            for v in range(LANES):
                constant[p, block, v] += spare[0, 0, v]
        block = take(counter)


@nb.njit(**INLINE)
def _clear(array, count):
    for i in range(count):
        store(array, i, splat(0.0))


@nb.njit(**KERNEL)
def _gather(points, cells, block, out):
    """Atoms of the cells of a block from points (2, points), real and imaginary parts in turn."""
    for a in range(cells.base.shape[0]):
        base, grid = cells.base[a], cells.grid[a]
        for v in range(LANES):
            at = base + cells.place[grid, block * LANES + v]
            out[2 * a, v] = points[0, at]
            out[2 * a + 1, v] = points[1, at]


@nb.njit(**KERNEL)
def _scatter(atoms, cells, block, points):
    """The transpose of `_gather`: add to points."""
    for a in range(cells.base.shape[0]):
        base, grid = cells.base[a], cells.grid[a]
        for v in range(LANES):
            at = base + cells.place[grid, block * LANES + v]
            points[0, at] += atoms[2 * a, v]
            points[1, at] += atoms[2 * a + 1, v]


@nb.njit(**KERNEL)
def _values(stems, atoms, out):
    """Stems from atoms."""
    for s in range(stems.first.shape[0] - 1):
        re, im = splat(0.0), splat(0.0)
        for m in range(stems.first[s], stems.first[s + 1]):
            pr, pi = splat(stems.coef[m, 0]), splat(stems.coef[m, 1])
            for k in range(stems.start[m], stems.start[m + 1]):
                a = nb.int64(stems.atom[k])
                xr, xi = load(atoms, 2 * a), load(atoms, 2 * a + 1)
                pr, pi = pr * xr - pi * xi, pr * xi + pi * xr
            re, im = re + pr, im + pi
        store(out, 2 * s, re)
        store(out, 2 * s + 1, im)


@nb.njit(**KERNEL)
def _changes(stems, atoms, changes, out):
    """Changes of stems from changes of atoms."""
    for s in range(stems.first.shape[0] - 1):
        re, im = splat(0.0), splat(0.0)
        for m in range(stems.first[s], stems.first[s + 1]):
            pr, pi = splat(stems.coef[m, 0]), splat(stems.coef[m, 1])
            dr, di = splat(0.0), splat(0.0)
            for k in range(stems.start[m], stems.start[m + 1]):
                a = nb.int64(stems.atom[k])
                xr, xi, yr, yi = (
                    load(atoms, 2 * a),
                    load(atoms, 2 * a + 1),
                    load(changes, 2 * a),
                    load(changes, 2 * a + 1),
                )
                dr, di = dr * xr - di * xi + pr * yr - pi * yi, dr * xi + di * xr + pr * yi + pi * yr
                pr, pi = pr * xr - pi * xi, pr * xi + pi * xr
            re, im = re + dr, im + di
        store(out, 2 * s, re)
        store(out, 2 * s + 1, im)


@nb.njit(**INLINE)
def _others(stems, atoms, m, skip):
    """The product of a term's coefficient and all its atoms but one."""
    pr, pi = splat(stems.coef[m, 0]), splat(stems.coef[m, 1])
    for k in range(stems.start[m], stems.start[m + 1]):
        if k != skip:
            a = nb.int64(stems.atom[k])
            xr, xi = load(atoms, 2 * a), load(atoms, 2 * a + 1)
            pr, pi = pr * xr - pi * xi, pr * xi + pi * xr
    return pr, pi


@nb.njit(**KERNEL)
def _back(stems, atoms, bars, out):
    """Adjoints of atoms from those of stems."""
    _clear(out, out.shape[0])
    for s in range(stems.first.shape[0] - 1):
        br, bi = load(bars, 2 * s), load(bars, 2 * s + 1)
        for m in range(stems.first[s], stems.first[s + 1]):
            for k in range(stems.start[m], stems.start[m + 1]):
                a = nb.int64(stems.atom[k])
                pr, pi = _others(stems, atoms, m, k)
                add(out, 2 * a, pr * br + pi * bi)
                add(out, 2 * a + 1, pr * bi - pi * br)


@nb.njit(**INLINE)
def _product(A, a0, n, i, x):
    """Row i of A x."""
    re, im = splat(0.0), splat(0.0)
    for k in range(n):
        xr, xi = load(x, 2 * k), load(x, 2 * k + 1)
        if i == k:
            d = load(A, a0 + i * n + i)
            re, im = re + d * xr, im + d * xi
        else:
            real, imag = load(A, a0 + min(i, k) * n + max(i, k)), load(A, a0 + max(i, k) * n + min(i, k))
            if i > k:
                re, im = re + real * xr + imag * xi, im + real * xi - imag * xr
            else:
                re, im = re + real * xr - imag * xi, im + real * xi + imag * xr
    return re, im


@nb.njit(**INLINE)
def _flow(value, bars, p, q, sr, si):
    """Adjoints of the stems P, Q of P conj(Q) from that of the product."""
    pr, pi, qr, qi = load(value, 2 * p), load(value, 2 * p + 1), load(value, 2 * q), load(value, 2 * q + 1)
    add(bars, 2 * p, sr * qr - si * qi)
    add(bars, 2 * p + 1, sr * qi + si * qr)
    add(bars, 2 * q, sr * pr + si * pi)
    add(bars, 2 * q + 1, sr * pi - si * pr)


@nb.njit(**INLINE)
def _change(value, delta, p, q):
    """Change of P conj(Q)."""
    pr, pi, qr, qi = load(value, 2 * p), load(value, 2 * p + 1), load(value, 2 * q), load(value, 2 * q + 1)
    xr, xi, yr, yi = load(delta, 2 * p), load(delta, 2 * p + 1), load(delta, 2 * q), load(delta, 2 * q + 1)
    return xr * qr + xi * qi + pr * yr + pi * yi, xi * qr - xr * qi + pi * yr - pr * yi


@nb.njit(**KERNEL)
def _slopes(t, e, cells, block, value, bars, phi, chi2):
    """Add equation e to the adjoints of stems (of half of chi2) and to chi2 (parts, blocks)."""
    n, first, terms = t.planes[e], t.term[e], t.term[e + 1] - t.term[e]
    blocks = cells.A.shape[0]
    for m in range(t.members[e]):
        a0 = block * cells.A.shape[1] + cells.first[e, 0] + m * n * n
        b0 = block * cells.b.shape[1] + cells.first[e, 1] + m * 2 * n
        u0 = t.use[e] + m * terms
        _clear(phi, 2 * n)
        for k in range(terms):
            a, p, q = nb.int64(t.plane[first + k]), nb.int64(t.left[u0 + k]), nb.int64(t.right[u0 + k])
            pr, pi, qr, qi = load(value, 2 * p), load(value, 2 * p + 1), load(value, 2 * q), load(value, 2 * q + 1)
            add(phi, 2 * a, pr * qr + pi * qi)
            add(phi, 2 * a + 1, pi * qr - pr * qi)
        total = splat(0.0)
        for i in range(n):
            xr, xi, br, bi = (
                load(phi, 2 * i),
                load(phi, 2 * i + 1),
                load(cells.b, b0 + 2 * i),
                load(cells.b, b0 + 2 * i + 1),
            )
            sr, si = _product(cells.A, a0, n, i, phi)
            sr, si = sr + br, si + bi
            total += xr * (sr + br) + xi * (si + bi)
            store(phi, 2 * (n + i), sr)
            store(phi, 2 * (n + i) + 1, si)
        add(chi2, nb.int64(t.part[t.member[e] + m]) * blocks + block, total)
        for k in range(terms):
            a = n + nb.int64(t.plane[first + k])
            p, q = nb.int64(t.left[u0 + k]), nb.int64(t.right[u0 + k])
            _flow(value, bars, p, q, load(phi, 2 * a), load(phi, 2 * a + 1))


@nb.njit(**KERNEL)
def _bends(t, e, cells, block, value, delta, bars, phi):
    """Add equation e to the adjoints of stems for a change `delta` of the stems."""
    n, first, terms = t.planes[e], t.term[e], t.term[e + 1] - t.term[e]
    for m in range(t.members[e]):
        a0 = block * cells.A.shape[1] + cells.first[e, 0] + m * n * n
        u0 = t.use[e] + m * terms
        if n == 1 and terms == 1:
            p, q = nb.int64(t.left[u0]), nb.int64(t.right[u0])
            dr, di = _change(value, delta, p, q)
            d = load(cells.A, a0)
            _flow(value, bars, p, q, d * dr, d * di)
            continue
        _clear(phi, 2 * n)
        for k in range(terms):
            a = nb.int64(t.plane[first + k])
            dr, di = _change(value, delta, nb.int64(t.left[u0 + k]), nb.int64(t.right[u0 + k]))
            add(phi, 2 * a, dr)
            add(phi, 2 * a + 1, di)
        for i in range(n):
            sr, si = _product(cells.A, a0, n, i, phi)
            store(phi, 2 * (n + i), sr)
            store(phi, 2 * (n + i) + 1, si)
        for k in range(terms):
            a = n + nb.int64(t.plane[first + k])
            p, q = nb.int64(t.left[u0 + k]), nb.int64(t.right[u0 + k])
            _flow(value, bars, p, q, load(phi, 2 * a), load(phi, 2 * a + 1))


@nb.njit(**KERNEL)
def gradient(t, stems, cells, points, chi2, counter):
    """Adjoints of points (2, points) of half of chi2: Re(conj(adjoint) change) is its change. chi2 (parts, blocks,
    LANES) receives phi^H A phi + 2 Re(phi^H b). One turn per block of cells."""
    result = np.zeros(points.shape)
    atoms, value = np.empty((2 * len(cells.base), LANES)), np.empty((2 * len(stems.first) - 2, LANES))
    bars, back, phi = np.empty_like(value), np.empty_like(atoms), np.empty((4 * t.planes.max(), LANES))
    block = take(counter)
    while block < cells.A.shape[0]:
        if cells.live[block]:
            _gather(points, cells, block, atoms)
            _values(stems, atoms, value)
            _clear(bars, bars.shape[0])
            for e in range(t.members.shape[0]):
                _slopes(t, e, cells, block, value, bars, phi, chi2)
            _back(stems, atoms, bars, back)
            _scatter(back, cells, block, result)
        block = take(counter)
    return result


@nb.njit(**KERNEL)
def curvature(t, stems, cells, points, change, counter):
    """Adjoints of points for a change of the points: the product of the Gauss-Newton matrix with it."""
    result = np.zeros(points.shape)
    atoms, value = np.empty((2 * len(cells.base), LANES)), np.empty((2 * len(stems.first) - 2, LANES))
    moved, delta = np.empty_like(atoms), np.empty_like(value)
    bars, back, phi = np.empty_like(value), np.empty_like(atoms), np.empty((4 * t.planes.max(), LANES))
    block = take(counter)
    while block < cells.A.shape[0]:
        if cells.live[block]:
            _gather(points, cells, block, atoms)
            _gather(change, cells, block, moved)
            _values(stems, atoms, value)
            _changes(stems, atoms, moved, delta)
            _clear(bars, bars.shape[0])
            for e in range(t.members.shape[0]):
                _bends(t, e, cells, block, value, delta, bars, phi)
            _back(stems, atoms, bars, back)
            _scatter(back, cells, block, result)
        block = take(counter)
    return result


@nb.njit(**INLINE)
def _put(array, entry, re, im):
    """Add to the pair of an entry of `Squares`, as its mode says."""
    at, mode = 2 * (entry // 4), entry % 4
    if mode == 2:
        add(array, at, re + re)
        return
    add(array, at, re)
    add(array, at + 1, im * (-1.0 if mode == 1 else 1.0))


@nb.njit(**INLINE)
def _sandwich(A, at, n, i, k, xr, xi, yr, yi):
    """x A_ik conj(y)."""
    if i == k:
        d = load(A, at + i * n + i)
        return d * (xr * yr + xi * yi), d * (xi * yr - xr * yi)
    re, im = load(A, at + min(i, k) * n + max(i, k)), load(A, at + max(i, k) * n + min(i, k))
    im = im * (-1.0 if i > k else 1.0)
    zr, zi = xr * yr + xi * yi, xi * yr - xr * yi
    return re * zr - im * zi, re * zi + im * zr


@nb.njit(**KERNEL)
def _widths(t, sq, e, cells, block, value, out):
    """Add equation e to the normal matrices of pairs of stems."""
    n, first, terms = t.planes[e], t.term[e], t.term[e + 1] - t.term[e]
    for m in range(t.members[e]):
        a0 = block * cells.A.shape[1] + cells.first[e, 0] + m * n * n
        u0, w = t.use[e] + m * terms, sq.use[e] + m * (terms * (terms + 1)) // 2
        for i in range(terms):
            for k in range(i, terms):
                a, b = nb.int64(t.plane[first + i]), nb.int64(t.plane[first + k])
                if sq.left[w] >= 0:
                    p, q = nb.int64(t.right[u0 + i]), nb.int64(t.right[u0 + k])
                    xr, xi, yr, yi = (
                        load(value, 2 * p),
                        load(value, 2 * p + 1),
                        load(value, 2 * q),
                        load(value, 2 * q + 1),
                    )
                    re, im = _sandwich(cells.A, a0, n, a, b, xr, xi, yr, yi)
                    _put(out, nb.int64(sq.left[w]), re, im)
                if sq.right[w] >= 0:
                    p, q = nb.int64(t.left[u0 + i]), nb.int64(t.left[u0 + k])
                    xr, xi, yr, yi = (
                        load(value, 2 * p),
                        load(value, 2 * p + 1),
                        load(value, 2 * q),
                        load(value, 2 * q + 1),
                    )
                    re, im = _sandwich(cells.A, a0, n, a, b, xr, xi * -1.0, yr, yi * -1.0)
                    _put(out, nb.int64(sq.right[w]), re, im * -1.0)
                w += 1


@nb.njit(**KERNEL)
def diagonal(t, stems, sq, cells, points, base, size, counter):
    """Normal matrices of pairs of atoms, (2, size): of pair k at base[k] plus the place of its grid in the cell."""
    result = np.zeros((2, size))
    atoms, value = np.empty((2 * len(cells.base), LANES)), np.empty((2 * len(stems.first) - 2, LANES))
    wide, slope = np.empty((2 * sq.size, LANES)), np.empty((2 * len(stems.atom), LANES))
    out = np.empty((2 * len(base), LANES))
    block = take(counter)
    while block < cells.A.shape[0]:
        if cells.live[block]:
            _gather(points, cells, block, atoms)
            _values(stems, atoms, value)
            _clear(wide, wide.shape[0])
            _clear(out, out.shape[0])
            for e in range(t.members.shape[0]):
                _widths(t, sq, e, cells, block, value, wide)
            for m in range(len(stems.coef)):
                for k in range(stems.start[m], stems.start[m + 1]):
                    pr, pi = _others(stems, atoms, m, k)
                    store(slope, 2 * k, pr)
                    store(slope, 2 * k + 1, pi)
            for l in range(len(sq.link)):
                w, i, k = sq.link[l, 0], sq.link[l, 1], sq.link[l, 2]
                xr, xi, yr, yi = load(slope, 2 * i), load(slope, 2 * i + 1), load(slope, 2 * k), load(slope, 2 * k + 1)
                zr, zi = xr * yr + xi * yi, xr * yi - xi * yr  # conj(x) y
                wr, wi = load(wide, 2 * w), load(wide, 2 * w + 1)
                _put(out, 4 * sq.link[l, 3] + sq.link[l, 4], wr * zr - wi * zi, wr * zi + wi * zr)
            for pair in range(len(base)):
                grid = cells.grid[sq.atoms[pair, 0]]
                for v in range(LANES):
                    at = base[pair] + cells.place[grid, block * LANES + v]
                    result[0, at] += out[2 * pair, v]
                    result[1, at] += out[2 * pair + 1, v]
        block = take(counter)
    return result
