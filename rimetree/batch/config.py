"""Configuration files: a chain of Jones terms on one Measurement Set, in YAML. `rimetree config` prints a template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import ConfigError, nearest
from ..trees.terms import interval, term

Choice = str | int | list[str | int] | None
BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Section(BaseModel):
    """Base of all parts of a configuration: unknown keys are mistakes, numbers are not texts."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Select(Section):
    """Which data: as the options of `MeasurementSet`."""

    field: Choice = None
    spw: Choice = None
    scans: Choice = None
    channels: Choice = None
    antennas: Choice = None
    taql: str | None = None


class Apply(Section):
    """Where corrected data go, and whether data without a valid solution are flagged."""

    column: str = "CORRECTED_DATA"
    flag: bool = False


class Step(Section):
    """One solve: one term (`jones`) or several at once (`joint`); other terms of earlier steps are held fixed.

    A term that was solved before is solved again, from where it was.
    """

    jones: str | None = None
    joint: list[str] | None = None
    solint: Any = None
    max_iter: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _complete(self) -> Step:
        if (self.jones is None) == (self.joint is None):
            raise ValueError("expected either jones: with one term, or joint: with a list of terms")
        if self.joint is not None and not isinstance(self.solint, (dict, type(None))):
            raise ValueError("solint of a joint step must say it per term, such as {G: [1, null], B: [null, 1]}")
        for name in self.names:
            _plain(term, name)
        given = self.solint if self.joint is not None else None
        for name in given or {}:
            if name not in self.names:
                raise ValueError(f"solint is given for {name!r}{nearest(name, self.names)}, which is not in joint")
        _plain(lambda: self.terms)
        return self

    @property
    def names(self) -> list[str]:
        """The terms that are solved."""
        return [self.jones] if self.jones is not None else list(self.joint or ())

    @property
    def terms(self) -> dict[str, tuple[int | str | None, int | str | None]]:
        """The terms that are solved, with their solution intervals."""
        if self.jones is not None:
            return {self.jones: interval(self.jones, self.solint)}
        return {name: interval(name, (self.solint or {}).get(name)) for name in self.names}


class Config(Section):
    """A configuration file. See `trees/kgb.yaml` for what the keys mean."""

    ms: str
    selection: Select = Select()
    data_column: str = "DATA"
    model_column: str = "MODEL_DATA"
    ref_ant: str = "auto"
    solutions: str | None = None
    overwrite: bool = False
    memory: str | float | None = None
    solve: list[Step] = Field(min_length=1)
    apply: Apply | None = Apply()
    plots: str | None = None

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str | float | None) -> float | None:
        return None if value is None else _plain(memory_bytes, value)

    @field_validator("ref_ant", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain(check: Any, *args: Any) -> Any:
    """`check(*args)`, its ConfigError turned into what pydantic collects."""
    try:
        return check(*args)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def memory_bytes(value: str | float) -> float:
    """Bytes of "2GB", "500 MB", "1GiB"; a number is taken as bytes. Raises ConfigError where it is neither."""
    units = {unit.lower(): size for unit, size in BYTES.items()}
    found = re.fullmatch(r"\s*(\d+\.?\d*(?:[eE]\d+)?)\s*([A-Za-z]*)\s*", str(value))
    if found is None or (found[2].lower() or "b") not in units or float(found[1]) <= 0:
        raise ConfigError(f"memory must be an amount such as '2GB' or '500MB', not {value!r}")
    return float(found[1]) * units[found[2].lower() or "b"]


def load(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """Read a configuration file; `changes` are "key=value" texts such as "solve.0.solint=10" that replace what it says.

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
        raise ConfigError(f"{path}: expected keys such as ms: and solve:; `rimetree config` prints a template")
    for change in changes:
        _change(content, change)
    return check(content, str(path), dict(_lines(tree)))


def check(content: Mapping[str, Any], source: str = "configuration", lines: Mapping[Any, int] | None = None) -> Config:
    """A checked configuration from nested dictionaries. Raises ConfigError naming every mistake."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        known = lines or {}
        found = sorted({_mistake(e, known) for e in _distinct(error)})
        places = [f"{source}:{line}: {text}" if line else f"{source}: {text}" for line, text in found]
        head = [f"{source}: {len(places)} mistakes:"] if len(places) > 1 else []
        indent = "  " if head else ""
        raise ConfigError("\n".join([*head, *(indent + place for place in places)])) from error


def _distinct(error: ValidationError) -> Iterator[Any]:
    """One error per place: the alternatives of a union fail one by one."""
    seen = set()
    for item in error.errors():
        place = _place(item["loc"])
        if place not in seen:
            seen.add(place)
            yield {**item, "loc": place}


def _place(loc: Sequence[Any]) -> tuple[Any, ...]:
    """The keys of a place; pydantic adds the names of types for the alternatives of a union."""
    return tuple(key for key in loc if isinstance(key, int) or not ("[" in key or key in ("str", "int", "float")))


def _mistake(item: Mapping[str, Any], lines: Mapping[Any, int]) -> tuple[int, str]:
    place = item["loc"]
    name = ".".join(map(str, place))
    line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), 0)
    if item["type"] == "extra_forbidden":
        valid = list(_model_at(place[:-1]).model_fields)
        return line, f"{name}: there is no such key{nearest(place[-1], valid)}; keys here are {', '.join(valid)}"
    if item["type"] == "missing":
        return line, f"{name}: is required"
    if item["type"] == "value_error":
        reason = str(item["ctx"]["error"])
        return line, f"{name}: {reason}" if name else reason
    return line, f"{name}: expected {_expected(place)}, not {_shown(item['input'])}"


def _model_at(place: Sequence[Any]) -> type[Section]:
    models: Mapping[Any, type[Section]] = {"selection": Select, "apply": Apply, "solve": Step}
    return models[place[0]] if place else Config


_WORDS: Mapping[str, str] = {
    "selection": "keys such as field: and spw:",
    "overwrite": "true or false",
    "apply": "keys column: and flag:, or null",
    "apply.flag": "true or false",
    "solve": "a list of one or more steps such as - jones: G",
    "solve.joint": "a list of terms such as [G, B]",
    "solve.max_iter": "a whole number, 1 or more",
    "solve.": "a step such as {jones: G, solint: [1, null]}",
    "memory": "an amount such as 2GB",
}
_CHOICES = ("field", "spw", "scans", "channels", "antennas")


def _expected(place: Sequence[Any]) -> str:
    keys = [str(key) for key in place if not isinstance(key, int)]
    name = ".".join(keys) + ("." if len(place) == 2 and isinstance(place[1], int) and keys == ["solve"] else "")
    if keys[0] == "selection" and keys[-1] in _CHOICES:
        return "a name, a number, a text such as '0~2', or a list of these"
    return _WORDS.get(name, "a text")


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
        raise ConfigError(f"{change!r}: expected key=value, such as solve.0.solint=10")
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
