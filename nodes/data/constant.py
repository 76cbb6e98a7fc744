"""Numbers in a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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

    Numbers among the children of a node become Constants by themselves. (MeqTrees: Constant.)
    """

    role = "constant"
    value = option(help="number, nested list or array, real or complex", per_member=True, required=True)

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        value = options["value"]
        return options if value is None else {**options, "value": numeric("value", value)}

    @classmethod
    def family_key(cls, options: Mapping[str, Any]) -> Any:
        """Dims, real or complex, and which elements are exactly 0 or 1."""
        value = options["value"]
        if isinstance(value, np.ndarray):
            special = np.where((value == 0) | (value == 1), value.real, -1).astype(np.int8)
            return value.shape, value.dtype.kind, special.tobytes()
        return (), isinstance(value, complex), value if value in (0, 1) else None
