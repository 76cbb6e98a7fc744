"""Planes written into a column against the same products in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rimetree.solve.reduce.contract import contract

UNTOUCHED = np.complex64(7 - 7j)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), corrs=st.sampled_from([1, 2, 4]), bad=st.booleans())
def test_every_row_gets_its_planes(make_case: Any, tables: Any, seed: int, corrs: int, bad: bool) -> None:
    case = make_case(seed, corrs=corrs, bad_values=bad)
    rng = case.rng
    plane_of_corr = rng.integers(-1, len(case.monomials), corrs)
    baseline = rng.permutation(case.nbl)[: case.members]
    out = np.full((case.rows.size, case.nchan, corrs), UNTOUCHED)
    lost = contract(out, case.table, case.memory.sources, case.rows, plane_of_corr, baseline)

    shape = case.members, case.nslot, case.nchan
    values, missing = tables.plane_values(case.memory, case.monomials, case.rows, shape)
    expected = np.full_like(out, UNTOUCHED)
    dropped = 0
    for m, t in np.ndindex(shape[:2]):
        row = case.rows[baseline[m], t]
        for corr in np.flatnonzero(plane_of_corr >= 0) if row >= 0 else ():
            p = plane_of_corr[corr]
            usable = np.isfinite(values[p, m, t]) & ~missing[p, m, t]
            expected[row, :, corr] = np.where(usable, values[p, m, t], 0)
            dropped += int((~usable).sum())
    assert lost == dropped
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())


def test_gains_and_their_inverses_cancel(tables: Any) -> None:
    rng = np.random.default_rng(0)
    nant, nslot, nchan = 5, 6, 33
    p, q = np.triu_indices(nant, 1)
    gain = np.exp(1j * rng.uniform(0, 6, (nant, nslot, 1))) * rng.uniform(0.5, 2, (nant, nslot, 1))
    shape = len(p) * nslot, nchan, 2
    data = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
    rows = np.arange(shape[0], dtype=np.int32).reshape(len(p), nslot)

    def apply(g: np.ndarray, column: np.ndarray) -> np.ndarray:
        memory, out = tables.Memory(), np.empty_like(column)
        s = memory.plane(g)
        planes = [
            [(1, [(s, False, p), (memory.column(column, c), False, np.arange(len(p))), (s, True, q)])] for c in range(2)
        ]
        table = tables.table_of(planes, len(p))
        assert contract(out, table, memory.sources, rows, np.arange(2), np.arange(len(p))) == 0
        return out

    corrupted = apply(gain, data)
    factor = (gain[p] * gain[q].conj()).reshape(-1, 1, 1)
    np.testing.assert_allclose(corrupted, factor * data, rtol=1e-6)
    np.testing.assert_allclose(apply(1 / gain, corrupted), data, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39, complex(0, -1e39), complex(1, np.nan)])
def test_what_a_column_cannot_hold_is_zero_and_counted(tables: Any, value: complex) -> None:
    memory, member = tables.Memory(), np.zeros(1, int)
    array = np.ones((1, 2, 3), complex)
    array[0, 1, 2] = value
    table = tables.table_of([[(1, [(memory.plane(array), False, member)])]], 1)
    out = np.full((2, 3, 1), UNTOUCHED)
    assert contract(out, table, memory.sources, np.array([[0, 1]], np.int32), np.zeros(1, int), member) == 1
    assert out.ravel().tolist() == [1, 1, 1, 1, 1, 0]


def test_a_plane_without_factors_is_its_number(tables: Any) -> None:
    table = tables.table_of([[(2 - 1j, [])], []], 1)
    out = np.full((2, 3, 2), UNTOUCHED)
    lost = contract(out, table, tables.Memory().sources, np.array([[1]], np.int32), np.array([0, 1]), np.zeros(1, int))
    assert lost == 0
    assert (out[1, :, 0] == 2 - 1j).all() and not out[1, :, 1].any()
    assert (out[0] == UNTOUCHED).all()


def test_arrays_that_do_not_fit_are_refused(tables: Any) -> None:
    table, sources = tables.table_of([[(1, [])]], 1), tables.Memory().sources
    rows, one, zero = np.array([[0]], np.int32), np.ones((1, 3, 1), np.complex64), np.zeros(1, int)
    wrong = [
        (one.astype(complex), rows, zero, zero),
        (np.ones((1, 6, 1), np.complex64)[:, ::2], rows, zero, zero),
        (one, rows + 1, zero, zero),
        (one, rows, np.zeros(2, int), zero),
        (one, rows, zero, zero + 1),
        (one, rows, zero, np.zeros(2, int)),
    ]
    for out, where, plane_of_corr, baseline in wrong:
        with pytest.raises(ValueError, match="expected"):
            contract(out, table, sources, where, plane_of_corr, baseline)
