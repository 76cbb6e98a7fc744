"""Ask a forest for the value of one node on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ForestError, Issue, RimetreeError
from ..graph.node import Family
from ..grid import Cells
from ..parms.funklet import coefficients, polynomial
from ..ring import Plane, Tensor
from .oracle import interpret
from .program import Program
from .subset import Subset, subset
from .template import NodeFailure, Template, open_template

if TYPE_CHECKING:
    from ..graph.forest import Forest


KEPT = 16
"""Compiled programs that a forest keeps, those used last: the same node on a grid of the same shape compiles once."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The value of a node on a grid.

    `values`: read-only array of shape dims + (ntime or 1, nfreq or 1, ...): axes along which nothing varies are collapsed.
    `flags`: int32, broadcastable to `values`: 0 is good. `dims`: tensor shape. `cells`: the grid. `planes`: the elements in
    row-major order, each with its own collapsed axes.
    """

    values: np.ndarray
    flags: np.ndarray
    dims: tuple[int, ...]
    cells: Cells
    planes: tuple[np.ndarray, ...]


def evaluate(forest: Forest, root: Any, cells: Cells, oracle: bool = False) -> Result:
    """The value of the node `root` (a name or a stub) on `cells`.

    `oracle=True` interprets node by node, slowly and obviously, instead of compiling families. Raises ForestError naming the node
    whose children do not fit, and RimetreeError for an unknown name.
    """
    if not isinstance(cells, Cells):
        raise RimetreeError(f"evaluate needs rt.Cells(time=..., freq=...), got {type(cells).__name__}")
    family, member = forest.find(str(root))
    try:
        if oracle:
            tensor = interpret(forest.families, family, member, cells)
        else:
            tensor = _compiled(forest, family, member, cells)
    except NodeFailure as failure:
        raise explained(forest, failure) from failure
    rank = len(cells.axes)
    planes = tuple(_plane(e, rank) for e in tensor.elements)
    shape = np.broadcast_shapes((1,) * rank, *(p.shape for p in planes))
    dtype = np.result_type(*planes) if planes else float
    if len(planes) == 1:
        values = planes[0]  # no copy
    else:
        values = np.empty((len(planes), *shape), dtype)
        for i, plane in enumerate(planes):
            values[i] = plane
        values.flags.writeable = False
    return Result(values.reshape(tensor.dims + shape), np.zeros((1,) * rank, np.int32), tensor.dims, cells, planes)


def explained(forest: Forest, failure: NodeFailure, sub: Subset | None = None) -> ForestError:
    """A failure of a family as an error that names its first node and the script line."""
    member = int(sub.members[failure.family][failure.member]) if sub else failure.member
    node = f"{forest.name_of(failure.family, member)} ({forest.families[failure.family].cls.__name__})"
    return ForestError([Issue(node, forest.where(failure.family, member), str(failure))])


def _compiled(forest: Forest, family: int, member: int, cells: Cells) -> Tensor:
    sizes = {name: axis.centres.size for name, axis in cells.axes.items()}
    key = (family, member, *sizes.items())
    program = forest.programs.pop(key, None)
    if program is None:
        sub = subset(forest.families, {family: np.array([member])})
        templates: dict[int, Template] = {n: open_template(()) for n, f in sub.families.items() if f.cls.role == "parm"}
        program = Program(sub.families, [family], templates, sizes)
    coordinates = cells.coordinates()
    given = {n: parm_planes(f, coordinates) for n, f in program.families.items() if f.cls.role == "parm"}
    value: Tensor = program(coordinates, given)[family]
    forest.programs[key] = program
    for oldest in list(forest.programs)[:-KEPT]:
        del forest.programs[oldest]
    return value


def parm_planes(family: Family, coordinates: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
    """Initial values of a Parm family: one array (n, grid...), polynomials in absolute time and frequency."""
    return (polynomial(coefficients(family), coordinates["time"], coordinates["freq"]),)


def _plane(element: Any, rank: int) -> np.ndarray:
    if isinstance(element, Plane):
        array = np.asarray(element.array)
        return array.reshape(array.shape[1:]) if array.ndim == rank + 1 else array
    return np.asarray(element).reshape((1,) * rank)
