"""Rotations of the feeds against the sky."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph.definition import Definition

from ..guesses import Seen, fit_turns
from .base import Band, Param, Term, rotation


class Rotation(Term):
    """Rotation of the polarisation by an angle (rad) per antenna; circular feeds: diag(exp(i angle), exp(-i angle))."""

    name = "R"
    params = {"angle": Param(0.0, angle=True, unit="rad")}
    diagonal = False
    turns = True

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return rotation(p["angle"], band)

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        return {"angle": fit_turns(seen)}


class Parallactic(Term):
    """Rotation by minus the angle of the feed against the sky, known from the mount and the time: never solved for."""

    name = "P"
    params = {"angle": Param(0.0, angle=True, unit="rad")}
    diagonal = False
    solvable = False

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        return rotation(-p["angle"], band)
