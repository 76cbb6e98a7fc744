"""What correlators and interference add to single baselines: factors and offsets that no product of gains explains.

    rimetree run examples/closure_errors.py --ms x.ms -o solint=2 --ref-antenna ant00 --solutions closure.h5

V_pq = m_pq g_p X_pq conj(g_q) + a_pq, with X in MODEL_DATA: gains hold for `solint` slots, the factors m and the offsets a for all data.
The factors could take the place of gains at once (m times g_p g_q), so it is said what is known of them: 1 within `sigma`. A prior is
one more datum; the errors of all, fitted jointly, include that it is not exact.
"""

from __future__ import annotations

from typing import Any

import rimetree as rt
from rimetree import Meq


def define_forest(ns: rt.Scope, ms: Any, options: Any) -> None:
    """Options: solint (slots; 1), sigma (of either part of a factor; 0.05)."""
    for p in ms.antennas:
        for hand in "xy":
            ns[f"g{hand}"](p) << Meq.Parm(1 + 0j, tags="gain", solint=options.get("solint", 1))
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        for hand in "xy":
            ns[f"m{hand}"](p, q) << Meq.Parm(1 + 0j, tags="closure", prior=(1, options.get("sigma", 0.05)))
            ns[f"a{hand}"](p, q) << Meq.Parm(0j, tags="closure")
        seen = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        factor = Meq.Matrix22(ns.mx(p, q), 0, 0, ns.my(p, q))
        offset = Meq.Matrix22(ns.ax(p, q), 0, 0, ns.ay(p, q))
        ns.eq(p, q) << Meq.Condeq(factor * seen + offset, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable=("gain", "closure"))
