"""Values published for, or read off, the original MeqTrees kernel, on its grid: time and frequency 0..4 in 4 cells each."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

CELLS = rt.Cells(time=(0, 4, 4), freq=(0, 4, 4))


def value(definition: object, cells: rt.Cells = CELLS) -> rt.plan.evaluate.Result:
    ns = rt.Scope()
    ns.root << definition
    forest = ns.forest()
    compiled, oracle = forest.evaluate("root", cells), forest.evaluate("root", cells, oracle=True)
    np.testing.assert_allclose(np.broadcast_to(compiled.values, oracle.values.shape), oracle.values, rtol=1e-14)
    return compiled


def test_ramp_in_time() -> None:
    result = value(Meq.Add(Meq.Multiply(2, Meq.Time()), 1), rt.Cells(time=(0, 10, 10), freq=(0, 1, 1)))
    np.testing.assert_allclose(result.values[:, 0], np.arange(2, 21, 2))


def test_outer_sum_of_axes() -> None:
    result = value(Meq.Time() * 10 + Meq.Freq())
    np.testing.assert_allclose(result.values[0], [5.5, 6.5, 7.5, 8.5])
    assert result.values.sum() == 352


def test_reductions_of_the_outer_sum() -> None:
    """Case 2: over all cells, and over frequency only."""
    ramp = Meq.Time() * 10 + Meq.Freq()
    for reduce, expected in (
        ("Mean", 22),
        ("Sum", 352),
        ("StdDev", 11.236102527122116),
        ("Max", 38.5),
        ("NElements", 16),
    ):
        np.testing.assert_allclose(value(getattr(Meq, reduce)(ramp)).values, [[expected]], rtol=1e-15)
    along_freq = value(Meq.Mean(ramp, axes="freq")).values
    assert along_freq.shape == (4, 1)
    np.testing.assert_allclose(along_freq[:, 0], [7, 17, 27, 37])


@pytest.mark.parametrize(
    ("coefs", "row0", "shape"),
    [([[1, 2], [3, 4]], [4.5, 8.5, 12.5, 16.5], (4, 4)), ([[1, 2, 3]], [2.75, 10.75, 24.75, 44.75], (1, 4))],
)
def test_polynomial_parm(coefs: list[list[float]], row0: list[float], shape: tuple[int, int]) -> None:
    result = value(Meq.Parm(coefs))
    np.testing.assert_allclose(result.values[0], row0)
    assert result.values.shape == shape


def test_matrix_product_of_numbers() -> None:
    product = Meq.MatrixMultiply(Meq.Matrix22(1, 2, 3, 4), Meq.Matrix22(1, 1j, -1j, 2))
    np.testing.assert_allclose(value(product).values[:, :, 0, 0], [[1 - 2j, 4 + 1j], [3 - 4j, 8 + 3j]])


def test_collapsed_axes_survive_products() -> None:
    product = Meq.MatrixMultiply(
        Meq.Matrix22(Meq.Time(), 0, 0, 1), Meq.Matrix22(1, 2, 3, 4), Meq.Matrix22(Meq.Freq(), 0, 0, 2)
    )
    assert [plane.shape for plane in value(product).planes] == [(4, 4), (4, 1), (1, 4), (1, 1)]


def test_flagged_values_do_not_count() -> None:
    """Case 7: bit 2 where 10 t + f - 12 > 0, which is everywhere but in the first row. (The original's sums over time are
    28 22.5 16 8.5, sums along the first row from each of its cells on.)"""
    ramp = Meq.Time() * 10 + Meq.Freq()
    flagged = Meq.MergeFlags(ramp, Meq.ZeroFlagger(ramp - 12, oper="GT", flag_bit=2))
    np.testing.assert_array_equal(value(flagged).flags, [[0] * 4, [2] * 4, [2] * 4, [2] * 4])
    assert value(Meq.Mean(flagged)).values.item() == 7
    np.testing.assert_allclose(value(Meq.Sum(flagged, axes="time")).values, [[5.5, 6.5, 7.5, 8.5]])


def test_condeq_is_right_minus_left() -> None:
    assert value(Meq.Condeq(5, 3)).values.item() == -2


def test_predict_of_two_sources() -> None:
    """Case 10: sources at (0.001, 0.002) and at the centre, sign +, baseline (100, 50, 20) m."""
    cells = rt.Cells(time=(0, 1, 1), freq=np.array([1.05e9, 1.15e9]))
    l, m = 0.001, 0.002
    uvw = Meq.Composer(100.0, 50.0, 20.0)

    def source(l: float, m: float, brightness: object) -> object:
        lmn = Meq.Composer(l, m, float(np.sqrt(1 - l * l - m * m)))
        return Meq.PhaseDelay(lmn, uvw, sign=1) * brightness

    total = source(l, m, Meq.Matrix22(1, 0.1j, -0.1j, 1)) + source(0.0, 0.0, Meq.Matrix22(2, 0, 0, 1))
    expected = [1.6928329285905568 - 0.9516556048496462j, 2.1066462604721052 - 0.994297025604185j]
    np.testing.assert_allclose(value(total, cells).values[0, 0, 0], expected, rtol=1e-9)


def solved(start: object, model: object, data: object, **options: object) -> np.ndarray:
    """Coefficients (interval, coefficient) of the Parm x where model(x) is fitted to data on the grid."""
    ns = rt.Scope()
    ns.x << Meq.Parm(start, tags="fit", **options)
    ns.eq << Meq.Condeq(model(ns.x), data)  # type: ignore[operator]
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-12)
    values = ns.forest().run(CELLS, progress=False).tables.parm("x").values
    return np.asarray(values).reshape(values.shape[1], -1)


def test_solves() -> None:
    """Case 9: a line in frequency, ln 2, and the means of the time over 2 slots, and over 3 of which the last has 1."""
    np.testing.assert_allclose(solved([[0.0, 0.0]], lambda x: x, 2 * Meq.Freq() + 3), [[3, 2]], rtol=1e-10)
    np.testing.assert_allclose(solved(0.5, Meq.Exp, 2.0), [[np.log(2)]], rtol=1e-10)
    np.testing.assert_allclose(solved(0.0, lambda x: x, Meq.Time(), solint=2), [[1], [3]], rtol=1e-10)
    np.testing.assert_allclose(solved(0.0, lambda x: x, Meq.Time(), solint=3), [[1.5], [3.5]], rtol=1e-10)
