"""Atoms: the solvable factors of lowered equations, with exact derivatives with respect to the few parameters each
depends on.

An atom is one element of one member of a family (a gain, `exp(2 pi i tau nu)`, an inverse). Its derivatives are
carried forward parameter by parameter with `jax.jvp` on collapsed axes: a member depends on a handful of *local
slots*, whatever the number of parameters of the solve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.node import Family
from ..parms.funklet import powers
from ..ring import Plane, Tensor
from .apply import apply, blaming
from .program import _gather, fill
from .template import Template

Fixed = Mapping[str, Any]
"""What is held fixed: "values" (family -> arrays (n, St, Jt, Sf, Jf)) and "coordinates" (axis -> array in SI units)."""


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
    ) -> None:
        self.families, self.templates, self.solvable, self.unknowns = families, templates, solvable, unknowns
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
        self.linear = all(family in unknowns.shapes for family in self.elements)
        """Whether every atom is a Parm: its derivatives are constant, and numpy does (see `polynomials`)."""
        self._compiled: Callable[..., tuple[Any, Any]] | None = None
        self._bent: Callable[..., Any] | None = None

    def evaluate(self, coefs: Mapping[int, Any], fixed: Fixed, x: Any, y: Any) -> tuple[Any, Any]:
        """Atoms (count, J, S) and derivatives (count, parameters, J, S); S = St * Sf intervals of J = Jt * Jf joint
        cells. x, y: coordinates of polynomials, one for all Parms or one per family."""
        if self._compiled is None:
            from .xla import jax

            self._compiled = jax.jit(self._evaluate)
        return self._compiled(coefs, fixed, x, y)

    def curvature(self, coefs: Mapping[int, Any], fixed: Fixed, x: Any, y: Any) -> Any:
        """Second derivatives of all atoms, (count, parameters, parameters, J, S), zero where an atom has fewer."""
        if self._bent is None:
            from .xla import jax

            self._bent = jax.jit(self._curvature)
        return self._bent(coefs, fixed, x, y)

    def position(self, family: int, element: int) -> int:
        """Number of the atom of member 0."""
        return self._starts[family, element]

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
            columns = [
                self.unknowns.index(slot.parm, slot.index, c, part)
                for slot in self.slots[family]
                for c in range(self.unknowns.shapes[slot.parm][1] * self.unknowns.shapes[slot.parm][2])
                for part in range(self.unknowns.parts[slot.parm])
            ]
            rows.extend([np.stack(columns, 1)] * len(elements))
        width = max((r.shape[1] for r in rows), default=0)
        table = np.full((self.count, width), -1, np.int32)
        start = 0
        for r in rows:
            table[start : start + len(r), : r.shape[1]] = r
            start += len(r)
        return table

    # Traced.

    def _parm_values(self, coefs: Mapping[int, Any], x: Any, y: Any) -> dict[int, Any]:
        """Parm values (n, St, Jt|1, Sf, Jf|1) from coefficients (n, ct, cf, St, Sf)."""
        result = {}
        for number, c in coefs.items():
            n, ct, cf, st, sf = c.shape
            moved = c.transpose(0, 1, 2, 3, 4).reshape(n, ct, cf, st, 1, sf, 1)
            own_x, own_y = _own(x, number), _own(y, number)
            xs, ys = powers(own_x, ct) if ct > 1 else [1], powers(own_y, cf) if cf > 1 else [1]
            result[number] = sum(moved[:, i, j] * xs[i] * ys[j] for i in range(ct) for j in range(cf))
        return result

    def values(self, coefs: Mapping[int, Any], fixed: Fixed, x: Any, y: Any) -> dict[int, tuple[Any, ...]]:
        """The elements of each family, (n, grid...) each, with extent 1 where they do not vary; may be traced."""
        parms = self._parm_values(coefs, x, y)
        return {
            family: self._function(family, fixed)(*(parms[s.parm][s.index] for s in self.slots[family]))
            for family in self.elements
        }

    def polynomials(
        self, coefs: Mapping[int, np.ndarray], x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`evaluate` where `linear`, without compiling anything."""
        shape = (*np.shape(x)[:2], *np.shape(y)[2:])
        parms = self._parm_values(coefs, x, y)
        values = [_flat(np, parms[n], self.families[n].size, shape) for n in self.elements]
        width = self.parameters.shape[1]
        tangents = []
        for n in self.elements:
            own = np.zeros((self.families[n].size, width, *values[0].shape[1:]), complex)
            parts = self.unknowns.parts[n]
            for c, basis in enumerate(self._basis(n, x, y)):
                for part in range(parts):
                    own[:, c * parts + part] = _flat(np, basis * 1j**part, 1, shape)
            tangents.append(own)
        return np.concatenate(values), np.concatenate(tangents)

    def _evaluate(self, coefs: Mapping[int, Any], fixed: Fixed, x: Any, y: Any) -> tuple[Any, Any]:
        from .xla import jax, jnp

        parms = self._parm_values(coefs, x, y)
        shape = (*np.shape(fixed["coordinates"]["time"])[:2], *np.shape(fixed["coordinates"]["freq"])[2:])

        values: list[Any] = []
        tangents: list[Any] = []
        for family, elements in self.elements.items():
            n = self.families[family].size
            arguments = [parms[s.parm][s.index] for s in self.slots[family]]
            function = self._function(family, fixed)
            columns: list[list[Any]] = [[] for _ in elements]
            for k, slot in enumerate(self.slots[family]):
                basis = self._basis(slot.parm, x, y)
                for direction in (1.0, 1j)[: self.unknowns.parts[slot.parm]]:
                    seed = [jnp.full_like(a, direction if i == k else 0) for i, a in enumerate(arguments)]
                    _, out = jax.jvp(function, tuple(arguments), tuple(seed))
                    for e, tangent in enumerate(out):
                        columns[e].append([_flat(jnp, tangent * b, n, shape) for b in basis])
            values.extend(_flat(jnp, value, n, shape) for value in function(*arguments))
            tangents.extend(self._ordered(family, columns[e]) for e in range(len(elements)))
        width = self.parameters.shape[1]
        padded = [jnp.pad(t, ((0, 0), (0, width - t.shape[1]), (0, 0), (0, 0))) for t in tangents]
        return jnp.concatenate(values), jnp.concatenate(padded)

    def _curvature(self, coefs: Mapping[int, Any], fixed: Fixed, x: Any, y: Any) -> Any:
        from .xla import jnp

        parms = self._parm_values(coefs, x, y)
        shape = (*np.shape(fixed["coordinates"]["time"])[:2], *np.shape(fixed["coordinates"]["freq"])[2:])
        width = self.parameters.shape[1]
        found: list[Any] = []
        for family, elements in self.elements.items():
            arguments = tuple(parms[s.parm][s.index] for s in self.slots[family])
            function = self._function(family, fixed)
            columns = [
                (k, part, basis)
                for k, slot in enumerate(self.slots[family])
                for basis in self._basis(slot.parm, x, y)
                for part in range(self.unknowns.parts[slot.parm])
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

    def _ordered(self, family: int, columns: list[list[Any]]) -> Any:
        """Tangents in the order of the parameter table: slot, coefficient, part."""
        from .xla import jnp

        result: list[Any] = []
        at = 0
        for slot in self.slots[family]:
            parts = self.unknowns.parts[slot.parm]
            group = columns[at : at + parts]
            at += parts
            result.extend(group[part][c] for c in range(len(group[0])) for part in range(parts))
        return jnp.stack(result, 1)

    def _basis(self, parm: int, x: Any, y: Any) -> list[Any]:
        _, ct, cf = self.unknowns.shapes[parm]
        own_x, own_y = _own(x, parm), _own(y, parm)
        xs, ys = powers(own_x, ct) if ct > 1 else [1.0], powers(own_y, cf) if cf > 1 else [1.0]
        return [xs[i] * ys[j] for i in range(ct) for j in range(cf)]

    def _function(self, family: int, fixed: Fixed) -> Callable[..., tuple[Any, ...]]:
        """The wanted elements of a family as a function of the values of its slots, each (n, grid...)."""
        slots = self.slots[family]
        keys = {(s.parm, s.index.tobytes()): i for i, s in enumerate(slots)}

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
                    return Tensor.scalar(Plane(arguments[keys[number, path.tobytes()]]))
                kids: list[Tensor] = []
                for kid in node.kids:
                    index = np.asarray(kid.index)[path]
                    kids.extend(value(kid.family, column) for column in np.atleast_2d(index.T))
                members = {
                    k: np.asarray(v, float)[path].reshape(-1, 1, 1, 1, 1)
                    for k, v in node.members.items()
                    if k in node.cls.options and node.cls.role == "compute"
                }
                with blaming(number, node.cls):
                    return apply(node, kids, members, fixed["coordinates"])

            tensor = value(family, np.arange(self.families[family].size, dtype=np.int32))
            return tuple(_array(tensor.elements[e]) for e in self.elements[family])

        return function


def _own(coordinate: Any, parm: int) -> Any:
    return coordinate[parm] if isinstance(coordinate, Mapping) else coordinate


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
