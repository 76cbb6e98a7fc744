"""A node class as JSON Schema (draft 2020-12), from its declarations alone: those of users as those of our own.

An instance is what a call is made of, `{"children": {"x": "ns.x"}, "options": {"order": 1}}`. A child is a number, nested
lists of numbers, or the Python expression of a node; what JSON cannot say is a Python expression too (see `graph.kinds`).
What a schema accepts the class accepts, but for what relates several options or children, and for names that only a table
knows (observatories). Beyond the standard's words:

| keyword | meaning |
|---|---|
| `x-summary`, `x-category`, `x-role`, `x-module` | first sentence; folder or module; what the engine takes the class for |
| `x-words` | what fits after "must be" |
| `x-unit`, `x-dims`, `x-takes` | unit; dims of a child's tensor; roles that a child may have |
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from ..graph import registry
from ..graph.calls import TAGS
from ..graph.check import CHILDREN
from ..graph.kinds import EXPRESSION, Schema, definitions, numbers, to_json
from ..graph.node import Child, NodeClass, Option

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(cls: type[NodeClass]) -> Schema:
    """What a call of this class may be made of."""
    children = {name: _child(cls, one) for name, one in cls.children.items()}
    options = {name: _option(one) for name, one in {**cls.options, "tags": TAGS}.items()}
    given = {
        "children": _object(children, [name for name, one in cls.children.items() if _needed(one)]),
        "options": _object(options, [name for name, one in cls.options.items() if one.required]),
    }
    found = {
        "$schema": DRAFT,
        "$id": f"urn:rimetree:node:{cls.__name__}",
        "title": cls.__name__,
        "description": inspect.cleandoc(cls.__doc__ or ""),
        "x-summary": summary(cls),
        "x-category": category(cls),
        "x-module": cls.__module__,
        "x-role": cls.role,
        **_object(given, [name for name, part in given.items() if part["required"]]),
    }
    known = definitions(found)
    return found | ({"$defs": known} if known else {})


def catalogue(classes: Iterable[type[NodeClass]] | None = None) -> Schema:
    """The schemas of these classes, or of all that are registered, by name."""
    chosen = map(registry.get, registry.names()) if classes is None else classes
    return {
        "$schema": DRAFT,
        "title": "Node classes of rimetree",
        "$defs": {cls.__name__: schema_of(cls) for cls in chosen},
    }


def summary(cls: type[NodeClass]) -> str:
    """The first sentence of the docstring."""
    first, mark, _ = " ".join((cls.__doc__ or "").split()).partition(". ")
    return first + "." if mark else first


def category(cls: type[NodeClass]) -> str:
    """The folder of nodes that the class is in; of a class from elsewhere its module."""
    inside = cls.__module__.removeprefix(registry.GROUP + ".")
    return cls.__module__ if inside == cls.__module__ else inside.partition(".")[0]


def _object(properties: dict[str, Schema], required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _needed(one: Child) -> bool:
    return not one.optional and one.default is None and (not one.many or one.least > 0)


def _child(cls: type[NodeClass], one: Child) -> Schema:
    roles = CHILDREN[cls.role]
    node = {"anyOf": [numbers(finite=False).schema, EXPRESSION]} if "constant" in roles else dict(EXPRESSION)
    facts: Schema = {"description": one.help, "x-takes": sorted(roles)}
    facts |= {"x-unit": one.unit} if one.unit else {}
    facts |= {"x-dims": list(one.dims)} if one.dims else {}
    if one.default is not None:
        facts["default"] = f"Meq.{one.default}" if isinstance(one.default, str) else one.default
    return facts | ({"type": "array", "items": node, "minItems": one.least} if one.many else node)


def _option(one: Option) -> Schema:
    facts: Schema = {**one.kind.schema, "description": one.help, "x-words": one.kind.words}
    facts |= {"x-unit": one.unit} if one.unit else {}
    return facts | ({"examples": [to_json(one.example)]} if one.required else {"default": to_json(one.default)})
