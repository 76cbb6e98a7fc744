"""Equal rows and depths, against dictionaries and networkx."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rimetree.graph.rows import depths, distinct_rows, split


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(-3, 3)),
    st.sampled_from([1, 10**6, 10**17]),
)
def test_distinct_rows_against_a_dictionary(matrix: np.ndarray, scale: int) -> None:
    matrix = matrix * scale
    numbers: dict[tuple[int, ...], int] = {}
    firsts = []
    for at, row in enumerate(map(tuple, matrix.tolist())):
        if row not in numbers:
            numbers[row] = len(numbers)
            firsts.append(at)
    first, inverse = distinct_rows(list(matrix.T), len(matrix))
    assert first.tolist() == firsts
    assert inverse.tolist() == [numbers[row] for row in map(tuple, matrix.tolist())]


def test_rows_without_columns_are_equal() -> None:
    first, inverse = distinct_rows([], 4)
    assert first.tolist() == [0]
    assert inverse.tolist() == [0] * 4


@given(st.lists(st.integers(0, 4), max_size=20), st.sampled_from([0, 2**20]))
def test_split(labels: list[int], offset: int) -> None:
    array = np.array(labels, np.int64) + offset
    parts = [np.arange(len(array))[rows].tolist() for rows in split(array)]
    assert parts == [[i for i, v in enumerate(labels) if v == wanted] for wanted in sorted(set(labels))]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30), st.integers(0, 3))
def test_depths_against_networkx(edges: list[tuple[int, int]], seed: int) -> None:
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(12))
    graph.add_edges_from(edges)  # from parent to child
    blocks: dict[int, list[tuple[int, list[int]]]] = {}
    for node in np.random.default_rng(seed).permutation(12).tolist():
        kids = list(graph.successors(node))
        blocks.setdefault(len(kids), []).append((node, kids))
    arrays = [
        (np.array([node for node, _ in rows]), np.array([kids for _, kids in rows], int).reshape(len(rows), arity))
        for arity, rows in blocks.items()
    ]
    expected = []
    for node in range(12):
        below = graph.subgraph({node} | networkx.descendants(graph, node))
        cyclic = not networkx.is_directed_acyclic_graph(below)
        expected.append(-1 if cyclic else networkx.dag_longest_path_length(below))
    assert depths(arrays, 12).tolist() == expected


@pytest.mark.parametrize("length", [10, 20_000])
def test_a_chain_through_one_block(length: int) -> None:
    ids = np.arange(1, length)
    blocks = [(ids, ids[:, None] - 1), (np.array([0]), np.zeros((1, 0), int))]
    assert depths(blocks, length).tolist() == list(range(length))
