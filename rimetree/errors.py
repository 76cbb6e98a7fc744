"""The exception tree and the words of its messages.

RimetreeError
├── ForestError    a tree is wrong: every fault, each with node, class and script line
├── DataError      a Measurement Set or solution file is missing, wrong or unwritable
│   └── NothingSelected  a selection leaves nothing of a Measurement Set
├── ConfigError    a configuration file, option or selection is wrong
└── SolveError     a solve cannot be set up (an unconstrained parameter, an equation without data)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class RimetreeError(Exception):
    """Base of everything that a user can cause; the message is what the user is shown."""


class DataError(RimetreeError):
    """A Measurement Set or solution file is missing, wrong, or cannot be written."""


class NothingSelected(DataError):
    """A selection leaves nothing of a Measurement Set."""


class ConfigError(RimetreeError):
    """A configuration file, command-line option or data selection is wrong. `about`: the option, where one is to blame."""

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


class SolveError(RimetreeError):
    """A solve cannot be set up."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault of a forest: which node, where in the user's script, what is wrong and what to do."""

    node: str
    where: str
    message: str

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.node}{place}: {self.message}"


class ForestError(RimetreeError):
    """A tree is wrong. `issues` holds every fault found; equal ones of one script line are shown once."""

    def __init__(self, issues: Iterable[Issue]) -> None:
        self.issues = tuple(issues)
        alike: dict[tuple[str, str], list[Issue]] = {}
        for issue in self.issues:
            said = issue.message.partition(" (did you mean")[0]
            alike.setdefault((issue.where or issue.node, said), []).append(issue)
        lines = [str(same[0]) + _more(len(same) - 1) for same in alike.values()]
        if len(lines) > 1:
            more = [f"  ... and {len(lines) - 100} more"] if len(lines) > 100 else []
            lines = [f"{len(self.issues)} faults in the forest:", *(f"  {line}" for line in lines[:100]), *more]
        super().__init__("\n".join(lines))


def _more(count: int) -> str:
    return f" (and {count} more from this line)" if count else ""


def nearest(word: object, valid: Iterable[object]) -> str:
    """` (did you mean 'x'?)` for the closest of `valid`, or an empty string."""
    found = difflib.get_close_matches(str(word), [str(v) for v in valid], n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""
