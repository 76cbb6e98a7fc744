"""Model images and cubes from FITS files."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError

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
    from astropy.io import fits
    from astropy.wcs import WCS

    source = Path(path)
    try:
        with warnings.catch_warnings(), fits.open(source) as file:
            warnings.simplefilter("ignore")
            header, data = file[0].header, file[0].data
            wcs = WCS(header)
            data = np.nan_to_num(np.asarray(data, float), posinf=0.0, neginf=0.0)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{source}: cannot be read as a FITS image: {str(error).splitlines()[0]}") from error
    kinds = _kinds(source, wcs)
    data = _arranged(source, data, kinds)
    freq = _freq(header, kinds)
    rising = np.argsort(freq)
    l, m = (_cosines(source, wcs, wcs.wcs.lng, data.shape[3]), _cosines(source, wcs, wcs.wcs.lat, data.shape[2]))
    centre = np.deg2rad([wcs.wcs.crval[wcs.wcs.lng], wcs.wcs.crval[wcs.wcs.lat]])
    values = np.ascontiguousarray(data[rising]) * _per_pixel(source, header, l, m)
    return Image(values, freq[rising], centre, l, m)


def _kinds(source: Path, wcs: Any) -> list[str]:
    """What each FITS axis is, in FITS order."""
    types = [str(t) for t in wcs.wcs.ctype]
    if sorted(t for t in types if t.endswith("-SIN")) != ["DEC--SIN", "RA---SIN"]:
        raise DataError(
            f"{source}: expected the axes RA---SIN and DEC--SIN, found {', '.join(filter(None, types)) or 'none'}"
        )
    turned = wcs.wcs.get_pc()
    if not np.allclose(turned, np.eye(len(turned)), atol=1e-9):
        raise DataError(f"{source}: is rotated (PC or CD matrix); regrid it with north up")
    return [t.split("-")[0] for t in types]


def _arranged(source: Path, data: np.ndarray, kinds: list[str]) -> np.ndarray:
    """The data with axes (freq, stokes, m, l)."""
    places = {kind: data.ndim - 1 - i for i, kind in enumerate(kinds)}
    others = [places[kind] for kind in kinds if kind not in AXES]
    if any(data.shape[place] > 1 for place in others):
        raise DataError(f"{source}: has an axis {next(k for k in kinds if k not in AXES)}; cut out one plane of it")
    data = data.transpose([*others, *(places[kind] for kind in AXES if kind in places)])
    shape = iter(data.shape[len(others) :])
    return data.reshape([next(shape) if kind in places else 1 for kind in AXES])


def _freq(header: Any, kinds: list[str]) -> np.ndarray:
    if "FREQ" not in kinds:
        return np.zeros(1)
    i = kinds.index("FREQ") + 1
    count, value, pixel, step = (header.get(f"{key}{i}", zero) for key, zero in (("NAXIS", 1), ("CRVAL", 0.0),
                                 ("CRPIX", 1.0), ("CDELT", 1.0)))  # fmt: skip
    return np.asarray(value + step * (np.arange(count) + 1 - pixel), float)


def _cosines(source: Path, wcs: Any, axis: int, count: int) -> np.ndarray:
    step = np.deg2rad(wcs.wcs.cdelt[axis])
    cosines: np.ndarray = (np.arange(count) + 1 - wcs.wcs.crpix[axis]) * step
    if not step or np.abs(cosines).max() >= 1:
        raise DataError(f"{source}: its pixels go beyond the horizon (CDELT {wcs.wcs.cdelt[axis]} degrees)")
    return cosines


def _per_pixel(source: Path, header: Any, l: np.ndarray, m: np.ndarray) -> float:
    """The factor from the file's unit to Jy per pixel."""
    unit = str(header.get("BUNIT", "JY/PIXEL")).upper().replace(" ", "")
    if unit in ("JY/PIXEL", "JY"):
        return 1.0
    if unit == "JY/BEAM" and header.get("BMAJ") and header.get("BMIN"):
        beam = math.pi / (4 * math.log(2)) * math.radians(header["BMAJ"]) * math.radians(header["BMIN"])
        return abs(float((l[1] - l[0]) * (m[1] - m[0]))) / beam
    raise DataError(f"{source}: its unit is {unit}; expected JY/PIXEL, or JY/BEAM with BMAJ and BMIN")
