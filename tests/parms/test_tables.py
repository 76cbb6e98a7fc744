"""Parameter tables: what one run found is looked up by name and domain, edited, put together, and used by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.errors import DataError
from rimetree.funklets import Function, Spline
from rimetree.io.parm_lookup import interval_of
from rimetree.status import Status

FREQ = (1e9, 2e9, 8)


def cells(start: float, stop: float, count: int, freq: Any = FREQ) -> rt.Cells:
    return rt.Cells(time=(start, stop, count), freq=freq)


def truth(grid: rt.Cells) -> np.ndarray:
    return (2 + np.sin(grid.time / 7))[:, None] * (grid.freq / 1.5e9)


def forest(grid: rt.Cells, data: np.ndarray | None = None, start: Any = 0.5, **options: Any) -> Any:
    """x = data on a grid."""
    ns = rt.Scope()
    ns.x << Meq.Parm(start, tags="fit", **options)
    ns.eq << Meq.Condeq(ns.x, Meq.Constant(truth(grid) if data is None else data, axes=("time", "freq")))
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-13)
    return ns.forest()


def solved(grid: rt.Cells, **options: Any) -> rt.Solutions:
    return forest(grid, **options).run(grid, progress=False).tables


def kept(grid: rt.Cells, fixed: Any, **options: Any) -> Any:
    """The report of fitting y to truth / x with x fixed; y must be 1."""
    ns = rt.Scope()
    ns.x << Meq.Parm(0.0, **options)
    ns.y << Meq.Parm(3.0, tags="fit", solint=(1, 1))
    ns.eq << Meq.Condeq(ns.x * ns.y, Meq.Constant(truth(grid), axes=("time", "freq")))
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-13)
    return ns.forest().run(grid, progress=False, fixed=fixed)


SMOOTH = {"funklet": Spline(time=9, freq=1, degree=4)}


# Look-up.


def test_evaluated_on_any_grid() -> None:
    table = solved(cells(0, 40, 40), **SMOOTH)
    fine = cells(3, 30, 100, (1.1e9, 1.7e9, 5))
    np.testing.assert_allclose(table.evaluate("x", fine.time, fine.freq), truth(fine), rtol=2e-4)
    outside = table.evaluate("x", [20.0, 50.0], 1.5e9)
    assert np.isfinite(outside[0]).all() and np.isnan(outside[1]).all()


def test_intervals_of_polynomials() -> None:
    """Straight lines per 10 s are the line of truth 3 t f / Hz, evaluated between the cells in which they were found."""
    grid = cells(0, 40, 40)
    table = solved(grid, data=3 * np.outer(grid.time, grid.freq), start=[[0.0, 0.0], [0.0, 0.0]], solint=10)
    assert table.parm("x").values.shape == (1, 4, 1, 2, 2)
    t, f = np.linspace(0.1, 39.9, 17), np.array([1.23e9, 1.9e9])
    np.testing.assert_allclose(table.evaluate("x", t, f), 3 * np.outer(t, f), rtol=1e-9)


def test_file_holds_the_function(tmp_path: Path) -> None:
    """A user's function is found again by name; where it is not loaded, it is given."""
    grid = cells(0, 40, 40)
    data = np.outer(np.exp(-grid.time / 20), np.ones(8))
    found = solved(grid, data=data, start=[0.5, 10.0], funklet=decay)
    found.save(tmp_path / "x.h5")
    loaded = rt.Solutions.load(tmp_path / "x.h5")
    np.testing.assert_allclose(loaded.evaluate("x", [5.0, 7.0], 1.2e9)[:, 0], np.exp([-0.25, -0.35]), rtol=1e-8)
    assert loaded.plot(tmp_path / "plots")
    loaded.groups[0].parms[0].funklet = Function("elsewhere:decay")
    with pytest.raises(DataError, match=r"Parm x: it is a function of .*elsewhere, decay, which is not loaded"):
        loaded.evaluate("x", 5.0, 1.2e9)
    np.testing.assert_allclose(loaded.evaluate("x", 5.0, 1.2e9, function=decay), np.exp(-0.25), rtol=1e-8)
    assert loaded.plot(tmp_path / "coefficients")


def decay(time: Any, freq: Any, c: Any) -> Any:
    return c[0] * jnp.exp(-time / c[1])


def test_edited_and_saved(tmp_path: Path) -> None:
    table = solved(cells(0, 40, 40), solint=20)
    table.save(tmp_path / "x.h5")
    loaded = rt.Solutions.load(tmp_path / "x.h5")
    loaded.parm("x").values[0, 1] = 7.0
    loaded.parm("x").status[0, 0] = Status.NO_DATA
    loaded.save(tmp_path / "x.h5", overwrite=True)
    again = rt.Solutions.load(tmp_path / "x.h5")
    np.testing.assert_equal(again.evaluate("x", [10.0, 30.0], 1.5e9)[:, 0], [np.nan, 7.0])


def test_runs_put_together(tmp_path: Path) -> None:
    """Two nights and two bands in one file: each cell by the run that holds there; the same domain again is replaced."""
    table = solved(cells(0, 40, 40), **SMOOTH)
    for grid in (cells(1000, 1040, 40), cells(0, 40, 40, (3e9, 4e9, 8))):
        table.put(solved(grid, **SMOOTH))
    table.save(tmp_path / "mep.h5")
    loaded = rt.Solutions.load(tmp_path / "mep.h5")
    for grid in (
        cells(5, 35, 3, (1.2e9, 1.3e9, 2)),
        cells(1005, 1035, 3, (1.2e9, 1.3e9, 2)),
        cells(5, 35, 3, (3.2e9, 3.3e9, 2)),
    ):
        np.testing.assert_allclose(loaded.evaluate("x", grid.time, grid.freq), truth(grid), rtol=2e-4)
    assert np.isnan(loaded.evaluate("x", [20.0, 500.0], 1.5e9)[1]).all()
    with pytest.raises(DataError, match=r"Parm 'x' was solved for .* say which"):
        loaded.parm("x")
    count = len(loaded.groups)
    other = solved(cells(1000, 1040, 40), data=np.full((40, 8), 9.0), **SMOOTH)
    loaded.put(other)
    assert len(loaded.groups) == count
    np.testing.assert_allclose(loaded.evaluate("x", [1020.0], 1.5e9), 9.0, rtol=1e-9)


# Use in another run.


def test_fixed_values_vary_as_the_table_does() -> None:
    """Whatever solint the fixed Parm has: one per 10 s here, with straight lines between, on another grid and domain."""
    table = solved(cells(0, 40, 40), start=[[0.5, 0.1], [0.1, 0.1], [0.0, 0.0]], solint=10)
    grid = cells(5, 25, 33, (1.2e9, 1.6e9, 3))
    for solint in (None, 4):
        report = kept(grid, table, solint=solint)
        np.testing.assert_allclose(report.tables.parm("y").values[0, ..., 0, 0], 1, atol=1e-2)


def test_cells_outside_the_table_have_no_solution() -> None:
    table = solved(cells(0, 40, 40), **SMOOTH)
    status = kept(cells(30, 50, 20), table).tables.parm("y").status[0, :, 0]
    np.testing.assert_equal(status == Status.CONVERGED, np.arange(20) < 10)


def test_start_from_another_function_and_domain() -> None:
    """No iteration is allowed: what comes out is the start. A spline over all, from lines per 4 s, where these hold."""
    table = solved(cells(0, 40, 40), start=[[0.5, 0.1], [0.1, 0.1]], solint=4)
    grid = cells(2, 38, 60, (1.2e9, 1.6e9, 4))
    made = forest(grid, start=0.0, **SMOOTH)
    found = forest_start(made, grid, table)
    np.testing.assert_allclose(found.evaluate("x", grid.time, grid.freq), truth(grid), rtol=2e-2)
    constant = forest_start(forest(grid, start=0.0, solint=(15, 1)), grid, table).parm("x")
    centres = rt.Cells(time=constant.time.mean(1), freq=constant.freq.mean(1))
    np.testing.assert_allclose(constant.values[0, ..., 0, 0], truth(centres), rtol=2e-2)


def forest_start(made: Any, grid: rt.Cells, table: rt.Solutions) -> rt.Solutions:
    """The starting values of a run, as solutions that count as good."""
    from rimetree.batch.group import GroupRun
    from rimetree.batch.results import group_solutions

    seen: list[Any] = []
    original = GroupRun.span
    GroupRun.span = lambda self, slots, tiles: seen.append(group_solutions(self))  # type: ignore[method-assign]
    try:
        made.run(grid, progress=False, start=table)
    finally:
        GroupRun.span = original  # type: ignore[method-assign]
    for parm in seen[0].parms:
        parm.status[:] = Status.CONVERGED
    return rt.Solutions(seen)


def test_another_night_as_start_and_fixed(tmp_path: Path) -> None:
    """A table that does not reach the data is refused, in a line that names node, line and file; the nearest may be asked for."""
    path = tmp_path / "night.h5"
    solved(cells(0, 40, 40), solint=20).save(path)
    later = cells(1000, 1040, 40)
    for how in ("start", "fixed"):
        with pytest.raises(DataError) as error:
            kept(later, path) if how == "fixed" else forest(later).run(later, progress=False, start=path)
        text = str(error.value)
        assert text.startswith("x (") and "test_tables.py" in text and str(path) in text and "\n" not in text
        assert "0 to 40 s" in text and "1000.5 to 1039.5 s" in text and "nearest" in text
    nearest = rt.Solutions.load(path).nearest("time")
    values = kept(later, nearest).tables.parm("y").values[0, ..., 0, 0]
    np.testing.assert_allclose(values * nearest.parm("x").values[0, 1].item(), truth(later), rtol=1e-9)


def test_one_member_fixed_beside_solved_ones() -> None:
    """In one family, a fixed Parm cannot vary more than its solution intervals; where it need not, it is right."""
    grid = cells(0, 40, 40)

    def run(table: Any, solint: Any) -> Any:
        ns = rt.Scope()
        for name in ("x", "z"):
            ns[name] << Meq.Parm(1.0, solint=solint)
        ns.eq << Meq.Condeq(ns.x + ns.z, Meq.Constant(np.full((40, 8), 5.0), axes=("time", "freq")))
        ns.solve << Meq.Solver(ns.eq, solvable="z", tol=1e-13)
        return ns.forest().run(grid, progress=False, fixed=table).tables.parm("z").values.ravel()

    table = solved(grid, data=np.repeat([[2.0], [4.0]], 20, 0) * np.ones(8), solint=20)
    np.testing.assert_allclose(run(table, 20), [3, 1], rtol=1e-9)
    with pytest.raises(DataError, match=r"x \(.*vary within its solution intervals"):
        run(table, None)


# Bad input.


def test_nothing_of_that_name(tmp_path: Path) -> None:
    grid = cells(0, 40, 40)
    solved(grid).save(tmp_path / "x.h5")
    ns = rt.Scope()
    ns.xx << Meq.Parm(1.0, tags="fit")
    ns.eq << Meq.Condeq(ns.xx, 1.0)
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    with pytest.raises(DataError, match=r"x\.h5 has none of the solvable Parms here, such as xx.*it has x"):
        ns.forest().run(grid, progress=False, start=tmp_path / "x.h5")
    table = rt.Solutions.load(tmp_path / "x.h5")
    with pytest.raises(DataError, match=r"no solutions of Parm 'y'"):
        table.evaluate("y", 1.0, 1.5e9)
    with pytest.raises(DataError, match=r"Parm 'x' has no solution there: its tables hold for 0 to 40 s"):
        table.evaluate("x", 1e4, 1.5e9)
    with pytest.raises(DataError, match=r"finite numbers"):
        table.evaluate("x", np.nan, 1.5e9)
    with pytest.raises(DataError, match=r"nearest takes"):
        table.nearest("tme")


def test_start_of_another_function() -> None:
    grid = cells(0, 40, 40)
    with pytest.raises(DataError, match=r"are not coefficients of its function"):
        forest(grid, start=[0.5, 10.0], funklet=decay).run(grid, progress=False, start=solved(grid))


def test_complex_solutions_of_a_real_parm() -> None:
    grid = cells(0, 40, 40)
    table = solved(grid, data=truth(grid) * (1 + 1j), start=1 + 0j)
    with pytest.raises(DataError, match=r"are complex, but it is real"):
        kept(grid, table)


def test_interval_of_a_point() -> None:
    """The narrowest that holds it; without one, none or the nearest."""
    edges = np.array([[0.0, 10.0], [20.0, 30.0], [22.0, 24.0]])
    points = np.array([5.0, 12.0, 23.0, 29.0, 31.0, -9.0])
    np.testing.assert_equal(interval_of(edges, points), [0, -1, 2, 1, -1, -1])
    np.testing.assert_equal(interval_of(edges, points, nearest=True), [0, 0, 2, 1, 1, 0])
