"""Kernels that add data to Gram matrices, and what all kernels over weighted data need.

They work on blocks of lines (a line is one member at one slot): planes and weights of a block are assembled as
contiguous float64 in cache, then multiplied.
"""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ..algebra.memory import LEAF, OPTIONS, fill, float32s, float64s, gather, peek, poke, uint8s
from ..algebra.threads import take
from .planes import MISSING, PARTLY, assemble
from .products import pair, products
from .sources import LARGEST
from .turns import begin, end, number

SAMPLES = 1024
"""Channels of all lines of a block together: enough to amortise calls, few enough to stay in a core's cache."""

MOST = np.float32(np.finfo(np.float32).max)


class Job(NamedTuple):
    """What the kernels need besides the planes: elements in terms of the distinct planes `used`, cells, flags and
    weights."""

    used: np.ndarray
    local: np.ndarray
    """(elements, T + 1): numbers in `used`, the constant part at T (-1: none)."""
    ntheta: np.ndarray
    leader: np.ndarray
    """The first element with the same planes of solvable terms."""
    data_start: np.ndarray
    data_corr: np.ndarray
    data_index: np.ndarray
    tcell: np.ndarray
    fcell: np.ndarray
    runs: np.ndarray
    """(runs, 4): first channel, end, frequency cell, step: 0 where the run is one cell, 1 where every channel is the
    next cell."""
    flags: np.ndarray
    weights: np.ndarray


class Scratch(NamedTuple):
    """Room for a block of lines. planes (used, 2, samples), weights (elements, samples), spare (4, channels); per line:
    state of each plane, channels not finite, whether an element has data; `part`: sums of solvable planes over one
    line."""

    planes: np.ndarray
    weights: np.ndarray
    spare: np.ndarray
    state: np.ndarray
    bad: np.ndarray
    alive: np.ndarray
    part: np.ndarray
    member: np.ndarray
    slot: np.ndarray


@kernel(**OPTIONS)
def scratch(job):
    """Scratch for `job`."""
    n, used, (ne, size) = job.fcell.shape[0], job.used.shape[0], job.local.shape
    most = max(1, SAMPLES // n)
    shared = False
    for e in range(ne):
        shared |= job.leader[e] != e
    return Scratch(
        np.empty(used * 2 * most * n), np.empty(ne * most * n), np.empty(4 * n),
        np.empty((used, most), np.int8), np.empty((used, most, n), np.bool_), np.empty((ne, most), np.bool_),
        np.empty((size - 1, size - 1, job.runs.shape[0] if shared else 0, 2)),
        np.empty(most, np.int64), np.empty(most, np.int64),
    )  # fmt: skip


@kernel(**LEAF)
def _lower(own, flags, weights, n, first):
    """own = w of n data, or the smaller of both; 0 where the datum cannot be used."""
    for c in range(n):
        x = peek(weights, c)
        good = (x > 0.0) & (x <= MOST) & (peek(flags, c) == 0)
        value = 2.0 * float(x) if good else 0.0
        poke(own, c, value if first else min(peek(own, c), value))


@kernel(**OPTIONS)
def _weigh(rows, job, e, member, slot, count, n, w, alive, work):
    """Weights of element e for `count` lines, at address w; alive[i]: whether line i has usable data."""
    start, stop = job.data_start[e], job.data_start[e + 1]
    ncorr, wide = job.flags.shape[2], job.weights.shape[1] > 1
    flags, weights = uint8s(work), float32s(work + 8 * n)
    for i in range(count):
        own = float64s(w + 8 * n * i)
        alive[i] = True
        if start == stop:
            fill(own, 1.0, n)
        for d in range(start, stop):
            at = job.data_index[d, member[i]]
            row = rows[at, slot[i]] if at >= 0 else -1
            if row < 0:
                alive[i] = False
                break
            corr = job.data_corr[d]
            gather(uint8s(job.flags.ctypes.data + row * n * ncorr + corr), ncorr, flags, n)
            first = float32s(job.weights.ctypes.data + 4 * (row * job.weights.shape[1] * ncorr + corr))
            if wide:
                gather(first, ncorr, weights, n)
            else:
                fill(weights, peek(first, 0), n)
            if d == start:
                _lower(own, flags, weights, n, True)
            else:
                _lower(own, flags, weights, n, False)


@kernel(**OPTIONS)
def _drop(job, e, state, bad, count, n, w, alive):
    """Set weights to 0 where a plane of the element is not finite: how many data that dropped. Lines with a missing
    plane die."""
    dropped = 0
    for a in range(job.ntheta[e] + 1):
        k = job.local[e, a]
        if k < 0:
            continue
        for i in range(count):
            if state[k, i] == MISSING:
                alive[i] = False
    for a in range(job.ntheta[e] + 1):
        k = job.local[e, a]
        if k < 0:
            continue
        for i in range(count):
            if alive[i] and state[k, i] == PARTLY:
                own = float64s(w + 8 * n * i)
                for c in range(n):
                    if bad[k, i, c] and peek(own, c) > 0.0:
                        dropped += job.fcell[c] >= 0
                        poke(own, c, 0.0)
    return dropped


@kernel(**LEAF)
def _same(v, w, n):
    differ = 0
    for c in range(n):
        differ += peek(v, c) != peek(w, c)
    return differ == 0


@kernel(**LEAF)
def _positive(own, first, stop):
    used = 0
    for c in range(first, stop):
        used += peek(own, c) > 0.0
    return used


@kernel(**LEAF)
def _count(job, e, member, t, own, count):
    for r in range(job.runs.shape[0]):
        first, stop, f = job.runs[r, 0], job.runs[r, 1], job.runs[r, 2]
        if job.runs[r, 3] == 0:
            count[e, member, t, f] += _positive(own, first, stop)
        else:
            for c in range(first, stop):
                count[e, member, t, f + c - first] += peek(own, c) > 0.0


@kernel(**OPTIONS)
def load(p, job, room, count):
    """Weights of all elements and the planes that they use for the first `count` lines of a block; returns the number
    of data dropped."""
    n = job.fcell.shape[0]
    planes, w = np.int64(room.planes.ctypes.data), np.int64(room.weights.ctypes.data)
    spare = np.int64(room.spare.ctypes.data)
    for e in range(room.alive.shape[0]):
        _weigh(p.rows, job, e, room.member, room.slot, count, n, w + 8 * e * count * n, room.alive[e], spare)
    for k in range(job.used.shape[0]):
        out = planes + 16 * k * count * n
        assemble(p, job.used[k], room.member, room.slot, count, out, spare, n, room.state[k], room.bad[k], LARGEST)
    dropped = 0
    for e in range(room.alive.shape[0]):
        dropped += _drop(job, e, room.state, room.bad, count, n, w + 8 * e * count * n, room.alive[e])
    return dropped


@kernel(**OPTIONS)
def _sum(job, room, lines, address, count, origin):
    """Add the first `lines` lines of a block to the Gram matrices, which begin at member and time cell `origin`."""
    n, nf = job.fcell.shape[0], count.shape[3]
    planes, w, size = room.planes.ctypes.data, room.weights.ctypes.data, 2 * lines * n
    simple = True
    for r in range(job.runs.shape[0]):
        simple &= job.runs[r, 3] == 0
    for i in range(lines):
        member, t = room.member[i] - origin[0], job.tcell[room.slot[i]] - origin[1]
        holder = -1  # the element whose sums over solvable planes are in `part`
        for e in range(room.alive.shape[0]):
            if not room.alive[e, i]:
                continue
            own, T = float64s(w + 8 * n * (e * lines + i)), job.ntheta[e]
            gram = float64s(address[e] + 8 * (T + 1) ** 2 * nf * (member * count.shape[2] + t))
            if simple and T == 1 and job.local[e, 1] >= 0:
                pair(job, nf, e, planes, size, i, n, own, gram)
            else:
                known = holder >= 0 and job.leader[holder] == job.leader[e]
                known = known and _same(own, float64s(w + 8 * n * (holder * lines + i)), n)
                holder = holder if known else e
                products(job, nf, e, planes, size, i, n, own, gram, room.spare.ctypes.data, room.part, known)
            _count(job, e, member, t, own, count)


@kernel(**OPTIONS)
def add_block(room, address, count, p, job, first, last, m0, m1, origin):
    """All rows of members m0:m1 at slots first:last that have a time cell, for sums that begin at member and time cell `origin`
    (two int64); returns the number of data dropped."""
    most = room.member.shape[0]
    dropped, lines = 0, np.int64(0)  # a literal would compile everything below twice
    for s in range(first, last):
        if job.tcell[s] < 0:
            continue
        for m in range(m0, m1):
            room.member[lines], room.slot[lines] = m, s
            lines += 1
            if lines == most:
                dropped += load(p, job, room, lines)
                _sum(job, room, lines, address, count, origin)
                lines = 0  # type: ignore[assignment]
    if lines:
        dropped += load(p, job, room, lines)
        _sum(job, room, lines, address, count, origin)
    return dropped


@kernel(**OPTIONS)
def add_lines(address, count, p, job, turns, counter):
    """Add all data to the Gram matrices at `address` (elements,) and to `count`, taking turns at `counter` with other threads.

    Returns the number of data dropped because a plane is not finite.
    """
    room, dropped, origin = scratch(job), 0, (np.int64(0), np.int64(0))
    turn = take(counter)
    while turn < number(turns):
        s0, s1, m0, m1 = begin(turns, turn)
        dropped += add_block(room, address, count, p, job, s0, s1, m0, m1, origin)
        end(turns, turn)
        turn = take(counter)
    return dropped
