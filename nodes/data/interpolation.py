"""Evenly spaced pixels, and what is between them as a function of the coordinates that JAX traces and differentiates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import jax.numpy as jnp
import numpy as np

from rimetree.errors import RimetreeError

BEYOND = ("nan", "zero", "nearest")
"""What lies beyond the outermost pixels of an axis: NaN, zeros (reached over one pixel), or the value of the outermost pixel."""

SLACK = 1e-6
"""Of a pixel: so far outside, a coordinate still is that of the outermost pixel, rounded."""


class Pixels(dict[str, Any]):
    """Arguments of `interpolated` by name: `pixels`, `first` and `step` of each of its axes, and `blank` where any pixel is."""

    def __init__(self, pixels: np.ndarray, first: Any, step: Any) -> None:
        super().__init__(pixels=pixels, first=np.asarray(first, float), step=np.asarray(step, float))
        if np.isnan(pixels.min()):
            self["blank"] = np.ones(())


_known: WeakValueDictionary[Any, Pixels] = WeakValueDictionary()


def held(path: str, make: Callable[..., Pixels], *more: Any) -> Pixels:
    """`make(path, *more)`, made again only where the file has changed or no program holds it any longer. Raises ValueError."""
    file = Path(path)
    key = make, path, file.stat().st_mtime_ns if file.exists() else 0, *more
    found = _known.get(key)
    if found is None:
        try:
            found = make(path, *more)
        except RimetreeError as error:
            raise ValueError(str(error)) from error
        _known[key] = found
    return found


def interpolated(
    pixels: Any,
    first: Any,
    step: Any,
    at: Sequence[Any],
    beyond: Sequence[str],
    smooth: bool = False,
    blank: Any = None,
) -> Any:
    """The value at coordinates `at`, arrays that broadcast, one for each axis of `pixels`; pixel k is at first + k step.

    Linear along each axis, or `smooth`: cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153, equations 15 and 19), whose
    slopes are continuous. A coordinate that is NaN makes NaN; so does a pixel, where `blank` is given, whatever it enters.
    Raises ValueError where coordinates are complex.
    """
    if any(map(jnp.iscomplexobj, at)):
        raise ValueError("its coordinates are complex; give their Real parts, or what is meant")
    inside: Any = True
    axes = []
    for i, (x, edge) in enumerate(zip(at, beyond, strict=True)):
        place, last = (x - first[i]) / step[i], pixels.shape[i] - 1
        if edge == "nan":
            inside &= (place >= -SLACK) & (place <= last + SLACK)
        axes.append(_taps(place, last, edge == "zero", smooth and last > 1))
    flat = jnp.asarray(pixels).reshape(-1)

    def total(axis: int, start: Any) -> Any:
        """The sum over this axis and those within it; `start` is the number of the first pixel of what is within."""
        if axis == len(axes):
            return flat.at[start].get(mode="promise_in_bounds").astype(float)
        result: Any = 0.0
        for k, weight in axes[axis]:
            part = total(axis + 1, start * pixels.shape[axis] + k)
            if blank is not None:
                part = jnp.where((jnp.abs(weight) < SLACK) & jnp.isnan(part), 0.0, part)
            result += weight * part
        return result

    value = total(0, 0)
    return value if inside is True else jnp.where(inside, value, jnp.nan)


def _taps(place: Any, last: int, zero: bool, smooth: bool) -> list[tuple[Any, Any]]:
    """Numbers of the pixels around a place, and their weights."""
    place = jnp.clip(place, -3, last + 3) if zero else jnp.clip(place, 0, last)
    low = jnp.floor(place) if zero else jnp.clip(jnp.floor(place), 0, max(last - 1, 0))
    x = place - low
    low = low.astype(int)
    if not smooth:
        weights = {0: 1 - x, 1: x}
    else:
        weights = {
            -1: x * (-0.5 + x * (1 - 0.5 * x)),
            0: 1 + x**2 * (1.5 * x - 2.5),
            1: x * (0.5 + x * (2 - 1.5 * x)),
            2: x**2 * (0.5 * x - 0.5),
        }
    if zero:
        weights = {d: jnp.where((low + d >= 0) & (low + d <= last), w, 0.0) for d, w in weights.items()}
    elif smooth:  # a pixel outside is where the parabola through the three outermost ones has it
        for d, edge, inward in ((-1, 0, 1), (2, last - 1, -1)):
            ghost = jnp.where(low == edge, weights[d], 0.0)
            weights[d] -= ghost
            for steps, part in ((1, 3), (2, -3), (3, 1)):
                weights[d + inward * steps] += part * ghost
    return [(jnp.clip(low + d, 0, last), w) for d, w in weights.items()]
