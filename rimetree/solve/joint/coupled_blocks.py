"""Kernel that makes the blocks on the diagonal of the normal matrix of a coupled problem (see `coupling`)."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.simd import INLINE, KERNEL, add, load, splat, store, vectors
from ..algebra.threads import take
from .stems import clear, gather, others, scatter, values


@kernel(**INLINE)
def _put(array, entry, re, im):
    """Add to the pair of an entry of `Squares`, as its mode says."""
    at, mode = 2 * (entry // 4), entry % 4
    if mode == 2:
        add(array, at, re + re)
        return
    add(array, at, re)
    add(array, at + 1, im * (-1.0 if mode == 1 else 1.0))


@kernel(**INLINE)
def _sandwich(A, at, n, i, k, xr, xi, yr, yi):
    """x A_ik conj(y)."""
    if i == k:
        d = load(A, at + i * n + i)
        return d * (xr * yr + xi * yi), d * (xi * yr - xr * yi)
    re, im = load(A, at + min(i, k) * n + max(i, k)), load(A, at + max(i, k) * n + min(i, k))
    im = im * (-1.0 if i > k else 1.0)
    zr, zi = xr * yr + xi * yi, xi * yr - xr * yi
    return re * zr - im * zi, re * zi + im * zr


@kernel(**KERNEL)
def _plain(t, sq, e, cells, block, norm, out):
    """Add equation e, of one product each, to the normal matrices of stems."""
    u, w = t.use[e], sq.use[e]
    at = block * cells.weight.shape[1] + cells.first[e, 0]
    m = 0
    while m < t.members[e]:
        p, entry = np.int64(t.left[u + m]), sq.left[w + m]
        pp, sum_ = load(norm, p), splat(0.0)
        while m < t.members[e] and t.left[u + m] == p:
            d = load(cells.weight, at + m)
            sum_ += d * load(norm, np.int64(t.right[u + m]))
            if sq.right[w + m] >= 0:
                add(out, 2 * (np.int64(sq.right[w + m]) // 4), d * pp)
            m += 1
        if entry >= 0:
            add(out, 2 * (np.int64(entry) // 4), sum_)


@kernel(**KERNEL)
def _widths(t, sq, e, cells, block, value, out):
    """Add equation e to the normal matrices of pairs of stems."""
    n, first, terms = t.planes[e], t.term[e], t.term[e + 1] - t.term[e]
    for m in range(t.members[e]):
        a0 = block * cells.A.shape[1] + cells.first[e, 0] + m * n * n
        u0, w = t.use[e] + m * terms, sq.use[e] + m * (terms * (terms + 1)) // 2
        for i in range(terms):
            for k in range(i, terms):
                a, b = np.int64(t.plane[first + i]), np.int64(t.plane[first + k])
                if sq.left[w] >= 0:
                    p, q = np.int64(t.right[u0 + i]), np.int64(t.right[u0 + k])
                    xr, xi, yr, yi = (
                        load(value, 2 * p),
                        load(value, 2 * p + 1),
                        load(value, 2 * q),
                        load(value, 2 * q + 1),
                    )
                    re, im = _sandwich(cells.A, a0, n, a, b, xr, xi, yr, yi)
                    _put(out, np.int64(sq.left[w]), re, im)
                if sq.right[w] >= 0:
                    p, q = np.int64(t.left[u0 + i]), np.int64(t.left[u0 + k])
                    xr, xi, yr, yi = (
                        load(value, 2 * p),
                        load(value, 2 * p + 1),
                        load(value, 2 * q),
                        load(value, 2 * q + 1),
                    )
                    re, im = _sandwich(cells.A, a0, n, a, b, xr, xi * -1.0, yr, yi * -1.0)
                    _put(out, np.int64(sq.right[w]), re, im * -1.0)
                w += 1


@kernel(**KERNEL)
def diagonal(t, stems, sq, cells, points, base, size, counter):
    """Normal matrices of pairs of atoms, (2, size): of pair k at base[k] plus the place of its grid in the cell."""
    result, count = np.zeros((2, size)), len(stems.first) - 1
    atoms, value, norm = vectors(2 * len(cells.base)), vectors(2 * count), vectors(count)
    wide, slope, out = vectors(2 * sq.size), vectors(2 * len(stems.atom)), vectors(2 * len(base))
    grid = cells.grid[sq.atoms[:, 0]]
    block = take(counter)
    while block < len(cells.live):
        if cells.live[block]:
            gather(points, cells, block, atoms)
            values(stems, atoms, value)
            for s in range(count):
                re, im = load(value, 2 * s), load(value, 2 * s + 1)
                store(norm, s, re * re + im * im)
            clear(wide, wide.shape[0])
            clear(out, out.shape[0])
            for e in range(t.members.shape[0]):
                if t.plain[e]:
                    _plain(t, sq, e, cells, block, norm, wide)
                else:
                    _widths(t, sq, e, cells, block, value, wide)
            for m in range(len(stems.coef)):
                for k in range(stems.start[m], stems.start[m + 1]):
                    pr, pi = others(stems, atoms, m, k)
                    store(slope, 2 * k, pr)
                    store(slope, 2 * k + 1, pi)
            for l in range(len(sq.link)):
                w, i, k = sq.link[l, 0], sq.link[l, 1], sq.link[l, 2]
                xr, xi, yr, yi = load(slope, 2 * i), load(slope, 2 * i + 1), load(slope, 2 * k), load(slope, 2 * k + 1)
                zr, zi = xr * yr + xi * yi, xr * yi - xi * yr  # conj(x) y
                wr, wi = load(wide, 2 * w), load(wide, 2 * w + 1)
                _put(out, 4 * sq.link[l, 3] + sq.link[l, 4], wr * zr - wi * zi, wr * zi + wi * zr)
            scatter(out, cells, base, grid, block, result)
        block = take(counter)
    return result
