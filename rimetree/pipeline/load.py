"""Reading a configuration file: every mistake at once, each with its line and the nearest valid key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import ConfigError, nearest
from .config import Apply, Config, External, Fluxscale, Solve


def load(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read a configuration file; `changes` are "key=value" texts such as "solve.0.ref_ant=C04" that replace what it says.

    Raises ConfigError naming every mistake, with its line, what was expected and the nearest valid key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(_syntax(path, error)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected blocks solve:, fluxscale:, apply:; `rimetree config` prints examples")
    for change in changes:
        _change(content, change)
    return check(content, str(path), dict(_lines(tree)))


def check(content: Mapping[str, Any], source: str = "configuration", lines: Mapping[Any, int] | None = None) -> Config:
    """A checked configuration from nested dictionaries. Raises ConfigError naming every mistake."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        known = lines or {}
        found = sorted({mistake for e in _distinct(error) for mistake in _mistakes(e, known)})
        places = [f"{source}:{line}: {text}" if line else f"{source}: {text}" for line, text in found]
        head = [f"{source}: {len(places)} mistakes:"] if len(places) > 1 else []
        indent = "  " if head else ""
        raise ConfigError("\n".join([*head, *(indent + place for place in places)])) from error


def _distinct(error: ValidationError) -> Iterator[Any]:
    """One error per place: the alternatives of a union fail one by one."""
    seen = set()
    for item in error.errors():
        place = _place(item["loc"])
        if place not in seen or item["type"] == "value_error":
            seen.add(place)
            yield {**item, "loc": place}


def _place(loc: Sequence[Any]) -> tuple[Any, ...]:
    """The keys of a place; pydantic adds the names of types for the alternatives of a union."""
    return tuple(
        key for key in loc if isinstance(key, int) or not ("[" in key or key in ("str", "int", "float", "bool"))
    )


def _mistakes(item: Mapping[str, Any], lines: Mapping[Any, int]) -> list[tuple[int, str]]:
    """(line, text) of each: what a block finds of itself is several, a line each."""
    place = item["loc"]
    name = ".".join(map(str, place))
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 0)
    if item["type"] == "extra_forbidden":
        valid = [key for key in _model_at(place[:-1]).model_fields if key != "steps"]
        return [(line, f"{name}: there is no such key{nearest(place[-1], valid)}; keys here are {', '.join(valid)}")]
    if item["type"] == "missing":
        return [(line, f"{name}: is required")]
    if item["type"] == "value_error":
        reasons = str(item["ctx"]["error"]).splitlines()
        return [(line, f"{name}: {reason}" if name else reason) for reason in reasons]
    reason = item["msg"][0].lower() + item["msg"][1:]
    return [(line, f"{name}: {reason.replace('input should be', 'expected')}, not {_shown(item['input'])}")]


def _model_at(place: Sequence[Any]) -> type[BaseModel]:
    models: Mapping[Any, type[BaseModel]] = {"solve": Solve, "fluxscale": Fluxscale, "apply": Apply}
    if "external_preapply" in place:
        return External
    return models[place[0]] if place else Config


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _syntax(path: str | Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f":{mark.line + 1}" if mark is not None else ""
    return f"{path}{place}: not valid YAML: {getattr(error, 'problem', None) or error}"


def _lines(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The line of every key and list item."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*place, key.value), key.start_mark.line + 1
            yield from _lines(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*place, number), value.start_mark.line + 1
            yield from _lines(value, (*place, number))


def _change(content: Any, change: str) -> None:
    """Apply "a.0.b=value" in place. Raises ConfigError where there is no such place."""
    key, mark, text = change.partition("=")
    path = [int(part) if part.isdecimal() else part for part in key.strip().split(".")]
    if not mark or "" in path:
        raise ConfigError(f"{change!r}: expected key=value, such as solve.0.ref_ant=C04")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{change!r}: {text!r} is not a valid value") from error
    for part in path[:-1]:
        content = _inside(content, part, change)
    last: Any = path[-1]
    if isinstance(content, dict) or (isinstance(content, list) and last in range(len(content))):
        content[last] = value
    else:
        raise ConfigError(f"{change!r}: there is no place {key.strip()!r} in the configuration")


def _inside(content: Any, part: Any, change: str) -> Any:
    if isinstance(content, dict):
        if content.get(part) is None:
            content[part] = {}
        return content[part]
    if isinstance(content, list) and part in range(len(content)):
        return content[part]
    raise ConfigError(f"{change!r}: there is no {part!r} in the configuration")
