"""Ctrl-C that is never lost: pressed once, it ends a command."""

from __future__ import annotations

import signal
import sys
from typing import Any

AGAIN = 0.02
"""Seconds after which an interrupt that came to nothing comes again."""


def certain() -> None:
    """For a process that does nothing else. Python cannot raise what happens in callbacks of the garbage collector (JAX has one), in
    finalizers and in callbacks of weak references: it tells `sys.unraisablehook`, and goes on. An interrupt comes again then."""
    if not hasattr(signal, "setitimer"):
        return
    shown = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            shown(unraisable)

    signal.signal(signal.SIGALRM, signal.default_int_handler)
    sys.unraisablehook = hook
