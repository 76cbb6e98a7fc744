"""The orientation and motion of the Earth, by ERFA (the IAU's SOFA routines) and the IERS series that come with astropy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

MJD0 = 2400000.5
DAY = 86400.0
AU_PER_DAY = 149597870.7e3 / DAY / 299792458.0
"""One au per day in units of the speed of light."""

FIRST, LAST = 1973, 2100
"""Years within which times are taken."""


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, without ERFA's warnings about years whose leap seconds are not decided yet."""

    def called(*args: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)

    return called


@cache
def _series() -> Any:
    """IERS Bulletin A since 1973, as installed, with predictions for a year."""
    from astropy.utils import iers
    from astropy_iers_data import IERS_A_FILE

    return iers.IERS_A.open(IERS_A_FILE)


class Instants:
    """Times (n,) in MJD s, UTC, as pairs of Julian dates that ERFA takes. Raises ValueError outside 1973 to 2100.

    Beyond the IERS predictions (about a year after the installed astropy-iers-data) UT1 - UTC and the pole keep their last
    values; an error of 1 s of UT1 is 15" on the sky.
    """

    def __init__(self, time: np.ndarray) -> None:
        import erfa

        mjd = np.asarray(time, float) / DAY
        years = 1858.877 + mjd / 365.25
        if not (np.isfinite(mjd).all() and (years >= FIRST).all() and (years < LAST).all()):
            wrong = float(np.asarray(time)[~((years >= FIRST) & (years < LAST))][0])
            raise ValueError(
                f"time {wrong:g} s is not MJD seconds between {FIRST} and {LAST}: coordinates need the date"
            )
        self.utc = MJD0, mjd
        self.tt = erfa.taitt(*erfa.utctai(*self.utc))
        table = _series()
        ut1_utc, _ = table.ut1_utc(*self.utc, return_status=True)
        x, y, _ = table.pm_xy(*self.utc, return_status=True)
        self.ut1 = erfa.utcut1(*self.utc, ut1_utc.to_value("s"))
        self.pole = x.to_value("rad"), y.to_value("rad")


@quiet
def celestial_to_terrestrial(time: np.ndarray) -> np.ndarray:
    """Matrices (n, 3, 3) that take ICRS axes to ITRF: IAU 2006 precession, 2000A nutation, rotation, polar motion."""
    import erfa

    t = Instants(time)
    matrix: np.ndarray = erfa.c2t06a(*t.tt, *t.ut1, *t.pole)
    return matrix


@quiet
def velocity(time: np.ndarray) -> np.ndarray:
    """Velocity (n, 3) of the Earth's centre about the barycentre in units of the speed of light, ICRS axes."""
    import erfa

    _, barycentric = erfa.epv00(*Instants(time).tt)
    v: np.ndarray = barycentric["v"] * AU_PER_DAY
    return v


@quiet
def sidereal_time(time: np.ndarray) -> np.ndarray:
    """Greenwich apparent sidereal time (n,), rad: IAU 2006/2000A."""
    import erfa

    t = Instants(time)
    angle: np.ndarray = erfa.gst06a(*t.ut1, *t.tt)
    return angle
