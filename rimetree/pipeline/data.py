"""The data that a step of a block works on: selections of Measurement Sets, opened once each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, nearest
from ..io.joined import JoinedGroup
from ..io.ms import MeasurementSet
from ..io.sets import MeasurementSets
from ..trees.terms.base import Band
from . import syntax
from .reference import Survey, survey
from .rfi import Limits, limits

Opened = MeasurementSet | MeasurementSets


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A spectral window of a step, or several that are solved as one: their channels chosen (None: all), and their band."""

    chosen: Mapping[int, np.ndarray | None]
    band: Band
    combined: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        """Numbers of the windows."""
        return tuple(self.chosen)

    @property
    def id(self) -> int:
        """Number of the first."""
        return self.ids[0]

    @property
    def title(self) -> str:
        """For messages."""
        return f"spw {'+'.join(map(str, self.ids))}"

    @property
    def hulls(self) -> dict[int, tuple[int, int] | None]:
        """From the first to behind the last chosen channel, as MeasurementSet's `channels`."""
        return {number: _hull(chosen) for number, chosen in self.chosen.items()}

    def hidden(self, group: Any) -> np.ndarray | None:
        """Of the channels of a group those that are not chosen; None where all are."""
        places = group.windows if isinstance(group, JoinedGroup) else {group.spw_id: slice(None)}
        result = np.zeros(group.freq.size, bool)
        for number, place in places.items():
            chosen = self.chosen.get(number)
            if chosen is not None:
                result[place] = ~chosen[slice(*_hull(chosen))]  # type: ignore[misc]
        return result if result.any() else None


def _hull(chosen: np.ndarray | None) -> tuple[int, int] | None:
    if chosen is None:
        return None
    places = np.flatnonzero(chosen)
    return int(places[0]), int(places[-1]) + 1


class Data:
    """One or several Measurement Sets and their selections. Opening them checks that they are there and whole (DataError)."""

    def __init__(self, path: str | Sequence[str], taql: str | None = None, antennas: Any = None) -> None:
        self.paths = [path] if isinstance(path, str) else list(path)
        self.path, self.taql, self.antennas = ", ".join(self.paths), taql, antennas
        self._opened: dict[Any, Opened] = {}
        self._surveys: dict[Any, Survey] = {}
        self._limits: dict[Any, Limits] = {}
        self.whole = self._open(False, taql=taql, antennas=antennas)

    def _open(self, combined: bool, **selection: Any) -> Opened:
        if len(self.paths) == 1 and not combined:
            return MeasurementSet(self.paths[0], **selection)
        return MeasurementSets(self.paths, combine="spw" if combined else None, **selection)

    def windows(self, spec: Any, combined: bool = False) -> Iterator[Window]:
        """The spectral windows that a step asks for, `combined`: all as one. ConfigError where there is no such window or channel."""
        found = dict(syntax.windows(spec, self.whole.spws, self.path))
        for part in [found] if combined else [{number: chosen} for number, chosen in found.items()]:
            freq = np.concatenate([s.freq for s in self.whole.spws if s.id in part])
            corrs = {c for g in self.whole.groups if g.spw_id in part for c in g.corrs}
            centre = (float(freq.min()) + float(freq.max())) / 2
            yield Window(part, Band(centre, any(c[:1] in "RL" for c in corrs)), combined)

    def select(
        self, window: Window, field: Any = None, scans: Any = None, pool: bool = False, intent: Any = None
    ) -> Opened:
        """A selection; the same one the second time. Raises as MeasurementSet."""
        scans, hulls = _flat(scans), window.hulls
        key = (str(hulls), window.combined, str(field), str(scans), pool, str(intent))
        if key not in self._opened:
            several = window.combined or len(self.paths) > 1
            self._opened[key] = self._open(
                window.combined, field=field, spw=list(window.ids), scans=scans, antennas=self.antennas, taql=self.taql,
                channels=hulls if several else hulls[window.id], pool=pool, intent=intent,
            )  # fmt: skip
        return self._opened[key]

    def survey(self, ms: Opened, group: Any, model: str) -> Survey:
        """What a look at a group tells, looked up once."""
        key = (*_identity(group), model)
        if key not in self._surveys:
            self._surveys[key] = survey(ms, group, model)
        return self._surveys[key]

    def limits(self, ms: Opened, window: Window, column: str, threshold: float, group: Any) -> Limits:
        """Amplitudes of a column beyond which samples of a group are outliers, looked up once."""
        hidden = window.hidden(group)
        key = (*_identity(group), column, threshold, b"" if hidden is None else hidden.tobytes())
        if key not in self._limits:
            self._limits[key] = limits(ms, group, column, threshold, hidden)
        return self._limits[key]

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
            f"there is no antenna {wanted!r}{nearest(wanted, table.values())} in {self.path}; it has {names}, or say auto",
            "ref_ant",
        )

    def release(self) -> None:
        """Free buffers: the next selection has its own."""
        for ms in self._opened.values():
            ms.release()

    def close(self) -> None:
        """Close all tables."""
        for ms in (self.whole, *self._opened.values()):
            ms.close()
        self._opened.clear()


def _identity(group: Any) -> tuple[Any, ...]:
    """What tells a group from all others of the same data."""
    return group.spw_id, group.field_name, group.time.tobytes(), group.freq.tobytes()


def absent(ms: Opened) -> list[str]:
    """Notes on Measurement Sets that have nothing of a selection."""
    return [f"{path} has nothing of this selection" for path in getattr(ms, "left_out", [])]


def path_text(paths: str | Sequence[str]) -> str:
    """One path as it is, several as JSON: for attributes of files."""
    return paths if isinstance(paths, str) else paths[0] if len(paths) == 1 else json.dumps(list(paths))


def paths_of(text: str) -> str | list[str]:
    """What `path_text` made."""
    return list(map(str, json.loads(text))) if text.startswith("[") else text


def shown(paths: str | Sequence[str]) -> str:
    """For messages."""
    return paths if isinstance(paths, str) else ", ".join(paths)


def _flat(scans: Any) -> Any:
    """A nested list of scans (per field, as ALAKAZAM has it) as one list."""
    if isinstance(scans, list):
        return [s for item in scans for s in (item if isinstance(item, list) else [item])]
    return scans


def four(ms: Opened, kind: str) -> None:
    """DataError where a selection lacks the cross-hands that a term needs."""
    for group in ms.groups:
        if not any(c in group.corrs for c in ("XY", "RL")):
            raise DataError(
                f"{ms.path}: {kind} needs the cross-hands, and spw {group.spw_id} has only {' '.join(group.corrs)}"
            )
