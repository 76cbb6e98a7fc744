"""Making Measurement Sets: an array, times and channels, with zeros or noise for data."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, nearest
from .subtables import write_subtables
from .table import opened_here

VLA = np.array([-1601185.4, -5041977.5, 3554875.9])
"""Centre of the VLA, ITRF in m."""

SCAN_GAP = 60.0
"""Seconds between scans."""

_BLOCK_BYTES = 1 << 25
_CORRS = {"linear": ("XX", "XY", "YX", "YY"), "circular": ("RR", "RL", "LR", "LL")}


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is to be written, checked: positions (nant, 3) m; time (nslot,) MJD s with scan and field of each slot,
    freq (nchan,) Hz, phase_dir (nfield, 2) rad."""

    positions: np.ndarray
    time: np.ndarray
    scan: np.ndarray
    field: np.ndarray
    interval: float
    freq: np.ndarray
    width: float
    corrs: tuple[str, ...]
    phase_dir: np.ndarray
    noise: float


def simulate(
    path: str | PathLike[str],
    antennas: Any = 7,
    times: tuple[float, int, float] = (5.0e9, 10, 10.0),
    freqs: tuple[float, int, float] = (1.4e9, 16, 1e6),
    *,
    scans: int = 1,
    fields: int = 1,
    corrs: str | Sequence[str] = "linear",
    phase_dir: Any = (0.3, 0.6),
    noise: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Make a Measurement Set with DATA, FLAG, WEIGHT_SPECTRUM, WEIGHT, SIGMA and UVW, and complete sub-tables.

    antennas   a number or "vla-like" (27) for a Y-shaped array at the VLA, or ITRF positions (nant, 3) in m
    times      (start in MJD s, number of slots, length of a slot in s); scans share the slots, 60 s apart
    freqs      (centre of the first channel in Hz, number, width in Hz)
    fields     scans go round the fields; phase_dir (ra, dec) in rad, J2000, is that of the first, and further ones
               follow 0.02 rad apart in ra; or it is an array (nfield, 2)
    corrs      "linear", "circular", or names in the order wanted, such as ("XX", "YY")
    noise      rms of DATA, E|n|^2 = noise^2; the weights are 1/noise^2 (1 without noise, and DATA is zero)

    UVW is antenna 1 minus antenna 2, as CASA, VLA and MeerKAT write it, w towards the phase centre (casacore measures).
    The set appears under its name when complete. Raises `ConfigError` for impossible options, `DataError` where `path`
    exists (unless `overwrite`) or cannot be written.
    """
    target = Path(path)
    if target.exists() and not overwrite:
        raise DataError(f"{target}: exists already; choose another name, or overwrite it explicitly")
    if target.exists() and opened_here(target):
        raise DataError(f"{target}: is open in this program; close it before it is overwritten, as `with` does for you")
    plan = _plan(antennas, times, freqs, scans, fields, corrs, phase_dir, noise)
    with _appearing(target) as building:
        try:
            _write_main(building, plan, np.random.default_rng(seed))
            write_subtables(building, plan)
        except (RuntimeError, OSError) as error:
            raise DataError(f"{target}: cannot be written: {error}; check free disk space and permissions") from error
    return target


def vla_like(count: int) -> np.ndarray:
    """ITRF positions (count, 3) in m of a Y with arms of 1 km, spaced as the VLA's (distance ~ n^1.716)."""
    number = np.arange(count)
    arm, step = number % 3, number // 3 + 1
    radius = 1000.0 * (step / step.max()) ** 1.716
    azimuth = np.deg2rad(np.array([355.0, 115.0, 236.0]))[arm]
    longitude, latitude = np.arctan2(VLA[1], VLA[0]), np.arctan2(VLA[2], np.hypot(VLA[0], VLA[1]))
    east = np.array([-np.sin(longitude), np.cos(longitude), 0])
    up = np.array([np.cos(longitude) * np.cos(latitude), np.sin(longitude) * np.cos(latitude), np.sin(latitude)])
    north = np.cross(up, east)
    layout: np.ndarray = VLA + np.outer(radius * np.sin(azimuth), east) + np.outer(radius * np.cos(azimuth), north)
    return layout


def _plan(
    antennas: Any, times: Any, freqs: Any, scans: int, fields: int, corrs: Any, phase_dir: Any, noise: float
) -> Observation:
    positions = _positions(antennas)
    start, slots, interval = _axis("times", times, "start in MJD s")
    first, channels, width = _axis("freqs", freqs, "first channel in Hz")
    names = _correlations(corrs)
    centres = _centres(phase_dir, fields)
    if not 1 <= len(centres) <= scans <= slots:
        raise ConfigError(
            f"{len(centres)} fields, {scans} scans, {slots} slots: expected 1 <= fields <= scans <= slots"
        )
    if not 0 <= noise < math.inf:
        raise ConfigError(f"noise={noise!r}: expected a number, 0 or more")
    scan = np.arange(slots) * scans // slots
    time = start + (np.arange(slots) + 0.5) * interval + scan * SCAN_GAP
    freq = first + width * np.arange(channels)
    return Observation(
        positions, time, scan + 1, scan % len(centres), interval, freq, width, names, centres, float(noise)
    )


def _correlations(corrs: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = _CORRS.get(corrs, (corrs,)) if isinstance(corrs, str) else tuple(corrs)
    if len(set(names)) == len(names) > 0 and any(set(names) <= set(basis) for basis in _CORRS.values()):
        return names
    valid = [name for basis in _CORRS.values() for name in basis]
    raise ConfigError(
        f"corrs={corrs!r}: expected 'linear', 'circular', or different names, all linear or all circular, "
        f"out of {', '.join(valid)}{nearest(corrs, [*_CORRS, *valid])}"
    )


def _centres(phase_dir: Any, fields: int) -> np.ndarray:
    centres = np.atleast_2d(np.asarray(phase_dir, float))
    if centres.shape[1:] != (2,) or not np.isfinite(centres).all():
        raise ConfigError(f"phase_dir={phase_dir!r}: expected (ra, dec) in rad, or one such pair per field")
    if len(centres) == 1:
        return centres + np.outer(0.02 * np.arange(fields), [1, 0])
    return centres


def _positions(antennas: Any) -> np.ndarray:
    if isinstance(antennas, str) and antennas == "vla-like":
        return vla_like(27)
    if isinstance(antennas, int) and not isinstance(antennas, bool) and antennas >= 2:
        return vla_like(antennas)
    if not isinstance(antennas, (str, int)):
        positions = np.asarray(antennas, float)
        if positions.ndim == 2 and positions.shape[1] == 3 and len(positions) >= 2 and np.isfinite(positions).all():
            return positions
    raise ConfigError(f"antennas={antennas!r}: expected 2 or more, 'vla-like', or ITRF positions (n, 3) in m")


def _axis(name: str, spec: Any, what: str) -> tuple[float, int, float]:
    try:
        start, count, step = float(spec[0]), int(spec[1]), float(spec[2])
        if len(spec) == 3 and count == spec[1] and count >= 1 and 0 < step < math.inf and 0 < start < math.inf:
            return start, count, step
    except (TypeError, ValueError, IndexError, OverflowError):
        pass
    raise ConfigError(f"{name}={spec!r}: expected ({what}, number, width), all positive")


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A path to build at; what is there replaces `target` at the end, or is removed where building fails."""
    try:
        workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise DataError(f"{target}: cannot be made in {target.parent}: {error.strerror}") from error
    try:
        yield workshop / "new"
        if target.exists():
            target.rename(workshop / "old")
        (workshop / "new").rename(target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _write_main(path: Path, plan: Observation, rng: np.random.Generator) -> None:
    p, q = np.triu_indices(len(plan.positions), 1)
    table = _create(path, len(p) * plan.time.size, (plan.freq.size, len(plan.corrs)))
    try:
        block = max(1, _BLOCK_BYTES // (len(p) * plan.freq.size * len(plan.corrs) * 8))
        for start in range(0, plan.time.size, block):
            _write_slots(table, plan, slice(start, min(start + block, plan.time.size)), p, q, rng)
    finally:
        table.close()


def _create(path: Path, nrow: int, cell: tuple[int, int]) -> Any:
    """An empty main table with tiled data columns of fixed shape."""
    from casacore.tables import default_ms, makearrcoldesc, maketabdesc, required_ms_desc

    tiled = {"DATA": (0j, "complex"), "WEIGHT_SPECTRUM": (0.0, "float"), "FLAG": (False, "boolean")}
    description = required_ms_desc()
    description.update(
        maketabdesc(
            [
                makearrcoldesc(
                    name, zero, shape=list(cell), valuetype=kind, options=4, datamanagertype="TiledColumnStMan"
                )
                for name, (zero, kind) in tiled.items()
            ]
        )
    )
    for name in ("WEIGHT", "SIGMA"):
        description[name] |= {"shape": np.array(cell[1:], np.int32), "option": 5}
    rows = max(1, (1 << 20) // (8 * cell[0] * cell[1]))
    managers = {
        f"*{number}": {
            "NAME": f"Tiled_{name}",
            "TYPE": "TiledColumnStMan",
            "COLUMNS": [name],
            "SPEC": {"DEFAULTTILESHAPE": np.array([cell[1], cell[0], rows], np.int32)},
        }
        for number, name in enumerate(tiled)
    }
    table = default_ms(str(path), description, managers)
    table.addrows(nrow)
    return table


def _write_slots(
    table: Any, plan: Observation, slots: slice, p: np.ndarray, q: np.ndarray, rng: np.random.Generator
) -> None:
    time, count = plan.time[slots], len(p)
    nrow, start = time.size * count, slots.start * count
    cell = (plan.freq.size, len(plan.corrs))
    data = np.zeros((nrow, *cell), np.complex64)
    if plan.noise:
        data.view(np.float32)[...] = rng.normal(0, plan.noise / math.sqrt(2), (nrow, cell[0], 2 * cell[1]))
    uvw = station_uvw(plan.positions, time, plan.phase_dir[plan.field[slots]])
    weight = 1 / plan.noise**2 if plan.noise else 1.0
    zero = np.zeros(nrow, np.int32)
    values = {
        "DATA": data,
        "FLAG": np.zeros(data.shape, bool),
        "WEIGHT_SPECTRUM": np.full(data.shape, weight, np.float32),
        "WEIGHT": np.full((nrow, cell[1]), weight, np.float32),
        "SIGMA": np.full((nrow, cell[1]), plan.noise or 1, np.float32),
        "UVW": (uvw[:, p] - uvw[:, q]).reshape(nrow, 3),
        "ANTENNA1": np.tile(p, time.size).astype(np.int32),
        "ANTENNA2": np.tile(q, time.size).astype(np.int32),
        "SCAN_NUMBER": np.repeat(plan.scan[slots], count).astype(np.int32),
        "FIELD_ID": np.repeat(plan.field[slots], count).astype(np.int32),
        "FLAG_ROW": np.zeros(nrow, bool),
    }
    values |= dict.fromkeys(("TIME", "TIME_CENTROID"), np.repeat(time, count))
    values |= dict.fromkeys(("INTERVAL", "EXPOSURE"), np.full(nrow, plan.interval))
    values |= dict.fromkeys(("DATA_DESC_ID", "FEED1", "FEED2", "ARRAY_ID", "OBSERVATION_ID", "STATE_ID"), zero)
    values["PROCESSOR_ID"] = zero - 1  # there is no processor in the sub-table
    for name, column in values.items():
        table.putcol(name, column, start, nrow)


def station_uvw(positions: np.ndarray, time: np.ndarray, phase_dir: np.ndarray) -> np.ndarray:
    """UVW of each station (nslot, nant, 3) in m relative to the first, for J2000 directions (nslot, 2) at UTC (nslot,).

    The directions of the phase centre and of a point 90 degrees north of it are taken to ITRF by casacore measures
    (precession, nutation, aberration); they are w and v, and u completes the right-handed system.
    """
    from casacore.measures import measures

    frame = measures()
    frame.do_frame(frame.position("ITRF", *(f"{x!r}m" for x in positions[0].tolist())))
    out = np.empty((time.size, len(positions), 3))
    for slot, (when, (ra, dec)) in enumerate(zip(time.tolist(), phase_dir.tolist(), strict=True)):
        frame.do_frame(frame.epoch("UTC", f"{when!r}s"))
        w = _itrf(frame, ra, dec)
        v = _itrf(frame, ra, dec + np.pi / 2)
        v -= w * (v @ w)
        v /= np.linalg.norm(v)
        out[slot] = (positions - positions[0]) @ np.stack([np.cross(v, w), v, w], 1)
    return out


def _itrf(frame: Any, ra: float, dec: float) -> np.ndarray:
    direction = frame.measure(frame.direction("J2000", f"{ra!r}rad", f"{dec!r}rad"), "ITRF")
    longitude, latitude = direction["m0"]["value"], direction["m1"]["value"]
    return np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
