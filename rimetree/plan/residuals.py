"""Residuals of equations on a piece of data as a function of all unknowns, compiled, with products by their derivatives.

What makes fits without a normal matrix possible: `product` is J^T J v by forward and reverse differentiation (Baydin et al. 2018, JMLR
18, 153) of the families as they stand, whatever they are, and `sample` gives the diagonal blocks of J^T J from random signs: the
gradient of unit noise has J^T J as its covariance (Martens, Sutskever & Swersky 2012, ICML). It is taken where the values of Parms
enter, cell by cell, so that few samples see many independent cells.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..funklets import Funklet
from ..graph.node import Family
from ..ring import Plane, Tensor
from .apply import blaming
from .program import Program, fill

Piece = Mapping[str, Any]
"""What is known of some slots and channels: "coordinates" (a pair), "values" and whatever else `Program.inputs` gives; per equation
family and element "weights" (rows, T, F), 0 where there is no datum, and the "part" of each row; per Parm family "place", the interval
of every slot and channel, and "basis", what its funklet prepared; "cells", those of slots and channels."""


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """Where the unknowns of one Parm family are: `start`, then (members, coefficients, parts, intervals in time, in frequency)."""

    start: int
    shape: tuple[int, int, int, int, int]
    coefficients: tuple[int, int]
    funklet: Funklet

    @property
    def single(self) -> bool:
        """Whether the value is the only coefficient."""
        return self.funklet.constant(self.coefficients)

    @property
    def inputs(self) -> int:
        """Planes by which its value is differentiated: the value itself, or the coefficients of what is not linear in them."""
        return 1 if self.funklet.linear else self.shape[1]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Blocks of J^T J that have the same Parm families: per family, which members each block has (blocks, m)."""

    members: Sequence[tuple[int, np.ndarray]]
    diagonal: bool = False
    """Whether only the diagonals are wanted."""

    def unknowns(self, solved: Mapping[int, Solved]) -> np.ndarray:
        """Numbers in x (size, blocks, intervals in time, in frequency): family by family, those of each member, by part and then
        coefficient where linear in these, else by coefficient and then part, as `Residuals.sample` has them."""
        found = []
        for n, member in self.members:
            own = solved[n]
            number = own.start + np.arange(np.prod(own.shape)).reshape(own.shape)[member]  # (B, m, K, parts, st, sf)
            if own.funklet.linear:
                number = number.swapaxes(2, 3)
            found.append(np.moveaxis(number.reshape(len(member), -1, *own.shape[3:]), 1, 0))
        return np.concatenate(found)


class Residuals:
    """Equations as functions of the unknowns x (count,): root of weight times residual, real and imaginary parts.

    `equations`: per family its rows, its elements, and which of these are real; `parts`, `cells`: how many parts of equations, and
    cells of both axes, chi2 is kept apart for. All arguments `piece` have the same shapes, so that everything compiles once.
    """

    def __init__(
        self,
        program: Program,
        equations: Mapping[int, tuple[np.ndarray, Sequence[int], Sequence[bool]]],
        solved: Mapping[int, Solved],
        parts: int,
        cells: tuple[int, int],
        groups: Sequence[Group],
    ) -> None:
        self.program, self.solved, self.parts, self.cells = program, solved, parts, cells
        self.equations, self.groups = equations, groups

    @cached_property
    def value(self) -> Callable[[Any, Piece], Any]:
        """chi2 (parts, cells)."""
        return _compiled(lambda x, piece: self._chi2(piece, self._residual(x, piece)))

    @cached_property
    def count(self) -> Callable[[Piece], Any]:
        """Real data (parts, cells)."""

        def count(piece: Piece) -> Any:
            made = {}
            for n, (_, _, real) in self.equations.items():
                pairs = zip(piece["weights"][n], real, strict=True)
                made[n] = [((w > 0) * (1.0 if alone else 2.0))[None] ** 0.5 for w, alone in pairs]
            return self._chi2(piece, made)

        return _compiled(count)

    @cached_property
    def slopes(self) -> Callable[[Any, Piece], tuple[Any, Any]]:
        """chi2 (parts, cells), and half its gradient."""

        def slopes(x: Any, piece: Piece) -> tuple[Any, Any]:
            from .xla import jax

            r, back = jax.vjp(lambda v: self._residual(v, piece), x)
            return self._chi2(piece, r), back(r)[0]

        return _compiled(slopes)

    @cached_property
    def product(self) -> Callable[[Any, Piece, Any], Any]:
        """J^T J v."""

        def product(x: Any, piece: Piece, v: Any) -> Any:
            from .xla import jax

            _, push = jax.linearize(lambda u: self._residual(u, piece), x)
            return jax.linear_transpose(push, x)(push(v))[0]

        return _compiled(product)

    @cached_property
    def finite(self) -> Callable[[Any, Piece], dict[int, list[Any]]]:
        """Where residuals are finite, per equation family and element (rows, T, F)."""

        def finite(x: Any, piece: Piece) -> dict[int, list[Any]]:
            from .xla import jnp

            made = {n: self._elements(tensor, n, piece) for n, tensor in self._tensors(x, piece, None).items()}
            return {n: [jnp.isfinite(r) for r in rows] for n, rows in made.items()}

        return _compiled(finite)

    def unfit(self, x: Any, piece: Piece) -> tuple[int, int] | None:
        """Family and member of the first node, children first, whose value is not finite there."""
        moving = [
            n for n in dependent(self.program.families, list(self.solved), self.program.targets) if n not in self.solved
        ]
        every = Program(self.program.families, sorted(moving), self.program.templates)
        found = every._trace(traced({**piece, "values": self._values(x, piece, None)}))
        for n in sorted(moving):
            for array in found[n]:
                wrong = ~np.isfinite(np.asarray(array)).reshape(len(array), -1).all(1)
                if wrong.any():
                    return n, int(np.argmax(wrong)) if len(wrong) == self.program.families[n].size else 0
        return None

    @cached_property
    def sample(self) -> Callable[[Any, Piece, Any], list[Any]]:
        """A function of x, piece and a random key that gives a sample of the blocks of each group, (size, size, blocks, intervals in
        time, in frequency), or (size, blocks, ...) of a diagonal one, with those of `Group.unknowns`."""
        return _compiled(self._sample)

    # What follows is traced.

    def _tensors(self, x: Any, piece: Piece, eps: Mapping[int, Sequence[Any]] | None) -> dict[int, Tensor]:
        found = self.program._trace(traced({**piece, "values": self._values(x, piece, eps)}))
        return {n: fill(self.program.outputs[n], map(Plane, found[n])) for n in self.program.targets}

    def _values(self, x: Any, piece: Piece, eps: Mapping[int, Sequence[Any]] | None) -> dict[int, tuple[Any, ...]]:
        """Those of the piece, and of the Parms."""
        planes = {n: (self._plane(n, own, x, piece, eps[n] if eps else None),) for n, own in self.solved.items()}
        return {**piece["values"], **planes}

    def _plane(self, n: int, own: Solved, x: Any, piece: Piece, eps: Sequence[Any] | None) -> Any:
        """The values (members, T or 1, F or 1) of a Parm family; `eps` is added to what it is differentiated by."""
        from .xla import jnp

        members, count, parts, st, sf = own.shape
        c = x[own.start : own.start + int(np.prod(own.shape))].reshape(own.shape)
        c = c[:, :, 0] + 1j * c[:, :, 1] if parts == 2 else c[:, :, 0]
        time, freq = piece["place"][n]
        if st > 1:
            c = c[:, :, time]
        if sf > 1:
            c = c[..., freq]
        basis = piece["basis"][n]
        if own.funklet.linear:
            if own.single:
                value = c[:, 0]
            elif st == sf == 1:
                value = jnp.einsum("nk,ktf->ntf", c[..., 0, 0], basis)
            else:
                value = (c * basis).sum(1)
            return value if eps is None else value + eps[0]
        planes = [c[:, k] if eps is None else c[:, k] + eps[k] for k in range(count)]
        shaped = [p[:, :, None, :, None] for p in planes]
        with blaming(n, self.program.families[n].cls):
            value = own.funklet.combine(own.coefficients, shaped, basis)
        return value.reshape(members, *np.broadcast_shapes(*(p.shape[1:] for p in planes), _extent(value)))

    def _elements(self, tensor: Tensor, n: int, piece: Piece) -> list[Any]:
        from .xla import jnp

        rows, names, _ = self.equations[n]
        found = []
        for e, weight in zip(names, piece["weights"][n], strict=True):
            element = tensor.elements[e]
            array = element.array if isinstance(element, Plane) else jnp.full((1, 1, 1), element)
            found.append(jnp.broadcast_to(array[rows] if array.shape[0] > 1 else array, weight.shape))
        return found

    def _residual(self, x: Any, piece: Piece, eps: Mapping[int, Sequence[Any]] | None = None) -> dict[int, list[Any]]:
        """Per equation family, its elements (2 or 1, rows, T, F)."""
        from .xla import jnp

        result = {}
        for n, tensor in self._tensors(x, piece, eps).items():
            pairs = zip(self._elements(tensor, n, piece), piece["weights"][n], strict=True)
            made = []
            for r, weight in pairs:
                both = jnp.stack([r.real, r.imag]) if jnp.iscomplexobj(r) else r[None]
                made.append(jnp.where(weight > 0, both * jnp.sqrt(weight.astype(float)), 0.0))
            result[n] = made
        return result

    def _chi2(self, piece: Piece, residual: Mapping[int, Sequence[Any]]) -> Any:
        from .xla import jax, jnp

        total: Any = 0.0
        for n, elements in residual.items():
            for r, part in zip(elements, piece["part"][n], strict=True):
                total = total + jax.ops.segment_sum((r**2).sum(0), part, self.parts)
        (time, freq), (slots, channels) = piece["cells"], self.cells
        total = jax.ops.segment_sum(jnp.moveaxis(total, 1, 0), time, slots)  # not a product: NaN stays in its cell
        return jax.ops.segment_sum(jnp.moveaxis(total, 2, 0), freq, channels).transpose(2, 1, 0).reshape(self.parts, -1)

    def _sample(self, x: Any, piece: Piece, key: Any) -> list[Any]:
        from .xla import jax, jnp

        shape = (piece["coordinates"][0].shape[0], piece["coordinates"][1].shape[1])
        eps = {
            n: [jnp.zeros((own.shape[0], *shape), complex if own.shape[2] == 2 else float) for _ in range(own.inputs)]
            for n, own in self.solved.items()
        }
        r, back = jax.vjp(lambda e: self._residual(x, piece, e), eps)
        leaves, tree = jax.tree.flatten(r)
        keys = jax.random.split(key, len(leaves))
        signs = [jax.random.rademacher(k, leaf.shape, float) for k, leaf in zip(keys, leaves, strict=True)]
        (slope,) = back(jax.tree.unflatten(tree, signs))
        return [self._block(piece, slope, group) for group in self.groups]

    def _block(self, piece: Piece, slope: Mapping[int, Sequence[Any]], group: Group) -> Any:
        """Sums over cells of the products of all pairs of features, slope times basis, of each block."""
        from .xla import jax, jnp

        first = group.members[0][0]
        st, sf = self.solved[first].shape[3:]
        time, freq = piece["place"][first]
        found = [self._features(piece, slope[n], n, member) for n, member in group.members]
        if st == sf == 1 and not group.diagonal:
            return jnp.concatenate([jnp.concatenate([_pairs(a, b) for b in found], 1) for a in found])[..., None, None]
        flat = jnp.concatenate([(s[:, None] * b[:, None]).reshape(-1, *s.shape[1:]) for s, b in found])

        def summed(a: Any) -> Any:
            """(features, B, T, F) over the cells of each interval, (features, B, st, sf)."""
            a = jax.ops.segment_sum(jnp.moveaxis(a, 2, 0), time, st) if st > 1 else a.sum(2)[None]
            a = jax.ops.segment_sum(jnp.moveaxis(a, 3, 0), freq, sf) if sf > 1 else a.sum(3)[None]
            return jnp.moveaxis(a, (0, 1), (3, 2))

        return summed(flat**2) if group.diagonal else jax.lax.map(lambda a: summed(a * flat), flat)

    def _features(self, piece: Piece, slope: Sequence[Any], n: int, member: np.ndarray) -> tuple[Any, Any]:
        """Slopes (slopes of a block, blocks, T, F), and the functions (coefficients, T or 1, F or 1) that each is multiplied by."""
        from .xla import jnp

        own = self.solved[n]
        wide = jnp.stack([s[member] for s in slope], 2)  # (B, m, inputs, T, F)
        parts = jnp.stack([wide.real, -wide.imag], 3) if own.shape[2] == 2 else wide[:, :, :, None]
        basis = jnp.ones((1, 1, 1)) if own.single or not own.funklet.linear else piece["basis"][n]
        return jnp.moveaxis(parts.reshape(len(member), -1, *parts.shape[-2:]), 1, 0), basis


def _pairs(one: tuple[Any, Any], other: tuple[Any, Any]) -> Any:
    """Products of two sets of features, summed over all cells: (features of one, of the other, blocks)."""
    from .xla import jax, jnp

    (s, b), (r, c) = one, other
    axes = "".join(x for x, i in (("t", 1), ("f", 2)) if b.shape[i] > 1 or c.shape[i] > 1)
    both = jnp.einsum(f"ubtf,vbtf->uvb{axes}", s, r)
    both = both.reshape(*both.shape[:3], *(max(b.shape[i], c.shape[i]) for i in (1, 2)))
    found = jax.lax.map(lambda own: jnp.einsum("uvbtf,ltf->uvlb", both * own, c), b)  # (k, u, v, l, B)
    return jnp.moveaxis(found, 0, 1).reshape(len(s) * len(b), len(r) * len(c), -1)


def traced(piece: Piece) -> dict[str, Any]:
    """A piece as a Program takes it: coordinates by name, in the order of the axes."""
    return {**piece, "coordinates": OrderedDict(zip(("time", "freq"), piece["coordinates"], strict=True))}


def _extent(value: Any) -> tuple[int, int]:
    return value.shape[1], value.shape[3]


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from .xla import jax

    made: Callable[..., Any] = jax.jit(function)
    return made


def linear_basis(prepared: Sequence[Any]) -> Any:
    """(coefficients, T or 1, F or 1) from what a linear funklet prepares on cells (T, 1, F, 1)."""
    shape = np.broadcast_shapes(*(np.shape(b) for b in prepared))
    shape = shape if len(shape) == 4 else (1, 1, 1, 1)
    wide = np.stack([np.broadcast_to(np.asarray(b, float), shape) for b in prepared])
    return wide[:, :, 0, :, 0]


def dependent(families: Mapping[int, Family], parms: Sequence[int], targets: Sequence[int]) -> set[int]:
    """Families below the targets, these included, that depend on some of the Parm families."""
    found = set(parms)
    for number in sorted(families):
        if any(kid.family in found for kid in families[number].kids):
            found.add(number)
    below = set(targets)
    for number in sorted(families, reverse=True):
        if number in below:
            below.update(kid.family for kid in families[number].kids)
    return found & below
