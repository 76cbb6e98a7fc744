"""Kernels between points, atoms and stems of one block of cells (see `coupling` and `bilinear`), forwards and backwards."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.simd import INLINE, KERNEL, LANES, add, load, load_from, splat, store, store_from, total


@kernel(**INLINE)
def clear(array, count):
    """Zero the first vectors of an array."""
    for i in range(count):
        store(array, i, splat(0.0))


SAME, NEXT, APART = range(3)
"""Where the points of the eight cells of a block are: in one place, one after another, or anywhere."""


@kernel(**KERNEL)
def _way(cells, block, grid):
    first, same, consecutive = cells.place[grid, block * LANES], True, True
    for v in range(1, LANES):
        at = cells.place[grid, block * LANES + v]
        same &= at == first
        consecutive &= at == first + v
    return SAME if same else NEXT if consecutive else APART


@kernel(**KERNEL)
def gather(points, cells, block, out):
    """Atoms of the cells of a block from points (2, points), real and imaginary parts in turn."""
    last, way = np.int64(-1), np.int64(APART)
    for a in range(cells.base.shape[0]):
        base, grid = cells.base[a], cells.grid[a]
        if grid != last:
            last, way = grid, _way(cells, block, grid)
        at = base + cells.place[grid, block * LANES]
        if way == SAME:
            store(out, 2 * a, splat(points[0, at]))
            store(out, 2 * a + 1, splat(points[1, at]))
        elif way == NEXT:
            store(out, 2 * a, load_from(points, at))
            store(out, 2 * a + 1, load_from(points, at + points.shape[1]))
        else:
            for v in range(LANES):
                at = base + cells.place[grid, block * LANES + v]
                out[2 * a, v] = points[0, at]
                out[2 * a + 1, v] = points[1, at]


@kernel(**KERNEL)
def scatter(atoms, cells, base, grid, block, points):
    """The transpose of `gather`: add pairs of vectors (2 * n, LANES) to points, those of each from base (n,) on, by grid (n,)."""
    last, way = np.int64(-1), np.int64(APART)
    for a in range(base.shape[0]):
        if grid[a] != last:
            last, way = grid[a], _way(cells, block, grid[a])
        at = base[a] + cells.place[grid[a], block * LANES]
        if way == SAME:
            points[0, at] += total(load(atoms, 2 * a))
            points[1, at] += total(load(atoms, 2 * a + 1))
        elif way == NEXT:
            store_from(points, at, load_from(points, at) + load(atoms, 2 * a))
            at += points.shape[1]
            store_from(points, at, load_from(points, at) + load(atoms, 2 * a + 1))
        else:
            for v in range(LANES):
                at = base[a] + cells.place[grid[a], block * LANES + v]
                points[0, at] += atoms[2 * a, v]
                points[1, at] += atoms[2 * a + 1, v]


@kernel(**KERNEL)
def values(stems, atoms, out):
    """Stems from atoms."""
    for s in range(stems.first.shape[0] - 1):
        re, im = splat(0.0), splat(0.0)
        for m in range(stems.first[s], stems.first[s + 1]):
            pr, pi = splat(stems.coef[m, 0]), splat(stems.coef[m, 1])
            for k in range(stems.start[m], stems.start[m + 1]):
                a = np.int64(stems.atom[k])
                xr, xi = load(atoms, 2 * a), load(atoms, 2 * a + 1)
                pr, pi = pr * xr - pi * xi, pr * xi + pi * xr
            re, im = re + pr, im + pi
        store(out, 2 * s, re)
        store(out, 2 * s + 1, im)


@kernel(**KERNEL)
def changes(stems, atoms, changes, out):
    """Changes of stems from changes of atoms."""
    for s in range(stems.first.shape[0] - 1):
        re, im = splat(0.0), splat(0.0)
        for m in range(stems.first[s], stems.first[s + 1]):
            pr, pi = splat(stems.coef[m, 0]), splat(stems.coef[m, 1])
            dr, di = splat(0.0), splat(0.0)
            for k in range(stems.start[m], stems.start[m + 1]):
                a = np.int64(stems.atom[k])
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


@kernel(**INLINE)
def others(stems, atoms, m, skip):
    """The product of a term's coefficient and all its atoms but one."""
    pr, pi = splat(stems.coef[m, 0]), splat(stems.coef[m, 1])
    for k in range(stems.start[m], stems.start[m + 1]):
        if k != skip:
            a = np.int64(stems.atom[k])
            xr, xi = load(atoms, 2 * a), load(atoms, 2 * a + 1)
            pr, pi = pr * xr - pi * xi, pr * xi + pi * xr
    return pr, pi


@kernel(**KERNEL)
def back(stems, atoms, bars, out):
    """Adjoints of atoms from those of stems."""
    clear(out, out.shape[0])
    for s in range(stems.first.shape[0] - 1):
        br, bi = load(bars, 2 * s), load(bars, 2 * s + 1)
        for m in range(stems.first[s], stems.first[s + 1]):
            for k in range(stems.start[m], stems.start[m + 1]):
                a = np.int64(stems.atom[k])
                pr, pi = others(stems, atoms, m, k)
                add(out, 2 * a, pr * br + pi * bi)
                add(out, 2 * a + 1, pr * bi - pi * br)
