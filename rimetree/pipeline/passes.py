"""In which fits a solve block is done: term after term, then those together that cannot be right one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import ConfigError
from ..trees.terms import Term
from .config import Solve, Step

SAME = ("field", "scans", "intent", "spw", "combined")
"""What steps have in common that are solved together."""


@dataclass(slots=True)
class Pass:
    """One fit of a block: the steps whose terms are solved, together; and on which grounds the others are fixed.

    again   the terms have been solved already: they start from there, and all others are fixed
    asked   not our own idea: where it does not converge its solutions are kept nevertheless
    fields  those of the data, where they are not those of the steps
    """

    number: int
    steps: list[Step]
    again: bool = False
    asked: bool = True
    fields: list[str] | None = None

    @property
    def keys(self) -> list[str]:
        """Keys of the terms solved."""
        return [step.key for step in self.steps]

    @property
    def field(self) -> list[str] | None:
        """The fields of the data; None: all, pooled."""
        return self.fields or self.steps[0].field

    @property
    def title(self) -> str:
        """What is solved, per what."""
        words = "; ".join(step.words for step in self.steps)
        how = "jointly " if len(self.steps) > 1 else "again " if self.again else ""
        return f"step {self.number}: {how}{words}"


def passes(block: Solve) -> list[Pass]:
    """All fits of a block, in order. Raises ConfigError where terms of `joint` differ in their data.

    Leakages, and other matrices that mix x and y, change what gains and the phase between x and y solved before them should have
    been, by as much as leakage and polarisation. So unless the block says which terms are `joint` (or `none`), these are fitted
    again with all terms solved on the same data, and then what was solved on more fields, on those.
    """
    found = [Pass(i, [step]) for i, step in enumerate(block.steps, 1)]
    if block.joint:
        together = [step for step in block.steps if step.key in block.joint]
        _alike(together)
        found.append(Pass(len(found) + 1, together, again=True))
    elif block.joint is None:
        for steps, fields in _mixed(block.steps):
            found.append(Pass(len(found) + 1, steps, again=True, asked=False, fields=fields))
    return found


def held(step: Step, together: Sequence[Step], polarised: bool) -> list[str]:
    """Parms that stay at their start on the reference antenna, where data leave them free: leakages of an unpolarised model; delays
    and phases, where others that all antennas share are solved in the same pass, and nothing between mixes x and y."""
    term, place = step.term, list(together).index(step)
    pinned = [what for what, param in term.params.items() if param.pinned and not polarised]
    others = together[place + 1 :] if term.delays and not term.common else []
    first = next((s for s in others if s.term.hands == "cross" or mixing(s.term)), None)
    return pinned + ([*term.gives_up, *term.delays] if first is not None and first.term.hands == "cross" else [])


def mixing(term: Term) -> bool:
    """Whether a term that is solved for mixes x and y."""
    return not term.diagonal and term.solvable


def _alike(together: Sequence[Step]) -> None:
    first = together[0]
    for step in together[1:]:
        if any(getattr(step, name) != getattr(first, name) for name in SAME):
            raise ConfigError(
                f"{first.key} and {step.key} are solved together, so {', '.join(SAME)} must be the same", "joint"
            )


def _mixed(steps: Sequence[Step]) -> Iterator[tuple[list[Step], list[str] | None]]:
    """Steps to be fitted again together, and the fields of their data: with each term that mixes x and y, then on other fields.

    Not with a full matrix: that makes up for what was solved before it.
    """
    done: list[Step] = []
    for one in steps:
        if not mixing(one.term) or any(p.refer for p in one.term.params.values()) or one in done:
            continue
        own = set(one.field or ())
        together = [s for s in steps if s not in done and _on(s, one) and (s.field is None) == (one.field is None)]
        together = [s for s in together if own <= set(s.field or ())]
        if len(together) == 1:
            continue
        done += together
        yield together, one.field
        for step in together:
            rest = [name for name in step.field or () if name not in own]
            if rest:
                yield [step], rest


def _on(step: Step, other: Step) -> bool:
    """Whether two steps are solved on the same data, but for fields."""
    return all(getattr(step, name) == getattr(other, name) for name in SAME if name != "field")
