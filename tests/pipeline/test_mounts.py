"""Angles of the feeds against astropy, for every mount, and what they do in solve and apply."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.errors import DataError
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.load import check
from rimetree.pipeline.mounts import feed_angles
from rimetree.pipeline.run import run as run_blocks

SIGN = {"ALT-AZ": (1, 0), "ALT-AZ+NASMYTH-R": (1, 1), "ALT-AZ+NASMYTH-L": (1, -1), "EQUATORIAL": (0, 0)}
"""Mount -> signs of parallactic angle and elevation (Event Horizon Telescope 2019, ApJL 875, L3, section 4.2)."""


@pytest.fixture
def offline(monkeypatch):
    """No tables of the Earth's rotation are fetched."""
    from astropy.utils import iers

    monkeypatch.setattr(iers.conf, "auto_download", False)
    monkeypatch.setattr(iers.conf, "iers_degraded_accuracy", "warn")


def mounted(seen, edit, mounts):
    with edit(seen.path / "ANTENNA") as table:
        table.putcol("MOUNT", [mounts[i % len(mounts)] for i in range(6)])
    with MeasurementSet(seen.path) as ms:
        return feed_angles(ms, ms.groups[0]), ms.positions, ms.groups[0].time, ms.groups[0].phase_dir


@pytest.mark.filterwarnings("ignore")
def test_every_mount_turns_as_astropy_says(observe, edit, offline):
    from astropy import units as u
    from astropy.coordinates import ICRS, AltAz, EarthLocation, SkyCoord
    from astropy.time import Time

    mounts = list(SIGN)
    found, positions, time, direction = mounted(observe(), edit, mounts)
    source = SkyCoord(*direction, unit="rad")
    for antenna, angles in enumerate(found):
        place = EarthLocation(*positions[antenna], unit=u.m)
        frame = AltAz(obstime=Time(time / 86400, format="mjd"), location=place)
        zenith = SkyCoord(np.zeros(time.size) * u.deg, np.full(time.size, 90) * u.deg, frame=frame).transform_to(ICRS())
        parallactic = source.position_angle(zenith).rad
        elevation = source.transform_to(frame).alt.rad
        a, b = SIGN[mounts[antenna % len(mounts)]]
        error = np.angle(np.exp(1j * (angles - a * parallactic - b * elevation)))
        assert np.abs(error).max() < np.radians(0.05), mounts[antenna % len(mounts)]


def test_a_mount_that_is_not_known_is_named(observe, edit):
    with pytest.raises(DataError, match=r"ant00 has mount 'SPACE-HALCA'.*one of 'alt-az', 'equatorial'"):
        mounted(observe(), edit, ["SPACE-HALCA"])


@pytest.mark.parametrize("feed", ["linear", "circular"])
def test_mixed_mounts_in_solve_and_apply(observe, edit, feed: str):
    """V = G P X P^H G^H made in numpy with the angles of every mount: nothing but noise is left."""
    seen = observe(polarised=True, noise=0.05, corrs=feed)
    angle = mounted(seen, edit, list(SIGN))[0]
    c, s = np.cos(angle), np.sin(angle)
    turn = np.zeros((6, 12, 1, 2, 2), complex)
    if feed == "linear":
        turn[..., 0, 0, 0], turn[..., 0, 0, 1], turn[..., 0, 1, 0], turn[..., 0, 1, 1] = c, s, -s, c
    else:
        turn[..., 0, 0, 0], turn[..., 0, 1, 1] = np.exp(-1j * angle), np.exp(1j * angle)
    rng = np.random.default_rng(3)
    gain = (1 + 0.1 * rng.normal(size=(6, 1, 1, 2))) * np.exp(2j * np.pi * rng.uniform(size=(6, 1, 1, 2)))
    jones = np.broadcast_to(gain[..., None] * turn, (6, 12, 16, 2, 2))
    noise = rng.normal(size=(2, *seen.model.shape)) * 0.05 / np.sqrt(2)
    clean = jones[seen.first] @ seen.model @ jones[seen.second].conj().swapaxes(-1, -2)
    seen.put("DATA", (clean + noise[0] + 1j * noise[1]).astype(np.complex64))
    path = str(seen.path.parent / "m.h5")
    common = {"ms": str(seen.path), "apply_parang": True}
    solve = {**common, "output": path, "jones": ["G"], "field": "field0", "rfi_threshold": 0}
    report = run_blocks(check({"solve": solve, "apply": {**common, "jones": ["G0"], "tables": path}}), progress=False)
    assert report.converged
    inverse = np.linalg.inv(jones)
    best = inverse[seen.first] @ seen.column("DATA") @ inverse[seen.second].conj().swapaxes(-1, -2) - seen.model
    ours = seen.column("CORRECTED_DATA") - seen.model
    for row in (0, 1):
        for column in (0, 1):
            left, least = ((np.abs(a[..., row, column]) ** 2).mean() for a in (ours, best))
            assert left < 1.05**2 * least
