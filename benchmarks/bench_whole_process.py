"""Whole processes: `rimetree run script.py --ms ...` with a diagonal gain per slot, corrected data written, and how
it scales.

Wall time, processor time and peak memory on g28 and on ten times as many slots, with numba's and JAX's caches warm.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common import Options, gains_set, options, process, table

SCRIPT = """
from rimetree import Meq

def define_forest(ns, ms, options):
    for p in ms.antennas:
        ns.gx(p) << Meq.Parm(1 + 0j, tags="gain", solint=(1, None))
        ns.gy(p) << Meq.Parm(1 + 0j, tags="gain", solint=(1, None))
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
        ns.inverse(p) << Meq.MatrixInvert22(ns.G(p))
    for p, q in ms.baselines:
        data = ns.data(p, q) << Meq.Spigot(p, q)
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, data)
        ns.out(p, q) << Meq.Sink(Meq.MatrixMultiply(ns.inverse(p), data, Meq.ConjTranspose(ns.inverse(q))))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
"""


def measured(given: Options, path: Path) -> tuple[float, float, float]:
    """(wall s, processor s, peak MB) of one run in a new process."""
    script, output = given.folder / "gains.py", given.folder / "sols.h5"
    script.write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "rimetree",
        "run",
        str(script),
        "--ms",
        str(path),
        "--solutions",
        str(output),
        "--overwrite",
    ]
    return process(command)


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        antennas, slots, channels = (8, 20, 16) if given.smoke else (28, 120, 64)
        rows = []
        for times in (1, 10):
            path = gains_set(given.folder, antennas, slots * times, channels)
            tries = [measured(given, path) for _ in range(1 if given.smoke else 3)]
            visibilities = antennas * (antennas - 1) / 2 * slots * times * channels * 4
            best = min(tries)
            rows.append([path.stem, *best, visibilities / best[0] / 1e6])
        table("rimetree run, new process", ["data", "wall s", "processor s", "peak MB", "Mvis/s"], rows)
        (first, second) = rows
        extra = (second[1] - first[1]) / 9
        print(
            f"  each further {slots} slots: {extra:.2f} s, {(second[3] - first[3]) / 9:.0f} MB; start-up {first[1] - extra:.1f} s"
        )


if __name__ == "__main__":
    main()
