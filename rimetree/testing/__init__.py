"""For those who write node classes: `check_node` runs every check on a class, `call_node` calls its function."""

from __future__ import annotations

from .calling import call_node
from .check_node import check_node

__all__ = ["call_node", "check_node"]
