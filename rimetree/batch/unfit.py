"""Which node gives NaN or infinity while a Solver fits, for the notes of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..plan.atoms import Atoms
from ..plan.template import NodeFailure


class Unfit:
    """Watches the solvable factors of one fit. `intervals` are those in which some were not finite."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        self.culprit: tuple[int, int] | None = None
        """Family and member of the first node, children first, that was not finite."""
        self.intervals: set[tuple[int, int]] = set()

    def watch(self, values: np.ndarray, first: int, shape: tuple[int, int], given: Sequence[Any]) -> None:
        """Look at the values (atoms, cells, intervals) of one iteration, made from what is `given` to `Atoms.evaluate`.

        The intervals are (time, freq) of `shape`, of which the first in time has the number `first` in the run.
        """
        wrong = ~np.isfinite(values)
        if not wrong.any():
            return
        t, f = np.unravel_index(np.flatnonzero(wrong.any((0, 1))), shape)
        self.intervals.update(zip((first + t).tolist(), f.tolist(), strict=True))
        if self.culprit is None:
            self.culprit = self._find(given)

    def _find(self, given: Sequence[Any]) -> tuple[int, int]:
        own = self.atoms
        below = sorted({n for family in own.elements for n in self._solvable(family)})
        wanted = [(n, e) for n in below for e, number in enumerate(own.templates[n][1]) if number is None]
        from ..plan.xla import jax

        values = jax.jit(Atoms(own.families, own.templates, own.solvable, wanted, own.unknowns, own.funklets).values)(
            *given
        )
        for n in below:
            for array in values.get(n, ()):
                members = ~np.isfinite(np.asarray(array)).reshape(len(array), -1).all(1)
                if members.any():
                    return n, int(np.argmax(members)) if len(array) == own.families[n].size else 0
        return below[-1], 0

    def _solvable(self, family: int) -> set[int]:
        found: set[int] = set()
        stack = [family]
        while stack:
            n = stack.pop()
            if n not in found and n in self.atoms.solvable:
                found.add(n)
                stack.extend(kid.family for kid in self.atoms.families[n].kids)
        return found

    def failure(self) -> NodeFailure | None:
        """What to tell the user, if anything."""
        if self.culprit is None:
            return None
        count = len(self.intervals)
        where = f"{count} solution interval{'s' if count > 1 else ''}"
        return NodeFailure(
            self.culprit[0], f"its value was NaN or infinite in some iteration of {where}", self.culprit[1]
        )
