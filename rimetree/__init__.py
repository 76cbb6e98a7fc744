"""rimetree: write any measurement equation of an interferometer as a tree, solve for any of its parameters, fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import blas as blas
from . import funklets
from .errors import ConfigError, DataError, ForestError, RimetreeError, SolveError
from .graph.node import child, option
from .graph.registry import Meq, node
from .graph.scope import Scope
from .grid import Cells

if TYPE_CHECKING:
    from .io.ms import MeasurementSet as MeasurementSet
    from .io.sets import MeasurementSets as MeasurementSets
    from .io.simulate import simulate as simulate
    from .io.solutions import Solutions as Solutions
    from .sky.model import SkyModel as SkyModel
    from .sky.read import read_sky as read_sky

__all__ = [
    "Cells",
    "ConfigError",
    "DataError",
    "ForestError",
    "MeasurementSet",
    "MeasurementSets",
    "Meq",
    "RimetreeError",
    "Scope",
    "SkyModel",
    "Solutions",
    "SolveError",
    "child",
    "funklets",
    "node",
    "option",
    "read_sky",
    "simulate",
]

_LAZY = {
    "MeasurementSet": "io.ms",
    "MeasurementSets": "io.sets",
    "SkyModel": "sky.model",
    "Solutions": "io.solutions",
    "read_sky": "sky.read",
    "simulate": "io.simulate",
}
"""Names whose modules need casacore or h5py: imported when first used, so that `import rimetree` is quick."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rimetree' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
