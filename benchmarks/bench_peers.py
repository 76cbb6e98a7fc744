"""Whole processes of rimetree, DP3, QuartiCal and CubiCal on the same data, with warm caches.

The peers get environments of their own under ~/.cache/rimetree/peers, made at the first run (some minutes). Wall and
processor time, peak memory, error against the truth, and rimetree's ratios to what it promises.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from common import Options, options, process, table, verdict
from peers.codes import CODES, Code
from peers.environments import NotInstalledError
from peers.tasks import Task, error

PER_SLOT = Task("diagonal per slot", 28, 120, 64)
TASKS = (
    PER_SLOT,
    replace(PER_SLOT, name="diagonal per slot, 10 times the slots", slots=1200),
    replace(PER_SLOT, name="full 2x2 per 10 slots", per_slots=10, full=True),
    replace(PER_SLOT, name="3 directions per 10 slots", per_slots=10, directions=3),
    replace(PER_SLOT, name="bandpass", per_slots=None, per_channels=1),
)
TARGETS = (
    # task, the others, what is compared, most of rimetree's over theirs
    (TASKS[0], ("DP3",), "wall", 2.5),
    (TASKS[0], ("QuartiCal", "CubiCal"), "processor", 0.1),
    (TASKS[1], ("DP3",), "wall", 0.5),
    (TASKS[1], ("QuartiCal", "CubiCal"), "processor", 0.1),
    (TASKS[2], ("DP3",), "wall", 1 / 3),
    (TASKS[3], ("DP3",), "wall", 0.1),
)
LONGEST = 600
"""Seconds after which a process counts as failed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one code needed for one task: s, s of all processors, MB; and its rms error."""

    wall: float
    processor: float
    memory: float
    error: float


def measure(code: Code, task: Task, given: Options) -> Measured | str:
    """The best of some runs after a first that fills caches, or why there is none."""
    ms, best = task.data(given.folder), None
    for attempt in range(2 if given.smoke else 4):
        out = given.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        try:
            one = run(code, task, ms, out)
        except (subprocess.SubprocessError, OSError, ValueError, LookupError) as failure:
            return f"failed: {_last(failure)}"
        if attempt and (best is None or one.wall < best.wall):
            best = one
        if attempt and one.wall > 20:
            break
    return best or "failed"


def run(code: Code, task: Task, ms: Path, out: Path) -> Measured:
    """One run in a new process. Raises SubprocessError."""
    spent = process(code.command(task, ms, out), code.variables(), out, LONGEST)
    return Measured(*spent, error(code.solutions(task, out), task.truth(), task.full))


def _last(failure: Exception) -> str:
    said = getattr(failure, "stderr", None) or str(failure)
    return (said if isinstance(said, str) else said.decode()).strip().splitlines()[-1][:120]


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        tasks = [replace(t, antennas=8, slots=t.slots // 6, channels=16) if given.smoke else t for t in TASKS]
        ready = []
        for code in CODES[:1] if given.smoke else CODES:  # installing the others takes minutes and gigabytes
            try:
                code.prepare()
                ready.append(code)
            except NotInstalledError as why:
                print(f"{code.name}: not installed: {why}")
        results: dict[str, dict[str, Measured]] = {}
        for task in tasks:
            results[task.name] = show(task, ready, given)
        ratios(results)
        scaling(results)


def show(task: Task, codes: list[Code], given: Options) -> dict[str, Measured]:
    """Measure all codes on one task and print them."""
    rows, found = [], {}
    for code in codes:
        result = measure(code, task, given)
        if isinstance(result, str):
            rows.append([code.name, result, "", "", "", ""])
            continue
        found[code.name] = result
        speed = task.visibilities / result.wall / 1e6
        rows.append([code.name, result.wall, result.processor, result.memory, result.error, speed])
    head = ["", "wall s", "processor s", "peak MB", "rms error", "Mvis/s"]
    table(f"{task.name}: {task.antennas} antennas x {task.slots} slots x {task.channels} channels", head, rows)
    return found


def ratios(results: dict[str, dict[str, Measured]]) -> None:
    """rimetree's cost over that of the others, and whether its error is no larger."""
    rows = []
    for task, others, what, most in TARGETS:
        ours = results[task.name].get("rimetree")
        for other in others:
            theirs = results[task.name].get(other)
            if ours is None or theirs is None:
                rows.append([f"{task.name}, {what} over {other}'s", "not measured", "", ""])
                continue
            ratio = getattr(ours, what) / getattr(theirs, what)
            errors = ours.error / theirs.error
            rows.append([f"{task.name}, {what} over {other}'s", ratio, verdict(ratio, round(most, 3)), errors])
    table("rimetree over its peers", ["", "ratio", "", "error ratio"], rows)


def scaling(results: dict[str, dict[str, Measured]]) -> None:
    """What further slots cost, compared with the first ones."""
    short, long = (results[task.name].get("rimetree") for task in TASKS[:2])
    if short is None or long is None:
        return
    extra = (long.wall - short.wall) / 9
    print(
        f"\nrimetree, each further {TASKS[0].slots} slots: {extra:.2f} s of wall time, "
        f"{(long.memory - short.memory) / 9:.1f} MB; start-up {short.wall - extra:.2f} s"
    )


if __name__ == "__main__":
    main()
