"""Measurement Sets in and out: selection, tiles, columns, simulation. Casacore is loaded when first used."""

from __future__ import annotations

from .ms import MeasurementSet
from .slots import Group
from .tile import Tile

__all__ = ["Group", "MeasurementSet", "Tile"]
