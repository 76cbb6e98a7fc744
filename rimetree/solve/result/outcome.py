"""What became of a fit."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

NULL_DIRECTIONS = 8
"""Null directions looked for at first: more than a common matrix per component has is rare."""


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of one component: all arrays have one entry per interval; `variance` and `null` have the unknowns
    first.

    `variance` is NaN without data, and infinite for unknowns that change nothing in their interval. Of a complex gain it
    is that along its value (the amplitude) and that across (amplitude times phase), not of real and imaginary part: the
    phase is often known much worse, and their mean is the same."""

    status: np.ndarray
    iterations: np.ndarray
    """Steps that were tried, alternating ones among them."""
    chi2_start: np.ndarray
    chi2: np.ndarray
    dof: np.ndarray
    rank: np.ndarray
    condition: np.ndarray
    variance: np.ndarray
    null: np.ndarray
    unconstrained: np.ndarray
    """(unknowns, S) True for those that the data leave free (see `scaling`); their intervals are SINGULAR."""
    lost: np.ndarray
    """(unknowns, S) True for gains lost in the noise (see `significance`)."""
    gauge: np.ndarray
    gauges: list[str]
    """The null directions of each interval in words: gauges[gauge[s]], "" where there are none (see `gauges`)."""
    referred: dict[str, int] | None
    """Parms whose phase (or value) was made zero, and in how many intervals (see `referring`); None where intervals are tied."""
    smoothness: np.ndarray | None = None
    """chi2 (S,) of the changes between neighbouring intervals, where these are coupled (see `smooth`); not part of `chi2`."""

    def merged(self, other: Outcome, where: np.ndarray) -> Outcome:
        """The other's in the intervals `where` (S,), which were solved again."""
        if not where.any():
            return self
        fields = [
            "status",
            "iterations",
            "chi2_start",
            "chi2",
            "dof",
            "rank",
            "condition",
            "variance",
            "unconstrained",
            "lost",
        ]
        widest = max(self.null.shape[1], other.null.shape[1])
        null = [np.pad(a, ((0, 0), (0, widest - a.shape[1]), (0, 0))) for a in (self.null, other.null)]
        gauges = list(dict.fromkeys([*self.gauges, *other.gauges]))
        number = [np.array([gauges.index(text) for text in of.gauges], int)[of.gauge] for of in (self, other)]
        return replace(
            self,
            **{name: np.where(where, getattr(other, name), getattr(self, name)) for name in fields},
            null=np.where(where, null[1], null[0]),
            gauge=np.where(where, number[1], number[0]),
            gauges=gauges,
            referred=other.referred,
        )

    def only(self, where: slice) -> Outcome:
        """Some intervals."""
        found = replace(self)
        for f in fields(self):
            if isinstance(own := getattr(self, f.name), np.ndarray):
                setattr(found, f.name, own[..., where])
        return found
