"""The schema of a class and the class itself accept the same."""

from __future__ import annotations

import json
import re
from typing import Any

from jsonschema import Draft202012Validator

import rimetree as rt
from rimetree.catalogue.schema import catalogue, schema_of
from rimetree.graph import registry
from rimetree.graph.definition import Maker

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 21, -(2**31) - 1, 2**31, 2**53, 0.5, -0.5, 1.7, 1e-300, "", " ", "a", "I", "linear", "auto",
    "amplitude", "polynomial", "sun", "alt-az", "time", "30s", "0s", "-3s", "4MHz", "4 mhz", "scan", "all", "0.1/60s", "0/60s",
    "0.1/2MHz", "1+2j", "2j", 'float("inf")', 'float("nan")', [], [1], [0], [-1], [1, 2], [1.5, 2.5], [1, 2, 3], [1, 2, 3, 4],
    ["a"], ["a", "b"], ["a", "a"], ["a", 1], [""], [None, None], [None, 3], [3, None], ["30s", "4MHz"], ["scan", "scan"],
    ["0.1/60s", None], ["1+2j", 1], ["1+2j"], [[1, 2], [3, 4]], [[]], [True, 1], ['float("-inf")', 2], {"a": 1}, [{}],
]  # fmt: skip

RELATIONS = (
    "lower < upper", "equally long", "fewer than axes", "is not known", "must be positive, not", "coefficients",
    "[time][freq] lists", "outside its bounds", "never below", "does not vary along", "do not go with axes",
    "as many different names", "cannot be",
)  # fmt: skip
"""What a schema cannot say: relations between values, and what only a table or a file says."""


def from_json(value: Any, schema: dict[str, Any]) -> Any:
    """The value in Python: of texts those that the schema says are Python expressions of numbers are read."""
    if isinstance(value, list):
        return [from_json(v, schema) for v in value]
    if isinstance(value, str) and re.search("python|complex|real", json.dumps(schema)):
        return eval(value, {"float": float}) if re.fullmatch(r"[-+.0-9e]*j|float\(.*\)", value) else value
    return value


def accepts(calls: Any, cls: Any, name: str, given: dict[str, Any]) -> str:
    """Nothing, or why the class does not accept these options."""
    made = calls(cls)
    needed = [child for child, one in cls.children.items() if not one.optional]
    maker = Maker(cls)
    made.ns.node << maker(*(made.child(child) for child in needed), **given)
    try:
        made.built()
    except rt.ForestError as error:
        return str(error)
    return ""


def test_schemas_are_schemas(cls):
    schema = schema_of(cls)
    Draft202012Validator.check_schema(schema)
    for group in schema["properties"].values():
        for one in group["properties"].values():
            valid = Draft202012Validator({"$defs": schema.get("$defs", {}), **one})
            assert one["description"]
            assert all(
                valid.is_valid(value)
                for value in [*one.get("examples", []), *([one["default"]] if "default" in one else [])]
            )
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema
    assert catalogue([cls])["$defs"] == {cls.__name__: schema}


def test_options_of_a_wrong_kind_are_refused_by_both(cls, calls):
    schema = schema_of(cls)
    options = schema["properties"]["options"]
    examples = {name: options["properties"][name]["examples"][0] for name in options["required"]}
    assert accepts(calls, cls, "", examples) == ""
    for name, option in cls.options.items():
        one = options["properties"][name]
        valid = Draft202012Validator({"$defs": schema.get("$defs", {}), **one})
        for value in VALUES:
            python = from_json(value, one)
            if isinstance(value, str) and name == "funklet" and value.strip():
                continue  # any expression may be that of a function
            refused = accepts(calls, cls, name, examples | {name: python})
            if valid.is_valid(value):
                assert not refused or any(words in refused for words in RELATIONS), (name, value, refused)
            else:
                assert refused, (name, value, option.kind.words)


def test_a_call_is_checked_as_a_whole():
    """Children and options that are needed, and names that do not exist."""
    valid = Draft202012Validator(schema_of(registry.get("Grid")))
    assert valid.is_valid({"options": {"axis": "l"}})
    assert not valid.is_valid({"options": {}})
    assert not valid.is_valid({"options": {"axis": "l", "axes": 1}})
    valid = Draft202012Validator(schema_of(registry.get("WSum")))
    legal = {"children": {"terms": ["ns.a", 2.5, [[1, "2j"], [3, 4]]]}, "options": {"weights": [1, 2, 3]}}
    assert valid.is_valid(legal)
    for wrong in ({"terms": []}, {"terms": "ns.a"}, {"terms": [None]}, {"terms": [""]}, {"term": ["ns.a"]}, {}):
        assert not valid.is_valid({**legal, "children": wrong}), wrong
