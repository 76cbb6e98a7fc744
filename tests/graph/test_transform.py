"""Trees on other coordinates, and averages over parts of cells, against numpy on those coordinates."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq

CELLS = rt.Cells(time=(0, 4, 4), freq=(1e8, 2e8, 3))
T, F = CELLS.time[:, None], CELLS.freq[None]
LIGHT = 299792458.0


def value(ns, name="root", cells=CELLS):
    forest = ns.forest()
    compiled, oracle = forest.evaluate(name, cells), forest.evaluate(name, cells, oracle=True)
    np.testing.assert_allclose(np.broadcast_to(compiled.values, oracle.values.shape), oracle.values, rtol=1e-12)
    return compiled.values


def beam(l, m, freq=1e8):
    return np.exp(-((l**2 + 2 * m**2) * freq / 1e8))


def beam_tree():
    l, m = Meq.Grid("l"), Meq.Grid("m")
    return Meq.Exp(-(l * l + 2 * (m * m)) * Meq.Freq() / 1e8)


def test_beam_at_a_moving_source():
    """The same beam for two sources; cells need no axes l and m, and the axes that remain are the smallest."""
    ns = rt.Scope()
    ns.beam << beam_tree()
    ns.root << Meq.CoordTransform(ns.beam, 0.1 * Meq.Time(), 0.2, axes=("l", "m"))
    ns.other << Meq.CoordTransform(ns.beam, 0.0, 0.5, axes=("l", "m"))
    np.testing.assert_allclose(value(ns), beam(0.1 * T, 0.2, F), rtol=1e-14)
    other = value(ns, "other")
    assert other.shape == (1, 3)
    np.testing.assert_allclose(other, beam(0, 0.5, F), rtol=1e-14)


def test_a_tree_at_its_own_coordinates_is_itself():
    ns = rt.Scope()
    ns.plain << Meq.Sin(Meq.Freq())
    ns.root << Meq.CoordTransform(ns.plain, Meq.Freq(), axes="freq")
    ns.leaf << Meq.CoordTransform(Meq.Time(), Meq.Time(), axes="time")
    forest = ns.forest()
    assert forest.find("root") == forest.find("plain")
    assert forest.evaluate("leaf", CELLS).values.ravel().tolist() == CELLS.time.tolist()


def test_the_untransformed_tree_stays():
    cells = rt.Cells(freq=(1e8, 2e8, 3), l=(-1, 1, 5), m=(-1, 1, 4))
    l, m = (cells.axes[a].centres for a in "lm")
    ns = rt.Scope()
    ns.beam << beam_tree()
    ns.root << Meq.CoordTransform(ns.beam, 0.3, axes="l") / ns.beam
    expected = beam(0.3, m, F[..., None, None]) / beam(l[:, None], m, F[..., None, None])
    np.testing.assert_allclose(value(ns, cells=cells)[0], expected[0], rtol=1e-12)


def phase(freq):
    return np.exp(-2j * np.pi * freq / LIGHT * (0.1 * 10 + 0.2 * 20 + (0.9 - 1) * 30))


def geometric():
    return Meq.PhaseDelay(Meq.Composer(0.1, 0.2, 0.9), Meq.Composer(10.0, 20.0, 30.0))


def test_classes_that_ask_for_an_axis_get_the_coordinate():
    """PhaseDelay asks for the frequency itself; one transform within another."""
    ns = rt.Scope()
    ns.doppler << Meq.CoordTransform(geometric(), Meq.Freq() * 1.5 + Meq.Time(), axes="freq")
    ns.root << Meq.CoordTransform(ns.doppler, 3e8, axes="freq") + ns.doppler
    np.testing.assert_allclose(value(ns), phase(1.5 * F + T) + phase(4.5e8 + T), rtol=1e-11)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["Sin", "Cos", "Exp", "Atan", "Sqr"]), min_size=1, max_size=4), st.floats(-2, 2))
def test_transform_is_substitution(functions, shift):
    """f(t, f) at (t + shift, 0.1 t): with the coordinates put in it is the node in which they are written."""

    def tree(t, f):
        for name in functions:
            t = getattr(Meq, name)(t * 0.1 + f)
        return t

    ns = rt.Scope()
    ns.plain << tree(Meq.Time() + shift, Meq.Time() * 0.1)
    ns.root << Meq.CoordTransform(
        tree(Meq.Time(), Meq.Freq()), Meq.Time() + shift, Meq.Time() * 0.1, axes=("time", "freq")
    )
    forest = ns.forest()
    assert forest.find("root") == forest.find("plain")


def test_coordinates_are_solved_for():
    """The pointing error of a beam, which is seen along time at a source that moves."""
    cells = rt.Cells(time=(0, 10, 20))
    ns = rt.Scope()
    ns.dl << Meq.Parm(0.0, tags="fit")
    ns.dm << Meq.Parm(0.0, tags="fit")
    l, m = Meq.Grid("l"), Meq.Grid("m")
    ns.beam << Meq.Exp(-(l * l + 2 * (m * m)))
    ns.seen << Meq.CoordTransform(ns.beam, Meq.Time() * 0.1 - 0.5 + ns.dl, 0.3 + ns.dm, axes=("l", "m"))
    truth = beam(cells.time * 0.1 - 0.5 + 0.07, 0.3 - 0.04)
    ns.eq << Meq.Condeq(ns.seen, Meq.Constant(truth, axes="time"))
    ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-12)
    report = ns.forest().run(cells, progress=False)
    assert report.tables.parm("dl").values.item() == pytest.approx(0.07, abs=1e-9)
    assert report.tables.parm("dm").values.item() == pytest.approx(-0.04, abs=1e-9)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (lambda: Meq.CoordTransform(Meq.Freq(), 1.0, 2.0, axes="freq"), "2 coordinates do not go with axes ('freq',)"),
        (
            lambda: Meq.CoordTransform(Meq.Freq(), 1.0, axes="l"),
            "x does not vary along l: there is nothing to transform",
        ),
        (
            lambda: Meq.CoordTransform(Meq.Grid("elevation") * Meq.Freq(), 1.0, 2.0, axes=("freq", "elevaton")),
            "x does not vary along elevaton (did you mean 'elevation'?)",
        ),
        (
            lambda: Meq.CoordTransform(Meq.Parm([[1, 2]]) * Meq.Freq(), 1.0, axes="freq"),
            "Parm below it varies along 'freq' by itself",
        ),
        (
            lambda: Meq.CoordTransform(Meq.Constant([1.0, 2, 3], axes="freq") * Meq.Freq(), 1.0, axes="freq"),
            "Constant below it varies along 'freq' by itself",
        ),
        (
            lambda: Meq.CoordTransform(Meq.Mean(Meq.Freq()), 1.0, axes="freq"),
            "Mean below it varies along 'freq' by itself",
        ),
        (
            lambda: Meq.CoordTransform(Meq.Resampler(Meq.Freq() * Meq.Time(), freq=2), 1.0, axes="freq"),
            "Resampler below it varies along 'freq' by itself",
        ),
        (lambda: Meq.CoordTransform(Meq.Freq(), 1.0), "axes"),
        (lambda: Meq.ModRes(Meq.Freq(), freq=0), "freq must be a whole number from 1 to 1000, not 0"),
        (lambda: Meq.ModRes(Meq.Freq(), freq=2.5), "freq must be"),
        (lambda: Meq.ModRes(Meq.Time(), frq=2), "did you mean 'freq'"),
    ],
)
def test_wrong_transforms(definition, message):
    ns = rt.Scope()
    ns.root << definition()
    with pytest.raises(rt.ForestError, match=re.escape(message)) as caught:
        ns.forest()
    assert re.search(r"root.*test_transform\.py:\d+", str(caught.value))


def test_coordinates_must_be_scalars():
    ns = rt.Scope()
    ns.root << Meq.CoordTransform(geometric(), Meq.Composer(1e8, 2e8), axes="freq")
    with pytest.raises(rt.ForestError, match="coordinate along 'freq' must be a scalar, not a tensor of dims \\(2,\\)"):
        ns.forest().evaluate("root", CELLS)


# Averages over parts of cells.


def test_smearing_in_frequency_and_time():
    """The mean of exp(i a f) over a channel is its value at the centre times sinc(a df / 2); so in time."""
    cells = rt.Cells(time=(0, 40, 4), freq=(1e8, 1.3e8, 3))
    a, b = 2e-7, 0.15
    angle = a * Meq.Freq() + b * Meq.Time()
    ns = rt.Scope()
    ns.root << Meq.ModRes(Meq.Polar(1.0, angle), time=8, freq=10)
    ns.freq << Meq.ModRes(Meq.Polar(1.0, a * Meq.Freq()), time=8, freq=10)
    point = np.exp(1j * (a * cells.freq[None] + b * cells.time[:, None]))
    smear = np.sinc(a * 1e7 / (2 * np.pi)) * np.sinc(b * 10 / (2 * np.pi))
    np.testing.assert_allclose(value(ns, cells=cells), smear * point, rtol=0.02)
    n, m = 10, 8  # exactly: the sum of a geometric series
    exact = np.sinc(a * 1e7 / (2 * np.pi)) / np.sinc(a * 1e7 / (2 * np.pi * n))
    exact *= np.sinc(b * 10 / (2 * np.pi)) / np.sinc(b * 10 / (2 * np.pi * m))
    np.testing.assert_allclose(value(ns, cells=cells), exact * point, rtol=1e-10)
    assert value(ns, "freq", cells).shape == (1, 3)


def test_average_of_a_class_that_asks_for_the_frequency():
    ns = rt.Scope()
    ns.root << Meq.ModRes(geometric(), freq=4)
    width = F[0, 1] - F[0, 0]
    expected = np.mean([phase(F + (k + 0.5 - 2) * width / 4) for k in range(4)], 0)
    np.testing.assert_allclose(value(ns), expected, rtol=1e-11)
