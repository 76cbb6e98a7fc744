"""Words of the YAML: solution intervals, spectral windows with channels, names of solutions, values per step."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError, nearest
from ..io.selection import choose
from ..quantity import hertz, seconds

ALL = ("", "inf", "infinity", "full", "*", "all")


def time_interval(value: Any) -> int | str | None:
    """`inf`, `scan`, `5min`, `120s`, `30` (s), `1slot` as a solution interval of the engine. ConfigError otherwise."""
    return _interval(value, seconds, "s", "slot", "inf, scan, 5min, 120s, 1slot")


def freq_interval(value: Any) -> int | str | None:
    """`full`, `4MHz`, `250000` (Hz), `1chan` as a solution interval of the engine. ConfigError otherwise."""
    return _interval(value, hertz, "Hz", "chan", "full, 4MHz, 250kHz, 1chan")


def _interval(value: Any, convert: Any, unit: str, cell: str, examples: str) -> int | str | None:
    text = "" if value is None else str(value).strip()
    if text.lower() in ALL or (isinstance(value, float) and value == float("inf")):
        return None
    if unit == "s" and text.lower() == "scan":
        return "scan"
    found = re.fullmatch(rf"(\d+)\s*{cell}s?(?:nels?)?", text, re.IGNORECASE)
    if found and int(found[1]) > 0:
        return int(found[1])
    try:
        number = convert(
            re.sub(r"sec$", "s", re.sub(r"m$", "min", text)) if re.search("[A-Za-z]$", text) else float(text)
        )
    except ValueError:
        number = -1.0
    if number == 0 and unit == "s":
        return "scan"
    if not number > 0:
        raise ConfigError(f"expected one of {examples}, not {value!r}")
    return f"{number!r}{unit}"


def windows(spec: Any, valid: Sequence[Any], where: str = "the Measurement Set") -> list[tuple[int, np.ndarray | None]]:
    """Spectral windows of "0:10~20;30~40,1", "*", 3, "name" or a list, each with its channels (nchan,) or None for all.

    Channels are numbered from 0, both ends included; or given by frequency as "0:1.40~1.42GHz;1450~1460MHz": those whose
    centres are inside. `valid`: what has id, name and freq. ConfigError, naming `where` they are looked for, where there is none.
    """
    text = ",".join(map(str, spec)) if isinstance(spec, (list, tuple)) else "" if spec is None else str(spec).strip()
    if text in ("", "*"):
        return [(window.id, None) for window in valid]
    found: dict[int, np.ndarray | None] = {}
    freqs = {window.id: window.freq for window in valid}
    for part in text.split(","):
        name, mark, channels = part.strip().partition(":")
        ids = [w.id for w in valid] if name in ("", "*") else choose(name, valid, "spw", where)
        for number in ids:
            chosen = _channels(channels, freqs[number], f"spw {part.strip()!r}") if mark else None
            before = found.get(number)
            found[number] = chosen if before is None or chosen is None else before | chosen
    return sorted(found.items())


def _channels(text: str, freq: np.ndarray, where: str) -> np.ndarray:
    count = freq.size
    chosen = np.zeros(count, bool)
    for part in text.split(";"):
        first, mark, last = (word.strip() for word in part.partition("~"))
        if mark and last.lower().endswith("hz"):
            inside = _between(first, last, freq, where)
            if not inside.any():
                raise ConfigError(
                    f"{where}: no channel is in {part.strip()}; this window has {freq.min() / 1e6:.9g} to {freq.max() / 1e6:.9g} MHz",
                    "spw",
                )
            chosen |= inside
            continue
        if not first.isdecimal() or (mark and not last.isdecimal()):
            raise ConfigError(f"{where}: expected channels such as 10~20 or 0~9;20~29, not {part!r}", "spw")
        start, stop = int(first), int(last if mark else first)
        if not start <= stop < count:
            raise ConfigError(
                f"{where}: channels {part.strip()!r} are not in this window, which has 0~{count - 1}", "spw"
            )
        chosen[start : stop + 1] = True
    return chosen


def _between(first: str, last: str, freq: np.ndarray, where: str) -> np.ndarray:
    """Channels whose centres are in a range such as 1.40~1.42GHz; the first number may have a unit of its own."""
    unit = re.sub(r"^[\d.eE+-]+\s*", "", last)
    try:
        low, high = (hertz(word if word.lower().endswith("hz") else f"{word}{unit}") for word in (first, last))
    except ValueError as error:
        raise ConfigError(f"{where}: expected frequencies such as 1.40~1.42GHz, not {first}~{last}", "spw") from error
    return np.asarray((freq >= low) & (freq <= high))


def keys(kinds: Iterable[str]) -> list[str]:
    """K0, G0, G1, ...: a counter for each kind, in order. A user's term `module.Class` is called Class."""
    count: Counter[str] = Counter()
    names = []
    for kind in kinds:
        short = kind.rpartition(".")[2]
        names.append(f"{short}{count[short]}")
        count[short] += 1
    return names


def resolve(name: str, known: Sequence[str], where: str) -> str:
    """A key from a key or a bare kind, which means its first. ConfigError with the nearest where there is none in `where`."""
    if name in known:
        return name
    found = [key for key in known if key.rstrip("0123456789") == name]
    if not found:
        raise ConfigError(
            f"{where}: there are no solutions {name!r}{nearest(name, known)}; there are {', '.join(known) or 'none'}"
        )
    return found[0]


def per_step(value: Any, count: int) -> list[Any]:
    """A value per step: a list of as many as there are steps, or one for all. ValueError otherwise."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"has {len(value)} values, but jones has {count}; give one per term, or a single one for all")
    return value


def one_of(value: Any, valid: tuple[str, ...]) -> str:
    """A word out of some; `nearest_time` is an old name of `nearest`. ValueError otherwise."""
    word = str(value)
    word = "nearest" if word == "nearest_time" and word not in valid else word
    if word not in valid:
        raise ValueError(f"expected {', '.join(valid)}, not {value!r}{nearest(value, valid)}")
    return word


def names(value: Any, count: int) -> list[list[str] | None]:
    """Names per step: nothing, a name, a list of names (for all steps), or a list of lists (one per step)."""
    if value is None:
        return [None] * count
    if not isinstance(value, list):
        return [[_name(value)]] * count
    if not any(isinstance(item, list) for item in value):
        return [[_name(item) for item in value]] * count
    groups = [[_name(word) for word in (item if isinstance(item, list) else [item])] for item in value]
    if len(groups) == 1:
        return groups * count  # type: ignore[return-value]
    if len(groups) != count:
        raise ValueError(f"has {len(groups)} groups, but jones has {count}; give one group per term, or a single one")
    return list(groups)


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"expected a name, a number, or a list of them, not {value!r}")
    return str(value)


def scans(value: Any, count: int) -> list[Any]:
    """Scans per step: a number, a text or a flat list for all steps; a list of lists has one per step."""
    if not isinstance(value, list) or not any(isinstance(item, list) for item in value):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"has {len(value)} groups, but jones has {count}; give one group per term, or a flat list")
    return value


def combined(value: Any) -> bool:
    """Whether a step is solved for all spectral windows as one. ValueError where it is neither "spw" nor nothing."""
    if value in (None, "", "none", False):
        return False
    if value == "spw":
        return True
    raise ValueError(f"expected spw, or nothing, not {value!r}{nearest(value, ['spw'])}")


def width(convert: Any, value: Any, example: str) -> float:
    """Full width of a smoothing Gaussian in s or Hz, 0 for none. ValueError where it is neither."""
    if value is None or value == 0:
        return 0.0
    found = float(convert(value))
    if not found > 0:
        raise ValueError(f"expected a positive width such as {example}, not {value!r}")
    return found
