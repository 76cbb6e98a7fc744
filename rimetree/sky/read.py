"""Sky models from text files: BBS and DP3's makesourcedb, WSClean component lists, and plain tables with a header."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from .model import SkyModel

ARCSEC = np.pi / 180 / 3600

COLUMNS = {
    "name": "name", "type": "type", "patch": "patch", "ra": "ra", "dec": "dec", "i": "i", "q": "q", "u": "u", "v": "v",
    "spectralindex": "index", "spectralterms": "index", "index": "index", "spi": "index", "alpha": "index",
    "referencefrequency": "freq0", "freq0": "freq0", "logarithmicsi": "log", "rotationmeasure": "rm", "rm": "rm",
    "majoraxis": "major", "minoraxis": "minor", "orientation": "pa", "major": "major", "minor": "minor", "pa": "pa",
    "flux": "i", "category": "ignored", "orientationisabsolute": "ignored",
}  # fmt: skip
"""What the columns of the files mean; capitals do not matter."""


def read_sky(path: str | PathLike[str]) -> SkyModel:
    """Read a sky model.

    The file names its columns: a line `format = Name, Type, Ra, Dec, I, ...` or `# (Name, Type, ...) = format`, in which a
    column may have a default (`ReferenceFrequency='60e6'`), as for makesourcedb and WSClean; or a first line of column
    names separated by commas. Ra as hh:mm:ss.s or in degrees, Dec as dd.mm.ss.s, dd:mm:ss.s or in degrees (or with a unit,
    deg or rad); axes in arcsec, orientation in degrees from north through east.

    Raises DataError naming file and line where something cannot be understood, or a source is not finite.
    """
    source = Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise DataError(f"{source}: the sky model cannot be read: {reason}") from error
    columns, defaults, start = _header(source, lines)
    found = [row for row in _rows(source, lines[start:], start, columns, defaults) if row is not None]
    if not found:
        raise DataError(f"{source}: the sky model has no sources")
    terms = max(len(row["index"]) for row in found)
    index = np.array([row["index"] + [0.0] * (terms - len(row["index"])) for row in found]).reshape(len(found), terms)
    return SkyModel(
        names=np.array([row["name"] for row in found]),
        patches=np.array([row["patch"] for row in found]),
        radec=np.array([row["radec"] for row in found]),
        stokes=np.array([row["stokes"] for row in found]),
        freq0=np.array([row["freq0"] for row in found]),
        index=index,
        logarithmic=np.array([row["log"] for row in found]),
        rm=np.array([row["rm"] for row in found]),
        shape=np.array([row["shape"] for row in found]),
    )


def _header(source: Path, lines: Sequence[str]) -> tuple[list[str], dict[str, str], int]:
    """Columns, their defaults, and the number of the first line after the header."""
    for number, line in enumerate(lines):
        text = line.strip()
        before = re.match(r"#?\s*format\s*=\s*(.*)", text, re.IGNORECASE)
        after = re.match(r"#?\s*\(?(.*?)\)?\s*=\s*format\s*$", text, re.IGNORECASE)
        found = before or after
        if found or (text and not text.startswith("#")):
            listed = found.group(1) if found else text
            return (*_columns(source, number, listed, strict=not found), number + 1)
    raise DataError(f"{source}: the sky model is empty")


def _columns(source: Path, number: int, listed: str, strict: bool) -> tuple[list[str], dict[str, str]]:
    columns: list[str] = []
    defaults: dict[str, str] = {}
    for word in _split(listed):
        name, _, default = word.partition("=")
        key = COLUMNS.get(name.strip().strip("\"'").lower(), "" if strict else "ignored")
        if not key:
            raise DataError(
                f"{source}:{number + 1}: column {name.strip()!r}{nearest(name.strip().lower(), COLUMNS)} is not known; "
                f"expected a line `format = Name, Type, Ra, Dec, I, ...`, or names such as {', '.join(list(COLUMNS)[:9])}"
            )
        columns.append(key)
        if default:
            defaults[key] = default.strip().strip("\"'")
    lacking = [name for name in ("ra", "dec", "i") if name not in columns]
    if lacking:
        raise DataError(f"{source}:{number + 1}: the sky model has no column {', '.join(lacking)}")
    return columns, defaults


def _split(line: str) -> list[str]:
    """The fields of a line: commas within brackets or quotes do not separate."""
    return [word.strip() for word in re.split(r",(?![^\[]*\])(?![^']*'(?:[^']*'[^']*')*[^']*$)", line)]


def _rows(
    source: Path, lines: Sequence[str], start: int, columns: Sequence[str], defaults: Mapping[str, str]
) -> Iterator[dict[str, Any] | None]:
    for number, line in enumerate(lines, start + 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = _split(line)
        if len(words) > len(columns):
            raise DataError(f"{source}:{number}: {len(words)} fields, but the header names {len(columns)} columns")
        given = {name: word for name, word in zip(columns, words, strict=False) if word}
        try:
            yield _source({**defaults, **given}, number) if not _is_patch(given, columns) else None
        except ValueError as error:
            raise DataError(f"{source}:{number}: {error}") from error


def _is_patch(given: Mapping[str, str], columns: Sequence[str]) -> bool:
    """A line that defines a patch: it has neither name nor type, though there are such columns."""
    return "patch" in columns and "patch" in given and "name" not in given and "type" not in given


def _source(row: Mapping[str, str], number: int) -> dict[str, Any]:
    kind = row.get("type", "POINT").upper()
    if kind not in ("POINT", "GAUSSIAN"):
        raise ValueError(f"type {kind!r}{nearest(kind, ('POINT', 'GAUSSIAN'))} is not POINT or GAUSSIAN")
    shape = [_number(row, "major") * ARCSEC, _number(row, "minor") * ARCSEC, np.deg2rad(_number(row, "pa"))]
    if kind == "POINT" or shape[:2] == [0, 0]:
        shape = [0.0, 0.0, 0.0]
    index = [float(word) for word in re.split(r"[\s,;]+", row.get("index", "").strip("[] ")) if word]
    while index and index[-1] == 0:
        index.pop()
    freq0 = _number(row, "freq0")
    if index and not freq0 > 0:
        raise ValueError("a source with a spectral index needs a reference frequency, in Hz")
    return {
        "name": row.get("name", f"source{number}"),
        "patch": row.get("patch", ""),
        "radec": [angle(row["ra"], hours=True), angle(row["dec"], hours=False)],
        "stokes": [_number(row, name) for name in "iquv"],
        "freq0": freq0 or 1.0,
        "index": index,
        "log": row.get("log", "true").strip().lower() not in ("false", "0", "no"),
        "rm": _number(row, "rm"),
        "shape": shape,
    }


def _number(row: Mapping[str, str], name: str) -> float:
    text = row.get(name, "0").strip()
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, expected a number") from None
    if not np.isfinite(value):
        raise ValueError(f"{name} is {text!r}, expected a finite number")
    return value


def angle(text: str, hours: bool) -> float:
    """An angle in rad: `hh:mm:ss.s` (hours, where `hours`), `dd.mm.ss.s`, degrees, or a number with deg or rad.

    Raises ValueError where it is none of these.
    """
    word = text.strip().lower()
    unit = np.pi / 180
    for name, size in (("deg", np.pi / 180), ("rad", 1.0)):
        if word.endswith(name):
            word, unit = word[: -len(name)], size
    parts = re.fullmatch(r"([+-]?)(\d+)(?::|h|d|\.)(\d+)(?::|m|\.)(\d+(?:\.\d*)?)s?", word)
    if parts:
        sign, first, minutes, seconds = parts.groups()
        value = float(first) + float(minutes) / 60 + float(seconds) / 3600
        colons = ":" in word or "h" in word
        return (-1 if sign == "-" else 1) * value * unit * (15 if hours and colons else 1)
    try:
        value = float(word)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not an angle such as 12:34:56.7, +12.34.56.7 or 123.4deg") from None
    if not np.isfinite(value):
        raise ValueError(f"{text.strip()!r} is not an angle")
    return value * unit
