"""Turns of threads at the data of a tile: some slots and members each, in the order in which slots are read.

Sums can so follow the reader of a tile, and what was read is still in cache. Cells of several turns are summed turn by turn, so
that results do not depend on who is quicker.
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...kernels import kernel
from ..algebra.memory import OPTIONS
from ..algebra.threads import reached, tell, threads

BLOCK = 32
"""Most members per turn: rows of one slot lie side by side in memory, and turns must outnumber the threads."""


class Turns(NamedTuple):
    """Turn t is at piece t // blocks of the slots and block t % blocks of the members."""

    first: np.ndarray
    """(pieces + 1,) slots first[k]:first[k + 1]."""
    chained: np.ndarray
    """(pieces,) whether a piece has cells that the piece before has too."""
    rows: np.ndarray
    """(pieces,) rows of the columns that a piece and those before it need."""
    done: np.ndarray
    """(pieces, blocks): 1 where the turn is over."""
    landed: np.ndarray
    """(1,) rows of the columns that there are, -1 where no more will come."""
    members: int
    block: int


def turns(tcell: np.ndarray, rows: np.ndarray, members: int, slots: int, landed: np.ndarray | None = None) -> Turns:
    """The turns at `members` members of `rows` (baselines, slots), `slots` slots at a time; time cells `tcell` (slots,) never
    decrease, -1 where unused. `landed`: see `Turns`; without, all is there."""
    count = len(tcell)
    first = np.append(np.arange(0, count, slots), count)
    last = np.maximum.accumulate(np.append(-1, tcell))[first[:-1]]  # before each piece
    own = np.minimum.reduceat(np.where(tcell < 0, last.repeat(np.diff(first)), tcell), first[:-1])
    chained = own <= last  # where no slot is used too: what the piece before is chained to is passed on
    chained[:1] = False
    block = min(BLOCK, -(-members // (2 * threads()))) if chained.any() else BLOCK
    until = np.maximum.accumulate(rows.max(0, initial=-1)) + 1
    there = np.array([np.iinfo(np.int64).max]) if landed is None else landed
    done = np.zeros((len(first) - 1, -(-members // max(block, 1))), np.uint8)
    return Turns(first, chained, until[first[1:] - 1].astype(np.int64), done.ravel(), there, members, block)


@kernel(**OPTIONS)
def number(turns):
    """How many there are."""
    return turns.done.shape[0]


@kernel(**OPTIONS)
def begin(turns, turn):
    """Wait until turn `turn` can be: slots s0:s1 of members m0:m1, s0 == s1 where its data will never come."""
    blocks = turns.done.shape[0] // turns.rows.shape[0]
    k, b = turn // blocks, turn % blocks
    if turns.chained[k]:
        reached(turns.done, turn - blocks, 1)
    s0, s1 = turns.first[k], turns.first[k + 1]
    if not reached(turns.landed, 0, turns.rows[k]):
        s1 = s0
    return s0, s1, b * turns.block, min((b + 1) * turns.block, turns.members)


@kernel(**OPTIONS)
def end(turns, turn):
    """The turn is over."""
    tell(turns.done, turn, 1)
