"""Several funklets, each on a domain of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from .base import At, Funklet, Limits, summed

EVERYWHERE = (-np.inf, np.inf)


@dataclass(frozen=True)
class On:
    """A funklet and the domain on which it holds: `time` (s) and `freq` (Hz), each (low, high), low included; None: everywhere."""

    funklet: Funklet
    time: tuple[float, float] | None = None
    freq: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("time", "freq"):
            given = getattr(self, name)
            if given is None:
                continue
            if np.shape(given) != (2,) or not given[0] < given[1]:
                raise ConfigError(f"a domain in {name} is (low, high) with low < high, not {given!r}")
            object.__setattr__(self, name, (float(given[0]), float(given[1])))
        if not isinstance(self.funklet, Funklet) or not self.funklet.linear or isinstance(self.funklet, Composed):
            raise ConfigError(
                f"a piece is a polynomial or a spline, not {self.funklet!r}; a function can choose by itself, with jnp.where"
            )

    @property
    def limits(self) -> tuple[Limits, Limits]:
        """(low, high) in time and frequency."""
        return self.time or EVERYWHERE, self.freq or EVERYWHERE

    @property
    def start(self) -> np.ndarray:
        """Coefficients like those it has, of value 0."""
        return np.reshape(self.funklet.starting(0.0), np.shape(self.funklet.starting(0.0)) or (1, 1))

    def at(self, at: At) -> At:
        """Cells seen from the domain: polynomials then go from -1 to 1 over it."""
        own: dict[str, Any] = {}
        if self.time:
            own["time_limits"] = self.time
        if self.freq:
            own["freq_limits"] = self.freq
        return replace(at, **own)

    def holds(self, at: At, closed: bool = False) -> np.ndarray:
        """Which cells are in the domain, its upper ends included where it is `closed`."""
        below = np.less_equal if closed else np.less
        (t0, t1), (f0, f1) = self.limits
        inside = np.ones((), bool)
        if self.time:
            inside = inside & (at.time >= t0) & below(at.time, t1)
        return inside & (at.freq >= f0) & below(at.freq, f1) if self.freq else inside


@dataclass(frozen=True, init=False)
class Composed(Funklet):
    """Pieces that hold each on a domain: `Composed(On(Polynomial(freq=2), freq=(1.0e9, 1.2e9)), On(Spline(freq=4), freq=(1.2e9, 1.4e9)))`.

    Domains must not overlap and must cover the data. A starting value is a number, for all pieces, or a list with the start of each.
    The coefficients of the pieces follow one another along i. (MeqTrees: ComposedPolc.)
    """

    pieces: tuple[On, ...]
    kind: ClassVar[str] = "composed"
    linear: ClassVar[bool] = True

    def __init__(self, *pieces: On) -> None:
        object.__setattr__(self, "pieces", pieces)
        if not pieces or not all(isinstance(p, On) for p in pieces):
            raise ConfigError("Composed needs pieces: Composed(On(Polynomial(freq=1), freq=(1.0e9, 1.2e9)), On(...))")
        for a, b in combinations(pieces, 2):
            if all(max(p[0], q[0]) < min(p[1], q[1]) for p, q in zip(a.limits, b.limits, strict=True)):
                raise ConfigError(f"the domains of {a} and {b} overlap")

    def starting(self, value: Any) -> Any:
        """One start for all pieces, or a list of one per piece."""
        count = sum(p.start.size for p in self.pieces)
        if not isinstance(value, (list, tuple, np.ndarray)):
            starts = [p.funklet.starting(value) for p in self.pieces]
        elif isinstance(value, np.ndarray) and value.shape == (count, 1):
            return value
        elif len(value) == len(self.pieces):
            starts = [p.funklet.starting(v) for p, v in zip(self.pieces, value, strict=True)]
        else:
            raise ValueError(
                f"value must be a number, or one start for each of {len(self.pieces)} pieces, not {value!r}"
            )
        return np.concatenate([np.ravel(s) for s in starts])[:, None]

    def axes(self, shape: tuple[int, ...]) -> frozenset[str]:
        """Those along which a piece varies, or ends."""
        ends = {n for p in self.pieces for n in ("time", "freq") if getattr(p, n)}
        return frozenset(ends).union(*(p.funklet.axes(p.start.shape) for p in self.pieces))

    def prepare(self, shape: tuple[int, ...], at: At) -> tuple[Any, ...]:
        """What the coefficients of each piece are multiplied with, 0 outside its domain."""
        pairs = zip(self.pieces, self._inside(at), strict=True)
        return tuple(b * inside for p, inside in pairs for b in p.funklet.prepare(p.start.shape, p.at(at)))

    def local(self, shape: tuple[int, ...], at: At) -> tuple[np.ndarray, np.ndarray]:
        """Those of all pieces, multiplied by 0 outside their domains."""
        first = np.cumsum([0, *(p.start.size for p in self.pieces)])
        found = [p.funklet.local(p.start.shape, p.at(at)) for p in self.pieces]
        number = [which + start for (which, _), start in zip(found, first, strict=False)]
        by = [by * inside[..., None] for (_, by), inside in zip(found, self._inside(at), strict=True)]
        return np.concatenate(number, -1), np.concatenate(by, -1)

    def _inside(self, at: At) -> list[np.ndarray]:
        """Of each piece, which cells it is for."""
        own = [p.holds(at) for p in self.pieces]
        free = ~np.any(np.broadcast_arrays(*own), 0)
        for i, piece in enumerate(self.pieces):
            if free.any():  # the upper end of a domain after which no other begins
                own[i] = own[i] | (free & piece.holds(at, closed=True))
                free = free & ~own[i]
        return own

    def combine(self, shape: tuple[int, ...], coefs: Sequence[Any], prepared: Sequence[Any]) -> Any:
        """The sum."""
        return summed(coefs, prepared)

    def bare(self) -> Composed:
        """The same: pieces with a domain go from -1 to 1 over it, the others are bare."""
        return Composed(*(replace(p, funklet=p.funklet if p.time or p.freq else p.funklet.bare()) for p in self.pieces))

    def gap(self, time: Limits, freq: Limits) -> str:
        """Data in no domain."""
        edges = [
            sorted({*limits, *_within(limits, [p.limits[k] for p in self.pieces])})
            for k, limits in enumerate((time, freq))
        ]
        for t0, t1 in zip(edges[0][:-1], edges[0][1:], strict=True):
            for f0, f1 in zip(edges[1][:-1], edges[1][1:], strict=True):
                t, f = (t0 + t1) / 2, (f0 + f1) / 2
                owners = [p for p in self.pieces if all(a <= v < b for v, (a, b) in zip((t, f), p.limits, strict=True))]
                if not owners:
                    return f"none of its pieces holds from {t0:.12g} to {t1:.12g} s, {f0:.9g} to {f1:.9g} Hz"
                if text := owners[0].funklet.gap((t0, t1), (f0, f1)):
                    return text
        return ""

    def whole(self) -> frozenset[str]:
        """Axes along which pieces end."""
        return frozenset(n for p in self.pieces for n in ("time", "freq") if getattr(p, n))


def _within(limits: Limits, domains: Sequence[Limits]) -> list[float]:
    """Ends of domains between two limits."""
    return [float(e) for domain in domains for e in domain if limits[0] < e < limits[1]]
