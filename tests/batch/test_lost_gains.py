"""Gains that drown in the noise are no solutions, and nothing is corrected by them; what may well be zero is left alone."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status


@pytest.fixture
def observed(kit):
    """Nine antennas, of which the first two record nothing but noise in the second half."""
    o = kit.observe(antennas=9, noise=0.5)
    dead = (o.slot >= 3) & (o.p < 2)
    rng = np.random.default_rng(7)
    data = kit.getcol(o.path, "DATA")
    data[dead] = 0.5 / np.sqrt(2) * (rng.normal(size=data[dead].shape) + 1j * rng.normal(size=data[dead].shape))
    kit.putcol(o.path, DATA=data)
    return o


@pytest.mark.parametrize("scale", [1, 1e-4, 1e4], ids=["right weights", "far too low", "far too high"])
def test_antennas_of_noise_have_no_solution(kit, observed, scale: float) -> None:
    """Whatever the units of the weights; nothing is corrected by such gains, the other antennas are."""
    o = observed
    kit.putcol(o.path, WEIGHT_SPECTRUM=(kit.getcol(o.path, "WEIGHT_SPECTRUM") * scale).astype(np.float32))
    report = kit.diagonal(rt.MeasurementSet(o.path), 3).forest().run(rt.MeasurementSet(o.path), progress=False)
    assert report.converged
    for table in report.tables.groups[0].parms:
        assert (table.status[:, 0] == Status.CONVERGED).all()
        np.testing.assert_array_equal(table.status[:, 1, 0] == Status.LOW_SNR, np.arange(9) < 2)
    assert (
        "gx:ant00, gx:ant01, gy:ant00, gy:ant01: zero within the errors, hence no solution, in 1 of 2 intervals"
        in str(report)
    )
    written = kit.getcol(o.path, "CORRECTED_DATA").any((1, 2))
    np.testing.assert_array_equal(written, ~((o.slot >= 3) & (o.p < 2)))


def test_nothing_but_noise(kit) -> None:
    o = kit.observe(antennas=7)
    rng = np.random.default_rng(8)
    data = 0.1 / np.sqrt(2) * (rng.normal(size=o.model.shape) + 1j * rng.normal(size=o.model.shape))
    kit.putcol(o.path, DATA=data.astype(np.complex64))
    report = kit.diagonal(rt.MeasurementSet(o.path), 1).forest().run(rt.MeasurementSet(o.path), progress=False)
    assert not any((s.status == Status.CONVERGED).any() for s in report.solvers)
    assert not kit.getcol(o.path, "CORRECTED_DATA").any()


def test_data_of_zeros(kit) -> None:
    """A correlator that writes zeros: for one antenna, or for all in one interval."""
    o = kit.observe(antennas=7)
    data = kit.getcol(o.path, "DATA")
    data[(o.slot >= 4) | ((o.slot < 2) & (o.p == 0))] = 0
    kit.putcol(o.path, DATA=data)
    report = kit.diagonal(rt.MeasurementSet(o.path), 2).forest().run(rt.MeasurementSet(o.path), progress=False)
    for table in report.tables.groups[0].parms:
        assert (table.status[:, 0, 0] == np.where(np.arange(7) == 0, Status.LOW_SNR, Status.CONVERGED)).all()
        assert (table.status[:, 1] == Status.CONVERGED).all()
        assert (table.status[:, 2] == Status.LOW_SNR).all()
    assert not kit.getcol(o.path, "CORRECTED_DATA")[o.slot >= 4].any()


def test_a_dead_receptor_costs_the_whole_jones_matrix(kit) -> None:
    """The second receptor of antenna 3 is dead: its matrix has no inverse. Leakages of zero are good solutions."""
    o = kit.observe(antennas=8, corrs="linear")
    rng, data = np.random.default_rng(9), kit.getcol(o.path, "DATA")
    for mask, corrs in ((o.p == 3, [2, 3]), (o.q == 3, [1, 3])):
        noise = rng.normal(size=(2, mask.sum(), data.shape[1], 2)) * 0.1 / np.sqrt(2)
        data[np.ix_(mask, range(data.shape[1]), corrs)] = noise[0] + 1j * noise[1]
    kit.putcol(o.path, DATA=data)
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        elements = [
            ns[name](p) << Meq.Parm(complex(start), tags="J", solint=2)
            for name, start in (("xx", 1), ("xy", 0), ("yx", 0), ("yy", 1))
        ]
        ns.J(p) << Meq.Matrix22(*elements)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="J")
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    for table in report.tables.groups[0].parms:
        np.testing.assert_array_equal((table.status == Status.LOW_SNR).all((1, 2)), np.arange(8) == 3)
        assert (table.status[np.arange(8) != 3] == Status.CONVERGED).all()
    off = next(t for t in report.tables.groups[0].parms if t.label == "xy")
    assert (abs(off.values[0]) < 5 * off.errors[0]).all()


def test_min_snr_of_zero_takes_all(kit, observed) -> None:
    ms = rt.MeasurementSet(observed.path)
    ns = rt.Scope()
    for p in ms.antennas:
        ns.g(p) << Meq.Parm(1 + 0j, tags="g", solint=3)
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.g(p) * Meq.Spigot(p, q, column="MODEL_DATA") * Meq.Conj(ns.g(q)), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="g", min_snr=0)
    report = ns.forest().run(ms, progress=False)
    assert (report.tables.groups[0].parms[0].status == Status.CONVERGED).all()


def test_phases_that_noise_chooses_are_no_solutions(kit) -> None:
    """Where phases are known to less than a radian, chi2 has several minima. What has converged is the lowest of those that phases
    set in turn, each to its best, reach from 50 starts; where phases are known, nothing is lost."""
    slots, antennas, starts, noise = 200, 6, 50, 4.5
    rng = np.random.default_rng(11)
    o = kit.observe(
        antennas=antennas, times=(5e9, slots, 10.0), freqs=(1.4e9, 1, 1e6), corrs=("XX", "YY"), noise=noise,
        gain=lambda shape: np.exp(2j * np.pi * rng.random(shape)),
    )  # fmt: skip
    strong = o.slot >= slots // 2
    data, weight = kit.getcol(o.path, "DATA"), kit.getcol(o.path, "WEIGHT_SPECTRUM")
    signal = np.stack(
        [o.gains[o.slot, o.p, i] * o.model[..., i] * o.gains[o.slot, o.q, i].conj() for i in range(2)], -1
    )
    data[strong] = (signal + (data - signal) / 10)[strong]
    weight[strong] *= 100
    kit.putcol(o.path, DATA=data, WEIGHT_SPECTRUM=weight)
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        feeds = [Meq.Exp(1j * (ns[f](p) << Meq.Parm(0.0, tags="phase", solint=1))) for f in ("x", "y")]
        ns.G(p) << Meq.Matrix22(feeds[0], 0, 0, feeds[1])
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="phase", start="own")
    solvers = ns.forest().run(ms, progress=False).solvers
    for feed, own in enumerate(solvers):
        turn = np.zeros((slots, antennas, antennas), complex)
        turn[o.slot, o.p, o.q] = (data * o.model.conj())[:, 0, feed]
        turn += turn.conj().swapaxes(1, 2)
        z = np.exp(2j * np.pi * rng.random((starts, slots, antennas)))
        for k in range(100 * antennas):
            z[..., k % antennas] = np.exp(1j * np.angle((turn[:, k % antennas] * z).sum(-1)))
        best = np.einsum("kta,tab,ktb->kt", z.conj(), turn, z).real.max(0)
        power = np.bincount(o.slot, (abs(data) ** 2 + abs(o.model) ** 2)[:, 0, feed])
        lowest = 2 * (power - best) / noise**2 * np.where(np.arange(slots) < slots // 2, 1, 100)
        converged, known = own.status[:, 0] == Status.CONVERGED, np.arange(slots) >= slots // 2
        np.testing.assert_allclose(own.chi2[converged, 0], lowest[converged], atol=1e-2)
        assert converged[known].all()
        assert (own.status[~known & ~converged, 0] == Status.LOW_SNR).any()
