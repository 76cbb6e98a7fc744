"""Calibration tables: one Jones term of one field and spectral window, and the HDF5 files that hold them.

    /                                     attributes: version "1.0", created_at, rimetree, and provenance
    /<KEY>/field_<NAME>/scan_<N>/spw_<N>  KEY as G0, K0; NAME with spaces as underscores, "" where fields were pooled
        jones (antenna, freq, time, 2, 2), flags (antenna, freq, time), time (s), freq (Hz): centres of the cells
        delay (antenna, freq, time, 2) in ns, of terms that are delays; solver_stats/{converged, n_iter, cost} (freq, time)
        errors as jones, status as flags, weights (antenna, freq, time, 2), time_edges, freq_edges
        parms/<NAME>/{values, errors (antenna or 1, time, freq, i, j), status (antenna or 1, time, freq)}
    /fluxscale/field_<NAME>/spw_<N>       attributes: scale_p, scale_q, ...

The names, shapes and types of the first two lines of datasets are those of ALAKAZAM 1.0, whose files can be read too.
Cells that span scans lie under the first. A file is written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .atomic import write_atomically

FLUXSCALE = "fluxscale"


@dataclass(slots=True, eq=False)
class Values:
    """One Parm of a term: values, errors (n, time, freq, i, j) and status (n, time, freq); n antennas, or 1 for all."""

    values: np.ndarray
    errors: np.ndarray
    status: np.ndarray

    def times(self, which: Any) -> Values:
        """Some of the cells in time."""
        return Values(self.values[:, which], self.errors[:, which], self.status[:, which])


@dataclass(slots=True, eq=False)
class CalTable:
    """One Jones term of one field and spectral window. Axes: a antenna, f and t cells in frequency and time.

    time (t,), freq (f,) centres; time_edges, freq_edges (.., 2); scan (t,); jones (a, f, t, 2, 2); flags (a, f, t);
    delay (a, f, t, 2) in s; errors as jones; stats (f, t); SI units. `attrs` are stored with every scan.
    """

    key: str
    kind: str
    field: str
    spw: int
    antennas: list[str]
    time: np.ndarray
    time_edges: np.ndarray
    freq: np.ndarray
    freq_edges: np.ndarray
    scan: np.ndarray
    jones: np.ndarray
    flags: np.ndarray
    errors: np.ndarray
    parms: dict[str, Values]
    delay: np.ndarray | None = None
    stats: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> tuple[str, str, int]:
        """What tells it from the other tables of a file."""
        return self.key, self.field, self.spw

    def times(self, which: Any) -> CalTable:
        """Some of the cells in time (indices, a mask or a slice)."""
        return replace(
            self,
            time=self.time[which],
            time_edges=self.time_edges[which],
            scan=self.scan[which],
            jones=self.jones[:, :, which],
            flags=self.flags[:, :, which],
            errors=self.errors[:, :, which],
            parms={name: value.times(which) for name, value in self.parms.items()},
            delay=None if self.delay is None else self.delay[:, :, which],
            stats={name: value[:, which] for name, value in self.stats.items()},
        )


@dataclass(slots=True, eq=False)
class CalFile:
    """The tables of a file; `meta`: attributes of the file, `flux`: (field, spw) -> attributes of a flux scale."""

    tables: list[CalTable] = dataclasses.field(default_factory=list)
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)
    flux: dict[tuple[str, int], dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """Keys of the terms, in the order in which they come."""
        return list(dict.fromkeys(table.key for table in self.tables))

    def put(self, table: CalTable) -> None:
        """Add a table, in the place of one of the same key, field and spectral window."""
        self.tables = [t for t in self.tables if t.place != table.place] + [table]

    def save(self, path: str | Path) -> None:
        """Write the file, replacing what is there. DataError where that cannot be done; then nothing has changed."""
        import h5py

        memory = io.BytesIO()
        with h5py.File(memory, "w", track_order=True) as file:
            file.attrs.update({"version": "1.0", **self.meta})
            for table in self.tables:
                for scan in np.unique(table.scan):
                    part = table.times(table.scan == scan)
                    _write(file.create_group(_path(table, int(scan)), track_order=True), part, int(scan))
            for (name, spw), attrs in self.flux.items():
                file.create_group(f"{FLUXSCALE}/field_{_legal(name)}/spw_{spw}").attrs.update(
                    {"field_name": name, **attrs}
                )
        write_atomically(path, memory.getbuffer(), overwrite=True)

    @classmethod
    def load(cls, path: str | Path) -> CalFile:
        """Read a file of ours or of ALAKAZAM. DataError naming the file where it is missing, damaged or of another kind."""
        import h5py

        path = Path(path)
        if not path.is_file():
            state = "this is a folder" if path.is_dir() else "there is no such file"
            raise DataError(f"{path}: {state}; expected an HDF5 file with solutions")
        if not h5py.is_hdf5(path):
            raise DataError(f"{path} is not an HDF5 file; expected one with solutions")
        try:
            with h5py.File(path, "r") as file:
                parts = [_read(node) for node in _nodes(file)]
                flux = {(str(n.attrs.get("field_name", "")), _number(n)): _plain(n.attrs) for n in _flux_nodes(file)}
                found = cls(list(_joined(parts)), _plain(file.attrs), flux)
        except (KeyError, OSError, RuntimeError, ValueError, TypeError, IndexError) as error:
            raise DataError(f"{path} is damaged, or no file with solutions ({error}); make it anew") from error
        if not found.tables:
            raise DataError(f"{path} holds no solutions: there is no <KEY>/field_<NAME>/scan_<N>/spw_<N> in it")
        return found


def _legal(name: str) -> str:
    """A field name as part of a path."""
    return name.replace("%", "%25").replace("/", "%2F").replace(" ", "_")


def _path(table: CalTable, scan: int) -> str:
    return f"{table.key}/field_{_legal(table.field)}/scan_{scan}/spw_{table.spw}"


def _write(node: Any, table: CalTable, scan: int) -> None:
    """One scan of a table."""
    packed = {"compression": "gzip", "compression_opts": 4}
    node.create_dataset("jones", data=table.jones.astype(np.complex128), **packed)
    node.create_dataset("flags", data=table.flags.astype(bool))
    if table.delay is not None:
        node.create_dataset("delay", data=table.delay * 1e9, **packed)
    node.create_dataset("time", data=table.time.astype(float))
    node.create_dataset("freq", data=table.freq.astype(float))
    stats = node.create_group("solver_stats")
    for name, value in table.stats.items():
        stats.create_dataset(name, data=value)
    node.create_dataset("errors", data=table.errors.astype(float), **packed)
    with np.errstate(divide="ignore"):
        weights = 1 / np.stack([table.errors[..., i, i] for i in (0, 1)], -1) ** 2
    node.create_dataset("weights", data=np.where(np.isfinite(weights), weights, 0), **packed)
    node.create_dataset("status", data=worst(table.parms, len(table.antennas)))
    node.create_dataset("time_edges", data=table.time_edges)
    node.create_dataset("freq_edges", data=table.freq_edges)
    for name, parm in table.parms.items():
        group = node.create_group(f"parms/{name}")
        for what in ("values", "errors", "status"):
            group.create_dataset(what, data=getattr(parm, what), **packed)
    used = ~table.flags.all((1, 2)) if table.flags.size else np.zeros(len(table.antennas), bool)
    node.attrs.update(
        {
            "jones_type": table.key,
            "kind": table.kind,
            "field_name": table.field,
            "scan_id": scan,
            "spw": table.spw,
            "n_ant": len(table.antennas),
            "n_active": int(used.sum()),
            "n_freq": table.freq.size,
            "n_time": table.time.size,
            "ant_names": json.dumps(table.antennas),
            "n_cells_total": int(table.freq.size * table.time.size),
            "n_cells_converged": int(table.stats["converged"].sum()) if "converged" in table.stats else 0,
            **table.attrs,
        }
    )


def worst(parms: Mapping[str, Values], antennas: int) -> np.ndarray:
    """(antenna, freq, time): the highest status code of the Parms of a term."""
    codes = [np.broadcast_to(p.status, (antennas, *p.status.shape[1:])) for p in parms.values()]
    return np.asarray(np.max(codes, 0).transpose(0, 2, 1), np.uint8)


def _nodes(file: Any) -> Iterator[Any]:
    for key, fields in file.items():
        if key != FLUXSCALE and hasattr(fields, "items"):
            for scans in fields.values():
                for windows in scans.values():
                    yield from (node for node in windows.values() if "jones" in node)


def _flux_nodes(file: Any) -> list[Any]:
    return [node for fields in file.get(FLUXSCALE, {}).values() for node in fields.values()]


def _number(node: Any) -> int:
    return int(node.name.rpartition("_")[2])


def _plain(attrs: Any) -> dict[str, Any]:
    """Attributes as Python values."""
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in attrs.items()}


OWN = {"jones_type", "kind", "field_name", "scan_id", "spw", "n_ant", "n_active", "n_freq", "n_time"}
OWN |= {"ant_names", "n_cells_total", "n_cells_converged"}
"""Attributes that are made anew when a table is written."""


def _read(node: Any) -> CalTable:
    """One scan of a table."""
    attrs = _plain(node.attrs)
    _, key, _, scan, spw = node.name.split("/")
    jones, flags = node["jones"][...], node["flags"][...].astype(bool)
    time, freq = np.atleast_1d(node["time"][...]), np.atleast_1d(node["freq"][...])
    if jones.shape != (*flags.shape, 2, 2) or flags.shape[1:] != (freq.size, time.size):
        raise ValueError(f"{node.name}: jones {jones.shape}, flags {flags.shape}, {freq.size} freq, {time.size} time")
    names = json.loads(attrs.get("ant_names", "[]")) or [str(i) for i in range(len(flags))]
    parms = {
        name: Values(*(group[what][...] for what in ("values", "errors", "status")))
        for name, group in node.get("parms", {}).items()
    }
    return CalTable(
        key,
        str(attrs.get("kind", key.rstrip("0123456789"))),
        str(attrs.get("field_name", node.name.split("/")[2].removeprefix("field_"))),
        int(spw.removeprefix("spw_")),
        names,
        time,
        node["time_edges"][...] if "time_edges" in node else np.stack([time, time], 1),
        freq,
        node["freq_edges"][...] if "freq_edges" in node else np.stack([freq, freq], 1),
        np.full(time.size, int(scan.removeprefix("scan_"))),
        jones,
        flags | ~np.isfinite(jones).all((-1, -2)),
        node["errors"][...] if "errors" in node else np.full(jones.shape, np.nan),
        parms,
        node["delay"][...] * 1e-9 if "delay" in node else None,
        {name: value[...] for name, value in node.get("solver_stats", {}).items()},
        {name: value for name, value in attrs.items() if name not in OWN},
    )


def _joined(parts: Sequence[CalTable]) -> Iterator[CalTable]:
    """The scans of each table together, in the order of time."""
    groups: dict[tuple[str, str, int], list[CalTable]] = {}
    for part in parts:
        groups.setdefault(part.place, []).append(part)
    for place, found in groups.items():
        first = found[0]
        for other in found[1:]:
            if other.antennas != first.antennas or other.jones.shape[1] != first.jones.shape[1]:
                raise ValueError(f"{'/'.join(map(str, place))}: scans differ in antennas or frequencies")
        if len(found) > 1:
            first = _concatenated(found)
        yield first.times(np.argsort(first.time, kind="stable"))


def _concatenated(found: Sequence[CalTable]) -> CalTable:
    def along(name: str, axis: int) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in found], axis)

    first = found[0]
    parms = {
        name: Values(
            *(
                np.concatenate([getattr(t.parms[name], what) for t in found], 1)
                for what in ("values", "errors", "status")
            )
        )
        for name in first.parms
    }
    return replace(
        first,
        time=along("time", 0),
        time_edges=along("time_edges", 0),
        scan=along("scan", 0),
        jones=along("jones", 2),
        flags=along("flags", 2),
        errors=along("errors", 2),
        parms=parms,
        delay=None if first.delay is None else along("delay", 2),
        stats={name: np.concatenate([t.stats[name] for t in found], 1) for name in first.stats},
    )
