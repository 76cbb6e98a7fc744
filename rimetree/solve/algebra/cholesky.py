"""Cholesky factors of packed lower triangles of vectors (see `simd`), substitution, and columns of the inverse.

A lane whose matrix is not positive definite carries NaN; nothing is raised. No threaded BLAS is called: beside other threads it
costs a factor of 25.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from .simd import INLINE, KERNEL, load, root, splat, store, vectors
from .threads import in_turns, take, tell, wait_for

BAND = 16
"""Rows worked on together: as many as stay in a core's second cache with hundreds of unknowns. A multiple of four."""

DEPTH = 64
"""Columns worked on together: four rows of so many stay in a core's first cache."""


@kernel(**INLINE)
def start_of(i):
    """Place of row i in a packed lower triangle."""
    return (i * (i + 1)) // 2


@kernel(**INLINE)
def _four_by_four(a, r, s, t, u, b, p, q, x, y, first, last, w, at):
    """w[at:at+16] less the sums over k of a[r + k] b[p + k], a[r + k] b[q + k] ..., then with s, t and u for r: each vector
    loaded is used four times."""
    c0, c1, c2, c3 = load(w, at), load(w, at + 1), load(w, at + 2), load(w, at + 3)
    d0, d1, d2, d3 = load(w, at + 4), load(w, at + 5), load(w, at + 6), load(w, at + 7)
    e0, e1, e2, e3 = load(w, at + 8), load(w, at + 9), load(w, at + 10), load(w, at + 11)
    f0, f1, f2, f3 = load(w, at + 12), load(w, at + 13), load(w, at + 14), load(w, at + 15)
    for k in range(first, last):
        g, h, i, j = load(b, p + k), load(b, q + k), load(b, x + k), load(b, y + k)
        own = load(a, r + k)
        c0, c1, c2, c3 = c0 - own * g, c1 - own * h, c2 - own * i, c3 - own * j
        own = load(a, s + k)
        d0, d1, d2, d3 = d0 - own * g, d1 - own * h, d2 - own * i, d3 - own * j
        own = load(a, t + k)
        e0, e1, e2, e3 = e0 - own * g, e1 - own * h, e2 - own * i, e3 - own * j
        own = load(a, u + k)
        f0, f1, f2, f3 = f0 - own * g, f1 - own * h, f2 - own * i, f3 - own * j
    for m, value in enumerate((c0, c1, c2, c3, d0, d1, d2, d3, e0, e1, e2, e3, f0, f1, f2, f3)):
        store(w, at + m, value)


@kernel(**INLINE)
def _fetch_four(a, r, w, at):
    for m in range(4):
        store(w, at + m, load(a, r + m))


@kernel(**INLINE)
def _solve_four(a, r, w, at, j):
    """Four elements of the row at r, from column j on, from what is left of them in w[at:at+4]."""
    for m in range(4):
        p = start_of(j + m) + j
        x = load(w, at + m)
        for k in range(m):
            x -= load(a, r + j + k) * load(a, p + k)
        store(a, r + j + m, x * load(a, p + m))


@kernel(**KERNEL)
def cholesky(a, n):
    """Factor the matrix a (n, n) in place, its diagonal inverted: NaN or infinite where it is not positive definite.

    BAND rows at a time go past all rows above them, which are then read once for all of these.
    """
    w = vectors(4 * BAND if n > BAND else 0)
    for start in range(0, n, BAND):
        stop = min(start + BAND, n - n % 2)
        for first in range(0, start, BAND):
            _past(a, start, stop, first, w)
        _corner(a, start, stop)
    if n % 2:
        _last_row(a, n - 1)


@kernel(**KERNEL)
def _factor(a, n, done, counter):
    """`cholesky` by several threads, each taking a band in turn: it goes past those above as soon as they are `done` (bands,)."""
    w = vectors(4 * BAND)
    start = take(counter) * BAND
    while start < n:
        stop = min(start + BAND, n - n % 2)
        for first in range(0, start, BAND):
            wait_for(done, first // BAND)
            _past(a, start, stop, first, w)
        _corner(a, start, stop)
        if n % 2 and start + BAND >= n:
            _last_row(a, n - 1)
        tell(done, start // BAND, 1)
        start = take(counter) * BAND


def factor(a: np.ndarray, n: int, team: bool) -> None:
    """`cholesky`, by all threads where `team`."""
    in_turns(_factor, a, n, np.zeros(-(-n // BAND), np.int64)) if team else cholesky(a, n)


@kernel(**KERNEL)
def _past(a, start, stop, first, w):
    """The columns of the band that starts at `first`, of the rows from `start` to `stop` below it."""
    last = stop - 1  # the fours beyond it are this row again, and not kept
    for j in range(first, first + BAND, 4):
        p, q, x, y = start_of(j), start_of(j + 1), start_of(j + 2), start_of(j + 3)
        for i in range(start, stop):
            _fetch_four(a, start_of(i) + j, w, 4 * (i - start))
        for k in range(0, j, DEPTH):
            for i in range(start, stop, 4):
                r, s = start_of(i), start_of(min(i + 1, last))
                t, u = start_of(min(i + 2, last)), start_of(min(i + 3, last))
                _four_by_four(a, r, s, t, u, a, p, q, x, y, k, min(k + DEPTH, j), w, 4 * (i - start))
        for i in range(start, stop):
            _solve_four(a, start_of(i), w, 4 * (i - start), j)


@kernel(**KERNEL)
def _corner(a, start, stop):
    """The columns from `start` on of the rows from `start` to `stop`, in pairs."""
    for i in range(start, stop, 2):
        r, s = start_of(i), start_of(i + 1)
        for j in range(start, i, 2):
            p, q = start_of(j), start_of(j + 1)
            w, x, y, z = load(a, r + j), load(a, r + j + 1), load(a, s + j), load(a, s + j + 1)
            for k in range(j):
                b, c, d, e = load(a, r + k), load(a, s + k), load(a, p + k), load(a, q + k)
                w, x, y, z = w - b * d, x - b * e, y - c * d, z - c * e
            first, second, cross = load(a, p + j), load(a, q + j + 1), load(a, q + j)
            w, y = w * first, y * first
            store(a, r + j, w)
            store(a, s + j, y)
            store(a, r + j + 1, (x - w * cross) * second)
            store(a, s + j + 1, (z - y * cross) * second)
        w, y, z = load(a, r + i), load(a, s + i), load(a, s + i + 1)
        for k in range(i):
            b, c = load(a, r + k), load(a, s + k)
            w, y, z = w - b * b, y - c * b, z - c * c
        w = 1.0 / root(w)
        y = y * w
        store(a, r + i, w)
        store(a, s + i, y)
        store(a, s + i + 1, 1.0 / root(z - y * y))


@kernel(**KERNEL)
def _last_row(a, i):
    r = start_of(i)
    total = load(a, r + i)
    for j in range(i):
        p = start_of(j)
        x = load(a, r + j)
        for k in range(j):
            x -= load(a, r + k) * load(a, p + k)
        x = x * load(a, p + j)
        store(a, r + j, x)
        total -= x * x
    store(a, r + i, 1.0 / root(total))


@kernel(**KERNEL)
def substitute(l, x, n):
    """Solve L L^T y = x in place, L from `cholesky`."""
    for i in range(n):
        r = start_of(i)
        total = load(x, i)
        for k in range(i):
            total -= load(l, r + k) * load(x, k)
        store(x, i, total * load(l, r + i))
    for i in range(n - 1, -1, -1):
        r = start_of(i)
        total = load(x, i) * load(l, r + i)
        store(x, i, total)
        for k in range(i):
            store(x, k, load(x, k) - load(l, r + k) * total)


@kernel(**KERNEL)
def substitute_four(l, x, n):
    """`substitute` for the four right-hand sides x (4, n), four rows of L at a time: vectors loaded are used four times."""
    w, whole = vectors(16), n - n % 4
    for i in range(0, whole, 4):
        for m in range(4):
            for h in range(4):
                store(w, 4 * m + h, load(x, m * n + i + h))
        r, s, t, u = start_of(i), start_of(i + 1), start_of(i + 2), start_of(i + 3)
        for k in range(0, i, DEPTH):
            _four_by_four(x, 0, n, 2 * n, 3 * n, l, r, s, t, u, k, min(k + DEPTH, i), w, 0)
        for m in range(4):
            _forward(l, x, m * n, i, w, 4 * m)
    for i in range(whole, n):
        for m in range(4):
            total = load(x, m * n + i)
            for k in range(i):
                total -= load(l, start_of(i) + k) * load(x, m * n + k)
            store(x, m * n + i, total * load(l, start_of(i) + i))
    for i in range(n - 1, whole - 1, -1):
        for m in range(4):
            own = load(x, m * n + i) * load(l, start_of(i) + i)
            store(x, m * n + i, own)
            for k in range(i):
                store(x, m * n + k, load(x, m * n + k) - load(l, start_of(i) + k) * own)
    for i in range(whole - 4, -1, -4):
        for m in range(4):
            _backward(l, x, m * n, i)
        _subtract_four(l, x, n, i)


@kernel(**INLINE)
def _forward(l, x, at, i, w, first):
    """Elements i to i + 4 of x[at...] from what is left of them in w[first...], by the four by four of L on its diagonal."""
    for h in range(4):
        r = start_of(i + h) + i
        value = load(w, first + h)
        for k in range(h):
            value -= load(l, r + k) * load(x, at + i + k)
        store(x, at + i + h, value * load(l, r + h))


@kernel(**INLINE)
def _backward(l, x, at, i):
    """Elements i to i + 4 of x[at...] in place, by the transpose of the four by four of L on its diagonal."""
    for h in range(3, -1, -1):
        value = load(x, at + i + h)
        for k in range(h + 1, 4):
            value -= load(l, start_of(i + k) + i + h) * load(x, at + i + k)
        store(x, at + i + h, value * load(l, start_of(i + h) + i + h))


@kernel(**INLINE)
def _subtract_four(l, x, n, i):
    """Take what elements i to i + 4 of the four vectors x (4, n) stand for away from those before them."""
    r, s, t, u = start_of(i), start_of(i + 1), start_of(i + 2), start_of(i + 3)
    for at in range(0, 4 * n, 2 * n):  # two vectors at a time: eight numbers that stay in registers
        p, q = at + i, at + n + i
        b, c, d, e = load(x, p), load(x, p + 1), load(x, p + 2), load(x, p + 3)
        f, g, h, o = load(x, q), load(x, q + 1), load(x, q + 2), load(x, q + 3)
        for k in range(i):
            v, w, y, z = load(l, r + k), load(l, s + k), load(l, t + k), load(l, u + k)
            store(x, at + k, load(x, at + k) - (v * b + w * c) - (y * d + z * e))
            store(x, at + n + k, load(x, at + n + k) - (v * f + w * g) - (y * h + z * o))


@kernel(**KERNEL)
def update(l, q):
    """The factor of A + sum of q q^T, from that of A in place; q (m, n) is overwritten. Plane rotations, a row at a time."""
    m, n = q.shape[0], q.shape[1]
    c, s = vectors(m * n), vectors(m * n)
    for i in range(n):
        r = start_of(i)
        for k in range(m):
            own = load(q, k * n + i)
            for j in range(i):
                x, y, z = load(l, r + j), load(c, k * n + j), load(s, k * n + j)
                store(l, r + j, x * y + own * z)
                own = own * y - x * z
            inverted = load(l, r + i)
            tangent = own * inverted
            cosine = 1.0 / root(1.0 + tangent * tangent)
            store(c, k * n + i, cosine)
            store(s, k * n + i, tangent * cosine)
            store(l, r + i, inverted * cosine)


@kernel(**KERNEL)
def _invert(l, n, norms, counter):
    first = take(counter) * BAND
    while first < n:
        inverse_columns(l, n, first, min(first + BAND, n), norms)
        first = take(counter) * BAND


def inverse_diagonal(l: np.ndarray, n: int, norms: np.ndarray, team: bool) -> None:
    """The diagonal (n,) of (L L^T)^-1, by all threads where `team`."""
    in_turns(_invert, l, n, norms) if team else _invert(l, n, norms, np.zeros(1, np.int64))


@kernel(**KERNEL)
def inverse_columns(l, n, first, last, norms):
    """norms[first:last] = squares of the columns first:last of L^-1, four rows at a time: x_i = (1 if diagonal - sum l_ik x_k) / l_ii."""
    size, w = n - first, vectors(4 * BAND)
    x = vectors(BAND * size)
    for k in range(BAND * size):
        store(x, k, splat(0.0))
    for i in range(0, size, 4):
        columns, here = min(last - first, i + 4), min(4, size - i)
        r, s = start_of(first + i) + first, start_of(first + i + min(1, here - 1)) + first
        t, u = start_of(first + i + min(2, here - 1)) + first, start_of(first + i + here - 1) + first
        for k in range(4 * BAND):
            store(w, k, splat(0.0))
        for m in range(i, columns):
            store(w, 4 * m + m - i, splat(1.0))
        for start in range(0, i, DEPTH):
            for c in range(0, columns, 4):
                end, p = min(start + DEPTH, i), c * size
                _four_by_four(x, p, p + size, p + 2 * size, p + 3 * size, l, r, s, t, u, start, end, w, 4 * c)
        for m in range(columns):
            for k in range(here):
                row = start_of(first + i + k) + first + i
                value = load(w, 4 * m + k)
                for h in range(k):
                    value -= load(l, row + h) * load(x, m * size + i + h)
                store(x, m * size + i + k, value * load(l, row + k))
    for c in range(last - first):
        total = splat(0.0)
        for i in range(c, size):
            value = load(x, c * size + i)
            total += value * value
        store(norms, first + c, total)
