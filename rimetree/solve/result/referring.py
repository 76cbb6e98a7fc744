"""Solutions referred to an antenna: what is free is fixed so that its phases (or delays) are zero, errors included.

Nothing is assumed about the equation: what may be turned is what the null directions say (see `gauges`). The error of a
phase that is referred is that of the difference to the reference, whose own is zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .gauges import Free, Meaning


def references(
    meaning: Meaning, matrices: np.ndarray, variance: np.ndarray, good: np.ndarray, free: Free, wanted: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Of one interval, per freedom: the unknown that is to have phase or value zero, and all that turn with it (first parts
    of complex ones).

    good (n,): unknowns with a solution. Where the wanted antenna has none, the one that is known best takes its place.
    What is free among Parms that no antenna's name qualifies, stays.
    """
    nodes = [str(node).split(":") for node in meaning.node.tolist()]
    labels = {node[0] for node in nodes if wanted in node[1:]}
    kinds = {turn.kind for turn in free.turns}
    for turn in free.turns:
        group = turn.unknowns[meaning.part[turn.unknowns] <= 1]
        choices = group
        if np.isin(group, matrices).any():
            column = int(turn.kind == "x-y phase")
            if "x-y phase" in kinds:  # then each column has a phase of its own
                group = np.intersect1d(group, matrices[:, [column, 2 + column]])
            choices = np.intersect1d(group, matrices[:, 3 * column])
        constant = meaning.coefficient == meaning.coefficient[group].min(initial=np.iinfo(int).max)
        choices = choices[good[choices] & constant[choices]]
        if choices.size and nodes[choices[0]][0] in labels:
            own = [i for i in choices.tolist() if wanted in nodes[i][1:]]
            yield own[0] if own else int(choices[np.argmin(variance[choices])]), group


def turn_to_zero(meaning: Meaning, theta: np.ndarray, reference: int, group: np.ndarray) -> None:
    """Turn the unknowns of a group, in theta (n,), so that the reference's phase, or its value, is zero."""
    if meaning.part[reference] == 0:
        theta[group] -= theta[reference]
        return
    value = complex(theta[reference], theta[reference + 1])
    turned = (theta[group] + 1j * theta[group + 1]) * (value.conjugate() / abs(value) if value else 1)
    theta[group], theta[group + 1] = turned.real, turned.imag
    theta[reference + 1] = 0.0
