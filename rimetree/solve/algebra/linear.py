"""Dense linear algebra for eight solution intervals at once: damped Cholesky steps, block-Jacobi steps, rank,
covariance.

Matrices are packed lower triangles of vectors (see `cholesky`); a lane that fails carries NaN.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from .cholesky import cholesky, factor, inverse_diagonal, start_of, substitute, substitute_four, update
from .eigen import eigh
from .simd import KERNEL, LANES, Room, choose, inverse, load, root, splat, store, vectors

RIDGE = 1e-10
"""Relative to the diagonal: makes a rank-deficient system factorable while its null directions stand out by 1/RIDGE."""

NULL = 1e-7
"""Eigenvalues of the diagonally scaled normal matrix below this, relative to the largest possible 1 per unknown, are
null."""

SUSPECT = 1e-5
"""Pivots below this, of the matrix with RIDGE, may be of null directions."""

GUARDS = 3
"""Directions looked for beyond those that are null: the iteration converges sooner, and the smallest eigenvalue is better known."""


@kernel(**KERNEL)
def scaled(H, n, diagonal, a, scale):
    """a = D^-1/2 H D^-1/2 with `diagonal` (1) on its diagonal, D = diag(H); scale = D^-1/2, 0 for an unknown without
    data."""
    for i in range(n):
        r = start_of(i)
        own = root(inverse(load(H, r + i)))
        store(scale, i, own)
        for k in range(i):
            store(a, r + k, load(H, r + k) * (own * load(scale, k)))
        store(a, r + i, load(diagonal, 0))


@kernel(**KERNEL)
def damped_step(H, g, damping, delta, decrease, a, scale):
    """Levenberg-Marquardt step `delta` (n) = -(H + damping * diag H)^-1 g and the decrease of chi2 that it predicts
    (1).

    Unknowns without data do not move. `damping` (1); a (packed) and scale (n) are scratch.
    """
    n = g.shape[0]
    damped(H, n, damping, a, scale)
    cholesky(a, n)
    damped_solution(g, damping, delta, decrease, a, scale)


def damped_step_of_all(H, g, damping, delta, decrease, a, scale):
    """The same by all threads."""
    n = g.shape[0]
    damped(H, n, damping, a, scale)
    factor(a, n, True)
    damped_solution(g, damping, delta, decrease, a, scale)


@kernel(**KERNEL)
def damped(H, n, damping, a, scale):
    """`scaled` with 1 + damping on the diagonal."""
    diagonal = np.empty((1, LANES))
    store(diagonal, 0, load(damping, 0) + 1.0)
    scaled(H, n, diagonal, a, scale)


@kernel(**KERNEL)
def damped_solution(g, damping, delta, decrease, a, scale):
    """The step and the decrease from the factor a of the damped matrix."""
    n = g.shape[0]
    for i in range(n):
        store(delta, i, load(g, i) * load(scale, i) * -1.0)
    substitute(a, delta, n)
    total = splat(0.0)
    for i in range(n):
        x = load(delta, i)
        total += x * (
            load(damping, 0) * x - load(g, i) * load(scale, i)
        )  # chi2 falls by x.b + damping x.x to 2nd order
        store(delta, i, x * load(scale, i))
    store(decrease, 0, total)


@kernel(**KERNEL)
def block_steps(H, g, order, starts, delta):
    """Block-Jacobi steps: every block of unknowns (order[starts[b]:starts[b+1]]) as if all others were fixed."""
    most = 0
    for b in range(starts.shape[0] - 1):
        most = max(most, starts[b + 1] - starts[b])
    a, x = vectors(start_of(most + 1)), vectors(most)
    for b in range(starts.shape[0] - 1):
        m = starts[b + 1] - starts[b]
        for i in range(m):
            p = order[starts[b] + i]
            for k in range(i + 1):
                q = order[starts[b] + k]
                store(a, start_of(i) + k, load(H, start_of(max(p, q)) + min(p, q)))
            store(x, i, load(g, p) * -1.0)
            d = load(a, start_of(i) + i)
            store(a, start_of(i) + i, choose(d, d * (1.0 + 1e-6), splat(1.0)))
        cholesky(a, m)
        substitute(a, x, m)
        good = splat(1.0)
        for i in range(m):
            good += load(x, i) * 0.0  # NaN where x is not finite
        for i in range(m):
            store(delta, order[starts[b] + i], choose(good, load(x, i), splat(0.0)))


@kernel(**KERNEL)
def turn(H, theta, gains):
    """H (packed) in place, in coordinates along and across the complex unknowns `gains` (numbers of real parts)."""
    n = theta.shape[0]
    for p in gains:
        re, im = load(theta, p), load(theta, p + 1)
        size = root(inverse(re * re + im * im))
        c, s = choose(size, re * size, splat(1.0)), im * size
        for k in range(n):
            if k == p or k == p + 1:
                continue
            i, j = start_of(max(p, k)) + min(p, k), start_of(max(p + 1, k)) + min(p + 1, k)
            x, y = load(H, i), load(H, j)
            store(H, i, c * x + s * y)
            store(H, j, c * y - s * x)
        i, j = start_of(p) + p, start_of(p + 1) + p
        x, y, z = load(H, i), load(H, j), load(H, j + 1)
        store(H, i, c * c * x + s * s * z + 2.0 * c * s * y)
        store(H, j, (c * c - s * s) * y + c * s * (z - x))
        store(H, j + 1, s * s * x + c * c * z - 2.0 * c * s * y)


@kernel(**KERNEL)
def turn_back(null, theta, gains):
    """Directions (n, m) in place, from the coordinates of `turn`."""
    m = null.shape[1]
    for p in gains:
        re, im = load(theta, p), load(theta, p + 1)
        size = root(inverse(re * re + im * im))
        c, s = choose(size, re * size, splat(1.0)), im * size
        for k in range(m):
            x, y = load(null, p * m + k), load(null, (p + 1) * m + k)
            store(null, p * m + k, c * x - s * y)
            store(null, (p + 1) * m + k, s * x + c * y)


def finish(
    H: np.ndarray, variance: np.ndarray, rank: np.ndarray, condition: np.ndarray, room: Room, team: bool = False
) -> np.ndarray:
    """Rank, condition number, covariance diagonal and null space of H (packed), which is overwritten; by all threads where `team`.

    `variance` (n): the diagonal of the pseudo-inverse in diagonally scaled coordinates (the gauge of least norm), NaN without
    data; `rank` and `condition` (LANES,). Returns unit null directions (n, m, LANES) in unscaled unknowns, zero beyond n - rank.
    One factor serves both: that of H + RIDGE, and with null directions q added, H + RIDGE + q q^T, whose inverse less q q^T is the
    pseudo-inverse but for RIDGE over its least eigenvalue.
    """
    n = len(variance)
    a, scale = room.any("H", len(H)), room.any("g", n)
    _ridged(H, a, scale)
    factor(a, n, team)
    q = _nulls(a, H, scale, rank, condition)
    null = _unscaled(q, scale)
    update(a, q.copy())
    inverse_diagonal(a, n, variance, team)
    _without(q, scale, variance)
    return null


@kernel(**KERNEL)
def _ridged(H, a, scale):
    """H scaled in place, and a copy with RIDGE."""
    n, one = scale.shape[0], np.ones((1, LANES))
    scaled(H, n, one, H, scale)
    for i in range(H.shape[0]):
        store(a, i, load(H, i))
    for i in range(n):
        store(a, start_of(i) + i, splat(1.0 + RIDGE))  # without data too: there the matrix is 1, which is not null


@kernel(**KERNEL)
def _nulls(a, full, scale, rank, condition):
    """Rank, condition number and null directions (m, n), zero where there are fewer, of the scaled matrix `full` with factor a."""
    n, largest = scale.shape[0], np.empty((1, LANES))
    _largest(full, n, largest)
    m, most = min(n, _suspected(a, n)), 0
    while True:
        q, values = np.empty((m, n, LANES)), np.zeros((m, LANES))
        _least(a, full, q, values)
        for v in range(LANES):
            nulls = 0
            while nulls < m and values[nulls, v] < NULL:
                nulls += 1
            most = max(most, nulls)
        if most < m or m == n:
            break
        m = min(n, 2 * m)
    for v in range(LANES):
        nulls, used = 0, 0
        while nulls < m and values[nulls, v] < NULL:
            nulls += 1
        for i in range(n):
            used += scale[i, v] > 0.0
        good = np.isfinite(values[0, v])
        rank[v] = used - nulls if good else 0
        condition[v] = largest[0, v] / max(values[min(nulls, m - 1), v], 1e-300) if good else np.inf
        for c in range(nulls if good else 0, m):
            for i in range(n):
                q[c, i, v] = 0.0
    return q[: max(most, 1)]


@kernel(**KERNEL)
def _unscaled(q, scale):
    """Unit directions (n, m, LANES) in unscaled unknowns from q (m, n)."""
    m, n = q.shape[0], q.shape[1]
    null = np.empty((n, m, LANES))
    for c in range(m):
        norm = splat(0.0)
        for i in range(n):
            x = load(q, c * n + i) * load(scale, i)
            store(null, i * m + c, x)
            norm += x * x
        norm = root(inverse(norm))
        for i in range(n):
            store(null, i * m + c, load(null, i * m + c) * norm)
    return null


@kernel(**KERNEL)
def _without(q, scale, variance):
    """Rescale `variance` (n), less that of the directions q (m, n)."""
    m, n = q.shape[0], q.shape[1]
    for i in range(n):
        total = load(variance, i)
        for c in range(m):
            total -= load(q, c * n + i) * load(q, c * n + i)
        store(variance, i, total * load(scale, i) * load(scale, i))
        for v in range(LANES):
            if not scale[i, v] > 0.0:
                variance[i, v] = np.nan


@kernel(**KERNEL)
def _suspected(l, n):
    """How many directions to look for: GUARDS more than small pivots of `cholesky` in the lane that has most, in fours."""
    most = 0
    for v in range(LANES):
        small = 0
        for i in range(n):
            small += l[start_of(i) + i, v] ** 2 * SUSPECT > 1.0
        most = max(most, small)
    return (most + GUARDS + 3) // 4 * 4


@kernel(**KERNEL)
def _least(l, full, q, values):
    """Eigenvectors q (m, n) and eigenvalues `values` (m), ascending, of the matrix `full` with factor l: the least ones, by
    inverse iteration from random directions; NaN in lanes that are not finite."""
    m, n = q.shape[0], q.shape[1]
    image, number = np.empty((m, n, LANES)), np.uint64(1)
    for i in range(m * n):
        number = number * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        store(q, i, splat(np.float64(number >> np.uint64(11)) / 2.0**53 - 0.5))
    whole = m - m % 4
    for _ in range(3):
        for c in range(0, whole, 4):
            substitute_four(l, q[c : c + 4], n)
        for c in range(whole, m):
            substitute(l, q[c], n)
        _orthonormalise(q)
    for c in range(0, whole, 4):
        _multiply_four(full, q[c : c + 4], image[c : c + 4], n)
    for c in range(whole, m):
        _multiply(full, q[c], image[c], n)
    _rotate(q, image, values)


@kernel(**KERNEL)
def _rotate(q, image, values):
    """Ritz vectors and values (m) of the matrix that maps q (m, n) to image, ascending; NaN in lanes that are not finite."""
    m, n = q.shape[0], q.shape[1]
    ritz, turned = np.empty((m, m, LANES)), vectors(m)
    for c in range(m):
        for d in range(m):
            total = splat(0.0)
            for i in range(n):
                total += load(q, c * n + i) * load(image, d * n + i) + load(q, d * n + i) * load(image, c * n + i)
            store(ritz, c * m + d, total * 0.5)
    own = np.empty((m, m))
    for v in range(LANES):
        good = True
        for c in range(m):
            for d in range(m):
                own[c, d] = ritz[c, d, v]
                good &= np.isfinite(own[c, d])
        if not good:
            for c in range(m):
                values[c, v] = np.nan
            continue
        found, axes = eigh(own)
        for c in range(m):
            values[c, v] = found[c]
            for d in range(m):
                ritz[d, c, v] = axes[d, c]
    for i in range(n):
        for c in range(m):
            total = splat(0.0)
            for d in range(m):
                total += load(ritz, d * m + c) * load(q, d * n + i)
            store(turned, c, total)
        for c in range(m):
            store(q, c * n + i, load(turned, c))


@kernel(**KERNEL)
def _dot(x, y, n):
    total = splat(0.0)
    for i in range(n):
        total += load(x, i) * load(y, i)
    return total


@kernel(**KERNEL)
def _multiply(a, x, out, n):
    """out = A x."""
    for i in range(n):
        r, own = start_of(i), load(x, i)
        total = load(a, r + i) * own
        for k in range(i):
            total += load(a, r + k) * load(x, k)
            store(out, k, load(out, k) + load(a, r + k) * own)
        store(out, i, total)


@kernel(**KERNEL)
def _multiply_four(a, x, out, n):
    """out = A x for four vectors: x and out (4, n)."""
    for i in range(n):
        r = start_of(i)
        own = load(a, r + i)
        c, d, e, f = load(x, i), load(x, n + i), load(x, 2 * n + i), load(x, 3 * n + i)
        cc, dd, ee, ff = own * c, own * d, own * e, own * f
        for k in range(i):
            own = load(a, r + k)
            cc, dd = cc + own * load(x, k), dd + own * load(x, n + k)
            ee, ff = ee + own * load(x, 2 * n + k), ff + own * load(x, 3 * n + k)
            store(out, k, load(out, k) + own * c)
            store(out, n + k, load(out, n + k) + own * d)
            store(out, 2 * n + k, load(out, 2 * n + k) + own * e)
            store(out, 3 * n + k, load(out, 3 * n + k) + own * f)
        for m, value in enumerate((cc, dd, ee, ff)):
            store(out, m * n + i, value)


@kernel(**KERNEL)
def _orthonormalise(q):
    """Gram-Schmidt, twice, on the rows of q (m, n)."""
    n = q.shape[1]
    for c in range(q.shape[0]):
        for _ in range(2):
            for b in range(c):
                part = _dot(q[c], q[b], n)
                for i in range(n):
                    store(q, c * n + i, load(q, c * n + i) - part * load(q, b * n + i))
        norm = root(inverse(_dot(q[c], q[c], n)))
        for i in range(n):
            store(q, c * n + i, load(q, c * n + i) * norm)


@kernel(**KERNEL)
def _largest(a, n, value):
    """The largest eigenvalue (1), by a few power iterations: in each lane as many as change it by more than a hundredth."""
    x, y, now = vectors(n), vectors(n), np.empty((1, LANES))
    found = np.zeros(LANES, np.bool_)
    store(value, 0, splat(0.0))
    for i in range(n):
        store(x, i, splat(1.0 + 0.1 * (i % 7)))
    for _ in range(12):
        norm = root(inverse(_dot(x, x, n)))
        for i in range(n):
            store(x, i, load(x, i) * norm)
        _multiply(a, x, y, n)
        store(now, 0, root(_dot(y, y, n)))
        x, y = y, x
        for v in range(LANES):
            if not found[v]:
                found[v] = not now[0, v] > 1.01 * value[0, v]
                value[0, v] = now[0, v]
        if found.all():
            break
