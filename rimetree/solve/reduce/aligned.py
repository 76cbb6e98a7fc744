"""Sums over visibilities that lie in memory as they are needed: model and data columns of one layout, read as they are.

The commonest equation is (two gains) * X = D per correlation, with X and D read from columns that have the same rows, channels and
correlations. Then a row is a plain sequence of complex numbers, and its sums take four of them at a time, all correlations at once.
Rows with data that are not finite, and all other equations, are the business of `gram`.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels import Intrinsic, kernel
from ..algebra.memory import float64s, int32s, int64s, peek, poke
from ..algebra.simd import INLINE, KERNEL, LANES, load, splat, store, total, vectors
from ..algebra.threads import take
from .gram import Job, add_block, scratch
from .sources import Planes
from .turns import begin, end, number

GROUP = LANES // 2
"""Complex numbers per vector."""

SUMS = 5
"""Vectors per run of channels: see `_sum`."""

LARGE = 1e300
"""Beyond any sum of weighted squares of finite float32 numbers."""


class Rows(NamedTuple):
    """Where both columns lie, and for each element (in the order of the job) its correlation and coefficients."""

    model: int
    data: int
    corr: np.ndarray
    coef: np.ndarray
    """(elements, 4) float64: what multiplies the sums of w |x|^2, w |d|^2 and (real and imaginary part) w conj(x) d."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    """Baseline of each member."""
    weights: np.ndarray
    """(rows, channels, correlations) float32."""


def _factor_of(planes: Planes, plane: int) -> int | None:
    """The only factor of a plane that is one factor times a number, as it is in a column of complex64."""
    m = planes.mono_start[plane]
    if planes.mono_start[plane + 1] != m + 1 or planes.fac_start[m + 1] != planes.fac_start[m] + 1:
        return None
    f = int(planes.fac_start[m])
    s = planes.fac_source[f]
    return None if planes.fac_conj[f] or planes.double[s] or not planes.column[s] or not planes.address[s] else f


def rows_of(planes: Planes, job: Job) -> Rows | None:
    """The columns, where all elements are what this module is for; else None."""
    _, channels, ncorr = job.flags.shape
    if job.weights.shape != job.flags.shape or ncorr not in (1, 2, 4) or (job.ntheta != 1).any():
        return None
    if (job.local < 0).any() or (np.diff(job.data_start) != 1).any() or job.runs[:, 3].any():
        return None
    if (job.runs[:, :2] * ncorr % GROUP).any():
        return None
    found: list[set[int]] = [set(), set()]
    members: set[bytes] = {a.tobytes() for a in job.data_index}
    coef = np.empty((len(job.ntheta), 2), complex)
    for e, corr in enumerate(job.data_corr):
        for which in (0, 1):
            plane = job.used[job.local[e, which]]
            f = _factor_of(planes, int(plane))
            if f is None or planes.strides[planes.fac_source[f]].tolist() != [2 * channels * ncorr, 0, 2 * ncorr]:
                return None
            found[which].add(int(planes.address[planes.fac_source[f]]) - 8 * int(corr))
            members.add(planes.fac_index[f].tobytes())
            coef[e, which] = planes.coef[planes.mono_start[plane]]
    if len(members) != 1 or any(len(f) != 1 for f in found):
        return None
    cross = coef[:, 0].conj() * coef[:, 1]
    factor = 2 * np.stack([*np.abs(coef.T) ** 2, cross.real, cross.imag], 1)  # w is twice the weight
    corr, factor = job.data_corr.astype(np.int64), np.ascontiguousarray(factor)
    return Rows(found[0].pop(), found[1].pop(), corr, factor, np.ascontiguousarray(job.data_index[0]), job.weights)


_usable, _complexes, _counted, _swapped = (
    Intrinsic(__name__, name) for name in ("usable", "complexes", "counted", "swapped")
)
"""Instructions; `aligned_code` says what each does."""


@kernel(**INLINE)
def _sum(model, data, weights, flags, first, stop, out, at):
    """Vectors `at`... of `out`: sum w |x|^2, w x d, w x swapped d, w |d|^2 (each by part), data used. Complex numbers
    first:stop of a row."""
    xx, xd, xs, dd, used = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for c in range(first, stop, GROUP):
        weight, flag = weights + 4 * c, flags + c
        w = _usable(weight, flag)
        x, d = _complexes(model + 8 * c, weight, flag), _complexes(data + 8 * c, weight, flag)
        y, z = w * x, w * d
        xx, xd, xs, dd = xx + y * x, xd + y * d, xs + y * _swapped(d), dd + z * d
        used += _counted(weight, flag)
    for i, value in enumerate((xx, xd, xs, dd, used)):
        store(out, at + i, value)


@kernel(**INLINE)
def _fold(out, at, ncorr):
    """Add up several data of one correlation in what `_sum` wrote at `at`."""
    for i in range(LANES * at, LANES * (at + SUMS), LANES):
        if ncorr < 4:
            for k in range(i, i + 4):
                poke(out, k, peek(out, k) + peek(out, k + 4))
        if ncorr < 2:
            for k in range(i, i + 2):
                poke(out, k, peek(out, k) + peek(out, k + 2))


@kernel(**INLINE)
def _add(corr, coef, out, gram, nf, count):
    """Add what `_sum` wrote at `out` to one frequency cell of the Gram matrix and of the count of one element."""
    at = 2 * corr
    aa, bb = peek(out, at) + peek(out, at + 1), peek(out, at + 3 * LANES) + peek(out, at + 3 * LANES + 1)
    re, im = (
        peek(out, at + LANES) + peek(out, at + LANES + 1),
        peek(out, at + 2 * LANES) - peek(out, at + 2 * LANES + 1),
    )
    cr, ci = peek(coef, 2), peek(coef, 3)
    poke(gram, 0, peek(gram, 0) + peek(coef, 0) * aa)
    poke(gram, nf, peek(gram, nf) + (cr * re - ci * im))
    poke(gram, 2 * nf, peek(gram, 2 * nf) + (cr * im + ci * re))
    poke(gram, 3 * nf, peek(gram, 3 * nf) + peek(coef, 1) * bb)
    poke(count, 0, peek(count, 0) + np.int64(peek(out, at + 4 * LANES) + peek(out, at + 4 * LANES + 1) + 0.5))


@kernel(**KERNEL)
def add_rows(columns, address, count, p, job, turns, counter):
    """Add all data to the Gram matrices at `address` (elements,) and to `count`, as `gram.add_lines` does. Returns the number
    of data dropped because they are not finite."""
    ne, members, nt, nf = count.shape
    ncorr, size, slots = job.flags.shape[2], job.flags.shape[1] * job.flags.shape[2], p.rows.shape[1]
    corr, coef, index = int64s(columns.corr.ctypes.data), columns.coef.ctypes.data, int32s(columns.index.ctypes.data)
    weights, flags, rows = columns.weights.ctypes.data, job.flags.ctypes.data, int32s(p.rows.ctypes.data)
    nrun, runs, tcell = job.runs.shape[0], int32s(job.runs.ctypes.data), int32s(job.tcell.ctypes.data)
    grams, counts = int64s(address.ctypes.data), count.ctypes.data
    room, dropped = vectors(SUMS * nrun), 0
    out = room.ctypes.data
    turn = take(counter)
    while turn < number(turns):
        s0, s1, m0, m1 = begin(turns, turn)
        for s in range(s0, s1):
            t = np.int64(peek(tcell, s))
            for m in range(m0, m1 if t >= 0 else m0):
                b = np.int64(peek(index, m))
                row = np.int64(peek(rows, b * slots + s)) if b >= 0 else -1
                if row < 0:
                    continue
                fine, at = True, row * size
                for r in range(nrun):
                    first, stop = at + peek(runs, 4 * r) * ncorr, at + peek(runs, 4 * r + 1) * ncorr
                    _sum(columns.model, columns.data, weights, flags, first, stop, room, SUMS * r)
                    fine &= total(load(room, SUMS * r) + load(room, SUMS * r + 3)) < LARGE
                if not fine:  # a datum is NaN or infinite
                    dropped += add_block(scratch(job), address, count, p, job, s, s + 1, m, m + 1, (0, 0))
                    continue
                for r in range(nrun):
                    _fold(float64s(out), SUMS * r, ncorr)
                    f, sums = np.int64(peek(runs, 4 * r + 2)), float64s(out + 8 * LANES * SUMS * r)
                    for e in range(ne):
                        gram = float64s(peek(grams, e) + 8 * (4 * (m * nt + t) * nf + f))
                        used = int64s(counts + 8 * (((e * members + m) * nt + t) * nf + f))
                        _add(peek(corr, e), float64s(coef + 32 * e), sums, gram, nf, used)
        end(turns, turn)
        turn = take(counter)
    return dropped
