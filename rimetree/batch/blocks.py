"""Which unknowns belong to one station or one source."""

from __future__ import annotations

import numpy as np


def merged(label: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Join the labels that meet in a member, unless some label occurs in members with different label sets."""
    rows = np.where(slots >= 0, label[np.maximum(slots, 0)], -1)
    rows = np.sort(rows, 1)
    owner: dict[int, bytes] = {}
    for row in np.unique(rows, axis=0):
        for value in row[row >= 0].tolist():
            if owner.setdefault(value, row.tobytes()) != row.tobytes():
                return label
    result = label.copy()
    for row in np.unique(rows, axis=0):
        own = np.unique(row[row >= 0])
        if own.size > 1:
            result[np.isin(result, own)] = own[0]
    return result
