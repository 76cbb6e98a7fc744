"""Delays and bandpasses over long solution intervals, while the gains drift and the source is no point."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.io.caltable import CalFile
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run as run_blocks


def resolved(seen, rng):
    """Two sources 5 and 3 Jy apart: fringes that turn with time and frequency; gains drift by radians. New DATA."""
    count, slots, chans = seen.model.shape[:3]
    x, t = np.linspace(-1, 1, chans), np.linspace(0, 1, slots)
    turns = rng.uniform(-1, 1, (2, count, 1, 1))
    fringe = np.exp(2j * np.pi * (turns[0] * x + 3 * turns[1] * t[:, None]) * (1 + 0.2 * x))
    seen.model = ((5 + 3 * fringe)[..., None, None] * np.eye(2)).astype(np.complex64)
    phase = 2 * np.sin(2 * np.pi * (t[:, None] + rng.uniform(size=(6, 1, 2))))
    seen.jones = seen.jones * np.exp(1j * phase)[:, :, None]
    noise = rng.normal(size=(2, *seen.model.shape)) * seen.noise / np.sqrt(2)
    seen.put("MODEL_DATA", seen.model)
    seen.put("DATA", (seen.predicted(seen.jones) + noise[0] + 1j * noise[1]).astype(np.complex64))


def run(seen, **keys):
    path = str(seen.path.parent / "drift.h5")
    solve = {"ms": str(seen.path), "output": path, "field": "field0", "rfi_threshold": 0, "ref_ant": "ant00", **keys}
    apply = {"ms": str(seen.path), "jones": [f"{kind}0" for kind in keys["jones"]], "tables": path}
    report = run_blocks(check({"solve": solve, "apply": apply}), overwrite=True, progress=False)
    assert report.converged, report.full()
    left = np.abs(seen.column("CORRECTED_DATA") - seen.model)
    best = np.abs(seen.corrected(seen.column("DATA"), seen.jones) - seen.model)
    ratio = np.sqrt((left**2).mean() / (best**2).mean())
    return ratio, {table.key: table for table in CalFile.load(path).tables}, report


def test_delays_are_not_bent_by_drifting_gains(observe):
    """The true delay is the only thing that varies with frequency: what is found errs by the noise."""
    seen = observe(noise=0.1)
    late = np.random.default_rng(4).uniform(-100e-9, 100e-9, (6, 1, 1, 2))
    late[0] = 0
    seen.jones = np.broadcast_to(np.exp(-2j * np.pi * late * seen.freq[:, None]), seen.jones.shape)
    resolved(seen, np.random.default_rng(5))
    ratio, tables, _ = run(seen, jones=["K", "G"], time_interval=["scan", "1slot"])
    assert ratio < 1.05
    delay = tables["K0"].delay
    error = tables["K0"].parms["delay_x"].errors[1:].max()
    assert np.abs(delay - late).max() < 5 * error < 0.2e-9


@pytest.mark.parametrize("first", ["B", "G"])
def test_bandpasses_are_not_averaged_over_drifting_gains(observe, first: str):
    """Whichever of the two is solved first, over the whole run."""
    seen = observe(noise=0.1)
    x = np.linspace(-1, 1, 16)[:, None]
    rng = np.random.default_rng(6)
    band = (1 + 0.2 * rng.normal(size=(6, 1, 1, 2)) * x**2) * np.exp(0.5j * rng.normal(size=(6, 1, 1, 2)) * x**3)
    seen.jones = np.broadcast_to(band, seen.jones.shape)
    resolved(seen, rng)
    jones = ["B", "G"] if first == "B" else ["G", "B"]
    intervals = {"B": ("inf", "1chan"), "G": ("1slot", "full")}
    keys = {f"{axis}_interval": [intervals[kind][i] for kind in jones] for i, axis in enumerate(("time", "freq"))}
    ratio, _, _ = run(seen, jones=jones, joint=None if first == "B" else jones, **keys)
    assert ratio < 1.05


def test_gains_too_weak_to_follow_are_left_alone(observe):
    """No gain is found in one slot, but delays are in a scan, as the note says."""
    seen = observe(noise=25.0)
    report = run_blocks(
        check({"solve": {"ms": str(seen.path), "output": str(seen.path.parent / "w.h5"), "jones": ["K"], "field": "field0",
                         "time_interval": "inf", "rfi_threshold": 0}}), progress=False)  # fmt: skip
    assert any("lost in the noise" in note for step in report.steps for note in step.notes)
