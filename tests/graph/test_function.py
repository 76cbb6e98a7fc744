"""Node classes made of functions: what their parameters become, what is refused, where classes may come from."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.graph import registry
from rimetree.testing import check_node

pytestmark = pytest.mark.usefixtures("own_registry")

CELLS = rt.Cells(time=(0, 4, 4), freq=(1, 2, 3))


def value(definition):
    ns = rt.Scope()
    ns.root << definition
    forest = ns.forest()
    compiled, oracle = forest.evaluate("root", CELLS), forest.evaluate("root", CELLS, oracle=True)
    np.testing.assert_allclose(np.broadcast_to(compiled.values, oracle.values.shape), oracle.values, rtol=1e-14)
    return compiled.values


def test_function_becomes_a_class():
    @rt.node
    def phase_ramp(x, delay=0.5, *, sign: int = -1):
        """exp(i sign delay x).

        x: angle, in rad
        delay: factor
        sign: of the exponent
        """
        return jnp.exp(1j * sign * delay * x)

    cls = registry.get("PhaseRamp")
    assert list(cls.children) == ["x"]
    assert cls.children["x"].help == "angle, in rad"
    assert {k: (o.default, o.kind.words, o.help) for k, o in cls.options.items()} == {
        "delay": (0.5, "a number", "factor"),
        "sign": (-1, "a whole number", "of the exponent"),
    }
    check_node(cls)
    for made in (phase_ramp(Meq.Time(), delay=2), Meq.PhaseRamp(Meq.Time(), delay=2.0)):
        np.testing.assert_allclose(value(made)[:, 0], np.exp(-2j * CELLS.time), rtol=1e-15)
    assert value(phase_ramp(Meq.Time())).shape == (4, 1)  # collapsed where it does not vary
    matrix = value(phase_ramp(Meq.Matrix22(Meq.Time(), 0, 0, 1)))
    np.testing.assert_allclose(matrix[0, 0], np.exp(-0.5j * CELLS.time[:, None]), rtol=1e-15)
    np.testing.assert_allclose(matrix[1, 1], np.exp(-0.5j), rtol=1e-15)


def test_annotations_say_what_an_option_may_be():
    def annotated(
        x,
        size: float = 1,
        count: int | None = None,
        basis: Literal["linear", "circular"] = "linear",
        top: float = np.inf,
        *,
        name_: str,
        names: tuple[str, ...] = (),
        pair: tuple[int, float] | None = None,
        other: Callable[..., float] = max,
    ):
        """Annotated."""
        return x

    rt.node(annotated)
    options = registry.get("Annotated").options
    words = {name: option.kind.words for name, option in options.items()}
    assert words == {
        "size": "a number",
        "count": "a whole number or None",
        "basis": "one of 'linear', 'circular'",
        "top": "a number",
        "name_": "a text",
        "names": "a list, each a text",
        "pair": "(a whole number, a number) or None",
        "other": "anything",
    }
    assert options["name_"].required and options["top"].kind.read(np.inf) == np.inf
    ns = rt.Scope()
    ns.a << Meq.Annotated(Meq.Time(), size=0.5, count=None, basis="circlar", name_="n")
    with pytest.raises(rt.ForestError, match="basis must be one of 'linear', 'circular', not 'circlar' .did you mean"):
        ns.forest()


def test_types_that_are_none():
    for wrong in ("float", 3, np.sin):
        with pytest.raises(rt.RimetreeError, match="an option cannot be declared with type="):
            rt.option(1.0, type=wrong)


def test_declared_children_and_options():
    @rt.node(name="Gauss")
    def anything(
        x=rt.child(unit="Hz", help="frequency"),  # noqa: B008
        centre=rt.child(help="centre", default=1.5),  # noqa: B008
        width=rt.option(1.0, type=float, help="width", per_member=True),  # noqa: B008
    ):
        """exp(-(x - centre)^2 / 2 width^2)."""
        return jnp.exp(-(((x - centre) / width) ** 2) / 2)

    ns = rt.Scope()
    widths = [0.5, 1.0, 2.0]
    for i, width in enumerate(widths):
        ns.g(i) << anything(Meq.Freq(), width=width)
    ns.sum << Meq.Add(*(ns.g(i) for i in range(3)))
    forest = ns.forest()
    assert sum(family.cls.__name__ == "Gauss" for family in forest.families) == 1  # one batch
    expected = sum(np.exp(-(((CELLS.freq - 1.5) / w) ** 2) / 2) for w in widths)
    np.testing.assert_allclose(forest.evaluate("sum", CELLS).values[0], expected, rtol=1e-14)


def test_many_children_and_tensors():
    @rt.node
    def hypot(*x):
        """Root of the sum of squares."""
        return jnp.sqrt(sum(v * v for v in x))

    @rt.node(dims=(2, 2))
    def turn(angle):
        """A rotation.

        angle: in rad
        """
        return [[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]]

    @rt.node(dims=())
    def sum_of_diagonal(matrix):
        """The trace of a matrix.

        matrix: of any order
        """
        return matrix[0, 0] + matrix[1, 1]

    np.testing.assert_allclose(value(hypot(3.0, Meq.Freq(), 4.0))[0], np.sqrt(25 + CELLS.freq**2), rtol=1e-15)
    check_node(registry.get("Turn"))
    t = CELLS.time[:, None]
    expected = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    np.testing.assert_allclose(value(turn(Meq.Time())), expected, rtol=1e-15)
    np.testing.assert_allclose(value(sum_of_diagonal(turn(Meq.Time()))), 2 * np.cos(t), rtol=1e-15)
    np.testing.assert_allclose(value(sum_of_diagonal(turn(0.5))), [[2 * np.cos(0.5)]], rtol=1e-15)


def test_custom_derivatives_of_jax_are_kept():
    @rt.node
    @jax.custom_jvp
    def steep(x):
        """x, with a wrong derivative that shows."""
        return x

    steep_function = registry.get("Steep").compute
    steep_function.defjvp(lambda primals, tangents: (primals[0], 7 * tangents[0]))
    assert jax.jvp(steep_function, (1.0,), (1.0,))[1] == 7


def test_class_defined_again_in_the_same_place_replaces_the_first():
    for factor in (2.0, 3.0):

        @rt.node
        def again(x, factor=factor):
            """factor * x."""
            return factor * x

        np.testing.assert_allclose(value(Meq.Again(Meq.Time()))[:, 0], factor * CELLS.time)

    def other(x):
        return x

    with pytest.raises(rt.RimetreeError, match="node class Again is defined twice"):
        rt.node(other, name="Again")


def variadic(x, **rest):
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rt.node(lambda x: x), "node function <lambda> needs a name"),
        (lambda: rt.node(variadic), r"options are parameters with a default; \*\*rest"),
        (lambda: rt.node(lambda role: role, name="Bad"), "a parameter cannot be called 'role'"),
        (lambda: rt.node(lambda x: x, name="Bad", derivative="complexstep"), "did you mean 'complex-step'"),
        (lambda: rt.node(lambda x: x, name="Bad", dims=(2,), derivative=np.sin), "use jax.custom_jvp with dims"),
        (lambda: rt.node(lambda x: x, name="Bad", returns=str), "returns must be float or complex"),
        (lambda: rt.node(lambda x: x, name="Bad", nunpy=True), "no option 'nunpy' (did you mean 'numpy'?)"),
        (lambda: rt.node(3), "makes node classes of functions"),
        (lambda: rt.node(int), "makes node classes of functions"),
        (lambda: rt.node(registry.get("Sin"), numpy=True), "says numpy in its body"),
    ],
)
def test_functions_that_make_no_class(make, message):
    with pytest.raises(rt.RimetreeError, match=re.escape(message) if "\\" not in message else message) as caught:
        make()
    assert len(str(caught.value).splitlines()) == 1


def test_wrong_calls_are_faults_of_the_forest():
    @rt.node
    def scaled(x, factor=2.0):
        """factor * x."""
        return factor * x

    ns = rt.Scope()
    ns.a << scaled(Meq.Time(), fator=3.0)
    ns.b << scaled(Meq.Time(), Meq.Time(), Meq.Time())
    ns.c << scaled(Meq.Time(), factor="three")
    with pytest.raises(rt.ForestError) as caught:
        ns.forest()
    text = str(caught.value)
    assert "did you mean 'factor'" in text
    assert all(re.search(rf"{name} .*test_function\.py:\d+", text) for name in "abc")


def test_installed_plugin(tmp_path, monkeypatch):
    """A distribution that names a module in the entry-point group rimetree.nodes adds its classes."""
    (tmp_path / "crystal.py").write_text(
        "import rimetree as rt\n\n@rt.node\ndef crystal_ball(x):\n    '''2 x.\n\n    x: what\n    '''\n    return 2 * x\n"
    )
    info = tmp_path / "crystal-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crystal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rimetree.nodes]\ncrystal = crystal\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", False)
    np.testing.assert_allclose(value(Meq.CrystalBall(Meq.Time()))[:, 0], 2 * CELLS.time)
    assert registry.get("CrystalBall").__module__ == "crystal"
    sys.modules.pop("crystal")
