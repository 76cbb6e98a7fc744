"""Solutions over more data than may be held: the same sums tile by tile, memory within what was asked, a clear refusal else."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.batch import dense
from rimetree.batch.tiling import tile_plan


def gains(ms: rt.MeasurementSet, value: object, solint: object, algorithm: str = "lm") -> rt.Forest:
    """One gain per antenna and feed, polynomial where `value` is."""
    ns = rt.Scope()
    for p in ms.antennas:
        for g in (ns.gx, ns.gy):
            g(p) << Meq.Parm(value, tags="gain", solint=solint)
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain", algorithm=algorithm)
    return ns.forest()


def values(report: rt.Report) -> np.ndarray:
    return np.stack([table.values for table in report.tables.groups[0].parms])


@pytest.mark.parametrize(
    ("value", "solint"), [(1 + 0j, None), (1 + 0j, (13, None)), (1 + 0j, (7, 2)), ([[1 + 0j], [0j]], None)], ids=str
)
def test_one_interval_over_many_tiles_is_that_of_one_tile(kit, value, solint):
    """Tiles that end within intervals, a short one last, in as little memory as is taken; flags, a lost baseline, uneven weights."""
    o = kit.observe(times=(5e9, 40, 10.0))
    rng = np.random.default_rng(3)
    kit.putcol(
        o.path,
        FLAG=(rng.random(o.model.shape) < 0.2) | (o.slot > 30)[:, None, None] & (o.p == 0)[:, None, None],
        WEIGHT_SPECTRUM=rng.uniform(0.5, 2, o.model.shape).astype(np.float32),
    )
    whole = gains(ms := rt.MeasurementSet(o.path), value, solint).run(ms, progress=False)
    assert "1 tile of" in whole.plan
    size = ms.groups[0].bytes_per_slot(["DATA", "MODEL_DATA"])
    tiled = next(filter(None, (_run(ms, value, solint, m * size) for m in np.geomspace(12, 2000, 20))))
    assert "tiles of up to" in tiled.plan
    # Nothing but rounding errors, over the damping, moves the common phase.
    np.testing.assert_allclose(values(tiled), values(whole), rtol=1e-8)
    for name in ("chi2", "dof", "iterations", "status"):
        np.testing.assert_allclose(getattr(tiled.solvers[0], name), getattr(whole.solvers[0], name), rtol=1e-10)


def _run(ms: rt.MeasurementSet, value: object, solint: object, memory: float) -> rt.Report | None:
    """With this memory, where it is enough."""
    try:
        return gains(ms, value, solint).run(ms, progress=False, memory=memory)
    except rt.ConfigError:
        return None


@pytest.mark.parametrize("solint", [None, (25, None), (1, None)], ids=str)
def test_memory_stays_within_what_was_asked(kit, solint):
    """What numpy holds at most, data of 200 slots in tiles: no more than `memory`, which is a fifth of the data."""
    o = kit.observe(antennas=8, times=(5e9, 200, 10.0), freqs=(1.4e9, 32, 1e6))
    ms = rt.MeasurementSet(o.path)
    forest = gains(ms, 1 + 0j, solint)
    data = 200 * ms.groups[0].bytes_per_slot(["DATA", "MODEL_DATA"])
    forest.run(ms, progress=False, memory=data / 5)  # what compiles is not the data
    ms = rt.MeasurementSet(o.path)  # with no buffers yet
    tracemalloc.start()
    try:
        report = forest.run(ms, progress=False, memory=data / 5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.converged
    assert "tiles" in report.plan
    assert peak < data / 5 + 5e5  # the solutions themselves, and Python's objects


def test_an_interval_whose_sums_do_not_fit_is_refused_before_work(kit):
    """A polynomial in time keeps slots apart, so that one interval of all slots needs them all."""
    o = kit.observe(times=(5e9, 100, 10.0))
    ms = rt.MeasurementSet(o.path)
    with pytest.raises(
        rt.ConfigError, match=r"too little for solve: the solutions of gx, gy join 100 slots, .*give more"
    ):
        gains(ms, [[1 + 0j], [0j]], None).run(ms, progress=False, memory=1e5)
    with pytest.raises(rt.ConfigError, match=r"one slot of all baselines needs"):
        gains(ms, 1 + 0j, None).run(ms, progress=False, memory=1e3)


def test_normal_matrices_beyond_memory_are_refused(kit, monkeypatch):
    """20 unknowns: 4 triangles of 210 numbers for each of 8 lanes."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)
    monkeypatch.setattr(dense, "available_memory", lambda: 4 * 8 * 8 * 210 - 1)
    with pytest.raises(
        rt.SolveError,
        match=r"gx\+gy: 20 unknowns in one solution interval, .* GB are free; algorithm='gn-cg' needs none",
    ):
        gains(ms, 1 + 0j, None).run(ms, progress=False)
    monkeypatch.setattr(dense, "available_memory", lambda: 4 * 8 * 8 * 210)
    assert gains(ms, 1 + 0j, None).run(ms, progress=False).converged


@pytest.mark.parametrize(("memory", "size"), [(3e4, 10), (2.9e4, 9), (4e3, 1), (1e6, 61)])
def test_tiles_of_a_span_cover_it_once_within_the_memory(memory, size):
    """1 kB per slot, thrice that with what is beside the columns."""
    plan = tile_plan(61, 1000, [np.zeros(61, int)], memory)
    (tiles,) = plan.tiles
    covered = np.concatenate([np.arange(61)[t] for t in tiles])
    np.testing.assert_array_equal(covered, np.arange(61))
    assert plan.slots == max(t.stop - t.start for t in tiles) == size
