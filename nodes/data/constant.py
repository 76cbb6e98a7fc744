"""Numbers in a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, option
from rimetree.graph.registry import node


def numeric(name: str, value: Any) -> float | complex | np.ndarray:
    """A number as float or complex, a nested list or array as array of these. Raises ValueError where it is none."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a number or a nested list of numbers with equally long rows") from None
    if array.dtype.kind not in "biufc" or array.size == 0:
        raise ValueError(f"{name} must be a number or a nested list of numbers, not {value!r}")
    array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return array.item() if array.ndim == 0 else array


@node
class Constant(NodeClass):
    """A number, or a tensor of numbers given as nested list or array; any unit. Elements equal to 0 or 1 cost nothing.

    With `axes`, the last axes of the array run along these axes of the grid, one value per cell (or 1 for all):
    `Meq.Constant(bandpass, axes="freq")`, with bandpass of shape (nchan,), is a scalar that varies with frequency.
    Numbers among the children of a node become Constants by themselves. (MeqTrees: Constant, and its `vells`.)
    """

    role = "constant"
    value = option(
        type=kinds.numbers(finite=False),
        help="real or complex",
        per_member=True,
        required=True,
    )
    axes = option(
        (),
        type=kinds.either(kinds.NAME, kinds.items(kinds.NAME, distinct=True), words="different names of axes"),
        help='axes of the grid along which the array runs, as "freq" or ("time", "freq")',
    )

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        axes = (options["axes"],) if isinstance(options["axes"], str) else tuple(options["axes"])
        if options["value"] is None:
            return {**options, "axes": axes}
        value = numeric("value", options["value"])
        if np.ndim(value) < len(axes):
            raise ValueError(f"value has {np.ndim(value)} axes, fewer than axes={axes!r}")
        return {**options, "axes": axes, "value": value}

    @classmethod
    def family_key(cls, options: Mapping[str, Any]) -> Any:
        """Dims, real or complex, and which elements are exactly 0 or 1."""
        value = options["value"]
        if options["axes"]:
            return value.shape, value.dtype.kind
        if isinstance(value, np.ndarray):
            special = np.where((value == 0) | (value == 1), value.real, -1).astype(np.int8)
            return value.shape, value.dtype.kind, special.tobytes()
        return (), isinstance(value, complex), value if value in (0, 1) else None
