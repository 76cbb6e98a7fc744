"""Where antennas point, from a field of known sources seen through a beam written with numpy and scipy.

    rimetree run examples/pointing_errors.py --ms x.ms -o solint=5 --solutions pointing.h5

V_pq = sum over sources of E_p(s) E_q(s) K_pq(s) I(s): E is real, the same for both hands, and shifted by dl, dm (rad) at each antenna,
which hold for `solint` slots. `airy` is a node class like any other: numpy and scipy do the work, and derivatives are differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import j1

import rimetree as rt
from rimetree import Meq

SOURCES = ((1.0, 0.002, 0.001), (2.0, 0.004, -0.003), (1.5, -0.003, 0.005), (1.2, -0.005, -0.004), (0.8, 0.001, -0.006))
"""Stokes I in Jy, and direction cosines l and m."""


@rt.node
def airy(l, m, freq, diameter: float = 25.0):
    """The voltage beam of a uniform circular aperture, 2 J1(x) / x with x = pi diameter nu / c times the distance from its axis.

    l, m: direction cosines from the axis
    freq: in Hz
    diameter: in m
    """
    x = np.pi * diameter * freq / 299792458.0 * np.hypot(l, m)
    return np.where(x > 1e-6, 2 * j1(x) / np.maximum(x, 1e-6), 1.0)


def define_forest(ns: rt.Scope, ms: Any, options: Any) -> None:
    """Options: solint (slots; all), diameter (m; 25)."""
    solint, diameter = options.get("solint", None), options.get("diameter", 25.0)
    for p in ms.antennas:
        ns.dl(p) << Meq.Parm(0.0, tags="pointing", solint=solint)
        ns.dm(p) << Meq.Parm(0.0, tags="pointing", solint=solint)
        for s, (_, l, m) in enumerate(SOURCES):
            ns.E(s, p) << airy(l - ns.dl(p), m - ns.dm(p), Meq.Freq(), diameter=diameter)
    for p, q in ms.baselines:
        uvw = Meq.Spigot(p, q, column="UVW")
        for s, (flux, l, m) in enumerate(SOURCES):
            turn = Meq.PhaseDelay([l, m, (1 - l * l - m * m) ** 0.5], uvw)
            ns.seen(s, p, q) << ns.E(s, p) * ns.E(s, q) * turn * Meq.PointSource(flux, 0, 0, 0)
        model = Meq.Add(*[ns.seen(s, p, q) for s in range(len(SOURCES))])
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="pointing")
