"""How far long work has come: who does it tells, who shows it listens; nothing happens where nobody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


def tell(words: str) -> None:
    """Say what is done now, in a few words, such as `iteration 7, chi2/dof 1.03`. It costs nothing to say it often."""
    for listener in _listeners[-1:]:
        listener(words)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, all that is told goes to `listener`."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
