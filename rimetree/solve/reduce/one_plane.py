"""Sums over rows of columns of equations that have one solvable plane, of the same correlation as the data: one pass (see `aligned`)."""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ..algebra.memory import float64s, int32s, int64s, peek, poke
from ..algebra.simd import INLINE, KERNEL, LANES, choose, load, splat, store, total, vectors
from ..algebra.threads import take
from .aligned import Aligned
from .gram import Job, add_block, scratch
from .packed import GROUP, LARGE, fold, plain, swapped, usable
from .turns import begin, end, number

SUMS = 5
"""Vectors per run of channels: see `_sum`."""


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


def rows_of(found: Aligned, job: Job) -> Rows:
    """What the kernel takes, of elements that are `single`."""
    cross = found.coef[:, 0].conj() * found.coef[:, 1]
    factor = 2 * np.stack([*np.abs(found.coef.T) ** 2, cross.real, cross.imag], 1)  # w is twice the weight
    model, data = found.columns.tolist()
    return Rows(model, data, found.own, np.ascontiguousarray(factor), found.index, job.weights)


@kernel(**INLINE)
def _sum(model, data, weights, flags, first, stop, out, at):
    """Vectors `at`... of `out`: sum w |x|^2, w x d, w x swapped d, w |d|^2 (each by part), data used. Complex numbers
    first:stop of a row."""
    xx, xd, xs, dd, used = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for c in range(first, stop, GROUP):
        w = usable(weights + 4 * c, flags + c)
        x, d = choose(w, plain(model + 8 * c), splat(0.0)), choose(w, plain(data + 8 * c), splat(0.0))
        y, z = w * x, w * d
        xx, xd, xs, dd = xx + y * x, xd + y * d, xs + y * swapped(d), dd + z * d
        used += choose(w, splat(0.5), splat(0.0))
    for i, value in enumerate((xx, xd, xs, dd, used)):
        store(out, at + i, value)


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
                    fold(float64s(out), SUMS * r, SUMS * (r + 1), ncorr)
                    f, sums = np.int64(peek(runs, 4 * r + 2)), float64s(out + 8 * LANES * SUMS * r)
                    for e in range(ne):
                        gram = float64s(peek(grams, e) + 8 * (4 * (m * nt + t) * nf + f))
                        used = int64s(counts + 8 * (((e * members + m) * nt + t) * nf + f))
                        _add(peek(corr, e), float64s(coef + 32 * e), sums, gram, nf, used)
        end(turns, turn)
        turn = take(counter)
    return dropped
