"""The node reference is what scripts/docs makes of the classes of today."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_node_reference_is_current():
    page = runpy.run_path(str(ROOT / "scripts" / "docs"))["page"]()
    assert (ROOT / "docs" / "nodes.md").read_text() == page, "run scripts/docs"
