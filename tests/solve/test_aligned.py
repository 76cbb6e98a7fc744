"""Sums of model and data columns of one layout against numpy, bad data included; sums that follow a reader."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from rimetree.solve.reduce.aligned import aligned
from rimetree.solve.reduce.sources import PlaneTable, Sources
from rimetree.solve.reduce.sums import ElementTable, accumulate, empty_gram, prepare
from rimetree.solve.reduce.turns import turns

BASELINES, SLOTS, CHANNELS = 5, 3, 8
MEMBERS = np.array([3, 0, 4], np.int32)
"""Baseline of each equation."""


class Columns:
    """Random columns with holes, and the equations a * X + b * D per correlation as tables."""

    def __init__(self, ncorr: int, fcell: np.ndarray, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.ncorr, self.fcell, self.tcell = ncorr, fcell.astype(np.int32), np.array([0, -1, 1], np.int32)
        shape = (BASELINES * SLOTS, CHANNELS, ncorr)
        self.rows = rng.permutation(shape[0]).reshape(BASELINES, SLOTS).astype(np.int32)
        self.rows[0, 0] = -1
        self.model, self.data = ((rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("c8") for _ in range(2))
        self.weights = rng.uniform(0.5, 2, shape).astype(np.float32)
        self.flags = (rng.random(shape) < 0.2).astype(np.uint8)
        for bad in (0, -1, np.nan, np.inf):
            self.weights[rng.random(shape) < 0.05] = bad
        self.coef = np.array([[1.5 - 2j, -1]] * ncorr)

    def tables(self) -> tuple[PlaneTable, Sources, np.ndarray, ElementTable]:
        sources, n = Sources(), self.ncorr
        for column in (self.model, self.data):
            for corr in range(n):
                sources.column(column, corr)
        planes = PlaneTable(
            np.arange(2 * n + 1, dtype=np.int32), self.coef.T.ravel(), np.arange(2 * n + 1, dtype=np.int32),
            np.arange(2 * n, dtype=np.int32), np.zeros(2 * n, bool), np.tile(MEMBERS, (2 * n, 1)),
        )  # fmt: skip
        corrs = np.arange(n, dtype=np.int32)
        elements = ElementTable(
            corrs[:, None], np.ones(n, np.int32), corrs + n, np.arange(n + 1, dtype=np.int32), corrs,
            np.tile(MEMBERS, (n, 1)),
        )  # fmt: skip
        return planes, sources, self.rows, elements

    def expected(self, corr: int, member: int, t: int, f: int) -> tuple[np.ndarray, int, int]:
        """Gram matrix of one cell, the number of data in it, and of data lost because they are not finite."""
        gram, used, lost = np.zeros((2, 2), complex), 0, 0
        for slot in np.flatnonzero(self.tcell == t):
            row = self.rows[MEMBERS[member], slot]
            for c in np.flatnonzero(self.fcell == f) if row >= 0 else ():
                weight = self.weights[row, c, corr]
                if self.flags[row, c, corr] or not 0 < weight < np.inf:
                    continue
                values = self.coef[corr] * [self.model[row, c, corr], self.data[row, c, corr]]
                if not np.isfinite(values).all():
                    lost += 1
                    continue
                gram += 2 * float(weight) * np.outer(values.conj(), values)
                used += 1
        return gram, used, lost


def check(columns: Columns) -> None:
    planes, sources, rows, elements = columns.tables()
    nf = int(columns.fcell.max()) + 1
    gram, count = empty_gram(elements, len(MEMBERS), 2, nf)
    data = columns.tcell, columns.fcell, columns.flags, columns.weights
    lost = accumulate(gram, count, planes, sources, rows, elements, *data)
    total = 0
    for corr, member, t, f in np.ndindex(columns.ncorr, len(MEMBERS), 2, nf):
        expected, used, dropped = columns.expected(corr, member, t, f)
        own = gram[corr][member, t, :, :, f]
        np.testing.assert_allclose(own[0, 0], expected[0, 0].real, rtol=1e-12)
        np.testing.assert_allclose(own[1, 1], expected[1, 1].real, rtol=1e-12)
        np.testing.assert_allclose(own[0, 1] + 1j * own[1, 0], expected[0, 1], rtol=1e-11)
        assert count[corr, member, t, f] == used
        total += dropped
    assert lost == total


def taken(columns: Columns) -> bool:
    """Whether the columns are read as they lie."""
    planes, sources, rows, elements = columns.tables()
    data = columns.tcell, columns.fcell, columns.flags, columns.weights
    return aligned(*prepare(planes, sources, rows, elements, *data)) is not None


@pytest.mark.parametrize("ncorr", [1, 2, 4])
@pytest.mark.parametrize("fcell", [np.zeros(8), np.repeat([0, 1], 4), np.repeat([-1, 0], 4)])
def test_sums_are_those_of_numpy(ncorr: int, fcell: np.ndarray) -> None:
    columns = Columns(ncorr, fcell)
    assert taken(columns)
    check(columns)


def test_values_that_are_not_finite_are_dropped_and_counted() -> None:
    columns = Columns(4, np.zeros(8))
    columns.data[columns.rows[3, 0], 2, 1] = np.nan
    columns.model[columns.rows[4, 2], 5, 3] = complex(0, np.inf)
    columns.flags[columns.rows[[3, 4], [0, 2]], [2, 5], [1, 3]] = 0
    columns.weights[columns.rows[[3, 4], [0, 2]], [2, 5], [1, 3]] = 1
    assert taken(columns)
    check(columns)


def test_other_shapes_take_the_general_way() -> None:
    uneven = Columns(1, np.repeat([0, 1], [3, 5]))  # cells do not begin where vectors do
    assert not taken(uneven)
    check(uneven)
    each = Columns(4, np.arange(8))
    assert not taken(each)
    check(each)
    wide = Columns(4, np.zeros(8))
    wide.model = wide.model.astype(complex)
    assert not taken(wide)
    check(wide)


def sums(columns: Columns, landed: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
    planes, sources, rows, elements = columns.tables()
    gram, count = empty_gram(elements, len(MEMBERS), 2, int(columns.fcell.max()) + 1)
    data = columns.tcell, columns.fcell, columns.flags, columns.weights
    accumulate(gram, count, planes, sources, rows, elements, *data, landed)
    return gram, count


@pytest.mark.parametrize("fcell", [np.zeros(8), np.arange(8)])  # as columns lie, and the general way
def test_sums_follow_a_reader(fcell: np.ndarray) -> None:
    columns = Columns(4, fcell)
    columns.rows = np.sort(columns.rows.ravel()).reshape(SLOTS, -1).T.copy()
    columns.tcell = np.array([0, 0, 1], np.int32)
    expected = sums(columns, None)
    filled, landed = columns.data.copy(), np.zeros(1, np.int64)
    columns.data[:] = 1e6  # not read yet

    def read() -> None:
        for row in range(len(filled)):
            columns.data[row] = filled[row]
            landed[0] = row + 1
            time.sleep(0.002)

    thread = threading.Thread(target=read)
    thread.start()
    found = sums(columns, landed)
    thread.join()
    np.testing.assert_array_equal(found[1], expected[1])
    for own, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("fcell", [np.zeros(8), np.arange(8)])
def test_nobody_waits_for_rows_that_will_not_come(fcell: np.ndarray) -> None:
    _, count = sums(Columns(4, fcell), np.array([-1]))
    assert not count.any()


def test_pieces_that_share_a_cell_are_chained() -> None:
    rows = np.arange(12).reshape(6, 2).T
    made = turns(np.array([0, 1, 1, -1, 1, 2]), rows, 2, 1)
    assert made.chained.tolist() == [False, False, True, True, True, False]
    assert made.rows.tolist() == [2, 4, 6, 8, 10, 12]
    pairs = turns(np.array([-1, -1, 3, 4, 4, 5]), rows, 2, 2)
    assert pairs.chained.tolist() == [False, False, True] and pairs.first.tolist() == [0, 2, 4, 6]
