"""Robust solving: outliers do little harm, good data keep their precision, errors and chi-squared keep their meaning."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.errors import SolveError
from rimetree.status import Status

ROBUST = pytest.mark.parametrize("robust", ["student-t", "clip"])


def spoil(o, kit, share=0.05, size=100.0):
    """Move a share of the data by `size` standard deviations, with random phases; returns which."""
    rng = np.random.default_rng(7)
    data = kit.getcol(o.path, "DATA")
    bad = rng.uniform(size=data.shape) < share
    data[bad] += size * o.sigma * np.exp(2j * np.pi * rng.uniform(size=int(bad.sum())))
    kit.putcol(o.path, DATA=data)
    return bad


def solve(o, *, solint=(4, None), sink=None, memory=None, **options):
    """Diagonal gains; the report."""
    with rt.MeasurementSet(o.path) as ms:
        ns = rt.Scope()
        for p in ms.antennas:
            for g in (ns.gx, ns.gy):
                g(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
            ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
            if sink is not None:
                ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q), flag=sink)
        ns.solve << Meq.Solver(*ns.eq, solvable="gain", **options)
        return ns.forest().run(ms, progress=False, memory=memory)


def misfit(report, o, kit):
    """rms of g_p g_q^* - truth over all pairs of antennas (free of the common phase)."""
    found = kit.solved(report)[..., 0]  # interval, antenna, feed
    pairs = lambda g: np.einsum("taf,tbf->tabf", g, g.conj())  # noqa: E731
    return np.sqrt(np.mean(np.abs(pairs(found) - pairs(o.gains[:1, ..., 0])) ** 2))


@pytest.fixture
def noisy(kit):
    """Signal to noise of about 2 per visibility, 7 antennas, 16 channels."""
    return kit.observe(antennas=7, times=(5e9, 12, 10.0), freqs=(1.4e9, 16, 1e6), noise=1.0)


@ROBUST
def test_outliers_do_not_move_the_solution(noisy, kit, robust):
    """5 % of the data off by 100 sigma: at most 1.2 times the error without any; plain least squares is far worse."""
    floor = misfit(solve(noisy), noisy, kit)
    spoil(noisy, kit)
    assert misfit(solve(noisy), noisy, kit) > 10 * floor
    report = solve(noisy, robust=robust)
    assert report.converged
    assert misfit(report, noisy, kit) < 1.2 * floor


@ROBUST
def test_strong_interference_from_a_cold_start(kit, robust):
    """0.5 % of the data at 10^5 sigma, and gains far from 1."""
    o = kit.observe(antennas=7, times=(5e9, 8, 10.0), freqs=(1.4e9, 16, 1e6), noise=0.3, spread=0.8)
    floor = misfit(solve(o), o, kit)
    spoil(o, kit, share=0.005, size=1e5)
    assert misfit(solve(o, robust=robust), o, kit) < 1.2 * floor


@ROBUST
@pytest.mark.parametrize("share", [0.0, 0.05])
def test_errors_and_chi_squared_keep_their_meaning(kit, robust, share):
    """One complex number per slot and channel: pulls of unit width; chi2 per degree of freedom 1 without outliers."""
    o = kit.observe(antennas=8, times=(5e9, 30, 10.0), freqs=(1.4e9, 20, 1e6), noise=1.0, gain=np.ones)
    spoil(o, kit, share)
    with rt.MeasurementSet(o.path) as ms:
        ns = rt.Scope()
        ns.a << Meq.Parm(1 + 0j, solint=(1, 1))
        for p, q in ms.baselines:
            ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="a", robust=robust)
        report = ns.forest().run(ms, progress=False)
    table = report.tables.groups[0].parms[0]
    pull = (table.values - 1) / table.errors
    width = np.sqrt(np.mean(np.append(pull.real, pull.imag) ** 2))
    count = 2 * pull.size
    assert abs(width - 1) < 0.04 + 3 / np.sqrt(2 * count)  # outliers cost some precision that errors do not know of
    reduced = report.solvers[0].chi2_per_dof()
    assert (0.98 if share == 0 else 0.9) < reduced < (1.02 if share == 0 else 1.3)


def test_clipped_data_are_flagged(noisy, kit):
    """All outliers and next to nothing else, beside the flags that were there; Student's t flags nothing."""
    before = np.random.default_rng(1).uniform(size=noisy.model.shape) < 0.1
    kit.putcol(noisy.path, FLAG=before)
    bad = spoil(noisy, kit)
    report = solve(noisy, robust="student-t", sink=True)
    np.testing.assert_array_equal(kit.getcol(noisy.path, "FLAG"), before)
    report = solve(noisy, robust="clip", sink=True)
    after = kit.getcol(noisy.path, "FLAG")
    assert after[bad | before].all()
    assert after[~(bad | before)].mean() < 1e-4  # exp(-12.5) of Gaussian noise is beyond 5 sigma
    assert report.clipped == after.sum() - before.sum() and "clipped" in str(report)


def test_without_flags_in_the_sink_nothing_is_flagged(noisy, kit):
    spoil(noisy, kit)
    assert solve(noisy, robust="clip", sink=False).clipped == 0
    assert not kit.getcol(noisy.path, "FLAG").any()


def test_weights_on_another_scale_change_nothing(noisy, kit):
    """Weights are often right only up to a factor."""
    spoil(noisy, kit)
    first = kit.solved(solve(noisy, robust="student-t"))
    weight = kit.getcol(noisy.path, "WEIGHT_SPECTRUM")
    kit.putcol(noisy.path, WEIGHT_SPECTRUM=weight * 1e4)
    report = solve(noisy, robust="student-t")
    np.testing.assert_allclose(kit.solved(report), first, atol=1e-3)
    assert 0.9e4 < report.solvers[0].chi2_per_dof() < 1.3e4


def test_tiles_read_again_and_again_give_the_same_solution(noisy, kit):
    spoil(noisy, kit)
    whole = kit.solved(solve(noisy, solint=None, robust="student-t"))
    report = solve(noisy, solint=None, robust="student-t", memory=600_000)
    assert "tiles" in report.plan
    np.testing.assert_allclose(kit.solved(report), whole, atol=2e-3)


def test_data_without_noise_are_left_alone(kit):
    o = kit.observe(noise=1e-12)
    assert solve(o, robust="clip").converged


def test_equations_without_data_cannot_be_robust():
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0)
    ns.eq << Meq.Condeq(ns.a, 3.0)
    ns.solve << Meq.Solver(ns.eq, solvable="a", robust="clip")
    with pytest.raises(SolveError, match="solve: robust='clip' needs data"):
        ns.forest().run(rt.Cells(time=[0.0, 1.0], freq=[1.0]), progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"robust": "student"}, "did you mean 'student-t'"),
        ({"dof": 0}, "dof must be .*above 0"),
        ({"clip": float("nan")}, "clip must be .*above 0"),
    ],
)
def test_bad_options(options, words):
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0)
    ns.eq << Meq.Condeq(ns.a, 3.0)
    ns.solve << Meq.Solver(ns.eq, solvable="a", **options)
    with pytest.raises(rt.ForestError, match=words):
        ns.forest()


@ROBUST
def test_an_interval_of_junk_is_no_solution(kit, robust):
    """One slot of eight holds random data of ten times the signal: their weights are next to nothing, so anything would fit. It is said;
    the others are as they were, and so is a slot of which a third is junk."""
    o = kit.observe(antennas=7, times=(5e9, 8, 10.0), freqs=(1.4e9, 16, 1e6), noise=0.1)
    rng, data = np.random.default_rng(8), kit.getcol(o.path, "DATA")
    junk = (o.slot == 3)[:, None] | ((o.slot == 5)[:, None] & (rng.random(data.shape[:2]) < 0.33))
    data[junk] = 20 * (rng.normal(size=data[junk].shape) + 1j * rng.normal(size=data[junk].shape))
    kit.putcol(o.path, DATA=data)
    report = solve(o, solint=(1, None), robust=robust)
    good = np.arange(8) != 3
    for solver in report.solvers:
        assert (solver.status[good] == Status.CONVERGED).all()
        assert (solver.status[~good] != Status.CONVERGED).all()
    for table in report.tables.groups[0].parms:
        assert (table.status[:, ~good] != Status.CONVERGED).all()
    found, true = kit.solved(report)[good, ..., 0], o.gains[good, ..., 0]  # interval, antenna, feed
    pairs = lambda g: np.einsum("taf,tbf->tabf", g, g.conj())  # noqa: E731
    assert abs(pairs(found) - pairs(true)).max() < 0.1
