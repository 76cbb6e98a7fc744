"""Which outcomes are to be doubted: chi-squared far above noise, or no convergence. There another start may lead lower."""

from __future__ import annotations

import numpy as np

from ...status import Status
from ..result.outcome import Outcome
from ..settings import Settings

FAILED = (Status.STALLED, Status.DIVERGED, Status.ITERATION_LIMIT)
"""What another start may help."""

SIGNIFICANT = 5.0
"""chi2 beyond the degrees of freedom, in its own standard deviations sqrt(2 dof), that is not noise."""

UNEXPLAINED = 0.02
"""Part of the data's power beyond noise that a model may lack; a delay that is a turn off in one of 64 antennas leaves 0.03."""

FROM_FAR = 0.1
"""Part of what a minimum leaves unexplained that a start near it may leave more."""


def doubtful(outcome: Outcome) -> np.ndarray:
    """(S,) whether another start may help."""
    return np.isin(outcome.status, FAILED) | (excess(outcome.chi2, outcome.dof) > SIGNIFICANT)


def excess(chi2: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """chi2 beyond the degrees of freedom, in its own standard deviations."""
    return np.asarray((chi2 - dof) / np.sqrt(2 * np.maximum(dof, 1)))


def least(outcome: Outcome, settings: Settings) -> np.ndarray:
    """The change of chi2 (S,) that counts as one."""
    return 10 * settings.tol * outcome.chi2 / np.maximum(outcome.dof, 1)


def unexplained(chi2: np.ndarray, start: np.ndarray, dof: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Whether so much of the data's `power` is left that a minimum may be a wrong one, and much less than its `start` left."""
    beyond = chi2 - dof
    return np.asarray((beyond > UNEXPLAINED * (power - dof)) & (start - chi2 > FROM_FAR * beyond))
