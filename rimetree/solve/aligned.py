"""Sums over visibilities that lie in memory as they are needed: model and data columns of one layout, read as they are.

The commonest equation is (two gains) * X = D per correlation, with X and D read from columns that have the same rows, channels and
correlations. Then a row is a plain sequence of complex numbers, and its sums take four of them at a time, all correlations at once.
Rows with data that are not finite, and all other equations, are the business of `gram`.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .gram import MOST, Job, add_block
from .memory import float64s, peek, poke
from .simd import INLINE, KERNEL, LANES, choose, splat, store, vec
from .sources import Planes
from .threads import take

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
    """(elements, 2) complex: of the solvable plane and of the constant one."""
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
    return Rows(found[0].pop(), found[1].pop(), job.data_corr.astype(np.int64), coef, job.data_index[0], job.weights)


_INDEX = ir.IntType(32)


def _read(builder: Any, address: Any, kind: Any, count: int) -> Any:
    return builder.load(builder.inttoptr(address, ir.VectorType(kind, count).as_pointer()), align=1)


def _widened(builder: Any, value: Any) -> Any:
    return builder.fpext(value, ir.VectorType(ir.DoubleType(), value.type.count))


@intrinsic
def _complexes(typingctx: Any, address: Any) -> Any:
    """Four complex64 numbers, real and imaginary parts in turn."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _widened(builder, _read(builder, args[0], ir.FloatType(), LANES))

    return vec(types.int64), codegen


@intrinsic
def _usable(typingctx: Any, weights: Any, flags: Any) -> Any:
    """Twice the weights of four data, 0 where they cannot be used, each for a real and an imaginary part."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weight = _read(builder, args[0], ir.FloatType(), GROUP)
        flag = _read(builder, args[1], ir.IntType(8), GROUP)
        most, zero = (ir.Constant(weight.type, [v] * GROUP) for v in (float(MOST), 0.0))
        good = builder.and_(builder.fcmp_ordered("<=", weight, most), builder.fcmp_ordered(">", weight, zero))
        good = builder.and_(good, builder.icmp_unsigned("==", flag, ir.Constant(flag.type, [0] * GROUP)))
        value = _widened(builder, builder.select(good, weight, zero))
        twice = builder.fadd(value, value)
        places = ir.Constant(ir.VectorType(_INDEX, LANES), [k // 2 for k in range(LANES)])
        return builder.shuffle_vector(twice, twice, places)

    return vec(types.int64, types.int64), codegen


@intrinsic
def _swapped(typingctx: Any, x: Any) -> Any:
    """Real and imaginary parts changed over."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = ir.Constant(ir.VectorType(_INDEX, LANES), [k ^ 1 for k in range(LANES)])
        return builder.shuffle_vector(args[0], args[0], places)

    return vec(x), codegen


@nb.njit(**INLINE)
def _sum(model, data, weights, flags, first, stop, out, at):
    """Vectors `at`... of `out`: sum w |x|^2, w x d, w x swapped d, w |d|^2 (each by part), data used. Complex numbers
    first:stop of a row."""
    xx, xd, xs, dd, used = splat(0.0), splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for c in range(first, stop, GROUP):
        w = _usable(weights + 4 * c, flags + c)
        x, d = choose(w, _complexes(model + 8 * c), splat(0.0)), choose(w, _complexes(data + 8 * c), splat(0.0))
        y = w * x
        xx, xd, xs, dd = xx + y * x, xd + y * d, xs + y * _swapped(d), dd + w * d * d
        used += choose(w, splat(0.5), splat(0.0))
    for i, value in enumerate((xx, xd, xs, dd, used)):
        store(out, at + i, value)


@nb.njit(**INLINE)
def _of(out, at, corr, ncorr, sign):
    """The sum of the lanes of one correlation; `sign` of the imaginary ones."""
    total = 0.0
    for k in range(corr, GROUP, ncorr):
        total += out[at, 2 * k] + sign * out[at, 2 * k + 1]
    return total


@nb.njit(**INLINE)
def _add(t, member, r, f, columns, ncorr, out, address, count):
    """Add what `_sum` made of run r to frequency cell f of all elements."""
    nf = count.shape[3]
    for e in range(count.shape[0]):
        corr, a, b = columns.corr[e], columns.coef[e, 0], columns.coef[e, 1]
        gram = float64s(address[e] + 32 * nf * (member * count.shape[2] + t))
        cross = (
            complex(_of(out, SUMS * r + 1, corr, ncorr, 1.0), _of(out, SUMS * r + 2, corr, ncorr, -1.0))
            * a.conjugate()
            * b
        )
        poke(gram, f, peek(gram, f) + _of(out, SUMS * r, corr, ncorr, 1.0) * (a * a.conjugate()).real)
        poke(gram, nf + f, peek(gram, nf + f) + cross.real)
        poke(gram, 2 * nf + f, peek(gram, 2 * nf + f) + cross.imag)
        poke(
            gram,
            3 * nf + f,
            peek(gram, 3 * nf + f) + _of(out, SUMS * r + 3, corr, ncorr, 1.0) * (b * b.conjugate()).real,
        )
        count[e, member, t, f] += np.int64(_of(out, SUMS * r + 4, corr, ncorr, 1.0) + 0.5)


@nb.njit(**KERNEL)
def add_rows(columns, address, count, p, job, step, counter):
    """Add all data to the Gram matrices at `address` (elements,) and to `count`, as `gram.add_lines` does, `step` members
    at a time, taking turns at `counter` with other threads. Returns the number of data dropped because they are not
    finite."""
    members, dropped = count.shape[1], 0
    out = np.empty((SUMS * job.runs.shape[0], LANES))
    m0 = take(counter) * step
    while m0 < members:
        for s in range(job.tcell.shape[0]):
            for m in range(m0, min(m0 + step, members) if job.tcell[s] >= 0 else m0):
                dropped += _row(columns, address, count, p, job, s, m, out)
        m0 = take(counter) * step
    return dropped


@nb.njit(**KERNEL)
def _row(columns, address, count, p, job, s, m, out):
    """Add the row of member m at slot s."""
    ncorr, runs, t = job.flags.shape[2], job.runs.shape[0], np.int64(job.tcell[s])
    size = job.flags.shape[1] * ncorr
    row = np.int64(p.rows[columns.index[m], s]) if columns.index[m] >= 0 else -1
    if row < 0:
        return 0
    model, data = columns.model + 8 * row * size, columns.data + 8 * row * size
    weights, flags = columns.weights.ctypes.data + 4 * row * size, job.flags.ctypes.data + row * size
    for r in range(runs):
        first, stop = np.int64(job.runs[r, 0]) * ncorr, np.int64(job.runs[r, 1]) * ncorr
        _sum(model, data, weights, flags, first, stop, out, SUMS * r)
        for v in range(LANES):
            if not (out[SUMS * r, v] < LARGE and out[SUMS * r + 3, v] < LARGE):  # a datum is NaN or infinite
                return add_block(address, count, p, job, s, s + 1, t, m, m + 1, (np.int64(0), np.int64(0)))
    for r in range(runs):
        _add(t, m, r, np.int64(job.runs[r, 2]), columns, ncorr, out, address, count)
    return 0
