"""The forms of the page, in a JavaScript engine: what they accept, and the lines of Python that they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from jsonschema import Draft202012Validator
from py_mini_racer import MiniRacer

import rimetree as rt
from rimetree import Meq
from rimetree.catalogue.page import page
from rimetree.catalogue.schema import catalogue, schema_of
from rimetree.graph import registry
from rimetree.graph.definition import Maker
from rimetree.graph.kinds import to_json

FORM = Path(rt.__file__).parent / "catalogue" / "static" / "form.js"


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., Any]]:
    """Call a function of form.js."""
    engine = MiniRacer()
    engine.eval(FORM.read_text())

    def call(function: str, *args: Any) -> Any:
        return json.loads(engine.eval(f"JSON.stringify({function}(...{json.dumps(args)}))"))

    yield call
    engine.close()


def nodes(cls: Any) -> dict[str, str]:
    """What is typed for the children: those that are needed."""
    return {name: f"ns.{name}" for name, one in cls.children.items() if not one.optional and one.default is None}


def test_every_form_makes_its_node(cls, calls, run):
    """From examples alone, and with all defaults typed in: what the call makes that is written by hand."""
    options = schema_of(cls)["properties"]["options"]
    plain = calls(cls)
    required = {name: option.example for name, option in cls.options.items() if option.required}
    plain.ns.node << Maker(cls)(*map(plain.child, nodes(cls)), **required)
    wanted, given = plain.built()
    assert wanted is cls or cls.role == "transform"
    examples = {name: run("python", options["properties"][name]["examples"][0]) for name in options["required"]}
    defaults = {name: run("python", one["default"]) for name, one in options["properties"].items() if "default" in one}
    for typed in (examples, examples | defaults):
        made = run("define", schema_of(cls), {"name": "ns.node", "children": nodes(cls), "options": typed})
        assert made["faults"] == {} and made["line"].startswith(f"ns.node << Meq.{cls.__name__}(")
        assert all(f"{name}=" in made["line"] for name in typed)
        found, values = calls(cls).evaluate(made["line"])
        assert (found, to_json(list(values.values()))) == (wanted, to_json(list(given.values())))


def test_forms_accept_what_schemas_do(cls, run):
    """Whatever is typed: its Python is a value that the class accepts, or it is refused where the class refuses it."""
    schema = schema_of(cls)
    for name, option in cls.options.items():
        one = schema["properties"]["options"]["properties"][name]
        valid = Draft202012Validator({"$defs": schema.get("$defs", {}), **one})
        for text, value in TYPED.items():
            found = run("read", text, one, schema.get("$defs", {}))
            if found is None:
                assert not valid.is_valid(to_json(value)), (name, text)
            elif name != "funklet":
                option.kind.read(eval(found, {"float": float}))


TYPED = {
    "None": None, "True": True, "0": 0, "007": 7, "-3": -3, "2.5": 2.5, "-1e-3": -1e-3, "'30s'": "30s", "scan": "scan", "a b": "a b",
    "2j": 2j, "[]": [], "[1]": [1], "[1, 2]": [1, 2], "(1, 2.5)": [1, 2.5], "[None, 3]": [None, 3], "['a', 'b']": ["a", "b"],
    "[[1, 2], [3, 4]]": [[1, 2], [3, 4]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "children", "options", "line"),
    [
        ("Sin", {"x": "ns.a(p)"}, {}, "Meq.Sin(ns.a(p))"),
        ("Sin", {"x": "2.5"}, {"tags": "a b"}, 'Meq.Sin(2.5, tags="a b")'),
        ("Add", {"terms": "ns.a, *ns.b, Meq.Polar(1, 2)"}, {}, "Meq.Add(ns.a, *ns.b, Meq.Polar(1, 2))"),
        ("UVW", {"xyz": "ns.p", "origin": "ns.o"}, {}, "Meq.UVW(ns.p, origin=ns.o)"),
        ("Condeq", {"model": "ns.m", "data": "ns.d", "weight": "3"}, {"on": '"phase"'}, 'Meq.Condeq(ns.m, ns.d, weight=3, on="phase")'),
        ("VisDataMux", {"pre": "ns.q", "sinks": "*ns.s"}, {}, "Meq.VisDataMux(*ns.s, pre=ns.q)"),
        ("Spigot", {}, {"p": "=p", "q": "3"}, "Meq.Spigot(p=p, q=3)"),
        ("Spigot", {}, {"p": "3", "q": "'3'"}, 'Meq.Spigot(p=3, q="3")'),
        ("Parm", {}, {"value": "1+0j", "solint": "30s, 4MHz"}, 'Meq.Parm(value=1+0j, solint=("30s", "4MHz"))'),
        ("Parm", {}, {"value": "[[1, 2]]", "solint": "10", "bounds": "None, 3"}, "Meq.Parm(value=[[1, 2]], bounds=(None, 3), solint=10)"),
        ("Parm", {}, {"value": "1", "funklet": "rt.funklets.Spline(time=8)"}, "Meq.Parm(value=1, funklet=rt.funklets.Spline(time=8))"),
        ("Position", {}, {"position": "1e6, 2, -3.5"}, "Meq.Position(position=(1e6, 2, -3.5))"),
        ("Sum", {"x": "ns.x"}, {"axes": "time"}, 'Meq.Sum(ns.x, axes="time")'),
        ("Sum", {"x": "ns.x"}, {"axes": "time, freq"}, 'Meq.Sum(ns.x, axes=("time", "freq"))'),
    ],
)  # fmt: skip
def test_lines(run, name, children, options, line):
    made = run("define", schema_of(registry.get(name)), {"name": " ", "children": children, "options": options})
    assert made == {"line": line, "faults": {}}


@pytest.mark.parametrize(
    ("name", "children", "options", "field", "fault"),
    [
        ("Sin", {}, {}, "x", "is needed"),
        ("Solver", {"equations": "3"}, {"solvable": "a"}, "", ""),
        ("Bessel", {"x": "1"}, {"order": "21"}, "order", "must be a whole number from -20 to 20"),
        ("Bessel", {"x": "1"}, {"order": "1.5"}, "order", "must be a whole number from -20 to 20"),
        ("Bessel", {"x": "1"}, {"order": "="}, "order", "must be a whole number from -20 to 20"),
        ("Spigot", {}, {"p": "a"}, "q", "is needed: a text or a whole number"),
        ("Position", {}, {"position": "1, 2"}, "position", "must be (x, y, z) in m, or None"),
        ("Parm", {}, {"value": "1", "solint": "0s"}, "solint", "must be"),
        ("Constant", {}, {"value": "one"}, "value", "must be a number or a nested list of numbers"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(run, name, children, options, field, fault):
    made = run("define", schema_of(registry.get(name)), {"name": "", "children": children, "options": options})
    assert {key: text[: len(fault)] for key, text in made["faults"].items()} == ({field: fault} if field else {})


class Scripts(HTMLParser):
    """The texts of the scripts of a page, and what it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts.append(data)


def test_the_page_has_all_and_needs_nothing(run):
    """Classes of users too, whatever their docstring says."""

    @rt.node(name="OfAUser")
    def of_a_user(x, *others, limit=jnp.inf, mode="a"):
        """x </script><b> & {{form}} "limited".

        limit: in Jy
        mode: of limiting
        """
        return jnp.minimum(x, limit)

    schemas = catalogue()
    parts = Scripts()
    parts.feed(page(schemas))
    data, code = parts.texts
    assert parts.fetched == []
    assert json.loads(data) == schemas
    assert set(schemas["$defs"]) == set(registry.names())
    user = schemas["$defs"]["OfAUser"]
    assert user["x-category"] == __name__
    made = run(
        "define", user, {"name": "ns.y", "children": {"x": "ns.x", "others": "1, 2"}, "options": {"limit": "2.5"}}
    )
    assert made == {"line": "ns.y << Meq.OfAUser(ns.x, 1, 2, limit=2.5)", "faults": {}}
    ns = rt.Scope()
    ns.x << Meq.Freq()
    exec(made["line"], {"ns": ns, "Meq": Meq})
    assert ns.forest().evaluate("y", rt.Cells(freq=[1.0, 4.0])).values.ravel().tolist() == [1.0, 2.5]
    assert FORM.read_text() in code
