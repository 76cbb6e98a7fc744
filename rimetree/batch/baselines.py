"""Which baseline of the data a pair of antennas is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import nearest

if TYPE_CHECKING:
    from ..io.ms import MeasurementSet


class Baselines:
    """The baselines of the data, by the names of their antennas or their numbers in the ANTENNA table."""

    def __init__(self, antennas: Mapping[int, str], baselines: Sequence[tuple[str, str]]) -> None:
        self.count = len(baselines)
        self._numbers = {pair: i for i, pair in enumerate(baselines)}
        self._names = {str(number): name for number, name in antennas.items()}
        self.key = tuple(self._numbers), tuple(self._names.items())
        """Equal for equal baselines."""

    @classmethod
    def of(cls, ms: MeasurementSet) -> Baselines:
        """Those of a Measurement Set's selection."""
        return cls({antenna.id: antenna.name for antenna in ms.antenna_table}, ms.baselines)

    def find(self, p: Any, q: Any) -> int | None:
        """Number of the baseline p-q, in this order; None where the data do not have it."""
        named = self._names.get(str(p), ""), self._names.get(str(q), "")
        return self._numbers.get((str(p), str(q)), self._numbers.get(named))

    def missing(self, p: Any, q: Any) -> str:
        """What to tell the user about a pair that is not there."""
        text = f"baseline {p}-{q} is not in the data"
        if self.find(q, p) is not None:
            return f"{text}; it is stored as {q}-{p}: take Meq.ConjTranspose(Meq.Spigot({q!r}, {p!r}))"
        return text + (nearest(f"{p}-{q}", [f"{a}-{b}" for a, b in self._numbers]) or "; use pairs from ms.baselines")
