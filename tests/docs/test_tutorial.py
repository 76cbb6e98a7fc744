"""docs/tutorial.md: its code runs, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def blocks():
    """(code, printed) of each block of Python and the block of text after it ("" where there is none)."""
    pattern = r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?"
    return re.findall(pattern, PAGE.read_text(), re.DOTALL)


def comparable(text):
    """Without what differs from machine to machine: seconds, and the last digits."""
    lines = [line.strip() for line in text.splitlines() if not re.search(r"\d s[,;]|\bs total", line)]
    return [re.sub(r"(\d+\.\d)\d+", r"\1", re.sub(r"iterations.*", "", line)) for line in lines]


def test_blocks_run_and_print_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {}
    for code, printed in blocks():
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, str(PAGE), "exec"), space)
        assert comparable(out.getvalue()) == comparable(printed)
    flux, index = (space["parms"][name] for name in ("flux", "index"))
    assert abs(flux.values.item() - 0.5) < 4 * flux.errors.item() < 0.02
    assert abs(index.values.item() + 0.8) < 4 * index.errors.item() < 0.1
    assert (space["report"].solvers[0].chi2_per_dof() - 1) ** 2 < 0.02**2
