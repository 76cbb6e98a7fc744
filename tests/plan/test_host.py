"""Functions of numpy as nodes: values, derivatives against analytic ones, and what goes wrong in some cells only."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import rimetree as rt
from rimetree import Meq
from rimetree.graph.node import Family
from rimetree.plan.calling import elementwise
from rimetree.testing import check_node

pytestmark = pytest.mark.usefixtures("own_registry")

CELLS = rt.Cells(time=(0, 4, 4), freq=(0, 4, 4))


def traced(function, *args, options=None, **how):
    """The class that a function makes, as JAX calls it: value as a function of arrays; and its Family."""
    cls = rt.node(function, name="Planted", **how).cls
    family = Family(0, cls, {}, (), 1)
    return jax.jit(lambda *x: elementwise(family, cls, x, options or {})), family


DERIVATIVES = {
    "sine": (lambda x: np.sin(100 * x), lambda x: 100 * np.cos(100 * x), [0.0, 1e-9, 0.3, 20.0], 1e-10),
    "delay": (lambda x: np.exp(2e9j * x), lambda x: 2e9j * np.exp(2e9j * x), [0.0, 1e-9, -4e-9], 1e-10),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, [5e9, -3.0, 1e-20], 1e-10),
    "bessel": (lambda x: special.j0(x), lambda x: -special.j1(x), [0.5, 2.0, 30.0], 1e-10),
    "flat": (lambda x: np.ones_like(x), lambda x: 0 * x, [0.0, 2.0], 1e-12),
    "gamma": (lambda x: special.gamma(x), lambda x: special.gamma(x) * special.digamma(x), [0.7, 4.0], 1e-10),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_differences(name):
    function, slope, points, tolerance = DERIVATIVES[name]
    call, _ = traced(function)
    x = np.array(points)
    got, tangent = jax.jvp(call, (x,), (np.ones_like(x),))
    np.testing.assert_allclose(got, function(x), rtol=1e-15)
    np.testing.assert_allclose(tangent, slope(x), rtol=tolerance, atol=tolerance)


def test_complex_arguments_need_not_be_analytic():
    """d(z^2 conj(z)) = 2 |z|^2 dz + z^2 conj(dz)."""
    call, _ = traced(lambda z: z**2 * np.conj(z))
    z, dz = np.array([1.0 + 0.5j, -2j]), np.array([0.3 - 0.1j, 1j])
    _, tangent = jax.jvp(call, (z,), (dz,))
    np.testing.assert_allclose(tangent, 2 * abs(z) ** 2 * dz + z**2 * dz.conj(), rtol=1e-11)


def test_complex_step_is_exact():
    call, _ = traced(lambda x, y: np.exp(x) * np.sin(y), derivative="complex-step", numpy=True)
    x, y = np.array([0.3, -20.0]), np.array([[1.0], [1e-8]])
    _, tangent = jax.jvp(call, (np.atleast_2d(x), y), (np.ones((1, 2)), np.full((2, 1), 0.5)))
    np.testing.assert_allclose(tangent, np.exp(x) * (np.sin(y) + 0.5 * np.cos(y)), rtol=1e-15)


def test_derivative_of_the_author_is_used():
    call, _ = traced(lambda x, y: np.sin(x) * y, derivative=lambda x, y: (7 * y, np.sin(x)))
    x, y = np.array([0.4]), np.array([2.0])
    _, tangent = jax.jvp(call, (x, y), (np.ones(1), np.ones(1)))
    np.testing.assert_allclose(tangent, 14 + np.sin(0.4), rtol=1e-15)  # 7, not cos(x): what was given


def test_second_derivatives():
    call, _ = traced(lambda x: np.exp(2 * x))
    slope = lambda x: jax.jvp(call, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
    x = np.array([0.1, -0.7])
    np.testing.assert_allclose(jax.jvp(slope, (x,), (np.ones(2),))[1], 4 * np.exp(2 * x), rtol=1e-7)


def test_work_is_done_on_the_smallest_axes():
    cells = []

    def counted(x):
        cells.append(x.size if isinstance(x, np.ndarray) else 0)
        return np.sqrt(x)

    made = rt.node(counted)
    ns = rt.Scope()
    ns.root << made(Meq.Time()) + made(Meq.Freq())
    big = rt.Cells(time=(0, 1, 300), freq=(0, 1, 200))
    result = ns.forest().evaluate("root", big).values
    np.testing.assert_allclose(result, np.sqrt(big.time)[:, None] + np.sqrt(big.freq), rtol=1e-15)
    assert sum(n for n in cells if n > 1) == 500


def test_large_arrays_do_not_stall():
    made = rt.node(lambda x, y: np.hypot(x, y), name="Hypotenuse")
    ns = rt.Scope()
    ns.root << made(Meq.Time() + 0 * Meq.Freq(), Meq.Freq() * Meq.Time())
    big = rt.Cells(time=(0, 1, 2000), freq=(0, 1, 1500))
    t, f = big.time[:, None], big.freq
    for _ in range(3):
        np.testing.assert_allclose(ns.forest().evaluate("root", big).values, np.hypot(t, f * t), rtol=1e-14)


def test_tensors_of_numpy():
    @rt.node(dims=(2,), numpy=True)
    def length_and_angle(vector):
        """Length and angle of a vector.

        vector: x and y
        """
        return np.hypot(vector[0], vector[1]), np.arctan2(vector[1].real, vector[0].real)

    ns = rt.Scope()
    ns.root << length_and_angle(Meq.Composer(Meq.Time(), Meq.Freq()))
    got = ns.forest().evaluate("root", CELLS).values
    t, f = CELLS.time[:, None], CELLS.freq[None]
    np.testing.assert_allclose(got, [np.hypot(t, f), np.arctan2(f + 0 * t, t + 0 * f)], rtol=1e-15)


def test_check_node_works_on_numpy_functions():
    @rt.node
    def airy(x):
        """The Airy pattern.

        x: angle over the resolution
        """
        return np.sinc(x) ** 2 + np.cos(x)

    check_node(airy)


# Functions that fail.


def broken(kind):
    def function(x):
        return {
            "raises": lambda: {}["gain"],
            "shape": lambda: np.sum(x),
            "words": lambda: np.full(x.shape, "a"),
            "complex": lambda: x * (1j if np.max(x) > 1.2 else 1.0),
            "few": lambda: np.where(x > 3, 1 / int(np.all(x < 3)), x),
            "jax": lambda: jnp.exp(x) * np.asarray(x),
            "branch": lambda: jnp.exp(x) if (x > 0).all() else x,
        }[kind]()

    return function


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("raises", r"its function raised KeyError: 'gain' \(.*test_host\.py:\d+\)"),
        (
            "shape",
            r"its function returned an array of shape \(\), where \(1, 4, 1\) is needed: it must act cell by cell",
        ),
        ("words", "its function returned <U1, not numbers|its function returned ndarray, not an array of numbers"),
        ("complex", "returned complex numbers where it returned real ones before: declare returns=complex"),
        ("few", r"its function raised ZeroDivisionError: division by zero \(.*test_host\.py:\d+\)"),
        ("jax", "its function uses JAX, yet decides by values or hands them to numpy"),
        ("branch", "its function uses JAX, yet decides by values or hands them to numpy"),
    ],
)
def test_functions_that_fail(kind, message):
    made = rt.node(broken(kind), name="Broken")
    ns = rt.Scope()
    ns.root << made(Meq.Time())
    with pytest.raises(rt.ForestError, match=message) as caught:
        ns.forest().evaluate("root", CELLS)
    assert re.search(r"root \(Broken\) \(.*test_host\.py:\d+\)", str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_only_the_cells_where_it_raises_have_no_value():
    def few(x):
        if (np.abs(x) > 0.95).any():
            raise ArithmeticError("too large")
        return 2 * x

    call, family = traced(few)
    x = np.linspace(-1, 1, 1000).reshape(10, 100)
    got = np.asarray(call(x))
    np.testing.assert_array_equal(np.isnan(got), np.abs(x) > 0.95)
    np.testing.assert_array_equal(got[~np.isnan(got)], 2 * x[np.abs(x) <= 0.95])
    assert [re.sub(r" \(.*", "", t) for t in family.calls.troubles] == [
        "its function raised ArithmeticError: too large"
    ]
