"""Coordinates of the sky at times that other nodes give: the same as on cells at those times."""

from __future__ import annotations

import re

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

TIME = 5e9 + 60.0 * np.arange(4)
VLA, MEERKAT = (-1601185.4, -5041977.5, 3554875.9), (5109360.1, 2006852.6, -3238948.1)


def test_looked_up_at_computed_times():
    """The Moon from two places, and the Earth, at times that vary with frequency too; compiled and by the oracle."""
    cells = rt.Cells(time=TIME, freq=[1.0, 2.0])
    trees = {"a": Meq.ObjectRaDec(body="moon", position=VLA), "b": Meq.ObjectRaDec(body="moon", position=MEERKAT)}
    trees["earth"] = Meq.Earth()
    ns = rt.Scope()
    for name, tree in trees.items():
        ns.moved(name) << Meq.CoordTransform(tree, Meq.Time() + 600 * Meq.Freq(), axes="time")
        ns.plain(name) << tree
    ns.both << Meq.Composer(ns.moved("a"), ns.moved("b"))
    forest = ns.forest()

    def value(name, cells, oracle=False):
        found = forest.evaluate(name, cells, oracle=oracle).values
        return found.reshape(-1, *found.shape[-2:])

    late = [rt.Cells(time=TIME + 600 * freq) for freq in cells.freq]
    for oracle in (False, True):
        for name, parts in (("both", ("plain:a", "plain:b")), ("moved:earth", ("plain:earth",))):
            wanted = [np.concatenate([value(part, at)[..., 0] for part in parts]) for at in late]
            np.testing.assert_allclose(value(name, cells, oracle), np.stack(wanted, -1), rtol=0, atol=1e-12)


def test_a_clock_that_is_wrong_is_solved_for():
    """By how much the clock is off, from sidereal times, which are looked up while the fit runs."""
    ns = rt.Scope()
    ns.sky << Meq.Cos(Meq.LST(Meq.Position(position=VLA)))
    truth = ns.forest().evaluate("sky", rt.Cells(time=TIME + 100.0)).values[:, 0]
    ns.late << Meq.Parm(0.0)
    ns.seen << Meq.CoordTransform(ns.sky, Meq.Time() + ns.late, axes="time")
    ns.solve << Meq.Solver(Meq.Condeq(ns.seen, Meq.Constant(truth, axes="time")), solvable="late", tol=1e-12)
    report = ns.forest().run(rt.Cells(time=TIME), progress=False)
    assert report.tables.parm("late").values.item() == pytest.approx(100, abs=1e-5)


def test_widths_of_cells_stay():
    ns = rt.Scope()
    ns.root << Meq.CoordTransform(Meq.SlotLength() * Meq.Time(), 0.0, axes="time")
    with pytest.raises(rt.ForestError, match=re.escape("SlotLength below it varies along 'time' by itself")):
        ns.forest()
