"""FITS files of anything on evenly spaced axes: beams over l, m and frequency, bandpasses, maps."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import DataError
from .fits_file import FitsFile, read_fits


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """`values` on `axes`, outermost first, whose coordinates are `first + step * pixel` in SI units; unknown values are NaN."""

    values: np.ndarray
    axes: tuple[str, ...]
    first: np.ndarray
    step: np.ndarray


def read_cube(path: str | PathLike[str]) -> Cube:
    """A FITS file whose axes are called by CTYPE: l and m (of L, M, RA---SIN, DEC--SIN), freq, time, or as it is called there.

    Axes of one pixel are left out. Raises DataError where the file cannot be read, is rotated or in another projection, has
    an axis without a name, or two of one name.
    """
    source = Path(path)
    file = read_fits(source, "a FITS cube")
    kept = [i for i, extent in enumerate(file.values.shape) if extent > 1]
    axes = tuple(file.axes[i] for i in kept)
    if not kept:
        raise DataError(f"{source}: has one pixel only; expected a cube")
    if fault := _fault(file, axes):
        raise DataError(f"{source}: {fault}")
    return Cube(file.values.squeeze(), axes, file.first[kept], file.step[kept])


def _fault(file: FitsFile, axes: tuple[str, ...]) -> str:
    """What is wrong with the axes."""
    for name in axes:
        if not name:
            return "has an axis without a name (CTYPE); expected L, M, FREQ, TIME or a name of one's own"
        if axes.count(name) > 1:
            return f"has two axes called {name}; rename one (CTYPE)"
    projected = [t for t, n in zip(file.types, file.axes, strict=True) if t[4:5] == "-" and n not in ("l", "m")]
    if projected:
        return f"has the axis {projected[0]}; expected RA---SIN and DEC--SIN, or L and M"
    return ""
