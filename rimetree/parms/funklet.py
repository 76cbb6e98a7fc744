"""Coefficients of Parm families, and what they mean."""

from __future__ import annotations

import numpy as np

from ..funklets import Funklet, funklet
from ..graph.node import Family


def coefficients(family: Family) -> np.ndarray:
    """Initial coefficients of a Parm family, (n, i, j), float64 or complex128, of the function that `funklet_of` gives."""
    values = np.asarray(list(family.members["value"]))
    values = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
    return values.reshape(values.shape + (1,) * (3 - values.ndim))


def funklet_of(family: Family) -> Funklet:
    """The function of time, frequency and coefficients that a Parm family is."""
    return funklet(family.options.get("funklet"))


def varying(family: Family) -> frozenset[str]:
    """Axes along which a Parm family varies within a solution interval."""
    return funklet_of(family).axes(coefficients(family).shape[1:])


def is_complex(family: Family) -> bool:
    """Whether the values of a Parm family are complex."""
    return funklet_of(family).is_complex(coefficients(family)[0])


def matching(family: Family, word: str) -> np.ndarray:
    """(members,) which of a Parm family have `word` as tag, name, or name without qualifiers."""
    if word in family.options.get("tags", ()):
        return np.ones(family.size, bool)
    return np.array([word in (name, str(name).split(":")[0]) for name in family.members["name"]])
