"""Starting and fixed values of Parms from earlier solutions, matched by name, field and nearest interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from .state import State


class Starting:
    """Earlier solutions: `start` for solvable Parms, `fixed` for the others."""

    def __init__(self, start: Any = None, fixed: Any = None) -> None:
        self.start, self.fixed = start, fixed

    @classmethod
    def of(cls, start: Any, fixed: Any) -> Starting:
        """From paths or Solutions. Raises DataError where a file cannot be read."""
        return cls(_loaded(start), _loaded(fixed))

    def fill(self, state: State, group: Any) -> None:
        """Overwrite the initial values of Parms that are found; a Parm that is not found keeps its own."""
        for parm in state.parms.values():
            for member, name in enumerate(parm.names):
                source = self.start if parm.fitted[member] else self.fixed
                if source is None:
                    continue
                table, row = _find(source, name, group)
                if table is not None and table.values.shape[3:] == parm.coefs.shape[1:3]:
                    t = _interval_of(parm.time_bounds.mean(1), table.time)
                    f = _interval_of(parm.freq_bounds.mean(1), table.freq)
                    values = table.values[row][t][:, f].transpose(2, 3, 0, 1)
                    parm.coefs[member] = values if np.iscomplexobj(parm.coefs) else values.real
                    if not parm.fitted[member]:
                        parm.status[member] = table.status[row][t][:, f]


def _loaded(source: Any) -> Any:
    if source is None or hasattr(source, "groups"):
        return source
    from ..io.solutions import Solutions

    return Solutions.load(source)


def _find(source: Any, name: str, group: Any) -> tuple[Any, int]:
    """The table of a Parm, from the same spectral window and field where there is one, else from any."""
    order = sorted(
        source.groups, key=lambda g: (str(g.spw) != str(group.spw_id), str(g.field) != str(group.field_name))
    )
    for candidate in order:
        for table in candidate.parms:
            if name in table.names:
                return table, table.names.index(name)
    return None, 0


def _interval_of(centres: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """For every centre the interval (edges (n, 2)) that holds it, else the nearest: a long one is not lost to a short neighbour."""
    middle = edges.mean(1)
    order = np.argsort(middle, kind="stable")
    right = np.searchsorted(middle[order], centres).clip(0, len(edges) - 1)
    pair = np.stack([order[(right - 1).clip(0)], order[right]])
    away = np.maximum(edges[pair, 0] - centres, centres - edges[pair, 1]).clip(0)
    distance = away * 1e6 + np.abs(middle[pair] - centres)
    return np.where(distance[1] < distance[0], pair[1], pair[0])
