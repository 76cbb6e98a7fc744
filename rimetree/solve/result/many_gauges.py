"""Names for null directions by the thousand, each of a few unknowns: those that look alike are named once."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.sparse.csgraph import connected_components

from .gauges import NUMBERED, SAID, Meaning, freedoms

FEW = 1e6
"""Numbers of null directions that are looked at together."""

WIDE = 0.1
"""Part of all unknowns that directions have in which too many take part to be taken apart."""


def named(meaning: Meaning | None, matrices: np.ndarray, theta: np.ndarray, null: csr_array) -> str:
    """What is free, in words: null directions (n, m) at the solution theta (n,) of an interval; `matrices`: see `Retraction`."""
    if meaning is None or not null.shape[1]:
        return ""
    if null.shape[0] * null.shape[1] <= FEW:
        return _words(meaning, matrices, theta, null.toarray())
    columns = csc_array(null)
    wide = np.diff(columns.indptr) > WIDE * null.shape[0]
    words = _of_clusters(meaning, matrices, theta, csc_array(columns[:, ~wide]))
    if wide.any():
        several = np.count_nonzero(wide)
        words.append("a pattern of most unknowns" if several == 1 else f"{several} patterns of most unknowns")
    return "; ".join(words)


def _words(meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, null: np.ndarray) -> str:
    number, free = freedoms(meaning, matrices, theta[:, None], null[:, :, None])
    return str(free[number.item()])


def _of_clusters(meaning: Meaning, matrices: np.ndarray, theta: np.ndarray, null: csc_array) -> list[str]:
    """Directions that have unknowns in common are a cluster; of each kind, as many clusters as there are."""
    if not null.shape[1]:
        return []
    count, of_column = connected_components(abs(null).T @ abs(null), directed=False)
    entries = null.tocoo()
    cluster = np.full(null.shape[0], -1)
    cluster[entries.row] = of_column[entries.col]
    nodes, node = np.unique(meaning.node, return_inverse=True)
    labels, label = np.unique([text.split(":")[0] for text in nodes.tolist()], return_inverse=True)
    taking = np.flatnonzero(cluster >= 0)
    part = label[node.ravel()[taking]] * 3 + meaning.part[taking]
    seen = coo_array((np.ones(len(taking)), (cluster[taking], part)), shape=(count, 3 * len(labels))).toarray()
    looks = np.concatenate([seen, np.bincount(of_column, minlength=count)[:, None]], 1)
    _, kind, members = np.unique(looks, axis=0, return_inverse=True, return_counts=True)
    words: list[str] = []
    for k, many in enumerate(members.tolist()):
        for one in np.flatnonzero(kind.ravel() == k)[: 1 if many > SAID else SAID].tolist():
            own = cluster == one
            own[1:] |= own[:-1] & (meaning.part[:-1] == 1)  # both parts of a complex one
            own[:-1] |= own[1:] & (meaning.part[1:] == 2)
            rows = np.flatnonzero(own)
            place = np.full(len(own), -1)
            place[rows] = np.arange(len(rows))
            inner = place[matrices]
            text = _words(
                meaning.of(rows),
                inner[(inner >= 0).all(-1)],
                theta[rows],
                null[:, of_column == one].tocsr()[rows].toarray(),
            )
            words.append(f"{NUMBERED.sub('', text)} (of each of {many} coefficients)" if many > SAID else text)
    return list(dict.fromkeys(words))
