"""Shapes, compile-time numbers and realness of every family, by abstract evaluation: nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph.node import Elementwise, Family, Function, Reducing
from .lower import Source
from .program import Program
from .template import Template

FEW = {"time": 2, "freq": 3}
"""Cells per axis on which shapes are found, where the number does not matter."""


def shapes(
    families: Mapping[int, Family],
    given: Mapping[int, Template],
    complex_families: frozenset[int],
    sizes: Mapping[str, int],
) -> tuple[dict[int, Template], dict[Source, bool]]:
    """Templates of all families that have a value, and which of their elements are real.

    `given`: templates of the Parm and data families, of which `complex_families` are complex. `sizes`: the axes of the
    grid, "time" and "freq" first, and their numbers of cells.
    """
    valued = [n for n, f in families.items() if f.cls.role not in ("solver", "sink", "sequence")]
    below = {n: f for n, f in families.items() if n in valued}
    program = Program(below, valued, given)
    gridded = {axis for f in below.values() if f.cls.role == "constant" for axis in f.own_axes}
    extents = {axis: size if axis in gridded else FEW.get(axis, 2) for axis, size in sizes.items()}
    coordinates = {
        name: np.ones([n if i == k else 1 for k in range(len(extents))]) for i, (name, n) in enumerate(extents.items())
    }
    types = {n: np.complex128 if n in complex_families else np.float64 for n in given if n in below}
    traced = _abstract(program, types, coordinates) if _needs_xla(below) else _concrete(program, types, coordinates)
    real: dict[Source, bool] = {}
    for number in valued:
        open_ = iter(traced[number])
        for e, value in enumerate(program.outputs[number][1]):
            real[number, e] = not np.iscomplexobj(value) if value is not None else next(open_).dtype.kind != "c"
    return {n: program.outputs[n] for n in valued}, real


def _needs_xla(families: Mapping[int, Family]) -> bool:
    """Whether a family is computed by functions of JAX's, and not only by + - * and conjugation."""
    return any(issubclass(f.cls, (Elementwise, Function, Reducing)) for f in families.values())


def _shape(coordinates: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    return np.broadcast_shapes(*(axis.shape for axis in coordinates.values()))


def _open(program: Program, number: int) -> int:
    return sum(e is None for e in program.templates[number][1])


def _abstract(program: Program, types: Mapping[int, Any], coordinates: Mapping[str, np.ndarray]) -> Any:
    """What the program would return, traced by JAX."""
    from .xla import jax

    arrays = {
        n: (jax.ShapeDtypeStruct((program.families[n].size, *_shape(coordinates)), dtype),) * _open(program, n)
        for n, dtype in types.items()
    }
    words = {n: (jax.ShapeDtypeStruct(a[0].shape, np.int32),) * len(a) for n, a in _flagged(program, arrays).items()}
    return jax.eval_shape(program._trace, program.inputs(coordinates, arrays, words))


def _flagged(program: Program, arrays: Mapping[int, Any]) -> dict[int, Any]:
    """Those of data whose flags some value depends on: it is then no number, whatever its children are."""
    data = (n for n in program.flagged if program.families[n].cls.role == "data")
    return {n: arrays[n] for n in data if arrays.get(n)}


def _concrete(program: Program, types: Mapping[int, Any], coordinates: Mapping[str, np.ndarray]) -> Any:
    """What the program would return for one member of each family, computed by numpy: no need to load JAX."""
    arrays = {n: (np.ones((1, *_shape(coordinates)), dtype),) * _open(program, n) for n, dtype in types.items()}
    inputs = program.inputs(coordinates, arrays)
    inputs["values"] = {n: tuple(a[:1] for a in values) for n, values in inputs["values"].items()}
    inputs["members"] = {n: {k: v[:1] for k, v in m.items()} for n, m in inputs["members"].items()}
    return program._trace(inputs)
