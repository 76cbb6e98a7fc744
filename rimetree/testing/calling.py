"""Calling the function of one node class on arrays, without a forest, as the engine calls it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.node import Family, NodeClass
from ..plan.apply import apply
from ..plan.xla import jnp
from ..ring import NUMBERS, Plane, Tensor

Grid = Mapping[str, np.ndarray]
"""Centres of the cells by axis, each shaped to broadcast over the grid."""


def call_node(cls: type[NodeClass], *children: Any, coordinates: Grid | None = None, **options: Any) -> np.ndarray:
    """The value of a node of this class, shape dims + (member, time, freq).

    Each child is a number (known when compiling) or an array of shape dims + (member, time, freq), extents 1 where it
    does not vary. `coordinates` maps "time" and "freq" to arrays that broadcast against (time, freq).
    """
    grid = coordinates or {"time": np.zeros((1, 1)), "freq": np.ones((1, 1))}
    return np.asarray(stacked(apply_class(cls, [tensor(c, len(grid)) for c in children], options, grid), len(grid)))


def apply_class(cls: type[NodeClass], kids: Sequence[Tensor], options: Mapping[str, Any], grid: Grid) -> Tensor:
    """The class applied to Tensors, with all its options; per-member ones become arrays, as in the engine."""
    given = cls.normalise(defaults(cls) | dict(options))
    members = {
        name: np.reshape(given.pop(name), (1,) * (1 + len(grid)))
        for name, option in cls.options.items()
        if option.per_member and isinstance(given[name], (int, float))
    }
    return apply(Family(0, cls, given, (), 1), kids, members, grid)


def defaults(cls: type[NodeClass]) -> dict[str, Any]:
    """The options of a class where none are given."""
    return {name: option.default for name, option in cls.options.items()}


def tensor(value: Any, rank: int) -> Tensor:
    """A number, or an array dims + (member, grid...) whose grid has `rank` axes, as a Tensor."""
    if isinstance(value, NUMBERS):
        return Tensor.scalar(value)
    dims = value.shape[: value.ndim - rank - 1]
    flat = value.reshape(-1, *value.shape[len(dims) :])
    return Tensor(dims, tuple(Plane(element) for element in flat))


def stacked(value: Tensor, rank: int) -> Any:
    """A Tensor as one JAX array, dims + (member, grid...)."""
    arrays = [e.array if isinstance(e, Plane) else jnp.full((1,) * (rank + 1), e) for e in value.elements]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return jnp.stack([jnp.broadcast_to(a, shape) for a in arrays]).reshape(value.dims + shape)
