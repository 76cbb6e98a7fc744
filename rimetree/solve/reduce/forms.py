"""How residuals are made of atoms: sums of products, as tables for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How the residuals of one element of one Condeq family are made of atoms (the same for all its members).

    A term is `coef * product of local factors` and belongs to a plane; `factor_atom` (members, local factors) says
    which atom each local factor is. `units` are the unknowns seen by the equation: (local factor, parameter of its
    atom, 2 where that and the next parameter are the real and imaginary part of a holomorphic one, else 1).
    """

    term_plane: np.ndarray
    term_coef: np.ndarray
    term_factor: np.ndarray
    term_partial: np.ndarray
    partial_plane: np.ndarray
    partial_factor: np.ndarray
    factor_conj: np.ndarray
    factor_atom: np.ndarray
    units: np.ndarray

    @property
    def planes(self) -> int:
        """How many phi there are."""
        return int(self.term_plane.max(initial=-1)) + 1

    def members(self, rows: np.ndarray) -> Form:
        """The same form for some members only."""
        return replace(self, factor_atom=self.factor_atom[rows])


def form(
    planes: np.ndarray, coefs: np.ndarray, factors: np.ndarray, conj: np.ndarray, atom: np.ndarray, units: np.ndarray
) -> Form:
    """A Form from its terms: plane (m,), coefficient (m,), local factors (m, most) padded with -1, and per factor
    conj, atoms."""
    pairs = sorted({(int(p), int(f)) for p, row in zip(planes, factors, strict=True) for f in row if f >= 0})
    number = {pair: i for i, pair in enumerate(pairs)}
    partial = np.full(factors.shape, -1, np.int32)
    for m, (p, row) in enumerate(zip(planes, factors, strict=True)):
        for k, f in enumerate(row):
            if f >= 0:
                partial[m, k] = number[int(p), int(f)]
    lists = np.array(pairs, np.int32).reshape(-1, 2)
    return Form(
        planes.astype(np.int32),
        coefs.astype(np.complex128),
        factors.astype(np.int32),
        partial,
        np.ascontiguousarray(lists[:, 0]),
        np.ascontiguousarray(lists[:, 1]),
        conj.astype(np.bool_),
        np.ascontiguousarray(atom, dtype=np.int32),
        np.ascontiguousarray(units, dtype=np.int32),
    )


class Tables(NamedTuple):
    """The forms of all equations of a problem, one after another; the rows of `first` say where those of each begin."""

    extent: np.ndarray
    """(equations, 4): members, rows, planes, joint cells."""
    first: np.ndarray
    """(equations + 1, 7): of terms, partial derivatives, local factors, units, `atom`, `unknown`, and vectors of
    data."""
    plane: np.ndarray
    coef: np.ndarray
    factor: np.ndarray
    partial: np.ndarray
    partial_plane: np.ndarray
    partial_factor: np.ndarray
    sign: np.ndarray
    """-1 where a local factor is conjugated."""
    unit: np.ndarray
    atom: np.ndarray
    """Per member and local factor."""
    unknown: np.ndarray
    """Per member and unit: the first unknown."""
    block: np.ndarray
    """Of each unknown."""
    order: np.ndarray
    starts: np.ndarray
    """Unknowns by block: order[starts[b]:starts[b+1]]."""


def tables(forms: Sequence[Form], extents: np.ndarray, atom_unknown: np.ndarray, blocks: np.ndarray) -> Tables:
    """Tables of forms with these extents (equations, 4); `atom_unknown` (atoms, parameters), `blocks` (unknowns,)."""
    rows, planes = extents[:, 1], extents[:, 2]
    vectors = 2 * (rows * (1 + planes) - rows * (rows - 1) // 2)  # y and the upper triangle of R, complex
    sizes = [
        [len(f.term_plane), len(f.partial_plane), len(f.factor_conj), len(f.units), f.factor_atom.size,
         len(f.factor_atom) * len(f.units), int(x[0] * x[3] * v)]
        for f, x, v in zip(forms, extents, vectors, strict=True)
    ]  # fmt: skip
    most = max((f.term_factor.shape[1] for f in forms), default=0)
    wide = [
        [np.pad(a, ((0, 0), (0, most - a.shape[1])), constant_values=-1) for a in (f.term_factor, f.term_partial)]
        for f in forms
    ]
    coef = _joined([f.term_coef for f in forms], complex)
    return Tables(
        np.ascontiguousarray(extents, np.int64),
        np.concatenate([np.zeros((1, 7), np.int64), np.cumsum(sizes, 0, np.int64).reshape(-1, 7)]),
        _joined([f.term_plane for f in forms], np.int32),
        np.stack([coef.real, coef.imag], -1),
        _joined([w[0] for w in wide], np.int32),
        _joined([w[1] for w in wide], np.int32),
        _joined([f.partial_plane for f in forms], np.int32),
        _joined([f.partial_factor for f in forms], np.int32),
        np.where(_joined([f.factor_conj for f in forms], bool), -1.0, 1.0),
        _joined([f.units for f in forms], np.int32),
        _joined([f.factor_atom.ravel() for f in forms], np.int32),
        _joined([atom_unknown[f.factor_atom[:, f.units[:, 0]], f.units[:, 1]].ravel() for f in forms], np.int32),
        np.ascontiguousarray(blocks, np.int32),
        np.argsort(blocks, kind="stable").astype(np.int64),
        np.concatenate([[0], np.cumsum(np.bincount(blocks))]).astype(np.int64),
    )


def _joined(parts: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(parts), dtype) if parts else np.empty(0, dtype)
