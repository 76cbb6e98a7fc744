"""Geometry of directions and positions, on vectors of three arrays (or numbers) that broadcast."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from rimetree.nodes.tensor.arrays import Vector

LIGHT = 299792458.0
"""Speed of light, m/s."""

ROTATION = 7.292115e-5
"""Angular velocity of the Earth, rad/s (WGS84)."""

RADIUS, FLATTENING = 6378137.0, 1 / 298.257223563
"""The WGS84 ellipsoid: equatorial radius in m, flattening."""


def dot(a: Vector, b: Vector) -> Any:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> list[Any]:
    """Vector product."""
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def scaled(factor: Any, a: Vector) -> list[Any]:
    """A multiple of a vector."""
    return [factor * x for x in a]


def plus(a: Vector, b: Vector) -> list[Any]:
    """Sum of two vectors."""
    return [x + y for x, y in zip(a, b, strict=True)]


def normalised(a: Vector) -> list[Any]:
    """The unit vector along a vector."""
    return scaled(1 / jnp.sqrt(dot(a, a)), a)


def direction(angles: Vector) -> list[Any]:
    """Unit vector of (longitude, latitude) in rad, such as right ascension and declination."""
    longitude, latitude = angles
    across = jnp.cos(latitude)
    return [across * jnp.cos(longitude), across * jnp.sin(longitude), jnp.sin(latitude)]


def northern(angles: Vector) -> list[Any]:
    """Unit vector towards increasing latitude."""
    longitude, latitude = angles
    return direction([longitude, latitude + math.pi / 2])


def angles(a: Vector) -> list[Any]:
    """Longitude, 0 to 2 pi, and latitude of a vector."""
    return [jnp.arctan2(a[1], a[0]) % (2 * math.pi), jnp.arctan2(a[2], jnp.hypot(a[0], a[1]))]


def geodetic(xyz: Vector) -> list[Any]:
    """Longitude, latitude (rad) and height (m) of an ITRF position on the WGS84 ellipsoid.

    Fukushima's iteration-free start improved twice by Bowring's formula: exact to 1e-12 rad within 100 km of the surface.
    Reference: Bowring 1985, Survey Review 28, 202.
    """
    x, y, z = xyz
    across = jnp.hypot(x, y)
    polar = RADIUS * (1 - FLATTENING)
    e2 = FLATTENING * (2 - FLATTENING)
    reduced = jnp.arctan2(z, (1 - FLATTENING) * across)
    for _ in range(3):
        latitude = jnp.arctan2(
            z + e2 / (1 - e2) * polar * jnp.sin(reduced) ** 3, across - e2 * RADIUS * jnp.cos(reduced) ** 3
        )
        reduced = jnp.arctan2((1 - FLATTENING) * jnp.sin(latitude), jnp.cos(latitude))
    height = across * jnp.cos(latitude) + z * jnp.sin(latitude) - RADIUS * jnp.sqrt(1 - e2 * jnp.sin(latitude) ** 2)
    return [jnp.arctan2(y, x), latitude, height]


def horizon(xyz: Vector) -> tuple[list[Any], list[Any], list[Any]]:
    """Unit vectors east, north and up (the WGS84 normal) at an ITRF position."""
    longitude, latitude, _ = geodetic(xyz)
    east = [-jnp.sin(longitude), jnp.cos(longitude), 0.0]
    return east, northern([longitude, latitude]), direction([longitude, latitude])


class Sky:
    """Takes directions between ICRS and ITRF axes, with the aberration at one place. `earth`: the 12 elements of Earth.

    Left out: refraction, and the bending of light by the Sun (0.004" at 90 degrees from it, 0.4" at 1 degree).
    """

    def __init__(self, earth: Vector, xyz: Vector) -> None:
        self.rows = [earth[0:3], earth[3:6], earth[6:9]]
        spin = self.celestial([-ROTATION / LIGHT * xyz[1], ROTATION / LIGHT * xyz[0], 0.0])
        self.velocity = plus(earth[9:12], spin)

    def terrestrial(self, a: Vector) -> list[Any]:
        """From ICRS axes to ITRF axes."""
        return [dot(row, a) for row in self.rows]

    def celestial(self, a: Vector) -> list[Any]:
        """From ITRF axes to ICRS axes."""
        return [dot(column, a) for column in zip(*self.rows, strict=True)]

    def apparent(self, a: Vector) -> list[Any]:
        """Where an ICRS direction is seen, on ITRF axes: with aberration (Urban & Seidelmann 2013, eq. 7.40)."""
        return self.terrestrial(aberrated(a, self.velocity))

    def astrometric(self, a: Vector) -> list[Any]:
        """The inverse of `apparent`: aberration by the opposite velocity undoes it exactly."""
        return aberrated(self.celestial(a), scaled(-1.0, self.velocity))


def aberrated(a: Vector, velocity: Vector) -> list[Any]:
    """The unit vector a as seen by who moves with `velocity` (over the speed of light); relativistic, to all orders."""
    slower = jnp.sqrt(1 - dot(velocity, velocity))
    along = dot(a, velocity)
    return normalised(plus(scaled(slower, a), scaled(1 + along / (1 + slower), velocity)))
