"""Which coefficients of Parms matter in a cell: a few, however many pieces a spline has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array

from ..solve.joint.colours import Colours
from ..solve.single.retract import Curves

if TYPE_CHECKING:
    from .fit import ClassFit
    from .state import State

AT_ONCE = 4_000_000
"""Numbers of a basis that are held at once."""


def local_basis(state: State, parm: int, slots: np.ndarray, chans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a Parm that is linear in its coefficients, those that are not multiplied by 0 in each cell (slots x channels), and by what:
    (cells, terms) each."""
    funklet, shape = state.parms[parm].funklet, state.parms[parm].coefs.shape[1:3]
    step, start, pieces = 1, 0, []
    while start < len(slots):
        part = slots[start : start + step]
        size, start = len(part) * len(chans), start + len(part)
        number, factor = (
            np.broadcast_to(a, (len(part), 1, len(chans), 1, a.shape[-1])).reshape(size, -1)
            for a in funklet.local(shape, state.at(parm, part[:, None], chans[:, None]))
        )
        terms = max(1, int((factor != 0).sum(1).max()))
        first = np.argsort(factor == 0, 1, kind="stable")[:, :terms]
        pieces.append((np.take_along_axis(number, first, 1), np.take_along_axis(factor, first, 1)))
        step = max(1, AT_ONCE // (number.shape[1] * len(chans)))
    most = max(which.shape[1] for which, _ in pieces)
    wide = [[np.pad(a, ((0, 0), (0, most - a.shape[1]))) for a in piece] for piece in pieces]
    which, by = (np.concatenate(a) for a in zip(*wide, strict=True))
    return which, by


def colours(fit: ClassFit, slots: np.ndarray, chans: np.ndarray) -> Colours:
    """Of the unknowns of a class, on all slots and channels of a span."""
    site = np.zeros(fit.unknowns.count, int)
    varying = frozenset[str]().union(*(fit.state.parms[n].varying for n in fit.parms))
    cells = slots if "time" in varying else slots[:1], chans if "freq" in varying else chans[:1]
    together: list[np.ndarray] = []
    start = 0
    for n in fit.parms:
        members, ct, cf = fit.unknowns.shapes[n]
        parts, offset = fit.unknowns.parts[n], fit.unknowns.offsets[n]
        own = site[offset : offset + members * ct * cf * parts].reshape(members, ct * cf, parts)
        own[:] = start + np.arange(ct * cf)[:, None]
        if fit.atoms.funklets[n].linear and ct * cf > 1:
            together.append(start + local_basis(fit.state, n, *cells)[0])
        else:
            together.append(start + np.arange(ct * cf)[None])
        start += ct * cf
    places = max(map(len, together))
    return Colours.of(site, [np.concatenate([np.broadcast_to(t, (places, t.shape[1])) for t in together], 1)])


def curves(fit: ClassFit, slots: np.ndarray, chans: np.ndarray) -> list[Curves]:
    """Complex Parms of a class with several coefficients, on all slots and channels of a span."""
    found = []
    for n in fit.parms:
        members, ct, cf = fit.unknowns.shapes[n]
        parm = fit.state.parms[n]
        if not fit.atoms.funklets[n].linear or ct * cf == 1 or fit.unknowns.parts[n] == 1:
            continue
        several = [i.max() > i.min() for i in (parm.slot_interval[slots], parm.chan_interval[chans])]
        cells = tuple(
            own if many or axis in parm.varying else own[:1]
            for own, many, axis in zip((slots, chans), several, ("time", "freq"), strict=True)
        )
        which, by = local_basis(fit.state, n, *cells)
        time, freq = parm.slot_interval[cells[0]], parm.chan_interval[cells[1]]
        st, sf = int(parm.slot_interval[slots].max()) + 1, int(parm.chan_interval[chans].max()) + 1
        interval = (time[:, None] * sf + freq).ravel()[:, None]
        shape = len(which), ct * cf * st * sf
        rows = np.repeat(np.arange(len(which)), which.shape[1])
        basis = coo_array((by.ravel(), (rows, (which * (st * sf) + interval).ravel())), shape=shape).tocsr()
        first = fit.unknowns.index(n, np.arange(members)[:, None], np.arange(ct * cf), 0)
        found.append(Curves.of(first, basis))
    return found
