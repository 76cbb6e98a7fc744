"""Chains of Jones terms: V_pq = J_p X_pq J_q^H with J = J1 J2 ..., some terms solved for, the others held fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rimetree.errors import ConfigError
from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq
from rimetree.graph.scope import Scope

from .terms import Placed

ELEMENTS = {"parallel": (0, 3), "cross": (1, 2)}
"""Elements of [[xx, xy], [yx, yy]] that are equated, where not all are."""


def solve(
    ns: Scope,
    ms: Any,
    chain: Sequence[Placed],
    keys: Sequence[str],
    hands: str,
    columns: tuple[str, str],
    **options: Any,
) -> None:
    """Add the forest that fits the terms `keys` of a chain, outermost (leftmost) first, to a scope.

    hands     correlations that are equated: "parallel", "cross" or "all"
    columns   (data, model); options: those of Meq.Solver
    """
    first, second = _build(ns, ms, chain)
    data, model = (Meq.Spigot(first, second, column) for column in columns)
    ns.model.over(first, second) << _corrupted(ns, [p.key for p in chain], model, first, second)
    if hands == "all":
        ns.equation.over(first, second) << Meq.Condeq(ns.model.at(first, second), data)
    else:
        for element in ELEMENTS[hands]:
            sides = (Meq.Selector(side, index=element) for side in (ns.model.at(first, second), data))
            ns.equation.over(first, second, element) << Meq.Condeq(*sides)
    ns.solve << Meq.Solver(ns.equation.all(), solvable=tuple(keys), **options)


def correct(
    ns: Scope, ms: Any, chain: Sequence[Placed], columns: tuple[str, str], flag: bool = False, forward: bool = False
) -> None:
    """Add Sinks that take a chain out of column columns[0] into columns[1], J_p^-1 D J_q^-H; `forward`: put it in, J_p D J_q^H.

    `flag`: also flag what has no valid solution.
    """
    first, second = _build(ns, ms, chain)
    data = Meq.Spigot(first, second, columns[0])
    keys = [p.key for p in chain]
    out = (_corrupted if forward else _freed)(ns, keys, data, first, second)
    ns.corrected.over(first, second) << Meq.Sink(out, first, second, column=columns[1], flag=flag)


def flag(ns: Scope, ms: Any, column: str, out: str) -> None:
    """Add Sinks that write `column` to `out` as it is, and flag what a Solver with robust="clip" left out."""
    first, second = np.array(ms.baselines).T
    ns.flagged.over(first, second) << Meq.Sink(Meq.Spigot(first, second, column), first, second, column=out, flag=True)


def compare(
    ns: Scope, ms: Any, left: Sequence[Placed], right: Sequence[Placed], columns: tuple[str, str], out: tuple[str, str]
) -> None:
    """Add Sinks for guesses at what stands between two parts of a chain: data freed of the left part, model with the right.

    A part without terms has no Sink.
    """
    first, second = _build(ns, ms, [*left, *right])
    for terms, change, column, name in zip((left, right), (_freed, _corrupted), columns, out, strict=True):
        if terms:
            value = change(ns, [p.key for p in terms], Meq.Spigot(first, second, column), first, second)
            ns[name].over(first, second) << Meq.Sink(value, first, second, column=name)


def _build(ns: Scope, ms: Any, chain: Sequence[Placed]) -> tuple[np.ndarray, np.ndarray]:
    keys = [placed.key for placed in chain]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"a chain cannot have the same term twice: {', '.join(keys)}")
    for placed in chain:
        placed.build(ns, ms.antennas)
    first, second = np.array(ms.baselines).T
    return first, second


def _corrupted(ns: Scope, keys: Sequence[str], matrix: Any, first: np.ndarray, second: np.ndarray) -> Any:
    """J_p X J_q^H."""
    if not keys:
        return matrix
    left = [ns[key].at(first) for key in keys]
    right = [Meq.ConjTranspose(ns[key].at(second)) for key in reversed(keys)]
    return Meq.MatrixMultiply(*left, matrix, *right)


def _freed(ns: Scope, keys: Sequence[str], matrix: Any, first: np.ndarray, second: np.ndarray) -> Any:
    """J_p^-1 X J_q^-H."""
    if not keys:
        return matrix
    inverses = [_inverse(ns, keys, antennas) for antennas in (first, second)]
    return Meq.MatrixMultiply(inverses[0], matrix, Meq.ConjTranspose(inverses[1]))


def _inverse(ns: Scope, keys: Sequence[str], antennas: np.ndarray) -> Definition:
    """The inverse of the total Jones matrix."""
    factors = [ns[key].at(antennas) for key in keys]
    total = Meq.MatrixMultiply(*factors) if len(factors) > 1 else factors[0]
    inverse: Definition = Meq.MatrixInvert22(total)
    return inverse
