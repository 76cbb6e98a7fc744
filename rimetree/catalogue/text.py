"""Node classes as text, for the terminal."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from ..graph.node import NodeClass
from .schema import summary


def listing(classes: Iterable[type[NodeClass]]) -> str:
    """A line for each."""
    lines = {cls.__name__: summary(cls) for cls in classes}
    length = max(map(len, lines), default=0)
    return "\n".join(f"{name:{length}}  {line}" for name, line in lines.items())


def described(cls: type[NodeClass]) -> str:
    """What a class computes, its children and options."""
    lines = [cls.__name__, "", inspect.getdoc(cls) or "", ""]
    lines += ["children:"] if cls.children else []
    for name, child in cls.children.items():
        facts = [f"{'any number' if child.least == 0 else f'{child.least} or more'}" if child.many else "", child.unit]
        facts += [
            f"dims {child.dims}" if child.dims else "",
            "" if child.default is None else f"default {child.default}",
        ]
        lines.append(_item(name, facts, child.help))
    lines += ["options:"] if cls.options else []
    for name, option in cls.options.items():
        kind = " or ".join(map(repr, option.choices)) if option.choices else option.kind.words
        default = "required" if option.required else f"default {option.default!r}"
        lines.append(_item(name, [kind, option.unit, default], option.help))
    return "\n".join(lines).rstrip()


def _item(name: str, facts: list[str], text: str) -> str:
    known = "; ".join(fact for fact in facts if fact)
    return f"  {name}{f' ({known})' if known else ''}: {text}".rstrip(": ")
