"""What takes many cells together, and noise, in runs on data: tiles never change a value."""

from __future__ import annotations

import re

import numpy as np
import pytest
from casacore.tables import table

import rimetree as rt
from rimetree import Meq

START = 5e9


def column(path, name):
    with table(str(path), ack=False) as main:
        return main.getcol(name), main.getcol("TIME")


def written(path, definition, slots=None):
    """The column of a Sink on every baseline, its slots, and how many tiles there were."""
    with rt.MeasurementSet(path) as ms:
        ns = rt.Scope()
        for p, q in ms.baselines:
            ns.out(p, q) << Meq.Sink(definition(p, q), p, q, column="MODEL_DATA")
        memory = None if slots is None else 3 * slots * ms.groups[0].bytes_per_slot({"MODEL_DATA"})
        report = ns.forest().run(ms, memory=memory, progress=False)
    return *column(path, "MODEL_DATA"), int(re.search(r"(\d+) tile", report.plan)[1])


def test_a_mean_over_time_takes_all_slots(make_ms):
    """The mean of t^2 over 6 slots, though the memory would do for tiles of 2 only if nothing were taken together."""
    path = make_ms()
    seconds = Meq.Time() - START

    def definition(p, q):
        return Meq.Mean(Meq.Sqr(seconds), axes="time") + Meq.NElements(seconds) + 0j

    values, time, tiles = written(path, definition, slots=6)
    slots = np.unique(time) - START
    np.testing.assert_allclose(values[..., 0], np.mean(slots**2) + 6 * 5, rtol=1e-6)
    assert tiles == 1
    with pytest.raises(rt.ConfigError, match=r"takes all 6 slots together.*give more memory"):
        written(path, definition, slots=2)


def test_a_sum_over_frequency_is_done_tile_by_tile(make_ms):
    path = make_ms()
    values, _, tiles = written(
        path, lambda p, q: Meq.Sum(Meq.Freq() / 1.4e9, axes="freq") * Meq.ToComplex(1, 1), slots=2
    )
    with rt.MeasurementSet(path) as ms:
        np.testing.assert_allclose(values[..., 0], (ms.groups[0].freq / 1.4e9).sum() * (1 + 1j), rtol=1e-6)
    assert tiles == 3


def test_noise_does_not_depend_on_tiles(make_ms):
    """Every baseline, slot, channel has its own noise, the same in tiles of 2 slots, of all, and on bare cells."""
    path = make_ms()

    def noise(p, q):
        return Meq.GaussNoise(0.5, seed=f"{p}-{q}", complex=True)

    whole, time, _ = written(path, noise)
    tiled, _, tiles = written(path, noise, slots=2)
    assert tiles == 3
    np.testing.assert_array_equal(whole, tiled)
    assert np.unique(whole[..., 0]).size == whole[..., 0].size
    with rt.MeasurementSet(path) as ms:
        (p, q), group = ms.baselines[0], ms.groups[0]
    ns = rt.Scope()
    ns.noise << noise(p, q)
    bare = ns.forest().evaluate("noise", rt.Cells(time=group.time, freq=group.freq))
    row = int(np.flatnonzero(time == group.time[3])[0])  # the first baseline's
    np.testing.assert_allclose(whole[row, :, 0], bare.values[3], rtol=1e-6)


def test_what_a_reduction_hides_cannot_be_solved(make_ms):
    path = make_ms()
    with rt.MeasurementSet(path) as ms:
        ns = rt.Scope()
        ns.g << Meq.Parm(1.0, tags="fit")
        for p, q in ms.baselines:
            ns.eq(p, q) << Meq.Condeq(Meq.Mean(ns.g * Meq.Freq(), axes="freq"), Meq.Spigot(p, q))
        ns.solve << Meq.Solver(ns.eq, solvable="fit")
        with pytest.raises(rt.ForestError, match=r"Mean.*test_whole_axes\.py:\d+.*cannot be solved for"):
            ns.forest().run(ms, progress=False)


def test_a_mean_of_parms_can_be_solved():
    """Of several children the mean is taken cell by cell, exactly differentiated like anything else."""
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0, tags="fit")
    ns.b << Meq.Parm(2.0)
    ns.eq << Meq.Condeq(Meq.Mean(Meq.Exp(ns.a), ns.b, Meq.Time()), 3.0 + Meq.Time() / 3)
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    report = ns.forest().run(rt.Cells(time=(0, 4, 4), freq=(0, 1, 1)), progress=False)
    np.testing.assert_allclose(report.tables.parm("a").values.item(), np.log(7.0), rtol=1e-6)
