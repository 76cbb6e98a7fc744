"""Which node classes exist: the `node` decorator, lookup by name, and `Meq`, whose attributes make definitions."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import RimetreeError, nearest
from .definition import Maker
from .node import NodeClass

Class = TypeVar("Class", bound=type[NodeClass])

GROUP = "rimetree.nodes"
"""Entry-point group by which other packages add node classes; the same name as the package of our own."""

_classes: dict[str, type[NodeClass]] = {}
_loaded = False


def node(cls: Class) -> Class:
    """Register a node class under its name. Raises RimetreeError where another class has that name."""
    known = _classes.get(cls.__name__)
    if known is not None and known is not cls:
        raise RimetreeError(
            f"node class {cls.__name__} is defined twice, in {known.__module__} and in {cls.__module__}; rename one "
            "(our own classes must be imported as rimetree.nodes, never as nodes)"
        )
    _classes[cls.__name__] = cls
    return cls


def load() -> None:
    """Import all modules of rimetree.nodes and of the entry points in group "rimetree.nodes", once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    from importlib.metadata import entry_points

    try:
        package = importlib.import_module(GROUP)
        for module in pkgutil.walk_packages(package.__path__, GROUP + "."):
            importlib.import_module(module.name)
        for entry in entry_points(group=GROUP):
            entry.load()
    except BaseException:
        _loaded = False
        raise


def find(name: str) -> type[NodeClass] | None:
    """The node class of this name, or None. Of our own modules only the one that defines it is imported, for some take
    long (JAX); the others, and other packages, follow where that is not the answer.
    """
    if name not in _classes and not _loaded:
        for module in _defining(name):
            importlib.import_module(module)
    if name not in _classes:
        load()
    return _classes.get(name)


def _defining(name: str) -> list[str]:
    """Modules of our own whose text has `class <name>`."""
    package = importlib.import_module(GROUP)
    pattern = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    return [
        ".".join((GROUP, *path.relative_to(root).with_suffix("").parts))
        for root in map(Path, package.__path__)
        for path in sorted(root.rglob("*.py"))
        if pattern.search(path.read_text(encoding="utf-8"))
    ]


def get(name: str) -> type[NodeClass]:
    """The node class of this name. Raises RimetreeError, with the nearest name, where there is none."""
    found = find(name)
    if found is None:
        raise RimetreeError(f"there is no node class {name!r}{nearest(name, _classes)}")
    return found


def names() -> list[str]:
    """The names of all node classes, sorted."""
    load()
    return sorted(_classes)


class Makers:
    """`Meq.Sin(child, option=value)` defines a node of class Sin; see `rimetree.graph.definition.Maker`.

    A class that does not exist is a fault of the forest, raised with all others by `Scope.forest()`.
    """

    def __getattr__(self, name: str) -> Maker:
        if not name[:1].isupper():
            raise AttributeError(f"there is no node class {name!r}: their names begin with a capital letter")
        cls = find(name)
        if cls is None:
            return Maker(name)  # not kept: the class may be registered later
        maker = Maker(cls)
        setattr(self, name, maker)
        return maker

    def __dir__(self) -> Iterable[str]:
        return names()


Meq: Any = Makers()
"""`Meq.Sin`, `Meq.Parm`, ... make definitions of the registered node classes."""
