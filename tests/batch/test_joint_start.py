"""Joint fits of what is not linear, from starts near the truth but for gains: the fit of one class after another leads astray."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq


@pytest.fixture
def fitted(tmp_path):
    """`fitted(build, truth)`: data of `build(ns, ms, parm)` with the truth in place of its Parms, and their fit."""

    def run(build, **options):
        path = rt.simulate(tmp_path / "x.ms", noise=0.05, seed=3, **options)
        ms = rt.MeasurementSet(path)
        rng = np.random.default_rng(4)

        def known(node, start, truth, solint=None):
            slots = ms.groups[0].time.size
            count = 1 if solint is None else slots // solint
            values = truth(rng, count) if callable(truth) else np.full(count, truth)
            node << Meq.Constant(values.repeat(slots // count)[:, None], axes=("time", "freq"))

        def free(node, start, truth, solint=None):
            node << Meq.Parm(start, tags="fit", solint=solint)

        for parm in (known, free):
            ns = rt.Scope()
            build(ns, ms, parm)
            for p, q in ms.baselines:
                if parm is known:
                    ns.out(p, q) << Meq.Sink(ns.model(p, q) + Meq.Spigot(p, q), column="DATA")
                else:
                    ns.eq(p, q) << Meq.Condeq(ns.model(p, q), Meq.Spigot(p, q))
            if parm is free:
                ns.solve << Meq.Solver(*ns.eq, solvable="fit")
            report = ns.forest().run(ms, progress=False)
        return report

    return run


def agrees(report, **truth):
    assert report.converged
    for s in report.solvers:
        assert abs(s.chi2_per_dof() - 1) < 0.05
    for name, value in truth.items():
        found = report.tables.parm(name)
        assert abs(found.values - value).max() < 5 * found.errors.max(), name


def test_shape_of_a_source_and_gains(fitted):
    """Fitted to gains of the wrong shape, the Gaussian becomes a line, from where there is no way back."""

    def build(ns, ms, parm):
        parm(ns.major, 4e-5, 5e-5)
        parm(ns.minor, 2.5e-5, 2e-5)
        parm(ns.angle, 0.4, 0.6)
        ns.sky << Meq.PointSource(1.3, 0, 0, 0)
        for p in ms.antennas:
            parm(ns.g(p), 1 + 0j, lambda rng, n: rng.normal(1, 0.1, n) * np.exp(1j * rng.uniform(-1, 1, n)), 8)
        for p, q in ms.baselines:
            shape = Meq.GaussianShape(ns.major, ns.minor, ns.angle, Meq.Spigot(p, q, column="UVW"))
            ns.model(p, q) << ns.g(p) * shape * ns.sky * Meq.Conj(ns.g(q))

    report = fitted(build, antennas=8, times=(5e9, 24, 10.0), freqs=(1.3e9, 8, 2e7))
    agrees(report, major=5e-5, minor=2e-5, angle=0.6)
    assert not any("not determined apart" in note for note in report.notes)


def test_ripple_and_phases(fitted):
    """Phases all over the circle; amplitudes, and a ripple whose period is in the dark until phases are known."""

    def build(ns, ms, parm):
        parm(ns.period, 31e6, 30e6)
        parm(ns.depth, 0.02, 0.06)
        for kind, amplitude in enumerate((1.2, 0.8)):
            parm(ns.amplitude(kind), 1.0, amplitude, 5)
        wave = Meq.Cos(2 * np.pi * (Meq.Freq() - 1.3e9) / ns.period)
        for number, p in enumerate(ms.antennas):
            parm(ns.phase(p), 0.0, lambda rng, n: rng.uniform(-3, 3, n), 1)
            ns.g(p) << Meq.Polar(ns.amplitude(number % 2), ns.phase(p)) * (1 + ns.depth * wave)
        for p, q in ms.baselines:
            ns.model(p, q) << ns.g(p) * Meq.PointSource(2, 0.3, 0, 0) * Meq.Conj(ns.g(q))

    report = fitted(build, antennas=8, times=(5e9, 20, 10.0), freqs=(1.3e9, 64, 2e6))
    agrees(report, period=30e6, depth=0.06)


def test_scale_that_gains_take_up(fitted):
    """A flux and all gains: the flux alone, and nothing else of the source, is not determined, and the report names it."""

    def build(ns, ms, parm):
        parm(ns.flux, 1.0, 1.3)
        parm(ns.index, 0.0, -0.7)
        ns.sky << Meq.PointSource(Meq.PowerLaw(ns.flux, ns.index, 1.3e9), 0, 0, 0)
        for p in ms.antennas:
            parm(ns.g(p), 1 + 0j, lambda rng, n: rng.normal(1, 0.1, n) * np.exp(1j * rng.uniform(-1, 1, n)), 2)
        for p, q in ms.baselines:
            ns.model(p, q) << ns.g(p) * ns.sky * Meq.Conj(ns.g(q))

    report = fitted(build, antennas=6, times=(5e9, 4, 10.0), freqs=(1.3e9, 8, 4e7))
    agrees(report, index=-0.7)
    (note,) = [note for note in report.notes if "determined" in note]
    assert "flux" in note and "g" in note and "index" not in note
