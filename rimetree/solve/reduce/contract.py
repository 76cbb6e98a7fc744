"""Planes written into the data: what a Sink stores."""

# Kernels take arrays and addresses only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.memory import OPTIONS, float32s, float64s, merge
from ..algebra.threads import in_turns, take
from .planes import MISSING, PARTLY, assemble
from .sources import PlaneTable, Sources

LIMIT = float(np.finfo(np.float32).max)
"""Larger values would be infinite in a complex64 column."""

CHUNK = 16
"""Members per task: rows of one slot lie side by side in memory, and tasks must outnumber the threads."""


def contract(
    out: np.ndarray,
    table: PlaneTable,
    sources: Sources,
    rows: np.ndarray,
    plane_of_corr: np.ndarray,
    rows_member: np.ndarray,
) -> int:
    """Fill out[row, :, corr] with plane `plane_of_corr[corr]` of the member whose baseline the row has.

    out (nrow, nchan, ncorr) complex64, C-contiguous; rows (nbaseline, nslot): row, -1 where missing; plane_of_corr
    (ncorr,): -1 leaves the correlation as it is; rows_member (members,): baseline of each member. Values that are not
    finite, and those that need a row of another baseline that is missing, are stored as 0; returns how many. Computed
    in float64. Raises ValueError where the arrays do not fit together.
    """
    if out.dtype != np.complex64 or not out.flags.c_contiguous or out.ndim != 3 or len(plane_of_corr) != out.shape[2]:
        raise ValueError(
            f"expected contiguous complex64 with {len(plane_of_corr)} correlations, got {out.dtype} {out.shape}"
        )
    if len(rows_member) != table.fac_index.shape[1]:
        raise ValueError(f"expected the baselines of {table.fac_index.shape[1]} members, got {len(rows_member)}")
    if rows.max(initial=-1) >= len(out) or rows_member.max(initial=-1) >= len(rows):
        raise ValueError(f"expected rows below {len(out)} and baselines below {len(rows)}")
    planes = table.bind(sources, rows, out.shape[1])
    corrs = np.flatnonzero(np.asarray(plane_of_corr) >= 0)
    wanted = np.asarray(plane_of_corr, np.int32)[corrs]
    return sum(in_turns(_contract, out.view(np.float32), planes, corrs, wanted, np.asarray(rows_member, np.int32)))


@kernel(**OPTIONS)
def _fill(out, p, corrs, wanted, member, slots, rows, lines, plane, spare, state, bad):
    """Fill `lines` rows. The arrays are the caller's: memory of its own could be freed here while only its address is
    in use."""
    n, ncorr = out.shape[1], out.shape[2] // 2
    start, room, dropped = np.int64(plane.ctypes.data), np.int64(spare.ctypes.data), 0
    for k in range(corrs.shape[0]):
        assemble(p, wanted[k], member, slots, lines, start, room, n, state, bad, LIMIT)
        for i in range(lines):
            if state[i] == MISSING:
                dropped += n
            elif state[i] == PARTLY:
                dropped += bad[i].sum()
            target = float32s(out.ctypes.data + 8 * (rows[i] * n * ncorr + corrs[k]))
            merge(float64s(start + 8 * n * i), float64s(start + 8 * n * (lines + i)), target, 2 * ncorr, n)
    return dropped


@kernel(**OPTIONS)
def _block(out, p, corrs, wanted, baseline, slot, m0, m1):
    """The rows of members m0:m1 at one slot."""
    n, count = out.shape[1], m1 - m0
    member, slots, rows = np.empty(count, np.int64), np.full(count, slot), np.empty(count, np.int64)
    lines = 0
    for m in range(m0, m1):
        if p.rows[baseline[m], slot] >= 0:
            member[lines], rows[lines] = m, p.rows[baseline[m], slot]
            lines += 1
    plane, spare = np.empty(2 * lines * n), np.empty(4 * n)
    state, bad = np.empty(lines, np.int8), np.empty((lines, n), np.bool_)
    return _fill(out, p, corrs, wanted, member, slots, rows, lines, plane, spare, state, bad)


@kernel(**OPTIONS)
def _contract(out, p, corrs, wanted, baseline, counter):
    """One turn per slot and block of members."""
    members = baseline.shape[0]
    blocks = (members + CHUNK - 1) // CHUNK
    dropped = 0
    turn = take(counter)
    while turn < blocks * p.rows.shape[1]:
        slot, m0 = turn // blocks, turn % blocks * CHUNK
        dropped += _block(out, p, corrs, wanted, baseline, slot, m0, min(m0 + CHUNK, members))
        turn = take(counter)
    return dropped
