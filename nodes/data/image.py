"""A FITS image on a grid of directions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rimetree.errors import RimetreeError
from rimetree.graph.node import Lookup, option
from rimetree.graph.registry import node
from rimetree.sky.image import Image, read_image

STOKES = "IQUV"


@node
class FITSImage(Lookup):
    """The brightness of a FITS image or cube on the axes freq, l and m of the grid, a scalar in Jy per pixel of the image.

    For Cells(freq=..., l=..., m=...), direction cosines about the image's reference position: bilinear between pixels, linear
    between the frequencies of a cube (the nearest beyond them), 0 outside the image. SIN projection, by astropy's WCS. For the
    visibilities of an image see SkyModel. (MeqTrees: FITSImage, FITSReader.)
    """

    axes: ClassVar[tuple[str, ...]] = ("freq", "l", "m")
    image = option(type=(str, Path), required=True, help="FITS file")
    stokes = option("I", choices=tuple(STOKES), help="which plane, where the file has several")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"image": options["image"] and str(options["image"])}

    @staticmethod
    def look_up(freq: np.ndarray, l: np.ndarray, m: np.ndarray, image: str, stokes: str) -> Any:
        try:
            found = _image(image, Path(image).stat().st_mtime_ns if Path(image).exists() else 0)
        except RimetreeError as error:
            raise ValueError(str(error)) from error
        planes = found.values.shape[1]
        if STOKES.index(stokes) >= planes:
            raise ValueError(f"{image}: has no Stokes {stokes}, only {STOKES[:planes]}")
        pixels = found.values[:, STOKES.index(stokes)]
        across, along = (_weights(a, b) for a, b in ((l, found.l), (m, found.m)))
        return np.einsum("ki,kyx,lx,my->ilm", found.frequency_weights(freq), pixels, across, along, optimize=True)


@lru_cache(4)
def _image(path: str, changed: int) -> Image:
    """The image, read again where the file has changed."""
    return read_image(path)


def _weights(where: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(points, pixels): linear interpolation between pixels, falling to 0 over one pixel outside."""
    step = abs(pixels[1] - pixels[0]) if pixels.size > 1 else 1.0
    weights: np.ndarray = np.maximum(1 - np.abs(where[:, None] - pixels) / step, 0)
    return weights
