"""FITS files in a tree: where pixels are, what lies between and beyond them, and pointing errors fitted through a beam."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline, RegularGridInterpolator

import rimetree as rt
from rimetree import Meq
from rimetree.nodes.data.interpolation import interpolated
from rimetree.testing import check_node

CELL = np.deg2rad(0.05)
PLACES = (np.arange(41) - 20) * CELL
FREQS = 1e9 + 1e8 * np.arange(5)


def gaussian(l, m, freq):
    return np.exp(-(l**2 + 2 * m**2) * (freq / 1e9) ** 2 / (2 * 0.01**2))


def write(path, values, **changes):
    """A cube (freq, m, l), m falling, as float32, unless `changes` of the header say otherwise."""
    wcs = WCS(naxis=3)
    wcs.wcs.ctype, wcs.wcs.cunit = ["L", "M", "FREQ"], ["deg", "deg", "Hz"]
    wcs.wcs.cdelt, wcs.wcs.crpix, wcs.wcs.crval = [0.05, -0.05, 1e8], [21, 21, 1], [0, 0, 1e9]
    header = wcs.to_header()
    header.update(changes)
    fits.writeto(path, np.asarray(values, np.float32), header, overwrite=True)
    return str(path)


@pytest.fixture
def beam(tmp_path):
    return write(tmp_path / "beam.fits", gaussian(PLACES, -PLACES[:, None], FREQS[:, None, None]))


@pytest.fixture
def noise(tmp_path):
    values = np.random.default_rng(1).normal(size=(5, 41, 41)).astype(np.float32)
    return write(tmp_path / "noise.fits", values), values.astype(float)


def value(node, cells, oracle=False):
    ns = rt.Scope()
    ns.x << node
    return ns.forest().evaluate("x", cells, oracle=oracle).values


def test_on_its_pixels_and_between_them(noise):
    """At pixels the pixels, whose coordinates astropy gives; between them, and in a CoordTransform, scipy's interpolation."""
    path, values = noise
    l, m, freq = WCS(fits.getheader(path)).all_pix2world(np.arange(41), np.arange(41), np.minimum(np.arange(41), 4), 0)
    l, m, freq = np.deg2rad(l), np.deg2rad(m), freq[:5]
    found = value(Meq.FITSReader(path), rt.Cells(freq=freq, l=l, m=m))
    np.testing.assert_allclose(found[0], values.transpose(0, 2, 1), rtol=0, atol=1e-9)
    expected = RegularGridInterpolator((freq, -m, l), values)
    t, f = np.linspace(0, 1, 6), np.linspace(1e9, 1.4e9, 7)
    cells = rt.Cells(time=t, freq=f)
    node = Meq.CoordTransform(
        Meq.FITSReader(path), CELL * 19 * Meq.Cos(Meq.Time()), CELL * 19 * Meq.Sin(Meq.Time()) * 0.8, axes=("l", "m")
    )
    at = np.stack(np.broadcast_arrays(f, -CELL * 15.2 * np.sin(t[:, None]), CELL * 19 * np.cos(t[:, None])), -1)
    for oracle in (False, True):
        np.testing.assert_allclose(value(node, cells, oracle), expected(at), atol=1e-9)


def test_image_at_computed_directions(tmp_path):
    """A FITSImage in a CoordTransform is scipy's interpolation, with 0 outside."""
    values = np.random.default_rng(2).normal(size=(41, 41))
    path = write(tmp_path / "i.fits", values[None], CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CDELT2=0.05, CRVAL1=20.0)
    places = np.linspace(-1.1, 1.1, 23) * 20 * CELL
    node = Meq.CoordTransform(
        Meq.FITSImage(path),
        Meq.Constant(places, axes="time"),
        Meq.Constant(places[::-1] ** 2, axes="time"),
        axes=("l", "m"),
    )
    padded = np.pad(values.astype(np.float32), 2).astype(float)
    wide = (np.arange(45) - 22) * CELL
    expected = RegularGridInterpolator((wide, wide), padded)(np.stack([places[::-1] ** 2, places], -1))
    np.testing.assert_allclose(value(node, rt.Cells(time=(0, 23, 23)))[:, 0], expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.sampled_from((1.0, -2.5)), st.integers(0, 99))
def test_cubic_convolution(count, step, seed):
    """Keys' polynomial is Hermite's with central differences as slopes; at the ends those of a parabola."""
    values = np.random.default_rng(seed).normal(size=count)
    x = np.linspace(0, count - 1, 57)
    found = interpolated(values, np.array([3.0]), np.array([step]), (3 + step * x,), ("nearest",), smooth=True)
    if count == 2:
        expected = np.interp(x, np.arange(2), values)
    else:
        ends = 3 * values[[0, -1]] - 3 * values[[1, -2]] + values[[2, -3]]
        slopes = np.gradient(np.concatenate([ends[:1], values, ends[1:]]))[1:-1]
        expected = CubicHermiteSpline(np.arange(count), values, slopes)(x)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("beyond", ["nan", "zero", "nearest"])
def test_beyond_the_pixels(beyond, smooth):
    values = np.array([2.0, 3.0, 5.0, 4.0])
    at = np.array([-9.0, -1.0, -1e-9, 0.0, 3.0, 3 + 1e-9, 4.0, 9.0, np.nan])
    found = np.asarray(interpolated(values, np.zeros(1), np.ones(1), (at,), (beyond,), smooth))
    low, high = {"nan": (np.nan, np.nan), "zero": (0, 0), "nearest": (2, 4)}[beyond]
    np.testing.assert_allclose(found, [low, low, 2, 2, 4, 4, high, high, np.nan], atol=1e-7)


def test_blank_pixels_spoil_only_what_they_enter(tmp_path):
    values = np.ones((5, 41, 41))
    values[:, 20, 20] = np.nan
    path = write(tmp_path / "x.fits", values)
    l = CELL * np.array([-1, -0.5, 0, 0.5, 1])
    found = value(Meq.FITSReader(path), rt.Cells(freq=[1e9], l=l, m=np.zeros(1)))[0, 0, :, 0]
    assert np.isnan(found).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("smooth", [False, True])
def test_slopes_are_exact(smooth):
    """Inside a pixel's cell the interpolation is a polynomial: JAX's derivative is that of a complex step."""
    values = np.random.default_rng(5).normal(size=(6, 7))
    l, m = np.random.default_rng(6).uniform(0.01, 5, (2, 50))

    def f(x, y):
        return interpolated(values, np.zeros(2), np.ones(2), (x, y), ("nearest", "nearest"), smooth)

    for direction in (np.eye(2) * np.ones((50, 1, 1))).transpose(1, 2, 0):
        slope = jax.jvp(f, (l, m), tuple(direction))[1]
        h = 1e-6
        differences = (
            f(l + h * direction[0], m + h * direction[1]) - f(l - h * direction[0], m - h * direction[1])
        ) / (2 * h)
        same = np.floor(l - h) == np.floor(l + h)
        np.testing.assert_allclose(slope[same], differences[same], atol=1e-8)


def test_public_checks(beam):
    check_node(rt.graph.registry.get("FITSReader"), examples=[((), {"file": beam, "beyond": "nearest"})])


@pytest.mark.parametrize(("smooth", "accuracy"), [(False, 2e-2), (True, 5e-4)])
def test_pointing_errors_are_solved_for(beam, smooth, accuracy):
    """A source seen through a beam that moves: dl and dm against the truth, of the same cube and of the Gaussian in it."""
    cells = rt.Cells(time=(0, 6.28, 30), freq=(1.05e9, 1.35e9, 4))
    t = cells.time[:, None]
    l, m, dl, dm = 0.006 * np.cos(t), 0.004 * np.sin(t), 0.0011, -0.0007
    axes = FREQS, PLACES, PLACES
    cube = RegularGridInterpolator(axes, gaussian(PLACES, PLACES[:, None], FREQS[:, None, None]).astype(np.float32))
    seen = cube(np.stack(np.broadcast_arrays(cells.freq, m + dm, l + dl), -1))
    for truth, within in ((seen, 1e-6), (gaussian(l + dl, m + dm, cells.freq), accuracy)):
        if smooth and truth is seen:
            continue
        ns = rt.Scope()
        ns.dl << Meq.Parm(0.0, tags="fit")
        ns.dm << Meq.Parm(0.0, tags="fit")
        source = (0.006 * Meq.Cos(Meq.Time()) + ns.dl, 0.004 * Meq.Sin(Meq.Time()) + ns.dm)
        ns.beam << Meq.CoordTransform(Meq.FITSReader(beam, smooth=smooth), *source, axes=("l", "m"))
        ns.eq << Meq.Condeq(ns.beam, Meq.Constant(truth, axes=("time", "freq")))
        ns.solve << Meq.Solver(ns.eq, solvable="fit", tol=1e-12)
        parm = ns.forest().run(cells, progress=False).tables.parm
        assert parm("dl").values.item() == pytest.approx(dl, rel=within)
        assert parm("dm").values.item() == pytest.approx(dm, rel=within)


def test_units_names_and_axes_of_one_pixel(tmp_path):
    """GHz and arcmin become SI; further axes are those of the file, picked by CoordTransform; names may be given."""
    values = np.random.default_rng(7).normal(size=(3, 2, 1, 4))
    path = tmp_path / "x.fits"
    wcs = WCS(naxis=4)
    wcs.wcs.ctype, wcs.wcs.cunit = ["L", "STOKES", "TIME", "FREQ"], ["arcmin", "", "min", "GHz"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cdelt = [1, 1, 1, 1], [0, 1, 2, 1.5], [6, 1, 1, 0.25]
    fits.writeto(path, values, wcs.to_header())
    cells = rt.Cells(time=[180.0], freq=[2.0e9], l=[np.deg2rad(0.1)])
    np.testing.assert_allclose(value(Meq.FITSReader(path), cells).item(), values[2, 1, 0, 1], atol=1e-9)
    named = Meq.FITSReader(path, axes=("x", "time", "nu"))
    found = value(Meq.CoordTransform(named, Meq.Freq(), 0.0, axes=("nu", "x")), rt.Cells(time=[120.0], freq=[1.75e9]))
    np.testing.assert_allclose(found.item(), values[1, 0, 0, 0], atol=1e-9)


def test_changed_file_is_read_again(tmp_path):
    path = write(tmp_path / "x.fits", np.ones((5, 41, 41)))
    ns = rt.Scope()
    ns.x << Meq.FITSReader(path)
    forest, cells = ns.forest(), rt.Cells(freq=[1e9], l=[0.0], m=[0.0])
    assert forest.evaluate("x", cells).values.item() == 1
    write(tmp_path / "x.fits", 2 * np.ones((5, 41, 41)))
    assert forest.evaluate("x", cells).values.item() == 2
    (tmp_path / "x.fits").unlink()
    with pytest.raises(rt.ForestError, match=r"x \(FITSReader\).*x.fits: cannot be read as a FITS cube"):
        forest.evaluate("x", cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
            "has the axis (RA---TAN|DEC--TAN); expected RA---SIN and DEC--SIN",
        ),
        ({"CTYPE2": ""}, "has an axis without a name"),
        ({"CTYPE2": "L"}, "has two axes called l"),
        ({"PC1_2": 0.3, "PC2_1": -0.3}, "is rotated"),
        ({"CUNIT1": "", "CDELT1": 0.5}, "beyond the horizon, l = 10: see CDELT and CUNIT"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, changes, message):
    """Said when the forest is built, with node and line."""
    path = write(tmp_path / "x.fits", np.ones((5, 41, 41)), **changes)
    ns = rt.Scope()
    ns.beam << Meq.FITSReader(path)
    with pytest.raises(rt.ForestError, match=rf"beam.*test_fits_reader.py:\d+.*x.fits: .*{message}") as caught:
        ns.forest()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (lambda path: Meq.FITSReader("none.fits"), "none.fits: cannot be read as a FITS cube"),
        (
            lambda path: Meq.FITSReader(path, axes=("l", "m")),
            "has 3 axes, l, m, freq: axes must be as many different names",
        ),
        (lambda path: Meq.FITSReader(path, axes=("l", "l", "freq")), "as many different names"),
        (lambda path: Meq.FITSReader(path, beyond="edge"), "beyond must be one of"),
        (
            lambda path: Meq.CoordTransform(Meq.FITSReader(path), 0.0, 0.0, axes=("l", "mm")),
            r"along mm \(did you mean 'm'\?\)",
        ),
    ],
)
def test_wrong_options(beam, definition, message):
    ns = rt.Scope()
    ns.beam << definition(beam)
    with pytest.raises(rt.ForestError, match=message):
        ns.forest()


@pytest.mark.parametrize(
    ("blank", "l", "message"),
    [
        (True, 0.0, "x.fits: all its pixels are blank"),
        (False, Meq.ToComplex(0.0, 0.1), "its coordinates are complex"),
        (False, Meq.Composer(0.0, 0.1), "coordinate along 'l' must be a scalar"),
    ],
)
def test_faults_of_values(tmp_path, blank, l, message):
    path = write(tmp_path / "x.fits", np.full((5, 41, 41), np.nan if blank else 1.0))
    ns = rt.Scope()
    ns.beam << Meq.CoordTransform(Meq.FITSReader(path), l, 0.0, axes=("l", "m"))
    with pytest.raises(rt.ForestError, match=rf"beam \(FITSReader\).*test_fits_reader.py:\d+.*{message}") as caught:
        ns.forest().evaluate("beam", rt.Cells(freq=[1e9]))
    assert len(str(caught.value).splitlines()) == 1


def test_coordinates_that_leave_the_file(beam):
    """Where the beam is known before the fit, what it does not cover is left out and counted; else node and line are named."""
    cells = rt.Cells(time=(0, 8, 16), freq=[1e9])
    l = 0.005 * cells.time
    ns = rt.Scope()
    ns.g << Meq.Parm(1.0, tags="g")
    ns.dl << Meq.Parm(0.0, tags="dl")
    fixed = Meq.CoordTransform(Meq.FITSReader(beam), 0.005 * Meq.Time(), 0.0, axes=("l", "m"))
    moved = Meq.CoordTransform(Meq.FITSReader(beam), 0.005 * Meq.Time() + ns.dl, 0.0, axes=("l", "m"))
    truth = Meq.Constant(np.where(l < PLACES[-1], 3 * gaussian(l, 0, 1e9), 77.0), axes="time")
    ns.fixed << Meq.Solver(Meq.Condeq(ns.g * fixed, truth), solvable="g")
    ns.moved << Meq.Solver(Meq.Condeq(moved, truth), solvable="dl")
    forest = ns.forest()
    report = forest.run(cells, progress=False)
    assert report.tables.parm("g").values.item() == pytest.approx(3, rel=3e-3)
    text = report.full()
    assert f"{int((l > PLACES[-1]).sum())} unflagged samples are NaN or Inf and were not used" in text
    assert "FITSReader" in text and "test_fits_reader.py" in text and "was NaN or infinite" in text


def test_beams_of_stations_on_data(make_ms, beam):
    """V = E_p E_q with a pointing error for each station, whose beam is read from the file: against the truth."""
    ms = rt.MeasurementSet(make_ms(noise=0.0, freqs=(1.1e9, 3, 1e8)))
    names = list(ms.antennas)
    truth = dict(zip(names, np.random.default_rng(3).normal(0, 1e-3, (len(names), 2)), strict=True))

    def tree(ns, errors):
        reader = Meq.FITSReader(beam, smooth=True)
        for p in names:
            at = [(0.008 + errors(p, 0), 0.0), (-0.002, 0.008 + errors(p, 1)), (-0.007, -0.005 + errors(p, 1))]
            for k, (l, m) in enumerate(at):
                ns.E(k, p) << Meq.CoordTransform(reader, l, m, axes=("l", "m"))
        for p, q in ms.baselines:
            sources = [Meq.Multiply(ns.E(k, p), ns.E(k, q), flux) for k, flux in enumerate((1.0, 2.0, 1.5))]
            ns.V(p, q) << Meq.Matrix22(Meq.Add(*sources), 0, 0, Meq.Add(*sources))

    ns = rt.Scope()
    tree(ns, lambda p, k: float(truth[p][k]))
    for p, q in ms.baselines:
        ns.out(p, q) << Meq.Sink(ns.V(p, q), p, q, column="DATA")
    ns.forest().run(ms, progress=False)
    ns = rt.Scope()
    for p in names:
        for k in range(2):
            ns.d(p, k) << Meq.Parm(0.0, tags="fit")
    tree(ns, lambda p, k: ns.d(p, k))
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(Meq.Spigot(p, q), ns.V(p, q))
    ns.solve << Meq.Solver(*(ns.eq(p, q) for p, q in ms.baselines), solvable="fit", tol=1e-12)
    tables = ns.forest().run(rt.MeasurementSet(ms.path), progress=False).tables
    found = {p: [tables.parm(f"d:{p}:{k}").values.item() for k in range(2)] for p in names}
    np.testing.assert_allclose(np.array([found[p] for p in names]), np.array([truth[p] for p in names]), atol=1e-6)
