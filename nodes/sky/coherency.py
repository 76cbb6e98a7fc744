"""Stokes parameters and 2x2 coherencies. Brightness is I on both feeds, without a factor 1/2: XX = I + Q."""

from __future__ import annotations

from rimetree.graph.node import Ring, child, option
from rimetree.graph.registry import node
from rimetree.nodes.tensor.shapes import expect
from rimetree.ring import Tensor

BASES = ("linear", "circular")


@node
class PointSource(Ring):
    """The coherency matrix of a source with Stokes I, Q, U, V.

    linear feeds:   [[XX, XY], [YX, YY]] = [[I + Q, U + iV], [U - iV, I - Q]]
    circular feeds: [[RR, RL], [LR, LL]] = [[I + V, Q + iU], [Q - iU, I - V]]

    No factor 1/2: a source of 1 Jy has XX = YY = 1 Jy. Each of I, Q, U, V is a scalar, such as a number, a Parm or a
    PowerLaw. Reference: Smirnov 2011, A&A 527, A106. (MeqTrees: Meow's PointSource with unit_coherency 1.)
    """

    I = child(unit="Jy", help="total intensity")
    Q = child(unit="Jy", help="Stokes Q")
    U = child(unit="Jy", help="Stokes U")
    V = child(unit="Jy", help="Stokes V")
    basis = option("linear", choices=BASES, help="feeds of the telescope")

    @staticmethod
    def ring(I: Tensor, Q: Tensor, U: Tensor, V: Tensor, basis: str = "linear") -> Tensor:
        i, q, u, v = (expect(name, t, ()).elements[0] for name, t in zip("IQUV", (I, Q, U, V), strict=True))
        if basis == "circular":
            q, u, v = v, q, u
        return Tensor((2, 2), (i + q, u + 1j * v, u - 1j * v, i - q))


@node
class Stokes(Ring):
    """The vector (I, Q, U, V) of a 2x2 coherency matrix: the inverse of PointSource."""

    coherency = child(unit="Jy", dims=(2, 2), help="[[XX, XY], [YX, YY]] or [[RR, RL], [LR, LL]]")
    basis = option("linear", choices=BASES, help="feeds of the telescope")

    @staticmethod
    def ring(coherency: Tensor, basis: str = "linear") -> Tensor:
        a, b, c, d = expect("coherency", coherency, (2, 2)).elements
        i, q, u, v = (a + d) * 0.5, (a - d) * 0.5, (b + c) * 0.5, (b - c) * -0.5j
        return Tensor((4,), (i, u, v, q) if basis == "circular" else (i, q, u, v))
