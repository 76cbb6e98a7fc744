"""What is known of a parameter beforehand: how the options `bounds` and `prior` of a Parm are written."""

from __future__ import annotations

from typing import Any

import numpy as np

from rimetree.graph import kinds
from rimetree.nodes.data.constant import numeric

ENDS = kinds.numbers(finite=False, complex=False)
BOUNDS = kinds.read_by_class(kinds.each(*[(ENDS, None)] * 2, words="(lower, upper)"))
PRIOR = kinds.read_by_class(kinds.each(kinds.numbers(), ENDS, words="(mean, sigma)"))


def bounds(given: Any) -> tuple[Any, Any] | None:
    """(lower, upper), numbers or [time][freq] lists; None stands for no bound. Raises ValueError."""
    if given is None:
        return None
    lower, upper = _two("bounds", "(lower, upper), None where there is none", given)
    low = _real("the lower bound", -np.inf if lower is None else lower)
    high = _real("the upper bound", np.inf if upper is None else upper)
    if not np.all(np.less(low, high)):
        raise ValueError(f"bounds must be (lower, upper) with lower < upper, not {given!r}")
    return low, high


def prior(given: Any) -> tuple[Any, Any] | None:
    """(mean, sigma), numbers or [time][freq] lists; a sigma of infinity is no prior. Raises ValueError."""
    if given is None:
        return None
    mean, sigma = _two("prior", "(mean, standard deviation)", given)
    centre, width = numeric("the mean of the prior", mean), _real("the standard deviation of the prior", sigma)
    if not np.isfinite(centre).all():
        raise ValueError(f"the mean of the prior must be finite, not {mean!r}")
    if not np.all(np.greater(width, 0)):
        raise ValueError(f"the standard deviation of the prior must be positive, not {sigma!r}")
    return centre, width


def _two(name: str, words: str, given: Any) -> tuple[Any, Any]:
    pair = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{name} must be {words}, not {given!r}")
    return pair[0], pair[1]


def _real(name: str, given: Any) -> Any:
    value = numeric(name, given)
    if np.iscomplexobj(value) or np.isnan(value).any():
        raise ValueError(f"{name} must be real, not {given!r}")
    return value
