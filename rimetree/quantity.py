"""Quantities written with their unit: `"30s"`, `"2 min"`, `"4MHz"`, turned into SI numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0}
HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9, "THz": 1e12}
BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
POSITIVE = r"\+?(?=[0-9.]*[1-9])(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
"""A regular expression of positive numbers."""
_FORM = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]+)\s*")


def seconds(value: str | float) -> float:
    """Seconds of `"30s"`, `"2min"`, `"1h"`...; a number is taken as seconds. ValueError where it is not a time."""
    return _convert(value, SECONDS, "a time", "30s")


def hertz(value: str | float) -> float:
    """Hz of `"4MHz"`, `"250 kHz"`...; a number is taken as Hz. ValueError where it is not a frequency."""
    return _convert(value, HERTZ, "a frequency", "4MHz")


def memory(value: str | float) -> float:
    """Bytes of `"2GB"`, `"500 MB"`, `"1GiB"`; a number is taken as bytes. ValueError where it is neither, or not positive."""
    text = value if isinstance(value, str) and not value.strip().replace(".", "", 1).isdecimal() else float(value)
    size = _convert(text, BYTES, "an amount of memory", "2GB")
    if size <= 0:
        raise ValueError(f"expected an amount of memory such as '2GB', not {value!r}")
    return size


def pattern(units: Mapping[str, float]) -> str:
    """A regular expression, of Python and JavaScript, of positive quantities in these units."""
    names = ("".join(f"[{c.lower()}{c.upper()}]" for c in unit) for unit in units)
    return rf"\s*{POSITIVE}\s*(?:{'|'.join(names)})\s*"


def _convert(value: str | float, units: Mapping[str, float], what: str, example: str) -> float:
    number, scale = value, 1.0
    if isinstance(value, str):
        # "MHz" and "mhz" mean the same to everybody (mHz does not occur), so the case of a unit is not a fault.
        folded = {unit.lower(): factor for unit, factor in units.items()}
        found = _FORM.fullmatch(value)
        if not found or found[2].lower() not in folded:
            raise ValueError(f"expected {what} with its unit ({', '.join(units)}) such as {example!r}, not {value!r}")
        number, scale = float(found[1]), folded[found[2].lower()]
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise ValueError(f"expected {what}, for example {example!r}, not {value!r}")
    return float(number * scale)
