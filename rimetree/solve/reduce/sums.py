"""Sums over the data: everything that chi-squared knows of the wide part of an equation, made in one pass.

A residual element is r = sum_a phi_a C_a + c with solvable, narrow phi and wide, fixed planes C and c (see `sources`).
Within a cell over which every phi is constant, sum w |r|^2 depends on the data only through the Gram matrix of (C_1 ..
C_T, c). Its Cholesky factor is T pseudo-visibilities with exactly the same chi-squared (DESIGN.md section 4).

w = 2 * weight where an element has data entries (a weight is 1 / E|n|^2, each complex datum counts as two real ones),
else 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..algebra.threads import in_turns
from .aligned import aligned
from .gram import SAMPLES, Job, add_lines
from .more_planes import add_pairs, pairs_of
from .one_plane import add_rows, rows_of
from .pseudo import fill_direct, fill_factor
from .sources import Planes, PlaneTable, Sources
from .turns import BLOCK, turns

Gram = list[np.ndarray]
"""Per element (members, time cells, T + 1, T + 1, frequency cells) float64, the constant part last: the upper triangle
and the diagonal hold the real part of sum w conj(C_a) C_b, the transposed place of the lower triangle its imaginary
part."""

Lanes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Pseudo-visibilities, intervals last: R (members, rows, T, J, S) and y (members, rows, J, S), each as real and
imaginary part; the part of chi2 that no phi changes (members, S); the number of complex data used (members, S). With
time cells numbered st * nJt + jt and frequency cells sf * nJf + jf: S is st * nSf + sf, J is jt * nJf + jf."""


@dataclass(frozen=True, slots=True, eq=False)
class ElementTable:
    """Residual elements. Element e has `ntheta[e]` planes of solvable terms `planes[e]` (padded with -1), the plane of
    its constant part `const[e]` (-1: none), and depends on the data `data_start[e]:data_start[e+1]`, each a correlation
    and a baseline per member: their flags are joined and the smallest weight counts; a correlation of -1 is one that
    the data do not have, and is left out. Without data every cell has w = 1. With `rows`, the baselines of data are lines of
    that table of (lines, slots), and flags and weights have rows of their own, not those of the columns.
    """

    planes: np.ndarray
    ntheta: np.ndarray
    const: np.ndarray
    data_start: np.ndarray
    data_corr: np.ndarray
    data_index: np.ndarray
    rows: np.ndarray | None = None


def empty_gram(elements: ElementTable, members: int, tcells: int, fcells: int) -> tuple[Gram, np.ndarray]:
    """Zero Gram matrices, and the zero number of complex data (elements, members, time cells, frequency cells)."""
    sizes = [int(n) + 1 for n in elements.ntheta]
    count = np.zeros((len(sizes), members, tcells, fcells), np.int64)
    alike = {n: iter(np.zeros((sizes.count(n), members, tcells, n, n, fcells))) for n in set(sizes)}
    return [next(alike[n]) for n in sizes], count


def _side_by_side(gram: Gram) -> np.ndarray:
    """Gram matrices of one size, with elements and members in one axis; as `empty_gram` made them without a copy."""
    base = gram[0].base
    if base is not None and base.size == sum(g.size for g in gram) and all(g.base is base for g in gram):
        return base.reshape(-1, *gram[0].shape[1:])
    return np.concatenate(gram)


def accumulate(
    gram: Gram,
    count: np.ndarray,
    table: PlaneTable,
    sources: Sources,
    rows: np.ndarray,
    elements: ElementTable,
    tcell: np.ndarray,
    fcell: np.ndarray,
    flags: np.ndarray | None,
    weights: np.ndarray | None,
    landed: np.ndarray | None = None,
) -> int:
    """Add a tile to `gram` and `count` (made by `empty_gram`); returns how many data were dropped because a plane is
    not finite.

    `rows` (nbaseline, nslot): row of the columns, flags (nrow, nchan, ncorr; 0 is good) and weights (nrow, nchan or 1,
    ncorr), -1 where missing. `tcell` (nslot,), `fcell` (nchan,): cells, never decreasing, -1 where unused. A datum that
    is flagged, missing, or whose weight is not positive and finite counts nowhere. Weights may be None where all
    are 1, flags too where no element has data. `landed` (1,) int64: rows of all of these that there are by now, while another
    thread reads more; where it becomes negative the sums are worth nothing.
    """
    planes, job = prepare(table, sources, rows, elements, tcell, fcell, flags, weights)
    check_cells(tcell, fcell, count.shape[2], count.shape[3])
    address = np.array([g.ctypes.data for g in gram], np.int64)
    for g, n in zip(gram, elements.ntheta, strict=True):
        expected = (*count.shape[1:3], n + 1, n + 1, count.shape[3])
        if g.shape != expected or g.dtype != np.float64 or not g.flags.c_contiguous:
            raise ValueError(f"expected a Gram array made by empty_gram, {expected} float64, got {g.shape} {g.dtype}")
    if not (len(tcell) and len(gram)):
        return 0
    members = count.shape[1]
    pieces = turns(job.tcell, rows, members, max(1, SAMPLES // (BLOCK * len(fcell))), landed)
    found = aligned(planes, job)
    if found is None:
        return sum(in_turns(add_lines, address, count, planes, job, pieces))
    rest = address, count, planes, job, pieces
    if found.single:  # made faster than a thread reads: it has a core to itself
        return sum(in_turns(add_rows, rows_of(found, job), *rest, spare=int(landed is not None)))
    return sum(in_turns(add_pairs, pairs_of(found, job), *rest))


def direct(
    table: PlaneTable,
    sources: Sources,
    rows: np.ndarray,
    elements: ElementTable,
    element: int,
    tcell: np.ndarray,
    fcell: np.ndarray,
    flags: np.ndarray | None,
    weights: np.ndarray | None,
    nst: int,
    njt: int,
    nsf: int,
    njf: int,
    out: Lanes | None = None,
) -> tuple[Lanes, int]:
    """Pseudo-visibilities of one element where every cell holds one datum: one row, R = sqrt(w) C, y = sqrt(w) c, no
    constant. Returns also how many data were dropped because a plane is not finite.

    Arguments as for `accumulate`; `out`: the result for earlier tiles, which is completed in place.
    """
    if out is None:
        out = empty_lanes(table.fac_index.shape[1], 1, int(elements.ntheta[element]), (nst * nsf, njt * njf))
    planes, job = prepare(table, sources, rows, one_element(elements, element), tcell, fcell, flags, weights)
    check_cells(tcell, fcell, nst * njt, nsf * njf)
    return out, sum(in_turns(fill_direct, out, planes, job, njt, nsf, njf))


def factors(gram: Gram, count: np.ndarray, nst: int, njt: int, nsf: int, njf: int) -> list[Lanes]:
    """Pseudo-visibilities of each element from its Gram matrices: for any phi,

    sum w |sum_a phi_a C_a + c|^2 = sum_k |sum_a R[k, a] phi_a + y[k]|^2 + constant, with T rows k and R upper
    triangular.

    `count` (elements, members, time cells, frequency cells). Positive semi-definite Cholesky: a plane that is a
    combination of others, or an empty cell, gives a zero row.
    """
    _, members, tcells, fcells = count.shape
    if (tcells, fcells) != (nst * njt, nsf * njf):
        raise ValueError(f"expected {nst} x {njt} time and {nsf} x {njf} frequency cells, got {tcells} and {fcells}")
    result: list[Lanes] = [()] * len(gram)  # type: ignore[list-item]
    used = count.reshape(-1, members, nst, njt, nsf, njf)
    used = (used.sum((3, 5)) if njt * njf > 1 else used).reshape(-1, members, nst * nsf)
    for size in {g.shape[2] for g in gram}:  # elements of one size together: a call costs more than a few members
        same = [e for e, g in enumerate(gram) if g.shape[2] == size]
        out = empty_lanes(len(same) * members, size - 1, size - 1, (nst * nsf, njt * njf))
        in_turns(fill_factor, _side_by_side([gram[e] for e in same]), out, njt, nsf, njf)
        for i, e in enumerate(same):
            rr, ri, yr, yi, constant, _ = (a[i * members : (i + 1) * members] for a in out)
            result[e] = rr, ri, yr, yi, constant, used[e]
    return result


def empty_lanes(members: int, rows: int, ntheta: int, lanes: tuple[int, int]) -> Lanes:
    """Zeros, for `lanes` intervals and joint cells."""
    S, J = lanes
    R, y = (members, rows, ntheta, J, S), (members, rows, J, S)
    return np.zeros(R), np.zeros(R), np.zeros(y), np.zeros(y), np.zeros((members, S)), np.zeros((members, S), np.int64)


def one_element(elements: ElementTable, e: int) -> ElementTable:
    """The table of one element."""
    data = slice(int(elements.data_start[e]), int(elements.data_start[e + 1]))
    own = slice(e, e + 1)
    return ElementTable(
        elements.planes[own, : elements.ntheta[e]], elements.ntheta[own], elements.const[own],
        np.array([0, data.stop - data.start]), elements.data_corr[data], elements.data_index[data], elements.rows,
    )  # fmt: skip


def prepare(
    table: PlaneTable,
    sources: Sources,
    rows: np.ndarray,
    elements: ElementTable,
    tcell: np.ndarray,
    fcell: np.ndarray,
    flags: np.ndarray | None,
    weights: np.ndarray | None,
) -> tuple[Planes, Job]:
    """Bind the planes and number the distinct ones."""
    ne, nchan, members = len(elements.ntheta), len(fcell), table.fac_index.shape[1]
    lists = [[*elements.planes[e, : elements.ntheta[e]].tolist(), int(elements.const[e])] for e in range(ne)]
    used = sorted({p for planes in lists for p in planes if p >= 0})
    local = np.full((ne, max(map(len, lists), default=0)), -1, np.int32)
    for e, planes in enumerate(lists):
        local[e, : len(planes)] = [used.index(p) if p >= 0 else -1 for p in planes]
    leader = [next(k for k in range(ne) if lists[k][:-1] == planes[:-1]) for planes in lists]
    entries = elements.data_corr >= 0
    data = bool(entries.any())
    if not data or flags is None:
        flags = weights = np.zeros((0, 0, 0))
    elif weights is None:
        weights = np.ones((len(flags), 1, flags.shape[2]))
    own = elements.rows
    _check(rows if own is None else own, tcell, nchan, elements, flags, weights, data)
    index = elements.data_index[entries] + (0 if own is None else len(rows))
    job = Job(
        np.array(used, np.int32), local, np.asarray(elements.ntheta, np.int32), np.array(leader, np.int32),
        np.cumsum([0, *entries], dtype=np.int32)[elements.data_start],
        np.asarray(elements.data_corr[entries], np.int32),
        np.ascontiguousarray(index, np.int32).reshape(-1, members),
        np.ascontiguousarray(tcell, np.int32), np.ascontiguousarray(fcell, np.int32), _runs(fcell),
        np.ascontiguousarray(flags, np.uint8), np.ascontiguousarray(weights, np.float32),
    )  # fmt: skip
    bound = table.bind(sources, rows, nchan)
    return bound if own is None else bound._replace(rows=np.concatenate([bound.rows, own], dtype=np.int32)), job


def _check(
    rows: np.ndarray,
    tcell: np.ndarray,
    nchan: int,
    elements: ElementTable,
    flags: np.ndarray,
    weights: np.ndarray,
    data: bool,
) -> None:
    if rows.shape[1] != len(tcell):
        raise ValueError(f"expected a time cell for each of {rows.shape[1]} slots, got {len(tcell)}")
    nrow = rows.max(initial=-1) + 1
    ncorr = flags.shape[2] if data else 0
    if data and (len(flags) < nrow or flags.shape[1] != nchan or len(weights) < nrow):
        raise ValueError(
            f"expected flags and weights of {nrow} rows and {nchan} channels, got {flags.shape} and {weights.shape}"
        )
    if data and (weights.shape[1] not in (1, nchan) or weights.shape[2] != ncorr):
        raise ValueError(f"expected weights (row, {nchan} or 1 channels, {ncorr} correlations), got {weights.shape}")
    if data and (elements.data_corr.max() >= ncorr or elements.data_index.max(initial=-1) >= len(rows)):
        raise ValueError(f"expected data below {ncorr} correlations and {len(rows)} baselines")


def check_cells(tcell: np.ndarray, fcell: np.ndarray, times: int, freqs: int) -> None:
    """Raises ValueError where cells are beyond those that there are."""
    if np.max(tcell, initial=-1) >= times or np.max(fcell, initial=-1) >= freqs:
        raise ValueError(f"expected cells below {times} in time and {freqs} in frequency")


def _runs(fcell: np.ndarray) -> np.ndarray:
    """Maximal runs of channels of one cell, or of channels that are a cell each (see `Job.runs`)."""
    cells = [*np.asarray(fcell).tolist(), -1]
    runs: list[list[int]] = []
    for c, f in enumerate(cells[:-1]):
        last = runs[-1] if runs else None
        if f < 0:
            continue
        if last and last[1] == c and (f == cells[c - 1] + 1 and cells[c + 1] != f if last[3] else f == last[2]):
            last[1] = c + 1
        else:
            runs.append([c, c + 1, f, int(cells[c + 1] == f + 1)])
    return np.array(runs, np.int32).reshape(-1, 4)


def slots_of_cells(tcell: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time cells that occur, with their first slot and the end of their slots."""
    slots = np.flatnonzero(np.asarray(tcell) >= 0)
    cells, first = np.unique(np.asarray(tcell)[slots], return_index=True)
    last = np.append(first[1:], len(slots)) - 1
    return cells.astype(np.int64), slots[first], slots[last] + 1 if len(slots) else slots
