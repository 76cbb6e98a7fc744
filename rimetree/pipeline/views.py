"""A Measurement Set seen through something: channels left out, outliers flagged, only flags written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .rfi import Limits


class View:
    """A MeasurementSet of which some channels are hidden and outliers are flagged while reading.

    hidden  group -> (nchan,) True for channels that are not selected; None: all are
    limits  group -> amplitudes of `column` beyond which a sample is an outlier; None: there are none
    """

    hands_out_early = False
    """See `MeasurementSet`."""

    def __init__(
        self,
        ms: Any,
        hidden: Callable[[Any], np.ndarray | None] | None = None,
        limits: Callable[[Any], Limits] | None = None,
        column: str = "DATA",
    ) -> None:
        self._ms, self._hidden, self._limits, self._column = ms, hidden, limits, column
        self._outliers: dict[tuple[int, int], int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ms, name)

    def reader(self, group: Any, columns: Sequence[str], tiles: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """As MeasurementSet.reader, with more flags."""
        hidden = self._hidden(group) if self._hidden else None
        for tile in self._ms.reader(group, columns, tiles, *args, **options):
            if hidden is not None:
                tile.flags[:, hidden] = 1
            if self._limits and self._column in tile.columns:
                self._outliers[id(tile.group), tile.start] = self._limits(group).flag(tile, self._column)
            yield tile

    @property
    def flagged(self) -> int:
        """Samples flagged as outliers, those of a tile that is read again counted once."""
        return sum(self._outliers.values())

    def recount(self) -> None:
        """Begin counting anew: other tiles come."""
        self._outliers.clear()


class Flagging(View):
    """A View through which flags are written, and nothing else: those of the data and of what a solver clipped, no others."""

    SINK = "CLIPPED"
    """The column that Sinks write, which is not there."""

    def __init__(self, ms: Any, *args: Any) -> None:
        super().__init__(ms, *args)
        self.clipped = 0
        """Samples flagged that were not before."""

    def reader(self, group: Any, columns: Sequence[str], tiles: Any, *args: Any, **options: Any) -> Iterator[Any]:
        """As a View."""
        return super().reader(group, [c for c in columns if c != self.SINK], tiles, *args, **options)

    def ensure_column(self, name: str) -> None:
        """Nothing: no column is made."""

    def obstacles(self, read: Collection[str], write: Collection[str]) -> list[str]:
        """What is in the way of writing FLAG."""
        found: list[str] = self._ms.obstacles(read, {"FLAG"})
        return found

    def write(self, tile: Any, name: str, values: np.ndarray) -> None:
        """Nothing."""

    def write_flags(
        self, tile: Any, flags: np.ndarray | None, flagsets: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Add what was clipped to FLAG; channels hidden and outliers left out here keep the flags that they have."""
        fresh = np.zeros(tile.shape, bool) if flags is None else np.asarray(flags, bool) & (tile.flags == 0)
        if fresh.any() or flagsets:
            (own,) = self._ms.reader(tile.group, [], [slice(tile.start, tile.stop)], weights=False)
            self.clipped += int((fresh & (own.flags == 0)).sum())
            self._ms.write_flags(own, fresh, flagsets)
