"""Shapes, compile-time numbers and realness of every family, by abstract evaluation: nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from ..graph.node import Family
from .lower import Source
from .program import Program
from .template import Template


def shapes(
    families: Mapping[int, Family], given: Mapping[int, Template], complex_families: frozenset[int]
) -> tuple[dict[int, Template], dict[Source, bool]]:
    """Templates of all families that have a value, and which of their elements are real.

    `given`: templates of the Parm and data families, of which `complex_families` are complex.
    """
    valued = [n for n, f in families.items() if f.cls.role not in ("solver", "sink", "sequence")]
    below = {n: f for n, f in families.items() if n in valued}
    program = Program(below, valued, given)
    coordinates = {"time": np.zeros((2, 1)), "freq": np.ones((1, 3))}
    arrays = {
        n: tuple(
            jax.ShapeDtypeStruct((families[n].size, 2, 3), np.complex128 if n in complex_families else np.float64)
            for e in template[1]
            if e is None
        )
        for n, template in given.items()
        if n in below
    }
    traced = jax.eval_shape(program._trace, program.inputs(coordinates, arrays))
    real: dict[Source, bool] = {}
    for number in valued:
        open_ = iter(traced[number])
        for e, value in enumerate(program.outputs[number][1]):
            real[number, e] = not np.iscomplexobj(value) if value is not None else next(open_).dtype.kind != "c"
    return {n: program.outputs[n] for n in valued}, real
