"""Which unknowns hang together: the connected components of a graph, against scipy's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rimetree.solve.single.problem import connected


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=80))
def test_components_are_those_of_scipy(count, edges):
    a, b = (np.array([e[i] % count for e in edges], int) for i in (0, 1))
    ours = connected(count, a, b)
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(count, count))
    _, theirs = connected_components(graph, directed=False)
    assert ((ours[:, None] == ours) == (theirs[:, None] == theirs)).all()
    assert (ours == [np.flatnonzero(theirs == c).min() for c in theirs]).all()


def test_a_long_chain_is_one_component():
    order = np.random.default_rng(0).permutation(100_000)
    assert (connected(100_000, order[:-1], order[1:]) == 0).all()
