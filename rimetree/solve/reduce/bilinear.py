"""Residuals as products of pairs: what several classes of parameters share, for the kernels of coupled problems.

Every plane of a lowered equation is multiplied by a sum of products of atoms. Atoms that enter conjugated and those
that do not come from the two sides of a baseline, so that the sum nearly always factors into `P conj(Q)`, each a small
polynomial in the atoms of one station: G B of one side, and of the other. Hundreds of baselines share these few
**stems**: their values, and what flows back into their atoms, are worked out once per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .forms import Form

Monomial = tuple[complex, tuple[int, ...]]
"""A coefficient and the local factors that it multiplies."""


class Stems(NamedTuple):
    """Polynomials in atoms: stem s has the terms first[s]:first[s + 1], term m the atoms atom[start[m]:start[m + 1]]."""

    first: np.ndarray
    coef: np.ndarray
    """(terms, 2): real and imaginary part."""
    start: np.ndarray
    atom: np.ndarray


class Pairs(NamedTuple):
    """Equations as sums of planes times `P conj(Q)`; equation e has the terms term[e]:term[e + 1] of `plane`."""

    members: np.ndarray
    planes: np.ndarray
    plain: np.ndarray
    """Whether an equation has one plane and one term."""
    factor: np.ndarray
    """(equations, 2): a complex number by which all of its terms are multiplied besides, so that both sides share stems."""
    term: np.ndarray
    plane: np.ndarray
    """Plane of each term."""
    left: np.ndarray
    """Stem P, per equation, member and term in turn; those of equation e begin at use[e]."""
    right: np.ndarray
    use: np.ndarray
    part: np.ndarray
    """Independent component of each member, those of equation e from member[e] on."""
    member: np.ndarray


@dataclass(slots=True)
class _Book:
    """Stems found so far, numbered."""

    known: dict[tuple[tuple[complex, ...], tuple[int, ...], bytes], int] = field(default_factory=dict)
    stems: list[list[tuple[complex, tuple[int, ...]]]] = field(default_factory=list)

    def numbers(self, polynomial: Sequence[Monomial], atoms: np.ndarray) -> np.ndarray:
        """Stem of every member: `polynomial` in local factors, atoms (members, local factors)."""
        coefs = tuple(c for c, _ in polynomial)
        sizes = tuple(len(f) for _, f in polynomial)
        used = np.array([f for _, factors in polynomial for f in factors], int)
        rows, back = np.unique(atoms[:, used], axis=0, return_inverse=True)
        own = np.array([self._one(coefs, sizes, row) for row in rows], np.int32)
        return own[back.ravel()]

    def _one(self, coefs: tuple[complex, ...], sizes: tuple[int, ...], row: np.ndarray) -> int:
        key = coefs, sizes, row.tobytes()
        if key not in self.known:
            self.known[key] = len(self.stems)
            ends = np.cumsum((0, *sizes))
            pieces = [tuple(row[a:b].tolist()) for a, b in pairwise(ends)]
            self.stems.append(list(zip(coefs, pieces, strict=True)))
        return self.known[key]

    def table(self) -> Stems:
        terms = [t for stem in self.stems for t in stem]
        coef = np.array([c for c, _ in terms], complex)
        return Stems(
            _starts([len(stem) for stem in self.stems]),
            np.ascontiguousarray(np.stack([coef.real, coef.imag], -1)),
            _starts([len(atoms) for _, atoms in terms]),
            np.array([a for _, atoms in terms for a in atoms], np.int32),
        )


def pairs(forms: Sequence[Form], parts: Sequence[np.ndarray]) -> tuple[Pairs, Stems]:
    """The tables of these equations; `parts`: independent component of every member of each."""
    book = _Book()
    plane, left, right, terms, lead = [], [], [], [], []
    for made in forms:
        own = [(a, p, q) for a in range(made.planes) for p, q in _factored(made, a)]
        lead.append(own[0][1][0][0])
        own = [(a, [(c / lead[-1], f) for c, f in p], q) for a, p, q in own]
        terms.append(len(own))
        plane += [a for a, _, _ in own]
        left.append(np.stack([book.numbers(p, made.factor_atom) for _, p, _ in own], 1))
        right.append(np.stack([book.numbers(q, made.factor_atom) for _, _, q in own], 1))
    members = [len(f.factor_atom) for f in forms]
    planes = np.array([f.planes for f in forms], np.int64)
    return Pairs(
        np.array(members, np.int64),
        planes,
        (planes == 1) & (np.array(terms) == 1),
        np.stack([np.real(lead), np.imag(lead)], 1),
        _starts(terms),
        np.array(plane, np.int32),
        np.concatenate([a.ravel() for a in left]).astype(np.int32),
        np.concatenate([a.ravel() for a in right]).astype(np.int32),
        _starts([a.size for a in left]),
        np.concatenate(parts).astype(np.int32),
        _starts(members),
    ), book.table()


def _factored(made: Form, plane: int) -> list[tuple[list[Monomial], list[Monomial]]]:
    """P and Q of phi = sum P conj(Q): one pair where the table of coefficients has rank 1, else one per row."""
    rows = np.flatnonzero(made.term_plane == plane)
    table: dict[tuple[int, ...], dict[tuple[int, ...], complex]] = {}
    for m in rows:
        factors = [int(f) for f in made.term_factor[m] if f >= 0]
        plain = tuple(sorted(f for f in factors if not made.factor_conj[f]))
        turned = tuple(sorted(f for f in factors if made.factor_conj[f]))
        row = table.setdefault(plain, {})
        row[turned] = row.get(turned, 0j) + complex(made.term_coef[m])
    columns = list(dict.fromkeys(q for row in table.values() for q in row))
    coefs = np.array([[row.get(q, 0j) for q in columns] for row in table.values()])
    i, k = np.unravel_index(int(abs(coefs).argmax()), coefs.shape)
    if np.allclose(coefs, np.outer(coefs[:, k], coefs[i]) / coefs[i, k], rtol=1e-12, atol=0):
        p = [(complex(c), f) for c, f in zip(coefs[:, k], table, strict=True) if c]
        q = [(complex(np.conj(c / coefs[i, k])), f) for c, f in zip(coefs[i], columns, strict=True) if c]
        return [(p, q)]
    return [
        ([(1 + 0j, f)], [(complex(np.conj(c)), q) for c, q in zip(row, columns, strict=True) if c])
        for f, row in zip(table, coefs, strict=True)
    ]


class Squares(NamedTuple):
    """What the block-diagonal part of the normal matrix needs.

    `first`, `second`: per equation, member and ordered pair of its terms, the pair of left stems (right stems in the
    `turned` arrays); an entry is 4 * pair + mode, -1 where both derivatives are zero. Modes: 0 add, 1 add the
    conjugate, 2 add twice the real part.
    """

    left: np.ndarray
    right: np.ndarray
    use: np.ndarray
    """Where the entries of each equation begin."""
    size: int
    """Pairs of stems."""
    link: np.ndarray
    """(links, 5): pair of stems, occurrence of an atom in each (places in Stems.atom), pair of atoms, mode."""
    atoms: np.ndarray
    """(pairs of atoms, 2)."""


def squares(table: Pairs, stems: Stems, alike: np.ndarray) -> Squares:
    """Pairs of stems of the same side of an equation, and the pairs of `alike` atoms (equal numbers) in them."""
    known: dict[tuple[int, int], int] = {}
    sides: list[list[np.ndarray]] = [[], []]
    sizes = []
    for e, members in enumerate(table.members):
        n = int(table.term[e + 1] - table.term[e])
        sizes.append(int(members) * (n * (n + 1)) // 2)
        for side, source in zip(sides, (table.left, table.right), strict=True):
            own = source[table.use[e] : table.use[e + 1]].reshape(members, n)
            columns = [_pair(known, stems, own[:, i], own[:, j], i == j) for i in range(n) for j in range(i, n)]
            side.append(np.stack(columns, 1).ravel())
    link, atoms = _links(list(known), stems, alike)
    left, right = (np.concatenate(side).astype(np.int32) for side in sides)
    return Squares(left, right, _starts(sizes), len(known), link, atoms)


def _pair(
    known: dict[tuple[int, int], int], stems: Stems, first: np.ndarray, second: np.ndarray, same: bool
) -> np.ndarray:
    """Entries (see `Squares`) of the pairs of stems of all members."""
    both, back = np.unique(np.stack([first, second], 1), axis=0, return_inverse=True)
    own = []
    for p, q in both.tolist():
        if _constant(stems, p) or _constant(stems, q):
            own.append(-1)
            continue
        mode = (0 if same else 2) if p == q else int(p > q)
        own.append(4 * known.setdefault((min(p, q), max(p, q)), len(known)) + mode)
    return np.array(own, np.int64)[back.ravel()]


def _constant(stems: Stems, stem: int) -> bool:
    return bool(stems.start[stems.first[stem]] == stems.start[stems.first[stem + 1]])


def _links(found: Sequence[tuple[int, int]], stems: Stems, alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known: dict[tuple[int, int], int] = {}
    rows = []
    for pair, (p, q) in enumerate(found):
        first = range(stems.start[stems.first[p]], stems.start[stems.first[p + 1]])
        second = range(stems.start[stems.first[q]], stems.start[stems.first[q + 1]])
        for i in first:
            for k in second:
                a, b = int(stems.atom[i]), int(stems.atom[k])
                if alike[a] != alike[b] or (p == q and (a > b or (a == b and i > k))):
                    continue
                mode = (0 if p == q and i == k else 2) if a == b else int(a > b)
                rows.append((pair, i, k, known.setdefault((min(a, b), max(a, b)), len(known)), mode))
    return np.array(rows, np.int64).reshape(-1, 5), np.array(list(known), np.int64).reshape(-1, 2)


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
