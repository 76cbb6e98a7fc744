"""What flags cost: a gain solve whose data a tree flags by their amplitude, over the same with flags from FLAG alone.

28 antennas x 120 slots x 64 channels, both hands, in a warm process; and a Sink that writes what is flagged, to a flagset or to
FLAG too. The garbage that the tree flags is what FLAG has, so that all solutions are equal: the last column says whether.
"""

from __future__ import annotations

import numpy as np
from bench_read_to_solution import Reading
from common import best, gains_set, options, table

import rimetree as rt
from rimetree import Meq

COLUMNS = ["DATA", "MODEL_DATA", "FLAG", "WEIGHT_SPECTRUM"]
LIMIT = 200.0
"""Between the amplitudes of data and those of garbage."""


def forest(ms: rt.MeasurementSet, flagged: bool, **sink: object) -> rt.Forest:
    """Gains per slot, with the amplitudes of the data compared or not, and Sinks of the corrected data where asked."""
    ns = rt.Scope()
    for p in ms.antennas:
        corners = [ns[f"g{x}"](p) << Meq.Parm(1 + 0j, tags="gain", solint=(1, None)) for x in "xy"]
        ns.G(p) << Meq.Matrix22(corners[0], 0, 0, corners[1])
        ns.inverse(p) << Meq.MatrixInvert22(ns.G(p))
    for p, q in ms.baselines:
        data = ns.read(p, q) << Meq.Spigot(p, q)
        if flagged:
            data = ns.data(p, q) << Meq.MergeFlags(data, Meq.ZeroFlagger(Meq.Abs(data), oper="GT", limit=LIMIT))
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, data)
        if sink:
            value = Meq.MatrixMultiply(ns.inverse(p), data, Meq.ConjTranspose(ns.inverse(q)))
            ns.out(p, q) << Meq.Sink(value, p, q, **sink)
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns.forest()


def main() -> None:
    with options(__doc__.splitlines()[0]) as given:
        size = (8, 20, 16) if given.smoke else (28, 120, 64)
        path = gains_set(given.folder, *size)
        ms = rt.MeasurementSet(path)
        floor = best(Reading(path, COLUMNS), 3)
        rows, alone, wanted = [["getcolnp", floor, 1.0, "", ""]], {}, None
        cases = [
            ("solve", {}),
            ("solve, corrected data", {"column": "CORRECTED_DATA"}),
            ("solve, corrected data, flagset", {"column": "CORRECTED_DATA", "flagset": "loud"}),
            ("solve, corrected data, FLAG", {"column": "CORRECTED_DATA", "flag": True}),
        ]
        for name, sink in cases:
            for flagged in (False, True):
                work = forest(ms, flagged, **sink)
                gains = work.run(ms, progress=False).tables.parm(f"gx:{ms.antennas[1]}").values
                wanted = gains if wanted is None else wanted
                spent = alone[flagged] = best(lambda work=work: work.run(ms, progress=False), 2 if given.smoke else 5)
                same = "same" if np.allclose(gains, wanted, rtol=1e-6) else "OTHER SOLUTION"
                over = f"{alone[True] / alone[False]:.2f}" if flagged else ""
                rows.append([name + (", amplitudes flagged" if flagged else ""), spent, spent / floor, over, same])
        table(f"Flags, {path.stem}", ["", "s", "x getcolnp", "x without flag nodes", "solution"], rows)


if __name__ == "__main__":
    main()
