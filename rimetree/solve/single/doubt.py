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


def doubtful(outcome: Outcome) -> np.ndarray:
    """(S,) whether another start may help."""
    return np.isin(outcome.status, FAILED) | (excess(outcome.chi2, outcome.dof) > SIGNIFICANT)


def excess(chi2: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """chi2 beyond the degrees of freedom, in its own standard deviations."""
    return np.asarray((chi2 - dof) / np.sqrt(2 * np.maximum(dof, 1)))


def least(outcome: Outcome, settings: Settings) -> np.ndarray:
    """The change of chi2 (S,) that counts as one."""
    return 10 * settings.tol * outcome.chi2 / np.maximum(outcome.dof, 1)
