"""Evaluate families on a grid: one traced JAX function for all targets, batched over members, collapsed along constant axes."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.node import Family, Kid, Lookup, Ring
from ..ring import Plane, Tensor
from .apply import apply, blaming, centres
from .depends import Depends, depends
from .flags import as_tensor, flags_of, gathered, leaf_flags, needs
from .lookup import looked_up, lookup_template, read
from .template import NodeFailure, Template, open_template

WIDE = 1 << 22
"""Numbers in one element beyond which a summed family is evaluated term by term instead of all at once."""

LITTLE = 1 << 21
"""Numbers up to which a program of sums and products is not worth compiling."""

UNLOADED = 8 * LITTLE
"""The same where JAX would have to be loaded first."""

Inputs = dict[str, Any]


class Program:
    """Families compiled to one jitted function.

    `targets` are the families wanted; `given` families come from outside as Tensors of the stated template (Parm values, data,
    results of an earlier stage). `cells` maps each grid axis to its number of cells and is used only to decide which sums are too
    wide to hold all their terms at once. One Program serves all tiles of one shape: index arrays and constants are arguments.
    """

    wants_flags = False
    """Whether it computes the flags of its targets, not their values (see `FlagProgram`)."""

    def __init__(
        self,
        families: Mapping[int, Family],
        targets: Sequence[int],
        given: Mapping[int, Template] | None = None,
        cells: Mapping[str, int] | None = None,
        dims: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.families = families
        self.targets = tuple(targets)
        self.dims = dims or {}
        """Shapes of families of which only the flags are wanted, where known."""
        self.templates: dict[int, Template] = dict(given or {})
        self.outputs: dict[int, Template] = {}
        self._constants: dict[int, tuple[np.ndarray, ...]] = {}
        self._reads: dict[int, Mapping[str, Any]] = {}
        for number, family in families.items():
            if family.cls.role == "constant" and number not in self.templates:
                self.templates[number], self._constants[number] = constant(family)
        self._lookups = [
            n for n, f in families.items() if issubclass(f.cls, Lookup) and not f.kids and n not in self.templates
        ]
        self.templates.update({n: lookup_template(families[n]) for n in self._lookups})
        values, flags = ((), self.targets) if self.wants_flags else (self.targets, ())
        self.valued, self.flagged = needs(families, self.templates, values, flags, self.dims)
        self._identity = {
            (number, place): _is_identity(kid.index, families[kid.family].size)
            for number, family in families.items()
            for place, kid in enumerate(family.kids)
        }
        known = depends(families)
        self._lazy = self._find_lazy(known, cells or {})
        self._run: Callable[[Inputs], Any] | None = self._trace if self._is_plain(known, cells or {}) else None

    def __call__(
        self,
        coordinates: Mapping[str, Any],
        given: Mapping[int, Sequence[Any]] | None = None,
        flags: Mapping[int, Sequence[Any]] | None = None,
    ) -> dict[int, Tensor]:
        """Values of the targets. `given`: per family the arrays of the elements that its template leaves open; `flags`: int32
        arrays of these for data, of the families in `flagged` (left out: nothing is flagged)."""
        if self._run is None:
            from .xla import jax

            self._run = jax.jit(self._trace)
        arrays = self._run(self.inputs(coordinates, given, flags))
        return {number: fill(self.outputs[number], map(Plane, arrays[number])) for number in self.targets}

    def inputs(
        self,
        coordinates: Mapping[str, Any],
        given: Mapping[int, Sequence[Any]] | None = None,
        flags: Mapping[int, Sequence[Any]] | None = None,
    ) -> Inputs:
        """Everything that the traced function takes, as one pytree."""
        rank = len(coordinates)
        values = {
            n: tuple(spread(n, a, self.families[n].own_axes, coordinates) for a in v)
            for n, v in self._constants.items()
        }
        values.update({number: looked_up(number, self.families[number], coordinates) for number in self._lookups})
        values.update({number: tuple(arrays) for number, arrays in (given or {}).items()})
        index = {
            number: tuple(np.asarray(kid.index) for kid in family.kids) for number, family in self.families.items()
        }
        members = {
            number: {
                key: np.asarray(value, float).reshape((family.size,) + (1,) * rank)
                for key, value in family.members.items()
                if key in family.cls.options and _numeric(value)
            }
            for number, family in self.families.items()
            if family.cls.role == "compute" and family.members
        }
        self._reads = read(
            {n: f for n, f in self.families.items() if n not in self.templates}
        )  # held here, so that it is not read again for the next tile
        bits = {number: tuple(arrays) for number, arrays in (flags or {}).items()}
        # JAX sorts the keys of a dict; the order here is that of the axes.
        coordinates = OrderedDict(coordinates)
        return {
            "coordinates": coordinates, "values": values, "index": index, "members": members, "flags": bits,
            "reads": {number: dict(arrays) for number, arrays in self._reads.items()},
        }  # fmt: skip

    def _is_plain(self, known: Mapping[int, Depends], cells: Mapping[str, int]) -> bool:
        """Whether numpy is done before XLA has compiled: little work, and nothing but + - *."""
        work = 0
        for number, family in self.families.items():
            if number not in self.templates and family.cls.role == "compute" and not issubclass(family.cls, Ring):
                return False
            axes = cells if known[number].parms or known[number].data else known[number].axes
            work += family.size * int(np.prod([cells.get(axis, 1) for axis in axes], initial=1))
        return work <= (LITTLE if "jax" in sys.modules else UNLOADED) and bool(cells)

    def _find_lazy(self, known: Mapping[int, Depends], cells: Mapping[str, int]) -> frozenset[int]:
        """Families never held whole: wide, and used only as the terms of a sum (or by another such family)."""
        users: dict[int, list[tuple[int, Kid]]] = {number: [] for number in self.families}
        for number, family in self.families.items():
            for kid in family.kids:
                users[kid.family].append((number, kid))
        lazy: set[int] = set()
        for number in sorted(self.families, reverse=True):
            family = self.families[number]
            size = family.size * int(np.prod([cells.get(axis, 1) for axis in known[number].axes], initial=1))
            if size <= WIDE or number in self.targets or number in self.templates or not family.kids:
                continue
            if number in self.flagged or family.cls.sees_flags or family.cls.role == "lookup":
                continue
            if all(user in lazy or _terms(self.families[user], kid) > 1 for user, kid in users[number]):
                lazy.add(number)
        return frozenset(lazy)

    # What follows runs while tracing.

    def _trace(self, inputs: Inputs) -> dict[int, tuple[Any, ...]]:
        trace = _Trace(self, inputs)
        trace.run()
        result = {}
        for number in self.targets:
            tensor = as_tensor(trace.flags[number]) if self.wants_flags else trace.values[number]
            open_ = tuple(e.array for e in tensor.elements if isinstance(e, Plane))
            self.outputs[number] = (
                tensor.dims,
                tuple(None if isinstance(e, Plane) else e for e in tensor.elements),
            )
            result[number] = open_
        return result


class FlagProgram(Program):
    """Computes the flags of its targets instead of their values: int32 Planes, or the number 0 where nothing is flagged."""

    wants_flags = True


class _Trace:
    """One pass over the families while JAX traces: values, and flags where wanted, by family, each computed once."""

    def __init__(self, program: Program, inputs: Inputs) -> None:
        self.program = program
        self.inputs = inputs
        self.values: dict[int, Tensor] = {}
        self.flags: dict[int, Tensor] = {}

    def run(self) -> None:
        """All members of all families that are needed and held whole; children have lower numbers."""
        program = self.program
        for number in sorted((program.valued | program.flagged) - program._lazy):
            if number in program.valued:
                self.values[number] = self._apply(number, None)
            if number in program.flagged:
                self.flags[number] = self._flags(number)

    def at(self, number: int, rows: Any) -> Tensor:
        """The members `rows` (a traced index array) of a family; lazy families are computed for these members only."""
        return self._apply(number, rows) if number in self.program._lazy else _gather(self.values[number], rows)

    def _apply(self, number: int, rows: Any) -> Tensor:
        program = self.program
        if number in program.templates:
            return fill(program.templates[number], map(Plane, self.inputs["values"][number]))
        family = program.families[number]
        if family.cls.role == "coordinate":
            with blaming(number, family.cls):
                return Tensor.scalar(Plane(centres(family.own_axes[0], self.inputs["coordinates"])[None]))
        if family.cls.role in ("parm", "data"):
            raise NodeFailure(number, "has no value here: data are read in a run on a Measurement Set")
        kids = [self._kid(number, place, kid, rows) for place, kid in enumerate(family.kids)]
        members = self.inputs["members"].get(number, {})
        if rows is not None:
            members = {key: value[rows] for key, value in members.items()}
        members = {**members, **self.inputs["reads"].get(number, {})}
        flags = self._kid_flags(number) if family.cls.sees_flags else ()
        with blaming(number, family.cls):
            return apply(family, kids, members, self.inputs["coordinates"], flags)

    def _flags(self, number: int) -> Tensor:
        program, family = self.program, self.program.families[number]

        def dims() -> tuple[int, ...]:
            return self.values[number].dims if number in self.values else program.dims[number]

        def values() -> list[Tensor]:
            return [self._kid(number, place, kid, None) for place, kid in enumerate(family.kids)]

        if not family.kids:
            template = program.templates.get(number) or open_template(dims())
            return leaf_flags(family, template, self.inputs["flags"].get(number, ()))
        members = self.inputs["members"].get(number, {})
        with blaming(number, family.cls):
            return flags_of(family, dims, self._kid_flags(number), values, members, self.inputs["coordinates"])

    def _kid_flags(self, number: int) -> list[Tensor]:
        """Flags of all children, one Tensor each."""
        family, found = self.program.families[number], []
        for place, kid in enumerate(family.kids):
            index, below = self.inputs["index"][number][place], self.flags[kid.family]
            several = _terms(family, kid) > 1
            found.append(below.map(lambda e, i=index, s=several: gathered(e, i, s)))
        return found

    def _kid(self, number: int, place: int, kid: Kid, rows: Any) -> Tensor:
        program = self.program
        index = self.inputs["index"][number][place]
        if rows is not None:
            index = index[rows]
        terms = _terms(program.families[number], kid)
        if terms > 1:
            return self._reduce(program.families[number], kid, index, terms)
        if index.ndim == 2:
            index = index[:, 0]
        if kid.family not in program._lazy and rows is None and program._identity[number, place]:
            return self.values[kid.family]
        return self.at(kid.family, index)

    def _reduce(self, family: Family, kid: Kid, index: Any, terms: int) -> Tensor:
        """Sum or product along the reduction axis: at once where the terms are held anyway, else one after another."""
        if kid.family not in self.program._lazy:
            tensor = _gather(self.values[kid.family], index)
            return tensor.map(lambda e: _reduced(e, family.cls.reduction, terms))
        first = self.at(kid.family, index[:, 0])
        combine = (lambda a, b: a + b) if family.cls.reduction == "add" else (lambda a, b: a * b)

        def step(j: Any, total: tuple[Any, ...]) -> tuple[Any, ...]:
            term = self.at(kid.family, index[:, j])
            return tuple(combine(t, e.array) for t, e in zip(total, _planes(term), strict=True))

        from .xla import jax

        total = jax.lax.fori_loop(1, terms, step, tuple(e.array for e in _planes(first)))
        numbers = {"add": lambda e: e * terms, "multiply": lambda e: e**terms}[family.cls.reduction]
        return fill(
            (first.dims, tuple(None if isinstance(e, Plane) else numbers(e) for e in first.elements)), map(Plane, total)
        )


def constant(family: Family) -> tuple[Template, tuple[np.ndarray, ...]]:
    """Template and open arrays (n, its own axes) of a Constant family: elements equal everywhere are numbers."""
    values = np.asarray(list(family.members["value"]))
    grid = values.shape[values.ndim - len(family.own_axes) :]
    dims = values.shape[1 : values.ndim - len(grid)]
    columns = np.moveaxis(values.reshape(len(values), -1, *grid), 1, 0)
    numbers = tuple(c.flat[0].item() if (c == c.flat[0]).all() else None for c in columns)
    arrays = tuple(column for column, number in zip(columns, numbers, strict=True) if number is None)
    return (dims, numbers), arrays


def spread(number: int, array: np.ndarray, axes: Sequence[str], coordinates: Mapping[str, Any]) -> np.ndarray:
    """An array (n, axes) on the axes of the grid. Raises NodeFailure for the family `number` where it does not fit."""
    grid = list(coordinates)
    for axis, extent in zip(axes, array.shape[1:], strict=True):
        if axis not in grid:
            raise NodeFailure(number, f"has values along {axis!r}, an axis that the cells do not have")
        cells = coordinates[axis].shape[grid.index(axis)]
        if extent not in (1, cells):
            raise NodeFailure(number, f"has {extent} values along {axis!r}, where the cells are {cells}")
    order = sorted(range(len(axes)), key=lambda i: grid.index(axes[i]))
    extents = {axes[i]: array.shape[1 + i] for i in order}
    return array.transpose(0, *(1 + i for i in order)).reshape(len(array), *(extents.get(name, 1) for name in grid))


def fill(template: Template, planes: Iterable[Plane]) -> Tensor:
    """The Tensor of a template with its open elements filled in order."""
    source = iter(planes)
    dims, numbers = template
    return Tensor(dims, tuple(next(source) if number is None else number for number in numbers))


def _planes(tensor: Tensor) -> list[Plane]:
    return [e for e in tensor.elements if isinstance(e, Plane)]


def _gather(tensor: Tensor, rows: Any) -> Tensor:
    def pick(element: Any) -> Any:
        if not isinstance(element, Plane):
            return element
        array = element.array
        if array.shape[0] > 1:
            return Plane(array[rows])
        return Plane(array.reshape((1,) * rows.ndim + array.shape[1:]))

    return tensor.map(pick)


def _reduced(element: Any, how: str, terms: int) -> Any:
    if not isinstance(element, Plane):
        return element * terms if how == "add" else element**terms
    array = element.array
    if array.shape[1] == 1:
        return Plane(array[:, 0] * terms if how == "add" else array[:, 0] ** terms)
    return Plane(array.sum(axis=1) if how == "add" else array.prod(axis=1))


def _terms(family: Family, kid: Kid) -> int:
    return int(kid.index.shape[1]) if kid.index.ndim == 2 and family.cls.reduction else 1


def _is_identity(index: np.ndarray, size: int) -> bool:
    flat = index[:, 0] if index.ndim == 2 and index.shape[1] == 1 else index
    return flat.ndim == 1 and flat.size == size and bool((flat == np.arange(size)).all())


def _numeric(values: Any) -> bool:
    try:
        return np.asarray(values).dtype.kind in "biuf"
    except ValueError:
        return False
