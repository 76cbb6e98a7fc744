"""Polarisation leakage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq

from .base import Band, Param, Term


class Leakage(Term):
    """[[1, xy], [yx, 1]]: what of y is seen by x, and of x by y (of L by R, and of R by L), per antenna.

    An unpolarised model leaves xy + c, yx - conj(c) free to first order: there xy of the reference antenna stays 0.
    The start is 0: leakages are small, and the first Gauss-Newton step is the linear least squares of cross over parallel hands.
    """

    name = "D"
    params = {"xy": Param(0j, pinned=True), "yx": Param(0j)}
    diagonal = False

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        made: Definition = Meq.Matrix22(1, p["xy"], p["yx"], 1)
        return made

    def turned(self, values: Mapping[str, np.ndarray], x: complex, y: complex) -> Mapping[str, np.ndarray]:
        return {what: values[what] * factor for what, factor in (("xy", x / y), ("yx", y / x)) if what in values}

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        return {"xy": jones[..., 0, 1], "yx": jones[..., 1, 0]}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        zero = np.zeros_like(p["xy"])
        return np.stack([zero, p["xy"], p["yx"], zero], -1).reshape(*zero.shape, 2, 2)
