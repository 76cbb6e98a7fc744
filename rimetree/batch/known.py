"""Bounds and priors of Parms: checks before any work, and the arrays that the solver takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..graph.node import Family
from ..parms.funklet import coefficients
from ..plan.atoms import Unknowns
from ..solve.single.bounds import Bounds, Constraints, Prior


def faults(family: Family) -> dict[int, str]:
    """Member of a Parm family -> what is wrong with its bounds or prior, beside its value."""
    found: dict[int, str] = {}
    start = coefficients(family)
    for member, bounds in _given(family, "bounds").items():
        shapes = {np.shape(b) for b in bounds}
        if np.iscomplexobj(start) and start[member].size > 1:
            found[member] = "bounds of a complex Parm hold for its amplitude: it must be one number, not a polynomial"
        elif np.iscomplexobj(start) and bounds[1] <= 0:
            found[member] = f"bounds hold for the amplitude of a complex Parm, which is never below {bounds[1]:g}"
        elif start[member].size > 1 and not shapes <= {start[member].shape}:
            found[member] = _shapes("bounds", start[member], max(shapes - {start[member].shape}, key=len))
        elif not _inside(bounds, start[member]):
            found[member] = f"its value {_text(start[member])} is outside its bounds {_pair(bounds)}"
    for member, (mean, sigma) in _given(family, "prior").items():
        shapes = {np.shape(mean), np.shape(sigma)}
        bounds = _given(family, "bounds").get(member)
        if np.iscomplexobj(mean) and not np.iscomplexobj(start):
            found[member] = (
                f"its prior is complex but it is real; start it from a complex value, {start[member].flat[0]}+0j"
            )
        elif start[member].size > 1 and not shapes <= {start[member].shape}:
            found[member] = _shapes("prior", start[member], max(shapes - {start[member].shape}, key=len))
        elif member not in found and bounds is not None and not _inside(bounds, np.asarray(mean)):
            found[member] = f"the mean of its prior, {_text(np.asarray(mean))}, is outside its bounds {_pair(bounds)}"
    return found


def modulus(family: Family) -> bool:
    """Whether any Parm of a family has bounds that hold for an amplitude."""
    return bounded(family) and np.iscomplexobj(coefficients(family))


def constraints(
    families: Mapping[int, Family], parms: Iterable[int], unknowns: Unknowns, fitted: np.ndarray, intervals: int
) -> Constraints | None:
    """Bounds and priors of the unknowns that are `fitted` (count,), the same in all intervals; None where there are none."""
    rows: list[tuple[int, bool, float, float]] = []
    mean, precision = np.zeros(unknowns.count), np.zeros(unknowns.count)
    for n in parms:
        _, ct, cf = unknowns.shapes[n]
        parts = unknowns.parts[n]
        for member, bounds in _given(families[n], "bounds").items():
            lower, upper = (np.broadcast_to(b, (ct, cf)).ravel() for b in bounds)
            for c in range(ct * cf):
                number = unknowns.index(n, member, c, 0)
                if fitted[number]:
                    rows.append((number, parts == 2, lower[c], upper[c]))
        for member, (centre, sigma) in _given(families[n], "prior").items():
            values = np.broadcast_to(centre, (ct, cf)).ravel()
            for part in range(parts):
                where = unknowns.index(n, member, np.arange(ct * cf), part)
                mean[where] = values.imag if part else values.real
                precision[where] = np.broadcast_to(1 / np.asarray(sigma, float) ** 2, (ct, cf)).ravel() * fitted[where]
    if not rows and not precision.any():
        return None
    nothing = Constraints.none(intervals)
    wide = [np.broadcast_to(a[:, None], (unknowns.count, intervals)) for a in (mean, precision)]
    unknown, modulus, lower, upper = (np.array([row[i] for row in rows]) for i in range(4))
    bounded = Bounds(unknown.astype(np.int64), modulus.astype(np.bool_), lower.astype(float), upper.astype(float))
    return Constraints(bounded if rows else nothing.bounds, Prior(*wide) if precision.any() else nothing.prior)


def tied(family: Family) -> bool:
    """Whether the solutions of a Parm family are tied to their neighbours."""
    return family.options.get("smooth") not in (None, (None, None))


def bounded(family: Family) -> bool:
    """Whether any Parm of a family has bounds."""
    return bool(_given(family, "bounds"))


def _given(family: Family, name: str) -> dict[int, Any]:
    """Member -> its bounds or prior, of those that have any."""
    given = family.members.get(name)
    known = {} if given is None else {i: v for i, v in enumerate(given) if v is not None}
    return {
        i: tuple(map(_column, v)) if np.shape(family.members["value"][i])[1:] == (1,) else v for i, v in known.items()
    }


def _column(value: Any) -> Any:
    """A list, for the coefficients of a function, as these are kept."""
    return np.reshape(value, (-1, 1)) if np.ndim(value) == 1 else value


def _inside(bounds: tuple[Any, Any], value: np.ndarray) -> bool:
    size = np.abs(value) if np.iscomplexobj(value) else value
    return bool(np.all((bounds[0] <= size) & (size <= bounds[1])))


def _shapes(name: str, value: np.ndarray, shape: tuple[int, ...]) -> str:
    wanted = f"{value.shape[0]} x {value.shape[1]}"
    had = " x ".join(map(str, shape)) or "one number"
    return f"its {name} must be [time][freq] lists like its value, {wanted} coefficients, not {had}"


def _text(value: np.ndarray) -> str:
    return f"{value.item():g}" if value.size == 1 else str(value.tolist())


def _pair(bounds: tuple[Any, Any]) -> str:
    return f"({', '.join(_text(np.asarray(b)) for b in bounds)})"
