"""FITS files: the numbers of their first image, and where its pixels are on each axis."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError

COSINES = {"RA---SIN": "l", "DEC--SIN": "m"}
"""Axes on the sky whose pixels are even in direction cosines, and the names of these."""


@dataclass(frozen=True, slots=True, eq=False)
class FitsFile:
    """`values`, and for each of its axes, in this order: CTYPE, the name of the axis of a grid, the coordinates of the pixels.

    Coordinates are `first + step * pixel` in SI units: Hz, s, rad; l and m of a SIN projection are direction cosines about
    `centre`, (ra, dec) in rad.
    """

    header: Any
    values: np.ndarray
    types: tuple[str, ...]
    axes: tuple[str, ...]
    first: np.ndarray
    step: np.ndarray
    centre: np.ndarray


def read_fits(path: Path, what: str) -> FitsFile:
    """The first image of a FITS file. Raises DataError, saying `what` was expected, where it is none or its axes are rotated."""
    from astropy.io import fits
    from astropy.wcs import WCS

    try:
        with warnings.catch_warnings(), fits.open(path) as file:
            warnings.simplefilter("ignore")
            images = [unit for unit in file if unit.is_image and unit.header.get("NAXIS", 0) > 0]
            if not images:
                raise ValueError("it has no image")
            header, values = images[0].header, np.asarray(images[0].data)
            wcs = WCS(header)
            matrix = np.atleast_2d(wcs.pixel_scale_matrix)
            units = np.array([unit.si.scale for unit in wcs.wcs.cunit])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as {what}: {str(error).strip().splitlines()[-1]}") from error
    types = [str(t) for t in wcs.wcs.ctype][: values.ndim]
    step, place, pixel = (np.asarray(x)[: values.ndim] for x in (np.diag(matrix), wcs.wcs.crval, wcs.wcs.crpix))
    if (np.abs(matrix - np.diag(np.diag(matrix))) > 1e-9 * np.abs(np.diag(matrix))[:, None]).any() or not step.all():
        raise DataError(f"{path}: is rotated (PC or CD matrix); regrid it with north up")
    on_sky = np.array([t in COSINES for t in types])
    step = step * units[: values.ndim]
    first = np.where(on_sky, 0.0, place * units[: values.ndim]) + (1 - pixel) * step
    names = [COSINES.get(t, t.lower()) for t in types]
    for name, a, d, n in zip(names, first, step, values.shape[::-1], strict=True):
        if name in ("l", "m") and max(abs(a), abs(a + d * (n - 1))) >= 1:
            raise DataError(
                f"{path}: its pixels go beyond the horizon, {name} = {a + d * (n - 1):.3g}: see CDELT and CUNIT"
            )
    centre = np.array([place[types.index(t)] * units[types.index(t)] for t in COSINES if t in types])
    return FitsFile(header, values, tuple(types[::-1]), tuple(names[::-1]), first[::-1], step[::-1], centre)
