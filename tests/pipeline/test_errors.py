"""Errors in calibration tables are those of what the tables say: differences to the reference antenna."""

from __future__ import annotations

import numpy as np
import pytest

from .test_chains import run, tables


@pytest.mark.parametrize("term", ["GP", "G", "K"])
def test_errors_of_a_single_term_are_those_of_differences_to_the_reference(observe, term: str):
    """N antennas, all baselines, gains of about 1; f = 2 w sum |model|^2 per baseline. Normal matrices: f (N - J) of phases, J all ones,
    so that differences have the variance 2 / (f N); those of delays are that times sum 1 / sum (2 pi (nu - centre))^2; f ((N - 2) + J) of
    amplitudes, whose inverse has the diagonal (1 - 1 / (2 N - 2)) / (f (N - 2))."""
    seen = observe(noise=0.3)
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(2, *seen.model.shape)) * seen.noise / np.sqrt(2)
    seen.put("DATA", (seen.model + noise[0] + 1j * noise[1]).astype(np.complex64))
    report = run(seen, {"jones": [term]}, apply=None, time_interval=["inf"], freq_interval=["full"])
    assert report.converged, report.full()
    (table,) = tables(report).values()
    n, slots, channels = seen.jones.shape[:3]
    f = 2 / seen.noise**2 * 25 * slots * channels
    spread = 2 * np.pi * np.sqrt(np.mean((seen.freq - seen.freq.mean()) ** 2))
    phase = np.append(0, np.full(n - 1, np.sqrt(2 / (f * n))))
    amplitude = np.sqrt((1 - 1 / (2 * n - 2)) / (f * (n - 2)))
    if term == "G":
        found = {"gain": table.errors[:, 0, 0].real[..., [0, 1], [0, 1]].T}
        true = {"gain": np.sqrt((amplitude**2 + phase**2) / 2)}  # of either part: along and across together
    else:
        found = {what: parm.errors[:, 0, 0, 0, 0] for what, parm in table.parms.items()}
        true = {what: phase / spread if what.startswith("delay") else phase for what in found}
    assert found.keys() >= {"GP": {"phase_x", "phase_y"}, "G": {"gain"}, "K": {"delay_x", "phase_y"}}[term]
    for what, errors in found.items():
        np.testing.assert_allclose(errors, np.broadcast_to(true[what], errors.shape), rtol=0.01, atol=1e-15)
