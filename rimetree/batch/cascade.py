"""Values of fixed families during a run, each computed as seldom as its dependencies allow: once per run, or once per tile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import DataError
from ..graph.node import Family
from ..plan.depends import Depends
from ..plan.flags import changed
from ..plan.lower import Source
from ..plan.program import FlagProgram, Program
from ..plan.template import Template
from ..ring import Plane, Tensor
from .grid import BareGroup, coordinates, sizes, slots_per_time
from .state import State

UVW = "UVW"


class Cascade:
    """Evaluates `targets` (families without solvable parameters) on tiles.

    Two stages: what depends on neither time, data nor parameters is computed once; the rest once per tile. Programs are compiled once
    per tile shape; `baseline` (data family -> baseline of each member) says which data to take. With `flags`, the flags of the
    targets are computed instead of their values.
    """

    def __init__(
        self,
        families: Mapping[int, Family],
        targets: Iterable[int],
        templates: Mapping[int, Template],
        state: State,
        baseline: Mapping[int, np.ndarray],
        flags: bool = False,
    ) -> None:
        self.flags = flags
        self.families, self.state, self.templates, self.baseline = families, state, templates, baseline
        self.targets = sorted(set(targets))
        self.known = known = state.known(families)
        self.below = below = families_below(families, self.targets)
        self.heeding = flags or any(families[n].cls.sees_flags for n in changed(families) & below)
        """Whether flags of data are part of what is computed."""
        self.once = [] if self.heeding else _frontier(families, below, self.targets, known)
        self.given = [n for n in sorted(below) if families[n].cls.role in ("parm", "data")]
        self.slots = 0
        """Slots of the longest tile: shorter ones are padded to it, so that one compiled program serves all."""
        self.sizes = sizes(state.group)
        self._constant: dict[int, Tensor] = {}
        self._program: Program | None = None

    def tensors(self, tile: Any) -> dict[int, Tensor]:
        """Tensors of the targets on one tile: planes (n or 1, nslot or 1, nchan or 1)."""
        if not self.targets:
            return {}
        if self._program is None:
            self._prepare(tile)
        assert self._program is not None
        pad = max(self.slots - (tile.stop - tile.start), 0)
        given: dict[int, Sequence[Any]] = {n: _open(self._constant[n]) for n in self.once}
        for number in (n for n in self.given if n in self._program.valued):
            if self.families[number].cls.role == "parm":
                arrays: Sequence[np.ndarray] = (self._parm(number, tile),)
            else:
                arrays = self.data(number, tile)
            given[number] = [_padded(a, pad, 1) for a in arrays]
        centres = coordinates(self.state.group, slice(tile.start, tile.stop))
        centres["time"] = _padded(centres["time"], pad, 0)
        data = (n for n in self.given if n in self._program.flagged and self.families[n].cls.role == "data")
        flags = {n: [_padded(a, pad, 1) for a in self.data_flags(n, tile)] for n in data}
        tensors = self._program(centres, given, flags)
        group = self.state.group
        if isinstance(group, BareGroup):
            return {
                n: t.map(lambda e: Plane(group.folded(e.array)) if isinstance(e, Plane) else e)
                for n, t in tensors.items()
            }
        if not pad:
            return tensors
        return {n: t.map(lambda e: _cut(e, tile.stop - tile.start)) for n, t in tensors.items()}

    def boundary(self, tensors: Mapping[int, Tensor], number: int) -> list[np.ndarray]:
        """The planes of a family that solvable factors use. Where data are missing or not finite they are 1, not NaN, which
        would spoil the sums of other data: the equations themselves leave such data out (`tables.Planes.terms`)."""
        arrays = [np.asarray(e.array) for e in tensors[number].elements if isinstance(e, Plane)]
        return [np.where(np.isfinite(a), a, 1.0) for a in arrays] if self.known[number].data else arrays

    def _parm(self, number: int, tile: Any) -> np.ndarray:
        """The values of a Parm family on the axes on which trees are evaluated."""
        plane = self.state.plane(number, slice(tile.start, tile.stop, slots_per_time(self.state.group)))
        return plane.reshape(*plane.shape, *(1,) * (len(self.sizes) - 2))

    def _prepare(self, tile: Any) -> None:
        if self.once:
            families = self._part(self.once)
            self._constant = Program(families, self.once, {}, self.sizes)(
                coordinates(self.state.group, slice(tile.start, tile.stop))
            )
        templates = {n: _template(t) for n, t in self._constant.items()}
        templates.update({n: self.templates[n] for n in self.given})
        families = self._part(self.targets, frozenset(self.once))
        kind, dims = (FlagProgram, {n: t[0] for n, t in self.templates.items()}) if self.flags else (Program, {})
        self._program = kind(families, self.targets, templates, self.sizes, dims)

    def _part(self, targets: Sequence[int], leaves: frozenset[int] = frozenset()) -> Mapping[int, Family]:
        """The families that `targets` need, with all members (members are not thinned: numbering is that of the run)."""
        needed = families_below(self.families, targets, leaves)
        return {n: replace(self.families[n], kids=()) if n in leaves else self.families[n] for n in sorted(needed)}

    def data(self, number: int, tile: Any) -> Sequence[np.ndarray]:
        """Elements of a data family as planes (n, nslot, nchan), NaN where there is no row."""
        family, baseline = self.families[number], self.baseline[number]
        rows = tile.rows[baseline]
        column = family.options["column"]
        if column == UVW:
            return tuple(tile.uvw[baseline][..., i, None] for i in range(3))
        corr = correlations(tile.group.corrs)
        there = [e for e, number_ in enumerate(self.templates[number][1]) if number_ is None]
        return tuple(_gathered(tile.columns[column], rows, corr[e], np.nan) for e in there)

    def data_flags(self, number: int, tile: Any) -> Sequence[np.ndarray]:
        """Flags of a data family, int32 (n, nslot, nchan) per element; of what is computed, and UVW, only missing rows'."""
        family, rows = self.families[number], tile.rows[self.baseline[number]]
        bit = np.int32(family.options.get("flag_bit", 1))
        there = [e for e, number_ in enumerate(self.templates[number][1]) if number_ is None]
        if family.options["column"] == UVW or "sky" in family.options:
            return ((rows < 0)[..., None] * bit,) * len(there)
        corr, bad = correlations(tile.group.corrs), bad_data(family.options, tile)
        return tuple(_gathered(bad, rows, corr[e], True) * bit for e in there)


def _gathered(column: np.ndarray, rows: np.ndarray, corr: int, absent: Any) -> np.ndarray:
    """One correlation of a column (nrow, nchan, ncorr) at `rows` (n, nslot), `absent` where there is no row."""
    found: np.ndarray = column[rows, :, corr]
    missing = rows < 0
    if missing.any():
        found[missing] = absent
    return found


def bad_data(options: Mapping[str, Any], tile: Any) -> np.ndarray:
    """(nrow, nchan, ncorr) where the data are bad that a data node with these options reads."""
    if not options.get("flagsets"):
        return np.asarray(tile.flags != 0)
    mask = np.int32(sum({tile.flagsets[name] for name in options["flagsets"]}))
    return np.asarray(((tile.words & mask) != 0) | ~(tile.weights > 0))


def planes_of(tensors: Mapping[int, Tensor], sources: Iterable[Source]) -> dict[Source, Any]:
    """The arrays (n or 1, nslot or 1, nchan or 1) of some elements, wherever they are; compile-time numbers become arrays of one value."""
    result = {}
    for family, element in sources:
        value = tensors[family].elements[element]
        result[family, element] = value.array if isinstance(value, Plane) else np.full((1, 1, 1), value)
    return result


def correlations(corrs: Sequence[str]) -> tuple[int, ...]:
    """Place of XX XY YX YY (or RR RL LR LL) in the data, -1 where absent; a single Stokes I stands for both parallel hands' model."""
    for basis in (("XX", "XY", "YX", "YY"), ("RR", "RL", "LR", "LL")):
        if any(c in basis for c in corrs):
            return tuple(corrs.index(c) if c in corrs else -1 for c in basis)
    if {"Q", "U", "V"} & set(corrs):
        raise DataError(
            f"the data are Stokes {' '.join(corrs)}, and what is solved and applied is of receptors; convert them to XX XY YX YY"
        )
    if "I" in corrs:
        return (corrs.index("I"), -1, -1, -1)
    return (-1, -1, -1, -1)


def _padded(array: np.ndarray, pad: int, axis: int) -> np.ndarray:
    """Repeat the last slot."""
    if not pad or (axis and array.shape[axis] == 1):
        return array
    return np.pad(array, [(0, pad if i == axis else 0) for i in range(array.ndim)], mode="edge")


def _cut(element: Any, slots: int) -> Any:
    return Plane(element.array[:, :slots]) if isinstance(element, Plane) else element


def _open(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(e.array for e in tensor.elements if isinstance(e, Plane))


def _template(tensor: Tensor) -> Template:
    return tensor.dims, tuple(None if isinstance(e, Plane) else e for e in tensor.elements)


def families_below(
    families: Mapping[int, Family], targets: Iterable[int], leaves: frozenset[int] = frozenset()
) -> set[int]:
    """Families on which the targets depend, themselves included; below `leaves` nothing is needed."""
    found = set(targets)
    for number in sorted(families, reverse=True):
        if number in found and number not in leaves:
            found.update(kid.family for kid in families[number].kids)
    return found


def _frontier(
    families: Mapping[int, Family], below: set[int], targets: Sequence[int], known: Mapping[int, Depends]
) -> list[int]:
    """Families valid for the whole run that are targets themselves or are used by families that are not."""
    lasting = {n for n in below if known[n].stage() == "run" and families[n].cls.role not in ("constant", "coordinate")}
    used = {kid.family for n in below - lasting for kid in families[n].kids} | set(targets)
    return sorted(lasting & used)
