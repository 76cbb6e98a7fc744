"""However an equation is written, it costs the same and gives the same."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

COST = re.compile(r"\d+ terms?.*|(?:time|freq): .*|summed into .*|on \d+ x \d+ cells")
"""What explain says of terms, cells and sums."""


def written(ms: Any, way: str) -> rt.Forest:
    """A phase per slot and a phase per channel at each station, written in one of several ways."""
    ns = rt.Scope()
    for p in ms.antennas:
        ns.g(p) << Meq.Parm(0.0, solint=(1, None), tags="fit")
        ns.b(p) << Meq.Parm(0.0, solint=(None, 1), tags="fit")
        g, b = ns.g(p), ns.b(p)
        (
            ns.G(p)
            << {
                "product": lambda g=g, b=b: Meq.Exp(1j * g) * Meq.Exp(1j * b),
                "sum": lambda g=g, b=b: Meq.Exp(1j * (g + b)),
                "polar": lambda g=g, b=b: Meq.Polar(1.0, g + b),
                "difference": lambda g=g, b=b: Meq.Exp(1j * g + 1j * b),
                "ratio": lambda g=g, b=b: Meq.Exp(1j * g) / Meq.Exp(-1j * b),
            }[way]()
        )
    for p, q in ms.baselines:
        model = Meq.Spigot(p, q, column="MODEL_DATA")
        if way == "difference":
            turn = Meq.Exp(1j * (ns.g(p) + ns.b(p) - ns.g(q) - ns.b(q)))
            model = turn * model
        else:
            model = ns.G(p) * model * Meq.Conj(ns.G(q))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="fit")
    return ns.forest()


@pytest.fixture
def drifting(kit: Any) -> Any:
    """Data with a phase per slot and station, times one per channel and station."""

    def gains(shape: tuple[int, ...]) -> np.ndarray:
        slots, antennas, _, chans = shape
        rng = np.random.default_rng(5)
        phase = rng.normal(size=(slots, antennas, 1, 1)) + rng.normal(size=(1, antennas, 1, chans))
        return np.exp(0.5j * phase)

    return kit.observe(gain=gains)


def test_ways_of_writing_cost_the_same_and_give_the_same(drifting: Any) -> None:
    costs, phases = {}, {}
    with rt.MeasurementSet(drifting.path) as ms:
        for way in ("product", "sum", "polar", "difference", "ratio"):
            forest = written(ms, way)
            text = forest.explain(data=ms)
            costs[way] = COST.findall(text)
            assert ("Taken apart into factors" in text) == (way != "product"), way
            assert (
                "chi2 stays above noise or a fit does not converge: g fitted first, and from their neighbours" in text
            )
            assert "errors: of all classes together" in text
            report = forest.run(ms, progress=False)
            assert report.converged, way
            parms = {table.label: table.values[..., 0, 0] for table in report.tables.groups[0].parms}
            phases[way] = parms["g"] + parms["b"]  # (antenna, slot, channel)
    assert [line for line in costs["product"] if "summed before" in line] == [
        f"{axis}: the {unit} of an interval are summed before iterating"
        for axis, unit in 2 * (("time", "slots"), ("freq", "channels"))
    ]
    truth = np.angle(drifting.gains[:, :, 0]).transpose(1, 0, 2)
    for way, found in phases.items():
        assert costs[way] == costs["product"], way
        turn = np.exp(1j * (found - found[:1]))
        np.testing.assert_allclose(turn, np.exp(1j * (phases["product"] - phases["product"][:1])), atol=1e-4)
        assert np.abs(turn - np.exp(1j * (truth - truth[:1]))).max() < 0.1


def test_explain_says_what_was_taken_apart_and_where_fits_begin(drifting: Any) -> None:
    with rt.MeasurementSet(drifting.path) as ms:
        text = written(ms, "sum").explain(data=ms)
        (number,) = re.findall(r"^ +(\d+)  Exp ", text, re.M)
        assert re.search(rf"Taken apart .*\n  Exp .*\(#{number}\)\n", text)
        ns = rt.Scope()
        for p in ms.antennas:
            ns.phase(p) << Meq.Parm(0.0, solint=(1, None), tags="fit")
        for p, q in ms.baselines:
            model = Meq.Exp(1j * (ns.phase(p) - ns.phase(q))) * Meq.Spigot(p, q, column="MODEL_DATA")
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="fit")
        text = ns.forest().explain(data=ms)
    assert "other starts: the interval before" in text
    assert "errors: the inverse of the normal matrix of each interval" in text
    assert "up to 2 solvable factors" in text
