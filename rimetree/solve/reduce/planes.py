"""Kernels that read planes (see `sources`) from where their factors lie into contiguous float64.

They work on blocks of lines (a line is one member at one slot), so that a call costs little per line.
"""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.memory import LEAF, OPTIONS, fill, float32s, float64s, int32s, int64s, peek, poke, split

FINE, PARTLY, MISSING = 0, 1, 2
"""States of an assembled plane: all channels usable; some not finite (see `bad`); no data for this member and slot."""


@kernel(**LEAF)
def _negate(im, n):
    for c in range(n):
        poke(im, c, -peek(im, c))


@kernel(**LEAF)
def _scale(re, im, sr, si, n):
    """Times a number."""
    for c in range(n):
        xr, xi = peek(re, c), peek(im, c)
        poke(re, c, sr * xr - si * xi)
        poke(im, c, sr * xi + si * xr)


@kernel(**LEAF)
def _multiply(re, im, br, bi, n):
    for c in range(n):
        xr, xi, yr, yi = peek(re, c), peek(im, c), peek(br, c), peek(bi, c)
        poke(re, c, xr * yr - xi * yi)
        poke(im, c, xr * yi + xi * yr)


@kernel(**LEAF)
def _add(re, im, sr, si, br, bi, n):
    """Plus a number times another line."""
    for c in range(n):
        yr, yi = peek(br, c), peek(bi, c)
        poke(re, c, peek(re, c) + sr * yr - si * yi)
        poke(im, c, peek(im, c) + sr * yi + si * yr)


@kernel(**LEAF)
def _number(address, double):
    """One complex number."""
    if double:
        return peek(float64s(address), 0), peek(float64s(address), 1)
    return float(peek(float32s(address), 0)), float(peek(float32s(address), 1))


@kernel(**LEAF)
def _line(address, double, step, conj, re, im, n):
    """re + i im = n complex numbers `step` reals apart."""
    if double:
        split(float64s(address), step, re, im, n)
    else:
        split(float32s(address), step, re, im, n)
    if conj:
        _negate(im, n)


@kernel(**LEAF)
def _monomial(p, m, member, slot, re, im, tr, ti, n):
    """(found, sr, si, wide): monomial m is sr + i si, times re + i im where it has wide factors. t: room for a line.

    Factors that do not vary along frequency are multiplied into the number.
    """
    sr, si = p.coef[m].real, p.coef[m].imag
    wide = 0
    for f in range(p.fac_start[m], p.fac_start[m + 1]):
        s = p.fac_source[f]
        at = p.fac_index[f, member]
        if p.column[s] and at >= 0:
            at = p.rows[at, slot]
        if at < 0 or p.address[s] == 0:
            return False, sr, si, wide
        step, double = p.strides[s, 2], p.double[s]
        address = p.address[s] + (8 if double else 4) * (at * p.strides[s, 0] + slot * p.strides[s, 1])
        if step == 0:
            xr, xi = _number(address, double)
            xi = -xi if p.fac_conj[f] else xi
            sr, si = sr * xr - si * xi, sr * xi + si * xr
        elif wide == 0:
            _line(address, double, step, p.fac_conj[f], re, im, n)
            wide = 1
        else:
            _line(address, double, step, p.fac_conj[f], tr, ti, n)
            _multiply(re, im, tr, ti, n)
    return True, sr, si, wide


@kernel(**LEAF)
def _column_of(p, plane):
    """The only factor of a plane that is a number times a correlation of a column of complex64, else -1."""
    m = p.mono_start[plane]
    if p.mono_start[plane + 1] != m + 1 or p.fac_start[m + 1] != p.fac_start[m] + 1:
        return np.int64(-1)
    f = np.int64(p.fac_start[m])
    s = p.fac_source[f]
    plain = p.column[s] and p.address[s] != 0 and not p.double[s] and not p.fac_conj[f]
    return f if plain else np.int64(-1)


@kernel(**OPTIONS)
def _correlation(p, f, coef, member, slot, count, out, n, state):
    """`assemble` for a plane that is `coef` times factor f, a correlation of a column of complex64. Returns the sum of all magnitudes,
    of real and imaginary parts."""
    s, slots, members = p.fac_source[f], p.rows.shape[1], p.fac_index.shape[1]
    address, line, step = p.address[s], p.strides[s, 0], p.strides[s, 2]
    index, rows = int32s(p.fac_index.ctypes.data + 4 * f * members), int32s(p.rows.ctypes.data)
    where, when = int64s(member.ctypes.data), int64s(slot.ctypes.data)
    size = 0.0
    for i in range(count):
        re, im = float64s(out + 8 * n * i), float64s(out + 8 * n * (count + i))
        at = np.int64(peek(index, peek(where, i)))
        row = np.int64(peek(rows, at * slots + peek(when, i))) if at >= 0 else np.int64(-1)
        state[i] = FINE if row >= 0 else MISSING
        if row < 0:
            fill(re, 0.0, n)
            fill(im, 0.0, n)
            continue
        split(float32s(address + 4 * row * line), step, re, im, n)
        if coef.real != 1.0 or coef.imag != 0.0:
            _scale(re, im, coef.real, coef.imag, n)
        for c in range(n):
            size += abs(peek(re, c)) + abs(peek(im, c))
    return size


@kernel(**OPTIONS)
def _any(p, plane, member, slot, count, out, spare, n, state):
    """`assemble` for any plane, whose values need not be finite."""
    start, stop = p.mono_start[plane], p.mono_start[plane + 1]
    xr, xi = float64s(spare), float64s(spare + 8 * n)
    tr, ti = float64s(spare + 16 * n), float64s(spare + 24 * n)
    for i in range(count):
        re, im = float64s(out + 8 * n * i), float64s(out + 8 * n * (count + i))
        found = True
        for m in range(start, stop):
            first = m == start
            to_re = float64s(out + 8 * n * i if first else spare)
            to_im = float64s(out + 8 * n * (count + i) if first else spare + 8 * n)
            found, sr, si, wide = _monomial(p, m, member[i], slot[i], to_re, to_im, tr, ti, n)
            if not found:
                break
            if wide == 0:
                fill(to_re, 1.0, n)
                fill(to_im, 0.0, n)
            if not first:
                _add(re, im, sr, si, xr, xi, n)
            elif sr != 1.0 or si != 0.0:
                _scale(re, im, sr, si, n)
        if start == stop or not found:
            fill(re, 0.0, n)
            fill(im, 0.0, n)
        state[i] = FINE if found else MISSING


@kernel(**OPTIONS)
def _clean(out, count, n, state, bad, largest):
    """Set values of `count` assembled lines that are not finite, or beyond `largest`, to 0: such lines become PARTLY,
    with the channels marked in `bad` (lines, n)."""
    total = count * n
    re, im = float64s(out), float64s(out + 8 * total)
    fine = 0
    for c in range(total):
        fine += (abs(peek(re, c)) <= largest) & (abs(peek(im, c)) <= largest)
    if fine == total:
        return
    for i in range(count):
        for c in range(n):
            k = i * n + c
            bad[i, c] = not (abs(peek(re, k)) <= largest and abs(peek(im, k)) <= largest)
            if bad[i, c]:
                poke(re, k, 0.0)
                poke(im, k, 0.0)
                state[i] = PARTLY


@kernel(**OPTIONS)
def assemble(p, plane, member, slot, count, out, spare, n, state, bad, largest):
    """A plane for `count` lines (member[i], slot[i]) of n channels; state[i] = FINE, PARTLY where values are not finite or beyond
    `largest` (they are set to 0, and the channels marked in `bad`, (lines, n)), or MISSING where a factor has no data.

    At address `out`: the real parts of all lines as float64, then the imaginary parts; zero where missing. `spare`:
    address of 4 n float64 to work with.
    """
    f = _column_of(p, plane)
    if f < 0:
        _any(p, plane, member, slot, count, out, spare, n, state)
    elif _correlation(p, f, p.coef[p.mono_start[plane]], member, slot, count, out, n, state) <= largest:
        return  # then each is
    _clean(out, count, n, state, bad, largest)
