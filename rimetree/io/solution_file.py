"""The HDF5 layout of solution files.

    /                                 attributes: format, version, groups (JSON list of [field, spw]), tables, complete
    /meta                             attributes: data, created, rimetree, ... (strings and numbers)
    /<JONES>/field_<NAME>/spw_<N>     antennas, jones (antenna, freq, time, 2, 2), flags, time, freq, errors
    /parms/field_<NAME>/spw_<N>/<LABEL>   names, qualifiers, values (parm, time, freq, i, j), errors, status, time, freq
    /solvers/field_<NAME>/spw_<N>/<NAME>  status (component, time, freq), iterations, chi2_start, chi2, dof, rank, ...

Names are percent-encoded where HDF5 has no place for a character ("/", for example), and get a suffix "~2" where two
coincide; the attributes of a table (label or name, group, index) hold what is meant, so a reader never decodes a path.
Datasets carry their axes and unit as attributes. `values` of a Parm are coefficients c[i][j] of the function that its attribute
`funklet` (JSON, `rimetree.funklets`) says: most often `sum c[i][j] x^i y^j`, in which x and y run from -1 to 1 over the solution
interval whose limits are in `time` (s) and `freq` (Hz).
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..errors import ConfigError, DataError
from ..funklets import Funklet, from_text, to_text
from .solution_tables import GroupSolutions, JonesTable, ParmTable, SolverTable, Table, columns, normalise, scalars

FORMAT = "rimetree solutions"
VERSION = 3
KINDS: dict[str, type[Table]] = {"parms": ParmTable, "jones": JonesTable, "solvers": SolverTable}
RESERVED = ("meta", "parms", "solvers")

Meta = dict[str, str | int | float]


def encode(groups: list[GroupSolutions], meta: Meta) -> memoryview:
    """The bytes of a solution file. DataError where shapes disagree or `meta` has more than strings and numbers.

    Written in memory first: a full disk then is an ordinary error, while libhdf5 cannot close what it cannot flush.
    """
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, groups=json.dumps([[g.field, g.spw] for g in groups]))
        notes = file.create_group("meta")
        for key, value in meta.items():
            if not isinstance(value, (str, int, float, np.number)):
                raise DataError(f"solutions: meta[{key!r}] must be a string or a number, not {type(value).__name__}")
            notes.attrs[key] = value
        for number, group in enumerate(groups):
            for kind in KINDS:
                for index, table in enumerate(getattr(group, kind)):
                    _write(file, _place(file, group, kind, table), table, (kind, number, index))
        file.attrs["tables"] = sum(len(getattr(group, kind)) for group in groups for kind in KINDS)
        file.attrs["complete"] = True
    return memory.getbuffer()


def decode(path: Path) -> tuple[list[GroupSolutions], Meta]:
    """Read a solution file. DataError names the file, what is wrong in it and what was expected."""
    import h5py

    if not path.is_file():
        raise DataError(
            f"{path}: {'this is a folder' if path.is_dir() else 'no such file'}; expected an HDF5 solution file"
        )
    if not h5py.is_hdf5(path):
        raise DataError(f"{path} is not an HDF5 file; expected solutions written by rimetree")
    try:
        with h5py.File(path, "r") as file:
            _check_header(path, file.attrs)
            meta = {key: v if isinstance(v, str) else v.item() for key, v in file["meta"].attrs.items()}
            return _read_all(path, file), meta
    except KeyError as error:
        raise DataError(f"{path} is incomplete: {error.args[0]}; make the solutions anew") from error
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(f"{path} is damaged or half-written ({error}); make the solutions anew") from error


def _check_header(path: Path, attrs: Any) -> None:
    if attrs.get("format") != FORMAT:
        raise DataError(f"{path} is an HDF5 file, but not one with rimetree solutions (attribute format = {FORMAT!r})")
    if attrs.get("version") != VERSION:
        raise DataError(
            f"{path} has version {attrs.get('version')} of the solution format, this rimetree reads version {VERSION}; "
            "read it with the rimetree that wrote it, or make the solutions anew"
        )
    if not attrs.get("complete", False):
        raise DataError(f"{path} is half-written: its writer never finished; make the solutions anew")


def _place(file: Any, group: GroupSolutions, kind: str, table: Table) -> str:
    """The path of a table in the file: legal, legible and not in use."""
    label = quote(table.name if isinstance(table, SolverTable) else table.label, safe=" :=,+'()[]@") or "%"
    where = f"field_{quote(group.field, safe=' +')}/spw_{quote(group.spw, safe=' ')}"
    if label == "." or (kind == "jones" and label in RESERVED):
        label = f"%{ord(label[0]):02X}{label[1:]}"
    path, count = "", 1
    while not path or path in file:
        unique = label if count == 1 else f"{label}~{count}"
        path = f"{unique}/{where}" if kind == "jones" else f"{kind}/{where}/{unique}"
        count += 1
    return path


def _write(file: Any, path: str, table: Table, index: tuple[str, int, int]) -> None:
    import h5py

    normalise(table, path)
    node = file.create_group(path)
    node.attrs.update(kind=index[0], group=index[1], index=index[2])
    for name in scalars(type(table)):
        value = getattr(table, name)
        node.attrs[name] = to_text(value) if isinstance(value, Funklet) else value
    for name, spec in columns(type(table)).items():
        value = getattr(table, name)
        if spec.dtype in ("text", "json"):
            text = [json.dumps(v) if spec.dtype == "json" else v for v in value]
            node.create_dataset(name, (len(text),), h5py.string_dtype(), np.array(text, object))
            continue
        packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if value.size > 64 else {}
        data = node.create_dataset(name, data=value, **packed)
        data.attrs.update(axes=spec.axes, unit=spec.unit)


def _read_all(path: Path, file: Any) -> list[GroupSolutions]:
    groups = [GroupSolutions(field, spw, [], [], []) for field, spw in json.loads(file.attrs["groups"])]
    found: list[tuple[int, int, str, Table]] = []

    def visit(name: str, node: Any) -> None:
        if "kind" in node.attrs:
            kind = node.attrs["kind"]
            found.append(
                (int(node.attrs["group"]), int(node.attrs["index"]), kind, _read(path, name, node, KINDS[kind]))
            )

    file.visititems(visit)
    if len(found) != file.attrs["tables"]:
        raise DataError(f"{path}: expected {file.attrs['tables']} tables, found {len(found)}; make the solutions anew")
    for number, _, kind, table in sorted(found, key=lambda item: item[:3]):
        getattr(groups[number], kind).append(table)
    return groups


def _read(path: Path, name: str, node: Any, cls: type[Table]) -> Table:
    values: dict[str, Any] = {key: node.attrs[key] for key in scalars(cls)}
    if "funklet" in values:
        values["funklet"] = from_text(values["funklet"])
    for key, spec in columns(cls).items():
        if key not in node:
            raise DataError(f"{path}: dataset {name}/{key} is missing; make the solutions anew")
        if spec.dtype in ("text", "json"):
            text = node[key].asstr()[...].tolist()
            values[key] = [tuple(json.loads(v)) for v in text] if spec.dtype == "json" else text
        else:
            values[key] = node[key][...]
    table = cls(**values)
    normalise(table, f"{path}: {name}")
    return table
