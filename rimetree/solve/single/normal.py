"""Normal equations of sums of products, for eight solution intervals at once: intervals are the lanes of every vector.

One table-driven kernel serves every equation. The residual of row k of an equation is `r_k = y_k + sum_a R_ka phi_a`
with `phi_a` a sum of products of atoms; atoms depend on real unknowns through their derivatives. chi2 = sum |r|^2, g
= sum Re(J^H r), H = sum Re(J^H J).
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.simd import INLINE, KERNEL, LANES, add, load, splat, store
from ..algebra.threads import take


@kernel(**KERNEL)
def mark(unknowns, data, seen):
    """seen (unknowns, S) = True where a member that sees an unknown (members, seen by each) has data (members, S)."""
    for n in range(unknowns.shape[0]):
        for i in range(unknowns.shape[1]):
            for s in range(seen.shape[1]):
                seen[unknowns[n, i], s] |= data[n, s] > 0


@kernel(**KERNEL)
def pack(rr, ri, yr, yi, s0, data, at):
    """Vectors `at`... of `data` from the equations R (members, rows, planes, J, S) and y (members, rows, J, S), lanes
    s0...

    Order: member, joint cell, row: y, then the planes of R from the diagonal on; real and imaginary parts in turn.
    """
    members, rows, planes, J, S = rr.shape
    lanes = min(S - s0, LANES)
    for n in range(members):
        for j in range(J):
            for k in range(rows):
                for v in range(lanes):
                    data[at, v] = yr[n, k, j, s0 + v]
                    data[at + 1, v] = yi[n, k, j, s0 + v]
                at += 2
                for a in range(k, planes):
                    for v in range(lanes):
                        data[at, v] = rr[n, k, a, j, s0 + v]
                        data[at + 1, v] = ri[n, k, a, j, s0 + v]
                    at += 2


@kernel(**INLINE)
def _turned(xr, xi, yr, yi, sign):
    """x * y, or x * conj(y) where `sign` is -1."""
    yi = yi * sign
    return xr * yr - xi * yi, xr * yi + xi * yr


@kernel(**INLINE)
def _pair_term(t, m, f0, a0, j, J, ur, ui, phi, dphi):
    """A product of two factors and both derivatives."""
    f, h = np.int64(t.factor[m, 0]), np.int64(t.factor[m, 1])
    x, y = np.int64(t.atom[a0 + f]) * J + j, np.int64(t.atom[a0 + h]) * J + j
    a, d, e = np.int64(t.plane[m]), np.int64(t.partial[m, 0]), np.int64(t.partial[m, 1])
    xr, xi = load(ur, x), load(ui, x) * t.sign[f0 + f]
    yr, yi = load(ur, y), load(ui, y) * t.sign[f0 + h]
    cr, ci = splat(t.coef[m, 0]), splat(t.coef[m, 1])
    pr, pi = cr * yr - ci * yi, cr * yi + ci * yr
    add(dphi, 2 * d, pr)
    add(dphi, 2 * d + 1, pi)
    add(dphi, 2 * e, cr * xr - ci * xi)
    add(dphi, 2 * e + 1, cr * xi + ci * xr)
    add(phi, 2 * a, pr * xr - pi * xi)
    add(phi, 2 * a + 1, pr * xi + pi * xr)


@kernel(**INLINE)
def _term(t, m, count, f0, a0, j, J, ur, ui, phi, dphi):
    """A product of any number of factors and its derivatives: the product of all others for each."""
    for skip in range(-1, count):
        pr, pi = splat(t.coef[m, 0]), splat(t.coef[m, 1])
        for k in range(count):
            if k != skip:
                f = np.int64(t.factor[m, k])
                at = np.int64(t.atom[a0 + f]) * J + j
                xr, xi = load(ur, at), load(ui, at) * t.sign[f0 + f]
                pr, pi = pr * xr - pi * xi, pr * xi + pi * xr
        if skip < 0:
            at = 2 * np.int64(t.plane[m])
            add(phi, at, pr)
            add(phi, at + 1, pi)
        else:
            at = 2 * np.int64(t.partial[m, skip])
            add(dphi, at, pr)
            add(dphi, at + 1, pi)


@kernel(**INLINE)
def _clear(array, count):
    for i in range(count):
        store(array, i, splat(0.0))


@kernel(**INLINE)
def _place(p, q):
    """Of element p, q in a packed lower triangle."""
    return (p * (p + 1)) // 2 + q if p >= q else (q * (q + 1)) // 2 + p


@kernel(**KERNEL)
def _clear_blocks(H, order, starts):
    """Elements of pairs of unknowns of one block."""
    for b in range(starts.shape[0] - 1):
        for i in range(starts[b], starts[b + 1]):
            for k in range(starts[b], i + 1):
                store(H, _place(order[i], order[k]), splat(0.0))


@kernel(**KERNEL)
def add_part(H, g, part, slope, t, blocks_only, counter):
    """Add another part of the members' sums to H and g: blocks, or rows of H, in turn (see `threads`)."""
    b = take(counter)
    while b < (t.starts.shape[0] - 1 if blocks_only else g.shape[0]):
        first, last = (t.starts[b], t.starts[b + 1]) if blocks_only else (np.int64(b), np.int64(b + 1))
        for i in range(first, last):
            p = t.order[i] if blocks_only else i
            add(g, p, load(slope, p))
            for k in range(first if blocks_only else 0, i + 1):
                at = _place(p, t.order[k] if blocks_only else k)
                add(H, at, load(part, at))
        b = take(counter)


@kernel(**INLINE)
def _products(t, e, a0, j, ur, ui, phi, dphi):
    """phi (planes) and its partial derivatives by local factor, complex."""
    J, f0, most = t.extent[e, 3], t.first[e, 2], t.factor.shape[1]
    _clear(phi, 2 * t.extent[e, 2])
    _clear(dphi, 2 * (t.first[e + 1, 1] - t.first[e, 1]))
    for m in range(t.first[e, 0], t.first[e + 1, 0]):
        count = 0
        while count < most and t.factor[m, count] >= 0:
            count += 1
        if count == 2:
            _pair_term(t, m, f0, a0, j, J, ur, ui, phi, dphi)
        else:
            _term(t, m, count, f0, a0, j, J, ur, ui, phi, dphi)


@kernel(**INLINE)
def _row(t, e, k, data, at, phi, dphi, dr):
    """Residual of row k (and its derivatives by local factor in `dr`) from the vectors of data at `at`."""
    d0, planes = t.first[e, 1], t.extent[e, 2]
    re, im = load(data, at), load(data, at + 1)
    for a in range(k, planes):
        p = at + 2 * (1 + a - k)
        rr, ri, xr, xi = load(data, p), load(data, p + 1), load(phi, 2 * a), load(phi, 2 * a + 1)
        re, im = re + rr * xr - ri * xi, im + rr * xi + ri * xr
    _clear(dr, 2 * (t.first[e + 1, 2] - t.first[e, 2]))
    for d in range(t.first[e + 1, 1] - d0):
        plane, f = np.int64(t.partial_plane[d0 + d]), np.int64(t.partial_factor[d0 + d])
        if plane >= k:
            p = at + 2 * (1 + plane - k)
            rr, ri, xr, xi = load(data, p), load(data, p + 1), load(dphi, 2 * d), load(dphi, 2 * d + 1)
            add(dr, 2 * f, rr * xr - ri * xi)
            add(dr, 2 * f + 1, rr * xi + ri * xr)
    return re, im


@kernel(**INLINE)
def _jacobian(t, e, k, depth, a0, b0, j, tr, ti, dr, re, im, jac, base, g):
    """Derivatives of row k by the units that reach it, into jac[base...], and the gradient."""
    J, f0, u0 = t.extent[e, 3], t.first[e, 2], t.first[e, 3]
    for i in range(t.first[e + 1, 3] - u0):
        if depth[i] <= k:
            continue
        f, size = np.int64(t.unit[u0 + i, 0]), t.unit[u0 + i, 2]
        a, b = load(dr, 2 * f), load(dr, 2 * f + 1)
        sign = t.sign[f0 + f]
        at = (np.int64(t.atom[a0 + f]) * tr.shape[1] + t.unit[u0 + i, 1]) * J + j
        a, b = _turned(a, b, load(tr, at), load(ti, at), sign)
        store(jac, base + 2 * i, a)
        store(jac, base + 2 * i + 1, b)
        p = np.int64(t.unknown[b0 + i])
        add(g, p, a * re + b * im)
        if size == 2:
            add(g, p + 1, (a * im - b * re) * sign)


@kernel(**INLINE)
def _block(H, p, q, size_p, size_q, sign_p, sign_q, cr, ci, same):
    """Add Re(conj(Jp) Jq) for all parts of two units, unknowns p... and q..., given conj(Jp) Jq of their first parts;
    the second part of a unit is sign * i times the first."""
    if size_p == 2 and size_q == 2 and abs(p - q) > 1:
        add(H, _place(p, q), cr)
        add(H, _place(p, q + 1), ci * -sign_q)
        add(H, _place(p + 1, q), ci * sign_p)
        add(H, _place(p + 1, q + 1), cr * (sign_p * sign_q))
        return
    for i in range(size_p):
        for k in range(size_q):
            if same and k > i:
                continue
            twice = 2.0 if p + i == q + k and not same else 1.0  # one unknown through two factors
            if i == k:
                add(H, _place(p + i, q + k), cr * (twice * (sign_p * sign_q if i else 1.0)))
            else:
                add(H, _place(p + i, q + k), ci * (twice * (sign_p if i else -sign_q)))


@kernel(**INLINE)
def _depths(t, e, depth):
    """How many of the first rows of equation e depend on each of its units: R is an upper triangle, so row k sees planes from k on."""
    u0, rows = t.first[e, 3], t.extent[e, 1]
    for i in range(t.first[e + 1, 3] - u0):
        depth[i] = 0
        for d in range(t.first[e, 1], t.first[e + 1, 1]):
            if t.partial_factor[d] == t.unit[u0 + i, 0]:
                depth[i] = max(depth[i], min(rows, t.partial_plane[d] + 1))


@kernel(**INLINE)
def _pairs(t, e, b0, depth, jac, H, blocks_only):
    """Add Re(J^H J) of all pairs of units, summed over the rows that depend on both."""
    f0, u0 = t.first[e, 2], t.first[e, 3]
    units = t.first[e + 1, 3] - u0
    for i in range(units):
        p, size_p = np.int64(t.unknown[b0 + i]), t.unit[u0 + i, 2]
        sign_p = t.sign[f0 + t.unit[u0 + i, 0]]
        for l in range(i + 1):
            q, size_q = np.int64(t.unknown[b0 + l]), t.unit[u0 + l, 2]
            if blocks_only and t.block[p] != t.block[q]:
                continue
            sign_q = t.sign[f0 + t.unit[u0 + l, 0]]
            cr, ci = splat(0.0), splat(0.0)
            for k in range(min(depth[i], depth[l])):
                x, y = 2 * (k * units + i), 2 * (k * units + l)
                ar, ai, br, bi = load(jac, x), load(jac, x + 1), load(jac, y), load(jac, y + 1)
                cr, ci = cr + ar * br + ai * bi, ci + ar * bi - ai * br
            _block(H, p, q, size_p, size_q, sign_p, sign_q, cr, ci, i == l)


@kernel(**INLINE)
def _is_baseline(t, e):
    """Whether an equation is one plane times two complex unknowns, as a baseline is with diagonal gains."""
    m, u = t.first[e, 0], t.first[e, 3]
    one = t.extent[e, 1] == 1 and t.extent[e, 2] == 1 and t.first[e + 1, 0] == m + 1 and t.first[e + 1, 3] == u + 2
    if not one or t.factor.shape[1] < 2 or t.factor[m, 1] < 0 or (t.factor.shape[1] > 2 and t.factor[m, 2] >= 0):
        return False
    ordered = t.unit[u, 0] == t.factor[m, 0] and t.unit[u + 1, 0] == t.factor[m, 1]
    return ordered and t.unit[u, 2] == 2 and t.unit[u + 1, 2] == 2


@kernel(**KERNEL)
def _baselines(t, e, data, ur, ui, tr, ti, H, g, blocks_only, chunk, chunks):
    """`normal` for an equation that `_is_baseline`: the same sums, held in registers. Returns chi2."""
    total = splat(0.0)
    members, J = t.extent[e, 0], t.extent[e, 3]
    m, u, f0 = t.first[e, 0], t.first[e, 3], t.first[e, 2]
    factors, units = t.first[e + 1, 2] - f0, 2
    f, h = np.int64(t.factor[m, 0]), np.int64(t.factor[m, 1])
    sf, sh = t.sign[f0 + f], t.sign[f0 + h]
    for n in range(chunk, members, chunks):
        a0, b0 = t.first[e, 4] + n * factors, t.first[e, 5] + n * units
        x, y = np.int64(t.atom[a0 + f]), np.int64(t.atom[a0 + h])
        p, q = np.int64(t.unknown[b0]), np.int64(t.unknown[b0 + 1])
        pp, qq, cr, ci = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        gr, gi, kr, ki = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        for j in range(J):
            at = t.first[e, 6] + (n * J + j) * 4
            vr, vi = load(ur, x * J + j), load(ui, x * J + j) * sf
            wr, wi = load(ur, y * J + j), load(ui, y * J + j)
            rr, ri = _turned(load(data, at + 2), load(data, at + 3), splat(t.coef[m, 0]), splat(t.coef[m, 1]), 1.0)
            dr, di = _turned(rr, ri, wr, wi, sh)
            hr, hi = _turned(rr, ri, vr, vi, 1.0)
            re, im = load(data, at) + dr * vr - di * vi, load(data, at + 1) + dr * vi + di * vr
            total += re * re + im * im
            k, l = (x * tr.shape[1] + t.unit[u, 1]) * J + j, (y * tr.shape[1] + t.unit[u + 1, 1]) * J + j
            dr, di = _turned(dr, di, load(tr, k), load(ti, k), sf)
            hr, hi = _turned(hr, hi, load(tr, l), load(ti, l), sh)
            gr, gi = gr + dr * re + di * im, gi + dr * im - di * re
            kr, ki = kr + hr * re + hi * im, ki + hr * im - hi * re
            pp, qq = pp + dr * dr + di * di, qq + hr * hr + hi * hi
            cr, ci = cr + dr * hr + di * hi, ci + dr * hi - di * hr
        add(g, p, gr)
        add(g, p + 1, gi * sf)
        add(g, q, kr)
        add(g, q + 1, ki * sh)
        _block(H, p, p, 2, 2, sf, sf, pp, splat(0.0), True)
        _block(H, q, q, 2, 2, sh, sh, qq, splat(0.0), True)
        if not blocks_only or t.block[p] == t.block[q]:
            _block(H, p, q, 2, 2, sf, sh, cr, ci, False)
    return total


@kernel(**KERNEL)
def normal(t, data, ur, ui, tr, ti, H, g, chi2, blocks_only, chunk, chunks):
    """H (packed lower triangle), g (unknowns) and chi2 (1) of eight intervals; every `chunks`-th member from `chunk`
    on.

    data: see `pack`; atoms u (atoms, J), derivatives t (atoms, parameters, J); all with LANES last.
    `blocks_only`: only pairs of unknowns of one block (for block-Jacobi steps); the rest of H is not touched.
    """
    if blocks_only:
        _clear_blocks(H, t.order, t.starts)
    else:
        _clear(H, H.shape[0])
    _clear(g, g.shape[0])
    total = splat(0.0)
    sizes = np.zeros(5, np.int64)
    for e in range(t.extent.shape[0]):
        rows, units = t.extent[e, 1], t.first[e + 1, 3] - t.first[e, 3]
        own = (t.extent[e, 2], t.first[e + 1, 1] - t.first[e, 1], t.first[e + 1, 2] - t.first[e, 2], rows * units)
        for i in range(4):
            sizes[i] = max(sizes[i], 2 * own[i])
    phi, dphi = np.empty((sizes[0], LANES)), np.empty((sizes[1], LANES))
    dr, jac = np.empty((sizes[2], LANES)), np.empty((sizes[3], LANES))
    depth = np.empty(t.unit.shape[0], np.int64)
    for e in range(t.extent.shape[0]):
        if _is_baseline(t, e):
            total += _baselines(t, e, data, ur, ui, tr, ti, H, g, blocks_only, chunk, chunks)
            continue
        members, rows, planes, J = t.extent[e]
        factors, units = t.first[e + 1, 2] - t.first[e, 2], t.first[e + 1, 3] - t.first[e, 3]
        vectors = 2 * (rows * (1 + planes) - rows * (rows - 1) // 2)
        _depths(t, e, depth)
        for n in range(chunk, members, chunks):
            a0, b0 = t.first[e, 4] + n * factors, t.first[e, 5] + n * units
            for j in range(J):
                at = t.first[e, 6] + (n * J + j) * vectors
                _products(t, e, a0, j, ur, ui, phi, dphi)
                for k in range(rows):
                    re, im = _row(t, e, k, data, at, phi, dphi, dr)
                    total += re * re + im * im
                    _jacobian(t, e, k, depth, a0, b0, j, tr, ti, dr, re, im, jac, 2 * k * units, g)
                    at += 2 * (1 + planes - k)
                _pairs(t, e, b0, depth, jac, H, blocks_only)
    store(chi2, 0, total)
