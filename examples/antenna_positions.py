"""By how much antenna positions are off, from the fringes of a calibrator in the phase centre.

    rimetree run examples/antenna_positions.py --ms x.ms --ref-antenna ant00 --solutions positions.h5

A station that stands at xyz + d hears the source earlier by (w(xyz + d) - w(xyz)) / c, w being the component of its position towards the
source, which turns with the Earth: so its three coordinates (ITRF, m) differ in how phases drift and grow with frequency. Every antenna has
a constant phase besides. Only differences between antennas are known: with `ref_antenna` they are those to that antenna, errors too.

Phases of many turns have many minima: where positions are off by several wavelengths, start with the shortest baselines.
"""

from __future__ import annotations

from typing import Any

import rimetree as rt
from rimetree import Meq

LIGHT = 299792458.0
W = 2
"""Index of w in u, v, w."""


def define_forest(ns: rt.Scope, ms: Any, options: Any) -> None:
    """Options: flux (Jy; 1)."""
    for p in ms.antennas:
        for axis in "xyz":
            ns[f"d{axis}"](p) << Meq.Parm(0.0, tags="position")
        ns.phase(p) << Meq.Parm(0.0, tags="position")
        ns.off(p) << Meq.Composer(ns.dx(p), ns.dy(p), ns.dz(p))
        ns.there(p) << Meq.Selector(Meq.UVW(Meq.Position(p) + ns.off(p)), index=W)
        ns.thought(p) << Meq.Selector(Meq.UVW(Meq.Position(p)), index=W)
        ns.K(p) << Meq.Delay((ns.there(p) - ns.thought(p)) / LIGHT, ns.phase(p))
    for p, q in ms.baselines:
        model = ns.K(p) * Meq.PointSource(options.get("flux", 1.0), 0, 0, 0) * Meq.Conj(ns.K(q))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="position")
