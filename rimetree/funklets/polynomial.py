"""Polynomials in time and frequency, or in time and the logarithm of frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from .base import At, Funklet, count, outer, shaped, summed


def powers(x: Any, number: int) -> list[Any]:
    """x**0 ... x**(number - 1), by repeated multiplication."""
    result: list[Any] = [1.0]
    for _ in range(number - 1):
        result.append(result[-1] * x)
    return result


class _Powers(Funklet):
    """What polynomials share, whatever their y is."""

    linear: ClassVar[bool] = True
    time: int | None
    freq: int | None

    def __post_init__(self) -> None:
        count("the degree in time", self.time, 0)
        count("the degree in frequency", self.freq, 0)

    def starting(self, value: Any) -> Any:
        """A number is the constant term."""
        given = self.time is not None or self.freq is not None
        return shaped(value, ((self.time or 0) + 1, (self.freq or 0) + 1) if given else None, fill=False)

    def axes(self, shape: tuple[int, ...]) -> frozenset[str]:
        """Those with more than one coefficient."""
        return frozenset(name for name, n in zip(("time", "freq"), shape, strict=True) if n > 1)

    def constant(self, shape: tuple[int, ...]) -> bool:
        """Of degree 0."""
        return shape == (1, 1)

    def combine(self, shape: tuple[int, ...], coefs: Sequence[Any], prepared: Sequence[Any]) -> Any:
        """The sum."""
        return summed(coefs, prepared)


@dataclass(frozen=True)
class Polynomial(_Powers):
    """`sum c[i][j] x^i y^j`; x and y are time and frequency from -1 to 1 over the solution interval, or in s and Hz (`si`).

    `time` and `freq` are its degrees; None: as many coefficients as the starting value has. (MeqTrees: polc.)
    """

    time: int | None = None
    freq: int | None = None
    si: bool = False
    kind: ClassVar[str] = "polynomial"

    def prepare(self, shape: tuple[int, ...], at: At) -> tuple[Any, ...]:
        """x^i y^j."""
        xs = powers(at.time if self.si else at.x, shape[0]) if shape[0] > 1 else [1.0]
        ys = powers(at.freq if self.si else at.y, shape[1]) if shape[1] > 1 else [1.0]
        return outer(xs, ys)

    def bare(self) -> Polynomial:
        """In s and Hz, as MeqTrees' polcs."""
        return replace(self, si=True)


@dataclass(frozen=True)
class LogPolynomial(_Powers):
    """`sum c[i][j] x^i y^j`, y = log10(freq / freq0), x time from -1 to 1 over the solution interval (`si`: in s).

    Without `freq0` (Hz), y is the logarithm of frequency from -1 to 1 over the interval: best determined by data. On Cells without
    data freq0 is 1 Hz then. `time` and `freq` are its degrees; None: as the starting value. (MeqTrees: polclog.)
    """

    time: int | None = None
    freq: int | None = None
    freq0: float | None = None
    si: bool = False
    kind: ClassVar[str] = "log-polynomial"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.freq0 is not None and not 0 < self.freq0 < float("inf"):
            raise ConfigError(f"freq0 must be a frequency in Hz above 0, not {self.freq0!r}")

    def prepare(self, shape: tuple[int, ...], at: At) -> tuple[Any, ...]:
        """x^i y^j."""
        xs = powers(at.time if self.si else at.x, shape[0]) if shape[0] > 1 else [1.0]
        return outer(xs, powers(self._log(at), shape[1]) if shape[1] > 1 else [1.0])

    def _log(self, at: At) -> np.ndarray:
        if self.freq0 is not None:
            return np.asarray(np.log10(at.freq / self.freq0))
        low, high = (np.log10(limit) for limit in at.freq_limits)
        return np.asarray((np.log10(at.freq) - (low + high) / 2) / ((high - low) / 2))

    def bare(self) -> LogPolynomial:
        """In s and relative to 1 Hz, as MeqTrees' polclogs."""
        return replace(self, si=True, freq0=self.freq0 or 1.0)

    def gap(self, time: tuple[Any, Any], freq: tuple[Any, Any]) -> str:
        """There is no logarithm of 0 Hz."""
        return (
            "" if freq[0] > 0 else f"it is a polynomial in log frequency, and frequencies here begin at {freq[0]:g} Hz"
        )
