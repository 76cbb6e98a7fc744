"""`Status` as the solver knows it; defined one level lower, where solution files and plots may import it too."""

from __future__ import annotations

from ..status import Status

__all__ = ["Status"]
