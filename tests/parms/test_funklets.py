"""Funklets: values against scipy and formulas on bare cells, and solves that the original cannot do against known truth."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline, make_lsq_spline

import rimetree as rt
from rimetree import Meq
from rimetree.errors import ConfigError, ForestError, SolveError
from rimetree.funklets import Composed, Function, LogPolynomial, On, Polynomial, Spline, from_text, to_text
from rimetree.funklets.spline import basis

CELLS = rt.Cells(time=(0, 10, 25), freq=(1e9, 2e9, 8))
T, F = CELLS.time, CELLS.freq


def value(*args: Any, cells: rt.Cells = CELLS, **options: Any) -> np.ndarray:
    """A Parm on cells, the same compiled and cell by cell."""
    ns = rt.Scope()
    ns.root << Meq.Parm(*args, **options)
    forest = ns.forest()
    compiled, oracle = (forest.evaluate("root", cells, oracle=slow).values for slow in (False, True))
    np.testing.assert_allclose(np.broadcast_to(compiled, oracle.shape), oracle, rtol=1e-12, atol=1e-12)
    return compiled


def solved(start: Any, data: Any, model: Any = lambda x: x, cells: rt.Cells = CELLS, **options: Any) -> Any:
    """The table of the Parm x where model(x) is fitted to data (T, F) on bare cells."""
    ns = rt.Scope()
    ns.x << Meq.Parm(start, tags="fit", **options)
    ns.eq << Meq.Condeq(model(ns.x), Meq.Constant(data, axes=("time", "freq")))
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-13)
    return ns.forest().run(cells, progress=False).tables.parm("x")


def knots(low: float, high: float, pieces: int, degree: int) -> np.ndarray:
    return np.r_[[low] * degree, np.linspace(low, high, pieces + 1), [high] * degree]


def power_law(time: Any, freq: Any, c: Any) -> Any:
    return c[0] * (freq / 1.5e9) ** c[1]


def bump(time: Any, freq: Any, c: Any) -> Any:
    return c[0] * jnp.exp(-(((freq / 1e9 - c[1]) / c[2]) ** 2))


def fade(time: Any, freq: Any, c: Any) -> Any:
    return c[0] * jnp.exp(1j * c[1] * time) * jnp.exp(-c[2] * freq / 1e9)


# Values.


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_spline_is_scipys(pieces: int, degree: int, seed: int) -> None:
    """Unequal pieces, and points at their ends and outside."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.uniform(0.1, 2, pieces + 1))
    points = np.concatenate([ends, rng.uniform(ends[0] - 0.3, ends[-1] + 0.3, 20)])
    knots = np.r_[[ends[0]] * degree, ends, [ends[-1]] * degree]
    expected = BSpline(knots, np.eye(pieces + degree), degree)(points)
    np.testing.assert_allclose(np.stack(basis(ends, degree, points), 1), expected, rtol=1e-9, atol=1e-9)


def test_spline_in_both_axes_with_ends_in_si() -> None:
    """Unequal pieces; the product of both axes is scipy's tensor product."""
    ends = np.array([0.0, 1.0, 4.0, 10.0]), np.array([0.9e9, 1.3e9, 2.2e9])
    c = np.random.default_rng(1).normal(size=(5, 4))
    knots_t, knots_f = (np.r_[[e[0]] * 2, e, [e[-1]] * 2] for e in ends)
    basis_t, basis_f = (BSpline(k, np.eye(len(k) - 3), 2)(x) for k, x in ((knots_t, T), (knots_f, F)))
    got = value(c, funklet=Spline(time=ends[0], freq=ends[1], degree=2))
    np.testing.assert_allclose(got, basis_t @ c @ basis_f.T, rtol=1e-12, atol=1e-12)


def test_a_number_is_a_constant_curve() -> None:
    for funklet in (
        Spline(time=3, freq=2),
        Composed(On(Spline(freq=2), freq=(0, 1.5e9)), On(Polynomial(2), freq=(1.5e9, 3e9))),
    ):
        np.testing.assert_allclose(value(2.5, funklet=funklet), 2.5, rtol=1e-12)


def test_log_polynomial() -> None:
    np.testing.assert_allclose(value([[0, 1]], funklet="log-polynomial")[0], np.log10(F), rtol=1e-12)
    got = value([[1, -0.7, 0.1]], funklet=LogPolynomial(freq0=1.4e9))
    x = np.log10(F / 1.4e9)
    np.testing.assert_allclose(got[0], 1 - 0.7 * x + 0.1 * x**2, rtol=1e-12)


def test_pieces_hold_each_on_its_domain() -> None:
    """A polynomial goes from -1 to 1 over its domain; pieces in time and frequency tile the plane."""
    pieces = (
        On(Polynomial(freq=1), freq=(1e9, 1.4e9)),
        On(Polynomial(), freq=(1.4e9, 2e9), time=(0, 5)),
        On(Polynomial(), freq=(1.4e9, 2e9), time=(5, 10)),
    )
    got = value([[[1, 2]], 3, 4], funklet=Composed(*pieces))
    low = 1 + 2 * (F - 1.2e9) / 0.2e9
    expected = np.where(F < 1.4e9, low, np.where(T[:, None] < 5, 3, 4))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_function_of_ones_own() -> None:
    got = value([2.0, -0.7], funklet=power_law)
    assert got.shape == (1, 8)
    np.testing.assert_allclose(got[0], 2 * (F / 1.5e9) ** -0.7, rtol=1e-12)
    relative = value([[1.0, 2.0], [3.0, 4.0]], funklet=Function(lambda x, y, c: c[0, 0] + c[1, 1] * x * y, scaled=True))
    np.testing.assert_allclose(relative, 1 + 4 * np.outer(T / 5 - 1, (F - 1.5e9) / 0.5e9), atol=1e-12)


@pytest.mark.parametrize(
    "funklet",
    [Polynomial(1, 2), LogPolynomial(freq0=1e9), Spline(time=3), Spline(freq=(1.0, 2.0, 4.0), degree=1), Function(power_law, True),
     Composed(On(Polynomial(), time=(0, 1)), On(Spline(freq=2), time=(1, 2)))],
)  # fmt: skip
def test_text_round_trip(funklet: Any) -> None:
    again = from_text(to_text(funklet))
    assert to_text(again) == to_text(funklet)
    assert again == funklet or (again.call is funklet.call and again.scaled)


# Solves.


def test_spline_solve_is_scipys() -> None:
    data = np.sin(T)[:, None] * np.ones(F.size) + 0.1 * np.random.default_rng(2).normal(size=(T.size, F.size))
    table = solved(0.0, data, funklet=Spline(time=6))
    expected = make_lsq_spline(T, data.mean(1), knots(0, 10, 6, 3), 3).c
    np.testing.assert_allclose(table.values.ravel(), expected, atol=1e-10)


def test_spline_solve_per_interval() -> None:
    """Two solution intervals with a spline each, of which each is scipy's on its half."""
    cells = rt.Cells(time=(0, 40, 40), freq=(1e9, 2e9, 2))
    data = np.cos(cells.time / 6)[:, None] * np.ones(2)
    table = solved(1.0, data, funklet=Spline(time=2), solint=20, cells=cells)
    for half in (0, 1):
        own = slice(20 * half, 20 * half + 20)
        expected = make_lsq_spline(cells.time[own], data[own, 0], knots(20 * half, 20 * half + 20, 2, 3), 3).c
        np.testing.assert_allclose(table.values[0, half].ravel(), expected, atol=1e-10)


def test_two_domain_solve() -> None:
    truth = np.where(F < 1.4e9, 2 + 3 * (F - 1.2e9) / 0.2e9, 7.0)
    pieces = On(Polynomial(freq=1), freq=(1e9, 1.4e9)), On(Polynomial(), freq=(1.4e9, 2e9))
    table = solved(1.0, np.broadcast_to(truth, (25, 8)), funklet=Composed(*pieces))
    np.testing.assert_allclose(table.values.ravel(), [2, 3, 7], atol=1e-10)


def test_function_solve() -> None:
    """Its coefficients enter non-linearly; below an exponential, and with a Parm that is complex though its coefficients are not."""
    data = np.broadcast_to(2 * np.exp(-(((F / 1e9 - 1.4) / 0.2) ** 2)), (25, 8))
    np.testing.assert_allclose(solved([1.0, 1.5, 0.3], data, funklet=bump).values.ravel(), [2, 1.4, 0.2], atol=1e-8)
    above = solved([1.0, 1.5, 0.3], np.exp(data), Meq.Exp, funklet=bump).values.ravel()
    np.testing.assert_allclose(above, [2, 1.4, 0.2], atol=1e-8)
    turning = 3 * np.exp(0.4j * T)[:, None] * np.exp(-0.5 * F / 1e9)
    table = solved([1.0, 0.3, 0.1], turning, funklet=fade)
    np.testing.assert_allclose(table.values.ravel(), [3, 0.4, 0.5], atol=1e-8)
    assert table.values.dtype == float


def test_bounds_and_priors_of_coefficients() -> None:
    """Lists like the start; the prior weighs as much as one of the 8 data of each coefficient."""
    data = np.broadcast_to(2 * np.exp(-(((F / 1e9 - 1.4) / 0.2) ** 2)), (25, 8))
    bounds = ([0.0, 1.0, 0.0], [1.5, 2.0, 1.0])
    held = solved([1.0, 1.5, 0.3], data, funklet=bump, bounds=bounds)
    assert held.values.ravel()[0] == 1.5 and held.errors.ravel()[0] == 0
    flat = solved(0.0, np.ones((25, 8)), funklet=Spline(time=25, degree=0), prior=([0.0] * 25, [1.0] * 25))
    np.testing.assert_allclose(flat.values.ravel(), 8 / 9, rtol=1e-9)
    with pytest.raises(ForestError, match=r"x .*bounds must be"):
        solved([1.0, 1.5, 0.3], data, funklet=bump, bounds=([0.0, 1.0], [1.5, 2.0]))


def test_newton_takes_curvature_of_functions() -> None:
    data = np.broadcast_to(2 * np.exp(-(((F / 1e9 - 1.4) / 0.2) ** 2)), (25, 8))
    ns = rt.Scope()
    ns.x << Meq.Parm([1.8, 1.42, 0.22], tags="fit", funklet=bump)
    ns.eq << Meq.Condeq(Meq.Exp(ns.x), Meq.Constant(np.exp(data), axes=("time", "freq")))
    ns.solve << Meq.Solver(ns.eq, solvable="fit", algorithm="newton", tol=1e-13)
    table = ns.forest().run(CELLS, progress=False).tables.parm("x")
    np.testing.assert_allclose(table.values.ravel(), [2, 1.4, 0.2], atol=1e-8)


def test_mixed_intervals() -> None:
    """3 f + (5 | 15 per half): wrong in the original, without a word (MEQTREES.md, faults). A spline and a function join in."""
    f = F / 1e9
    truth = (
        3 * f
        + np.where(np.arange(25) < 13, 5, 15)[:, None]
        + np.sin(T / 3)[:, None] * np.sin(6 * f)
        + 2 * np.cos(6 * f)
    )
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0, tags="fit")
    ns.b << Meq.Parm(0.0, tags="fit", solint=(13, None))
    ns.s << Meq.Parm(0.1, tags="fit", funklet=Spline(time=8, degree=5))
    ns.p << Meq.Parm(
        [0.1], tags="fit", solint=(None, 4), funklet=lambda time, freq, c: jnp.exp(c[0]) * jnp.cos(6e-9 * freq)
    )
    freq = Meq.Freq() * 1e-9
    ns.eq << Meq.Condeq(
        ns.a * freq + ns.b + ns.s * Meq.Sin(6 * freq) + ns.p, Meq.Constant(truth, axes=("time", "freq"))
    )
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-14, max_iter=200)
    found = ns.forest().run(CELLS, progress=False).tables
    np.testing.assert_allclose(found.parm("b").values.ravel(), [5, 15], atol=2e-3)
    np.testing.assert_allclose(found.parm("a").values.item(), 3, atol=2e-3)
    np.testing.assert_allclose(np.exp(found.parm("p").values.ravel()), [2, 2], atol=2e-3)


# Bad input.


@pytest.mark.parametrize(
    ("start", "options", "words"),
    [
        (1.0, {"funklet": "log-polynom"}, "did you mean 'log-polynomial'"),
        (1.0, {"funklet": Spline}, "funklet must be"),
        ([[1.0, 2.0]], {"funklet": Spline(time=2)}, "a number or 5 x 1 coefficients"),
        (1.0, {"funklet": Spline(time=(0.0, 10.0)), "solint": 5}, "leave solint in time at None"),
        ([1.0, 2.0, 3.0], {"funklet": Composed(On(Polynomial(), time=(0, 5)), On(Polynomial(), time=(5, 9)))}, "one start for each of 2"),
        ([1.0], {"funklet": lambda t, f, c: np.sin(f)}, "write it with jax.numpy"),
        ([1.0], {"funklet": lambda t, f, c: c[0] * (1 / 0)}, "raised ZeroDivisionError"),
        ([1.0], {"funklet": lambda t, f, c: jnp.zeros(7)}, "returned shape (7,)"),
        ([np.nan], {"funklet": power_law}, "finite"),
    ],
)  # fmt: skip
def test_faults_at_the_line(start: Any, options: Any, words: str) -> None:
    ns = rt.Scope()

    def build() -> None:
        ns.x << Meq.Parm(start, **options)
        ns.forest()

    with pytest.raises(ForestError) as error:
        build()
    assert words in str(error.value) and "test_funklets.py" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [
    lambda: Spline(), lambda: Spline(time=0), lambda: Spline(time=(3.0, 1.0)), lambda: Spline(time=2, degree=-1), lambda: Polynomial(-1),
    lambda: LogPolynomial(freq0=0.0), lambda: Composed(), lambda: On(Polynomial(), time=(2, 1)), lambda: On(Function(power_law)),
    lambda: Composed(On(Polynomial(), time=(0, 2)), On(Polynomial(), time=(1, 3))),
])  # fmt: skip
def test_impossible_funklets(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]+$"):
        make()


def test_what_a_funklet_says_nothing_about() -> None:
    with pytest.raises(ForestError, match=r"root.*its spline goes from 0 to 5 s in time"):
        value(1.0, funklet=Spline(time=(0.0, 5.0)))
    with pytest.raises(SolveError, match=r"x: the function .* is not finite where it starts"):
        solved([-1.0], np.ones((25, 8)), funklet=lambda t, f, c: jnp.sqrt(c[0]))
    with pytest.raises(SolveError, match=r"x: none of its pieces holds from 5 to 10 s"):
        solved(1.0, np.ones((25, 8)), funklet=Composed(On(Polynomial(), time=(0, 5))))


@pytest.mark.parametrize("order", [1, -1])
def test_parms_that_start_alike_keep_the_coefficients_of_their_own_funklets(order: int) -> None:
    ns = rt.Scope()
    kinds = {"curve": Spline(freq=6), "flat": None, "law": "log-polynomial", "longer": Spline(freq=2)}
    for name, funklet in list(kinds.items())[::order]:
        ns[name] << Meq.Parm(1 + 0j, funklet=funklet)
    ns.root << Meq.Composer(*[ns[name] for name in kinds])
    sizes = {f.members["name"][0]: np.size(f.members["value"][0]) for f in ns.forest().families if f.cls.role == "parm"}
    assert sizes == {"curve": 6 + 3, "flat": 1, "law": 1, "longer": 2 + 3}  # pieces + degree of a spline
