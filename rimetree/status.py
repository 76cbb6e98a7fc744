"""What became of a solution interval: the status codes of reports and solution files."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Status(IntEnum):
    """Outcome of one component in one solution interval; `message` says it in a sentence.

    The numbers are stored in solution files: never change what one means, add new ones at the end.
    """

    CONVERGED = 0
    ITERATION_LIMIT = 1
    STALLED = 2
    TOO_FEW_DATA = 3
    SINGULAR = 4
    DIVERGED = 5
    NO_DATA = 6
    LOW_SNR = 7
    AMBIGUOUS = 8

    @property
    def message(self) -> str:
        """One sentence for the user."""
        return _MESSAGES[self]

    @property
    def valid(self) -> bool:
        """Whether the parameters may be used: the minimum was reached."""
        return self is Status.CONVERGED

    @property
    def word(self) -> str:
        """The name in plain lower case, as summaries and plots show it: "iteration limit"."""
        return self.name.lower().replace("_", " ")


_MESSAGES = {
    Status.CONVERGED: "the minimum was reached",
    Status.ITERATION_LIMIT: "the iteration limit came before convergence",
    Status.STALLED: "no step lowers chi-squared, yet the gradient has not vanished",
    Status.TOO_FEW_DATA: "fewer unflagged data than unknowns",
    Status.SINGULAR: "the data do not constrain the parameters",
    Status.DIVERGED: "chi-squared grew or became NaN",
    Status.NO_DATA: "every datum is flagged or missing, or has no weight, or no model that is a number",
    Status.LOW_SNR: "gains are zero within their errors, or phases unknown (Meq.Solver(..., min_snr=) sets how many)",
    Status.AMBIGUOUS: "a minimum far above the noise, which other starts or most data contradict: start nearer, or complete the model",
}


def counts(status: np.ndarray) -> str:
    """`110 converged, 2 no data`: how many intervals ended how; codes of a newer rimetree are shown as numbers."""
    codes, numbers = np.unique(status, return_counts=True)
    known = {int(s): s.word for s in Status}
    return ", ".join(f"{n} {known.get(int(c), f'status {c}')}" for c, n in zip(codes, numbers, strict=True)) or "none"
