"""Atoms: the solvable factors of lowered equations, with exact derivatives with respect to the few parameters each
depends on.

An atom is one element of one member of a family (a gain, `exp(2 pi i tau nu)`, an inverse). Its derivatives are
carried forward parameter by parameter with `jax.jvp` on collapsed axes: a member depends on a handful of *local
slots*, whatever the number of parameters of the solve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..funklets import Funklet
from ..graph.node import Family
from ..ring import Plane, Tensor
from .apply import apply, blaming
from .lookup import read
from .program import _gather, fill
from .template import Template

Fixed = Mapping[str, Any]
"""What is held fixed: "values" (family -> arrays (n, St, Jt, Sf, Jf)), "coordinates" (axis -> array in SI units), and "reads", added
here (family -> what it reads, see `Function.reads`)."""

Prepared = Mapping[int, Sequence[Any]]
"""Parm family -> what its funklet prepared for cells (St, Jt, Sf, Jf)."""


@dataclass(frozen=True, slots=True, eq=False)
class Unknowns:
    """Where the real unknowns of each Parm family lie: offset + (member * coefficients + coefficient) * parts +
    part."""

    offsets: Mapping[int, int]
    shapes: Mapping[int, tuple[int, int, int]]
    """Family -> (members, time coefficients, frequency coefficients)."""
    parts: Mapping[int, int]
    """Family -> 2 where complex, 1 where real."""
    count: int

    @classmethod
    def of(cls, shapes: Mapping[int, tuple[int, int, int]], is_complex: Mapping[int, bool]) -> Unknowns:
        """Lay out the families one after another."""
        offsets, parts, total = {}, {}, 0
        for number, shape in shapes.items():
            offsets[number], parts[number] = total, 2 if is_complex[number] else 1
            total += int(np.prod(shape)) * parts[number]
        return cls(offsets, dict(shapes), parts, total)

    def index(self, family: int, member: Any, coefficient: Any, part: int) -> Any:
        """Number of an unknown (or of many: `member` may be an array)."""
        _, ct, cf = self.shapes[family]
        return self.offsets[family] + (member * (ct * cf) + coefficient) * self.parts[family] + part

    def values(self, theta: np.ndarray, family: int) -> np.ndarray:
        """Coefficients (members, ct, cf, S) of a family, complex where it is complex, from unknowns (count, S)."""
        shape, parts, start = self.shapes[family], self.parts[family], self.offsets[family]
        block = theta[start : start + int(np.prod(shape)) * parts].reshape(*shape, parts, theta.shape[-1])
        return block[..., 0, :] + 1j * block[..., 1, :] if parts == 2 else block[..., 0, :]

    def store(self, theta: np.ndarray, family: int, values: np.ndarray) -> None:
        """The inverse of `values`, in place."""
        shape, parts, start = self.shapes[family], self.parts[family], self.offsets[family]
        block = theta[start : start + int(np.prod(shape)) * parts].reshape(*shape, parts, theta.shape[-1])
        block[..., 0, :] = values.real
        if parts == 2:
            block[..., 1, :] = values.imag


@dataclass(frozen=True, slots=True)
class Slot:
    """One Parm that each member of an atom family depends on: family and, per member, which Parm."""

    parm: int
    index: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Argument:
    """What an atom is differentiated by, with the functions by which its derivative is multiplied: one per coefficient."""

    parm: int
    value: Any
    basis: Sequence[Any]


class Atoms:
    """Values and derivatives of all atoms of a solve.

    `wanted`: (family, element) pairs. `position(family, element)` is the number of the atom of member 0; members
    follow.
    """

    def __init__(
        self,
        families: Mapping[int, Family],
        templates: Mapping[int, Template],
        solvable: set[int],
        wanted: Sequence[tuple[int, int]],
        unknowns: Unknowns,
        funklets: Mapping[int, Funklet],
    ) -> None:
        self.families, self.templates, self.solvable, self.unknowns = families, templates, solvable, unknowns
        self.funklets = funklets
        self.elements: dict[int, list[int]] = {}
        for family, element in sorted(set(wanted)):
            self.elements.setdefault(family, []).append(element)
        self.slots = {family: self._find_slots(family) for family in self.elements}
        self.boundary = tuple(sorted({b for family in self.elements for b in self._find_boundary(family)}))
        self._starts: dict[tuple[int, int], int] = {}
        total = 0
        for family, elements in self.elements.items():
            for element in elements:
                self._starts[family, element] = total
                total += families[family].size
        self.count = total
        self.parameters = self._parameter_table()
        self.linear = all(self.plain(family) for family in self.elements)
        """Whether every atom is a Parm that is linear in its coefficients: numpy does then (see `plainly`)."""
        self.reads = read({n: families[n] for n in solvable})
        """What families of solvable factors read, held here so that it is read once."""
        self._compiled: Callable[..., tuple[Any, Any]] | None = None
        self._bent: Callable[..., Any] | None = None

    def plain(self, family: int) -> bool:
        """Whether a family of atoms is a Parm that is linear in its coefficients."""
        return family in self.unknowns.shapes and self.funklets[family].linear

    def evaluate(self, coefs: Mapping[int, Any], fixed: Fixed, cells: Prepared) -> tuple[Any, Any]:
        """Atoms (count, J, S) and derivatives (count, parameters, J, S); S = St * Sf intervals of J = Jt * Jf joint
        cells, for which the funklets of the Parms are prepared."""
        if self._compiled is None:
            from .xla import jax

            self._compiled = jax.jit(self._evaluate)
        return self._compiled(coefs, self.complete(fixed), cells)

    def curvature(self, coefs: Mapping[int, Any], fixed: Fixed, cells: Prepared) -> Any:
        """Second derivatives of all atoms, (count, parameters, parameters, J, S), zero where an atom has fewer."""
        if self._bent is None:
            from .xla import jax

            self._bent = jax.jit(self._curvature)
        return self._bent(coefs, self.complete(fixed), cells)

    def position(self, family: int, element: int) -> int:
        """Number of the atom of member 0."""
        return self._starts[family, element]

    def complete(self, fixed: Fixed) -> Fixed:
        """What is held fixed with its "reads", unless they are there."""
        return {"reads": {n: dict(arrays) for n, arrays in self.reads.items()}, **fixed}

    # Structure.

    def _walk(self, family: int) -> tuple[list[tuple[int, np.ndarray]], set[int]]:
        """Distinct (Parm family, path) below a family, and the fixed families that its solvable ones use."""
        found: dict[tuple[int, bytes], tuple[int, np.ndarray]] = {}
        fixed: set[int] = set()
        start = np.arange(self.families[family].size, dtype=np.int32)
        stack = [(family, start)]
        seen: set[tuple[int, bytes]] = set()
        while stack:
            number, path = stack.pop()
            key = (number, path.tobytes())
            if key in seen:
                continue
            seen.add(key)
            if number not in self.solvable:
                fixed.add(number)
            elif self.families[number].cls.role == "parm":
                found[key] = (number, path)
            else:
                for kid in reversed(self.families[number].kids):
                    index = np.asarray(kid.index)[path]
                    stack.extend((kid.family, column) for column in np.atleast_2d(index.T)[::-1])
        return list(found.values()), fixed

    def _find_slots(self, family: int) -> list[Slot]:
        return [Slot(number, path) for number, path in self._walk(family)[0]]

    def _find_boundary(self, family: int) -> set[int]:
        return self._walk(family)[1]

    def _parameter_table(self) -> np.ndarray:
        """(atoms, most parameters of an atom): numbers of the unknowns, -1 where there is none."""
        rows: list[np.ndarray] = []
        for family, elements in self.elements.items():
            columns = []
            for slot in self.slots[family]:
                _, ct, cf = self.unknowns.shapes[slot.parm]
                parts = np.arange(ct * cf * self.unknowns.parts[slot.parm])  # of each coefficient, one after another
                columns.append(self.unknowns.index(slot.parm, slot.index, 0, 0)[:, None] + parts)
            rows.extend([np.concatenate(columns, 1)] * len(elements))
        width = max((r.shape[1] for r in rows), default=0)
        table = np.full((self.count, width), -1, np.int32)
        start = 0
        for r in rows:
            table[start : start + len(r), : r.shape[1]] = r
            start += len(r)
        return table

    # Traced.

    def _slices(self, coefs: Mapping[int, Any]) -> dict[int, list[Any]]:
        """Coefficients (n, i, j, St, Sf) one by one, in the order of the unknowns, as (n, St, 1, Sf, 1)."""
        result = {}
        for number, c in coefs.items():
            n, ct, cf, st, sf = c.shape
            single = c.reshape(n, ct * cf, st, 1, sf, 1)
            result[number] = [single[:, k] for k in range(ct * cf)]
        return result

    def _value(self, parm: int, coefs: Sequence[Any], cells: Prepared) -> Any:
        """The value (n, St, Jt|1, Sf, Jf|1) of a Parm family."""
        with blaming(parm, self.families[parm].cls):
            return self.funklets[parm].combine(self.unknowns.shapes[parm][1:], coefs, cells[parm])

    def _arguments(self, family: int, coefs: Mapping[int, Any], cells: Prepared) -> list[Argument]:
        """What the atoms of a family are differentiated by: values of linear Parms, single coefficients of others."""
        single = self._slices({s.parm: coefs[s.parm] for s in self.slots[family]})
        result = []
        for s in self.slots[family]:
            if self.funklets[s.parm].constant(self.unknowns.shapes[s.parm][1:]):
                result.append(Argument(s.parm, single[s.parm][0][s.index], (1.0,)))
            elif self.funklets[s.parm].linear:
                result.append(Argument(s.parm, self._value(s.parm, single[s.parm], cells)[s.index], cells[s.parm]))
            else:
                result.extend(Argument(s.parm, c[s.index], (1.0,)) for c in single[s.parm])
        return result

    def values(self, coefs: Mapping[int, Any], fixed: Fixed, cells: Prepared) -> dict[int, tuple[Any, ...]]:
        """The elements of each family, (n, grid...) each, with extent 1 where they do not vary; may be traced."""
        return {
            family: self._function(family, fixed, cells)(*(a.value for a in self._arguments(family, coefs, cells)))
            for family in self.elements
        }

    def plainly(self, coefs: Mapping[int, np.ndarray], cells: Prepared, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """`evaluate` where `linear`, without compiling anything; `shape` is (St, Jt, Sf, Jf)."""
        single = self._slices(coefs)
        values = [_flat(np, self._value(n, single[n], cells), self.families[n].size, shape) for n in self.elements]
        width = self.parameters.shape[1]
        tangents = []
        for n in self.elements:
            own = np.zeros((self.families[n].size, width, *values[0].shape[1:]), complex)
            parts = self.unknowns.parts[n]
            for c, basis in enumerate(cells[n]):
                for part in range(parts):
                    own[:, c * parts + part] = _flat(np, basis * 1j**part, 1, shape)
            tangents.append(own)
        return np.concatenate(values), np.concatenate(tangents)

    def _evaluate(self, coefs: Mapping[int, Any], fixed: Fixed, cells: Prepared) -> tuple[Any, Any]:
        from .xla import jax, jnp

        shape = (*np.shape(fixed["coordinates"]["time"])[:2], *np.shape(fixed["coordinates"]["freq"])[2:])

        values: list[Any] = []
        tangents: list[Any] = []
        for family, elements in self.elements.items():
            n = self.families[family].size
            known = self._arguments(family, coefs, cells)
            arguments = tuple(a.value for a in known)
            function = self._function(family, fixed, cells)
            columns: list[list[Any]] = [[] for _ in elements]
            for k, argument in enumerate(known):
                parts = []
                for direction in (1.0, 1j)[: self.unknowns.parts[argument.parm]]:
                    seed = [jnp.full_like(a, direction if i == k else 0) for i, a in enumerate(arguments)]
                    parts.append(jax.jvp(function, arguments, tuple(seed))[1])
                for e, column in enumerate(columns):  # in the order of the parameter table: coefficient, part
                    column.extend(_flat(jnp, part[e] * b, n, shape) for b in argument.basis for part in parts)
            values.extend(_flat(jnp, value, n, shape) for value in function(*arguments))
            tangents.extend(jnp.stack(column, 1) for column in columns)
        width = self.parameters.shape[1]
        padded = [jnp.pad(t, ((0, 0), (0, width - t.shape[1]), (0, 0), (0, 0))) for t in tangents]
        return jnp.concatenate(values), jnp.concatenate(padded)

    def _curvature(self, coefs: Mapping[int, Any], fixed: Fixed, cells: Prepared) -> Any:
        from .xla import jnp

        shape = (*np.shape(fixed["coordinates"]["time"])[:2], *np.shape(fixed["coordinates"]["freq"])[2:])
        width = self.parameters.shape[1]
        found: list[Any] = []
        for family, elements in self.elements.items():
            known = self._arguments(family, coefs, cells)
            arguments = tuple(a.value for a in known)
            function = self._function(family, fixed, cells)
            columns = [
                (k, part, basis)
                for k, argument in enumerate(known)
                for basis in argument.basis
                for part in range(self.unknowns.parts[argument.parm])
            ]
            second = {
                (k, part, l, other): _twice(function, arguments, (k, 1j**part), (l, 1j**other))
                for k, part, l, other in {(k, p, l, q) for k, p, _ in columns for l, q, _ in columns}
            }
            for e in range(len(elements)):
                rows = [
                    [
                        _flat(jnp, second[k, p, l, q][e] * b * c, self.families[family].size, shape)
                        for l, q, c in columns
                    ]
                    for k, p, b in columns
                ]
                block = jnp.stack([jnp.stack(row, 1) for row in rows], 1)
                short = (0, width - len(columns))
                found.append(jnp.pad(block, ((0, 0), short, short, (0, 0), (0, 0))))
        return jnp.concatenate(found)

    def _function(self, family: int, fixed: Fixed, cells: Prepared) -> Callable[..., tuple[Any, ...]]:
        """The wanted elements of a family as a function of its `_arguments`, each (n, grid...)."""
        keys: dict[tuple[int, bytes], slice] = {}
        start = 0
        for s in self.slots[family]:
            count = 1 if self.funklets[s.parm].linear else math.prod(self.unknowns.shapes[s.parm][1:])
            keys[s.parm, s.index.tobytes()] = slice(start, start := start + count)

        def function(*arguments: Any) -> tuple[Any, ...]:
            known: dict[tuple[int, bytes], Tensor] = {}

            def value(number: int, path: np.ndarray) -> Tensor:
                key = (number, path.tobytes())
                if key not in known:
                    known[key] = compute(number, path)
                return known[key]

            def compute(number: int, path: np.ndarray) -> Tensor:
                if number not in self.solvable:
                    tensor = fill(self.templates[number], map(Plane, fixed["values"][number]))
                    return _gather(tensor, path)
                node = self.families[number]
                if node.cls.role == "parm":
                    own = arguments[keys[number, path.tobytes()]]
                    return Tensor.scalar(
                        Plane(own[0] if self.funklets[number].linear else self._value(number, own, cells))
                    )
                kids: list[Tensor] = []
                for kid in node.kids:
                    index = np.asarray(kid.index)[path]
                    kids.extend(value(kid.family, column) for column in np.atleast_2d(index.T))
                members = {
                    k: np.asarray(v, float)[path].reshape(-1, 1, 1, 1, 1)
                    for k, v in node.members.items()
                    if k in node.cls.options and node.cls.role == "compute"
                }
                members |= fixed.get("reads", self.reads).get(number, {})
                if node.cls.role == "lookup":
                    chosen = {key: [given[i] for i in path] for key, given in node.members.items()}
                    node = replace(node, size=len(path), members=chosen)
                with blaming(number, node.cls):
                    return apply(node, kids, members, fixed["coordinates"])

            tensor = value(family, np.arange(self.families[family].size, dtype=np.int32))
            return tuple(_array(tensor.elements[e]) for e in self.elements[family])

        return function


def _twice(function: Callable[..., Any], arguments: tuple[Any, ...], first: Any, second: Any) -> Any:
    """Second derivative of a function along (argument, direction) and another such pair."""
    from .xla import jax, jnp

    def seed(pair: tuple[int, complex]) -> tuple[Any, ...]:
        number, direction = pair
        real = direction if direction.imag else direction.real
        return tuple(jnp.full_like(a, real if i == number else 0) for i, a in enumerate(arguments))

    once = lambda *given: jax.jvp(function, given, seed(first))[1]  # noqa: E731
    return jax.jvp(once, arguments, seed(second))[1]


def _array(element: Any) -> Any:
    return element.array if isinstance(element, Plane) else np.full((1, 1, 1, 1, 1), element)


def _flat(xp: Any, array: Any, n: int, shape: tuple[int, ...]) -> Any:
    """(n, J, S) from what broadcasts to (n, St, Jt, Sf, Jf), of numpy or JAX."""
    st, jt, sf, jf = shape
    full = xp.broadcast_to(array, (n, *shape)).astype(xp.complex128)
    return full.transpose(0, 2, 4, 1, 3).reshape(n, jt * jf, st * sf)
