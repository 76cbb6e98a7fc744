"""Bounds and priors of Parms in a run: closed forms, and what is refused before any work."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status


def ratio(ms, start=1, **options):
    """DATA = a MODEL_DATA."""
    ns = rt.Scope()
    ns.a << Meq.Parm(start + 0j, **options)
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="a", tol=1e-10)
    return ns.forest().run(ms, progress=False)


def sums(o, kit):
    """sum w |m|^2 and sum w m^* d of all data, weights 1 / sigma^2."""
    d, m = kit.getcol(o.path, "DATA"), o.model.astype(np.complex64)
    return (abs(m) ** 2).sum() / o.sigma**2, (m.conj() * d).sum() / o.sigma**2


def test_prior_is_averaged_with_the_data(kit):
    o = kit.observe(antennas=3, times=(5e9, 2, 10.0))
    ms = rt.MeasurementSet(o.path)
    mean, sigma = 0.3 - 0.5j, 3e-3
    report = ratio(ms, prior=(mean, sigma))
    power, cross = sums(o, kit)
    table, summary = report.tables.groups[0].parms[0], report.solvers[0]
    value = (2 * cross + mean / sigma**2) / (2 * power + sigma**-2)
    assert table.values.item() == pytest.approx(value, rel=1e-5)
    assert table.errors.item() == pytest.approx((2 * power + sigma**-2) ** -0.5, rel=1e-5)
    d, m = kit.getcol(o.path, "DATA"), o.model.astype(np.complex64)
    chi2 = (2 * abs(d - value * m) ** 2 / o.sigma**2).sum() + abs(value - mean) ** 2 / sigma**2
    assert summary.chi2.item() == pytest.approx(chi2, rel=1e-5)
    assert summary.dof.item() == 2 * d.size + 2 - 2


@pytest.mark.parametrize(("bounds", "wanted"), [((None, 0.5), 0.5), ((2, 3), 2), ((0.1, None), None)])
def test_bounds_of_a_complex_parm_hold_for_its_amplitude(kit, bounds, wanted):
    """The misfit is a function of the distance from the free solution: the nearest point of the ring."""
    o = kit.observe(antennas=3, times=(5e9, 2, 10.0))
    ms = rt.MeasurementSet(o.path)
    report = ratio(ms, 1 if wanted is None else wanted, bounds=bounds)  # the start must be inside
    power, cross = sums(o, kit)
    free = cross / power
    table = report.tables.groups[0].parms[0]
    value = free if wanted is None else wanted * free / abs(free)
    assert table.values.item() == pytest.approx(value, rel=1e-5)
    assert report.converged and (table.status == Status.CONVERGED).all()
    sigma = (2 * power) ** -0.5
    assert table.errors.item() == pytest.approx(sigma if wanted is None else sigma / np.sqrt(2), rel=1e-5)


def test_bounds_and_priors_of_polynomials_on_bare_cells():
    """1 + 2 t - 3 t^2 with the slope kept below 1: linear least squares with that slope fixed at 1."""
    t = np.linspace(-1, 2, 30)
    cells = rt.Cells(time=t, freq=[1.0])
    ns = rt.Scope()
    far = 1e9
    ns.a << Meq.Parm([[0.0], [0.0], [0.0]], bounds=([[-far], [-far], [-far]], [[far], [1.0], [far]]))
    ns.eq << Meq.Condeq(ns.a, Meq.Parm([[1.0], [2.0], [-3.0]]))
    ns.solve << Meq.Solver(ns.eq, solvable="a")
    table = ns.forest().run(cells, progress=False).tables.groups[0].parms[0]
    best = np.linalg.lstsq(np.stack([t * 0 + 1, t**2], 1), 1 + 2 * t - 3 * t**2 - t, rcond=None)[0]
    np.testing.assert_allclose(table.values.ravel(), [best[0], 1, best[1]], rtol=1e-6)


def test_full_jones_elements_keep_their_bounds(kit):
    """Bounded diagonals, leakages with priors: everything within bounds, chi2 above the free one."""
    o = kit.observe(antennas=5, times=(5e9, 2, 10.0))
    ms = rt.MeasurementSet(o.path)
    found = []
    for bounds in (None, (0.9, 1.1)):
        ns = rt.Scope()
        for p in ms.antennas:
            xx, yy = (Meq.Parm(1 + 0j, tags="J", bounds=bounds) for _ in "xy")
            xy, yx = (Meq.Parm(0j, tags="J", prior=(0, 0.01)) for _ in "xy")
            ns.J(p) << Meq.Matrix22(ns.xx(p) << xx, ns.xy(p) << xy, ns.yx(p) << yx, ns.yy(p) << yy)
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="J")
        report = ns.forest().run(ms, progress=False)
        assert report.converged
        tables = {t.label: t for t in report.tables.groups[0].parms}
        found.append(report.solvers[0].chi2.item())
    amplitude = np.abs([tables["xx"].values, tables["yy"].values])
    assert (amplitude > 0.9 * (1 - 1e-9)).all() and (amplitude < 1.1 * (1 + 1e-9)).all()
    assert found[1] > found[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": (2, 1)}, "lower < upper"),
        ({"bounds": (1, 1)}, "lower < upper"),
        ({"bounds": 3}, "must be (lower, upper)"),
        ({"bounds": (1j, 2)}, "must be real"),
        ({"bounds": (float("nan"), 2)}, "must be real"),
        ({"bounds": (2, 3)}, "its value 1 is outside its bounds (2, 3)"),
        ({"value": 1j, "bounds": (-2, -1)}, "never below -1"),
        ({"value": [[1.0, 2.0]], "bounds": (0, 3)}, "1 x 2 coefficients, not one number"),
        ({"value": [[1j, 2.0]], "bounds": (0, 3)}, "not a polynomial"),
        ({"prior": (0, 0)}, "must be positive"),
        ({"prior": (float("inf"), 1)}, "must be finite"),
        ({"prior": 4.0}, "must be (mean, standard deviation)"),
        ({"prior": (1j, 1)}, "its prior is complex but it is real"),
        ({"prior": (5, 1), "bounds": (0, 2)}, "the mean of its prior, 5, is outside its bounds (0, 2)"),
        ({"value": [[1.0, 2.0]], "prior": (0, 3)}, "its prior must be [time][freq] lists"),
    ],
)
def test_contradictions_are_refused_before_work(options, words):
    ns = rt.Scope()
    ns.a << Meq.Parm(**({"value": 1.0} | options))
    ns.eq << Meq.Condeq(ns.a, 3.0)
    ns.solve << Meq.Solver(ns.eq, solvable="a")
    with pytest.raises(rt.ForestError) as caught:
        ns.forest().run(rt.Cells(time=[0.0, 1.0], freq=[1.0]), progress=False)
    text = str(caught.value)
    assert words in text and "test_known.py" in text and "a" in text.split()[0]


def test_a_value_and_a_prior_for_each_member():
    """Array-wise definitions: each source its own prior; no data disagree, so each ends between data and prior."""
    ns = rt.Scope()
    count = 5
    mean = np.arange(count, dtype=float)
    ns.flux.over(range(count)) << Meq.Parm(mean + 1, prior=np.stack([mean, np.ones(count)], 1), tags="flux")
    ns.eq.over(range(count)) << Meq.Condeq(ns.flux.at(range(count)), 10.0)
    ns.solve << Meq.Solver(*ns.eq, solvable="flux")
    report = ns.forest().run(rt.Cells(time=np.arange(4.0), freq=[1.0]), progress=False)
    values = {name: v for t in report.tables.groups[0].parms for name, v in zip(t.names, t.values.ravel(), strict=True)}
    for i in range(count):
        assert values[f"flux:{i}"] == pytest.approx((40 + mean[i]) / 5, rel=1e-6)
