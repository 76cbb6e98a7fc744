"""Kernels that make pseudo-visibilities: from Gram matrices, or straight from data where every cell holds one datum."""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.memory import OPTIONS
from ..algebra.threads import take
from .gram import load, scratch
from .turns import BLOCK

SINGULAR = 1e-11
"""A Cholesky pivot below this fraction of its diagonal element is zero: that plane is a combination of earlier ones. Without an order by
size, rounding errors grow by one over the root of the smallest pivot: less than eps^(2/3) would let them become pivots."""

LANES = 64
"""Cells factored at a time."""


@kernel(**OPTIONS)
def _direct_block(out, job, room, lines, njt, cj, cs, njf, nsf):
    """Write the first `lines` lines of a block, all of one member. cj, cs: joint cell and interval of every channel."""
    rr, ri, yr, yi, _, count = out
    n, T = job.fcell.shape[0], job.ntheta[0]
    for i in range(lines):
        if not room.alive[0, i]:
            continue
        m, t = room.member[i], job.tcell[room.slot[i]]
        j0, s0 = t % njt * njf, t // njt * nsf
        w = room.weights[i * n : (i + 1) * n]
        for c in range(n):
            if w[c] > 0.0 and cj[c] >= 0:
                count[m, s0 + cs[c]] += 1
        for a in range(T + 1):
            if job.local[0, a] < 0:
                continue
            re = room.planes[(2 * job.local[0, a] * lines + i) * n :]
            im = room.planes[((2 * job.local[0, a] + 1) * lines + i) * n :]
            for c in range(n):
                if w[c] > 0.0 and cj[c] >= 0:
                    j, s, root = j0 + cj[c], s0 + cs[c], np.sqrt(w[c])
                    if a < T:
                        rr[m, 0, a, j, s] = root * re[c]
                        ri[m, 0, a, j, s] = root * im[c]
                    else:
                        yr[m, 0, j, s] = root * re[c]
                        yi[m, 0, j, s] = root * im[c]


@kernel(**OPTIONS)
def _direct_member(out, p, job, m, njt, nsf, njf):
    n, nslot = job.fcell.shape[0], job.tcell.shape[0]
    cj, cs = np.full(n, -1), np.full(n, -1)
    for c in range(n):
        if job.fcell[c] >= 0:
            cj[c], cs[c] = job.fcell[c] % njf, job.fcell[c] // njf
    room = scratch(job)
    room.member[:] = m
    dropped, lines = 0, 0
    for slot in range(nslot):
        if job.tcell[slot] >= 0:
            room.slot[lines] = slot
            lines += 1
        if lines == room.slot.shape[0] or (lines > 0 and slot == nslot - 1):
            dropped += load(p, job, room, lines)
            _direct_block(out, job, room, lines, njt, cj, cs, njf, nsf)
            lines = 0
    return dropped


@kernel(**OPTIONS)
def fill_direct(out, p, job, njt, nsf, njf, counter):
    """R = sqrt(w) C and y = sqrt(w) c of the only element of `job`. One turn (see `threads`) per member: slots of an interval
    would race for its count. Returns the number of data dropped."""
    dropped = 0
    m = take(counter)
    while m < out[5].shape[0]:
        dropped += _direct_member(out, p, job, m, njt, nsf, njf)
        m = take(counter)
    return dropped


@kernel(**OPTIONS)
def _cholesky(A, B, ns):
    """Upper factor of ns Hermitian positive semi-definite matrices A + i B (n, n, lanes) in place, but for the last
    row."""
    n = A.shape[0]
    diagonal, root = np.empty((n, LANES)), np.empty(LANES)
    for k in range(n):
        diagonal[k] = A[k, k]
    for k in range(n - 1):
        own, pivot = diagonal[k], A[k, k]
        for v in range(ns):
            root[v] = 1.0 / np.sqrt(pivot[v]) if pivot[v] > SINGULAR * own[v] else 0.0
        for i in range(k, n):
            x, y = A[k, i], B[k, i]
            for v in range(ns):
                x[v] *= root[v]
                y[v] *= root[v]
        for i in range(k + 1, n):
            for j in range(i, n):
                x, y, pr, pi, qr, qi = A[i, j], B[i, j], A[k, i], B[k, i], A[k, j], B[k, j]
                for v in range(ns):
                    x[v] -= pr[v] * qr[v] + pi[v] * qi[v]
                    y[v] -= pr[v] * qi[v] - pi[v] * qr[v]


@kernel(**OPTIONS)
def _factor_member(gram, out, m, cj, cs):
    rr, ri, yr, yi, constant, _ = out
    _, nt, n, _, nf = gram.shape
    A, B = np.empty((n, n, LANES)), np.empty((n, n, LANES))
    for cell in range(0, nt * nf, LANES):
        ns = min(LANES, nt * nf - cell)
        for v in range(ns):
            t, f = (cell + v) // nf, (cell + v) % nf
            for a in range(n):
                A[a, a, v] = gram[m, t, a, a, f]
                B[a, a, v] = 0.0
                for b in range(a + 1, n):
                    A[a, b, v] = gram[m, t, a, b, f]
                    B[a, b, v] = gram[m, t, b, a, f]
        _cholesky(A, B, ns)
        for k in range(n - 1):
            for a in range(k, n - 1):
                for v in range(ns):
                    rr[m, k, a, cj[cell + v], cs[cell + v]] = A[k, a, v]
                    ri[m, k, a, cj[cell + v], cs[cell + v]] = B[k, a, v]
            for v in range(ns):
                yr[m, k, cj[cell + v], cs[cell + v]] = A[k, n - 1, v]
                yi[m, k, cj[cell + v], cs[cell + v]] = B[k, n - 1, v]
        for v in range(ns):
            constant[m, cs[cell + v]] += max(A[n - 1, n - 1, v], 0.0)


@kernel(**OPTIONS)
def _factor_pair(gram, out, first, last, cj, cs):
    """`_factor_member` for members first:last with one solvable plane."""
    rr, _, yr, yi, constant, _ = out
    _, nt, _, _, nf = gram.shape
    for m in range(first, last):
        for t in range(nt):
            for f in range(nf):
                j, s, pivot = cj[t * nf + f], cs[t * nf + f], gram[m, t, 0, 0, f]
                root = 1.0 / np.sqrt(pivot) if pivot > 0.0 else 0.0
                re, im = gram[m, t, 0, 1, f] * root, gram[m, t, 1, 0, f] * root
                rr[m, 0, 0, j, s], yr[m, 0, j, s], yi[m, 0, j, s] = pivot * root, re, im
                constant[m, s] += max(gram[m, t, 1, 1, f] - (re * re + im * im), 0.0)


@kernel(**OPTIONS)
def fill_factor(gram, out, njt, nsf, njf, counter):
    """Cholesky factors of Gram matrices (members, time cells, T + 1, T + 1, frequency cells) into `out`. One turn for
    every BLOCK members."""
    nt, nf = gram.shape[1], gram.shape[4]
    cj, cs = np.empty(nt * nf, np.int64), np.empty(nt * nf, np.int64)
    for t in range(nt):
        for f in range(nf):
            cj[t * nf + f], cs[t * nf + f] = t % njt * njf + f % njf, t // njt * nsf + f // njf
    first = take(counter) * BLOCK
    while first < gram.shape[0]:
        last = min(first + BLOCK, gram.shape[0])
        if gram.shape[2] == 2:
            _factor_pair(gram, out, first, last, cj, cs)
        else:
            for m in range(first, last):
                _factor_member(gram, out, m, cj, cs)
        first = take(counter) * BLOCK
