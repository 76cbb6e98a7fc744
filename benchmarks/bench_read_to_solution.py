"""From reading to solutions in a warm process, as a multiple of reading the same columns with getcolnp into kept
buffers.

g28: 28 antennas x 120 slots x 64 channels, a diagonal gain per slot, no Sink. Target: at most 4. Reading and solving
are timed in turn, so that both see the same machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from casacore import tables as ct
from common import gain_error, gain_forest, gains_set, options, table, timed, verdict

import rimetree as rt

COLUMNS = ("DATA", "MODEL_DATA", "FLAG", "WEIGHT_SPECTRUM")


class Reading:
    """Reads whole columns into buffers that are kept."""

    def __init__(self, path: Any) -> None:
        self.main = ct.table(str(path), ack=False)
        self.buffers = {name: np.empty_like(self.main.getcol(name)) for name in COLUMNS}

    def __call__(self) -> None:
        for name, buffer in self.buffers.items():
            self.main.getcolnp(name, buffer)


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        path = gains_set(given.folder, *((8, 20, 16) if given.smoke else (28, 120, 64)))
        ms, read = rt.MeasurementSet(path), Reading(path)
        forest = gain_forest(ms)
        report = forest.run(ms, progress=False)
        spent, floor = [], []
        for _ in range(3 if given.smoke else 9):
            floor.append(timed(read))
            reports = []
            seconds = timed(lambda kept=reports: kept.append(forest.run(ms, progress=False)))
            spent.append((seconds, reports[0].seconds))
        whole, stages = min(spent, key=lambda s: s[0])
        size = sum(b.nbytes for b in read.buffers.values()) / 1e6
        rows = [["getcolnp", min(floor), 1.0, f"{size:.0f} MB"]]
        rows += [
            [f"  {name}", seconds, seconds / min(floor), ""] for name, seconds in stages.items() if name != "total"
        ]
        ratio = whole / min(floor)
        rows.append(["run", whole, ratio, verdict(ratio, 4)])
        table(f"read to solutions, {path.stem}: best of {len(floor)}", ["", "s", "x getcolnp", ""], rows)
        print(f"\n{report}\n  rms error of the gains {gain_error(path, report):.2e}")


if __name__ == "__main__":
    main()
