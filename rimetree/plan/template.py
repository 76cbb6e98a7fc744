"""The shape of a family's value, and how it says that it cannot be computed."""

from __future__ import annotations

import numpy as np

from ..ring import Number

Template = tuple[tuple[int, ...], tuple[Number | None, ...]]
"""Tensor dims, and per element its compile-time number, or None where an array comes at run time."""


def open_template(dims: tuple[int, ...]) -> Template:
    """A template all of whose elements come at run time."""
    return dims, (None,) * int(np.prod(dims, dtype=int))


class NodeFailure(Exception):
    """A node's function refused its children: `family` says which, for the caller to name the node."""

    def __init__(self, family: int, message: str, member: int = 0) -> None:
        super().__init__(message)
        self.family, self.member = family, member
