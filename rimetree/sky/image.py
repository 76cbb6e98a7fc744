"""Model images and cubes from FITS files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .fits_file import COSINES, FitsFile, read_fits

AXES = ("FREQ", "STOKES", "DEC", "RA")
"""The axes of an Image, outermost first."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A brightness distribution: values (nfreq, nstokes, nm, nl) in Jy per pixel, Stokes I, then Q, U, V as far as there.

    freq (nfreq,) in Hz, ascending (0 where the file does not say); centre (ra, dec) in rad, where l = m = 0; l (nl,) and
    m (nm,) direction cosines of the pixels (SIN projection), evenly spaced.
    """

    values: np.ndarray
    freq: np.ndarray
    centre: np.ndarray
    l: np.ndarray
    m: np.ndarray

    def frequency_weights(self, freq: np.ndarray) -> np.ndarray:
        """(nfreq, nchan): linear interpolation between the frequencies of the image; beyond them, the nearest."""
        position = np.interp(freq, self.freq, np.arange(self.freq.size))
        weights: np.ndarray = np.clip(1 - np.abs(position - np.arange(self.freq.size)[:, None]), 0, 1)
        return weights


def read_image(path: str | PathLike[str]) -> Image:
    """Read a FITS image or cube with axes RA---SIN, DEC--SIN and, if need be, FREQ and STOKES, in any order.

    The unit is JY/PIXEL, or JY/BEAM with BMAJ and BMIN, which is divided by the beam's area. Blank pixels are 0. Raises
    DataError where the file cannot be read, has no such coordinates, is rotated, or has another unit.
    """
    file = read_fits(Path(path), "a FITS image")
    kinds = _kinds(file, Path(path))
    data = _arranged(file, kinds, Path(path))
    at = {kind: file.first[i] + file.step[i] * np.arange(file.values.shape[i]) for i, kind in enumerate(kinds)}
    freq = at.get("FREQ", np.zeros(1))
    rising = np.argsort(freq)
    values = np.ascontiguousarray(data[rising]) * _per_pixel(Path(path), file.header, at["RA"], at["DEC"])
    return Image(values, freq[rising], file.centre, at["RA"], at["DEC"])


def _kinds(file: FitsFile, source: Path) -> list[str]:
    """What each axis is, outermost first."""
    if not set(COSINES) <= set(file.types):
        found = ", ".join(filter(None, file.types[::-1])) or "none"
        raise DataError(f"{source}: expected the axes RA---SIN and DEC--SIN, found {found}")
    return [t.split("-")[0] for t in file.types]


def _arranged(file: FitsFile, kinds: list[str], source: Path) -> np.ndarray:
    """The data with axes (freq, stokes, m, l), blank pixels 0."""
    data = np.nan_to_num(np.asarray(file.values, float), posinf=0.0, neginf=0.0)
    others = [i for i, kind in enumerate(kinds) if kind not in AXES]
    if long := [kinds[i] for i in others if data.shape[i] > 1]:
        raise DataError(f"{source}: has an axis {long[0]}; cut out one plane of it")
    data = data.transpose([*others, *(kinds.index(kind) for kind in AXES if kind in kinds)])
    shape = iter(data.shape[len(others) :])
    return data.reshape([next(shape) if kind in kinds else 1 for kind in AXES])


def _per_pixel(source: Path, header: Any, l: np.ndarray, m: np.ndarray) -> float:
    """The factor from the file's unit to Jy per pixel."""
    unit = str(header.get("BUNIT", "JY/PIXEL")).upper().replace(" ", "")
    if unit in ("JY/PIXEL", "JY"):
        return 1.0
    if unit == "JY/BEAM" and header.get("BMAJ") and header.get("BMIN"):
        beam = math.pi / (4 * math.log(2)) * math.radians(header["BMAJ"]) * math.radians(header["BMIN"])
        return abs(float((l[1] - l[0]) * (m[1] - m[0]))) / beam
    raise DataError(f"{source}: its unit is {unit}; expected JY/PIXEL, or JY/BEAM with BMAJ and BMIN")
