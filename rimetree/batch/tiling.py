"""The tile plan: how many slots are held at once, from the memory that is free and from where solution intervals end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError

COMFORT = 128e6
"""Bytes of data per tile beyond which a longer tile gains nothing: reading ahead and SIMD lanes are saturated."""

RAMP = 8
"""Part of a tile that the first of a span of several is."""

WORKING = 3.0
"""Memory per byte of a tile's buffers: a second set being read ahead, sums and output."""


@dataclass(frozen=True, slots=True)
class TilePlan:
    """`spans`: slots solved together, `tiles`: per span the slots read together."""

    spans: tuple[slice, ...]
    tiles: tuple[tuple[slice, ...], ...]
    slots: int
    bytes: int
    """Of the longest tile, with all that is held beside its columns."""
    limit: float
    """Bytes that may be used."""

    def __str__(self) -> str:
        count = sum(map(len, self.tiles))
        return f"{count} tile{'s' if count > 1 else ''} of up to {self.slots} slots, about {self.bytes / 1e6:.0f} MB of memory"


def available_memory() -> int:
    """Bytes that can be allocated without swapping (Linux MemAvailable)."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 << 30


def memory_limit(memory: float | None) -> float:
    """Bytes to plan for: `memory`, or 40 % of what is free. Raises ConfigError where it is not a positive number."""
    if memory is not None and not (isinstance(memory, (int, float)) and memory > 0):
        raise ConfigError(f"memory={memory!r}: expected a number of bytes, for example 4e9")
    return memory if memory is not None else 0.4 * available_memory()


def tile_plan(
    nslot: int,
    bytes_per_slot: int,
    intervals: Iterable[np.ndarray],
    memory: float | None,
    work: float = 0.0,
    batch: int = 1,
    whole: str = "",
    followed: bool = False,
) -> TilePlan:
    """Spans at whose ends all `intervals` (interval number of every slot) end too; tiles as long as memory allows.

    `bytes_per_slot`: of the columns; `work`: further bytes per slot, of sums and evaluated planes; `memory` in bytes, by
    default 40 % of what is free. A span longer than that is read in several tiles, more than once where there is more to do
    than one pass of sums. Spans have at least `batch` such ends where there are as many.
    `whole` names a node that needs all slots in one tile. `followed`: tiles are worked on as they are being read.
    Raises ConfigError where not even one slot, or not all that must be held together, fits.
    """
    limit = memory_limit(memory)
    each = WORKING * bytes_per_slot + work
    most = int(limit / max(each, 1))
    if most < 1:
        raise ConfigError(
            f"memory={limit:.6g} bytes is too little: one slot of all baselines needs {each:.3g}; "
            "give more memory, or select fewer channels or antennas"
        )
    if whole:
        if limit < each * nslot:
            raise ConfigError(
                f"memory={limit:.6g} bytes is too little: {whole} takes all {nslot} slots together, which need "
                f"{each * nslot:.3g}; give more memory, or select less"
            )
        return TilePlan((slice(0, nslot),), ((slice(0, nslot),),), nslot, int(nslot * each), limit)
    if memory is None:
        comfort = COMFORT * (2 if followed else 1)  # buffers once instead of twice
        most = min(most, max(int(comfort / max(bytes_per_slot, 1)), 1))
    ends = np.ones(nslot, bool)
    for interval in intervals:
        ends[:-1] &= np.diff(interval) != 0
    cuts = np.concatenate([[0], np.flatnonzero(ends) + 1])
    spans, tiles, start = [], [], 0
    while start < nslot:
        fitting = cuts[(cuts > start) & (cuts <= start + most)]
        ahead = cuts[cuts > start]
        stop = max(int(fitting[-1]) if fitting.size else 0, int(ahead[min(batch, ahead.size) - 1]))
        spans.append(slice(start, stop))
        tiles.append(tuple(_tiles(start, stop, most, followed)))
        start = stop
    longest = max(t.stop - t.start for group in tiles for t in group)
    return TilePlan(tuple(spans), tuple(tiles), longest, int(longest * each), limit)


def _tiles(start: int, stop: int, most: int, followed: bool) -> Iterator[slice]:
    """Tiles of one span. Of several that are not `followed` the first are short, each twice the one before: nobody works until the
    first is there, and a tile is read in the time that it takes to work on one half as long."""
    size = most if followed or stop - start <= most else -(-most // RAMP)
    while start < stop:
        yield slice(start, min(start + size, stop))
        start, size = start + size, min(2 * size, most)
