"""Coefficients that have nothing to do with one another, found from where their functions are not zero: a product of the normal matrix
with changes of all of them at once says as much as one product for each (Curtis, Powell & Reid 1974, IMA J. Appl. Math. 13, 117).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """`site` (unknowns,): the function of time and frequency that each unknown of a class is multiplied with; `colour` (sites,); `near`
    (colours, sites): the one site of a colour whose function is somewhere not zero where that of another site is not, -1 for none."""

    site: np.ndarray
    colour: np.ndarray
    near: np.ndarray

    @classmethod
    def of(cls, site: np.ndarray, together: Sequence[np.ndarray]) -> Colours:
        """From the sites that are not zero in the same places: arrays (places, sites there), one number several times or not."""
        count = int(site.max(initial=-1)) + 1
        pairs = [np.arange(count) * (count + 1)]
        for own in together:
            pairs += [
                np.unique(own[:, i] * count + own[:, k]) for i in range(own.shape[1]) for k in range(own.shape[1])
            ]
        row, column = np.divmod(np.unique(np.concatenate(pairs)), count)
        beside = coo_array((np.ones(len(row)), (row, column)), shape=(count, count)).tocsr()
        conflict = (beside @ beside).tocsr()
        colour = np.full(count, -1)
        for s in range(count):
            taken = colour[conflict.indices[conflict.indptr[s] : conflict.indptr[s + 1]]]
            free = np.ones(len(taken) + 1, bool)
            free[taken[(taken >= 0) & (taken <= len(taken))]] = False
            colour[s] = int(free.argmax())
        near = np.full((int(colour.max(initial=-1)) + 1, count), -1)
        near[colour[column], row] = column
        return cls(site, colour, near)
