"""Integer rows: which are equal, and how deep each node of a graph lies. Plain numpy, no notion of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_everything = np.arange(0, dtype=np.int32)
_LARGEST = 2**62
_WIDE = 16


def identity(count: int) -> np.ndarray:
    """0, 1, ... count - 1; a view of one read-only array, because fresh memory is dear."""
    global _everything
    if len(_everything) < count:
        _everything = np.arange(count, dtype=np.int32)
        _everything.flags.writeable = False
    return _everything[:count]


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays one after the other; a single one as it is."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def distinct_rows(columns: Sequence[np.ndarray] | np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of `count` rows are equal, given their columns (each (count,)).

    Returns the first row of each kind, in order of occurrence, and for every row the number of its kind.
    """
    if count <= 1:
        return identity(count), np.zeros(count, np.int32)
    if len(columns) > _WIDE:
        return _distinct_wide(np.ascontiguousarray(np.array(columns).T))
    limits = [(int(column.min()), int(column.max())) for column in columns]
    if any(_all_differ(column, *limit) for column, limit in zip(columns, limits, strict=True)):
        return identity(count), identity(count)
    key, size = np.zeros(count, np.int64), 1
    for column, (low, high) in zip(columns, limits, strict=True):
        span = high - low + 1
        if span == 1:
            continue
        if size > _LARGEST // span:
            first, key = _distinct(key, size)
            size = len(first)
            if size == count:
                break
        key = key * span + (column - low)
        size *= span
    return _distinct(key, size)


def _all_differ(column: np.ndarray, low: int, high: int) -> bool:
    """Whether the numbers of a column, from `low` to `high`, all differ; False also where that takes long to see."""
    if not len(column) <= high - low + 1 <= 8 * len(column) + 1000:
        return False
    present = np.zeros(high - low + 1, bool)
    present[column - low] = True
    return int(np.count_nonzero(present)) == len(column)


def _distinct(key: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """`distinct_rows` of one column of numbers in [0, size)."""
    count = len(key)
    if bool((key[1:] > key[:-1]).all()):
        return identity(count), identity(count)
    if size <= 8 * count + 1000:
        first = np.full(size, count, np.int32)
        first[key[::-1]] = identity(count)[::-1]  # the last assignment stands: the first occurrence
        firsts = np.sort(first[first < count])
        number = np.empty(size, np.int32)
        number[key[firsts]] = identity(len(firsts))
        return firsts, number[key]
    _, index, inverse = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(index)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return index[order], rank[inverse]


def _distinct_wide(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    numbers: dict[bytes, int] = {}
    inverse = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in matrix])
    first = np.full(len(numbers), len(matrix))
    np.minimum.at(first, inverse, np.arange(len(matrix)))
    return first, inverse


Rows = np.ndarray | slice
"""Some rows of an array: all as a slice, which copies nothing, or their places."""


def split(labels: np.ndarray) -> list[Rows]:
    """The rows of each label, ascending by label, each in order."""
    if len(labels) == 0 or bool((labels == labels[0]).all()):
        return [slice(None)] if len(labels) else []
    small = labels.astype(np.int16) if labels.min() >= 0 and labels.max() < 2**15 else labels  # radix sort is quick
    order = np.argsort(small, kind="stable")
    return [*np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)]


def depths(blocks: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """Depth of each of `count` nodes: 0 without children, else one more than the deepest child; -1 on or above a cycle.

    `blocks` are pairs of node numbers (n,) and their children's numbers (n, arity), each node being in one block.
    """
    depth = np.full(count, -1, np.int32)
    pending = list(blocks)
    for _ in range(4):  # blocks mostly come children first: a pass or two does nearly everything
        later = []
        for ids, kids in pending:
            if kids.shape[1] == 0:
                depth[ids] = 0
                continue
            below = depth[kids]
            if below.min() >= 0:
                depth[ids] = _largest(below) + 1
                continue
            ready = below.min(axis=1) >= 0
            depth[ids[ready]] = _largest(below[ready]) + 1
            later.append((ids[~ready], kids[~ready]))
        if not later:
            return depth
        pending = later
    _peel(depth, pending)
    return depth


def _largest(rows: np.ndarray) -> np.ndarray:
    """The largest number of each row; column by column where the rows are short, which numpy does quickly."""
    if rows.shape[1] > _WIDE:
        return np.asarray(rows.max(axis=1))
    result = rows[:, 0]
    for column in rows.T[1:]:
        result = np.maximum(result, column)
    return result


def _peel(depth: np.ndarray, pending: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Kahn's algorithm on what is left, one frontier at a time: linear also where a chain runs through one block."""
    parents = np.concatenate([np.repeat(ids, kids.shape[1]) for ids, kids in pending])
    kids = np.concatenate([kids.ravel() for _, kids in pending])
    parents, kids = parents[depth[kids] < 0], kids[depth[kids] < 0]
    reached = np.zeros(len(depth), np.int32)
    for ids, below in pending:
        reached[ids] = depth[below].max(axis=1) + 1
    missing = np.bincount(parents, minlength=len(depth))
    order = np.argsort(kids, kind="stable")
    parents = parents[order]
    start = np.searchsorted(kids[order], np.arange(len(depth) + 1))
    waiting = np.concatenate([ids for ids, _ in pending])
    frontier = waiting[missing[waiting] == 0]
    while frontier.size:
        depth[frontier] = reached[frontier]
        sizes = start[frontier + 1] - start[frontier]
        total = int(sizes.sum())
        edges = np.repeat(start[frontier] - np.cumsum(sizes) + sizes, sizes) + np.arange(total)
        users = parents[edges]
        np.maximum.at(reached, users, np.repeat(depth[frontier] + 1, sizes))
        np.subtract.at(missing, users, 1)
        frontier = np.unique(users[missing[users] == 0])
