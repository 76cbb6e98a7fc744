"""Kernels of coupled problems: chi-squared with its gradient, and products with the Gauss-Newton matrix.

Lanes are cells: maximal pieces of time and frequency within which every solution interval of every class is one. All
that chi2 knows of a cell are the Gram matrices A of the fixed planes and b of planes and data (see `sums`); with phi_a =
P_a conj(Q_a) (see `bilinear`) chi2 = phi^H A phi + 2 Re(phi^H b) + c. Derivatives run backwards from the residual to
stems, atoms and **points** (values of atoms on grids of their own), so that neither the Jacobian nor any product of
unknowns is ever stored: a product with the Gauss-Newton matrix reads A once.

Most equations are **plain**: one phi, one pair of stems. Their A is one weight d, and with e = Q conj(dQ) a product is, for
the stem P, dP sum(d |Q|^2) + P sum(d e): two sums over baselines, of numbers known per station. So that it reads half as
much, d is the sum of two float32, of which products and blocks use the larger (as if weights were 6e-8 off: null
directions stay null); chi2 and its gradient use both.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ..algebra.simd import INLINE, KERNEL, add, load, splat, store, vectors
from ..algebra.threads import take
from .stems import back, changes, clear, gather, scatter, values


class Cells(NamedTuple):
    """Data of all cells, eight by eight; cells beyond the last have zeros."""

    A: np.ndarray
    """(blocks, vectors, LANES): per equation and member the planes x planes Gram matrix, laid out as `sums.Gram`."""
    weight: np.ndarray
    """(blocks, vectors, LANES) float32: the same of plain equations, which have no A."""
    rest: np.ndarray
    """What `weight` leaves, float32."""
    b: np.ndarray
    """(blocks, vectors, LANES): per equation, member and plane its product with the constant part, real and imaginary."""
    first: np.ndarray
    """(equations, 2): where each equation begins in A or weight, and in b."""
    live: np.ndarray
    """(blocks,) whether a block is worked on."""
    base: np.ndarray
    """(atoms,) the first point of each atom."""
    grid: np.ndarray
    """(atoms,) the grid of its points."""
    place: np.ndarray
    """(grids, cells): the point, after the first, at which a grid is taken in each cell."""


@kernel(**INLINE)
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


@kernel(**INLINE)
def _flow(value, bars, p, q, sr, si):
    """Adjoints of the stems P, Q of P conj(Q) from that of the product."""
    pr, pi, qr, qi = load(value, 2 * p), load(value, 2 * p + 1), load(value, 2 * q), load(value, 2 * q + 1)
    add(bars, 2 * p, sr * qr - si * qi)
    add(bars, 2 * p + 1, sr * qi + si * qr)
    add(bars, 2 * q, sr * pr + si * pi)
    add(bars, 2 * q + 1, sr * pi - si * pr)


@kernel(**INLINE)
def _change(value, delta, p, q):
    """Change of P conj(Q)."""
    pr, pi, qr, qi = load(value, 2 * p), load(value, 2 * p + 1), load(value, 2 * q), load(value, 2 * q + 1)
    xr, xi, yr, yi = load(delta, 2 * p), load(delta, 2 * p + 1), load(delta, 2 * q), load(delta, 2 * q + 1)
    return xr * qr + xi * qi + pr * yr + pi * yi, xi * qr - xr * qi + pi * yr - pr * yi


@kernel(**KERNEL)
def _slopes(t, e, cells, block, value, bars, phi, chi2):
    """Add equation e to the adjoints of stems (of half of chi2) and to chi2 (parts, blocks)."""
    n, first, terms = t.planes[e], t.term[e], t.term[e + 1] - t.term[e]
    blocks = len(cells.live)
    for m in range(t.members[e]):
        a0 = block * cells.A.shape[1] + cells.first[e, 0] + m * n * n
        b0 = block * cells.b.shape[1] + cells.first[e, 1] + m * 2 * n
        u0 = t.use[e] + m * terms
        clear(phi, 2 * n)
        for k in range(terms):
            a, p, q = np.int64(t.plane[first + k]), np.int64(t.left[u0 + k]), np.int64(t.right[u0 + k])
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
        add(chi2, np.int64(t.part[t.member[e] + m]) * blocks + block, total)
        for k in range(terms):
            a = n + np.int64(t.plane[first + k])
            p, q = np.int64(t.left[u0 + k]), np.int64(t.right[u0 + k])
            _flow(value, bars, p, q, load(phi, 2 * a), load(phi, 2 * a + 1))


@kernel(**KERNEL)
def _bends(t, e, cells, block, value, delta, bars, phi):
    """Add equation e to the adjoints of stems for a change `delta` of the stems."""
    n, first, terms = t.planes[e], t.term[e], t.term[e + 1] - t.term[e]
    for m in range(t.members[e]):
        a0 = block * cells.A.shape[1] + cells.first[e, 0] + m * n * n
        u0 = t.use[e] + m * terms
        clear(phi, 2 * n)
        for k in range(terms):
            a = np.int64(t.plane[first + k])
            dr, di = _change(value, delta, np.int64(t.left[u0 + k]), np.int64(t.right[u0 + k]))
            add(phi, 2 * a, dr)
            add(phi, 2 * a + 1, di)
        for i in range(n):
            sr, si = _product(cells.A, a0, n, i, phi)
            store(phi, 2 * (n + i), sr)
            store(phi, 2 * (n + i) + 1, si)
        for k in range(terms):
            a = n + np.int64(t.plane[first + k])
            p, q = np.int64(t.left[u0 + k]), np.int64(t.right[u0 + k])
            _flow(value, bars, p, q, load(phi, 2 * a), load(phi, 2 * a + 1))


@kernel(**KERNEL)
def _plain_slopes(t, e, cells, block, value, bars, chi2):
    """`_slopes` of a plain equation, members with the same P one after another."""
    u, part, members = t.use[e], t.member[e], t.members[e]
    d0, b0 = block * cells.weight.shape[1] + cells.first[e, 0], block * cells.b.shape[1] + cells.first[e, 1]
    m = 0
    while m < members:
        p, own = np.int64(t.left[u + m]), np.int64(t.part[part + m])
        pr, pi = load(value, 2 * p), load(value, 2 * p + 1)
        re, im, total = splat(0.0), splat(0.0), splat(0.0)
        while m < members and t.left[u + m] == p and t.part[part + m] == own:
            q = np.int64(t.right[u + m])
            qr, qi = load(value, 2 * q), load(value, 2 * q + 1)
            d = load(cells.weight, d0 + m) + load(cells.rest, d0 + m)
            br, bi = load(cells.b, b0 + 2 * m), load(cells.b, b0 + 2 * m + 1)
            xr, xi = pr * qr + pi * qi, pi * qr - pr * qi
            sr, si = d * xr + br, d * xi + bi
            total += xr * (sr + br) + xi * (si + bi)
            re, im = re + sr * qr - si * qi, im + sr * qi + si * qr
            add(bars, 2 * q, sr * pr + si * pi)
            add(bars, 2 * q + 1, sr * pi - si * pr)
            m += 1
        add(bars, 2 * p, re)
        add(bars, 2 * p + 1, im)
        add(chi2, own * len(cells.live) + block, total)


@kernel(**KERNEL)
def _plain_bends(t, e, cells, block, mixed, sums):
    """Add a plain equation to the sums over its members that every stem needs; mixed, sums: three vectors per stem,
    e and |P|^2, and their weighted sums over the stems that it meets."""
    u, members = t.use[e], t.members[e]
    d0 = block * cells.weight.shape[1] + cells.first[e, 0]
    m = 0
    while m < members:
        p = np.int64(t.left[u + m])
        pr, pi, pp = load(mixed, 3 * p), load(mixed, 3 * p + 1), load(mixed, 3 * p + 2)
        re, im, sum_ = splat(0.0), splat(0.0), splat(0.0)
        while m < members and t.left[u + m] == p:
            q, d = np.int64(t.right[u + m]), load(cells.weight, d0 + m)
            re, im = re + d * load(mixed, 3 * q), im + d * load(mixed, 3 * q + 1)
            sum_ += d * load(mixed, 3 * q + 2)
            add(sums, 3 * q, d * pr)
            add(sums, 3 * q + 1, d * pi)
            add(sums, 3 * q + 2, d * pp)
            m += 1
        add(sums, 3 * p, re)
        add(sums, 3 * p + 1, im)
        add(sums, 3 * p + 2, sum_)


@kernel(**INLINE)
def _mix(value, delta, mixed):
    for s in range(mixed.shape[0] // 3):
        pr, pi, xr, xi = load(value, 2 * s), load(value, 2 * s + 1), load(delta, 2 * s), load(delta, 2 * s + 1)
        store(mixed, 3 * s, pr * xr + pi * xi)
        store(mixed, 3 * s + 1, pi * xr - pr * xi)
        store(mixed, 3 * s + 2, pr * pr + pi * pi)


@kernel(**INLINE)
def _unmix(value, delta, sums, bars):
    """Adjoints of stems from the sums of plain equations."""
    for s in range(sums.shape[0] // 3):
        pr, pi, xr, xi = load(value, 2 * s), load(value, 2 * s + 1), load(delta, 2 * s), load(delta, 2 * s + 1)
        re, im, w = load(sums, 3 * s), load(sums, 3 * s + 1), load(sums, 3 * s + 2)
        store(bars, 2 * s, w * xr + pr * re - pi * im)
        store(bars, 2 * s + 1, w * xi + pr * im + pi * re)


@kernel(**KERNEL)
def gradient(t, stems, cells, points, chi2, counter):
    """Adjoints of points (2, points) of half of chi2: Re(conj(adjoint) change) is its change. chi2 (parts, blocks,
    LANES) receives phi^H A phi + 2 Re(phi^H b). One turn per block of cells."""
    result, count = np.zeros(points.shape), len(stems.first) - 1
    atoms, adjoints, value, bars = (
        vectors(2 * len(cells.base)),
        vectors(2 * len(cells.base)),
        vectors(2 * count),
        vectors(2 * count),
    )
    phi = vectors(4 * t.planes.max())
    block = take(counter)
    while block < len(cells.live):
        if cells.live[block]:
            gather(points, cells, block, atoms)
            values(stems, atoms, value)
            clear(bars, bars.shape[0])
            for e in range(t.members.shape[0]):
                if t.plain[e]:
                    _plain_slopes(t, e, cells, block, value, bars, chi2)
                else:
                    _slopes(t, e, cells, block, value, bars, phi, chi2)
            back(stems, atoms, bars, adjoints)
            scatter(adjoints, cells, cells.base, cells.grid, block, result)
        block = take(counter)
    return result


@kernel(**KERNEL)
def curvature(t, stems, cells, points, change, counter):
    """Adjoints of points for a change of the points: the product of the Gauss-Newton matrix with it."""
    result, count = np.zeros(points.shape), len(stems.first) - 1
    atoms, moved = vectors(2 * len(cells.base)), vectors(2 * len(cells.base))
    value, delta, bars = vectors(2 * count), vectors(2 * count), vectors(2 * count)
    mixed, sums, phi = vectors(3 * count), vectors(3 * count), vectors(4 * t.planes.max())
    block = take(counter)
    while block < len(cells.live):
        if cells.live[block]:
            gather(points, cells, block, atoms)
            gather(change, cells, block, moved)
            values(stems, atoms, value)
            changes(stems, atoms, moved, delta)
            _mix(value, delta, mixed)
            clear(sums, sums.shape[0])
            for e in range(t.members.shape[0]):
                if t.plain[e]:
                    _plain_bends(t, e, cells, block, mixed, sums)
            _unmix(value, delta, sums, bars)
            for e in range(t.members.shape[0]):
                if not t.plain[e]:
                    _bends(t, e, cells, block, value, delta, bars, phi)
            back(stems, atoms, bars, moved)
            scatter(moved, cells, cells.base, cells.grid, block, result)
        block = take(counter)
    return result
