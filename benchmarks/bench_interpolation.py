"""A FITS cube in a tree, at the pixels of a finer grid and at computed directions: FITSReader, and scipy's interpolators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from common import best, options, table, verdict
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates

import rimetree as rt
from rimetree import Meq


def cube(path: Path, size: int) -> np.ndarray:
    """8 x size x size random pixels on (freq, m, l), freq 0 to 7, l and m within 0.1 of 0."""
    values = np.random.default_rng(0).normal(size=(8, size, size))
    step, middle = 0.2 / (size - 1), (size + 1) / 2
    header = fits.Header({"CTYPE3": "FREQ", "CDELT3": 1.0, "CRPIX3": 1.0})
    for axis, name in ((1, "L"), (2, "M")):
        header.update({f"CTYPE{axis}": name, f"CDELT{axis}": step, f"CRPIX{axis}": middle})
    fits.writeto(path, values, header, overwrite=True)
    return values


def compare(title: str, forest: Any, cells: rt.Cells, values: np.ndarray, at: np.ndarray, times: int) -> None:
    """Times of the node `x`, and of scipy at the same places `at` (..., axis) in pixels."""
    regular = RegularGridInterpolator(tuple(np.arange(n) for n in values.shape), values)
    others: list[tuple[str, Callable[[], np.ndarray]]] = [
        ("scipy map_coordinates, order 1", lambda: map_coordinates(values, np.moveaxis(at, -1, 0), order=1)),
        ("scipy RegularGridInterpolator", lambda: regular(at)),
    ]
    ours = forest.evaluate("x", cells).values
    assert all(np.allclose(ours, other().reshape(ours.shape), atol=1e-8) for _, other in others)
    own = best(lambda: forest.evaluate("x", cells), times)
    rows = [("rimetree", 1e3 * own, 1.0, "")]
    for name, other in others:
        took = best(other, max(times // 3, 1))
        rows.append((name, 1e3 * took, own / took, verdict(own / took, 1.0)))
    table(title, ("", "ms", "rimetree / it", ""), rows)


def main() -> None:
    """Print the times and their ratios."""
    with options(__doc__ or "") as given:
        size, count, times = (32, 20, 2) if given.smoke else (512, 300, 9)
        path = given.folder / "cube.fits"
        values = cube(path, size)
        freq, side = np.linspace(0.1, 6.9, 16), np.linspace(-0.09, 0.09, count)
        pixel = (side + 0.1) / 0.2 * (size - 1)
        ns = rt.Scope()
        ns.x << Meq.FITSReader(path)
        places = np.stack(np.broadcast_arrays(freq[:, None, None], pixel, pixel[:, None]), -1)
        cells = rt.Cells(freq=freq, l=side, m=side)
        compare(f"16 x {count} x {count} cells of freq, l, m", ns.forest(), cells, values, places, times)

        ns, slots = rt.Scope(), np.arange(100 * count) * 1.0
        ns.x << Meq.CoordTransform(
            Meq.FITSReader(path), 0.09 * Meq.Cos(Meq.Time()), 0.09 * Meq.Sin(Meq.Time()), axes=("l", "m")
        )
        l, m = ((0.09 * f(slots[:, None]) + 0.1) / 0.2 * (size - 1) for f in (np.cos, np.sin))
        places = np.stack(np.broadcast_arrays(freq, m, l), -1)
        cells = rt.Cells(time=slots, freq=freq)
        compare(f"{len(slots)} slots x 16 channels, a moving direction", ns.forest(), cells, values, places, times)


if __name__ == "__main__":
    main()
