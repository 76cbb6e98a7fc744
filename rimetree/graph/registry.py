"""Which node classes exist: the `node` decorator, lookup by name, and `Meq`, whose attributes make definitions."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, overload

from ..errors import RimetreeError, nearest
from .definition import Maker
from .node import NodeClass

Class = TypeVar("Class", bound=type[NodeClass])

GROUP = "rimetree.nodes"
"""Entry-point group by which other packages add node classes; the same name as the package of our own."""

HOW = ("name", "dims", "numpy", "derivative", "returns")
"""What `node` may be told of a function."""

_classes: dict[str, type[NodeClass]] = {}
_loaded = False


@overload
def node(cls: Class, /) -> Class: ...
@overload
def node(function: Callable[..., Any], /, **how: Any) -> Maker: ...
@overload
def node(**how: Any) -> Callable[[Callable[..., Any]], Maker]: ...
def node(given: Any = None, /, **how: Any) -> Any:
    """Register a node class, or one that a function makes, under its name.

    A class comes back as it is. A function (decorated, or passed) becomes what defines nodes of its class: after `@node def
    ripple(x, depth=0.1)` both `ripple(child)` and `Meq.Ripple(child, depth=0.2)` do. It gets an array per child, which
    broadcast and have the cells as their axes, acts cell by cell, and serves every element of a tensor. Written with
    jax.numpy it is traced and differentiated exactly; written with numpy it is called while the program runs.
    `how`, all optional:

    - name: the name of the class; the default is that of the function, in CamelCase
    - dims: the shape of the value if that is a tensor, as (2, 2); the function then gets children that are tensors whole, as
      arrays of shape dims + cells, and returns such an array or nested lists
    - numpy: True where the function is one of numpy's, False where it is not; by default that is found out by tracing
    - derivative: of a numpy function: "differences" (of sixth order; the default), "complex-step" (exact, for functions that
      are analytic), or a function that returns the derivative for each child; a jax.custom_jvp function needs none
    - returns: of a numpy function: float or complex; by default found out by trying

    Raises RimetreeError where another class, defined elsewhere, has that name.
    """
    if isinstance(given, type) and issubclass(given, NodeClass):
        if how:
            raise RimetreeError(f"node class {given.__name__} says {', '.join(how)} in its body, not to the decorator")
        return _register(given)
    unknown = [key for key in how if key not in HOW]
    if unknown:
        raise RimetreeError(f"rt.node has no option {unknown[0]!r}{nearest(unknown[0], HOW)}; it has {', '.join(HOW)}")
    if given is None:
        return lambda function: node(function, **how)
    if not callable(given) or isinstance(given, type):
        raise RimetreeError(
            f"rt.node makes node classes of functions and of subclasses of rt.Elementwise and its like, not of {given!r}"
        )
    from .function import class_of

    return Maker(_register(class_of(given, **how)))


def _register(cls: Class) -> Class:
    """Enter a class; one that is defined again in the same place (a notebook's cell, run twice) replaces the first."""
    known = _classes.get(cls.__name__)
    same = known is not None and (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)
    if known is not None and known is not cls and not same:
        raise RimetreeError(
            f"node class {cls.__name__} is defined twice, in {known.__module__} and in {cls.__module__}; rename one "
            "(our own classes must be imported as rimetree.nodes, never as nodes)"
        )
    _classes[cls.__name__] = cls
    vars(Meq).pop(cls.__name__, None)
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
