"""Ask a forest for the value of one node on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ForestError, Issue, RimetreeError
from ..funklets import on_cells
from ..graph.node import Family
from ..grid import Cells
from ..parms.funklet import coefficients, funklet_of
from ..ring import Plane, Tensor
from .apply import blaming
from .flags import as_tensor
from .host import take
from .oracle import interpret
from .program import FlagProgram, Program
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
    `flags`: int32 words, 0 is good, of a shape that broadcasts to that of `values` along the grid: dims + (ntime or 1, ...), or the
    grid's axes alone where nothing is flagged. `dims`: tensor shape. `cells`: the grid. `planes`: the elements in
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
            tensor, bits = interpret(forest.families, family, member, cells)
            flags = as_tensor(bits)
        else:
            tensor = _compiled(forest, family, member, cells)
            flags = _flags(forest, family, member, cells)
    except NodeFailure as failure:
        raise explained(forest, failure) from failure
    rank = len(cells.axes)
    planes = tuple(_plane(e, rank) for e in tensor.elements)
    for f in forest.families:
        for trouble in take(f):
            raise explained(forest, NodeFailure(f.number, trouble))
    shape = np.broadcast_shapes((1,) * rank, *(p.shape for p in planes))
    dtype = np.result_type(*planes) if planes else float
    if len(planes) == 1:
        values = planes[0]  # no copy
    else:
        values = np.empty((len(planes), *shape), dtype)
        for i, plane in enumerate(planes):
            values[i] = plane
        values.flags.writeable = False
    words = _words(flags, rank)
    return Result(values.reshape(tensor.dims + shape), words, tensor.dims, cells, planes)


def explained(forest: Forest, failure: NodeFailure, sub: Subset | None = None) -> ForestError:
    """A failure of a family as an error that names its first node and the script line."""
    member = int(sub.members[failure.family][failure.member]) if sub else failure.member
    node = f"{forest.name_of(failure.family, member)} ({forest.class_of(failure.family, member)})"
    return ForestError([Issue(node, forest.where(failure.family, member), str(failure))])


def _words(flags: Tensor, rank: int) -> np.ndarray:
    """Flags as one array, dims + grid; without dims where nothing is flagged."""
    planes = [_plane(e, rank) for e in flags.elements]
    shape = np.broadcast_shapes((1,) * rank, *(p.shape for p in planes))
    if not any(p.any() for p in planes):
        return np.zeros((1,) * rank, np.int32)
    return np.stack([np.broadcast_to(p, shape) for p in planes]).astype(np.int32).reshape(flags.dims + shape)


def _flags(forest: Forest, family: int, member: int, cells: Cells) -> Tensor:
    """The flags of a node; worked out only where some class of the forest makes any."""
    if not any(f.cls.flag_rule for f in forest.families):
        return Tensor.scalar(0)
    return _compiled(forest, family, member, cells, FlagProgram)


def _compiled(forest: Forest, family: int, member: int, cells: Cells, make: type[Program] = Program) -> Tensor:
    sizes = {name: axis.centres.size for name, axis in cells.axes.items()}
    key = (make, family, member, *sizes.items())
    program = forest.programs.pop(key, None)
    if program is None:
        sub = subset(forest.families, {family: np.array([member])})
        templates: dict[int, Template] = {n: open_template(()) for n, f in sub.families.items() if f.cls.role == "parm"}
        program = make(sub.families, [family], templates, sizes)
    coordinates = cells.coordinates()
    given = {n: (parm_plane(n, f, cells),) for n, f in program.families.items() if f.cls.role == "parm"}
    value: Tensor = program(coordinates, given)[family]
    forest.programs[key] = program
    for oldest in list(forest.programs)[:-KEPT]:
        del forest.programs[oldest]
    return value


def parm_plane(number: int, family: Family, cells: Cells) -> np.ndarray:
    """Initial values of a Parm family, (n, grid...), polynomials in absolute time and frequency.

    NodeFailure where the funklet says nothing about some cells, or its function fails.
    """
    shape = funklet_of(family).bare()
    time, freq = (cells.axes[name].limits for name in ("time", "freq"))
    if text := shape.gap(time, freq):
        raise NodeFailure(number, text)
    one = np.zeros(cells.time.size, int), np.zeros(cells.freq.size, int)
    coefs = coefficients(family)[..., None, None]
    with blaming(number, family.cls):
        value = on_cells(shape, coefs, cells.time, cells.freq, np.array([time]), np.array([freq]), one)
    return value.reshape(value.shape + (1,) * (len(cells.axes) - 2))


def _plane(element: Any, rank: int) -> np.ndarray:
    if isinstance(element, Plane):
        array = np.asarray(element.array)
        return array.reshape(array.shape[1:]) if array.ndim == rank + 1 else array
    return np.asarray(element).reshape((1,) * rank)
