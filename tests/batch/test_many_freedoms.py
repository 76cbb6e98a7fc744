"""More null directions than are looked for at first: two factors per station of which only the product is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

STATIONS = 7


@pytest.mark.parametrize("smooth", [None, 0.1])
def test_factors_of_a_product_are_named(kit: Any, smooth: float | None) -> None:
    o = kit.observe(antennas=STATIONS, times=(5e9, 4, 10.0), freqs=(1.4e9, 2, 1e6))
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        for label in "gb":
            ns[label](p) << Meq.Parm(1 + 0j, tags="gain", solint=2, smooth=smooth)
    for p, q in ms.baselines:
        x, d = (Meq.Selector(Meq.Spigot(p, q, column=c), index=(0, 0)) for c in ("MODEL_DATA", "DATA"))
        ns.eq(p, q) << Meq.Condeq(ns.g(p) * ns.b(p) * x * Meq.Conj(ns.g(q) * ns.b(q)), d)
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    report = ns.forest().run(ms, progress=False)
    summary = report.solvers[0]
    found = np.stack([report.tables.parm(n).values[..., 0, 0, 0] for n in "gb"])
    assert np.isfinite(found).all() and abs(found).max() < 10  # what is free does not run away
    gain = found.prod(0)[:, np.arange(4) // 2]
    model = gain[o.p, o.slot, None] * gain[o.q, o.slot, None].conj() * o.model[..., 0]
    left = np.sqrt((abs(kit.getcol(o.path, "DATA")[..., 0] - model) ** 2).mean())
    assert abs(left / 0.1 - 1) < 0.15
    assert (summary.status == Status.CONVERGED).all()  # the product is known, and changes no corrected datum
    if smooth is None:  # a walk ties the factors, which leaves the common phase
        assert (summary.rank == 4 * STATIONS - 2 * STATIONS - 1).all()
        text = summary.gauges[summary.gauge[0, 0]]
        for kind in ("phase", "scale"):
            assert f"{kind} between g and b, for each of {STATIONS}" in text
        assert "phase of all" in text
