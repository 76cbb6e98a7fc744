"""Wide data as the kernels see them: planes, each a sum of products of strided views of memory.

A *plane* is C(member, slot, channel) = sum over monomials of coefficient * product of *factors*. A factor is a view of
memory that is read in place: a correlation of a data column, or an array over members, slots and channels. The numbers
of planes, monomials and factors are data, not code: one compiled kernel serves every equation (`planes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

LARGEST = 1e100
"""Values beyond this count as not finite: squares of smaller ones, times any float32 weight, cannot overflow a float64
sum."""


class SourceArrays(NamedTuple):
    """A table of sources: address; whether float64; whether column (else grid); strides over row or member, slot,
    channel, in reals; correlation (of a column)."""

    address: np.ndarray
    double: np.ndarray
    column: np.ndarray
    strides: np.ndarray
    corr: np.ndarray


class Sources:
    """Views of memory that factors refer to by number, in the order in which they were added. Keeps the memory
    alive."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, bool, bool, tuple[int, int, int], int]] = []
        self._memory: list[Any] = []

    def column(self, array: np.ndarray, corr: int) -> int:
        """Correlation `corr` of a column's buffer (nrow, nchan, ncorr), complex64 or complex128; read in place.

        A correlation of -1 is one that the data do not have: a factor that is missing everywhere. Raises ValueError for
        other shapes, types and correlations.
        """
        check_column(array, corr)
        array = _aligned(array)
        row, chan, step = array.strides
        return self._add(array, 0 if corr < 0 else array.ctypes.data + corr * step, True, (row, 0, chan), corr)

    def plane(self, array: Any) -> int:
        """An array (members or 1, slots or 1, channels or 1), of numpy or JAX: an axis of extent 1 stands for any extent. Complex
        arrays are read in place, others are converted. Raises ValueError for other shapes and types."""
        check_plane(array)
        single = array.dtype in (np.float32, np.complex64)
        array = _aligned(np.asarray(array).astype(np.complex64 if single else np.complex128, copy=False))
        strides = [0 if n == 1 else s for n, s in zip(array.shape, array.strides, strict=True)]
        return self._add(array, array.ctypes.data, False, (strides[0], strides[1], strides[2]))

    def _add(self, array: Any, address: int, column: bool, strides: tuple[int, int, int], corr: int = -1) -> int:
        real = array.itemsize // 2
        own = strides[0] // real, strides[1] // real, strides[2] // real
        self._rows.append((address, real == 8, column, own, corr))
        self._memory.append(array)
        return len(self._rows) - 1

    def check(self, source: np.ndarray, index: np.ndarray, rows: np.ndarray, nchan: int) -> None:
        """Raise ValueError where a factor would read beyond its source: `source` (nfac,), `index` (nfac, nmember)."""
        nbl, nslot = rows.shape
        nrow = rows.max(initial=-1) + 1
        for s, (array, row) in enumerate(zip(self._memory, self._rows, strict=True)):
            most = index[source == s].max(initial=-1)
            extent = array.shape
            if row[2]:
                fits = most < nbl and extent[0] >= nrow and extent[1] == nchan
            else:
                fits = (extent[0] == 1 or most < extent[0]) and extent[1] in (1, nslot) and extent[2] in (1, nchan)
            if not fits:
                what = "column" if row[2] else "plane"
                wanted = f"{nbl} baselines x {nslot} slots, {nrow} rows, {nchan} channels, index {most}"
                raise ValueError(f"source {s}: a {what} {extent} does not fit {wanted}")

    def arrays(self) -> SourceArrays:
        """The table as flat arrays; valid as long as this object lives."""
        return SourceArrays(
            np.array([r[0] for r in self._rows], np.int64),
            np.array([r[1] for r in self._rows], np.bool_),
            np.array([r[2] for r in self._rows], np.bool_),
            np.array([r[3] for r in self._rows], np.int64).reshape(-1, 3),
            np.array([r[4] for r in self._rows], np.int64),
        )


def check_column(array: Any, corr: int) -> None:
    """Raises ValueError unless `array` is a column that has this correlation (or -1)."""
    if array.ndim != 3 or array.dtype not in (np.complex64, np.complex128) or not -1 <= corr < array.shape[2]:
        raise ValueError(
            f"expected a complex (row, channel, corr) array that has corr {corr}, got {array.dtype} {array.shape}"
        )


def check_plane(array: Any) -> None:
    """Raises ValueError unless `array` is a plane of numbers."""
    if array.ndim != 3 or array.dtype.kind not in "biufc" or not array.size:
        raise ValueError(f"expected a numeric (member, slot, channel) array, got {array.dtype} {array.shape}")


def _aligned(array: np.ndarray) -> np.ndarray:
    """The array itself where its strides are whole numbers of values and not negative, else a contiguous copy."""
    real = array.itemsize // 2
    fit = array.flags.aligned and array.dtype.isnative and all(s >= 0 and s % real == 0 for s in array.strides)
    return array if fit else np.ascontiguousarray(array, array.dtype.newbyteorder("="))


@dataclass(frozen=True, slots=True, eq=False)
class PlaneTable:
    """Planes as flat arrays. Plane p has monomials `mono_start[p]:mono_start[p+1]`, each `coef[m]` times the factors
    `fac_start[m]:fac_start[m+1]`. Factor f reads source `fac_source[f]`, conjugated where `fac_conj[f]`, for member m
    at `fac_index[f, m]`: a baseline for a column, a member of the array otherwise; -1 where there is none.
    """

    mono_start: np.ndarray
    coef: np.ndarray
    fac_start: np.ndarray
    fac_source: np.ndarray
    fac_conj: np.ndarray
    fac_index: np.ndarray

    def bind(self, sources: Sources, rows: np.ndarray, nchan: int) -> Planes:
        """The planes over some memory, as the kernels take them. `rows` (nbaseline, nslot): row of a column, -1 where
        missing.

        Raises ValueError where a source does not have the extents that the table, `rows` and `nchan` need.
        """
        sources.check(self.fac_source, self.fac_index, rows, nchan)
        to32 = lambda a: np.ascontiguousarray(a, np.int32)  # noqa: E731
        return Planes(
            to32(self.mono_start), np.ascontiguousarray(self.coef, np.complex128), to32(self.fac_start),
            to32(self.fac_source), np.ascontiguousarray(self.fac_conj, np.bool_), to32(self.fac_index), to32(rows),
            *sources.arrays(),
        )  # fmt: skip


class Planes(NamedTuple):
    """A PlaneTable bound to memory (see `PlaneTable`, `SourceArrays`)."""

    mono_start: np.ndarray
    coef: np.ndarray
    fac_start: np.ndarray
    fac_source: np.ndarray
    fac_conj: np.ndarray
    fac_index: np.ndarray
    rows: np.ndarray
    address: np.ndarray
    double: np.ndarray
    column: np.ndarray
    strides: np.ndarray
    corr: np.ndarray
