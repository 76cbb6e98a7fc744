"""`solver_backend` and `n_workers` of a configuration: which minimiser, on how many threads."""

from __future__ import annotations

from typing import Any

from ..solve.single.outside import PACKAGES, missing


def solver_of(name: str) -> tuple[str, dict[str, Any], str]:
    """The backend that is used for one that is asked for, what it adds to the options of Meq.Solver, and a line for the user.

    ceres and scipy minimise in their own way, on normal equations of ours; jax makes the normal equations. A package that is not
    there is not missed: the line then says that our own solver works.
    """
    lack = missing(name)
    if lack:
        return "rimetree", {}, f"{lack.replace('algorithm=', 'solver_backend ')}; rimetree's own solver is used"
    if name in PACKAGES:
        return (
            name,
            {"algorithm": name},
            f"solver_backend {name}: for cross-checking, slow; leave it out for rimetree's own",
        )
    return name, {}, ""
