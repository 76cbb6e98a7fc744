"""The numbers of a dry run against what the run then does."""

from __future__ import annotations

import re

import numpy as np
import pytest
from casacore.tables import table

from rimetree.pipeline.load import check
from rimetree.pipeline.run import run


def numbers(line: str, word: str) -> float:
    return float(re.search(rf"([\d.,]+) (?:MB )?{word}", line)[1].replace(",", ""))


def reads(line: str) -> float:
    return float(re.search(r"reads ([\d.]+) MB", line)[1]) * 1e6


@pytest.mark.parametrize("polarised", [False, True])
def test_what_is_planned_is_done(observe, polarised):
    seen = observe(polarised=polarised)
    output = str(seen.path.parent / "s.h5")
    kinds = ["K", "G", "D"]
    solve = {
        "ms": str(seen.path),
        "output": output,
        "jones": kinds,
        "field": "field0",
        "rfi_threshold": 0,
        "ref_ant": 1,
    }
    solve |= {"time_interval": ["scan", "1slot", "inf"], "freq_interval": ["full", "full", "4MHz"]}
    content = {"solve": solve, "apply": {"ms": str(seen.path), "jones": kinds[:2], "tables": output}}
    lines = run(check(content), dry_run=True, progress=False).notes
    steps = [line for line in lines if "step" in line]
    report = run(check(content), progress=False)
    with table(str(seen.path), ack=False) as main:
        rows = main.nrows()
    *solves, applied = report.steps
    assert "jointly K0" in solves[-1].title  # as leakages are there
    for line, fitted in zip(steps, solves, strict=True):
        assert numbers(line, "rows") == rows
        summaries = fitted.report.solvers
        apart = len(summaries) if "jointly" in line else 1  # else x and y are two problems on the same intervals
        assert numbers(line, "solution intervals") == sum(s.status.size for s in summaries[:apart])
        assert numbers(line, "unknowns") == sum(s.unknowns * s.status.size for s in summaries)
        once = fitted.report.bytes_read
        survey = rows * seen.freq.size * 4 * 9
        passes = np.rint((reads(line) - survey) / once)
        assert reads(line) == pytest.approx(passes * once + survey, rel=0.02)
        assert passes == (2 if "1: K0" in line else 1)  # to find out where delays are
    (line,) = [line for line in lines if line.startswith("  spw")]
    assert reads(line) == pytest.approx(applied.report.bytes_read, rel=0.02)
    assert float(re.search(r"writes ([\d.]+) MB", line)[1]) * 1e6 == pytest.approx(
        applied.report.bytes_written, rel=0.02
    )
    total = next(line for line in lines if line.startswith("in all"))
    assert reads(total) == pytest.approx(sum(reads(line) for line in [*steps, line]), rel=0.01)
