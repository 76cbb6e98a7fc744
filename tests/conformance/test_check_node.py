"""`check_node` finds what is wrong with a class: each fault planted once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rimetree.graph import registry
from rimetree.graph.node import Elementwise, Function, Law, Ring, child, option
from rimetree.ring import Plane, Tensor
from rimetree.testing import check_node

pytestmark = pytest.mark.usefixtures("own_registry")


def make(base, function, **body):
    """A registered class around a function of one child."""
    name = "compute" if issubclass(base, (Elementwise, Function)) else "ring"
    body = {"__doc__": "A class of this test.", "x": child(help="child"), name: staticmethod(function), **body}
    return registry.node(type("Planted", (base,), body))


@jax.custom_jvp
def wrong_slope(x):
    return x * x


wrong_slope.defjvp(lambda primals, tangents: (primals[0] ** 2, 3 * primals[0] * tangents[0]))

calls = iter(range(10**6))


def on_arrays(function):
    return lambda x: x.map(lambda e: Plane(function(e.array if isinstance(e, Plane) else jnp.full((1, 1, 1), e))))


@pytest.mark.parametrize(
    ("base", "function", "message"),
    [
        (Elementwise, wrong_slope, "derivative"),
        (Elementwise, lambda x: jnp.sqrt(-1 - jnp.abs(x)), "not finite"),
        (Elementwise, lambda x: x + next(calls), "two equal calls differ"),
        (Function, on_arrays(lambda x: x - x.mean(0, keepdims=True)), "one member alone"),
        (Function, on_arrays(lambda x: x.sum(2, keepdims=True)), "constant children"),
        (Function, lambda x: x.map(lambda e: e if isinstance(e, Plane) else e + 1), "number 0"),
        (Function, lambda x: x.map(lambda e: Plane(2 * e.array)), "number 0 .* has no attribute 'array'"),
        (Ring, lambda x: x.map(lambda e: Plane(jnp.sin(e.array))), r"only \+ - \* and conjugate"),
    ],
)
def test_planted_faults(base, function, message):
    with pytest.raises(AssertionError, match=message):
        check_node(make(base, function))


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Law(proportional="x"), "proportional to x"),
        (Law(sums=("x",), of_parts=(("Exp", "Exp", 1),)), "at a sum"),
        (Law(product="x"), "at a product"),
        (Law(product="x", mirror="negative"), "at a product"),
    ],
)
def test_laws_that_do_not_hold(law, message):
    cls = make(Elementwise, lambda x: jnp.sin(x) + 2)
    cls.law = law
    with pytest.raises(AssertionError, match=message):
        check_node(cls)


def test_ring_class_that_divides():
    with pytest.raises(AssertionError, match=r"only \+ - \* and conjugate"):
        check_node(make(Ring, lambda x: x.map(lambda e: Plane(1 / e.array) if hasattr(e, "array") else e / 1)))


def test_commutative_class_whose_order_matters():
    first = make(Ring, lambda *x: x[0], commutative=True, x=child(help="children", many=True))
    with pytest.raises(AssertionError, match="another order"):
        check_node(first)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"__doc__": None}, "docstring"),
        ({"x": child()}, "child x has no help"),
        ({"scale": option(1.0, type=float)}, "option scale has no help"),
        ({"basis": option("flat", choices=("linear",), help="basis")}, "default of basis"),
        ({"reduction": "add"}, "commutative"),
    ],
)
def test_declarations(body, message):
    with pytest.raises(AssertionError, match=message):
        check_node(make(Elementwise, lambda x, **options: x, **body))


def test_unregistered_class():
    class Stray(Elementwise):
        """A class that is not registered."""

    with pytest.raises(Exception, match="no node class 'Stray'"):
        check_node(Stray)


def test_class_with_a_kink_may_say_so():
    def kink(x):
        return jnp.sign(jnp.sin(1e7 * jnp.real(x)))

    with pytest.raises(AssertionError, match="derivative"):
        check_node(make(Elementwise, kink))
    registry._classes.pop("Planted")
    check_node(make(Elementwise, kink, smooth=False))


def test_per_member_options_and_further_axes():
    """An option with a value per member is an array; a class may use an axis beyond time and frequency."""

    def compute(l, x, scale):
        (element,) = x.elements
        values = element.array if isinstance(element, Plane) else element
        return Tensor.scalar(Plane(values * l * scale))

    scale = option(2.0, type=float, help="scale", per_member=True)
    check_node(make(Function, compute, coordinates=("l",), scale=scale))


def test_examples_given_by_the_caller():
    logarithm = make(Elementwise, lambda x: jnp.log(x - 10.0), real=True)
    with pytest.raises(AssertionError, match="not finite"):
        check_node(logarithm)
    check_node(logarithm, examples=[((np.array(20.0),), {})])
