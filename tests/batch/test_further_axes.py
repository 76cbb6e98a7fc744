"""Solves on Cells with axes beyond time and frequency, against scipy and the truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq

CELLS = rt.Cells(time=(0, 3, 3), freq=(1e8, 2e8, 2), l=(-1, 1, 5), m=(-1, 1, 4))
T, F, L, M = np.meshgrid(*(axis.centres for axis in CELLS.axes.values()), indexing="ij", sparse=True)
ALL = ("time", "freq", "l", "m")


def solve(ns, equations, cells=CELLS, **options):
    ns.solve << Meq.Solver(*np.atleast_1d(equations), solvable="fit", tol=1e-12, **options)
    return ns.forest().run(cells, progress=False)


def values(report, name):
    return report.tables.parm(name).values.ravel()


def test_beam_on_a_grid_of_directions():
    """Width and centre of a beam over l, m and frequency with an amplitude per time: values and errors are scipy's."""

    def model(x):
        beam = np.exp(-((L - x[1]) ** 2 + M**2) / x[0] * F / 1e8)
        return x[2:, None, None, None] * beam

    data = model(np.array([0.5, 0.1, 2, 3, 4])) + 0.1 * np.random.default_rng(1).normal(size=CELLS.shape)
    ns = rt.Scope()
    ns.width << Meq.Parm(0.4, tags="fit")
    ns.l0 << Meq.Parm(0.0, tags="fit")
    ns.amp << Meq.Parm(2.0, tags="fit", solint=(1, None))
    away = Meq.Sqr(Meq.Grid("l") - ns.l0) + Meq.Sqr(Meq.Grid("m"))
    ns.eq << Meq.Condeq(ns.amp * Meq.Exp(-away / ns.width * Meq.Freq() / 1e8), Meq.Constant(data, axes=ALL))
    report = solve(ns, ns.eq)
    found = least_squares(lambda x: (model(x) - data).ravel(), [0.4, 0, 2, 2, 2], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    fitted = np.concatenate([values(report, name) for name in ("width", "l0", "amp")])
    np.testing.assert_allclose(fitted, found.x, rtol=1e-5, atol=1e-6)
    sigma = np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)))
    errors = np.concatenate([report.tables.parm(name).errors.ravel() for name in ("width", "l0", "amp")])
    np.testing.assert_allclose(errors / errors[0], sigma / sigma[0], rtol=1e-4)


def test_axes_of_ones_own_and_their_order():
    """Five axes; a mean over one of them, a constant over two, a polynomial in time; linear least squares by numpy."""
    cells = rt.Cells(time=(0, 4, 4), freq=(1, 3, 2), x=[3.0, 1.0], dish=(0, 3, 3), y=(0, 2, 2))
    t, f, x, d, y = np.meshgrid(*(axis.centres for axis in cells.axes.values()), indexing="ij")
    gains = np.random.default_rng(2).normal(size=(3, 2))
    known = gains.T[None, None, :, :, None] * np.sin(y + f)
    mean = np.broadcast_to(known.mean(3, keepdims=True) * x, t.shape)
    data = 1.5 * known + (0.3 - 0.2 * t) * mean + 0.1 * np.cos(7 * t * x + d)
    ns = rt.Scope()
    ns.a << Meq.Parm(0.0, tags="fit")
    ns.b << Meq.Parm([[0.0], [0.0]], tags="fit")
    ns.known << Meq.Constant(gains, axes=("dish", "x")) * Meq.Sin(Meq.Grid("y") + Meq.Freq())
    model = ns.a * ns.known + ns.b * Meq.Mean(ns.known, axes="dish") * Meq.Grid("x")
    ns.eq << Meq.Condeq(model, Meq.Constant(data, axes=tuple(cells.axes)))
    report = solve(ns, ns.eq, cells)
    columns = np.stack([known + 0 * t, mean, mean * t], -1).reshape(-1, 3)
    expected = np.linalg.lstsq(columns, data.ravel(), rcond=None)[0]
    np.testing.assert_allclose(np.concatenate([values(report, "a"), values(report, "b")]), expected, atol=1e-10)


def test_flagged_cells_do_not_count():
    bad = np.abs(L) < 0.3
    data = np.where(bad, 1e3, 2.0 + 0 * L)[0, 0]
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0, tags="fit")
    flagged = Meq.ZeroFlagger(Meq.Abs(Meq.Grid("l")) - 0.3, oper="LT")
    joined = Meq.MergeFlags(Meq.Constant(data, axes=("l", "m")), flagged)
    ns.eq << Meq.Condeq(ns.a + 0 * Meq.Time(), joined)
    assert bad.any() and values(solve(ns, ns.eq), "a") == pytest.approx(2.0, abs=1e-9)


def test_cube_on_its_grid(tmp_path):
    """The flux of what a FITS cube shows on the cells, and where it is seen, by CoordTransform from l and m of the cells."""
    places = np.linspace(-1.5, 1.5, 31) * 0.1
    header = fits.Header({"CTYPE1": "L", "CDELT1": 0.01, "CRPIX1": 16, "CTYPE2": "M", "CDELT2": 0.01, "CRPIX2": 16})
    image = np.exp(-(places**2 + 2 * places[:, None] ** 2) / 0.02)
    fits.writeto(tmp_path / "x.fits", image, header)
    cells = rt.Cells(l=(-0.1, 0.1, 9), m=(-0.1, 0.1, 8))
    l, m = (cells.axes[a].centres for a in "lm")
    data = 3 * np.exp(-((l[:, None] + 0.01) ** 2 + 2 * m**2) / 0.02)
    ns = rt.Scope()
    ns.flux << Meq.Parm(1.0, tags="fit")
    ns.dl << Meq.Parm(0.0, tags="fit")
    seen = Meq.CoordTransform(Meq.FITSReader(tmp_path / "x.fits", smooth=True), Meq.Grid("l") + ns.dl, axes="l")
    ns.eq << Meq.Condeq(ns.flux * seen, Meq.Constant(data, axes=("l", "m")))
    report = solve(ns, ns.eq, cells)
    assert values(report, "flux") == pytest.approx(3, rel=1e-3)
    assert values(report, "dl") == pytest.approx(0.01, rel=5e-3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda a: Meq.Mean(a * Meq.Grid("l"), axes="l"), r"Mean.*takes cells together.*cannot be solved for"),
        (
            lambda a: a * Meq.Grid("mm"),
            r"Grid.*needs the axis 'mm', which the cells do not have \(did you mean 'm'\?\)",
        ),
        (lambda a: a * Meq.Constant([1.0, 2.0], axes="l"), r"has 2 values along 'l', where the cells are 5"),
    ],
)
def test_what_cannot_be_solved(model, message):
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0, tags="fit")
    ns.model << model(ns.a)
    with pytest.raises(rt.ForestError, match=message) as caught:
        solve(ns, Meq.Condeq(ns.model, 1.0))
    assert len(str(caught.value).splitlines()) == 1 and "test_further_axes.py" in str(caught.value)
