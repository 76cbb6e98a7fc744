"""Whether one station alone is in a wrong minimum: chi2 as a function of what it would have anywhere else, the others as they are.

Where terms have one factor of a station, residuals are linear in the atoms u of that station, cell by cell, and chi2 is

    chi2(u') = chi2(u) + sum over cells of 2 Re(conj(d) g) + |d|^2 H,    d = u' - u,

with g and H from one pass over the data. So all stations are tried at a hundred places (delays of so many turns) for the cost of their
atoms there. A phase that the station is free to have (a complex gain, or a phase of its own) is the best one at each place:
this is the fringe search of VLBI (Schwab & Cotton 1983, AJ 88, 688), with the other stations stacked, for whatever the unknowns are.
Where atoms of one station are multiplied with one another, places are only ranked; a fit from there has to confirm them anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .bounds import clip
from .plain import by_factors, intervals
from .problem import Problem

STEP = 0.8
"""Between places, in units of what changes atoms by about themselves: fits find their way from half of it."""

MOST = 100
"""Places to each side."""

ROUNDS = 12
"""Most times that one station (or several that no equation connects) is moved per start."""

BUDGET = 1 << 23
"""Complex numbers in the largest array."""

CONSTANT = 1e-6
"""Relative spread of what is constant over cells, but for rounding."""


class Slopes(NamedTuple):
    """Of atoms by themselves: g and H (atoms, J, S), and H between atoms of one station (pairs, J, S); chi2 (S,) but for constants."""

    g: np.ndarray
    H: np.ndarray
    cross: np.ndarray
    chi2: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Stations:
    """What moves with what: blocks of unknowns."""

    part: Problem
    of_atom: np.ndarray
    """(atoms,) block, -1 for none."""
    first: np.ndarray
    second: np.ndarray
    """Pairs of atoms of one station that meet in an equation."""
    near: np.ndarray
    """(blocks, blocks) whether an equation connects them."""

    @classmethod
    def of(cls, part: Problem) -> Stations:
        """From the equations' forms."""
        own = part.atom_unknown.max(1)
        of_atom = np.where(own >= 0, part.blocks[own], -1)
        count = int(part.blocks.max()) + 1
        near, keys = np.zeros((count, count), bool), [np.empty(0, np.int64)]
        for eq in part.equations:
            atom, conj = eq.form.factor_atom.astype(np.int64), eq.form.factor_conj
            for f in range(atom.shape[1]):
                for h in range(atom.shape[1]):
                    a, b = atom[:, f], atom[:, h]
                    both = (of_atom[a] >= 0) & (of_atom[b] >= 0)
                    near[of_atom[a[both]], of_atom[b[both]]] = True
                    if h > f and conj[f] == conj[h]:
                        same = both & (of_atom[a] == of_atom[b])
                        keys.append(a[same] * len(own) + b[same])
        first, second = np.divmod(np.unique(np.concatenate(keys)), len(own))
        return cls(part, of_atom, first, second, near)

    def slopes(self, u: np.ndarray, chosen: np.ndarray) -> Slopes:
        """At atoms u (atoms, J, intervals), complex, in chosen intervals (numbers)."""
        A, J, S = u.shape
        g, H = np.zeros((A, J, S), complex), np.zeros((A, J, S))
        cross, chi2 = np.zeros((len(self.first), J, S), complex), np.zeros(S)
        pair = self.first * A + self.second
        largest = max(eq.y[0][..., 0].size * (1 + eq.form.planes) for eq in self.part.equations)
        at_once = max(1, BUDGET // largest)
        for start in range(0, S, at_once):
            where = slice(start, start + at_once)
            for eq in intervals(self.part, chosen[where]).equations:
                r, by = by_factors(eq, u[..., where])
                chi2[where] += (r.real**2 + r.imag**2).sum((0, 1, 2))
                atom, conj = eq.form.factor_atom.astype(np.int64), eq.form.factor_conj
                for f, D in enumerate(by):
                    pull = (D.conj() * r).sum(1)
                    np.add.at(g[..., where], atom[:, f], pull.conj() if conj[f] else pull)
                    np.add.at(H[..., where], atom[:, f], (D.real**2 + D.imag**2).sum(1))
                    for h in range(f + 1, len(by)):
                        key = atom[:, f] * A + atom[:, h]
                        place = np.minimum(np.searchsorted(pair, key), max(len(pair) - 1, 0))
                        there = np.flatnonzero(pair[place] == key) if len(pair) and conj[f] == conj[h] else pair[:0]
                        both = (D[there].conj() * by[h][there]).sum(1)
                        np.add.at(cross[..., where], place[there], both.conj() if conj[f] else both)
        return Slopes(g, H, cross, chi2)

    def values(
        self, slopes: Slopes, u: np.ndarray, new: np.ndarray, t: np.ndarray, free: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(blocks, S): chi2 with the atoms of one station at `new`, less that at u; the phase that is best for the new ones, where the
        station is `free` (blocks,) to have one; and how far it is best to move on along their derivatives `t`, in half a STEP."""
        pull = self._per_block((new.conj() * (slopes.g - slopes.H * u)).sum(1))
        phase = np.where(free[:, None], np.angle(-pull), 0)
        turn = np.exp(1j * phase)[self.of_atom][:, None]
        d, t = new * turn - u, t * turn
        rise = slopes.g + self._times(slopes, d)
        value = self._per_block((d.conj() * (slopes.g + rise)).real.sum(1))
        slope = self._per_block((t.conj() * rise).real.sum(1))
        curve = self._per_block((t.conj() * self._times(slopes, t)).real.sum(1))
        size = np.sqrt(
            self._per_block((np.abs(t) ** 2).sum(1)) / np.maximum(self._per_block((np.abs(new) ** 2).sum(1)), 1e-300)
        )
        most = STEP / 2 / np.where(size > 0, size, np.inf)
        further = np.clip(-slope / np.where(curve > 0, curve, np.inf), -most, most)
        return value + (2 * slope + curve * further) * further, phase, further

    def _times(self, slopes: Slopes, d: np.ndarray) -> np.ndarray:
        """H times a change of atoms."""
        result = slopes.H * d
        np.add.at(result, self.first, slopes.cross * d[self.second])
        np.add.at(result, self.second, slopes.cross.conj() * d[self.first])
        return result

    def _per_block(self, values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(self.near), values.shape[-1]), values.dtype)
        there = self.of_atom >= 0
        np.add.at(total, self.of_atom[there], values[there])
        return total


def relocated(
    part: Problem, theta: np.ndarray, given: np.ndarray, chosen: np.ndarray, reach: np.ndarray, least: np.ndarray
) -> np.ndarray:
    """(S,) which of the chosen intervals (S,) have stations that fit better elsewhere, by more than `least` (S,) of chi2; these are
    moved in `theta` (unknowns of the whole, S). `reach` (unknowns, S): how far each moves to change its atoms by about themselves.
    Of places that are the same to all data (delays that turn each channel once more) the ones around `given` are tried.
    """
    stations: Stations = part.kept("stations", lambda: Stations.of(part))
    lanes, first, before = np.flatnonzero(chosen), theta.copy(), theta.copy()
    last = np.full(part.intervals, np.inf)
    for _ in range(ROUNDS):
        ur, ui, tr, ti = (a[..., lanes] for a in part.atoms(theta))
        u, t = ur + 1j * ui, tr + 1j * ti
        slopes = stations.slopes(u, lanes)
        lower = slopes.chi2 < last[lanes]
        theta[:, lanes[~lower]] = before[:, lanes[~lower]]
        before, last[lanes] = theta.copy(), slopes.chi2
        going = _Best(stations, u, t, slopes, theta, given, lanes, reach).move(np.where(lower, least[lanes], np.inf))
        lanes = lanes[going]
        if not lanes.size:
            break
    return np.asarray((theta != first).any(0))


class _Best:
    """The best place of every station, in intervals `lanes`."""

    def __init__(
        self, stations: Stations, u: np.ndarray, t: np.ndarray, slopes: Slopes, theta: np.ndarray, given: np.ndarray,
        lanes: np.ndarray, reach: np.ndarray,
    ) -> None:  # fmt: skip
        self.stations, self.theta, self.lanes, part = stations, theta, lanes, stations.part
        self.part, self.reach = part, np.broadcast_to(reach, (part.count, part.intervals))
        self.free, self.turning, self.rate = _phases(stations, u, t, self.reach[:, lanes])
        blocks = len(stations.near)
        self.value, self.phase, self.place = np.zeros((3, blocks, len(lanes)))
        self.which = np.full((blocks, len(lanes)), -1)
        fitted = np.ones(part.count, bool) if part.fitted is None else part.fitted
        for unknowns in _ranks(part, fitted & (self.reach > 0).any(1)):
            wide = 1 if self.free[part.blocks[unknowns]].all() else 2
            steps, every = _places(stations, unknowns, u, t, self.reach[:, lanes], wide)
            mine, unit = np.ix_(part.unknowns[unknowns], lanes), self.reach[np.ix_(unknowns, lanes)]
            number = np.full(blocks, -1)
            number[part.blocks[unknowns]] = unknowns
            middle, new = (given if every else theta)[mine], theta.copy()
            atom, column = np.nonzero(np.isin(part.atom_unknown, unknowns))
            for step in steps:
                new[mine] = middle + step * unit
                self._within(new)
                ur, ui, tr, ti = (a[..., lanes] for a in part.atoms(new))
                tangent = np.zeros(ur.shape, complex)
                tangent[atom] = (tr + 1j * ti)[atom, column]
                with np.errstate(all="ignore"):
                    value, phase, further = stations.values(slopes, u, ur + 1j * ui, tangent, self.free)
                further[part.blocks[unknowns]] += new[mine]
                better = (value < self.value) & (number >= 0)[:, None]
                for kept, found in (
                    (self.value, value),
                    (self.phase, phase),
                    (self.place, further),
                    (self.which, number[:, None]),
                ):
                    kept[:] = np.where(better, found, kept)

    def _within(self, theta: np.ndarray) -> np.ndarray:
        if self.part.constraints and len(self.part.constraints.bounds.unknown):
            own = np.ascontiguousarray(theta[self.part.unknowns])
            clip(self.part.constraints.bounds, own)
            theta[self.part.unknowns] = own
        return theta

    def move(self, least: np.ndarray) -> np.ndarray:
        """Put the stations that gain most, and no equation connects, in their places; (lanes,) where there are such."""
        value, mine, theta = self.value.copy(), self.part.unknowns, self.theta
        each, going = np.arange(len(self.lanes)), np.zeros(len(self.lanes), bool)
        gains = self.part.retract.gains
        while True:
            block = value.argmin(0)
            good = value[block, each] < -least
            if not good.any():
                break
            going |= good
            b, s = block[good], self.lanes[good]
            k, phase = self.which[b, each[good]], self.phase[b, each[good]]
            theta[mine[k], s] = self.place[b, each[good]]
            o = self.turning[b]
            theta[mine[o[o >= 0]], s[o >= 0]] += (phase / self.rate[b, each[good]])[o >= 0]
            own = self.part.blocks[gains][:, None] == b[None]
            g, j = np.nonzero(own & (o < 0)[None])
            value_of = (theta[mine[gains[g]], s[j]] + 1j * theta[mine[gains[g] + 1], s[j]]) * np.exp(1j * phase[j])
            theta[mine[gains[g]], s[j]], theta[mine[gains[g] + 1], s[j]] = value_of.real, value_of.imag
            value[:, good] = np.where(self.stations.near[b].T, 0, value[:, good])
            value[b, each[good]] = 0
        self._within(theta)
        return going


def _ranks(part: Problem, wanted: np.ndarray) -> list[np.ndarray]:
    """Unknowns, at most one of each block at a time."""
    numbers = np.flatnonzero(wanted)
    order = numbers[np.argsort(part.blocks[numbers], kind="stable")]
    own = part.blocks[order]
    first = np.searchsorted(own, own)
    rank = np.arange(len(order)) - first
    return [order[rank == r] for r in range(int(rank.max(initial=-1)) + 1)]


def _rates(stations: Stations, unknown: int, u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(J, S): how fast the atoms of an unknown change, relative to themselves."""
    atom, column = np.nonzero(stations.part.atom_unknown == unknown)
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt((np.abs(t[atom, column]) ** 2).sum(0) / (np.abs(u[atom]) ** 2).sum(0)))


def _places(
    stations: Stations, unknowns: np.ndarray, u: np.ndarray, t: np.ndarray, reach: np.ndarray, wide: int
) -> tuple[np.ndarray, bool]:
    """Steps in units of reach, the shortest first, and whether these are all that differ: up to where neighbouring
    cells differ by half a turn, or all by one; `wide` times as far where phases are not free, which such turns then change."""
    k = unknowns[np.argmax(reach[unknowns].max(1))]
    s = int(reach[k].argmax())
    rates = _rates(stations, int(k), u[..., s : s + 1], t[..., s : s + 1])[:, 0] * reach[k, s]
    rates = rates[np.isfinite(rates)]
    different = np.unique(rates.round(9))
    span = np.pi / (np.ptp(different) / (len(different) - 1)) if len(different) > 1 else np.pi
    count = int(max(np.ceil(wide * span / STEP), 1))
    steps = np.arange(-min(count, MOST), min(count, MOST) + 1) * STEP
    return steps[np.argsort(np.abs(steps), kind="stable")], count <= MOST


def _phases(
    stations: Stations, u: np.ndarray, t: np.ndarray, reach: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per block: whether its phase is free, the real unknown that is this phase (-1: that of complex gains), and radians (S) per
    unit of it."""
    part, blocks = stations.part, len(stations.near)
    free, turning, rate = np.zeros(blocks, bool), np.full(blocks, -1), np.ones((blocks, u.shape[-1]))
    free[part.blocks[part.retract.gains]] = True
    with np.errstate(all="ignore"):
        mean = ((1j * u[:, None]).conj() * t).sum(2) / (np.abs(u[:, None]) ** 2).sum(2)  # (atoms, parameters, S)
        rest = (np.abs(t - 1j * (mean.real)[:, :, None] * u[:, None]) ** 2).sum(2)
        even = (rest <= CONSTANT**2 * (np.abs(t) ** 2).sum(2)) & (mean.real != 0)
    scanned = (part.atom_unknown >= 0) & (reach[part.atom_unknown] > 0).any(2)
    for b in range(blocks):
        atoms = np.flatnonzero((stations.of_atom == b) & scanned.any(1))
        known = part.atom_unknown[atoms]
        for k in np.unique(known[known >= 0]):
            at, column = np.nonzero(known == k)
            if len(at) < len(atoms) or not even[atoms[at], column].all():
                continue
            slope = mean.real[atoms[at], column]
            if np.allclose(slope, slope[:1]):
                free[b], turning[b], rate[b] = True, k, slope[0]
                break
    return free, turning, rate
