"""Groups of several Measurement Sets, or of several spectral windows, on one raster; tiles gathered from them and given back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from .slots import Group, cluster_slots
from .tile import Buffers, Tile

NEAR_FIELD = 1e-5
"""Directions of a field that differ by more (rad, 2 arcsec) are different ones, whatever it is called."""

SWAPPED = {"XY": "YX", "YX": "XY", "RL": "LR", "LR": "RL"}
"""What a correlation becomes when the antennas of a baseline change places."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A group of one Measurement Set, and where its slots, channels and baselines lie in the joined group.

    slots (nslot,) ascending; channels (nchan,); baselines (nbaseline,); `turned` (nbaseline,): stored the other way round.
    """

    ms: Any
    group: Group
    slots: np.ndarray
    channels: np.ndarray
    baselines: np.ndarray
    turned: np.ndarray

    def own(self, part: slice) -> slice:
        """Its own slots among some of the joined group."""
        first, last = np.searchsorted(self.slots, [part.start, part.stop])
        return slice(int(first), int(last))

    @property
    def swapped(self) -> list[int]:
        """Where each correlation lies on a baseline that is turned."""
        corrs = list(self.group.corrs)
        return [corrs.index(SWAPPED.get(c, c)) for c in corrs]


@dataclass(frozen=True, slots=True, eq=False)
class JoinedGroup(Group):
    """A group made of pieces. Channels are in the order of frequency; `windows`: spectral window -> its channels (indices)."""

    pieces: tuple[Piece, ...]
    windows: Mapping[int, np.ndarray]

    def bytes_per_slot(self, columns: Collection[str], weights: bool = True, spare: int = 0) -> int:
        """As of a Group, with the buffers of the pieces."""
        return int(1.5 * super(JoinedGroup, self).bytes_per_slot(columns, weights, spare))


def whole(ms: Any, group: Group) -> Piece:
    """A group by itself as a piece."""
    slots, channels, baselines = (np.arange(n) for n in (group.time.size, group.freq.size, len(ms.baselines)))
    return Piece(ms, group, slots, channels, baselines, np.zeros(baselines.size, bool))


def join(parts: Sequence[tuple[Any, Group, int, np.ndarray]], baselines: Sequence[tuple[str, str]]) -> JoinedGroup:
    """One group of the groups of some Measurement Sets: (set, group, number of its window, scan of each slot) each.

    `baselines`: those of the joined group. Raises ConfigError where a field's directions or the correlations differ, or where
    two have data of the same baseline, time and frequency.
    """
    _check(parts)
    groups = [group for _, group, _, _ in parts]
    time, interval, scan = (
        np.concatenate(x) for x in ([g.time for g in groups], [g.interval for g in groups], [p[3] for p in parts])
    )
    slot, first = cluster_slots(time, interval, scan)
    widest = np.zeros(first.size)
    np.maximum.at(widest, slot, interval)
    freq, width, channels, windows = _frequencies(parts)
    number = {pair: i for i, pair in enumerate(baselines)}
    pieces, start = [], 0
    for (ms, group, _, _), chans in zip(parts, channels, strict=True):
        pairs = [(number.get(pair), number.get(pair[::-1])) for pair in ms.baselines]
        place = np.array([back if there is None else there for there, back in pairs], np.int64)
        turned = np.array([there is None for there, _ in pairs])
        pieces.append(Piece(ms, group, slot[start : start + group.time.size], chans, place, turned))
        start += group.time.size
    raster = _raster(pieces, (len(baselines), first.size))
    one = groups[0]
    return JoinedGroup(
        one.field_id, one.field_name, one.phase_dir, parts[0][2], -1, freq, width, one.corrs, time[first], widest,
        scan[first], raster, slice(0, freq.size, 1), True, one.nowhere, tuple(pieces), windows,
    )  # fmt: skip


def _check(parts: Sequence[tuple[Any, Group, int, np.ndarray]]) -> None:
    first_ms, first, _, _ = parts[0]
    for ms, group, _, _ in parts[1:]:
        what = f"field {first.field_name}" if first.field_name else "the selection"
        if group.corrs != first.corrs:
            raise ConfigError(
                f"{what} has correlations {' '.join(first.corrs)} in {first_ms.path}, spw {first.spw_id}, and "
                f"{' '.join(group.corrs)} in {ms.path}, spw {group.spw_id}: these cannot be joined; select by spw"
            )
        away = np.angle(np.exp(1j * (group.phase_dir - first.phase_dir))) * [np.cos(first.phase_dir[1]), 1]
        if np.hypot(*away) > NEAR_FIELD:
            raise ConfigError(
                f"{what} lies {np.degrees(np.hypot(*away)):.4g} deg apart in {first_ms.path} and {ms.path}: these are different "
                "directions; run the Measurement Sets apart"
            )


def _frequencies(
    parts: Sequence[tuple[Any, Group, int, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], dict[int, np.ndarray]]:
    """Channels and widths of all windows in the order of frequency; where those of every part, and of every window, are."""
    first = {window: group for _, group, window, _ in reversed(parts)}
    numbers = sorted(first)
    freq, width = (np.concatenate([getattr(first[n], name) for n in numbers]) for name in ("freq", "width"))
    order = np.argsort(freq, kind="stable")
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    sizes = [first[n].freq.size for n in numbers]
    windows = dict(zip(numbers, np.split(place, np.cumsum(sizes)[:-1]), strict=True))
    return freq[order], width[order], [windows[window] for _, _, window, _ in parts], windows


def _raster(pieces: Sequence[Piece], shape: tuple[int, int]) -> np.ndarray:
    """Numbers of the rows, slot by slot, -1 where no piece has one. ConfigError where a datum is there twice."""
    there = np.zeros(shape, bool)
    seen: dict[bytes, np.ndarray] = {}
    for piece in pieces:
        own = np.zeros(shape, bool)
        at = np.ix_(piece.baselines, piece.slots)
        own[at] = piece.group.rows >= 0
        there |= own
        before = seen.setdefault(piece.channels.tobytes(), np.zeros(shape, bool))
        if (before & own).any():
            raise ConfigError(
                f"{piece.ms.path}: spw {piece.group.spw_id} has data of times and baselines that another of the Measurement Sets "
                "has too; name each once, or select by scans"
            )
        before |= own
    raster = np.full(shape[::-1], -1, np.int64)
    raster[there.T] = np.arange(there.sum())
    return raster.T


# Tiles.


def gather(
    group: JoinedGroup, columns: Sequence[str], tiles: Sequence[slice], weights: bool, uvw: bool, **options: Any
) -> Iterator[Tile]:
    """Tiles of a joined group, in order; the arrays are valid until the next is asked for. What no piece has is flagged."""
    streams = [_stream(piece, columns, tiles, weights, uvw, options) for piece in group.pieces]
    buffers = Buffers()
    try:
        for part in tiles:
            parts = [
                (piece, next(stream))
                for piece, stream in zip(group.pieces, streams, strict=True)
                if _length(piece.own(part))
            ]
            yield assemble(group, part, parts, columns, weights, uvw, buffers)
    finally:
        for stream in streams:
            stream.close()


def _stream(
    piece: Piece, columns: Sequence[str], tiles: Sequence[slice], weights: bool, uvw: bool, options: Mapping[str, Any]
) -> Any:
    """Tiles of a piece, of those parts in which it has slots; its reader is opened when the first is asked for."""
    own = [piece.own(part) for part in tiles]
    yield from piece.ms.reader(piece.group, columns, [s for s in own if _length(s)], weights, uvw, **options)


def _length(slots: slice) -> int:
    return int(slots.stop - slots.start)


def assemble(
    group: JoinedGroup, part: slice, parts: Sequence[tuple[Piece, Tile]], columns: Sequence[str], weights: bool, uvw: bool,
    buffers: Buffers,
) -> Tile:  # fmt: skip
    """One tile from those of the pieces."""
    raster = group.rows[:, part]
    there = raster >= 0
    first = int(raster[there].min()) if there.any() else 0
    rows = np.where(there, raster - first, -1).astype(np.int32)
    count, nchan, ncorr = int(there.sum()), group.freq.size, len(group.corrs)
    flags = buffers.take("*flags", (count, nchan, ncorr), np.uint8)
    flags[...] = 1
    data = {name: buffers.take(name, flags.shape, np.complex64) for name in columns}
    narrow = all(tile.weights is not None and tile.weights.shape[1] == 1 for _, tile in parts)
    covered = all(piece.channels.size == nchan for piece, _ in parts)
    wide = (count, 1 if narrow and covered else nchan, ncorr)
    weight = buffers.take("*weights", wide, np.float32) if weights else None
    track = np.full((*rows.shape, 3), np.nan) if uvw else None
    names = sorted({name for _, tile in parts for name in tile.flagsets})
    words = np.zeros(flags.shape, np.int32) if names else None
    if sum(int((tile.rows >= 0).sum()) * piece.channels.size for piece, tile in parts) < count * nchan:
        for values in (*data.values(), *([] if weight is None else [weight])):
            values[...] = 0
    for piece, tile in parts:
        at = np.ix_(piece.baselines, piece.slots[tile.start : tile.stop] - part.start)
        own = tile.rows.T >= 0  # slot by slot, as rows mostly lie: then slices do
        target, source = _span(rows[at].T[own]), _span(tile.rows.T[own])
        where = (target, _span(piece.channels))
        back = np.broadcast_to(piece.turned, own.shape)[own]
        for name in columns:
            _put(data[name], where, _facing(tile.columns[name][source], back, piece, conjugate=True))
        _put(flags, where, _facing(tile.flags[source], back, piece))
        if words is not None:
            _put(words, where, _facing(_renumbered(tile, names)[source], back, piece))
        if weight is not None and tile.weights is not None:
            values = _facing(tile.weights[source], back, piece)
            _put(weight, (target, slice(None)) if wide[1] == 1 else where, values)
        if track is not None and tile.uvw is not None:
            sign = np.where(piece.turned, -1, 1)[:, None, None]
            spot = track[at]
            track[at] = np.where(np.isfinite(spot), spot, tile.uvw * sign)
    source_names = dict.fromkeys(tile.weight_source for _, tile in parts if tile.weight_source)
    return Tile(
        group, part.start, part.stop, rows, np.arange(first, first + count), data, flags, weight,
        "; ".join(source_names), track, sum(tile.empty for _, tile in parts), words,
        {name: 1 << i for i, name in enumerate(names)},
    )  # fmt: skip


def _renumbered(tile: Tile, names: Sequence[str]) -> np.ndarray:
    """BITFLAG of a tile with the flagset `names[i]` at bit i: every Measurement Set has bits of its own."""
    assert tile.words is not None
    bits = [(1 << i, tile.flagsets[name]) for i, name in enumerate(names) if name in tile.flagsets]
    return np.asarray(sum(np.where(tile.words & np.int32(old), np.int32(new), np.int32(0)) for new, old in bits))


def scatter(tile: Tile, values: np.ndarray) -> Iterator[tuple[Any, Tile, np.ndarray]]:
    """Values (nrow, nchan, ncorr) of a joined tile as (Measurement Set, tile of its own, values) of each piece."""
    group = tile.group
    assert isinstance(group, JoinedGroup)
    part = slice(tile.start, tile.stop)
    for piece in group.pieces:
        slots = piece.own(part)
        raster = piece.group.rows[:, slots]
        own = raster >= 0
        if not own.any():
            continue
        order = np.argsort(raster[own])
        at = np.ix_(piece.baselines, piece.slots[slots] - part.start)
        back = np.broadcast_to(piece.turned[:, None], own.shape)[own][order]
        chosen = values[tile.rows[at][own][order]][:, piece.channels]
        facing = _facing(chosen, back, piece, conjugate=np.iscomplexobj(values))
        index = np.full(raster.shape, -1, np.int32)
        index[own] = np.argsort(order)
        target = Tile(
            piece.group,
            slots.start,
            slots.stop,
            index,
            raster[own][order],
            {},
            np.empty(0, np.uint8),
            None,
            "",
            None,
            0,
        )
        yield piece.ms, target, facing


def _facing(values: np.ndarray, back: np.ndarray, piece: Piece, conjugate: bool = False) -> np.ndarray:
    """Rows with those that are stored the other way round turned: V_qp is the conjugate transpose of V_pq."""
    if back.any():
        turned = values[back][..., piece.swapped]
        values = values.copy()
        values[back] = turned.conj() if conjugate else turned
    return values


def _span(index: np.ndarray) -> Any:
    """Ascending neighbours as a slice, which is quicker."""
    if index.size and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _put(out: np.ndarray, where: tuple[Any, Any], values: np.ndarray) -> None:
    """Values into some rows and channels, each a slice or an array."""
    rows, channels = where
    if isinstance(channels, slice) or isinstance(rows, slice):
        out[rows, channels] = values
    else:
        out[rows[:, None], channels] = values
