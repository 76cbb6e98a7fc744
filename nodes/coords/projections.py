"""Directions and baselines as seen from the phase centre: l, m, n and u, v, w."""

from __future__ import annotations

import jax.numpy as jnp

from rimetree.graph.node import Function, child, option
from rimetree.graph.registry import node
from rimetree.nodes.coords.examples import EARTH, RADEC, VLA
from rimetree.nodes.coords.vectors import (
    ROTATION,
    Sky,
    angles,
    cross,
    direction,
    dot,
    normalised,
    northern,
    plus,
    scaled,
)
from rimetree.nodes.tensor.arrays import Vector, lifted
from rimetree.nodes.tensor.shapes import Examples, expect
from rimetree.ring import Tensor


@node
class LMN(Function):
    """Direction cosines l (east), m (north), n of a direction about the phase centre: (3,), n itself, not n - 1.

    l = cos d sin(a - a0), m = sin d cos d0 - cos d sin d0 cos(a - a0), n = sin d sin d0 + cos d cos d0 cos(a - a0).
    With `turn`, l and m are those of axes turned by this angle, north through east. Reference: Thompson, Moran & Swenson
    2017, section 3.1. (MeqTrees: LMN; children in another order.)
    """

    real = True
    radec = child(unit="rad", dims=(2,), help="right ascension and declination, J2000")
    centre = child(unit="rad", dims=(2,), help="those of the phase centre", default="PhaseCentre")
    turn = child(unit="rad", help="angle by which the axes are turned, north through east", default=0.0)

    @staticmethod
    def compute(radec: Tensor, centre: Tensor, turn: Tensor) -> Tensor:
        def formula(radec: Vector, centre: Vector, turn: Vector) -> Vector:
            a, d, (a0, d0) = radec[0], radec[1], centre
            l = jnp.cos(d) * jnp.sin(a - a0)
            # as sums of squares of half angles, so that nothing cancels near the centre
            half = jnp.sin((a - a0) / 2) ** 2
            m = jnp.sin(d - d0) + 2 * jnp.cos(d) * jnp.sin(d0) * half
            n = 1 - 2 * (jnp.sin((d - d0) / 2) ** 2 + jnp.cos(d) * jnp.cos(d0) * half)
            c, s = jnp.cos(turn[0]), jnp.sin(turn[0])
            return [l * c - m * s, l * s + m * c, n]

        tensors = expect("radec", radec, (2,)), expect("centre", centre, (2,)), expect("turn", turn, ())
        return lifted((3,), formula, *tensors)

    @staticmethod
    def example() -> Examples:
        return [((RADEC, RADEC + 0.1, ()), {})]


@node
class LMRaDec(Function):
    """Right ascension (0 to 2 pi) and declination of direction cosines l, m about the phase centre: (2,) in rad, J2000.

    The inverse of LMN on the hemisphere around the centre (n > 0); NaN where l^2 + m^2 > 1. (MeqTrees: LMRaDec.)
    """

    real = True
    lm = child(dims=(2,), help="direction cosines l (east), m (north)")
    centre = child(unit="rad", dims=(2,), help="right ascension and declination of the centre", default="PhaseCentre")

    @staticmethod
    def compute(lm: Tensor, centre: Tensor) -> Tensor:
        def formula(lm: Vector, centre: Vector) -> Vector:
            l, m = lm
            here, north = direction(centre), northern(centre)
            east = cross(north, here)
            n = jnp.sqrt(1 - l * l - m * m)
            return angles(plus(plus(scaled(l, east), scaled(m, north)), scaled(n, here)))

        return lifted((2,), formula, expect("lm", lm, (2,)), expect("centre", centre, (2,)))

    @staticmethod
    def example() -> Examples:
        return [((RADEC / 5, RADEC), {})]


@node
class UVW(Function):
    """u, v, w of a station over time, (3,) in m, computed from its position; of a baseline: the difference of two.

    w points to where the phase centre is seen (precession, nutation, aberration), v to J2000 north across it, u to the
    east: as computed with astropy to 1e-7 of the baseline's length, with casacore to 1e-5. The children of MeqTrees' UVW come
    in the order radec, xyz, xyz_0. uvw_p - uvw_q has, with order "p-q", the sign of
    files that store antenna 1 minus antenna 2 (VLA, ASKAP, MeerKAT, ALMA, VLBA), and with "q-p" that of those that store
    antenna 2 minus antenna 1 (LOFAR, WSRT). The column itself is Meq.Spigot(p, q, column="UVW"). (MeqTrees: UVW.)
    """

    real = True
    xyz = child(unit="m", dims=(3,), help="ITRF position of the station, such as Position")
    radec = child(unit="rad", dims=(2,), help="phase centre, J2000", default="PhaseCentre")
    origin = child(unit="m", dims=(3,), help="ITRF position where u, v, w are 0", default="ArrayCentre")
    earth = child(dims=(4, 3), help="orientation of the Earth", default="Earth")
    order = option("p-q", choices=("p-q", "q-p"), help="sign: that of antenna 1 - antenna 2, or the opposite")

    @staticmethod
    def compute(xyz: Tensor, radec: Tensor, origin: Tensor, earth: Tensor, order: str = "p-q") -> Tensor:
        def formula(xyz: Vector, radec: Vector, origin: Vector, earth: Vector) -> Vector:
            sky = Sky(earth, origin)
            w = sky.apparent(direction(radec))
            north = sky.apparent(northern(radec))
            v = normalised(plus(north, scaled(-dot(north, w), w)))
            path = plus(xyz, scaled(-1.0, origin))
            if order == "q-p":
                path = scaled(-1.0, path)
            return [dot(path, cross(v, w)), dot(path, v), dot(path, w)]

        tensors = expect("xyz", xyz, (3,)), expect("radec", radec, (2,)), expect("origin", origin, (3,))
        return lifted((3,), formula, *tensors, expect("earth", earth, (4, 3)))

    @staticmethod
    def example() -> Examples:
        return [((VLA * 1.001, RADEC, VLA, EARTH), {}), ((VLA * 1.001, RADEC, VLA, EARTH), {"order": "q-p"})]


@node
class UVWRate(Function):
    """The rates of change of u, v, w by the rotation of the Earth, (3,) in m/s, from u, v, w of the time.

    du/dt = omega (w cos d - v sin d), dv/dt = omega u sin d, dw/dt = -omega u cos d, with d the declination of the phase
    centre, taken as J2000: good to 0.2 % (the pole has moved since); enough for smearing. Works on a UVW column as
    well as on computed ones. Reference: Thompson, Moran & Swenson 2017, section 4.1.
    """

    real = True
    uvw = child(unit="m", dims=(3,), help="u, v, w")
    radec = child(unit="rad", dims=(2,), help="phase centre, J2000", default="PhaseCentre")

    @staticmethod
    def compute(uvw: Tensor, radec: Tensor) -> Tensor:
        def formula(uvw: Vector, radec: Vector) -> Vector:
            u, v, w = uvw
            c, s = ROTATION * jnp.cos(radec[1]), ROTATION * jnp.sin(radec[1])
            return [w * c - v * s, u * s, -u * c]

        return lifted((3,), formula, expect("uvw", uvw, (3,)), expect("radec", radec, (2,)))
