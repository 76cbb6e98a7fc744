"""`solver_backend` and `n_workers` of a configuration: which minimiser, on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..solve.outside import missing

OPTIONS: dict[str, dict[str, Any]] = {
    "rimetree": {},
    "ceres": {"algorithm": "ceres"},
    "scipy": {"algorithm": "scipy"},
    "jax": {"backend": "jax"},
}
"""Backend -> options of Meq.Solver."""


def solver_of(name: str) -> tuple[str, dict[str, Any], str]:
    """The backend that is used for one that is asked for, its options of Meq.Solver, and a line for the user, "" where none is due."""
    lack = missing(name)
    if lack:
        return "rimetree", {}, f"{lack.replace('algorithm=', 'solver_backend ')}; rimetree's own solver is used"
    if name == "rimetree":
        return name, {}, ""
    return name, OPTIONS[name], f"solver_backend {name}: for cross-checking, slow; leave it out for rimetree's own"


@contextmanager
def limited(workers: int) -> Iterator[None]:
    """On so many threads, 0 for all that there are."""
    import numba

    before = numba.get_num_threads()
    if workers:
        numba.set_num_threads(min(workers, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)
