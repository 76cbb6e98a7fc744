"""Solutions in memory: tables of Parms, Jones matrices and solver statistics, and the rules that their arrays obey.

Every array field declares its axes, type and unit; checking, saving and loading follow these declarations. Axes with
the same letter have the same length; a digit is a fixed length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, get_type_hints

import numpy as np

from ..errors import DataError
from ..funklets import Function, Funklet, Polynomial, on_cells


@dataclass(frozen=True, slots=True)
class Column:
    """What one field of a table holds: its axes, and a numpy type, "values" (float or complex), "text" or "json"."""

    axes: str
    dtype: str = "f8"
    unit: str = ""


@dataclass(slots=True, eq=False)
class ParmTable:
    """All solved Parms of one label (the name without qualifiers) in one field and spectral window.

    Axes: n Parm, t and f solution interval in time and frequency, i and j coefficients, of time and frequency.
    """

    label: str
    names: Annotated[list[str], Column("n", "text")]
    """Full node names."""
    qualifiers: Annotated[list[tuple[str, ...]], Column("n", "json")]
    values: Annotated[np.ndarray, Column("n t f i j", "values")]
    """Coefficients of each solution interval, float64 or complex128, of the function that `funklet` says."""
    errors: Annotated[np.ndarray, Column("n t f i j")]
    """1 sigma; of a complex coefficient the rms of the errors of its two parts; NaN where unknown."""
    status: Annotated[np.ndarray, Column("n t f", "u1")]
    """`Status` codes."""
    time: Annotated[np.ndarray, Column("t 2", unit="s")]
    """Start and stop of each interval."""
    freq: Annotated[np.ndarray, Column("f 2", unit="Hz")]
    funklet: Funklet = Polynomial()  # noqa: RUF009 (it is frozen)
    """What the coefficients mean; JSON in a file."""

    def function(self, given: Callable[..., Any] | None = None) -> Funklet:
        """The function of the coefficients; DataError where it is a user's that is not loaded, and not `given`."""
        found = self.funklet
        if isinstance(found, Function):
            found = replace(found, function=given or found.function)
            try:
                return replace(found, function=found.call)
            except ValueError as error:
                raise DataError(f"Parm {self.label}: {error}") from error
        return found

    def coefficients(self) -> Iterator[ParmTable]:
        """A table of each coefficient by itself, labelled "x[0,1]"."""
        for i, j in np.ndindex(*self.values.shape[3:]):
            own = {a: getattr(self, a)[..., i : i + 1, j : j + 1] for a in ("values", "errors")}
            yield replace(self, label=f"{self.label}[{i},{j}]", funklet=Polynomial(), **own)

    def rows(self, which: Any) -> ParmTable:
        """Some of the Parms: a slice gives views, of which changes change this table."""
        numbers = np.arange(len(self.names))[which]
        own = {a: getattr(self, a)[which] for a in ("values", "errors", "status")}
        names, qualifiers = ([getattr(self, a)[i] for i in numbers] for a in ("names", "qualifiers"))
        return replace(self, names=names, qualifiers=qualifiers, **own)

    def on(
        self,
        time: np.ndarray,
        freq: np.ndarray,
        intervals: tuple[np.ndarray, np.ndarray],
        given: Callable[..., Any] | None = None,
    ) -> np.ndarray:
        """Values (n, T, F) at `time` (s) and `freq` (Hz), which lie in, or are given to, these intervals (T,) and (F,)."""
        own = np.moveaxis(self.values, (1, 2), (3, 4))
        values = on_cells(self.function(given), own, time, freq, self.time, self.freq, intervals)
        return np.broadcast_to(values, (len(self.names), len(time), len(freq)))


@dataclass(slots=True, eq=False)
class JonesTable:
    """One Jones term evaluated per antenna on its own time and frequency cells. Axes: antenna, frequency, time."""

    label: str
    antennas: Annotated[list[str], Column("a", "text")]
    jones: Annotated[np.ndarray, Column("a f t 2 2", "c16")]
    flags: Annotated[np.ndarray, Column("a f t", "?")]
    """True where no valid solution exists."""
    time: Annotated[np.ndarray, Column("t", unit="s")]
    """Centres."""
    freq: Annotated[np.ndarray, Column("f", unit="Hz")]
    errors: Annotated[np.ndarray, Column("a f t 2 2")]
    """1 sigma, NaN where unknown."""
    feed_basis: str = ""
    """"linear", "circular" or "" (unknown)."""


@dataclass(slots=True, eq=False)
class SolverTable:
    """How the solution intervals of one Solver ended. Axes: c component (independent subproblem), t and f interval, g
    different sets of null directions."""

    name: str
    status: Annotated[np.ndarray, Column("c t f", "u1")]
    iterations: Annotated[np.ndarray, Column("c t f", "i8")]
    chi2_start: Annotated[np.ndarray, Column("c t f")]
    chi2: Annotated[np.ndarray, Column("c t f")]
    dof: Annotated[np.ndarray, Column("c t f", "i8")]
    rank: Annotated[np.ndarray, Column("c t f", "i8")]
    unknowns: Annotated[np.ndarray, Column("c t f", "i8")]
    condition: Annotated[np.ndarray, Column("c t f")]
    time: Annotated[np.ndarray, Column("t 2", unit="s")]
    freq: Annotated[np.ndarray, Column("f 2", unit="Hz")]
    components: Annotated[list[str], Column("c", "text")]
    gauge: Annotated[np.ndarray, Column("c t f", "i8")]
    gauges: Annotated[list[str], Column("g", "text")]
    """What the data leave free, in words: gauges[gauge[c, t, f]], "" where all is determined."""


Table = ParmTable | JonesTable | SolverTable


@dataclass(slots=True, eq=False)
class GroupSolutions:
    """Everything solved for one field and one spectral window."""

    field: str
    spw: str
    parms: list[ParmTable]
    jones: list[JonesTable]
    solvers: list[SolverTable]


def columns(table: type[Table]) -> dict[str, Column]:
    """Name -> declaration of the array fields of a table class."""
    hints = get_type_hints(table, include_extras=True)
    return {f.name: hints[f.name].__metadata__[0] for f in fields(table) if hasattr(hints[f.name], "__metadata__")}


def scalars(table: type[Table]) -> list[str]:
    """Names of the fields of a table class that are single strings."""
    return [f.name for f in fields(table) if f.name not in columns(table)]


def normalise(table: Table, where: str) -> None:
    """Give every array its declared type and check that the shapes agree. DataError names `where` and the array."""
    sizes: dict[str, int] = {}
    for name, spec in columns(type(table)).items():
        value = getattr(table, name)
        if spec.dtype in ("text", "json"):
            shape: tuple[int, ...] = (len(value),)
        else:
            value = _typed(value, spec.dtype, f"{where}/{name}")
            setattr(table, name, value)
            shape = value.shape
        axes = spec.axes.split()
        if len(shape) == len(axes):
            for axis, size in zip(axes, shape, strict=True):
                sizes.setdefault(axis, size)
        expected = tuple(int(axis) if axis.isdigit() else sizes.get(axis, -1) for axis in axes)
        if shape != expected:
            known = ", ".join("?" if n < 0 else str(n) for n in expected)
            raise DataError(f"{where}/{name}: expected axes ({', '.join(axes)}) = ({known}), found shape {shape}")


def _typed(value: Any, dtype: str, where: str) -> np.ndarray:
    array = np.asarray(value)
    if dtype == "values":
        dtype = "c16" if np.iscomplexobj(array) else "f8"
    if array.dtype.kind not in "?biufc" or (array.dtype.kind == "c" and dtype != "c16"):
        raise DataError(f"{where}: expected numbers of type {np.dtype(dtype).name}, found {array.dtype}")
    return array.astype(dtype, copy=False)
