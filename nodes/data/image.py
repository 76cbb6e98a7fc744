"""A FITS image on a grid of directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rimetree.errors import DataError
from rimetree.graph import kinds
from rimetree.graph.node import Function, option
from rimetree.graph.registry import node
from rimetree.nodes.data.interpolation import Pixels, held, interpolated
from rimetree.nodes.tensor.shapes import Examples
from rimetree.ring import Plane, Tensor
from rimetree.sky.image import read_image

STOKES = "IQUV"


@node
class FITSImage(Function):
    """The brightness of a FITS image or cube on the axes freq, l and m of the grid, a scalar in Jy per pixel of the image.

    For Cells(freq=..., l=..., m=...), direction cosines about the image's reference position, or, in a CoordTransform, wherever
    that says: bilinear between pixels, linear between the frequencies of a cube (the nearest beyond them), 0 outside the image.
    SIN projection, by astropy's WCS. For the visibilities of an image see SkyModel, for other files FITSReader. (MeqTrees: FITSImage.)
    """

    coordinates = ("freq", "l", "m")
    real = True
    numpy = False
    image = option(type=kinds.PATH, required=True, example="image.fits", help="FITS file")
    stokes = option("I", choices=tuple(STOKES), help="which plane, where the file has several")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"image": options["image"] and str(options["image"])}

    @classmethod
    def reads(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return held(options["image"], _pixels, options["stokes"])

    @staticmethod
    def example() -> Examples:
        return []  # it needs a file

    @staticmethod
    def compute(freq: Any, l: Any, m: Any, image: str, stokes: str, **pixels: Any) -> Tensor:
        return Tensor.scalar(Plane(interpolated(at=(freq, m, l), beyond=("nearest", "zero", "zero"), **pixels)))


def _pixels(path: str, stokes: str) -> Pixels:
    """One Stokes plane (freq, m, l). Raises DataError."""
    found = read_image(path)
    planes = found.values.shape[1]
    if STOKES.index(stokes) >= planes:
        raise DataError(f"{path}: has no Stokes {stokes}, only {STOKES[:planes]}")
    axes = found.freq, found.m, found.l
    return Pixels(
        found.values[:, STOKES.index(stokes)].copy(),
        [a[0] for a in axes],
        [a[1] - a[0] if a.size > 1 else 1.0 for a in axes],
    )
