"""Tables for the kernels: from symbolic terms to planes of wide fixed factors and forms of narrow solvable ones.

`equations` serves Condeqs (phi times planes, with the constant part apart), `products` serves Sinks (every element one plane).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph.node import Elementwise, Family, Reducing
from ..plan.atoms import Atoms
from ..plan.depends import depends
from ..plan.lower import Lowering, Source, Term, Token, columns, terms_of
from ..solve.reduce.forms import Form, form
from ..solve.reduce.sources import PlaneTable
from ..solve.reduce.sums import ElementTable


@dataclass(frozen=True, slots=True, eq=False)
class Visibilities:
    """Data families that are visibilities: `baseline` of each member, and the correlation of each 2x2 element (-1: not there).

    `data`: the baselines of all data families, UVW among them, which is evaluated like any node.
    """

    baseline: Mapping[int, np.ndarray]
    corr: tuple[int, ...]
    data: Mapping[int, np.ndarray]


@dataclass(slots=True)
class Planes:
    """Planes being collected for one family of equations: sums of monomials of fixed factors."""

    low: Lowering
    data: Visibilities
    sources: list[Source] = field(default_factory=list)
    monomials: list[list[tuple[complex, list[tuple[int, bool, np.ndarray]]]]] = field(default_factory=list)
    _known: dict[Any, int] = field(default_factory=dict)

    def product(self, tokens: Sequence[Token], term: Term, k: int) -> int:
        """The plane of a product of fixed factors, for one value of the reduction labels; equal products are one plane."""
        factors = [self._factor(token, term, k) for token in tokens]
        key = tuple((source, conj, index.tobytes()) for source, conj, index in factors)
        if key not in self._known:
            self._known[key] = self.sum([(1.0, factors)])
        return self._known[key]

    def terms(self, terms: Sequence[Term], inside: Sequence[tuple[Source, np.ndarray]] = ()) -> int:
        """The plane of a sum of terms without solvable factors.

        What is `inside` solvable factors is added, times 0: where it is not finite, neither is the plane, nor is a datum used.
        """
        return self.sum(
            [
                (t.coef, [self._factor(token, t, k) for token in t.fixed])
                for t in terms
                for k in range(int(np.prod(t.extent, dtype=int)))
            ]
            + [(0.0, [self._place(source, False, index)]) for source, index in inside]
        )

    def sum(self, monomials: list[tuple[complex, list[tuple[int, bool, np.ndarray]]]]) -> int:
        """A new plane."""
        self.monomials.append(monomials)
        return len(self.monomials) - 1

    def _factor(self, token: Token, term: Term, k: int) -> tuple[int, bool, np.ndarray]:
        family, element, path, conj = token
        return self._place((family, element), conj, columns(self.low, path, term.labels, term.extent)[:, k])

    def _place(self, source: Source, conj: bool, index: np.ndarray) -> tuple[int, bool, np.ndarray]:
        """An element of some members of a family, as the kernels find it."""
        if source[0] in self.data.baseline:
            index = self.data.baseline[source[0]][index]
        if source not in self.sources:
            self.sources.append(source)
        return self.sources.index(source), conj, index.astype(np.int32)

    def table(self, members: int) -> PlaneTable:
        """All planes as flat arrays for the kernels."""
        monomials = [m for plane in self.monomials for m in plane]
        factors = [f for _, fs in monomials for f in fs]
        return PlaneTable(
            mono_start=_starts([len(plane) for plane in self.monomials]),
            coef=np.array([c for c, _ in monomials], np.complex128),
            fac_start=_starts([len(fs) for _, fs in monomials]),
            fac_source=np.array([s for s, _, _ in factors], np.int32),
            fac_conj=np.array([c for _, c, _ in factors], np.bool_),
            fac_index=np.array([i for _, _, i in factors], np.int32).reshape(len(factors), members),
        )


@dataclass(frozen=True, slots=True, eq=False)
class EquationTable:
    """One Condeq family: planes, per residual element its form, and whether the element is real."""

    family: int
    planes: PlaneTable
    sources: list[Source]
    elements: ElementTable
    forms: list[Form]
    real: list[bool]
    names: list[int]
    """Which tensor elements the residuals are."""


def equations(
    low: Lowering, number: int, atoms: Atoms, visibilities: Visibilities, real: Mapping[Source, bool]
) -> EquationTable:
    """Tables of a Condeq family. Elements that no parameter enters, or whose correlation the data lack, are left out."""
    planes = Planes(low, visibilities)
    members = low.families[number].size
    forms, names, kinds, plane_lists, consts, data = [], [], [], [], [], []
    tensor = low.family(number)
    absent = _absent(low, number, visibilities) if tensor.dims == (2, 2) else set()
    for e, element in enumerate(tensor.elements):
        if e in absent:
            continue
        terms = terms_of(low, element)
        solvable = [t for t in terms if t.solvable]
        if not solvable:
            continue
        made, used = _form(low, solvable, planes, atoms)
        constant = [t for t in terms if not t.solvable]
        inside = _inside(low, solvable, visibilities)
        forms.append(made)
        names.append(e)
        plane_lists.append(used)
        consts.append(planes.terms(constant, inside) if constant or inside else -1)
        kinds.append(_is_real(terms, real))
        found = data_of(low, constant, visibilities) or data_of(low, solvable, visibilities)
        data.append(found or _within(low, inside, visibilities))
    table = ElementTable(
        planes=_padded(plane_lists),
        ntheta=np.array([len(p) for p in plane_lists], np.int32),
        const=np.array(consts, np.int32),
        data_start=_starts([len(d) for d in data]),
        data_corr=np.array([corr for d in data for corr, _ in d], np.int32),
        data_index=np.array([index for d in data for _, index in d], np.int32).reshape(-1, members),
    )
    return EquationTable(number, planes.table(members), planes.sources, table, forms, kinds, names)


def _absent(low: Lowering, number: int, visibilities: Visibilities) -> set[int]:
    """Elements that would equate a model with the zeros that stand for correlations which the data do not have."""
    below = {number}
    for n in sorted(low.families, reverse=True):
        if n in below:
            below.update(kid.family for kid in low.families[n].kids)
    return {e for e, corr in enumerate(visibilities.corr) if corr < 0} if below & set(visibilities.baseline) else set()


def products(
    low: Lowering, tensor_elements: Sequence[Any], visibilities: Visibilities, members: int
) -> tuple[PlaneTable, list[Source], list[int]]:
    """Planes of all elements of a Sink's child: the table, its sources, and per element its plane (-1: always zero)."""
    planes = Planes(low, visibilities)
    which = []
    for element in tensor_elements:
        terms = terms_of(low, element)
        which.append(planes.terms(terms) if terms else -1)
    return planes.table(members), planes.sources, which


def _form(low: Lowering, terms: Sequence[Term], planes: Planes, atoms: Atoms) -> tuple[Form, list[int]]:
    """The form of an element's solvable terms, and the planes that its phi multiply."""
    used: list[int] = []
    local: dict[Any, int] = {}
    atom_columns: list[np.ndarray] = []
    conj: list[bool] = []
    rows: list[tuple[int, complex, list[int]]] = []
    for term in terms:
        for k in range(int(np.prod(term.extent, dtype=int))):
            plane = planes.product(term.fixed, term, k)
            if plane not in used:
                used.append(plane)
            factors = []
            for family, element, path, flip in term.solvable:
                index = columns(low, path, term.labels, term.extent)[:, k]
                key = (family, element, flip, index.tobytes())
                if key not in local:
                    local[key] = len(atom_columns)
                    atom_columns.append(atoms.position(family, element) + index)
                    conj.append(flip)
                factors.append(local[key])
            rows.append((used.index(plane), term.coef, factors))
    atom = np.stack(atom_columns, 1)
    factor_rows = _padded([r[2] for r in rows])
    made = form(
        np.array([r[0] for r in rows]),
        np.array([r[1] for r in rows]),
        factor_rows,
        np.array(conj),
        atom,
        _units(local, atoms),
    )
    return made, used


def _units(local: Mapping[Any, int], atoms: Atoms) -> np.ndarray:
    """(factor, parameter, size) of the unknowns seen; both parts of a complex Parm used as it is are one unit of size 2."""
    rows = []
    for (family, _, _, _), factor in local.items():
        at = 0
        for slot in atoms.slots[family]:
            parts = atoms.unknowns.parts[slot.parm]
            _, ct, cf = atoms.unknowns.shapes[slot.parm]
            for _ in range(ct * cf):
                if parts == 2 and slot.parm == family and atoms.plain(family):
                    rows.append((factor, at, 2))
                else:
                    rows.extend((factor, at + part, 1) for part in range(parts))
                at += parts
    return np.array(rows, np.int32)


def _is_real(terms: Sequence[Term], real: Mapping[Source, bool]) -> bool:
    return all(t.coef.imag == 0 and all(real.get((f, e), False) for f, e, *_ in (*t.solvable, *t.fixed)) for t in terms)


def data_of(low: Lowering, terms: Sequence[Term], data: Visibilities) -> list[tuple[int, np.ndarray]]:
    """(correlation, baseline per member) of all data that these terms use."""
    found: dict[Any, tuple[int, np.ndarray]] = {}
    for term in terms:
        for family, element, path, _ in term.fixed:
            for k in range(int(np.prod(term.extent, dtype=int))):
                index = columns(low, path, term.labels, term.extent)[:, k]
                for corr, members in _leaves(low.families, family, element, index, data):
                    found[corr, members.tobytes()] = (corr, members)
    return list(found.values())


def _leaves(
    families: Mapping[int, Family], family: int, element: int, index: np.ndarray, data: Visibilities
) -> list[tuple[int, np.ndarray]]:
    """Data below an element, for their weights: what works element by element keeps it, others may use all elements of
    their children (-1); what gives flags only has no weight."""
    node = families[family]
    if family in data.baseline:
        corrs = [c for c in data.corr if c >= 0] if element < 0 else [data.corr[element]]
        return [(corr, data.baseline[family][index]) for corr in corrs]
    result = []
    marked = node.cls.flag_rule is not None
    kept = marked or issubclass(node.cls, Elementwise) or (issubclass(node.cls, Reducing) and not node.cls.locates)
    deeper = element if kept else -1
    for kid in node.kids[:1] if marked else node.kids:
        below = np.asarray(kid.index)[index]
        for column in np.atleast_2d(below.T):
            result.extend(_leaves(families, kid.family, deeper, column, data))
    return result


def _inside(low: Lowering, terms: Sequence[Term], data: Visibilities) -> list[tuple[Source, np.ndarray]]:
    """Fixed elements, and the member for each equation, that depend on data and are below solvable factors."""
    known = depends(low.families)
    found: dict[Any, tuple[Source, np.ndarray]] = {}
    stack = [
        (family, element, columns(low, path, term.labels, term.extent)[:, k])
        for term in terms
        for family, element, path, _ in term.solvable
        for k in range(int(np.prod(term.extent, dtype=int)))
        if known[family].data
    ]
    while stack:
        family, element, index = stack.pop()
        if not known[family].data:
            continue
        if family in low.solvable:
            deeper = element if issubclass(low.families[family].cls, Elementwise) else -1
            for kid in low.families[family].kids:
                stack.extend((kid.family, deeper, c) for c in np.atleast_2d(np.asarray(kid.index)[index].T))
            continue
        dims, numbers = low.templates[family]
        for e in range(len(numbers)) if element < 0 or not dims else [element]:
            if numbers[e] is None and not (family in data.baseline and data.corr[e] < 0):
                found[family, e, index.tobytes()] = ((family, e), index)
    return list(found.values())


def _within(
    low: Lowering, inside: Sequence[tuple[Source, np.ndarray]], data: Visibilities
) -> list[tuple[int, np.ndarray]]:
    """(correlation, baseline per member) of all data in what is inside solvable factors."""
    found: dict[Any, tuple[int, np.ndarray]] = {}
    for (family, element), index in inside:
        for corr, members in _leaves(low.families, family, element, index, data):
            found[corr, members.tobytes()] = (corr, members)
    return list(found.values())


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _padded(lists: Sequence[Sequence[int]]) -> np.ndarray:
    table = np.full((len(lists), max((len(x) for x in lists), default=0)), -1, np.int32)
    for row, values in zip(table, lists, strict=True):
        row[: len(values)] = values
    return table
