"""Coordinates against astropy, casacore measures and geometry written down by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq
from rimetree.graph.registry import get
from rimetree.io.simulate import VLA, station_uvw
from rimetree.testing import call_node

ARCSEC = np.pi / 180 / 3600
TIMES = (59000.25 + np.arange(5) * 0.11) * 86400.0
RADEC = (2.1, 0.61)
WSRT = np.array([3828763.1, 442448.9, 5064923.0])


def value(definition, time=TIMES, oracle=False):
    ns = rt.Scope()
    ns.x << definition
    result = ns.forest().evaluate("x", rt.Cells(time=np.asarray(time)), oracle=oracle)
    return np.broadcast_to(result.values[..., 0], (*result.dims, len(time)))


def centre():
    return Meq.PhaseCentre(radec=RADEC)


def place(xyz=VLA):
    return Meq.Position("a", position=tuple(xyz))


@pytest.fixture(scope="module")
def sky():
    """astropy: location, times, source; offline."""
    from astropy import units as u
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        location = EarthLocation.from_geocentric(*VLA, unit=u.m)
        yield location, Time(TIMES / 86400, format="mjd", location=location), SkyCoord(*RADEC, unit="rad")


def separation(first, second):
    """Angle between directions (2, n), rad."""

    def unit(a):
        return np.array([np.cos(a[1]) * np.cos(a[0]), np.cos(a[1]) * np.sin(a[0]), np.sin(a[1])])

    return np.linalg.norm(unit(first) - unit(second), axis=0)


def casacore_frame(xyz, time):
    from casacore.measures import measures

    frame = measures()
    frame.do_frame(frame.position("ITRF", *(f"{x!r}m" for x in xyz.tolist())))
    frame.do_frame(frame.epoch("UTC", f"{time!r}s"))
    return frame


def casacore_direction(frame, direction, system):
    found = frame.measure(direction, system)
    return np.array([found["m0"]["value"], found["m1"]["value"]])


def test_azel_is_astropys_and_casacores(sky):
    from astropy.coordinates import AltAz

    location, times, source = sky
    found = value(Meq.AzEl(centre(), place()))
    seen = source.transform_to(AltAz(obstime=times, location=location))
    assert separation(found, np.array([seen.az.rad, seen.alt.rad])).max() < 0.01 * ARCSEC
    frames = [casacore_frame(VLA, t) for t in TIMES.tolist()]
    theirs = [casacore_direction(f, f.direction("J2000", *(f"{a!r}rad" for a in RADEC)), "AZELGEO") for f in frames]
    assert separation(found, np.transpose(theirs)).max() < 1.5 * ARCSEC


def test_apparent_places_are_casacores():
    """Precession, nutation and annual aberration, without the rotation of the Earth."""
    import erfa

    from rimetree.nodes.coords.orientation import Instants, velocity

    for time in TIMES.tolist():
        frame = casacore_frame(VLA, time)
        theirs = casacore_direction(frame, frame.direction("J2000", *(f"{a!r}rad" for a in RADEC)), "APP")
        instants = Instants(np.array([time]))
        seen = erfa.s2c(*RADEC) + velocity(np.array([time]))[0]
        ours = erfa.pnm06a(*instants.tt)[0] @ (seen / np.linalg.norm(seen))
        assert np.linalg.norm(ours - erfa.s2c(*theirs)) < 0.1 * ARCSEC


def test_radec_undoes_azel():
    found = value(Meq.RaDec(Meq.AzEl(centre(), place()), place()))
    assert separation(found, np.array(RADEC)[:, None]).max() < 1e-13


def test_parallactic_angle(sky):
    """The position angle of the zenith at the source, by astropy; positive after transit."""
    from astropy.coordinates import AltAz, SkyCoord

    location, times, source = sky
    zenith = SkyCoord(np.zeros(5), np.full(5, np.pi / 2), unit="rad", frame=AltAz(obstime=times, location=location))
    expected = source.position_angle(zenith.icrs).wrap_at("180d").rad
    found = value(Meq.ParAngle(centre(), place()))
    assert np.abs(found - expected).max() < 30 * ARCSEC  # astropy's zenith is not aberrated along with the source
    hour = (value(Meq.LST(place())) - RADEC[0] + np.pi) % (2 * np.pi) - np.pi
    assert (np.sign(found) == np.sign(hour)).all()


def test_parallactic_angle_of_the_textbook():
    """tan q = cos(lat) sin H / (sin(lat) cos(dec) - cos(lat) sin(dec) cos H), to the precession of the pole since 2000."""
    latitude = value(Meq.LongLat(place()))[1]
    hour = value(Meq.LST(place())) - RADEC[0]
    dec = RADEC[1]
    east = np.cos(latitude) * np.sin(hour)
    north = np.sin(latitude) * np.cos(dec) - np.cos(latitude) * np.sin(dec) * np.cos(hour)
    assert np.abs(value(Meq.ParAngle(centre(), place())) - np.arctan2(east, north)).max() < 0.02


@pytest.mark.parametrize(("mount", "expected"), [("ALT-AZ", (1, 0)), ("equatorial", (0, 0)), ("NASMYTH-R", (1, 1)),
                                                 ("alt-az+nasmyth-l", (1, -1))])  # fmt: skip
def test_feed_angle(mount, expected):
    par, azel = Meq.ParAngle(centre(), place()), Meq.AzEl(centre(), place())
    found = value(Meq.FeedAngle(par, azel, Meq.Mount("a", mount=mount)))
    np.testing.assert_allclose(found, expected[0] * value(par) + expected[1] * value(azel)[1], atol=1e-15)


def test_sidereal_time(sky):
    _, times, _ = sky
    expected = times.sidereal_time("apparent").rad
    assert np.abs(np.angle(np.exp(1j * (value(Meq.LST(place())) - expected)))).max() < 0.01 * ARCSEC


@pytest.mark.parametrize("xyz", [VLA, WSRT, (1.0, 2.0, 6356752.0), (4e6, -3e6, -4e6), (6378137.0 + 5e4, 0.0, 0.0)])
def test_geodetic_coordinates(xyz):
    from astropy import units as u
    from astropy.coordinates import EarthLocation

    geodetic = EarthLocation.from_geocentric(*xyz, unit=u.m).to_geodetic("WGS84")
    expected = [geodetic.lon.rad, geodetic.lat.rad]
    np.testing.assert_allclose(value(Meq.LongLat(place(xyz)))[:, 0], expected, rtol=0, atol=1e-11)


def column(*numbers):
    return np.reshape(numbers, (-1, 1, 1, 1))


angle = st.floats(-3.0, 3.0)


@settings(max_examples=30, deadline=None)
@given(angle, st.floats(-1.5, 1.5), st.floats(-0.6, 0.6), st.floats(-0.6, 0.6), angle)
def test_lmn_by_rotation_and_its_inverse(ra0, dec0, l, m, turn):
    """LMRaDec, then LMN, give l and m back; and LMN agrees with rotation matrices."""
    centre = column(ra0, dec0)
    there = call_node(get("LMRaDec"), column(l, m), centre)
    ra, dec = there[:, 0, 0, 0]
    back = call_node(get("LMN"), there, centre, 0.0)[:, 0, 0, 0]
    np.testing.assert_allclose(back, [l, m, np.sqrt(1 - l * l - m * m)], atol=1e-14)
    about_z = np.array([[np.cos(ra0), np.sin(ra0), 0], [-np.sin(ra0), np.cos(ra0), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(dec0), 0, np.sin(dec0)], [0, 1, 0], [-np.sin(dec0), 0, np.cos(dec0)]])
    s = about_y @ about_z @ [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]
    np.testing.assert_allclose(back, [s[1], s[2], s[0]], atol=1e-14)
    turned = call_node(get("LMN"), there, centre, turn)[:, 0, 0, 0]
    complex_ = (s[1] + 1j * s[2]) * np.exp(1j * turn)
    np.testing.assert_allclose(turned, [complex_.real, complex_.imag, s[0]], atol=1e-14)


def test_lmn_is_that_of_a_sin_projection():
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], np.rad2deg(RADEC)
    wcs.wcs.cdelt = [1.0, 1.0]
    there = np.array(RADEC) + 0.02
    x, y = wcs.all_world2pix(*np.rad2deg(there), 0)
    found = value(Meq.LMN(tuple(there), RADEC), [0.0])[:2, 0]
    np.testing.assert_allclose(found, np.deg2rad([x + 1, y + 1]), atol=1e-12)


@pytest.mark.parametrize(("order", "sign"), [("p-q", 1), ("q-p", -1)])
def test_uvw_is_casacores(order, sign):
    positions = VLA + np.array([[0, 0, 0], [5e3, -2e4, 1e4], [-1e4, 3e3, 2e4]])
    expected = station_uvw(positions, TIMES, np.tile(RADEC, (len(TIMES), 1)))
    for i in (1, 2):
        found = value(Meq.UVW(place(positions[i]), centre(), place(positions[0]), order=order))
        length = np.linalg.norm(positions[i] - positions[0])
        np.testing.assert_allclose(sign * found.T, expected[:, i], atol=1e-5 * length)


def test_uvw_is_astropys(sky):
    """From azimuth and elevation of the phase centre and of the pole beyond it."""
    from astropy.coordinates import AltAz, SkyCoord

    location, times, source = sky
    far = np.array([5e3, -2e4, 1e4])
    longitude, latitude = location.lon.rad, location.lat.rad
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    east = np.array([-np.sin(longitude), np.cos(longitude), 0])
    axes = np.stack([np.cross(up, east), east, up], 1)

    def itrf(direction):
        seen = direction.transform_to(AltAz(obstime=times, location=location)).cartesian.xyz.value
        return axes @ seen

    w, north = itrf(source), itrf(SkyCoord(RADEC[0] + np.pi, np.pi / 2 - RADEC[1], unit="rad"))
    v = north - (north * w).sum(0) * w
    v /= np.linalg.norm(v, axis=0)
    expected = [far @ np.cross(v.T, w.T).T, far @ v, far @ w]
    found = value(Meq.UVW(place(VLA + far), centre(), place()))
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.linalg.norm(far))


def test_rate_of_uvw():
    far = VLA + np.array([5e3, -2e4, 1e4])
    uvw = Meq.UVW(place(far), centre(), place())
    difference = (value(uvw, TIMES + 5) - value(uvw, TIMES - 5)) / 10
    found = value(Meq.UVWRate(uvw, centre()))
    assert np.abs(found - difference).max() < 0.002 * np.abs(difference).max()


@pytest.mark.parametrize(("body", "arcsec"), [("sun", 2), ("Moon", 60), ("mars", 20), ("jupiter", 30), ("saturn", 30)])
def test_bodies_of_the_solar_system(body, arcsec, sky):
    """Seen from the array: astropy has the same ephemerides, casacore JPL's DE200 (and no light time for the Moon)."""
    from astropy.coordinates import AltAz, get_body

    location, times, _ = sky
    found = value(Meq.AzEl(Meq.ObjectRaDec(body, position=tuple(VLA)), place()))
    seen = get_body(body.lower(), times, location).transform_to(AltAz(obstime=times, location=location))
    assert separation(found, np.array([seen.az.rad, seen.alt.rad])).max() < 0.02 * ARCSEC
    frames = [casacore_frame(VLA, t) for t in TIMES.tolist()]
    theirs = [casacore_direction(f, f.direction(body.upper()), "AZELGEO") for f in frames]
    assert separation(found, np.transpose(theirs)).max() < arcsec * ARCSEC


def test_oracle_and_compiled_agree():
    azel = Meq.AzEl(centre(), place(WSRT))
    np.testing.assert_allclose(value(azel, oracle=True), value(azel), rtol=1e-13)


def test_observatories_by_name():
    np.testing.assert_allclose(value(Meq.Position(observatory="vla"), [0.0])[:, 0], VLA, atol=500)
    ours, theirs = (value(Meq.ArrayCentre(observatory=name), [0.0])[:, 0] for name in ("WSRT", "wsrt"))
    assert (ours == theirs).all()
    assert np.linalg.norm(ours - WSRT) < 3000


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (lambda: Meq.Position(observatory="WRST"), "observatory 'WRST' is not known.*did you mean 'WSRT'"),
        (lambda: Meq.AzEl(), "no field on bare Cells: give radec"),
        (lambda: Meq.AzEl(centre()), "no antennas on bare Cells: give position=.*or observatory="),
        (lambda: Meq.Mount("a"), "no antennas on bare Cells: give mount="),
        (lambda: Meq.Mount("a", mount="altaz"), "mount must be one of.*did you mean 'alt-az'"),
        (lambda: Meq.ObjectRaDec("jupitre"), "body must be one of.*did you mean 'jupiter'"),
        (lambda: Meq.Position("a", position=(1, 2)), r"position must be \(x, y, z\) in m"),
        (lambda: Meq.PhaseCentre(radec=(1, float("nan"))), r"radec must be \(ra, dec\) in rad"),
        (lambda: Meq.AzEl(centre(), place(), Meq.Time()), r"earth must be a \(4,3\) tensor"),
    ],
)
def test_what_is_missing_or_wrong(definition, message):
    with pytest.raises(rt.ForestError, match=message) as caught:
        value(definition())
    assert "test_coordinates.py" in str(caught.value)


@pytest.mark.parametrize("time", [0.0, 10.0, 1e12, np.nan])
def test_times_that_are_no_dates(time):
    with pytest.raises(rt.RimetreeError):
        value(Meq.SiderealTime(), [time])
