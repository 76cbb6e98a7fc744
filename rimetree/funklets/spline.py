"""B-splines in time and frequency (de Boor, A Practical Guide to Splines, chapter X)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from .base import At, Funklet, Limits, count, outer, shaped, summed

Breaks = int | tuple[float, ...] | None


@dataclass(frozen=True)
class Spline(Funklet):
    """A B-spline in time, in frequency, or the product of both: `sum c[i][j] B_i(time) B_j(freq)`, smooth up to derivative degree - 1.

    `time` and `freq` are the number of pieces, equally long over each solution interval, or their ends in s and Hz (the first and
    the last included; these must span the data, and solutions hold for all of that axis); None: constant along it. n pieces have
    n + degree coefficients, at whose `places` the curve is near them. A starting value that is a number holds everywhere.
    """

    time: Breaks = None
    freq: Breaks = None
    degree: int = 3
    kind: ClassVar[str] = "spline"
    linear: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("time", "freq"):
            object.__setattr__(self, name, _breaks(name, getattr(self, name)))
        if self.time is None and self.freq is None:
            raise ConfigError(
                "a spline needs pieces in time or in frequency: Spline(time=8), or their ends in s and Hz"
            )
        if count("the degree of a spline", self.degree, 0) is None:
            raise ConfigError("a spline needs a degree")

    @property
    def shape(self) -> tuple[int, int]:
        """Coefficients in time and in frequency."""
        return _count(self.time, self.degree), _count(self.freq, self.degree)

    def starting(self, value: Any) -> Any:
        """A number is the value everywhere."""
        return shaped(value, self.shape, fill=True)

    def axes(self, shape: tuple[int, ...]) -> frozenset[str]:
        """Those with pieces."""
        return frozenset(n for n, k in zip(("time", "freq"), shape, strict=True) if k > 1)

    def prepare(self, shape: tuple[int, ...], at: At) -> tuple[Any, ...]:
        """B_i B_j."""
        xs = _spread(self.shape[0], *self._along("time", at))
        return outer(xs, _spread(self.shape[1], *self._along("freq", at)))

    def local(self, shape: tuple[int, ...], at: At) -> tuple[np.ndarray, np.ndarray]:
        """Those of the pieces in which cells are: degree + 1 along each axis."""
        (i, xs), (j, ys) = (self._along(axis, at) for axis in ("time", "freq"))
        which = [(i + r) * self.shape[1] + j + s for r in range(len(xs)) for s in range(len(ys))]
        return np.stack(which, -1), np.stack(outer(xs, ys), -1)

    def _along(self, axis: str, at: At) -> tuple[Any, Sequence[Any]]:
        """The functions of one axis that are not 0, and the number of the first."""
        breaks: Breaks = getattr(self, axis)
        if breaks is None:
            return 0, [1.0]
        centres, (low, high) = getattr(at, axis), getattr(at, f"{axis}_limits")
        if isinstance(breaks, int):
            return local(np.arange(breaks + 1.0), self.degree, (centres - low) / (high - low) * breaks)
        return local(np.array(breaks), self.degree, centres)

    def combine(self, shape: tuple[int, ...], coefs: Sequence[Any], prepared: Sequence[Any]) -> Any:
        """The sum."""
        return summed(coefs, prepared)

    def gap(self, time: Limits, freq: Limits) -> str:
        """Data outside the first and last end of a piece."""
        for axis, breaks, (low, high), unit in (("time", self.time, time, "s"), ("frequency", self.freq, freq, "Hz")):
            if isinstance(breaks, tuple) and (low < breaks[0] or high > breaks[-1]):
                ends = f"{breaks[0]:.12g} to {breaks[-1]:.12g} {unit}"
                return f"its spline goes from {ends} in {axis}, and the cells from {low:.12g} to {high:.12g} {unit}"
        return ""

    def whole(self) -> frozenset[str]:
        """Axes whose pieces have ends in s or Hz."""
        return frozenset(n for n, b in (("time", self.time), ("freq", self.freq)) if isinstance(b, tuple))


def _breaks(name: str, given: Any) -> Breaks:
    if given is None or np.ndim(given) == 0:
        return count(f"the pieces of a spline in {name}", given, 1)
    ends = np.asarray(given, float)
    if ends.ndim != 1 or ends.size < 2 or not np.isfinite(ends).all() or not (np.diff(ends) > 0).all():
        raise ConfigError(
            f"the ends of the pieces of a spline in {name} must be two or more rising numbers, not {given!r}"
        )
    return tuple(ends.tolist())


def _count(breaks: Breaks, degree: int) -> int:
    if breaks is None:
        return 1
    return (breaks if isinstance(breaks, int) else len(breaks) - 1) + degree


def basis(breaks: np.ndarray, degree: int, points: np.ndarray) -> list[np.ndarray]:
    """B-splines with these ends of pieces, the first and last knot repeated, at `points`; the last pieces go on outside."""
    return _spread(len(breaks) - 1 + degree, *local(breaks, degree, points))


def _spread(count: int, first: Any, functions: Sequence[Any]) -> list[Any]:
    """`count` functions of which all are 0 but those from `first` on."""
    if count == len(functions) and not np.any(first):
        return list(functions)
    places = np.arange(count).reshape(-1, *[1] * np.ndim(first))
    return list(np.sum([np.where(first + r == places, b, 0.0) for r, b in enumerate(functions)], 0))


def local(breaks: np.ndarray, degree: int, points: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The B-splines that are not 0 at each of `points`, degree + 1, and the number of the first."""
    pieces = len(breaks) - 1
    knots = np.concatenate([np.repeat(breaks[0], degree), breaks, np.repeat(breaks[-1], degree)])
    piece = np.searchsorted(breaks, points, side="right").clip(1, pieces) - 1
    at = piece + degree
    found = [np.ones(points.shape)]
    for k in range(1, degree + 1):  # the Cox-de Boor recurrence over the k + 1 functions that are not 0 in a piece
        higher = [np.zeros(points.shape) for _ in range(k + 1)]
        for r in range(k):
            left, right = knots[at + r + 1 - k], knots[at + r + 1]
            part = found[r] / (right - left)
            higher[r] = higher[r] + (right - points) * part
            higher[r + 1] = (points - left) * part
        found = higher
    return piece, found
