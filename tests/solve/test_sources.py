"""Sources are read where they lie, whatever their strides; what does not fit is refused before memory is touched."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rimetree.solve.reduce.contract import contract
from rimetree.solve.reduce.sources import Sources

NROW, NCHAN, NCORR = 4, 9, 3


def filled(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random complex numbers that complex64 holds exactly."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-9, 9, shape) + 1j * rng.integers(-9, 9, shape)).astype(complex)


def read(tables: Any, sources: Sources, number: int) -> np.ndarray:
    """What a kernel sees of a source: (NROW, NCHAN), one baseline or member, NROW slots."""
    member = np.zeros(1, int)
    out = np.empty((NROW, NCHAN, 1), np.complex64)
    table = tables.table_of([[(1, [(number, False, member)])]], 1)
    assert contract(out, table, sources, np.arange(NROW, dtype=np.int32)[None], np.zeros(1, int), member) == 0
    return out[:, :, 0]


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "complex64": lambda a: a.astype(np.complex64),
    "complex128": lambda a: a,
    "Fortran order": np.asfortranarray,
    "every other channel": lambda a: np.repeat(a, 2, 1)[:, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "other byte order": lambda a: a.astype(">c16"),
    "part of a record": lambda a: np.rec.fromarrays([a.real.astype(np.int8), a.astype(np.complex64)], names="x,y")["y"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("corr", range(NCORR))
def test_columns_of_any_layout(tables: Any, layout: str, corr: int) -> None:
    values, sources = filled(1, (NROW, NCHAN, NCORR)), Sources()
    if layout == "other byte order":
        with pytest.raises(ValueError, match="complex"):
            sources.column(LAYOUTS[layout](values), corr)
        return
    number = sources.column(LAYOUTS[layout](values), corr)
    np.testing.assert_array_equal(read(tables, sources, number), values[:, :, corr])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("extent", [(1, NROW, NCHAN), (2, NROW, NCHAN), (1, 1, NCHAN), (1, NROW, 1), (1, 1, 1)])
def test_planes_of_any_layout(tables: Any, layout: str, extent: tuple[int, int, int]) -> None:
    values, sources = filled(2, extent), Sources()
    number = sources.plane(LAYOUTS[layout](values))
    np.testing.assert_array_equal(read(tables, sources, number), np.broadcast_to(values[0], (NROW, NCHAN)))


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int32, np.uint8, np.bool_])
def test_real_planes_are_converted(tables: Any, kind: type) -> None:
    values, sources = (np.arange(NROW * NCHAN).reshape(1, NROW, NCHAN) % 7).astype(kind), Sources()
    np.testing.assert_array_equal(read(tables, sources, sources.plane(values)), values[0])


def test_a_column_is_read_in_place(tables: Any) -> None:
    column, sources = np.zeros((NROW, NCHAN, NCORR), np.complex64), Sources()
    number = sources.column(column, 1)
    column[:, :, 1] = 3
    assert (read(tables, sources, number) == 3).all()


def test_memory_outlives_its_owner(tables: Any) -> None:
    sources = Sources()
    number = sources.plane(np.full((1, NROW, NCHAN), 5.0))
    gc.collect()
    _ = [np.zeros((1, NROW, NCHAN), complex) for _ in range(50)]
    assert (read(tables, sources, number) == 5).all()


def test_numbers_follow_the_order_of_adding() -> None:
    sources, column = Sources(), np.zeros((NROW, NCHAN, NCORR), np.complex64)
    assert [sources.column(column, 0), sources.plane(np.zeros((1, 1, 1))), sources.column(column, 2)] == [0, 1, 2]


def test_wrong_arrays_are_refused() -> None:
    sources, column = Sources(), np.zeros((NROW, NCHAN, NCORR), np.complex64)
    for bad, corr in [(column, NCORR), (column[0], 0), (column.real, 0)]:
        with pytest.raises(ValueError, match="complex"):
            sources.column(bad, corr)
    for bad in (np.zeros((2, 2)), np.array([[["a"]]])):
        with pytest.raises(ValueError, match="member, slot, channel"):
            sources.plane(bad)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("column", (NROW - 1, NCHAN, 1)),
        ("column", (NROW, NCHAN + 1, 1)),
        ("column", (NROW, 1, 1)),
        ("plane", (1, NROW + 1, 1)),
        ("plane", (1, 1, NCHAN - 1)),
    ],
)
def test_a_kernel_never_reads_beyond_a_source(tables: Any, kind: str, shape: tuple[int, int, int]) -> None:
    sources = Sources()
    number = sources.column(np.zeros(shape, complex), 0) if kind == "column" else sources.plane(np.zeros(shape))
    with pytest.raises(ValueError, match="does not fit"):
        read(tables, sources, number)


@pytest.mark.parametrize("kind", ["column", "plane"])
def test_members_beyond_a_source_are_refused(tables: Any, kind: str) -> None:
    sources, rows = Sources(), np.zeros((1, 1), np.int32)
    number = sources.column(np.zeros((1, 1, 1), complex), 0) if kind == "column" else sources.plane(np.zeros((2, 1, 1)))
    table = tables.table_of([[(1, [(number, False, np.array([2]))])]], 1)
    with pytest.raises(ValueError, match="does not fit"):
        contract(np.zeros((1, 1, 1), np.complex64), table, sources, rows, np.zeros(1, int), np.zeros(1, int))
