"""Curved valleys of chi2: complex splines have nearly a phase at each frequency in common, of which data say next to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.funklets import Spline

ANTENNAS, CHANNELS, NOISE = 8, 64, 0.3


def curves(shape: tuple[int, ...]) -> np.ndarray:
    """Gains (slot, antenna, 2, channel) with amplitudes and phases that bend along the band, from any phase."""
    rng, nu = np.random.default_rng(3), np.linspace(-1, 1, shape[3])
    size = 1 + 0.2 * np.sin(3 * nu + rng.uniform(0, 6, (*shape[1:3], 1)))
    phase = rng.uniform(-3, 3, (*shape[1:3], 1)) + rng.normal(size=(*shape[1:3], 1)) * nu
    bend = 0.3 * np.cos(4 * nu + rng.uniform(0, 6, (*shape[1:3], 1)))
    return np.broadcast_to(size * np.exp(1j * (phase + bend)), shape)


@pytest.mark.parametrize("algorithm", ["lm", "gn-cg"])
def test_splines_of_all_antennas_end_where_noise_lets_them(kit: Any, algorithm: str) -> None:
    """From 1, within the iterations that there are; what is determined, gains of two antennas against each other, as well as it can be."""
    o = kit.observe(antennas=ANTENNAS, times=(5e9, 10, 10.0), freqs=(1.4e9, CHANNELS, 1e6), noise=NOISE, gain=curves)
    ms, ns = rt.MeasurementSet(o.path), rt.Scope()
    for p in ms.antennas:
        x, y = (ns[n](p) << Meq.Parm(1 + 0j, tags="g", funklet=Spline(freq=8)) for n in ("gx", "gy"))
        ns.G(p) << Meq.Matrix22(x, 0, 0, y)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="g", algorithm=algorithm)
    report = ns.forest().run(ms, progress=False)
    assert report.converged, str(report)
    solved = report.solvers[0]
    assert abs(solved.chi2.sum() / solved.dof.sum() - 1) < 5 * np.sqrt(2 / solved.dof.sum())
    freq = ms.groups[0].freq
    for label, feed in (("gx", 0), ("gy", 1)):
        found = np.stack(
            [report.tables.evaluate(f"{label}:{p}", ms.groups[0].time[:1], freq).ravel() for p in ms.antennas]
        )
        true = o.gains[0, :, feed]
        error = found[:, None] * found.conj() - true[:, None] * true.conj()
        # one datum per slot and some 1.5 visibilities of power 5 per coefficient and antenna: about 2 % of a gain
        assert np.sqrt((np.abs(error) ** 2).mean()) < 0.05
