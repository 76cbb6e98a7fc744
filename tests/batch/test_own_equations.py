"""The scripts of examples/ that write an equation of their own find what numpy put into the data, within errors of the right size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from casacore.tables import table
from scipy.special import j1

import rimetree as rt
from rimetree.batch.script import build, parse_options

EXAMPLES = Path(__file__).parents[2] / "examples"
C = 299792458.0


@pytest.fixture
def observed(tmp_path) -> Callable[..., Any]:
    """`observed(visibilities, antennas=7, ...)`: noise of 0.05 plus visibilities(seen) (row, channel) in both parallel hands."""

    def make(visibilities: Callable[[Any], np.ndarray], antennas: int = 7, times=(5e9, 20, 10.0)) -> Any:
        freqs = (1.3e9, 16, 10e6)
        path = rt.simulate(tmp_path / "x.ms", antennas=antennas, times=times, freqs=freqs, noise=0.05, seed=1)
        with table(str(path), ack=False, readonly=False) as main, table(f"{path}/ANTENNA", ack=False) as stations:
            p, q, uvw, time = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "UVW", "TIME"))
            slot = np.unique(time, return_inverse=True)[1]
            freq = freqs[0] + freqs[2] * np.arange(freqs[1])
            seen = SimpleNamespace(path=path, p=p, q=q, uvw=uvw, slot=slot, freq=freq, antennas=antennas, slots=times[1],
                                   xyz=stations.getcol("POSITION"), rng=np.random.default_rng(1))  # fmt: skip
            clean, data = visibilities(seen), main.getcol("DATA")
            data[..., 0] += clean
            data[..., 3] += clean
            main.putcol("DATA", data)
        return seen

    return make


def fitted(seen: Any, name: str, **options: Any) -> Any:
    """The report of an example on the data."""
    ms = rt.MeasurementSet(seen.path)
    forest = build(EXAMPLES / f"{name}.py", ms, parse_options([f"{k}={v}" for k, v in options.items()]))
    report = forest.run(ms, progress=False, ref_antenna="ant00")
    assert report.converged, report.full()
    return report


def pulls(report: Any, truth: dict[str, np.ndarray]) -> np.ndarray:
    """|fitted - true| / error of all Parms, for complex ones of either part (rms)."""
    found = []
    for name, true in truth.items():
        parm = report.tables.parm(name)
        assert (parm.errors[true != 0] > 0).all()
        off = np.abs(parm.values[..., 0, 0] - true.reshape(parm.values.shape[:3]))
        known = parm.errors[..., 0, 0] > 0
        found.append((off / (np.sqrt(2) if np.iscomplexobj(parm.values) else 1))[known] / parm.errors[..., 0, 0][known])
    return np.concatenate(found)


def test_pointing_errors(observed):
    flux, l, m = np.array(
        [(1, 0.002, 0.001), (2, 0.004, -0.003), (1.5, -0.003, 0.005), (1.2, -0.005, -0.004), (0.8, 0.001, -0.006)]
    ).T
    off = np.empty(0)

    def visibilities(seen: Any) -> np.ndarray:
        nonlocal off
        off = 0.0005 * seen.rng.normal(size=(2, seen.antennas, 4))
        distance = np.hypot(l - off[0, ..., None], m - off[1, ..., None])[..., None]
        x = np.pi * 25 * seen.freq / C * distance
        beam = 2 * j1(x) / x
        lmn = np.stack([l, m, np.sqrt(1 - l * l - m * m) - 1])
        turn = np.exp(-2j * np.pi * (seen.uvw @ lmn)[..., None] * seen.freq / C)
        return np.einsum("s,rsf,rsf,rsf->rf", flux, beam[seen.p, seen.slot // 5], beam[seen.q, seen.slot // 5], turn)

    report = fitted(observed(visibilities), "pointing_errors", solint=5)
    found = pulls(report, {"dl": off[0], "dm": off[1]})
    assert found.max() < 4 and 0.75 < np.sqrt((found**2).mean()) < 1.3  # 56 of them
    assert report.tables.parm("dl").errors.max() < 2e-5


def test_antenna_positions(observed):
    off = phase = np.empty(0)

    def visibilities(seen: Any) -> np.ndarray:
        """Towards the source: the row of the rotation from ITRF to uvw, from all baselines of a slot."""
        nonlocal off, phase
        off, phase = 0.02 * seen.rng.normal(size=(3, seen.antennas)), seen.rng.uniform(-1, 1, seen.antennas)
        off, phase = off - off[:, :1], phase - phase[0]
        baselines = seen.xyz[seen.p] - seen.xyz[seen.q]
        slots = [seen.slot == s for s in range(seen.slots)]
        towards = [np.linalg.lstsq(baselines[s], seen.uvw[s], rcond=None)[0][:, 2] for s in slots]
        w = np.einsum("kr,rk->r", off[:, seen.p] - off[:, seen.q], np.array(towards)[seen.slot])
        return np.exp(1j * ((phase[seen.p] - phase[seen.q])[:, None] - 2 * np.pi * w[:, None] * seen.freq / C))

    report = fitted(observed(visibilities, times=(5e9, 48, 600.0)), "antenna_positions")
    found = pulls(report, dict(zip(("dx", "dy", "dz", "phase"), (*off, phase), strict=True)))
    assert len(found) == 4 * 6  # the reference has no error
    assert found.max() < 4 and 0.6 < np.sqrt((found**2).mean()) < 1.5
    assert report.tables.parm("dx").errors.max() < 5e-4


def test_closure_errors(observed):
    made = SimpleNamespace()

    def visibilities(seen: Any) -> np.ndarray:
        rng, size = seen.rng, (seen.antennas, 10)
        gain = 1 + 0.2 * (rng.normal(size=size) + 1j * rng.normal(size=size))
        made.gain = gain * np.exp(-1j * np.angle(gain[:1]))
        pair = np.argmax((seen.p[:21] == seen.p[:, None]) & (seen.q[:21] == seen.q[:, None]), 1)
        made.factor, made.offset = (s * (rng.normal(size=21) + 1j * rng.normal(size=21)) for s in (0.05, 0.1))
        made.factor += 1
        turn = np.exp(-2j * np.pi * (seen.uvw @ [0.004, -0.003, np.sqrt(1 - 25e-6) - 1])[:, None] * seen.freq / C)
        model = 1 + 0.5 * turn
        with table(str(seen.path), ack=False) as main:
            column = np.zeros_like(main.getcol("DATA"))
        column[..., 0] = column[..., 3] = model
        made.column = column
        gains = made.gain[seen.p, seen.slot // 2] * made.gain[seen.q, seen.slot // 2].conj()
        return (made.factor[pair] * gains)[:, None] * model + made.offset[pair][:, None]

    seen = observed(visibilities)
    with rt.MeasurementSet(seen.path) as ms:
        ms.ensure_column("MODEL_DATA")
    with table(str(seen.path), ack=False, readonly=False) as main:
        main.putcol("MODEL_DATA", made.column)
    report = fitted(seen, "closure_errors", solint=2)
    truth = {f"{name}{h}": v for h in "xy" for name, v in (("g", made.gain), ("m", made.factor), ("a", made.offset))}
    found = pulls(report, truth)
    assert found.max() < 4 and 0.7 < np.sqrt((found**2).mean()) < 1.3
    assert report.tables.parm("ax").errors.max() < 0.01 < report.tables.parm("mx").errors.max() < 0.05
