"""Whether parameters are constrained: null directions that scale stations against one another, models without power.

A common phase, or for full Jones a common unitary matrix, is never determined and does no harm: it changes no corrected
visibility's modulus and no gain's. But one baseline alone (or any net of baselines without an odd cycle) leaves
G_p -> a G_p, G_q -> G_q / a free, and such gains run away with the noise. The same holds for a source's flux times all gains.
"""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ..algebra.eigen import eigh
from ..algebra.threads import in_turns, take
from .problem import AtomValues

PURE = 0.99
"""Share of a null direction that is a scaling of whole blocks, above which it counts as one (it is 1 but for rounding)."""

VISIBLE = 1e-6
"""An unknown takes part in a null direction where its component is above this fraction of the largest."""


def scaled(atoms: AtomValues, unknown: np.ndarray, blocks: np.ndarray, null: np.ndarray) -> np.ndarray:
    """(n, S): the unknowns in null directions that do nothing but scale blocks of atoms (stations, sources).

    atoms as in `AtomValues`, `unknown` (atoms, parameters) their unknowns, -1 where there is none; blocks (n,);
    null (n, m, S) orthogonal null directions, zero where there are fewer.
    """
    found = np.zeros((null.shape[0], null.shape[2]), bool)
    some = np.flatnonzero(null.any((0, 1)))
    if some.size and unknown.size:
        in_turns(_scaled, *atoms, unknown, blocks[unknown[:, 0]], int(blocks.max()) + 1, null, some, found)
    return found


def insensitive(atoms: AtomValues, unknown: np.ndarray, blind: np.ndarray) -> np.ndarray:
    """(n, S): those `blind` unknowns (seen by data, yet without any derivative of chi2) that do change an atom.

    A model of zeros makes gains blind. A slope in an interval of one slot is blind too, but it changes nothing and does no harm.
    """
    found = np.zeros_like(blind)
    some = np.flatnonzero(blind.any(0))
    if some.size:
        atom, parameter = np.nonzero(unknown >= 0)
        changes = ((atoms[2][..., some] != 0) | (atoms[3][..., some] != 0)).any(2)[atom, parameter]
        whole = np.zeros((len(blind), some.size), bool)
        np.logical_or.at(whole, unknown[atom, parameter], changes)
        found[:, some] = whole & blind[:, some]
    return found


@kernel()
def _scaled(ur, ui, tr, ti, unknown, block, count, null, some, found, counter):
    i = take(counter)
    while i < len(some):
        s = some[i]
        i = take(counter)
        total, part = _grams(ur, ui, tr, ti, unknown, block, count, null, s)
        if not (np.isfinite(total).all() and np.isfinite(part).all()):
            continue  # values without a square, such as the inverse of a gain that ran away
        values, white = eigh(total)
        first = 0
        while first < len(values) and values[first] <= max(1e-9 * values[-1], 1e-290):
            first += 1
        share, mixed = eigh(_whitened(white, values, first, part))
        for c in range(len(share)):
            if share[c] >= PURE:
                _find(white, values, first, mixed, c, null, s, found)


@kernel()
def _whitened(axes, values, first, a):
    """w^T a w of the columns of axes / sqrt(values) from `first` on."""
    m = len(values)
    result = np.zeros((m - first, m - first))
    for c in range(first, m):
        for d in range(first, m):
            total = 0.0
            for i in range(m):
                for k in range(m):
                    total += axes[i, c] * a[i, k] * axes[k, d]
            result[c - first, d - first] = total / (np.sqrt(values[c]) * np.sqrt(values[d]))
    return result


@kernel()
def _find(axes, values, first, mixed, c, null, s, found):
    """Mark the unknowns that the direction moves which is column c of `mixed`."""
    direction, largest = np.zeros(null.shape[0]), 0.0
    for m in range(len(values)):
        share = 0.0
        for k in range(first, len(values)):
            share += axes[m, k] / np.sqrt(values[k]) * mixed[k - first, c]
        for p in range(len(direction)):
            direction[p] += share * null[p, m, s]
    for p in range(len(direction)):
        largest = max(largest, abs(direction[p]))
    for p in range(len(direction)):
        found[p, s] |= abs(direction[p]) > VISIBLE * largest


@kernel()
def _grams(ur, ui, tr, ti, unknown, block, count, null, s):
    """Inner products (m, m) of the changes of all atoms along the null directions: whole, and the part that scales blocks."""
    m = null.shape[1]
    total, part = np.zeros((m, m)), np.zeros((m, m))
    power, rate = np.zeros(count), np.zeros((count, m))
    re, im = np.empty(m), np.empty(m)
    for a in range(unknown.shape[0]):
        if unknown[a, 0] < 0:  # of another component
            continue
        for j in range(ur.shape[1]):
            re[:] = 0.0
            im[:] = 0.0
            for p in range(unknown.shape[1]):
                if unknown[a, p] >= 0:
                    for c in range(m):
                        re[c] += tr[a, p, j, s] * null[unknown[a, p], c, s]
                        im[c] += ti[a, p, j, s] * null[unknown[a, p], c, s]
            power[block[a]] += ur[a, j, s] ** 2 + ui[a, j, s] ** 2
            for c in range(m):
                rate[block[a], c] += ur[a, j, s] * re[c] + ui[a, j, s] * im[c]
                for d in range(m):
                    total[c, d] += re[c] * re[d] + im[c] * im[d]
    if count == 1:  # nobody to compensate: whatever is null is unconstrained
        return total, total
    for b in range(count):
        if power[b] > 1e-290:
            for c in range(m):
                for d in range(m):
                    part[c, d] += rate[b, c] * rate[b, d] / power[b]
    return total, part
