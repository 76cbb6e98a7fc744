"""The data that a step of a block works on: selections of a Measurement Set, opened once each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, nearest
from ..io.ms import MeasurementSet
from ..trees.terms.base import Band
from . import syntax
from .reference import Survey, survey


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A spectral window of a step: its id, the channels chosen (None: all), and what terms need to know of the band."""

    id: int
    chosen: np.ndarray | None
    band: Band

    @property
    def hull(self) -> tuple[int, int] | None:
        """From the first to behind the last chosen channel, as MeasurementSet's `channels`."""
        if self.chosen is None:
            return None
        places = np.flatnonzero(self.chosen)
        return int(places[0]), int(places[-1]) + 1

    @property
    def hidden(self) -> np.ndarray | None:
        """Of the channels in the hull those that are not chosen; None where all are."""
        if self.chosen is None or self.hull is None:
            return None
        inside = self.chosen[slice(*self.hull)]
        return None if inside.all() else ~inside


class Data:
    """A Measurement Set and its selections. Opening it checks that it is there and whole (DataError)."""

    def __init__(self, path: str, taql: str | None = None, antennas: Any = None) -> None:
        self.path, self.taql, self.antennas = path, taql, antennas
        self.whole = MeasurementSet(path, taql=taql, antennas=antennas)
        self._opened: dict[Any, MeasurementSet] = {}
        self._surveys: dict[Any, Survey] = {}

    def windows(self, spec: Any) -> Iterator[Window]:
        """The spectral windows that a step asks for. ConfigError where there is no such window or channel."""
        for number, chosen in syntax.windows(spec, self.whole.spws):
            spw = next(s for s in self.whole.spws if s.id == number)
            corrs = {c for g in self.whole.groups if g.spw_id == number for c in g.corrs}
            centre = (float(spw.freq.min()) + float(spw.freq.max())) / 2
            yield Window(number, chosen, Band(centre, any(c[:1] in "RL" for c in corrs)))

    def select(self, window: Window, field: Any = None, scans: Any = None, pool: bool = False) -> MeasurementSet:
        """A selection; the same one the second time. Raises as MeasurementSet."""
        scans = _flat(scans)
        key = (window.id, window.hull, str(field), str(scans), pool)
        if key not in self._opened:
            self._opened[key] = MeasurementSet(
                self.path, field=field, spw=[window.id], scans=scans, channels=window.hull, antennas=self.antennas,
                taql=self.taql, pool=pool,
            )  # fmt: skip
        return self._opened[key]

    def survey(self, ms: MeasurementSet, group: Any, model: str) -> Survey:
        """What a look at a group tells, looked up once."""
        key = (group.spw_id, group.field_name, group.time.size, float(group.time[0]), group.freq.size, model)
        if key not in self._surveys:
            self._surveys[key] = survey(ms, group, model)
        return self._surveys[key]

    def antenna(self, wanted: str | int) -> str | None:
        """The name of a reference antenna given by name or number; None for auto. ConfigError where there is none."""
        if wanted == "auto":
            return None
        table = {a.id: a.name for a in self.whole.antenna_table}
        if isinstance(wanted, int) or (str(wanted).isdecimal() and wanted not in table.values()):
            if int(wanted) in table:
                return table[int(wanted)]
        elif wanted in table.values():
            return wanted
        names = ", ".join(f"{name} ({number})" for number, name in table.items())
        raise ConfigError(
            f"ref_ant: there is no antenna {wanted!r}{nearest(wanted, table.values())} in {self.path}; it has {names}, or say auto"
        )

    def close(self) -> None:
        """Close all tables."""
        for ms in (self.whole, *self._opened.values()):
            ms.close()
        self._opened.clear()


def _flat(scans: Any) -> Any:
    """A nested list of scans (per field, as ALAKAZAM has it) as one list."""
    if isinstance(scans, list):
        return [s for item in scans for s in (item if isinstance(item, list) else [item])]
    return scans


def four(ms: MeasurementSet, kind: str) -> None:
    """DataError where a selection lacks the cross-hands that a term needs."""
    for group in ms.groups:
        if not any(c in group.corrs for c in ("XY", "RL")):
            raise DataError(
                f"{ms.path}: {kind} needs the cross-hands, and spw {group.spw_id} has only {' '.join(group.corrs)}"
            )
