"""Parms that are alike but not all fitted: those that are held have no part in reports, statuses and solutions."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status


def tree(ms, solvable, flux=None, **solver):
    """Gains of x and y without tags, one family; `flux` of the model is a Parm of another interval."""
    ns = rt.Scope()
    for p in ms.antennas:
        for g in (ns.gx, ns.gy):
            g(p) << Meq.Parm(1 + 0j)
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        sky = Meq.Spigot(p, q, column="MODEL_DATA")
        if flux:
            ns.drift << Meq.Parm(flux, solint=3)
            sky = ns.drift * sky
        ns.eq(p, q) << Meq.Condeq(Meq.MatrixMultiply(ns.G(p), sky, Meq.ConjTranspose(ns.G(q))), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable=solvable, **solver)
    return ns


@pytest.mark.parametrize("algorithm", ["auto", "gn-cg", "newton"])
def test_feed_that_is_held(kit, algorithm):
    """y has gains of 1 in truth and is not asked for: x alone is fitted, and a feed without data is no failure either."""
    o = kit.observe(gain=lambda shape: np.where(np.arange(2)[:, None] == 0, 1.2 - 0.3j, 1.0) * np.ones(shape))
    flag = kit.getcol(o.path, "FLAG")
    flag[..., 3] = True
    kit.putcol(o.path, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    forest = tree(ms, "gx", algorithm=algorithm).forest()
    assert "gx (10 real unknowns) per" in (text := forest.explain(data=ms)) and "gy (" not in text
    report = forest.run(ms, progress=False)
    assert report.converged and {s.component for s in report.solvers} == {"gx"}
    assert sum(s.unknowns for s in report.solvers) == 10
    (table,) = report.tables.groups[0].parms
    assert table.label == "gx" and (table.status == Status.CONVERGED).all()
    assert abs(table.values.ravel() - (1.2 - 0.3j)).max() < 6 * table.errors.max()  # cross-hands refer it to y


def test_feed_that_is_held_in_a_joint_fit(kit):
    """The same beside another class: a flux that changes with time."""
    o = kit.observe(gain=lambda shape: np.where(np.arange(2)[:, None] == 0, 1.2 - 0.3j, 1.0) * np.ones(shape))
    kit.putcol(
        o.path, DATA=kit.getcol(o.path, "DATA") * np.where(o.slot < 3, 0.8, 1.1)[:, None, None].astype(np.float32)
    )
    ms = rt.MeasurementSet(o.path)
    report = tree(ms, ("gx", "drift"), flux=1.0).forest().run(ms, progress=False)
    assert report.converged and {s.component for s in report.solvers} == {"gx", "drift"}
    drift = report.tables.parm("drift")
    assert abs(drift.values.ravel() - [0.8, 1.1]).max() < 5 * drift.errors.max()


def test_components_that_are_alike_share_a_line(kit):
    """A factor per baseline is ten problems: one line of the summary, with the spread of their chi2, and ten of the full table."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p, q in ms.baselines:
        ns.m(p, q) << Meq.Parm(1 + 0j, tags="m")
        ns.eq(p, q) << Meq.Condeq(ns.m(p, q) * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="m")
    report = ns.forest().run(ms, progress=False)
    (line,) = [line for line in str(report).splitlines() if "[m]" in line]
    reduced = [s.chi2_per_dof() for s in report.solvers]
    assert "10 x 2 unknowns x 1 interval: 10 converged" in line
    assert f"chi2/dof {min(reduced):.5g} to {max(reduced):.5g}" in line
    assert sum(row.split()[2:3] == ["m"] for row in report.full().splitlines()) == 10
