"""The command `rimetree`. Anything that takes long to import is imported by the command that needs it."""

from .main import main

__all__ = ["main"]
