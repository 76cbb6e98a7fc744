"""What scans are for: OBS_MODE of the sub-table STATE, to which STATE_ID of a row points."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, nearest
from .selection import parts_of
from .table import open_sub


def intents(path: Path) -> list[list[str]]:
    """The intents of every state: of "CALIBRATE_PHASE#ON_SOURCE,OBSERVE_TARGET#UNSPECIFIED" two. DataError without STATE."""
    try:
        table = open_sub(path, "STATE")
    except DataError as error:
        raise DataError(
            f"{path}: has no sub-table STATE, so intents are not known; select by field or scans"
        ) from error
    try:
        if "OBS_MODE" not in table.colnames():
            raise DataError(
                f"{path}: sub-table STATE has no OBS_MODE, so intents are not known; select by field or scans"
            )
        return [[word.strip() for word in str(mode).split(",") if word.strip()] for mode in table.getcol("OBS_MODE")]
    finally:
        table.close()


def matching(path: Path, spec: Any) -> np.ndarray:
    """(nstate,) whether a state has an intent that one of the globs in `spec` matches. ConfigError where a glob matches none."""
    known = intents(path)
    words = sorted({word for state in known for word in state})
    found = np.zeros(len(known), bool)
    for part in parts_of(spec, "intent"):
        hits = np.array([any(fnmatch.fnmatchcase(word, str(part)) for word in state) for state in known], bool)
        if not hits.any():
            listed = f"{path} has {', '.join(words)}" if words else f"{path} says no intents"
            raise ConfigError(
                f"intent={spec!r}: there is no intent {part!r}{nearest(str(part), words)}; {listed}", "intent"
            )
        found |= hits
    return found


def with_intent(path: Path, table: Any, spec: Any) -> np.ndarray:
    """(nrow,) whether a row of the main table is of a state that `matching` finds."""
    states, row = matching(path, spec), table.getcol("STATE_ID")
    inside = (row >= 0) & (row < states.size)
    return np.asarray(inside & states[np.where(inside, row, 0)])
