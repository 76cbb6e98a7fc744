"""Sums over the data by JAX: what `sums` does by kernels, in array operations that run on whatever device JAX runs on.

The reference of the kernels: of theirs it shares only the tables that say what an equation is made of. Slots and channels are gathered
cell by cell (a cell that has fewer than the longest is filled up with weight 0), so that a Gram matrix is a product of matrices.
Columns go to the device as they are (float32); everything is multiplied and added up in float64.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .gram import MOST, Job
from .pseudo import SINGULAR
from .sources import LARGEST, Planes, PlaneTable, Sources, check_column, check_plane
from .sums import ElementTable, Gram, Lanes, check_cells, empty_lanes, one_element, prepare

ROOM = 256e6
"""Bytes that a block of members may take on the device beside the data."""


class Views(Sources):
    """Sources that are sent to a device: the arrays themselves, which have no addresses; those that are there already stay there.
    What `earlier` sources of the same tile have sent is not sent again."""

    def __init__(self, earlier: Views | None = None) -> None:
        super().__init__()
        self.held: list[Any] = []
        self.views: list[tuple[int, int | None]] = []
        """Per source its array and, of a column, the correlation."""
        self._sent: dict[int, tuple[Any, Any]] = earlier._sent if earlier else {}

    def column(self, array: np.ndarray, corr: int) -> int:
        """See `Sources.column`."""
        check_column(array, corr)
        self.views.append((self._number(array), corr))
        return self._add(array, 0, True, (0, 0, 0), corr)

    def plane(self, array: Any) -> int:
        """See `Sources.plane`."""
        check_plane(array)
        self.views.append((self._number(array), None))
        return self._add(array, 0, False, (0, 0, 0))

    def sent(self, array: Any) -> Any:
        """An array on the device, where it goes once."""
        if id(array) not in self._sent:
            from ...plan.xla import jax

            self._sent[id(array)] = array, jax.device_put(array)
        return self._sent[id(array)][1]

    def _number(self, array: Any) -> int:
        """An array that several sources read is sent once."""
        for number, known in enumerate(self.held):
            if known is array:
                return number
        self.held.append(array)
        return len(self.held) - 1


class Structure(NamedTuple):
    """What a compiled function is made for. Planes are monomials (coefficient, factors), factors are (array, correlation or None,
    conjugate, row of the index); elements are (planes, the constant part last, -1 for none; data (correlation, row of the
    index))."""

    planes: tuple[tuple[tuple[complex, tuple[tuple[int, int | None, bool, int], ...]], ...], ...]
    elements: tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...]


class Numbers(NamedTuple):
    """The arrays of one call: sources, members of factors and data (factors or data, members), `rows` (baselines, slots), slots
    (cells, most) and channels of each cell (-1: none), flags and weights (rows, channels, correlations)."""

    arrays: tuple[Any, ...]
    factor: Any
    datum: Any
    rows: Any
    slots: Any
    channels: Any
    flags: Any
    weights: Any


def accumulate(
    gram: Gram,
    count: np.ndarray,
    table: PlaneTable,
    sources: Views,
    rows: np.ndarray,
    elements: ElementTable,
    tcell: np.ndarray,
    fcell: np.ndarray,
    flags: np.ndarray | None,
    weights: np.ndarray | None,
) -> int:
    """Add a tile to `gram` and `count`; returns how many data were dropped. Arguments as for `sums.accumulate`."""
    planes, job = prepare(table, sources, rows, elements, tcell, fcell, flags, weights)
    check_cells(tcell, fcell, count.shape[2], count.shape[3])
    (t0, slots), (f0, channels) = _places(job.tcell), _places(job.fcell)
    if not (slots.size and channels.size):
        return 0
    where = slice(t0, t0 + len(slots)), slice(f0, f0 + len(channels))
    dropped = 0
    for members, structure, numbers in _blocks(planes, job, sources, slots, channels):
        found, used, lost = _compiled().gram(structure, numbers)
        dropped += int(lost)
        count[:, members, where[0], where[1]] += np.asarray(used)[:, : members.stop - members.start]
        for whole, part in zip(gram, found, strict=True):
            whole[members, where[0], :, :, where[1]] += np.asarray(part)[: members.stop - members.start]
    return dropped


def direct(
    table: PlaneTable,
    sources: Views,
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
    """Pseudo-visibilities of one element where every cell holds one datum, and how many data were dropped. Arguments as for
    `sums.direct`."""
    if out is None:
        out = empty_lanes(table.fac_index.shape[1], 1, int(elements.ntheta[element]), (nst * nsf, njt * njf))
    planes, job = prepare(table, sources, rows, one_element(elements, element), tcell, fcell, flags, weights)
    check_cells(tcell, fcell, nst * njt, nsf * njf)
    (t0, slots), (f0, channels) = _places(job.tcell), _places(job.fcell)
    if not (slots.size and channels.size):
        return out, 0
    t, f = t0 + np.arange(len(slots))[:, None], f0 + np.arange(len(channels))
    j, s = t % njt * njf + f % njf, t // njt * nsf + f // njf
    dropped = 0
    for members, structure, numbers in _blocks(planes, job, sources, slots, channels):
        c, used, lost = (np.asarray(a) for a in _compiled().direct(structure, numbers))
        c, used = (a[: members.stop - members.start] for a in (c, used))
        dropped += int(lost)
        for into, values in zip(out[:4], (c.real[:, :-1], c.imag[:, :-1], c.real[:, -1], c.imag[:, -1]), strict=True):
            into[members, 0][..., j, s] += values
        for m, own in zip(range(members.start, members.stop), used, strict=True):
            np.add.at(out[5][m], s, own)
    return out, dropped


def factors(gram: Gram, count: np.ndarray, nst: int, njt: int, nsf: int, njf: int) -> list[Lanes]:
    """Pseudo-visibilities of each element from its Gram matrices; see `sums.factors`."""
    result: list[Lanes] = []
    for own, used in zip(gram, count, strict=True):
        members, n = own.shape[0], own.shape[2]
        R, rest = (np.asarray(a) for a in _compiled().factor(own))  # (m, t, f, n - 1, n), (m, t, f)
        cells = R.reshape(members, nst, njt, nsf, njf, n - 1, n).transpose(0, 5, 6, 2, 4, 1, 3)
        lanes = cells.reshape(members, n - 1, n, njt * njf, nst * nsf)
        sums = [
            np.ascontiguousarray(a.reshape(members, nst, njt, nsf, njf).sum((2, 4)).reshape(members, nst * nsf))
            for a in (rest, used)
        ]
        parts = [lanes.real[:, :, :-1], lanes.imag[:, :, :-1], lanes.real[:, :, -1], lanes.imag[:, :, -1]]
        rr, ri, yr, yi = (np.ascontiguousarray(a) for a in parts)
        result.append((rr, ri, yr, yi, sums[0], sums[1]))
    return result


def _places(cells: np.ndarray) -> tuple[int, np.ndarray]:
    """The first cell, and for it and all later ones their places (cells, most of one cell), -1 where there are fewer."""
    used = np.flatnonzero(cells >= 0)
    if not used.size:
        return 0, np.zeros((0, 0), np.int64)
    own = cells[used] - cells[used[0]]
    counts = np.bincount(own)
    within = np.arange(len(used)) - (np.cumsum(counts) - counts)[own]
    result = np.full((len(counts), int(counts.max())), -1)
    result[own, within] = used
    return int(cells[used[0]]), result


def _blocks(planes: Planes, job: Job, sources: Views, slots: np.ndarray, channels: np.ndarray) -> Any:
    """Members, structure and numbers of blocks that fit into `ROOM`; all are of one size, the last filled up with members that have
    no data."""
    starts, factors_of = planes.mono_start.tolist(), planes.fac_start.tolist()

    def factor(f: int) -> tuple[int, int | None, bool, int]:
        array, corr = sources.views[int(planes.fac_source[f])]
        return array, corr, bool(planes.fac_conj[f]), f

    def monomial(m: int) -> tuple[complex, tuple[tuple[int, int | None, bool, int], ...]]:
        return complex(planes.coef[m]), tuple(factor(f) for f in range(factors_of[m], factors_of[m + 1]))

    made = tuple(tuple(monomial(m) for m in range(starts[p], starts[p + 1])) for p in job.used.tolist())
    elements = []
    for e, T in enumerate(job.ntheta.tolist()):
        entries = range(int(job.data_start[e]), int(job.data_start[e + 1]))
        elements.append((tuple(job.local[e, : T + 1].tolist()), tuple((int(job.data_corr[d]), d) for d in entries)))
    structure = Structure(made, tuple(elements))
    members = planes.fac_index.shape[1]
    each = max(1, len(made) + 2 * int((job.ntheta + 1).sum()))  # planes, and both factors of every product of matrices
    most = max(1, int(ROOM / (16 * each * slots.size * channels.size)))
    size = -(-members // -(-members // most))
    fixed = planes.rows, slots, channels, job.flags, job.weights
    arrays = tuple(sources.sent(a) for a in sources.held)
    for first in range(0, members, size):
        own = slice(first, min(first + size, members))
        filled = [
            np.pad(index[:, own], ((0, 0), (0, size - (own.stop - own.start))), constant_values=-1)
            for index in (planes.fac_index, job.data_index)
        ]
        yield own, structure, Numbers(arrays, *filled, *(sources.sent(a) for a in fixed))


class _Compiled(NamedTuple):
    gram: Any
    direct: Any
    factor: Any


@cache
def _compiled() -> _Compiled:
    """The functions, once JAX is wanted."""
    from ...plan.xla import jax

    return _Compiled(jax.jit(_gram, static_argnums=0), jax.jit(_direct, static_argnums=0), jax.jit(_factor))


def _gram(structure: Structure, numbers: Numbers) -> tuple[Any, Any, Any]:
    """Per element its Gram matrices (members, time cells, n, n, frequency cells), stored as `Gram` says; data used (elements,
    members, time cells, frequency cells), and how many were dropped."""
    from ...plan.xla import jnp

    c, weights, lost = _weighted(structure, numbers)
    made = []
    for (planes, _), w in zip(structure.elements, weights, strict=True):
        own = jnp.stack([c[p] if p >= 0 else jnp.zeros_like(c[0]) for p in planes])
        whole = jnp.einsum("amtifj,bmtifj->mtabf", own.conj() * w, own)
        upper = jnp.triu(jnp.ones((len(planes), len(planes)), bool))[:, :, None]
        made.append(jnp.where(upper, whole.real, whole.imag.swapaxes(2, 3)))
    return made, jnp.stack([(w > 0).sum((2, 4)) for w in weights]), lost


def _direct(structure: Structure, numbers: Numbers) -> tuple[Any, Any, Any]:
    """Of the only element: sqrt(w) C (members, planes, time cells, frequency cells), data used, and how many were dropped."""
    from ...plan.xla import jnp

    c, (w,), lost = _weighted(structure, numbers)
    ((planes, _),) = structure.elements
    own = jnp.stack([c[p] if p >= 0 else jnp.zeros_like(c[0]) for p in planes], 1)
    return (own * jnp.sqrt(w)[:, None]).sum((3, 5)), (w > 0).sum((2, 4)), lost


def _factor(gram: Any) -> tuple[Any, Any]:
    """Rows of the Cholesky factors (members, time cells, frequency cells, n - 1, n), and what is left of the last diagonal element."""
    from ...plan.xla import jax, jnp

    a, n = jnp.moveaxis(gram, 4, 2), gram.shape[2]
    upper = jnp.triu(jnp.ones((n, n), bool))
    a = jnp.where(upper, a + 1j * jnp.where(jnp.eye(n, dtype=bool), 0, a.swapaxes(3, 4)), 0)
    diagonal, column = jnp.diagonal(a, axis1=3, axis2=4).real, jnp.arange(n)

    def eliminate(k: Any, a: Any) -> Any:
        pivot = a[..., k, k].real
        good = pivot > SINGULAR * diagonal[..., k]
        root = jnp.where(good, 1 / jnp.sqrt(jnp.where(good, pivot, 1)), 0)
        row = jnp.where(column >= k, a[..., k, :] * root[..., None], 0)
        later = jnp.where(column > k, row, 0)
        return (a - later[..., :, None].conj() * later[..., None, :]).at[..., k, :].set(row)

    a = jax.lax.fori_loop(0, n - 1, eliminate, a)
    return jnp.triu(a)[..., :-1, :], jnp.maximum(a[..., -1, -1].real, 0)


def _weighted(structure: Structure, numbers: Numbers) -> tuple[list[Any], list[Any], Any]:
    """Planes (members, time cells, slots of one, frequency cells, channels of one), per element the weights w of the same shape,
    and how many data all elements dropped."""
    from ...plan.xla import jnp

    t, f = numbers.slots.reshape(-1), numbers.channels.reshape(-1)
    inside = (t >= 0)[:, None] & (f >= 0)
    shape = numbers.factor.shape[1], len(t), len(f)
    full = shape[0], *numbers.slots.shape, *numbers.channels.shape
    values, missing = zip(*(_plane(plane, numbers, shape, t, f) for plane in structure.planes), strict=True)
    finite = [(abs(c.real) <= LARGEST) & (abs(c.imag) <= LARGEST) for c in values]
    weights: list[Any] = []
    lost = jnp.zeros((), int)
    for planes, entries in structure.elements:
        there = [p for p in planes if p >= 0]
        w = jnp.broadcast_to(inside, shape).astype(float)
        for n, (corr, d) in enumerate(entries):
            own = _weight(corr, numbers.datum[d], numbers, t, f)
            w = jnp.where(inside, own if n == 0 else jnp.minimum(w, own), 0)
        for p in there:
            w = jnp.where(missing[p][:, :, None], 0, w)
        good = jnp.ones(shape, bool)
        for p in there:
            good &= finite[p]
        lost = lost + ((w > 0) & ~good).sum()
        weights.append(jnp.where(good, w, 0).reshape(full))
    return [jnp.where(ok, c, 0).reshape(full) for ok, c in zip(finite, values, strict=True)], weights, lost


def _plane(monomials: Any, numbers: Numbers, shape: tuple[int, int, int], t: Any, f: Any) -> tuple[Any, Any]:
    """A plane on slots `t` and channels `f` (members, slots, channels), and where a factor has no data (members, slots)."""
    from ...plan.xla import jnp

    total, missing = jnp.zeros(shape, complex), jnp.zeros(shape[:2], bool)
    for coef, fs in monomials:
        product = jnp.full((1, 1, 1), coef, complex)
        for array, corr, conj, number in fs:
            x, at = numbers.arrays[array], numbers.factor[number]
            absent = (at < 0)[:, None]
            if corr is None:
                for axis, place in enumerate((at, t, f)):
                    x = x if x.shape[axis] == 1 else jnp.take(x, jnp.maximum(place, 0), axis)
            else:
                row = numbers.rows[at][:, jnp.maximum(t, 0)]
                absent = absent | (row < 0) | (corr < 0)
                x = x[jnp.maximum(row, 0)[:, :, None], jnp.maximum(f, 0), max(corr, 0)]
            missing |= absent
            product = product * (x.conj() if conj else x).astype(complex)
        total = total + product
    return total, missing


def _weight(corr: int, at: Any, numbers: Numbers, t: Any, f: Any) -> Any:
    """w of data (members, slots, channels): 2 x weight, 0 where flagged, missing, not positive or not finite."""
    from ...plan.xla import jnp

    row = numbers.rows[at][:, jnp.maximum(t, 0)]
    row = jnp.where((at < 0)[:, None], -1, row)[:, :, None]
    line, channel = jnp.maximum(row, 0), jnp.maximum(f, 0)
    x = numbers.weights[line, channel if numbers.weights.shape[1] > 1 else 0, corr]
    good = (x > 0) & (x <= MOST) & (numbers.flags[line, channel, corr] == 0) & (row >= 0)
    return jnp.where(good, 2 * x.astype(float), 0)
