"""What every funklet can do: shape the coefficients, and be evaluated on cells of time and frequency."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError

Limits = tuple[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class At:
    """Cells to evaluate on: centres `time` (s) and `freq` (Hz), which broadcast, and the limits of their solution intervals.

    Time varies along the first half of the axes, frequency along the second: (T, 1) and (1, F), or (interval, slot, 1, 1) and
    (1, 1, interval, channel). Limits (low, high) broadcast against the centres.
    """

    time: np.ndarray
    freq: np.ndarray
    time_limits: Limits
    freq_limits: Limits

    @property
    def x(self) -> np.ndarray:
        """Time from -1 to 1 over the solution interval."""
        return scaled(self.time, self.time_limits)

    @property
    def y(self) -> np.ndarray:
        """Frequency from -1 to 1 over the solution interval."""
        return scaled(self.freq, self.freq_limits)


def scaled(centres: Any, limits: Limits) -> Any:
    """From -1 at the lower limit to 1 at the upper."""
    low, high = limits
    return (centres - (low + high) / 2) / ((high - low) / 2)


class Funklet(ABC):
    """A function of time, frequency and coefficients (i, j). Frozen, equal for equal settings, written to solution files as text."""

    kind: ClassVar[str]
    linear: ClassVar[bool]
    """Whether the value is a sum of coefficients times fixed functions, as `prepare` gives them."""

    @abstractmethod
    def starting(self, value: Any) -> Any:
        """The coefficients of a starting value, a number or (i, j). Raises ValueError where it does not fit."""

    @abstractmethod
    def axes(self, shape: tuple[int, ...]) -> frozenset[str]:
        """Along which of "time" and "freq" the value varies for coefficients of this shape (i, j)."""

    @abstractmethod
    def prepare(self, shape: tuple[int, ...], at: At) -> tuple[Any, ...]:
        """What evaluation needs to know of the cells, computed once: where linear, what each coefficient is multiplied with."""

    @abstractmethod
    def combine(self, shape: tuple[int, ...], coefs: Sequence[Any], prepared: Sequence[Any]) -> Any:
        """The value from coefficients, in the order of (i, j), as arrays that broadcast over the cells; traced by JAX or not."""

    def local(self, shape: tuple[int, ...], at: At) -> tuple[np.ndarray, np.ndarray]:
        """Where linear: numbers of coefficients that are not multiplied by 0 in each cell, and by what, (cells..., terms) each, which
        broadcast over the cells."""
        by = np.stack(np.broadcast_arrays(*self.prepare(shape, at)), -1)
        return np.broadcast_to(np.arange(by.shape[-1]), by.shape), by

    def bare(self) -> Funklet:
        """The same on Cells without data, where polynomials are in s and Hz as they stand."""
        return self

    def constant(self, shape: tuple[int, ...]) -> bool:
        """Whether the value is the only coefficient itself."""
        return False

    def is_complex(self, start: np.ndarray) -> bool:
        """Whether the value is complex for coefficients like these (i, j)."""
        return np.iscomplexobj(start)

    def gap(self, time: Limits, freq: Limits) -> str:
        """What is wrong with these limits of the data (s, Hz): the part on which the funklet says nothing; "" where there is none."""
        return ""

    def whole(self) -> frozenset[str]:
        """Axes along which the funklet says itself where it holds, so that one solution interval must span all."""
        return frozenset()


def summed(coefs: Sequence[Any], basis: Sequence[Any]) -> Any:
    """`combine` of linear funklets."""
    return sum(c * b for c, b in zip(coefs, basis, strict=True))


def outer(xs: Sequence[Any], ys: Sequence[Any]) -> tuple[Any, ...]:
    """Products of functions of time and of frequency, in the order of coefficients (i, j)."""
    return tuple(x * y for x in xs for y in ys)


def shaped(value: Any, shape: tuple[int, int] | None, fill: bool) -> Any:
    """A starting value as coefficients of `shape` (None: as given). A number is the first one, or all of them (`fill`)."""
    given = np.asarray(value)
    if given.ndim == 0:
        if shape in (None, (1, 1)):
            return value
        full = np.full(shape, given if fill else 0, np.result_type(given, float))
        full[0, 0] = given
        return full
    if given.ndim != 2:
        raise ValueError(f"coefficients are nested [time][freq] lists, e.g. [[1, 2]], not {value!r}")
    if shape is not None and given.shape != shape:
        wanted, had = (" x ".join(map(str, s)) for s in (shape, given.shape))
        raise ValueError(f"value must be a number or {wanted} coefficients [time][freq] for this funklet, not {had}")
    return value


def count(name: str, value: Any, least: int) -> int | None:
    """A number of something, at least `least`, or None. Raises ConfigError."""
    if value is None or (isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least):
        return None if value is None else int(value)
    raise ConfigError(f"{name} must be a whole number of at least {least}, or None, not {value!r}")
