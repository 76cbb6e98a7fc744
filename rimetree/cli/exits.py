"""What the command leaves behind: its exit code, and one line where something is wrong."""

from __future__ import annotations

import sys
import traceback

EXITS = (
    "Exit code: 0 all was done and all solutions converged; 1 your input is wrong (the message says what to do); "
    "2 a bug in rimetree; 3 all was done, but some solutions did not converge; 130 interrupted."
)


def fail(message: str, code: int) -> int:
    """Print a message; returns the exit code."""
    print(f"rimetree: {message}", file=sys.stderr)
    return code


def bug(error: Exception) -> str:
    """One line on an exception that no user should see."""
    if isinstance(error, MemoryError):
        return "not enough memory; give --memory a smaller amount, or select fewer channels or antennas"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return (
        f"bug: {type(error).__name__}: {text} (at {frame.filename}:{frame.lineno}); run again with --debug for the "
        "traceback, and please report it"
    )
