"""Cells: a grid of named axes, time and frequency first, each with centres and widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ConfigError


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """One axis: cell centres (n,) and widths (n,), in SI units (seconds, Hz, radians...)."""

    name: str
    centres: np.ndarray
    widths: np.ndarray

    @property
    def limits(self) -> tuple[float, float]:
        """Lower end of the lowest cell and upper end of the highest."""
        return float((self.centres - self.widths / 2).min()), float((self.centres + self.widths / 2).max())

    @classmethod
    def of(cls, name: str, spec: Any) -> Axis:
        """From `(start, stop, number of cells)` or from a rising or falling sequence of centres."""
        if isinstance(spec, tuple) and len(spec) == 3 and isinstance(spec[2], (int, np.integer)):
            start, stop, count = float(spec[0]), float(spec[1]), int(spec[2])
            if count < 1 or not stop > start:
                raise ConfigError(
                    f"axis {name!r}: expected (start, stop, number of cells) with stop > start, got {spec}"
                )
            width = (stop - start) / count
            return cls(name, start + width * (np.arange(count) + 0.5), np.full(count, width))
        try:
            centres = np.atleast_1d(np.asarray(spec, float))
        except (TypeError, ValueError):
            centres = np.zeros(0)
        if centres.ndim != 1 or not centres.size or not np.all(np.isfinite(centres)):
            raise ConfigError(f"axis {name!r}: expected (start, stop, number) or a 1-D array of finite cell centres")
        steps = np.diff(centres)
        if not (np.all(steps > 0) or np.all(steps < 0)):
            raise ConfigError(f"axis {name!r}: the cell centres must differ and go in one direction")
        widths = np.gradient(centres) if centres.size > 1 else np.ones(1)
        return cls(name, centres, np.abs(widths))


class Cells:
    """A grid of cells on named axes.

    `Cells(time=(0, 4, 4), freq=array, l=...)`: each axis is `(start, stop, number of cells)` or an array of centres. An axis
    that is not given has one cell, centred on 0 (frequency: 1 Hz would be a guess, so 0 too).

    Raises `ConfigError` where an axis is malformed.
    """

    __slots__ = ("axes",)

    def __init__(self, time: Any = None, freq: Any = None, **others: Any) -> None:
        given: Mapping[str, Any] = {"time": time, "freq": freq, **others}
        zero = np.zeros(1)
        self.axes = {k: Axis.of(k, zero if v is None else v) for k, v in given.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per axis, in the order of the axes."""
        return tuple(axis.centres.size for axis in self.axes.values())

    @property
    def names(self) -> Sequence[str]:
        """Names of the axes; "time" and "freq" come first."""
        return tuple(self.axes)

    @property
    def time(self) -> np.ndarray:
        """Centres along time (s)."""
        return self.axes["time"].centres

    @property
    def freq(self) -> np.ndarray:
        """Centres along frequency (Hz)."""
        return self.axes["freq"].centres

    def coordinates(self) -> dict[str, np.ndarray]:
        """Centres of each axis, shaped to broadcast over the grid."""
        rank = len(self.axes)
        return {
            name: axis.centres.reshape([-1 if i == k else 1 for k in range(rank)])
            for i, (name, axis) in enumerate(self.axes.items())
        }

    def __repr__(self) -> str:
        return f"Cells({', '.join(f'{name}: {axis.centres.size}' for name, axis in self.axes.items())})"
