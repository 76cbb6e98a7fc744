"""Parms brought to another reference frequency make the same matrices, at every frequency."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rimetree.errors import DataError
from rimetree.pipeline.jones import matrices
from rimetree.trees.terms import Param, Placed, Term, kinds, term
from rimetree.trees.terms.base import Band

SIZES = {"delay": 20e-9, "tec": 0.5, "phase": 3.0, "rm": 1.0}
NAMES = sorted(
    name for name, cls in kinds().items() if cls.spectral and np.ndim(next(iter(cls.params.values())).start) == 0
)


def test_there_are_some():
    assert {"K", "Z", "KZ", "KC"} <= set(NAMES)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 99), st.floats(0.9e9, 1.1e9), st.floats(0.9e9, 1.1e9))
def test_the_same_matrices(name, seed, old, new):
    rng, made = np.random.default_rng(seed), term(name)
    antennas = ["a", "b"]
    rows = 1 if made.common else 2
    values = {w: SIZES[w.partition("_")[0]] * rng.normal(size=(rows, 1, 1)) for w in made.params}
    moved = values | dict(made.moved(values, old, new))
    time, freq = np.zeros(1), np.linspace(0.8e9, 1.2e9, 7)
    one, other = (
        matrices(
            Placed("x", made, band=Band(centre)),
            antennas,
            {w: np.broadcast_to(v, (rows, 1, 7)) for w, v in given.items()},
            time,
            freq,
        )
        for centre, given in ((old, values), (new, moved))
    )
    np.testing.assert_allclose(one, other, atol=1e-7)


def test_a_term_of_ones_own_that_does_not_say_is_refused():
    class Mine(Term):
        name = "Mine"
        params = {"x": Param(0.0)}  # noqa: RUF012
        spectral = True

    with pytest.raises(
        DataError, match=r"Mine: its solutions were made for 1 GHz and are wanted for 1\.1; the term has no moved"
    ):
        Mine().moved({"x": np.zeros(1)}, 1e9, 1.1e9)
