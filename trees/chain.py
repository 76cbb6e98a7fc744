"""Chains of Jones terms: V_pq = J_p X_pq J_q^H with J = J1 J2 ..., some terms solved for, the others held fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rimetree.errors import ConfigError, nearest
from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq
from rimetree.graph.scope import Scope

from .terms import band_centre, interval, term


def chain(
    ns: Scope,
    ms: Any,
    terms: Mapping[str, Any] | Sequence[str],
    solve: Sequence[str] = (),
    *,
    data_column: str = "DATA",
    model_column: str = "MODEL_DATA",
    out: str | None = None,
    flag: bool = False,
    max_iter: int = 200,
) -> None:
    """Add the forest of one step of a calibration to a scope.

    ms            what has `antennas`, `baselines` and `groups`: a MeasurementSet
    terms         names of Jones terms (see `terms.TERMS`), outermost (leftmost) first; as a mapping, with their
                  solution intervals (None: the usual one)
    solve         names of the terms that are fitted, together; the others keep the values that the run is given
    data_column   what is fitted and corrected; model_column: X
    out           column for the corrected data, J_p^-1 D J_q^-H; None writes nothing
    flag          also flag what has no valid solution

    Raises ConfigError where a term is unknown or a solution interval is wrong.
    """
    chosen = dict(terms) if isinstance(terms, Mapping) else dict.fromkeys(terms)
    for name in solve:
        if name not in chosen:
            raise ConfigError(f"solve={name!r}{nearest(name, chosen)} is not among the terms {', '.join(chosen)}")
    if not chosen:
        raise ConfigError("a chain needs at least one Jones term")
    centre = band_centre(group.freq for group in ms.groups)
    for name, solint in chosen.items():
        term(name).build(ns, name, ms.antennas, interval(name, solint), centre)
    first, second = np.array(ms.baselines).T
    if solve:
        factors = [ns[name] for name in chosen]
        left = [factor.at(first) for factor in factors]
        right = [Meq.ConjTranspose(factor.at(second)) for factor in reversed(factors)]
        ns.model.over(first, second) << Meq.MatrixMultiply(*left, Meq.Spigot(first, second, model_column), *right)
        ns.equation.over(first, second) << Meq.Condeq(
            ns.model.at(first, second), Meq.Spigot(first, second, data_column)
        )
        ns.solve << Meq.Solver(ns.equation.all(), solvable=tuple(solve), max_iter=max_iter)
    if out is not None:
        before, after = _inverse(ns, chosen, first), Meq.ConjTranspose(_inverse(ns, chosen, second))
        corrected = Meq.MatrixMultiply(before, Meq.Spigot(first, second, data_column), after)
        ns.corrected.over(first, second) << Meq.Sink(corrected, first, second, column=out, flag=flag)


def _inverse(ns: Scope, names: Mapping[str, Any], antennas: np.ndarray) -> Definition:
    """The inverse of the total Jones matrix."""
    factors = [ns[name].at(antennas) for name in names]
    total = Meq.MatrixMultiply(*factors) if len(factors) > 1 else factors[0]
    inverse: Definition = Meq.MatrixInvert22(total)
    return inverse
