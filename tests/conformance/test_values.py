"""Textbook values and identities of single classes; test_meqtrees.py has those of the original MeqTrees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from rimetree.graph.registry import get
from rimetree.ring import Plane, Tensor
from rimetree.testing import call_node
from rimetree.testing.calling import apply_class, tensor

GRID = {"time": np.zeros((2, 1)), "freq": np.ones((1, 3))}


def constant(value):
    """A tensor of numbers as array dims + (member, time, freq)."""
    array = np.asarray(value)
    return array.reshape(*array.shape, 1, 1, 1)


def value(name, *children, **options):
    return call_node(get(name), *children, **options)[..., 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "children", "expected"),
    [
        ("FMod", (-7.5, 2), -1.5),
        ("Mod", (7.5, -2), 1.5),
        ("Condeq", (5, 3), -2),
        ("Atan2", (1, -1), 0.75 * np.pi),
        ("Pow", (-2, 3), -8),
        ("Pow", (-2, -1), -0.5),
        ("Pow", (0, 0), 1),
        ("Pow", (2, 0.5), np.sqrt(2)),
        ("Log", (np.e,), 1),
        ("Arg", (-1,), np.pi),
        ("Abs", (3 + 4j,), 5),
        ("Ceil", (-1.5,), -1),
        ("Floor", (-1.5,), -2),
        ("Sqrt", (-4 + 0j,), 2j),
        ("ToComplex", (3, 4), 3 + 4j),
        ("Polar", (2, np.pi / 2), 2j),
        ("Invert", (4,), 0.25),
        ("Delay", (0,), 1),
        ("Delay", (0, np.pi / 2), 1j),
    ],
)
def test_numbers(name, children, expected):
    np.testing.assert_allclose(value(name, *children), expected, atol=1e-15)


@pytest.mark.parametrize("order", [0, 1, 2, 5, 10, -3, 20, -20])
def test_bessel_functions_against_scipy(order):
    """On both sides of the limit between the two formulas, near 0, and for negative arguments."""
    x = np.concatenate([np.linspace(-40, 40, 4001), np.geomspace(1e-12, 1e4, 2000), np.linspace(220, 230, 101)])
    got = call_node(get("Bessel"), x.reshape(1, -1, 1), order=order).ravel()
    np.testing.assert_allclose(got, special.jv(order, x), rtol=0, atol=1e-13 if abs(order) < 20 else 3e-13)
    near = np.abs(x) < 40
    np.testing.assert_allclose(got[near], special.jv(order, x[near]), rtol=0, atol=3e-15)


def test_first_bessel_function_is_exact_near_zero():
    """J1(x) / x is 1/2, as disks need it."""
    x = np.geomspace(1e-200, 1e-6, 50)
    np.testing.assert_allclose(call_node(get("Bessel"), x.reshape(1, -1, 1), order=1).ravel() / x, 0.5, rtol=1e-12)


def test_derivatives_exist_where_a_norm_is_zero():
    for cls in map(get, ("Norm", "Rms", "StdDev")):

        def value(x, cls=cls):
            return apply_class(cls, [tensor(x * jnp.ones((1, 2, 3)), 2)], {}, GRID).elements[0].array.sum()

        assert jax.grad(value)(0.0) == 0


def test_sqrt_and_log_of_real_negative_are_nan():
    assert np.isnan(value("Sqrt", constant(-4.0)))
    assert np.isnan(value("Log", constant(-4.0)))


def test_power_with_integer_exponent_of_negative_array():
    """A compile-time exponent must not go through the logarithm, in value or derivative."""
    np.testing.assert_allclose(value("Pow", constant(-3.0), 3.0), -27)


def test_phase_centre_costs_nothing():
    """The direction l, m, n = 0, 0, 1 known when compiling is the number 1, not an array of ones."""
    centre = Tensor((3,), (0, 0, 1))
    uvw = Tensor((3,), tuple(Plane(np.ones((1, 5, 1))) for _ in range(3)))
    assert get("PhaseDelay").compute(np.ones((1, 1, 4)), centre, uvw).elements == (1,)


def test_baseline_phase_is_that_of_its_stations():
    """V_pq = K_p K_q^* with uvw_pq = uvw_p - uvw_q."""
    rng = np.random.default_rng(0)
    lmn, p, q = constant([0.1, -0.2, np.sqrt(0.95)]), *(constant(rng.normal(size=3)) for _ in range(2))
    k_p, k_q, k_pq = (value("PhaseDelay", lmn, uvw) for uvw in (p, q, p - q))
    np.testing.assert_allclose(k_p * k_q.conj(), k_pq)


@pytest.mark.parametrize("basis", ["linear", "circular"])
def test_stokes_and_coherency_are_inverse(basis):
    iquv = (3.0, 0.5, -0.7, 0.2)
    back = value("Stokes", call_node(get("PointSource"), *iquv, basis=basis), basis=basis)
    np.testing.assert_allclose(back, iquv, atol=1e-15)


def test_unpolarised_source_is_diagonal_when_compiling():
    source = Tensor.scalar(Plane(np.ones((1, 1, 1))))
    zero = Tensor.scalar(0)
    coherency = get("PointSource").ring(source, zero, zero, zero)
    assert coherency.elements[1:3] == (0, 0)


def test_inverse_keeps_zeros_known_when_compiling():
    one = Plane(np.full((1, 1, 1), 4.0))
    inverse = get("MatrixInvert22").compute(Tensor((2, 2), (one, 0, 0, 2)))
    assert inverse.elements[1:] == (0, 0, 0.5)
    assert float(inverse.elements[0].array[0, 0, 0]) == 0.25
