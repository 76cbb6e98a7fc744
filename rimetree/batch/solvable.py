"""What each Solver of a forest fits: which members of which Parm families."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SolveError, nearest
from ..graph.node import Family
from ..parms.funklet import matching
from ..plan.subset import Subset, marks
from ..solve.reduce.backends import unavailable
from ..solve.single.outside import PACKAGES, missing
from .known import bounded, modulus, tied

if TYPE_CHECKING:
    from ..graph.forest import Forest


@dataclass(frozen=True, slots=True, eq=False)
class SolverNode:
    """One Solver: its name, its Condeqs (family -> members), and the Parms that it fits (family -> which members)."""

    name: str
    condeqs: Mapping[int, np.ndarray]
    parms: Mapping[int, np.ndarray]
    options: Mapping[str, Any]


def solver_nodes(forest: Forest, sub: Subset) -> list[SolverNode]:
    """The Solvers of a subset of a forest, in its order.

    Raises SolveError where a word of `solvable` matches no Parm, or one that no equation of these Solvers depends on.
    """
    fitted = {n: np.zeros(f.size, bool) for n, f in enumerate(forest.families) if f.cls.role == "parm"}
    solvers = [(n, m) for n, f in sub.families.items() if f.cls.role == "solver" for m in range(f.size)]
    nodes = [_solver(forest, sub, number, member, fitted) for number, member in solvers]
    for node in nodes:
        for word in node.options["solvable"]:
            for n, chosen in _matches(forest, node.name, word).items():
                if (chosen & ~fitted[n]).any():
                    name = forest.name_of(n, int(np.argmax(chosen & ~fitted[n])))
                    text = f"Parm {name} is solvable ({word!r}) but no equation depends on it; remove it or its tag"
                    raise SolveError(f"{node.name}: {text}")
    return nodes


def _solver(forest: Forest, sub: Subset, number: int, member: int, fitted: dict[int, np.ndarray]) -> SolverNode:
    """One Solver; adds to `fitted` what it fits."""
    family, whole = sub.families[number], int(sub.members[number][member])
    name = forest.name_of(number, whole)
    below = marks(forest.families, {number: np.array([whole])})
    parms: dict[int, np.ndarray] = {}
    for word in family.options["solvable"]:
        for n, chosen in _matches(forest, name, word).items():
            chosen = chosen & below.get(n, False)
            if chosen.any():
                fitted[n] |= chosen
                parms[n] = parms.get(n, False) | chosen[sub.members[n]]
    if not parms:
        words = " ".join(family.options["solvable"])
        raise SolveError(
            f"{name}: its equations depend on no Parm that matches solvable={words!r}; tag one, or name it"
        )
    _check_algorithm(name, family.options["algorithm"], [sub.families[n] for n in parms])
    _check_backend(name, family.options, [sub.families[n] for n in parms])
    _check_start(name, family.options, [sub.families[n] for n in parms])
    condeqs = {kid.family: np.unique(np.asarray(kid.index)[member]) for kid in family.kids}
    return SolverNode(name, condeqs, dict(sorted(parms.items())), family.options)


def _check_algorithm(solver: str, algorithm: str, parms: list[Family]) -> None:
    """Raises SolveError where an algorithm is not installed, or cannot keep the bounds of these Parms."""
    if missing(algorithm):
        raise SolveError(f"{solver}: {missing(algorithm)}")
    obstacle = ""
    if algorithm == "ceres" and any(map(bounded, parms)):
        obstacle = "crawls along bounds, which Parms have here; use 'lm' or 'scipy'"
    elif algorithm == "scipy" and any(map(modulus, parms)):
        obstacle = "knows no bounds of amplitudes, which complex Parms have here; use 'lm'"
    elif algorithm in ("newton", *PACKAGES) and any(map(tied, parms)):
        obstacle = "ties no solutions to their neighbours, as smooth= of Parms here asks for; use 'lm'"
    if obstacle:
        raise SolveError(f"{solver}: algorithm={algorithm!r} {obstacle}")


def _check_backend(solver: str, options: Mapping[str, Any], parms: list[Family]) -> None:
    """Raises SolveError where a backend cannot be used here, or cannot do what an algorithm or these Parms ask for."""
    name, algorithm = options["backend"], options["algorithm"]
    obstacle = unavailable(name)
    if name != "numba" and algorithm not in ("auto", "lm", "gn-cg"):
        obstacle = f"backend={name!r} has no algorithm={algorithm!r}; use 'lm', or backend='numba'"
    elif name != "numba" and any(map(tied, parms)):
        obstacle = (
            f"backend={name!r} ties no solutions to their neighbours, as smooth= of Parms here asks for; use 'numba'"
        )
    if obstacle:
        raise SolveError(f"{solver}: {obstacle}")


def _check_start(solver: str, options: Mapping[str, Any], parms: list[Family]) -> None:
    """Raises SolveError where intervals that are solved together should start from one another."""
    if options["start"] != "previous":
        return
    if any((family.options.get("smooth") or (None,))[0] is not None for family in parms):
        together = "smooth= of Parms here ties all times"
    elif options["algorithm"] == "gn-cg":
        together = "algorithm='gn-cg' solves for all times together"
    else:
        return
    raise SolveError(
        f"{solver}: start='previous' solves one interval after another, but {together}; leave out one of them"
    )


def _matches(forest: Forest, solver: str, word: str) -> dict[int, np.ndarray]:
    """Parm family of the forest -> which members have `word` as tag, name, or name without qualifiers."""
    parms = {n: f for n, f in enumerate(forest.families) if f.cls.role == "parm"}
    found = {n: matching(family, word) for n, family in parms.items()}
    found = {n: chosen for n, chosen in found.items() if chosen.any()}
    if not found:
        tags = {tag for f in parms.values() for tag in f.options.get("tags", ())}
        labels = {str(name).split(":")[0] for f in parms.values() for name in f.members["name"]}
        raise SolveError(f"{solver}: solvable={word!r} matches no tag or name of a Parm{nearest(word, tags | labels)}")
    return found
