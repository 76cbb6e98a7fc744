"""Kernels that add the products of planes over one line to Gram matrices.

A plane is multiplied by the weights once, and then by four others at a time: what a processor waits for is neither memory nor the
end of one sum.
"""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.memory import LEAF, float64s, int32s, peek, poke


@kernel(**LEAF)
def _weigh(w, re, im, yr, yi, first, stop):
    """y = w (re + i im). Returns sum w |re + i im|^2."""
    total = 0.0
    for c in range(first, stop):
        v, br, bi = peek(w, c), peek(re, c), peek(im, c)
        ur, ui = v * br, v * bi
        poke(yr, c, ur)
        poke(yi, c, ui)
        total += ur * br + ui * bi
    return total


@kernel(**LEAF)
def _dot(xr, xi, br, bi, first, stop):
    """sum conj(x) b."""
    re = 0.0
    im = 0.0
    for c in range(first, stop):
        ar, ai, cr, ci = peek(xr, c), peek(xi, c), peek(br, c), peek(bi, c)
        re += ar * cr + ai * ci
        im += ar * ci - ai * cr
    return re, im


@kernel(**LEAF)
def _dots(x0, x1, x2, x3, imag, yr, yi, first, stop):
    """sum conj(x) y, real and imaginary part, of four planes x at these addresses, their imaginary parts `imag` bytes further on."""
    ar, br, cr, dr = float64s(x0), float64s(x1), float64s(x2), float64s(x3)
    ai, bi, ci, di = float64s(x0 + imag), float64s(x1 + imag), float64s(x2 + imag), float64s(x3 + imag)
    are, aim, bre, bim, cre, cim, dre, dim = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for c in range(first, stop):
        u, v = peek(yr, c), peek(yi, c)
        p, q = peek(ar, c), peek(ai, c)
        are += p * u + q * v
        aim += p * v - q * u
        p, q = peek(br, c), peek(bi, c)
        bre += p * u + q * v
        bim += p * v - q * u
        p, q = peek(cr, c), peek(ci, c)
        cre += p * u + q * v
        cim += p * v - q * u
        p, q = peek(dr, c), peek(di, c)
        dre += p * u + q * v
        dim += p * v - q * u
    return (are, aim), (bre, bim), (cre, cim), (dre, dim)


@kernel(**LEAF)
def _add_at(gram, at, value):
    poke(gram, at, peek(gram, at) + value)


@kernel(**LEAF)
def _each(xr, xi, br, bi, first, stop, gram, up, low):
    """Every channel a cell: add conj(x) b, real parts at `up`, imaginary ones at `low` (not on the diagonal)."""
    for c in range(first, stop):
        poke(gram, up + c - first, peek(gram, up + c - first) + peek(xr, c) * peek(br, c) + peek(xi, c) * peek(bi, c))
    if low != up:
        for c in range(first, stop):
            poke(
                gram,
                low + c - first,
                peek(gram, low + c - first) + peek(xr, c) * peek(bi, c) - peek(xi, c) * peek(br, c),
            )


@kernel(**LEAF)
def _put(gram, up, low, kept, at, value):
    """Add the real part of a sum at `up` and the imaginary one at `low`, and keep both where that is asked for (at >= 0)."""
    _add_at(gram, up, value[0])
    _add_at(gram, low, value[1])
    if at >= 0:
        poke(kept, at, value[0])
        poke(kept, at + 1, value[1])


@kernel(**LEAF)
def _again(runs, nrun, kept, T, nf, gram):
    """Add the sums of solvable planes with each other that were kept."""
    for r in range(nrun):
        if peek(runs, 4 * r + 3) == 1:
            continue
        f = np.int64(peek(runs, 4 * r + 2))
        for b in range(T):
            for a in range(b + 1):
                at = 2 * ((b * T + a) * nrun + r)
                _add_at(gram, (a * (T + 1) + b) * nf + f, peek(kept, at))
                if a < b:
                    _add_at(gram, (b * (T + 1) + a) * nf + f, peek(kept, at + 1))


@kernel(**LEAF)
def products(job, nf, e, planes, size, i, n, own, gram, work, part, known):
    """Add the Gram matrix of element e over line i. The sums of solvable planes with each other are left in `part`, or
    are `known`."""
    T, nrun = np.int64(job.ntheta[e]), job.runs.shape[0]
    K = T + 1
    local, runs = int32s(job.local.ctypes.data + 4 * e * job.local.shape[1]), int32s(job.runs.ctypes.data)
    kept, keep = float64s(part.ctypes.data), part.shape[2] > 0
    yr, yi, imag, line = float64s(work), float64s(work + 8 * n), 4 * size, planes + 8 * i * n
    if known:
        _again(runs, nrun, kept, T, nf, gram)
    for r in range(nrun):
        first, stop, f = np.int64(peek(runs, 4 * r)), np.int64(peek(runs, 4 * r + 1)), np.int64(peek(runs, 4 * r + 2))
        each = peek(runs, 4 * r + 3) == 1
        for b in range(T if known and not each else 0, K):
            if peek(local, b) < 0:
                continue
            at = line + 8 * size * peek(local, b)
            norm = _weigh(own, float64s(at), float64s(at + imag), yr, yi, first, stop)
            if each:
                for a in range(b + 1):
                    at = line + 8 * size * peek(local, a)
                    up, low = (a * K + b) * nf + f, (b * K + a) * nf + f
                    _each(float64s(at), float64s(at + imag), yr, yi, first, stop, gram, up, low)
                continue
            _add_at(gram, (b * K + b) * nf + f, norm)
            to = np.int64(2 * (b * T * nrun + r) if keep and b < T else -1)
            if to >= 0:
                poke(kept, to + 2 * b * nrun, norm)
            for a in range(0, b - 3, 4):
                sums = _dots(
                    line + 8 * size * peek(local, a),
                    line + 8 * size * peek(local, a + 1),
                    line + 8 * size * peek(local, a + 2),
                    line + 8 * size * peek(local, a + 3),
                    imag, yr, yi, first, stop,
                )  # fmt: skip
                for k in range(4):
                    up, low = ((a + k) * K + b) * nf + f, (b * K + a + k) * nf + f
                    _put(gram, up, low, kept, to + 2 * (a + k) * nrun if to >= 0 else to, sums[k])
            for a in range(b - b % 4, b):
                at = line + 8 * size * peek(local, a)
                value = _dot(float64s(at), float64s(at + imag), yr, yi, first, stop)
                up, low = (a * K + b) * nf + f, (b * K + a) * nf + f
                _put(gram, up, low, kept, to + 2 * a * nrun if to >= 0 else to, value)


@kernel(**LEAF)
def _triple(w, ar, ai, br, bi, first, stop):
    """sum w |a|^2, sum w conj(a) b (real, imaginary), sum w |b|^2."""
    aa, re, im, bb = 0.0, 0.0, 0.0, 0.0
    for c in range(first, stop):
        v, yr, yi, zr, zi = peek(w, c), peek(ar, c), peek(ai, c), peek(br, c), peek(bi, c)
        xr, xi, ur, ui = v * yr, v * yi, v * zr, v * zi
        aa += xr * yr + xi * yi
        re += xr * zr + xi * zi
        im += xr * zi - xi * zr
        bb += ur * zr + ui * zi
    return aa, re, im, bb


@kernel(**LEAF)
def pair(job, nf, e, planes, size, i, n, own, gram):
    """`products` for one solvable plane and a constant part, where no run has channels that are cells: one pass."""
    a = planes + 8 * (job.local[e, 0] * size + i * n)
    b = planes + 8 * (job.local[e, 1] * size + i * n)
    for r in range(job.runs.shape[0]):
        first, stop, f = job.runs[r, 0], job.runs[r, 1], job.runs[r, 2]
        aa, re, im, bb = _triple(
            own, float64s(a), float64s(a + 4 * size), float64s(b), float64s(b + 4 * size), first, stop
        )
        _add_at(gram, f, aa)
        _add_at(gram, nf + f, re)
        _add_at(gram, 2 * nf + f, im)
        _add_at(gram, 3 * nf + f, bb)
