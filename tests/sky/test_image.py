"""Images: FITS files, and their visibilities against the sum over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq
from rimetree.sky.degrid import degrid
from rimetree.sky.image import read_image

LIGHT = 299792458.0
CENTRE = (0.3, 0.6)
CELL = np.deg2rad(0.01)


def direct(image, l, m, uvw):
    n = np.sqrt(1 - l**2 - m[:, None] ** 2) - 1
    u, v, w = (uvw[:, i, None, None] for i in range(3))
    return (image * np.exp(2j * np.pi * (u * l + v * m[:, None] + w * n))).sum((1, 2))


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.floats(1e-6, 5e-3),
    st.floats(-5, 5),
    st.floats(0, 500),
    st.integers(0, 99),
)
def test_degridding_is_the_sum_over_pixels(nl, nm, cell, away, w, seed):
    random = np.random.default_rng(seed)
    l, m = -(np.arange(nl) - nl / 2 + away) * cell, (np.arange(nm) - nm // 2) * cell
    image = random.normal(size=(nm, nl))
    uvw = random.uniform(-1, 1, (20, 3)) * [0.5 / cell, 0.5 / cell, w]
    np.testing.assert_allclose(degrid(image, l, m, uvw), direct(image, l, m, uvw), atol=1e-6 * np.abs(image).sum())


def write(path, data, unit="JY/PIXEL", **changes):
    wcs = WCS(naxis=4)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN", "FREQ", "STOKES"]
    wcs.wcs.crval = [*np.rad2deg(CENTRE), 1.4e9, 1]
    wcs.wcs.cdelt = [-0.01, 0.01, 1e8, 1]
    wcs.wcs.crpix = [7.0, 6.5, 1, 1]
    header = wcs.to_header()
    header["BUNIT"] = unit
    header.update(changes)
    fits.writeto(path, np.asarray(data, np.float32), header, overwrite=True)
    return path


@pytest.fixture
def cube():
    """(stokes, freq, m, l)."""
    return np.random.default_rng(3).normal(size=(4, 2, 10, 12))


def test_pixels_are_where_the_wcs_says(tmp_path, cube):
    image = read_image(write(tmp_path / "i.fits", cube))
    assert image.values.shape == (2, 4, 10, 12)
    np.testing.assert_allclose(image.values, cube.transpose(1, 0, 2, 3), rtol=1e-6)
    assert image.freq.tolist() == [1.4e9, 1.5e9]
    ra, dec = np.deg2rad(WCS(fits.getheader(tmp_path / "i.fits")).celestial.all_pix2world(2, 8, 0))
    ns = rt.Scope()
    ns.lmn << Meq.LMN([float(ra), float(dec)], list(CENTRE))
    l, m, _ = ns.forest().evaluate("lmn", rt.Cells()).values.ravel()
    np.testing.assert_allclose([image.l[2], image.m[8]], [l, m], atol=1e-12)


def test_unit_per_beam(tmp_path, cube):
    image = read_image(write(tmp_path / "i.fits", cube, "Jy/beam", BMAJ=0.04, BMIN=0.03))
    beam = np.pi / (4 * np.log(2)) * 0.04 * 0.03 / 0.01**2
    np.testing.assert_allclose(image.values * beam, cube.transpose(1, 0, 2, 3), rtol=1e-5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_image_as_sky_model(make_ms, tmp_path, cube, sign):
    """A cube with four Stokes parameters, linear in frequency between its planes."""
    path = write(tmp_path / "i.fits", cube)
    ms = rt.MeasurementSet(make_ms(phase_dir=CENTRE, freqs=(1.38e9, 5, 3e7)))
    first, second = np.array(ms.baselines).T
    ns = rt.Scope()
    node = Meq.SkyModel(first, second, str(path), sign=sign)
    ns.out.over(first, second) << Meq.Sink(node, first, second, column="MODEL_DATA")
    ns.forest().run(ms, progress=False)
    again = rt.MeasurementSet(ms.path)
    tile = again.read(again.groups[0], columns=("MODEL_DATA",), uvw=True)
    l, m = -(np.arange(12) - 6) * CELL, (np.arange(10) - 5.5) * CELL
    uvw = tile.uvw.reshape(-1, 3)
    for c, freq in enumerate(tile.freq):
        part = np.clip((freq - 1.4e9) / 1e8, 0, 1)
        I, Q, U, V = (direct((1 - part) * s[0] + part * s[1], l, m, sign * uvw * freq / LIGHT) for s in cube)
        truth = np.stack([I + Q, U + 1j * V, U - 1j * V, I - Q], -1).reshape(*tile.rows.shape, 4)
        np.testing.assert_allclose(tile.columns["MODEL_DATA"][tile.rows][:, :, c], truth, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}, "expected the axes RA---SIN and DEC--SIN, found RA---TAN"),
        ({"CTYPE1": "", "CTYPE2": ""}, "expected the axes RA---SIN and DEC--SIN"),
        ({"PC1_2": 0.1, "PC2_1": -0.1}, "is rotated"),
        ({"BUNIT": "K"}, "its unit is K; expected JY/PIXEL"),
        ({"BUNIT": "JY/BEAM"}, "with BMAJ and BMIN"),
    ],
)
def test_images_that_cannot_be_used(tmp_path, cube, changes, message):
    with pytest.raises(rt.DataError, match=message):
        read_image(write(tmp_path / "i.fits", cube, **changes))


def test_files_that_are_no_images(tmp_path):
    path = tmp_path / "x.fits"
    path.write_text("hello")
    for file in (path, tmp_path / "none.fits"):
        with pytest.raises(rt.DataError, match="cannot be read as a FITS image"):
            read_image(file)


def test_image_of_another_field(make_ms, tmp_path, cube):
    ms = rt.MeasurementSet(make_ms(phase_dir=(0.3, 0.61)))
    p, q = ms.baselines[0]
    path = write(tmp_path / "i.fits", cube)
    for options, message in (({}, "is centred on ra 0.300000"), ({"patch": "a"}, "patch= goes with a list of sources")):
        ns = rt.Scope()
        ns.out << Meq.Sink(Meq.SkyModel(p, q, str(path), **options), p, q)
        with pytest.raises(rt.ConfigError, match=message):
            ns.forest().run(ms, progress=False)


def test_image_on_a_grid(tmp_path, cube):
    """At the pixels the pixels; between them, scipy's interpolation."""
    from scipy.interpolate import RegularGridInterpolator

    path = write(tmp_path / "i.fits", cube)
    image = read_image(path)
    ns = rt.Scope()
    ns.x << Meq.FITSImage(str(path), stokes="Q")
    forest = ns.forest()

    def value(freq, l, m):
        return forest.evaluate("x", rt.Cells(freq=freq, l=l, m=m)).values[0]

    found = value([1.4e9, 1.5e9], image.l[::-1], image.m)
    np.testing.assert_allclose(found, image.values[:, 1, :, ::-1].transpose(0, 2, 1), atol=1e-12)
    axes = (image.freq, image.m, image.l[::-1])
    l, m = np.linspace(-4, 5, 7) * CELL, np.linspace(-5, 3, 6) * CELL
    expected = RegularGridInterpolator(axes, image.values[:, 1, :, ::-1])
    at = np.stack(np.meshgrid([1.43e9], m, l, indexing="ij"), -1)
    np.testing.assert_allclose(value([1.43e9], l, m)[0], expected(at)[0].T, atol=1e-12)
    assert (value([1e9], np.array([0.5]), np.array([0.0])) == 0).all()


def test_image_of_a_missing_file_names_the_node():
    ns = rt.Scope()
    ns.brightness << Meq.FITSImage("none.fits")
    with pytest.raises(rt.ForestError, match="brightness.*none.fits: cannot be read as a FITS image"):
        ns.forest().evaluate("brightness", rt.Cells(freq=[1e9], l=[0.0], m=[0.0]))
