"""Reading a configuration file: every mistake at once, each with its line and the nearest valid key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import ConfigError, nearest
from .config import Apply, Config, External, Fluxscale, Solve
from .mistakes import Mistakes, Place, Source
from .yaml_file import parse, value_of

BLOCKS: Mapping[str, type[BaseModel]] = {"solve": Solve, "fluxscale": Fluxscale, "apply": Apply}
NOTHING = "expected blocks solve:, fluxscale:, apply:; `rimetree config` prints examples"

STAND_IN = {"ms": "x", "output": "x"}
"""Instead of wrong values of keys that a block cannot be without, to look at the rest of it."""

EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "model_type": "keys with values, such as ms: x.ms",
    "dict_type": "keys with values, such as ms: x.ms",
    "too_short": "one or more",
}
"""Kinds of pydantic's errors in our words."""


def load(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read a configuration file; `changes` are "key=value" texts such as "solve.0.ref_ant=C04" that replace what it says.

    Raises ConfigError naming every mistake, with its line, what was expected and the nearest valid key.
    """
    wrong = Mistakes()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a YAML file, which is text in UTF-8; this is none") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        content, where = parse(text, str(path), wrong)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {NOTHING}")
    content = _listed(content)
    where = {_in_list(place, content): line for place, line in where.items()}
    for change in changes:
        where[_change(content, change)] = f"--set {change}"
    return _checked(_listed(content), Source(str(path), where), wrong)


def check(content: Mapping[str, Any], source: str = "configuration") -> Config:
    """A checked configuration from nested dictionaries. Raises ConfigError naming every mistake."""
    return _checked(_listed(content), Source(source), Mistakes())


def _listed(content: Mapping[Any, Any]) -> dict[str, Any]:
    """A single block is a list of one."""
    return {
        str(key): [value] if isinstance(value, dict) else [] if value is None and key in BLOCKS else value
        for key, value in content.items()
    }


def _in_list(place: Place, content: Mapping[str, Any]) -> Place:
    """The place in `_listed` content."""
    alone = len(place) > 1 and isinstance(content.get(str(place[0])), list) and not isinstance(place[1], int)
    return (place[0], 0, *place[1:]) if alone else place


def _checked(content: dict[str, Any], source: Source, wrong: Mistakes) -> Config:
    made: dict[str, list[BaseModel | None]] = {
        name: [_block(model, block, (name, i), wrong) for i, block in enumerate(content[name])]
        for name, model in BLOCKS.items()
        if isinstance(content.get(name), list)
    }
    try:
        config = Config.model_validate({key: value for key, value in content.items() if key not in made})
    except ValidationError as error:
        wrong.within((), _explained(error, Config))
    if not (wrong or any(made.values())):
        wrong.add((), "expected a solve:, fluxscale: or apply: block; `rimetree config` prints examples")
    wrong.report(source)
    for name, blocks in made.items():
        setattr(config, name, blocks)
    return config.read_from(source)


def _block(model: type[BaseModel], content: Any, place: Place, wrong: Mistakes) -> BaseModel | None:
    """A checked block, or None. A model does not look at what keys say together before each is right by itself, so those that
    are wrong are left out, and the rest looked at again."""
    left = content
    while True:
        try:
            return model.model_validate(left)
        except ValidationError as error:
            found, items = _explained(error, model), error.errors()
        wrong.within(place, found)
        keys = {str(one.place[0]) for one in found.found if one.place}
        needed = [key for key in keys if key in model.model_fields and model.model_fields[key].is_required()]
        if not all(item["loc"] for item in items) or set(needed) - set(STAND_IN):
            return None
        left = {key: value for key, value in left.items() if key not in keys} | {key: STAND_IN[key] for key in needed}


def _explained(error: ValidationError, model: type[BaseModel]) -> Mistakes:
    """pydantic's errors in our words, at most one for each place: the alternatives of a union fail one by one."""
    items: list[dict[str, Any]] = [{**item, "loc": _place(item["loc"])} for item in error.errors()]
    found = Mistakes()
    deeper = {item["loc"][:n] for item in items for n in range(len(item["loc"]))}
    seen = set()
    for item in items:
        place, own = item["loc"], item.get("ctx", {}).get("error")
        if isinstance(own, Mistakes):
            found.within(place, own)
        elif place not in seen and not (place in deeper and item["type"] in EXPECTED):
            alike = [other for other in items if other["loc"] == place]
            found.add(place, _reason(item, alike, model))
        seen.add(place)
    return found


def _place(loc: Sequence[Any]) -> Place:
    """The keys of a place; pydantic adds the names of types for the alternatives of a union."""
    return tuple(
        key for key in loc if isinstance(key, int) or not ("[" in key or key in ("str", "int", "float", "bool"))
    )


def _reason(item: Mapping[str, Any], alike: Sequence[Mapping[str, Any]], model: type[BaseModel]) -> str:
    """What is wrong with one value. `alike`: all errors at its place."""
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        place = item["loc"]
        owner = External if "external_preapply" in place[:-1] else model
        return f"there is no such key{nearest(place[-1], owner.model_fields)}; keys here are {', '.join(owner.model_fields)}"
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    words = [
        word
        for one in alike
        if one["type"] == "literal_error"
        for word in re.findall("'(.*?)'", one["ctx"]["expected"])
    ]
    wanted = dict.fromkeys([*words, *(EXPECTED[one["type"]] for one in alike if one["type"] in EXPECTED)])
    if wanted:
        return f"expected {' or '.join(wanted)}, not {_shown(value)}{nearest(value, words)}"
    reason = item["msg"][0].lower() + item["msg"][1:]
    return f"{reason.replace('input should be', 'expected a number')}, not {_shown(value)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _change(content: Any, change: str) -> Place:
    """Apply "a.0.b=value" in place; which place that is. Raises ConfigError where there is none."""
    key, mark, text = change.partition("=")
    path = tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))
    if not mark or "" in path:
        raise ConfigError(f"{change!r}: expected key=value, such as solve.0.ref_ant=C04")
    try:
        value = value_of(text)
    except ValueError as error:
        raise ConfigError(f"{change!r}: {text!r} is not a valid value") from error
    for part in path[:-1]:
        content = _inside(content, part, change)
    last: Any = path[-1]
    if isinstance(content, dict) or (isinstance(content, list) and last in range(len(content))):
        content[last] = value
        return path
    raise ConfigError(f"{change!r}: there is no place {key.strip()!r} in the configuration")


def _inside(content: Any, part: Any, change: str) -> Any:
    if isinstance(content, dict):
        if content.get(part) is None:
            content[part] = {}
        return content[part]
    if isinstance(content, list) and part in range(len(content)):
        return content[part]
    raise ConfigError(f"{change!r}: there is no {part!r} in the configuration")
