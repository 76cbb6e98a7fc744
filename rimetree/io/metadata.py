"""What the sub-tables of a Measurement Set say: antennas, fields, spectral windows, correlations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .directions import frame_of, to_j2000
from .table import open_sub

# casacore Stokes::StokesTypes 1...20
STOKES = (
    "I",
    "Q",
    "U",
    "V",
    "RR",
    "RL",
    "LR",
    "LL",
    "XX",
    "XY",
    "YX",
    "YY",
    "RX",
    "RY",
    "LX",
    "LY",
    "XR",
    "XL",
    "YR",
    "YL",
)


@dataclass(frozen=True, slots=True)
class Antenna:
    """One row of ANTENNA: unique name, ITRF position (3,) in m, mount as written."""

    id: int
    name: str
    position: np.ndarray
    mount: str


@dataclass(frozen=True, slots=True)
class Field:
    """One row of FIELD: phase centre (2,) in rad, J2000 (the constant term); NaN for the reason `nowhere`."""

    id: int
    name: str
    phase_dir: np.ndarray
    nowhere: str = ""


@dataclass(frozen=True, slots=True)
class Spw:
    """One row of SPECTRAL_WINDOW: channel centres and (positive) widths, (nchan,) in Hz."""

    id: int
    name: str
    freq: np.ndarray
    width: np.ndarray


@dataclass(frozen=True, slots=True)
class Metadata:
    """All of it; `descriptions[ddid]` is (spw id, names of the correlations in the order of the data)."""

    antennas: list[Antenna]
    fields: list[Field]
    spws: list[Spw]
    descriptions: list[tuple[int, tuple[str, ...]]]

    def shape(self, ddid: int) -> tuple[int, int]:
        """(channels, correlations) of a data description."""
        spw, corrs = self.descriptions[ddid]
        return self.spws[spw].freq.size, len(corrs)


def read_metadata(path: Path) -> Metadata:
    """Read the sub-tables. Raises `DataError` where one is missing, empty, or points outside another."""
    antenna, field, window, polarization, description = (
        _columns(path, name, wanted)
        for name, wanted in (
            ("ANTENNA", ("NAME", "POSITION", "MOUNT")),
            ("FIELD", ("NAME", "PHASE_DIR")),
            ("SPECTRAL_WINDOW", ("NAME", "CHAN_FREQ", "CHAN_WIDTH")),
            ("POLARIZATION", ("CORR_TYPE",)),
            ("DATA_DESCRIPTION", ("SPECTRAL_WINDOW_ID", "POLARIZATION_ID")),
        )
    )
    names = unique_names([name for name, _, _ in antenna])
    corrs = [tuple(_stokes(path, code) for code in types) for (types,) in polarization]
    for ddid, (spw, pol) in enumerate(description):
        if not (0 <= spw < len(window) and 0 <= pol < len(corrs)):
            raise DataError(
                f"{path}: DATA_DESCRIPTION row {ddid} names spectral window {spw} and polarization {pol}, "
                f"but there are {len(window)} and {len(corrs)}; the Measurement Set is damaged"
            )
    _check_axes(path, [(freq, width) for _, freq, width in window], corrs)
    return Metadata(
        [Antenna(i, names[i], np.asarray(xyz, float), str(mount)) for i, (_, xyz, mount) in enumerate(antenna)],
        [Field(i, str(n), *_direction(path, i, d)) for i, (n, d) in enumerate(field)],
        [Spw(i, str(n), np.asarray(f, float), np.abs(w)) for i, (n, f, w) in enumerate(window)],
        [(int(spw), corrs[pol]) for spw, pol in description],
    )


def _check_axes(path: Path, windows: Sequence[tuple[Any, Any]], corrs: Sequence[tuple[str, ...]]) -> None:
    """Raise DataError where channels have no frequencies, or correlations are not told apart."""
    for row, (freq, width) in enumerate(windows):
        if np.shape(freq) != np.shape(width) or not (np.isfinite([freq, width]).all() and np.min(freq) > 0):
            raise DataError(
                f"{path}: SPECTRAL_WINDOW row {row}: expected a positive frequency in CHAN_FREQ and a width in CHAN_WIDTH for each "
                "channel; the Measurement Set is damaged"
            )
    for row, names in enumerate(corrs):
        if len(set(names)) < len(names):
            raise DataError(
                f"{path}: POLARIZATION row {row} has correlations {' '.join(names)}, expected different ones; "
                "the Measurement Set is damaged"
            )


def unique_names(names: Sequence[str]) -> list[str]:
    """Antenna names made unique: a name that repeats becomes `name#id`, an empty one `antenna#id`."""
    count = Counter(names)
    return [f"{n or 'antenna'}#{i}" if not n or count[n] > 1 else n for i, n in enumerate(names)]


def _direction(path: Path, row: int, value: Any) -> tuple[np.ndarray, str]:
    """Phase centre, J2000, and why there is none, of a row of FIELD."""
    table = open_sub(path, "FIELD")
    try:
        columns, keywords = table.colnames(), table.getcolkeywords("PHASE_DIR")
        measinfo = keywords.get("MEASINFO", {})
        other = measinfo.get("VarRefCol", "")
        code = table.getcell(other, row) if other in columns else None
        ephemeris = "EPHEMERIS_ID" in columns and table.getcell("EPHEMERIS_ID", row) >= 0
    finally:
        table.close()
    return to_j2000(np.asarray(value, float).reshape(-1, 2)[0], frame_of(measinfo, code), bool(ephemeris))


def _columns(path: Path, name: str, wanted: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """One tuple per row of the sub-table (cells may differ in shape, so by cell)."""
    table = open_sub(path, name)
    try:
        lacking = [column for column in wanted if column not in table.colnames()]
        if lacking or not table.nrows():
            fault = f"lacks {', '.join(lacking)}" if lacking else "has no rows"
            raise DataError(f"{path}: sub-table {name} {fault}; the Measurement Set is incomplete")
        return [tuple(table.getcell(column, row) for column in wanted) for row in range(table.nrows())]
    except RuntimeError as error:
        raise DataError(f"{path}: sub-table {name} cannot be read: {error}") from error
    finally:
        table.close()


def _stokes(path: Path, code: int) -> str:
    if not 1 <= code <= len(STOKES):
        raise DataError(
            f"{path}: POLARIZATION holds correlation type {code}; known are 1 to {len(STOKES)} (casacore Stokes)"
        )
    return STOKES[code - 1]
