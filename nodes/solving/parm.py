"""Parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rimetree.funklets import Composed, Funklet, funklet
from rimetree.graph import kinds
from rimetree.graph.node import NodeClass, option
from rimetree.graph.registry import node
from rimetree.nodes.data.constant import numeric
from rimetree.nodes.solving import known
from rimetree.quantity import HERTZ, POSITIVE, SECONDS, hertz, pattern, seconds

FUNKLETS = kinds.read_by_class(
    kinds.either(
        kinds.choice(("polynomial", "log-polynomial")), Funklet, words="a name, a function, or made by rt.funklets"
    )
)


def _by_axis(number: kinds.Kind, before: str, *time: kinds.Kind, words: str) -> kinds.Kind:
    """For (time, freq), or time alone: a number, or a text of `before` and a quantity."""
    slots, channels = (kinds.text(f"^{before}{pattern(units)}$") for units in (SECONDS, HERTZ))
    over = kinds.either(number, *time, slots, None), kinds.either(number, *time[1:], channels, None)
    return kinds.read_by_class(kinds.either(over[0], kinds.each(*over, words=""), words=words))


SOLINT = _by_axis(
    kinds.whole(1),
    "",
    kinds.choice(("scan",)),
    kinds.choice(("all",)),
    words='as 10, (10, None), ("30s", "4MHz") or "scan"',
)
SMOOTH = _by_axis(
    kinds.real(above=0), rf"\s*{POSITIVE}\s*/", words='as "0.1/60s", ("0.1/60s", "0.05/10MHz") or (None, "0.05/10MHz")'
)


@node
class Parm(NodeClass):
    """A parameter that a Solver may fit: a number, or a polynomial sum_ij value[i][j] t^i f^j in time and frequency.

    `funklet` says what the coefficients mean instead: "log-polynomial"; rt.funklets.Spline(time=8), of pieces or of their ends in
    s and Hz; rt.funklets.Composed(On(funklet, freq=(low, high)), ...), each on its domain; or any function(time, freq, c) written
    with jax.numpy. A number to start from then is a curve that is that number (a function: its only coefficient).
    `value` is what it starts from: a number, or [time][freq] coefficients ([[1, 2]] is 1 + 2 f). A real one stays real.
    `solint=(time, freq)` says over how much each solution holds: a number of slots or channels, "30s", "4MHz", "scan",
    or None or "all" for everything. One value alone is for time. (MeqTrees: Parm with polc funklets; solint: tiling.)

    `bounds=(lower, upper)` are kept at every step; those of a complex Parm hold for its amplitude. A value that ends
    at a bound has an error of 0. `prior=(mean, sigma)` is one more datum in every solution interval, sigma that of the real
    and of the imaginary part, as in the errors of a solution. With coefficients, both are lists like `value`.

    `smooth=(time, freq)` makes its solutions walk from one interval to the next, fitted jointly: "0.1/60s" is a random walk
    of rms 0.1 per root of 60 s between centres of intervals (|change|^2 for a complex Parm; each coefficient of a polynomial); a number
    is per root of 1 s or 1 Hz. It goes on across scans, never from one field or spectral window to another.
    """

    role = "parm"
    value = option(
        type=kinds.numbers(),
        help="starting value: number, or [time][freq] coefficients",
        per_member=True,
        required=True,
    )
    funklet = option(None, type=FUNKLETS, help="what the coefficients mean")
    bounds = option(
        None, type=known.BOUNDS, help="None in place of one: none; of the amplitude if complex", per_member=True
    )
    prior = option(None, type=known.PRIOR, help="mean and standard deviation, from before the data", per_member=True)
    solint = option((None, None), type=SOLINT, help="solution interval (time, freq)")
    smooth = option((None, None), type=SMOOTH, help="rms change between intervals (time, freq)")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        known_ = {"bounds": known.bounds(options["bounds"]), "prior": known.prior(options["prior"])}
        shape = funklet(options["funklet"])
        result = {
            **options,
            **known_,
            "funklet": options["funklet"] and shape,
            "solint": solution_interval(options["solint"]),
        }
        for axis, interval in zip(("time", "freq"), result["solint"], strict=True):
            if axis in shape.whole() and interval is not None:
                raise ValueError(
                    f"its funklet has ends of its own in {axis}: leave solint in {axis} at None, not {interval!r}"
                )
        result["smooth"] = random_walk(options["smooth"])
        if options["value"] is not None:
            result["value"] = starting(shape, options["value"])
        return result

    @classmethod
    def family_key(cls, options: Mapping[str, Any]) -> Any:
        """Number of coefficients, and whether they are complex."""
        value = options["value"]
        return np.shape(value), np.iscomplexobj(value)


def starting(shape: Funklet, given: Any) -> Any:
    """The coefficients of a starting value: a number, or an array (i, j). Raises ValueError."""
    pieces = isinstance(shape, Composed) and isinstance(given, (list, tuple))
    value = numeric(
        "value", shape.starting([numeric("value", v) for v in given] if pieces else numeric("value", given))
    )
    if not np.isfinite(value).all():
        raise ValueError(f"value must be finite, not {given!r}")
    return value


def solution_interval(solint: Any) -> tuple[int | str | None, int | str | None]:
    """`(time, freq)`, each a number of slots or channels, a text with unit, "scan" (time only), or None for all."""
    if not isinstance(solint, (list, tuple)):
        solint = (solint, None)
    if len(solint) != 2:
        raise ValueError(f"solint must be one value for time, or two for (time, freq), not {solint!r}")
    return _interval("time", "30s", seconds, solint[0]), _interval("freq", "4MHz", hertz, solint[1])


def _interval(axis: str, example: str, convert: Callable[[str], float], value: Any) -> int | str | None:
    if value is None or value == "all" or (axis == "time" and value == "scan"):
        return None if value != "scan" else "scan"
    try:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        if isinstance(value, str) and convert(value) > 0:
            return value.strip()
    except ValueError:
        pass
    words = "slots" if axis == "time" else "channels"
    scan = ', "scan"' if axis == "time" else ""
    raise ValueError(
        f'solint in {axis} must be a number of {words}, a text like "{example}"{scan}, or None, not {value!r}'
    )


def random_walk(smooth: Any) -> tuple[float | None, float | None]:
    """`(time, freq)`: rms change per root of 1 s and of 1 Hz, from numbers or texts such as "0.1/60s"; None where there is no tie."""
    if not isinstance(smooth, (list, tuple)):
        smooth = (smooth, None)
    if len(smooth) != 2:
        raise ValueError(f"smooth must be one value for time, or two for (time, freq), not {smooth!r}")
    return _rms("time", "0.1/60s", seconds, smooth[0]), _rms("freq", "0.05/10MHz", hertz, smooth[1])


def _rms(axis: str, example: str, convert: Callable[[str], float], value: Any) -> float | None:
    if value is None:
        return None
    try:
        change, over = value, 1.0
        if isinstance(value, str):
            rms, _, step = value.partition("/")
            change, over = float(rms), convert(step)
        if not isinstance(change, bool) and 0 < change < float("inf") and 0 < over < float("inf"):
            return float(change / over**0.5)
    except (ValueError, TypeError):
        pass
    text = f'smooth in {axis} must be an rms change over a step such as "{example}" (or a number: over 1 {"s" if axis == "time" else "Hz"})'
    raise ValueError(f"{text}, or None, not {value!r}")
