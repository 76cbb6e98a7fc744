"""Directions in one system from directions in another."""

from __future__ import annotations

import math

import jax.numpy as jnp

from rimetree.graph.node import Function, child
from rimetree.graph.registry import node
from rimetree.nodes.coords.examples import AZEL, EARTH, RADEC, VLA
from rimetree.nodes.coords.vectors import Sky, angles, cross, direction, dot, geodetic, horizon, northern, plus, scaled
from rimetree.nodes.tensor.arrays import Vector, lifted
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import Tensor


@node
class AzEl(Function):
    """Azimuth (from north through east, 0 to 2 pi) and elevation of a direction at a place: (2,) in rad.

    Elevation is above the WGS84 horizon, without refraction. Annual and diurnal aberration are included, bending by the Sun
    is not: within 0.01" of astropy far from the Sun, and 1.5" of casacore (which turns polar motion and diurnal aberration
    otherwise). (MeqTrees: AzEl.)
    """

    real = True
    radec = child(unit="rad", dims=(2,), help="right ascension and declination, J2000", default="PhaseCentre")
    xyz = child(unit="m", dims=(3,), help="ITRF position of the place", default="ArrayCentre")
    earth = child(dims=(4, 3), help="orientation of the Earth", default="Earth")

    @staticmethod
    def compute(radec: Tensor, xyz: Tensor, earth: Tensor) -> Tensor:
        def formula(radec: Vector, xyz: Vector, earth: Vector) -> Vector:
            seen = Sky(earth, xyz).apparent(direction(radec))
            east, north, up = horizon(xyz)
            return angles([dot(seen, north), dot(seen, east), dot(seen, up)])

        return lifted((2,), formula, *_expected(radec, xyz, earth))

    @staticmethod
    def example() -> Examples:
        return [((RADEC, VLA, EARTH), {})]


@node
class RaDec(Function):
    """Right ascension and declination, J2000, of what is seen at an azimuth and elevation: the inverse of AzEl.

    (2,) in rad. (MeqTrees: RADec.)
    """

    real = True
    azel = child(unit="rad", dims=(2,), help="azimuth from north through east, and elevation")
    xyz = child(unit="m", dims=(3,), help="ITRF position of the place", default="ArrayCentre")
    earth = child(dims=(4, 3), help="orientation of the Earth", default="Earth")

    @staticmethod
    def compute(azel: Tensor, xyz: Tensor, earth: Tensor) -> Tensor:
        def formula(azel: Vector, xyz: Vector, earth: Vector) -> Vector:
            north, east, up = direction(azel)
            axes = horizon(xyz)
            seen = plus(plus(scaled(east, axes[0]), scaled(north, axes[1])), scaled(up, axes[2]))
            return angles(Sky(earth, xyz).astrometric(seen))

        return lifted((2,), formula, expect("azel", azel, (2,)), *_expected(None, xyz, earth))

    @staticmethod
    def example() -> Examples:
        return [((AZEL, VLA, EARTH), {})]


@node
class ParAngle(Function):
    """Parallactic angle: position angle of the zenith at a source, from J2000 north through east; a scalar, -pi to pi.

    Positive west of the meridian. An alt-az feed turns by it on the sky; for any mount see FeedAngle. North is that of
    J2000, to which Q and U belong; it differs from that of the date by up to 20"/year / cos(dec). (MeqTrees: ParAngle.)
    """

    real = True
    radec = child(unit="rad", dims=(2,), help="right ascension and declination, J2000", default="PhaseCentre")
    xyz = child(unit="m", dims=(3,), help="ITRF position of the place", default="ArrayCentre")
    earth = child(dims=(4, 3), help="orientation of the Earth", default="Earth")

    @staticmethod
    def compute(radec: Tensor, xyz: Tensor, earth: Tensor) -> Tensor:
        def formula(radec: Vector, xyz: Vector, earth: Vector) -> Vector:
            sky = Sky(earth, xyz)
            seen, north = sky.apparent(direction(radec)), sky.apparent(northern(radec))
            _, _, up = horizon(xyz)
            return [jnp.arctan2(dot(up, cross(north, seen)), dot(up, north) - dot(up, seen) * dot(north, seen))]

        return lifted((), formula, *_expected(radec, xyz, earth))

    @staticmethod
    def example() -> Examples:
        return [((RADEC, VLA, EARTH), {})]


@node
class FeedAngle(Function):
    """By how much the feeds of an antenna are turned on the sky, from J2000 north through east, by its mount; a scalar.

    parallactic angle, plus or minus elevation at a Nasmyth focus, 0 for an equatorial mount. The Jones matrix of linear feeds
    turned by chi is [[cos chi, sin chi], [-sin chi, cos chi]]. Reference: Dodson & Rioja 2022, arXiv:2210.13381.
    """

    real = True
    parangle = child(unit="rad", help="parallactic angle, such as ParAngle")
    azel = child(unit="rad", dims=(2,), help="azimuth and elevation, such as AzEl")
    mount = child(dims=(2,), help="multiples of the two angles, such as Mount")

    @staticmethod
    def compute(parangle: Tensor, azel: Tensor, mount: Tensor) -> Tensor:
        (chi,) = expect("parangle", parangle, ()).elements
        _, elevation = expect("azel", azel, (2,)).elements
        p, e = expect("mount", mount, (2,)).elements
        return Tensor.scalar(p * chi + e * elevation)


@node
class LST(Function):
    """Local apparent sidereal time at a place, a scalar in rad, 0 to 2 pi: that of Greenwich plus the longitude.

    (MeqTrees: LST.)
    """

    real = True
    xyz = child(unit="m", dims=(3,), help="ITRF position of the place", default="ArrayCentre")
    greenwich = child(unit="rad", help="apparent sidereal time at Greenwich", default="SiderealTime")

    @staticmethod
    def compute(xyz: Tensor, greenwich: Tensor) -> Tensor:
        def formula(xyz: Vector, greenwich: Vector) -> Vector:
            return [(greenwich[0] + jnp.arctan2(xyz[1], xyz[0])) % (2 * math.pi)]

        return lifted((), formula, expect("xyz", xyz, (3,)), expect("greenwich", greenwich, ()))

    @staticmethod
    def example() -> Examples:
        return [((VLA, ()), {})]


@node
class LongLat(Function):
    """Longitude and geodetic latitude of a position on the WGS84 ellipsoid, (2,) in rad, to 1e-12 rad. (MeqTrees: LongLat.)"""

    real = True
    xyz = child(unit="m", dims=(3,), help="ITRF position", default="ArrayCentre")

    @staticmethod
    def compute(xyz: Tensor) -> Tensor:
        return lifted((2,), lambda xyz: geodetic(xyz)[:2], expect("xyz", xyz, (3,)))

    @staticmethod
    def example() -> Examples:
        return [((VLA,), {})]


def _expected(radec: Tensor | None, xyz: Tensor, earth: Tensor) -> list[Tensor]:
    given = [] if radec is None else [expect("radec", radec, (2,))]
    return [*given, expect("xyz", xyz, (3,)), expect("earth", earth, (4, 3))]
