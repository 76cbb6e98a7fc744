"""Several Measurement Sets as one, and spectral windows as one band."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, NothingSelected
from .intents import matching
from .joined import JoinedGroup, gather, join, scatter
from .metadata import Antenna, Field, Metadata, Spw, read_metadata
from .ms import MeasurementSet
from .selection import choose, choose_numbers, parts_of
from .slots import Group
from .table import open_main
from .tile import Tile

SAME_PLACE = 1.0
"""Metres by which the position of an antenna may differ between Measurement Sets."""

SAME_CHANNEL = 0.01
"""Part of its width by which the frequency of a channel may differ."""


class MeasurementSets:
    """Several Measurement Sets as one, in everything that a run or a forest asks for: what is solved is solved for all.

    paths    of Measurement Sets (one is allowed, for `combine`)
    combine  "spw": the spectral windows of a field are one group, whose solutions hold over the whole band;
             None: each has its own
    others   the selection, as of `MeasurementSet`, made in each; a set that has nothing of it is left out. Numbers of fields and
             scans are each set's own. `channels` may be a mapping from spectral window to channels.

    Antennas and fields are matched by name, spectral windows by their channels. A window keeps its number in the first
    set that has it, another one takes the next free number. Scans of later times whose numbers are taken get 1000, 2000 ... added.

    Raises ConfigError where an antenna stands elsewhere, a field lies elsewhere, windows overlap without being the same, or a set
    is named twice; else as `MeasurementSet`.
    """

    def __init__(
        self,
        paths: str | PathLike[str] | Sequence[str | PathLike[str]],
        *,
        combine: str | None = None,
        field: Any = None,
        spw: Any = None,
        scans: Any = None,
        channels: Any = None,
        antennas: Any = None,
        taql: str | None = None,
        pool: bool = False,
        intent: Any = None,
    ) -> None:
        if combine not in (None, "spw"):
            raise ConfigError(f"combine={combine!r}: expected 'spw', or nothing")
        self.paths = _distinct([paths] if isinstance(paths, (str, PathLike)) else list(paths))
        self.path = ", ".join(map(str, self.paths))
        for path in self.paths:
            open_main(path).close()
        metas = [read_metadata(path) for path in self.paths]
        numbers, known = _windows(metas)
        wanted = {w.id for w in known} if spw is None else set(choose(spw, known, "spw", self.path))
        own = [{mine: number for mine, number in of_set.items() if number in wanted} for of_set in numbers]
        options: list[dict[str, Any]] = [
            {
                "spw": None if spw is None else list(of_set),
                "channels": _channels(channels, of_set),
                "taql": taql,
                "pool": pool,
            }
            for of_set in own
        ]
        _share(options, "field", field, [m.fields for m in metas], choose)
        _share(options, "antennas", antennas, [m.antennas for m in metas], choose)
        _share(
            options, "scans", scans, self.paths, lambda part, path, what: choose_numbers(part, _scans_of(path), what)
        )
        _share(options, "intent", intent, self.paths, lambda part, path, _: matching(path, part))
        self.left_out: list[Path] = []
        """Sets that have nothing of the selection."""
        self.sets, self._of_set = self._open(options, own)
        _check_overlaps(self.sets, self._of_set)
        self.antenna_table: list[Antenna] = _antennas(self.sets)
        self.antennas: list[str] = [antenna.name for antenna in self.antenna_table]
        self.positions = np.array([antenna.position for antenna in self.antenna_table])
        self.mounts: list[str] = [antenna.mount for antenna in self.antenna_table]
        self.baselines: list[tuple[str, str]] = _baselines(self.sets, self.antennas)
        self.fields: list[Field] = list({f.name: f for ms in reversed(self.sets) for f in ms.fields}.values())[::-1]
        used = {self._of_set[i][g.spw_id] for i, ms in enumerate(self.sets) for g in ms.groups}
        self.spws: list[Spw] = [window for window in known if window.id in used]
        self.groups: list[JoinedGroup] = self._join(combine)

    def _open(
        self, options: Sequence[dict[str, Any]], numbers: Sequence[dict[int, int]]
    ) -> tuple[list[MeasurementSet], list[dict[int, int]]]:
        """The sets that have something of the selection, and their windows' common numbers. NothingSelected where none has."""
        found, known = [], []
        nothing = NothingSelected(f"{self.path}: nothing is selected")
        for path, own, of_set in zip(self.paths, options, numbers, strict=True):
            try:
                if not of_set or any(isinstance(value, list) and not value for value in own.values()):
                    raise NothingSelected(f"{path}: has nothing of the selection")
                found.append(MeasurementSet(path, **own))
                known.append(of_set)
            except NothingSelected as error:
                self.left_out.append(path)
                nothing = error
        if not found:
            raise nothing
        return found, known

    def _join(self, combine: str | None) -> list[JoinedGroup]:
        """One per field and spectral window, or per field."""
        scans = _scans(self.sets)
        found: dict[Any, list[tuple[Any, Group, int, np.ndarray]]] = {}
        for ms, numbers, more in zip(self.sets, self._of_set, scans, strict=True):
            for group in ms.groups:
                window = numbers[group.spw_id]
                key = (group.field_name, "" if combine else window, "" if combine else group.corrs)
                found.setdefault(key, []).append((ms, group, window, group.scan + more))
        order = {name: i for i, name in enumerate(dict.fromkeys(f.name for f in self.fields))}
        keys = sorted(found, key=lambda key: (order.get(key[0], -1), key[1] if not combine else 0))
        return [join(found[key], self.baselines) for key in keys]

    @property
    def feeds(self) -> str:
        """ "linear" or "circular"; `DataError` where they are neither or mixed."""
        kinds = {ms.feeds for ms in self.sets}
        if len(kinds) > 1:
            raise DataError(f"{self.path}: some feeds are linear, some circular; run these Measurement Sets apart")
        return kinds.pop()

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """As of each."""
        return [line for ms in self.sets for line in ms.obstacles(read, write)]

    hands_out_early = False
    """See `MeasurementSet`."""

    def reader(
        self,
        group: JoinedGroup,
        columns: Sequence[str],
        tiles: int | Sequence[slice],
        weights: bool = True,
        uvw: bool = False,
        **options: Any,
    ) -> Iterator[Tile]:
        """As `MeasurementSet.reader`."""
        if isinstance(tiles, int):
            tiles = [slice(i, min(i + tiles, group.time.size)) for i in range(0, group.time.size, tiles)]
        return gather(group, columns, list(tiles), weights, uvw, **options)

    def read(
        self,
        group: JoinedGroup,
        slots: slice | None = None,
        columns: Sequence[str] = ("DATA",),
        weights: bool = True,
        uvw: bool = False,
    ) -> Tile:
        """As `MeasurementSet.read`."""
        start, stop, _ = (slots or slice(None)).indices(group.time.size)
        (tile,) = self.reader(group, columns, [slice(start, stop)], weights, uvw)
        return tile

    def ensure_column(self, name: str) -> None:
        """In each."""
        for ms in self.sets:
            ms.ensure_column(name)

    def write(self, tile: Tile, name: str, values: np.ndarray) -> None:
        """Each set's part of `values` into it."""
        for ms, own, part in scatter(tile, values):
            ms.write(own, name, part)

    def write_flags(
        self, tile: Tile, flags: np.ndarray | None, flagsets: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Each set's part of `flags` and `flagsets` into it."""
        given = {name: values for name, values in {"": flags, **(flagsets or {})}.items() if values is not None}
        for pieces in zip(*(scatter(tile, values) for values in given.values()), strict=True):
            ms, own, _ = pieces[0]
            parts = {name: part for name, (_, _, part) in zip(given, pieces, strict=True)}
            ms.write_flags(own, parts.pop("", None), parts)

    def flagset_obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """As of each."""
        return [line for ms in self.sets for line in ms.flagset_obstacles(read, write)]

    def ensure_flagset(self, name: str) -> None:
        """In each."""
        for ms in self.sets:
            ms.ensure_flagset(name)

    def flush(self) -> None:
        """Nothing is kept back."""

    def release(self) -> None:
        """As of each."""
        for ms in self.sets:
            ms.release()

    def close(self) -> None:
        """Close all."""
        for ms in self.sets:
            ms.close()

    def __enter__(self) -> MeasurementSets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"MeasurementSets({self.path}: {len(self.antennas)} antennas, {len(self.baselines)} baselines, "
            f"{len(self.groups)} group(s))"
        )


def _distinct(paths: Sequence[str | PathLike[str]]) -> list[Path]:
    """Paths, none twice."""
    if not paths:
        raise ConfigError("expected one or more Measurement Sets, got an empty list")
    found = [Path(path) for path in paths]
    real = [path.resolve() for path in found]
    for i, path in enumerate(found):
        if real[i] in real[:i]:
            raise ConfigError(f"{path}: is named twice; name every Measurement Set once")
    return found


def _windows(metas: Sequence[Metadata]) -> tuple[list[dict[int, int]], list[Spw]]:
    """Per set its own number of a window -> the common one; and the windows by common number."""
    known: list[Spw] = []
    numbers: list[dict[int, int]] = []
    for meta in metas:
        taken: dict[int, int] = {}
        for window in meta.spws:
            there = [s.id for s in known if _same(s, window) and s.id not in taken.values()]
            same = [n for n in there if n == window.id] or there
            if same:
                taken[window.id] = same[0]
                continue
            used = {s.id for s in known}
            free = window.id if window.id not in used else max(used) + 1
            known.append(Spw(free, window.name, window.freq, window.width))
            taken[window.id] = free
        numbers.append(taken)
    return numbers, known


def _same(one: Spw, other: Spw) -> bool:
    """Whether two windows have the same channels."""
    if one.freq.shape != other.freq.shape:
        return False
    return bool((np.abs(one.freq - other.freq) <= SAME_CHANNEL * one.width).all())


def _check_overlaps(sets: Sequence[MeasurementSet], numbers: Sequence[Mapping[int, int]]) -> None:
    """ConfigError where a window of one set overlaps one of an earlier set without being any of those."""
    for i, ms in enumerate(sets):
        for earlier, before in zip(sets[:i], numbers[:i], strict=True):
            there = {before[s.id] for s in earlier.spws}
            for window in (s for s in ms.spws if numbers[i][s.id] not in there):
                for other in earlier.spws:
                    shared = min(_edge(window, 1), _edge(other, 1)) - max(_edge(window, -1), _edge(other, -1))
                    if shared > max(window.width.max(), other.width.max()):
                        raise ConfigError(
                            f"spw {window.id} of {ms.path} ({_band(window)}) overlaps spw {other.id} of {earlier.path} "
                            f"({_band(other)}), but their channels differ: run the Measurement Sets apart, or select by spw"
                        )


def _edge(window: Spw, side: int) -> float:
    return float((window.freq + side * window.width / 2).max() if side > 0 else (window.freq - window.width / 2).min())


def _band(window: Spw) -> str:
    low, high = window.freq.min(), window.freq.max()
    return f"{window.freq.size} channels, {low / 1e6:.6f} to {high / 1e6:.6f} MHz"


def _channels(spec: Any, numbers: Mapping[int, int]) -> Any:
    """Channels of one set, whose own numbers of windows map to the common ones."""
    return {mine: spec.get(number) for mine, number in numbers.items()} if isinstance(spec, Mapping) else spec


def _share(
    options: Sequence[dict[str, Any]],
    what: str,
    spec: Any,
    sources: Sequence[Any],
    check: Callable[[Any, Any, str], Any],
) -> None:
    """Give every set the parts of a selection that it has: those that `check(part, source, what)` passes.

    Raises ConfigError where none has one of them.
    """
    if spec is None:
        return
    for own in options:
        own[what] = []
    for part in parts_of(spec, what):
        faults = []
        for own, source in zip(options, sources, strict=True):
            try:
                check(part, source, what)
                own[what].append(part)
            except ConfigError as error:
                faults.append(error)
        if len(faults) == len(sources):
            raise faults[0]


def _scans_of(path: Path) -> np.ndarray:
    """The scan of every row."""
    table = open_main(path)
    try:
        return np.asarray(table.getcol("SCAN_NUMBER"))
    finally:
        table.close()


def _antennas(sets: Sequence[MeasurementSet]) -> list[Antenna]:
    """All antennas by name, numbered as in the first set. ConfigError where one stands elsewhere, or none is common."""
    known: dict[str, Antenna] = {}
    origin: dict[str, Any] = {}
    for ms in sets:
        if known and not known.keys() & set(ms.antennas):
            raise ConfigError(
                f"{ms.path} has none of the antennas of {sets[0].path} ({', '.join(list(known)[:4])}...): these are different "
                "telescopes; run them apart"
            )
        for antenna in ms.antenna_table:
            first = known.setdefault(antenna.name, antenna)
            origin.setdefault(antenna.name, ms.path)
            away = float(np.linalg.norm(first.position - antenna.position))
            if away > SAME_PLACE:
                raise ConfigError(
                    f"antenna {antenna.name} stands {away:.4g} m apart in {origin[antenna.name]} and {ms.path}: its solutions "
                    "would not be the same; run the Measurement Sets apart"
                )
    used: set[int] = set()
    for name, antenna in known.items():
        number = antenna.id if antenna.id not in used else max(used) + 1
        used.add(number)
        known[name] = Antenna(number, name, antenna.position, antenna.mount)
    return list(known.values())


def _baselines(sets: Sequence[MeasurementSet], antennas: Sequence[str]) -> list[tuple[str, str]]:
    """All pairs, each once, as the first set that has it stores it; in the order of the antennas."""
    found: dict[tuple[str, str], None] = {}
    for ms in sets:
        for pair in ms.baselines:
            if pair[::-1] not in found:
                found.setdefault(pair)
    place = {name: i for i, name in enumerate(antennas)}
    return sorted(found, key=lambda pair: (place[pair[0]], place[pair[1]]))


def _scans(sets: Sequence[MeasurementSet]) -> list[int]:
    """What is added to the scan numbers of each set, so that scans of different times have different numbers."""
    taken: dict[int, tuple[float, float]] = {}
    more = []
    for ms in sets:
        own: dict[int, tuple[float, float]] = {}
        for group in ms.groups:
            for number in np.unique(group.scan).tolist():
                time = group.time[group.scan == number]
                low, high = own.get(number, (np.inf, -np.inf))
                own[number] = min(low, float(time.min())), max(high, float(time.max()))
        step = 0
        while any(_apart(taken.get(n + step), times) for n, times in own.items()):
            step += 1000
        for number, (low, high) in own.items():
            before = taken.get(number + step, (low, high))
            taken[number + step] = min(before[0], low), max(before[1], high)
        more.append(step)
    return more


def _apart(one: tuple[float, float] | None, other: tuple[float, float]) -> bool:
    return one is not None and (one[1] < other[0] or other[1] < one[0])
