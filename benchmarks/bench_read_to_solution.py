"""From reading to solutions in a warm process, as a multiple of reading the same columns with getcolnp into kept
buffers.

Diagonal gains per slot, full Jones matrices of 64 antennas, and diagonal gains towards five directions whose models
are in columns; no Sink. Reading and solving are timed in turn, so that both see the same machine.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from casacore import tables as ct
from common import options, table, timed, verdict
from peers.codes import Rimetree, matrices
from peers.tasks import Task, error

import rimetree as rt

TASKS = (
    (Task("diagonal", 28, 120, 64), 3),
    (Task("full", 64, 60, 64, per_slots=10, full=True), 5),
    (Task("five directions", 28, 120, 64, per_slots=10, directions=5), 5),
)
SMOKE = (
    (Task("diagonal", 8, 20, 16), 3),
    (Task("full", 8, 20, 16, per_slots=10, full=True), 5),
    (Task("five directions", 8, 20, 16, per_slots=10, directions=5), 5),
)
"""With the multiple that each may take."""


class Reading:
    """Reads whole columns into buffers that are kept."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.main = ct.table(str(path), ack=False)
        self.buffers = {name: np.empty_like(self.main.getcol(name)) for name in columns}

    def __call__(self) -> None:
        for name, buffer in self.buffers.items():
            self.main.getcolnp(name, buffer)


def forest_of(task: Task, ms: rt.MeasurementSet) -> Any:
    """The equation that is also solved beside the peers."""
    script: dict[str, Any] = {}
    exec(Rimetree.script, script)
    ns = rt.Scope()
    words = {"slots": task.per_slots, "channels": task.per_channels, "full": task.full}
    script["define_forest"](ns, ms, {**words, "columns": "+".join(task.columns)})
    return ns.forest()


def show(task: Task, most: float, folder: Path, times: int) -> None:
    """Time one task and print where the time goes."""
    path = task.data(folder)
    ms = rt.MeasurementSet(path)
    read = Reading(path, ["DATA", *task.columns, "FLAG", "WEIGHT_SPECTRUM"])
    forest = forest_of(task, ms)
    report = forest.run(ms, progress=False)
    spent, floor = [], []
    for _ in range(times):
        floor.append(timed(read))
        began = time.perf_counter()
        stages = forest.run(ms, progress=False).seconds
        spent.append((time.perf_counter() - began, stages))
    whole, stages = min(spent, key=lambda s: s[0])
    size = sum(b.nbytes for b in read.buffers.values()) / 1e6
    rows = [["getcolnp", min(floor), 1.0, f"{size:.0f} MB"]]
    rows += [[f"  {name}", s, s / min(floor), ""] for name, s in stages.items() if name != "total"]
    rows.append(["run", whole, whole / min(floor), verdict(whole / min(floor), most)])
    table(f"read to solutions, {task.name}: best of {times}", ["", "s", "x getcolnp", ""], rows)
    off = error(matrices(task, report.tables), task.truth(), task.full)
    print("\n".join(str(report).splitlines()[:2]) + f"\n  rms error of the gains {off:.2e}")


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        for task, most in SMOKE if given.smoke else TASKS:
            show(task, most, given.folder, 3 if given.smoke else 9)


if __name__ == "__main__":
    main()
