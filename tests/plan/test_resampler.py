"""Averages over blocks of cells against numpy block by block, with flags, and the same however data are read."""

from __future__ import annotations

import re

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

CELLS = rt.Cells(time=(0, 5, 5), freq=(0, 7, 7))
VALUES = np.random.default_rng(0).normal(size=(5, 7))
MARKS = np.random.default_rng(1).normal(size=(5, 7))


def blocks(time, freq):
    for t in range(0, 5, time):
        for f in range(0, 7, freq):
            yield slice(t, t + time), slice(f, f + freq)


@pytest.mark.parametrize(("time", "freq"), [(2, 3), (1, 4), (5, 7), (9, 1)])
@pytest.mark.parametrize("density", [0.0, 0.5, 1.0])
def test_blocks_with_flags(time, freq, density):
    marks = Meq.ZeroFlagger(Meq.Constant(MARKS, axes=("time", "freq")), oper="GT", flag_bit=4)
    data = Meq.MergeFlags(Meq.Constant(VALUES, axes=("time", "freq")), marks)
    ns = rt.Scope()
    ns.root << Meq.Resampler(data, time=time, freq=freq, flag_density=density)
    flagged = MARKS > 0
    expected, flags = np.zeros((5, 7)), np.zeros((5, 7), int)
    for block in blocks(time, freq):
        good = ~flagged[block]
        expected[block] = VALUES[block][good].mean() if good.any() else 0
        flags[block] = 4 * (flagged[block].mean() > density)
    forest = ns.forest()
    for oracle in (False, True):
        result = forest.evaluate("root", CELLS, oracle=oracle)
        np.testing.assert_allclose(result.values, expected, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(np.broadcast_to(result.flags, (5, 7)), flags)


WEIGHTS = np.random.default_rng(3).uniform(0, 2, size=(5, 7))
WEIGHTS[1, 2] = 0


def straight(means, good, time, freq):
    """Cells on lines between the centres of blocks (t, f), one axis after the other, past blocks that are not good."""
    weight, value = good * 1.0, means * good
    for axis, (extent, step) in enumerate(((5, time), (7, freq))):
        centres = [np.mean(range(i, min(i + step, extent))) for i in range(0, extent, step)]
        along = lambda a: np.apply_along_axis(lambda line: np.interp(range(extent), centres, line), axis, a)  # noqa: B023, E731
        weight, value = along(weight), along(value)
    return np.where(weight > 0, value / np.where(weight > 0, weight, 1), 0)


@pytest.mark.parametrize(("time", "freq"), [(2, 3), (1, 4), (5, 7), (2, 1)])
@pytest.mark.parametrize("threshold", [9.0, 0.0])
def test_weighted_means_and_lines_between_them(time, freq, threshold):
    marks = Meq.ZeroFlagger(Meq.Constant(MARKS, axes=("time", "freq")), oper="GT", limit=threshold)
    data = Meq.MergeFlags(Meq.Constant(VALUES, axes=("time", "freq")), marks)
    heavy = WEIGHTS * (threshold >= MARKS)
    shape = -(-5 // time), -(-7 // freq)
    means, good = np.zeros(shape), np.zeros(shape, bool)
    for place, block in zip(np.ndindex(shape), blocks(time, freq), strict=True):
        good[place] = heavy[block].sum() > 0
        means[place] = (heavy[block] * VALUES[block]).sum() / heavy[block].sum() if good[place] else 0
    ns = rt.Scope()
    weight = Meq.Constant(WEIGHTS, axes=("time", "freq"))
    ns.level << Meq.Resampler(data, weight, time=time, freq=freq)
    ns.line << Meq.Resampler(data, weight, time=time, freq=freq, linear=True)
    forest = ns.forest()
    level = means.repeat(time, 0)[:5].repeat(freq, 1)[:, :7]
    for oracle in (False, True):
        np.testing.assert_allclose(forest.evaluate("level", CELLS, oracle=oracle).values, level, rtol=1e-12, atol=1e-14)
        found = forest.evaluate("line", CELLS, oracle=oracle).values
        np.testing.assert_allclose(found, straight(means, good, time, freq), rtol=1e-12, atol=1e-14)


def test_axes_that_do_not_vary_stay_collapsed():
    ns = rt.Scope()
    ns.root << Meq.Resampler(Meq.Freq(), time=2, freq=7)
    np.testing.assert_allclose(ns.forest().evaluate("root", CELLS).values, np.full((1, 7), 3.5))


def test_data_averaged_in_a_run(make_ms):
    """Blocks of 4 slots of 6, whatever the tiles; flagged data left out, blocks flagged beyond half."""
    from casacore.tables import table

    path = make_ms()
    with table(str(path), readonly=False, ack=False) as main:
        flag = np.random.default_rng(2).uniform(size=main.getcol("FLAG").shape) < 0.3
        main.putcol("FLAG", flag)
    ms = rt.MeasurementSet(path)
    ns = rt.Scope()
    for p, q in ms.baselines:
        ns.out(p, q) << Meq.Sink(Meq.Resampler(Meq.Spigot(p, q), time=4), p, q)
    ns.forest().run(ms, memory=2e5, progress=False)
    with table(str(path), ack=False) as main:
        got, data, time = main.getcol("CORRECTED_DATA"), main.getcol("DATA"), main.getcol("TIME")
        pair = main.getcol("ANTENNA1") * 10 + main.getcol("ANTENNA2")
    slot = np.unique(time, return_inverse=True)[1]
    for each in np.unique(pair):
        for block in (slot < 4, slot >= 4):
            rows = block & (pair == each)
            good = ~flag[rows]
            mean = (data[rows] * good).sum(0) / np.maximum(good.sum(0), 1)
            np.testing.assert_allclose(got[rows], np.broadcast_to(mean, got[rows].shape), atol=1e-6)


def test_what_is_below_cannot_be_solved_for():
    ns = rt.Scope()
    ns.a << Meq.Parm([[1.0, 2.0]], tags="fit")
    ns.eq << Meq.Condeq(Meq.Resampler(ns.a, freq=2), 3.0)
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    with pytest.raises(rt.ForestError, match="takes cells together, so that what is below it cannot be solved for"):
        ns.forest().run(CELLS, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": 0}, "time must be a whole number, at least 1, not 0"),
        ({"flag_density": 2.0}, "flag_density must be a number from 0 to 1, not 2.0"),
        ({"freqs": 2}, "did you mean 'freq'"),
    ],
)
def test_wrong_options(options, message):
    ns = rt.Scope()
    ns.root << Meq.Resampler(Meq.Freq(), **options)
    with pytest.raises(rt.ForestError, match=re.escape(message)):
        ns.forest()
