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


Element = list[tuple[int, int]]
"""Column and correlation of its planes, the constant part last: that of the data, which is the last column."""


def diagonal(ncorr: int, models: int = 1) -> list[Element]:
    """Sum of a_k X_k + b D, each correlation by itself."""
    return [[(k, corr) for k in range(models + 1)] for corr in range(ncorr)]


def full(ncorr: int, models: int = 1) -> list[Element]:
    """The same with all correlations of the models in each."""
    return [[*((k, c) for k in range(models) for c in range(ncorr)), (models, corr)] for corr in range(ncorr)]


class Columns:
    """Random columns with holes, and the equations of some `elements` as tables."""

    def __init__(self, ncorr: int, fcell: np.ndarray, elements: list[Element] | None = None, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.elements = elements or diagonal(ncorr)
        self.ncorr, self.fcell, self.tcell = ncorr, fcell.astype(np.int32), np.array([0, -1, 1], np.int32)
        shape = (BASELINES * SLOTS, len(fcell), ncorr)
        self.rows = rng.permutation(shape[0]).reshape(BASELINES, SLOTS).astype(np.int32)
        self.rows[0, 0] = -1
        count = max(max(planes)[0] for planes in self.elements) + 1
        self.columns = [(rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("c8") for _ in range(count)]
        self.weights = rng.uniform(0.5, 2, shape).astype(np.float32)
        self.flags = (rng.random(shape) < 0.2).astype(np.uint8)
        for bad in (0, -1, np.nan, np.inf):
            self.weights[rng.random(shape) < 0.05] = bad
        self.coef = [[1.5 - 2j + k for k in range(len(planes) - 1)] + [-1] for planes in self.elements]

    def even_out(self) -> None:
        """Give all correlations the flags and weights of the first."""
        self.weights[:], self.flags[:] = self.weights[..., :1], self.flags[..., :1]

    def tables(self) -> tuple[PlaneTable, Sources, np.ndarray, ElementTable]:
        sources = Sources()
        for column in self.columns:
            for corr in range(self.ncorr):
                sources.column(column, corr)
        factors = np.array([k * self.ncorr + c for planes in self.elements for k, c in planes], np.int32)
        count, size = len(factors), max(map(len, self.elements))
        steps = np.arange(count + 1, dtype=np.int32)
        planes = PlaneTable(
            steps, np.concatenate(self.coef), steps, factors, np.zeros(count, bool), np.tile(MEMBERS, (count, 1))
        )
        last = np.cumsum([len(planes) for planes in self.elements]) - 1
        own = np.array([planes[-1][1] for planes in self.elements], np.int32)
        wide = np.full((len(own), size - 1), -1, np.int32)
        for e, planes_of in enumerate(self.elements):
            wide[e, : len(planes_of) - 1] = last[e] + np.arange(1 - len(planes_of), 0)
        elements = ElementTable(
            wide, (wide >= 0).sum(1).astype(np.int32), last.astype(np.int32), np.arange(len(own) + 1, dtype=np.int32), own,
            np.tile(MEMBERS, (len(own), 1)),
        )  # fmt: skip
        return planes, sources, self.rows, elements

    def expected(self, e: int, member: int, t: int, f: int) -> tuple[np.ndarray, int, int]:
        """Gram matrix of one cell, the number of data in it, and of data lost because they are not finite."""
        planes, used, lost = self.elements[e], 0, 0
        gram, own = np.zeros((len(planes),) * 2, complex), planes[-1][1]
        for slot in np.flatnonzero(self.tcell == t):
            row = self.rows[MEMBERS[member], slot]
            for c in np.flatnonzero(self.fcell == f) if row >= 0 else ():
                weight = self.weights[row, c, own]
                if self.flags[row, c, own] or not 0 < weight < np.inf:
                    continue
                values = np.array([self.columns[k][row, c, corr] for k, corr in planes], complex)
                if not np.isfinite(values).all():
                    lost += 1
                    continue
                values = values * self.coef[e]
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
    for e, member, t, f in np.ndindex(len(gram), len(MEMBERS), 2, nf):
        expected, used, dropped = columns.expected(e, member, t, f)
        own = gram[e][member, t, :, :, f]
        scale = 1e-12 * np.sqrt(np.outer(*[expected.diagonal().real] * 2)).max(initial=1)
        np.testing.assert_allclose(np.triu(own), np.triu(expected.real), rtol=1e-12, atol=scale)
        np.testing.assert_allclose(np.tril(own, -1).T, np.triu(expected.imag, 1), rtol=1e-12, atol=scale)
        assert count[e, member, t, f] == used
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
    columns.columns[-1][columns.rows[3, 0], 2, 1] = np.nan
    columns.columns[0][columns.rows[4, 2], 5, 3] = complex(0, np.inf)
    columns.flags[columns.rows[[3, 4], [0, 2]], [2, 5], [1, 3]] = 0
    columns.weights[columns.rows[[3, 4], [0, 2]], [2, 5], [1, 3]] = 1
    assert taken(columns)
    check(columns)


SHAPES = [
    *((ncorr, diagonal(ncorr, models)) for ncorr in (1, 2, 4) for models in (2, 5, 7)),
    *((ncorr, full(ncorr, models)) for ncorr in (2, 4) for models in (1, 2)),
    (4, [[(0, 0), (1, 0)], [(0, 3), (0, 1), (1, 3)]]),  # elements of unlike sizes
    (4, [[(0, 3), (1, 0)], [(0, 0), (1, 3)]]),  # models of the other correlation only
    (4, [[(0, 1), (1, 1), (2, 1)]]),  # one correlation
]


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("fcell", [np.zeros(8), np.repeat([0, -1, 1], [4, 4, 200])])  # longer than what is done at once
@pytest.mark.parametrize(("ncorr", "elements"), SHAPES)
def test_sums_of_several_planes_are_those_of_numpy(
    ncorr: int, elements: list[Element], fcell: np.ndarray, even: bool
) -> None:
    columns = Columns(ncorr, fcell, elements)
    if even:
        columns.even_out()
    assert taken(columns)
    check(columns)


@pytest.mark.parametrize("elements", [diagonal(4, 3), full(4)])
def test_flagged_and_unflagged_values_that_are_not_finite(elements: list[Element]) -> None:
    columns = Columns(4, np.zeros(8), elements)
    for column in columns.columns:
        column[columns.rows[3, 0], 2, 1], column[columns.rows[4, 2], 5, 3] = np.nan, complex(0, np.inf)
    columns.flags[columns.rows[3, 0], 2], columns.flags[columns.rows[4, 2], 5] = 1, 0
    columns.weights[columns.rows[4, 2], 5] = 1
    assert taken(columns)
    check(columns)


def test_mostly_even_weights() -> None:
    columns = Columns(4, np.zeros(200), full(4))
    columns.even_out()
    columns.weights[columns.rows[3, 0], 150, 2] *= 2
    columns.flags[columns.rows[4, 0], 3, 1] ^= 1
    check(columns)


def test_other_shapes_take_the_general_way() -> None:
    uneven = Columns(1, np.repeat([0, 1], [3, 5]))  # cells do not begin where vectors do
    assert not taken(uneven)
    check(uneven)
    each = Columns(4, np.arange(8))
    assert not taken(each)
    check(each)
    wide = Columns(4, np.zeros(8))
    wide.columns[0] = wide.columns[0].astype(complex)
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
    filled, landed = columns.columns[-1].copy(), np.zeros(1, np.int64)
    columns.columns[-1][:] = 1e6  # not read yet

    def read() -> None:
        for row in range(len(filled)):
            columns.columns[-1][row] = filled[row]
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
