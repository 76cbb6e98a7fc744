"""Funklets and parameter tables on a Measurement Set: gains that are curves are found, kept in a file, and taken out of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table

import rimetree as rt
from rimetree import Meq
from rimetree.errors import DataError
from rimetree.funklets import Spline

SLOTS, CHANS, NOISE = 30, 6, 0.02
FREQS = (1e8, CHANS, 4e6)


def dispersive(time: Any, freq: Any, c: Any) -> Any:
    """A phase of c0 turns at 100 MHz that falls as 1 / frequency, and drifts by c1 turns per hour."""
    return 2 * np.pi * (c[0] + c[1] * (time - 5e9) / 3600) * 1e8 / freq


def phases(ms: rt.MeasurementSet) -> dict[str, np.ndarray]:
    """(T, F) of each antenna: smooth in time, and dispersive."""
    rng, group = np.random.default_rng(1), ms.groups[0]
    x = (group.time - group.time.mean()) / 150
    return {
        p: (rng.normal(0, 0.3, 3) @ [x**0, np.sin(2 * x), x**2])[:, None]
        + dispersive(group.time[:, None], group.freq[None], rng.uniform(-0.1, 0.1, 2))
        for p in ms.antennas
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Measurement Set of a source of 1 Jy in the middle, seen through phases, and these."""
    path = tmp_path_factory.mktemp("seen") / "x.ms"
    rt.simulate(path, antennas=6, times=(5e9, SLOTS, 10.0), freqs=FREQS, noise=NOISE, seed=3)
    ms = rt.MeasurementSet(path)
    truth = phases(ms)
    names = list(ms.antennas)
    with table(str(path), readonly=False, ack=False) as main:
        slot = np.unique(main.getcol("TIME"), return_inverse=True)[1]
        gains = np.exp(1j * np.array([truth[p] for p in names]))
        p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        data = main.getcol("DATA")
        data[..., [0, 3]] += (gains[p, slot] * gains[q, slot].conj())[..., None]
        main.putcol("DATA", data)
    return path, truth


def gains(ns: rt.Scope, ms: rt.MeasurementSet, smooth: dict[str, Any], ionosphere: Any) -> None:
    """G = exp(i (a spline in time + a dispersive phase)); the first antenna's are 0."""
    for i, p in enumerate(ms.antennas):
        ns.phi(p) << Meq.Parm(0.0, tags="phase" if i else "", **smooth)
        ns.tec(p) << Meq.Parm([0.0, 0.0], tags="phase" if i else "", funklet=ionosphere)
        ns.g(p) << Meq.Polar(1, ns.phi(p) + ns.tec(p))
        ns.G(p) << Meq.Matrix22(ns.g(p), 0, 0, ns.g(p))


def solved(path: Path, file: Path, **options: Any) -> Any:
    ms, ns = rt.MeasurementSet(path), rt.Scope()
    gains(ns, ms, {"funklet": Spline(time=4)}, dispersive)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Matrix22(1, 0, 0, 1), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="phase")
    return ns.forest().run(ms, file, overwrite=True, progress=False, **options)


@pytest.fixture(scope="module")
def table_file(seen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("table") / "phases.h5"
    report = solved(seen[0], file)
    assert report.solvers[0].chi2_per_dof() == pytest.approx(1, abs=0.05)
    return file


def corrected(path: Path, fixed: Any, **select: Any) -> Any:
    """The report of taking fixed gains out of the data."""
    ms, ns = rt.MeasurementSet(path, **select), rt.Scope()
    gains(ns, ms, {"solint": (7, 2)}, dispersive)
    for p, q in ms.baselines:
        inverse = Meq.MatrixInvert22(ns.G(p)), Meq.MatrixInvert22(Meq.ConjTranspose(ns.G(q)))
        clean = Meq.MatrixMultiply(inverse[0], Meq.Spigot(p, q), inverse[1])
        ns.out(p, q) << Meq.Sink(clean, column="CORRECTED_DATA")
    return ns.forest().run(ms, progress=False, fixed=fixed)


def test_curves_are_found(seen: Any, table_file: Path) -> None:
    """As functions of time and frequency they are what was put in, as seen from the first antenna; also between the slots."""
    path, truth = seen
    group = rt.MeasurementSet(path).groups[0]
    found = rt.Solutions.load(table_file)
    names = list(truth)
    for p in names[1:]:
        both = found.evaluate(f"phi:{p}", group.time, group.freq) + found.evaluate(f"tec:{p}", group.time, group.freq)
        off = np.angle(np.exp(1j * (both - truth[p] + truth[names[0]])))
        assert np.abs(off).max() < 0.02
        early, late = (found.evaluate(f"phi:{p}", group.time[3] + dt, group.freq[:1]) for dt in (0.0, 1.0))
        assert 0 < abs(late - early).item() < 0.05


def test_kept_curves_are_taken_out(seen: Any, table_file: Path) -> None:
    """Fixed values are the curves of the table, whatever solint the Parms have here: what is left is noise."""
    report = corrected(seen[0], table_file)
    assert not report.invalid
    with table(str(seen[0]), ack=False) as main:
        left = main.getcol("CORRECTED_DATA")[..., [0, 3]] - 1
    assert np.std(left) == pytest.approx(NOISE, rel=0.05)


def test_data_beyond_a_table(seen: Any, table_file: Path, tmp_path: Path) -> None:
    """Solutions of the first third: data after it have none; the nearest are taken where that is asked for."""
    first = rt.Solutions.load(table_file)
    for parm in first.groups[0].parms:
        parm.time[:] = parm.time[0, 0], parm.time[0, 0] + 100
    first.save(tmp_path / "first.h5")
    report = corrected(seen[0], tmp_path / "first.h5")
    assert report.invalid == 15 * 20 * CHANS * 4
    with table(str(seen[0]), ack=False) as main:
        late = main.getcol("TIME") > first.groups[0].parms[0].time[0, 1]
        data = main.getcol("CORRECTED_DATA")
    assert (data[late] == 0).all() and (data[~late] != 0).all()
    assert corrected(seen[0], first.nearest("time")).invalid == 0


def test_table_of_another_band(seen: Any, table_file: Path, tmp_path: Path) -> None:
    other = rt.Solutions.load(table_file)
    for parm in other.groups[0].parms:
        parm.freq += 1e9
    other.save(tmp_path / "other.h5")
    with pytest.raises(
        DataError,
        match=r"^(phi|tec):ant\d+ \(.*test_on_data.py:\d+\): .*other\.h5 says nothing about these data: [^\n]*$",
    ):
        corrected(seen[0], tmp_path / "other.h5")
