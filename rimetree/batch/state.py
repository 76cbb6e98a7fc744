"""The parameters of one field and spectral window during a run: coefficients, errors and statuses per solution interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..graph.node import Family
from ..parms.funklet import coefficients, powers
from ..parms.intervals import bounds, freq_intervals, normalised, time_intervals
from ..solve.status import Status
from .grid import GridData


@dataclass(slots=True, eq=False)
class ParmState:
    """One Parm family: coefs and errors (n, ct, cf, nt, nf) over nt x nf intervals, status (n, nt, nf)."""

    names: list[str]
    coefs: np.ndarray
    errors: np.ndarray
    status: np.ndarray
    slot_interval: np.ndarray
    chan_interval: np.ndarray
    time_bounds: np.ndarray
    freq_bounds: np.ndarray
    fitted: np.ndarray
    """(n,) whether some Solver fits it."""
    smooth: tuple[float | None, float | None] = (None, None)
    """rms change from one interval to the next per root of 1 s and of 1 Hz, where solutions are tied to their neighbours."""

    @property
    def solvable(self) -> bool:
        """Whether any member is fitted."""
        return bool(self.fitted.any())

    @property
    def axes(self) -> frozenset[str]:
        """Grid axes along which its values vary."""
        _, ct, cf, nt, nf = self.coefs.shape
        return frozenset(name for name, n in (("time", max(ct, nt)), ("freq", max(cf, nf))) if n > 1)

    @property
    def together(self) -> np.ndarray:
        """Number, for every slot, of the intervals that are solved together: the solution intervals, or all where time is tied."""
        return np.zeros_like(self.slot_interval) if self.smooth[0] is not None else self.slot_interval

    @property
    def grid_key(self) -> tuple[bytes, bytes]:
        """Equal for Parms with the same solution intervals."""
        return self.slot_interval.tobytes(), self.chan_interval.tobytes()


class State:
    """All Parm families that a run uses, on one group's slots and channels."""

    def __init__(self, families: Mapping[int, Family], solvable: Mapping[int, np.ndarray], group: GridData) -> None:
        self.group = group
        self.parms: dict[int, ParmState] = {}
        for number, family in families.items():
            if family.cls.role == "parm":
                self.parms[number] = self._initial(family, solvable.get(number, np.zeros(family.size, bool)))

    def _initial(self, family: Family, fitted: np.ndarray) -> ParmState:
        group = self.group
        time_solint, freq_solint = family.options.get("solint") or (None, None)
        slots = time_intervals(time_solint, group.time, group.interval, group.scan)
        chans = freq_intervals(freq_solint, group.freq, group.width)
        start = coefficients(family)
        nt, nf = int(slots[-1]) + 1, int(chans[-1]) + 1
        coefs = np.repeat(np.repeat(start[..., None, None], nt, -2), nf, -1)
        status = np.where(fitted, Status.NO_DATA, Status.CONVERGED).astype(np.uint8)
        status = np.tile(status[:, None, None], (1, nt, nf))
        return ParmState(
            list(family.members["name"]),
            coefs,
            np.full(coefs.shape, np.nan),
            status,
            slots,
            chans,
            bounds(slots, group.time, group.interval),
            bounds(chans, group.freq, group.width),
            fitted,
            family.options.get("smooth") or (None, None),
        )

    def plane(self, number: int, slots: slice) -> np.ndarray:
        """Values of a Parm family on some slots and all channels, (n, nslot or 1, nchan or 1)."""
        parm = self.parms[number]
        _, ct, cf, nt, nf = parm.coefs.shape
        t, f = parm.slot_interval[slots], parm.chan_interval
        coefs = parm.coefs[..., t, :] if max(ct, nt) > 1 else parm.coefs
        coefs = coefs[..., f] if max(cf, nf) > 1 else coefs
        if ct == cf == 1:
            return coefs[:, 0, 0]
        x, y = self.polynomial_coordinates(number)
        xs = powers(x[slots, None], ct) if ct > 1 else [1.0]
        ys = powers(y[None, :], cf) if cf > 1 else [1.0]
        return np.asarray(sum(coefs[:, i, j] * xs[i] * ys[j] for i in range(ct) for j in range(cf)))

    def polynomial_coordinates(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """x of every slot and y of every channel within the intervals of a Parm family: absolute on a bare grid, else -1..1."""
        parm, group = self.parms[number], self.group
        if group.bare:
            return group.time, group.freq
        return (
            normalised(parm.slot_interval, group.time, group.interval),
            normalised(parm.chan_interval, group.freq, group.width),
        )

    def valid(self, numbers: Iterable[int]) -> np.ndarray:
        """(nslot, nchan): whether every interval of these Parm families has at least one usable member."""
        good = np.ones((self.group.time.size, self.group.freq.size), bool)
        for number in numbers:
            parm = self.parms[number]
            good &= (parm.status == Status.CONVERGED).any(0)[parm.slot_interval][:, parm.chan_interval]
        return good
