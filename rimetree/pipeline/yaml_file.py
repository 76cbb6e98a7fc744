"""YAML into plain values, with the line of every key and item; what YAML lets pass without a word is a mistake here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from .mistakes import Mistakes, Place

LIMIT = 100_000
"""Values in a file, each counted as often as aliases repeat it: more is not a configuration."""


class Loader(yaml.SafeLoader):
    """YAML 1.2's idea of what is a number, true or a text.

    1.1, which PyYAML follows, has `spw: 0:10` as 10 (base 60), antenna 010 as 8, field NO as false, 2026-01-01 as a date and
    1e-10 as a text.
    """

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """The value of a node. Raises ConstructorError, with its line, where a text is none of the kind that its tag says."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError) as error:  # whatever PyYAML stumbles over
            why = f"{str(node.value)[:20]!r} cannot be read as {node.tag.removeprefix(_TAG)}"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark) from error


_DIGITS, _EXPONENT = "(?:0|[1-9][0-9]*)", "[eE][-+]?[0-9]+"
_OWN = {
    "bool": ("tTfF", "true|True|TRUE|false|False|FALSE"),
    "int": ("-+0123456789", f"[-+]?{_DIGITS}"),
    "float": (
        "-+.0123456789",
        rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*(?:{_EXPONENT})?|{_EXPONENT})|\.[0-9]+(?:{_EXPONENT})?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
    ),
}
_TAG = "tag:yaml.org,2002:"
Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in rules if tag in (f"{_TAG}null", f"{_TAG}merge")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_first, _form) in _OWN.items():
    Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_form})$"), list(_first))


def parse(text: str, name: str, wrong: Mistakes) -> tuple[Any, dict[Place, str]]:
    """The content of a text, and `name:line` of every place in it, in order.

    Keys given twice are noted in `wrong`. ValueError, saying `name` and line, where the text is not YAML.
    """
    try:
        loader = Loader(text)
        try:
            tree = loader.get_single_node()
            where = dict(_places(tree, name, wrong))
            return (None if tree is None else loader.construct_document(tree)), where
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise ValueError(f"{name}:{line}: not a text file: it holds the character {error.character:#x}") from error
    except yaml.YAMLError as error:
        raise ValueError(_syntax(name, error)) from error
    except RecursionError as error:
        raise ValueError(f"{name}: its values are nested too deeply for a configuration") from error


def value_of(text: str) -> Any:
    """One value, as after `--set key=`. ValueError where it is none."""
    return parse(text, "", Mistakes())[0]


def _syntax(name: str, error: yaml.YAMLError) -> str:
    mark: Any = getattr(error, "problem_mark", None)
    place = f":{mark.line + 1}" if mark is not None else ""
    why = getattr(error, "problem", None) or str(error)
    if "'\\t'" in why:
        why = "a tab; indent with spaces"
    begun: Any = getattr(error, "context_mark", None)
    context = getattr(error, "context", None)
    since = (
        f" {context}, which began in line {begun.line + 1}"
        if context and begun and mark and begun.line != mark.line
        else ""
    )
    return f"{name}{place}: not valid YAML{since}: {why}"


def _places(node: Any, name: str, wrong: Mistakes) -> Iterator[tuple[Place, str]]:
    """Place and `name:line` of every key and item of a tree; a single block stands for a list of one, as in `load`."""
    for count, (place, line) in enumerate(_walk(node, (), frozenset(), name, wrong)):
        if count >= LIMIT:
            raise ValueError(f"{name}: more than {LIMIT:,} values; aliases (*name) that repeat one another?")
        yield place, f"{name}:{line}"


def _walk(node: Any, place: Place, above: frozenset[int], name: str, wrong: Mistakes) -> Iterator[tuple[Place, int]]:
    if id(node) in above:
        raise ValueError(f"{name}:{node.start_mark.line + 1}: an alias (*name) stands inside what it names")
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        first: dict[Any, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == f"{_TAG}merge":
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for one in merged:
                    yield from _walk(one, place, above, name, Mistakes())
                continue
            own = (*place, str(key.value))
            if own in first:
                wrong.add(own, f"is given twice, in lines {first[own]} and {line}; keep one")
            first[own] = line
            yield own, line
            yield from _walk(value, own, above, name, wrong)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*place, number), value.start_mark.line + 1
            yield from _walk(value, (*place, number), above, name, wrong)
