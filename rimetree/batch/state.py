"""The parameters of one field and spectral window during a run: coefficients, errors and statuses per solution interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SolveError
from ..funklets import At, Funklet, on_cells, to_text
from ..graph.node import Family
from ..parms.funklet import coefficients, funklet_of
from ..parms.intervals import bounds, freq_intervals, time_intervals
from ..plan.depends import Depends, depends
from ..status import Status
from .grid import GridData, further, slots_per_time


@dataclass(slots=True, eq=False)
class ParmState:
    """One Parm family: coefs and errors (n, ct, cf, nt, nf) over nt x nf intervals, status (n, nt, nf)."""

    names: list[str]
    funklet: Funklet
    """What the coefficients mean."""
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
    begun: bool = False
    """Whether it starts where earlier solutions say, from which no others are looked for."""

    @property
    def solvable(self) -> bool:
        """Whether any member is fitted."""
        return bool(self.fitted.any())

    @property
    def axes(self) -> frozenset[str]:
        """Grid axes along which its values vary."""
        *_, nt, nf = self.coefs.shape
        return self.varying | {name for name, n in (("time", nt), ("freq", nf)) if n > 1}

    @property
    def varying(self) -> frozenset[str]:
        """Grid axes along which its values vary within an interval."""
        return self.funklet.axes(self.coefs.shape[1:3])

    @property
    def is_complex(self) -> bool:
        """Whether its values are complex."""
        return self.funklet.is_complex(self.coefs[0, :, :, 0, 0])

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
                self._finite(number)

    def _initial(self, family: Family, fitted: np.ndarray) -> ParmState:
        group = self.group
        time_solint, freq_solint = family.options.get("solint") or (None, None)
        step = slots_per_time(group)
        slots = time_intervals(time_solint, group.time[::step], group.interval[::step], group.scan[::step]).repeat(step)
        chans = freq_intervals(freq_solint, group.freq, group.width)
        start = coefficients(family)
        nt, nf = int(slots[-1]) + 1, int(chans[-1]) + 1
        coefs = np.repeat(np.repeat(start[..., None, None], nt, -2), nf, -1)
        status = np.where(fitted, Status.NO_DATA, Status.CONVERGED).astype(np.uint8)
        status = np.tile(status[:, None, None], (1, nt, nf))
        funklet = funklet_of(family).bare() if group.bare else funklet_of(family)
        edges = bounds(slots, group.time, group.interval), bounds(chans, group.freq, group.width)
        if text := funklet.gap(*((float(e.min()), float(e.max())) for e in edges)):
            raise SolveError(f"{family.members['name'][0]}: {text}")
        return ParmState(
            list(family.members["name"]),
            funklet,
            coefs,
            np.full(coefs.shape, np.nan),
            status,
            slots,
            chans,
            *edges,
            fitted,
            family.options.get("smooth") or (None, None),
        )

    def _finite(self, number: int) -> None:
        """Raises SolveError where the function that a Parm family is has no value where it starts."""
        parm = self.parms[number]
        if parm.funklet.linear:
            return
        bad = ~np.isfinite(self.plane(number, slice(0, 64))).all((1, 2))
        if bad.any():
            start = parm.coefs[bad.argmax(), :, :, 0, 0].ravel()
            raise SolveError(
                f"{parm.names[bad.argmax()]}: the function {to_text(parm.funklet)} is not finite where it starts, c = {start.tolist()}"
            )

    def plane(self, number: int, slots: slice) -> np.ndarray:
        """Values of a Parm family on some slots and all channels, (n, nslot or 1, nchan or 1)."""
        parm, group = self.parms[number], self.group
        intervals = parm.slot_interval[slots], parm.chan_interval
        return on_cells(
            parm.funklet, parm.coefs, group.time[slots], group.freq, parm.time_bounds, parm.freq_bounds, intervals
        )

    def at(self, number: int, slots: np.ndarray, chans: np.ndarray) -> At:
        """Cells for the funklet of a Parm family: `slots` (interval, slot) and `chans` (interval, channel) are numbers."""
        parm, group = self.parms[number], self.group
        low_t, high_t = parm.time_bounds[parm.slot_interval[slots]].transpose(2, 0, 1)[..., None, None]
        low_f, high_f = parm.freq_bounds[parm.chan_interval[chans]].transpose(2, 0, 1)
        return At(group.time[slots][..., None, None], group.freq[chans][None, None], (low_t, high_t), (low_f, high_f))

    def coordinates(self, slots: np.ndarray, chans: np.ndarray) -> dict[str, np.ndarray]:
        """Centres along all axes of the cells of `at`, (interval, slot, 1, 1) or (1, 1, interval, channel)."""
        along = {"time": self.group.time, **further(self.group)}
        return {name: c[slots][..., None, None] for name, c in along.items()} | {
            "freq": self.group.freq[chans][None, None]
        }

    def known(self, families: Mapping[int, Family]) -> dict[int, Depends]:
        """What families depend on; axes beyond time and frequency, which slots run along, count as time."""
        found = depends(families, {n: p.axes for n, p in self.parms.items()})
        if not (beyond := further(self.group).keys()):
            return found
        return {
            n: replace(own, axes=frozenset("time" if axis in beyond else axis for axis in own.axes))
            for n, own in found.items()
        }

    def prepared(self, numbers: Iterable[int], slots: np.ndarray, chans: np.ndarray) -> dict[int, tuple[Any, ...]]:
        """What the funklets of Parm families need to know of cells (see `at`)."""
        parms = self.parms
        return {n: parms[n].funklet.prepare(parms[n].coefs.shape[1:3], self.at(n, slots, chans)) for n in numbers}

    def valid(self, numbers: Iterable[int]) -> np.ndarray:
        """(nslot, nchan): whether every interval of these Parm families has at least one usable member."""
        good = np.ones((self.group.time.size, self.group.freq.size), bool)
        for number in numbers:
            parm = self.parms[number]
            good &= (parm.status == Status.CONVERGED).any(0)[parm.slot_interval][:, parm.chan_interval]
        return good
