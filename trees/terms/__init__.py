"""Jones terms, a file each. To add one: a new file here with a subclass of `base.Term`, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from rimetree.errors import ConfigError, nearest

from .base import Interval, Param, Placed, Term

__all__ = ["Interval", "Param", "Placed", "Term", "kinds", "term"]


def kinds() -> dict[str, type[Term]]:
    """Name -> class of all terms that come with rimetree."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    found = [cls for cls in _below(Term) if cls.__module__.startswith(f"{__name__}.")]
    return {cls.name: cls for cls in sorted(found, key=lambda cls: cls.name)}


def term(name: str) -> Term:
    """The term of a name: one of ours such as "G", or a user's class as "module.Class" (found as Python finds modules).

    Raises ConfigError, with the nearest name, where there is none, and where a user's class is no term.
    """
    if "." in name:
        return _own(name)
    known = kinds()
    if name not in known:
        listed = ", ".join(known)
        raise ConfigError(
            f"there is no Jones term {name!r}{nearest(name, known)}; known are {listed} (see `rimetree terms`)"
        )
    return known[name]()


def _own(name: str) -> Term:
    place, _, attribute = name.rpartition(".")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python script.py` does: modules beside the configuration are found
    try:
        cls = getattr(importlib.import_module(place), attribute, None)
    except ImportError as error:
        raise ConfigError(f"Jones term {name!r}: module {place!r} cannot be imported: {error}") from error
    except Exception as error:
        raise ConfigError(f"Jones term {name!r}: module {place!r} fails: {type(error).__name__}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Term)):
        raise ConfigError(f"Jones term {name!r}: expected a class in {place} derived from rimetree.trees.terms.Term")
    return cls()


def _below(cls: type[Term]) -> list[type[Term]]:
    return [deeper for below in cls.__subclasses__() for deeper in (below, *_below(below)) if "name" in vars(deeper)]
