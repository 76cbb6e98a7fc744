"""The numbers of a FITS file in a tree: beams, bandpasses, maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.errors import DataError, RimetreeError
from rimetree.graph import kinds
from rimetree.graph.node import Function, option
from rimetree.graph.registry import node
from rimetree.nodes.data.interpolation import BEYOND, Pixels, held, interpolated
from rimetree.nodes.tensor.shapes import Examples
from rimetree.ring import Plane, Tensor
from rimetree.sky.cube import read_cube


@node
class FITSReader(Function):
    """The numbers of a FITS file on the axes of the grid, a real scalar in the unit of the file: a beam over l, m and freq.

    Each axis is that of the grid which its CTYPE names: L and M (or RA---SIN and DEC--SIN, as direction cosines about the
    reference position) are l and m in rad, FREQ is freq in Hz, TIME is time in s, others are called as there, in small
    letters; `axes` calls them otherwise. Axes of one pixel are left out. A CoordTransform evaluates it elsewhere, such as a
    beam at a source with an unknown pointing error, with exact derivatives; one over STOKES at 2 picks that plane.

    Linear between pixels, or `smooth`: cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153), whose slopes are continuous, for
    coordinates that are solved for. Where a pixel that is needed is NaN, the value is; what is NaN counts as flagged: it enters no
    solution. Complex beams are two files, `Meq.ToComplex(real, imaginary)`. (MeqTrees: FITSReader.)
    """

    real = True
    numpy = False
    file = option(type=kinds.PATH, required=True, example="image.fits", help="FITS file; its first image is read")
    axes = option(
        None, type=kinds.NAMES, help='names of its axes in the order of FITS (NAXIS1 first), as ("l", "m", "freq")'
    )
    beyond = option("nan", choices=BEYOND, help="what lies beyond the outermost pixels: NaN, 0 or their values")
    smooth = option(False, type=bool, help="cubic, not linear, between pixels")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        if not options["file"]:
            return options
        file, own = str(options["file"]), _axes(str(options["file"]))
        if options["axes"] is None:
            return options | {"file": file, "axes": own}
        axes = (options["axes"],) if isinstance(options["axes"], str) else tuple(options["axes"])
        if len(axes) != len(own) or len(set(axes)) < len(axes):
            raise ValueError(
                f"{file} has {len(own)} axes, {', '.join(own)}: axes must be as many different names, not {axes}"
            )
        return options | {"file": file, "axes": axes}

    @classmethod
    def axes_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of the file."""
        return tuple(options["axes"])

    @classmethod
    def reads(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        found = held(options["file"], _pixels)
        if found["pixels"].ndim != len(options["axes"]):
            raise ValueError(
                f"{options['file']}: has {found['pixels'].ndim} axes now, and had {len(options['axes'])} before"
            )
        return found

    @staticmethod
    def example() -> Examples:
        return []  # it needs a file

    @staticmethod
    def compute(*at: Any, file: str, axes: tuple[str, ...], beyond: str, smooth: bool, **pixels: Any) -> Tensor:
        return Tensor.scalar(Plane(interpolated(at=at[::-1], beyond=(beyond,) * len(at), smooth=smooth, **pixels)))


def _pixels(path: str) -> Pixels:
    """All numbers, in the precision of the file. Raises DataError."""
    cube = read_cube(path)
    single = cube.values.dtype.itemsize <= 4 and cube.values.dtype.kind == "f"
    pixels = cube.values.astype(np.float32 if single else np.float64)
    if not np.isfinite(pixels).any():
        raise DataError(f"{path}: all its pixels are blank")
    return Pixels(pixels, cube.first, cube.step)


def _axes(path: str) -> tuple[str, ...]:
    """Names of the axes in the order of FITS. Raises ValueError."""
    try:
        return read_cube(path).axes[::-1]
    except RimetreeError as error:
        raise ValueError(str(error)) from error
