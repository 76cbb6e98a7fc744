"""What counts as a gain: what its equations cannot do without."""

from __future__ import annotations

import numpy as np

from rimetree.solve.reduce.forms import form
from rimetree.solve.single.significance import _gain_factors, reduced


def factors(*terms: tuple[int, ...]) -> list[bool]:
    """Local factors of a form with these terms, each on a plane of its own."""
    most, count = max(map(len, terms)), 1 + max(f for t in terms for f in t)
    padded = np.array([[*t, *[-1] * (most - len(t))] for t in terms])
    return _gain_factors(
        form(np.arange(len(terms)), np.ones(len(terms)), padded, np.zeros(count, bool), np.zeros((1, count), int),
             np.zeros((count, 3), int))
    )  # fmt: skip


def test_what_is_a_gain() -> None:
    assert factors((0, 1)) == [True, True]  # g_p M g_q^*
    assert factors((0, 1), (2, 3)) == [True] * 4  # two directions
    assert factors((0,), (1,)) == [False, False]  # d_p I + I d_q^*
    assert factors((0,)) == [False]  # a flux
    assert factors((0, 1), (0, 1, 2), (0, 1, 3), (0, 1, 2, 3)) == [True, True, False, False]  # gains and leakages


def test_chi2_per_dof_is_borrowed_where_an_interval_has_little() -> None:
    found = reduced(np.array([50.0, 400.0, 1.0, np.nan]), np.array([100, 100, 4, 0]))
    np.testing.assert_allclose(found, [0.5, 4.0, 0.5, 0.5])
