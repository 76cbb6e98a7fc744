"""What a Jones term is: Parms, and the 2x2 matrix that they make.

class Gain(Term):
    \"\"\"diag(x, y): a complex gain per antenna and polarisation.\"\"\"
    name = "G"
    params = {"x": Param(1 + 0j, refer="x"), "y": Param(1 + 0j, refer="y")}

    def matrix(self, p, band):
        return Meq.Matrix22(p["x"], 0, 0, p["y"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from rimetree.errors import DataError
from rimetree.funklets import Funklet, funklet
from rimetree.graph.definition import Definition
from rimetree.graph.registry import Meq
from rimetree.graph.scope import Scope

from ..guesses import Seen

Interval = tuple[int | str | None, int | str | None]
"""Solution interval (time, frequency), as of `Meq.Parm`."""


@dataclass(frozen=True, slots=True)
class Band:
    """The band that a chain is for: `centre`, the reference frequency of phases (Hz), and whether feeds are circular."""

    centre: float = 0.0
    circular: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """One Parm of a term.

    start   where it starts: complex, or real, or coefficients [time][freq] of a polynomial
    funklet what its coefficients mean, as of `Meq.Parm`: rt.funklets.Spline(freq=6), a function(time, freq, c)...
    refer   what the reference antenna's value is taken out of, since data leave it free: the phases (complex), or values
            (real), of column "x" or "y" of the matrix, of "both" at once; "" leaves it alone; "own": as x and y, but
            not a phase that the other column could share (delays are)
    angle   a phase in rad: unwrapped before it is interpolated
    pinned  held at its start on the reference antenna where the model is unpolarised
    unit    for files and plots
    """

    start: Any
    refer: str = ""
    angle: bool = False
    pinned: bool = False
    unit: str = ""
    funklet: Any = None

    def __post_init__(self) -> None:
        if self.refer and not self.shape.linear:
            raise ValueError(
                f'refer={self.refer!r}: nothing can be taken out of coefficients of a function; leave it ""'
            )

    @property
    def shape(self) -> Funklet:
        """What the coefficients mean."""
        return funklet(self.funklet)

    @property
    def scalar(self) -> complex | float:
        """The start without coefficients of higher order."""
        value = np.asarray(self.start).reshape(-1)[0]
        return complex(value) if np.iscomplexobj(value) else float(value)


class Term:
    """A kind of Jones term. Its docstring begins with the matrix: the one line of help that lists show."""

    name: ClassVar[str]
    params: ClassVar[Mapping[str, Param]]
    hands: ClassVar[str] = "all"
    """Correlations that it is solved from: "parallel" (where no phase between x and y is to be found), "cross", "all"."""
    common: ClassVar[bool] = False
    """One matrix for all antennas."""
    diagonal: ClassVar[bool] = True
    solvable: ClassVar[bool] = True
    spectral: ClassVar[bool] = False
    """Varies in frequency within a solution interval: guesses need the channels apart."""
    turns: ClassVar[bool] = False
    """Turns the polarisation: guesses see circular hands, whatever the feeds."""
    gives_up: ClassVar[Mapping[str, str]] = {}
    """Phases that `settle` may give up, and the column ("x", "y") that each turns."""
    delays: ClassVar[Sequence[str]] = ()
    """The Parms that are delays of p and q, as solution files store them in ns."""

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or cls.name).strip().splitlines()[0].rstrip(".")

    def matrix(self, p: Mapping[str, Any], band: Band) -> Definition:
        """The matrix made of the nodes `p`: Parms, by name."""
        raise NotImplementedError(f"{type(self).__name__} has no matrix()")

    def guess(self, seen: Seen) -> Mapping[str, np.ndarray]:
        """Starting values (nant, ncell) of some Parms from the data; for a common term (1, ncell). None: as `params` say."""
        return {}

    def settle(self, values: Mapping[str, np.ndarray], centre: float) -> Mapping[str, np.ndarray]:
        """What is kept of solved values (arrays of equal shape): where a Parm was there for the fit only."""
        return {}

    def moved(self, values: Mapping[str, np.ndarray], old: float, new: float) -> Mapping[str, np.ndarray]:
        """Parms whose values differ when the reference frequency is `new` instead of `old` (Hz), as the same matrix needs them.

        Raises DataError where a term varies with frequency and does not say.
        """
        if self.spectral:
            raise DataError(
                f"{type(self).__name__}: its solutions were made for {old / 1e9:.9g} GHz and are wanted for {new / 1e9:.9g}; the "
                "term has no moved(), so solve and apply it for the same spectral windows"
            )
        return {}

    def absorb(self, values: Mapping[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Mapping[str, np.ndarray]:
        """Parms that have taken complex gains x, y into themselves, as far as they can (arrays that broadcast)."""
        return {}

    def turned(self, values: Mapping[str, np.ndarray], x: complex, y: complex) -> Mapping[str, np.ndarray] | None:
        """Parms of diag(x, y) J diag(x, y)^-1, x and y being phases. None where a matrix that is not diagonal does not say."""
        return None

    def read(self, jones: np.ndarray, delay: np.ndarray | None, centre: float) -> Mapping[str, np.ndarray]:
        """Parms from matrices (..., 2, 2), and delays (..., 2) in s, of a file that has no Parms. Empty: cannot be told."""
        return {}

    def errors(self, p: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """1 sigma of the elements (..., 2, 2) from those of the Parms, where it is simply one each; None elsewhere."""
        return None


@dataclass(frozen=True, slots=True)
class Placed:
    """A term in a chain: under which key, with which solution intervals; `fixed`: Parm -> whether it varies in (time, freq)
    where values from elsewhere are given per slot and channel; `held`: Parm -> the antenna of which it stays at its start."""

    key: str
    term: Term
    solint: Interval = (None, None)
    band: Band = Band()
    fixed: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)

    def build(self, ns: Scope, antennas: Sequence[str]) -> None:
        """Bind the matrix, `ns[key]` per antenna, and its Parms `<key>.<param>` to a scope."""
        nodes: dict[str, Any] = {}
        for what, param in self.term.params.items():
            stub = ns[f"{self.key}.{what}"]
            if what in self.fixed:
                start: Any = param.scalar
                own: dict[str, Any] = {}
                solint: Interval = (1 if self.fixed[what][0] else None, 1 if self.fixed[what][1] else None)
            else:
                start, solint, own = param.start, self.solint, {"funklet": param.funklet}
            if self.term.common:
                stub << Meq.Parm(start, solint=solint, tags=self.key, **own)
                nodes[what] = stub
                continue
            free = [a for a in antennas if a != self.held.get(what)]
            stub.over(free) << Meq.Parm(start, solint=solint, tags=self.key, **own)
            if len(free) < len(antennas):
                stub.over([self.held[what]]) << Meq.Parm(start, solint=solint, tags=f"{self.key}.held", **own)
            nodes[what] = stub.at(antennas)
        ns[self.key].over(antennas) << self.term.matrix(nodes, self.band)


def diagonal(x: Any, y: Any) -> Definition:
    """diag(x, y)."""
    made: Definition = Meq.Matrix22(x, 0, 0, y)
    return made


def wave(phase: Any) -> Any:
    """exp(i phase)."""
    return Meq.Polar(1, phase)


def rotation(angle: Any, band: Band) -> Definition:
    """Turns the polarisation on the sky by `angle` (rad), from x to y.

    linear feeds: [[cos, -sin], [sin, cos]]; circular: diag(exp(i angle), exp(-i angle)).
    """
    if band.circular:
        return diagonal(wave(angle), wave(-angle))
    c, s = Meq.Cos(angle), Meq.Sin(angle)
    made: Definition = Meq.Matrix22(c, -s, s, c)
    return made
