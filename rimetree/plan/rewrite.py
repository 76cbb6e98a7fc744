"""Equations as if they had been written in the way that suits the solver: functions of sums and products are taken apart.

`exp(i (g + b))`, with g per slot and b per channel, is one factor that varies with both; `exp(i g) exp(i b)` are two of which each
varies with little, and sums over data come before iterations. What may be taken apart is declared by the classes (`graph.node.Law`),
is done (`plan.apart`) only where it makes factors narrower, and yields an ordinary forest in which all nodes keep their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..graph.families import Interned
from ..graph.forest import Forest, Place
from ..graph.names import NameTable
from ..graph.node import Family, Kid, Ring
from ..graph.values import freeze
from ..parms.funklet import is_complex
from .apart import MANY, Apart, Combined, Members
from .footprint import Footprint, labels, of_family, parm_classes, widest
from .lookup import lookup_template
from .lower import Source
from .shapes import shapes
from .subset import subset
from .template import NodeFailure, Template, open_template


def rewritten(forest: Forest) -> Forest:
    """The forest in which what Solvers fit is taken apart; the same one where there is nothing to take apart."""
    found = _Survey(forest)
    candidates = found.candidates()
    if not candidates:
        return forest
    try:
        return Rewriter(found, candidates).forest() or forest
    except NodeFailure:
        return forest  # children that do not fit: whoever compiles it says so


class Rewritten(Forest):
    """A forest of which some nodes are taken apart; what is new has the name of the node that it is a part of."""

    def __init__(self, before: Forest, interned: Interned, names: list[NameTable], roots: Any, origin: Any) -> None:
        super().__init__(interned, names, roots)
        self.before, self.origin = before, origin

    @property
    def apart(self) -> list[Place]:
        """The first node of each family that was taken apart, in the forest as it was written."""
        found = [own for n, own in self.origin.items() if self.families[n].cls is Combined]
        whole = {int(f[0]): int(m[0]) for f, m in found if len(f) == self.before.families[int(f[0])].size}
        return [(n, m) for n, m in sorted(whole.items()) if self.before.families[n].cls is not Combined]

    def written(self, family: int) -> int:
        """The family as it was written."""
        return int(self.origin[family][0][0])

    def name_of(self, family: int, member: int) -> str:
        """The name of the node as it was written."""
        families, members = self.origin[family]
        return self.before.name_of(int(families[member]), int(members[member]))

    def class_of(self, family: int, member: int) -> str:
        """The name of the class of the node as it was written."""
        families, members = self.origin[family]
        return self.before.class_of(int(families[member]), int(members[member]))


class _Survey:
    """What the families of a forest vary with, and which are worth looking at."""

    def __init__(self, forest: Forest) -> None:
        from .explain_solver import solvable_parms

        self.forest, self.families = forest, forest.families
        fitted: dict[int, frozenset[Any]] = {}
        for n, family in enumerate(self.families):
            if family.cls.role == "solver":
                for parm in solvable_parms(dict(enumerate(self.families)), family):
                    fitted[parm] = fitted.get(parm, frozenset()) | {n}
        self.classes = parm_classes(self.families, fitted)
        self.below: dict[int, tuple[frozenset[Any], frozenset[str]]] = {}
        for n, family in enumerate(self.families):
            self.below[n] = of_family(n, family, self.below, self.classes)

    def candidates(self) -> list[int]:
        """Families with a law that an equation sees through sums and products, and whose children vary with different things."""
        if not self.classes:
            return []
        seen = {kid.family for f in self.families if f.cls.role == "equation" for kid in f.kids}
        found = []
        for n in range(len(self.families) - 1, -1, -1):
            family = self.families[n]
            if n not in seen or not (issubclass(family.cls, Ring) or family.cls.law):
                continue
            seen.update(kid.family for kid in family.kids)
            if family.cls.law and self.below[n][0] and not family.members and len(widest(self._leaves(n))) > 1:
                found.append(n)
        return found

    def _leaves(self, number: int) -> Iterable[Footprint]:
        """Of what a family is made of, by sums and products."""
        own = self.families[number]
        yield Footprint(frozenset(), frozenset(own.own_axes), np.zeros(own.size, np.int64))
        stack = [(kid.family, np.asarray(kid.index)) for kid in own.kids]
        seen = set()
        while stack:
            n, path = stack.pop()
            if (key := (n, path.shape, path.tobytes())) in seen:
                continue
            seen.add(key)
            family = self.families[n]
            if path.ndim == 2 and path.shape[1] <= MANY:
                stack.extend((n, column) for column in path.T)
            elif path.ndim == 1 and (issubclass(family.cls, Ring) or family.cls.law):
                stack.extend((kid.family, np.asarray(kid.index)[path]) for kid in family.kids)
            else:
                yield Footprint(*self.below[n], labels(path.reshape(len(path), -1)))


class Rewriter:
    """Makes the families of the new forest, in topological order."""

    def __init__(self, survey: _Survey, candidates: Sequence[int]) -> None:
        self.survey, self.before, self.candidates = survey, survey.forest, set(candidates)
        self.old_templates, self.old_real = _shapes(survey.families, candidates)
        self.now = 0
        self.families: dict[int, Family] = {}
        self.templates: dict[int, Template] = {}
        self.real: dict[Source, bool] = {}
        self.below: dict[int, tuple[frozenset[Any], frozenset[str]]] = {}
        self.place: dict[int, int] = {}
        """Old family -> the one that stands for it."""
        self.origin: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        """New family -> the old one that it is (a part of), and which of its members."""
        self.known: dict[Any, int] = {}
        self.rows: dict[int, np.ndarray] = {}

    def forest(self) -> Forest | None:
        """The new forest; None where nothing was taken apart."""
        changed = False
        for n, family in enumerate(self.survey.families):
            kids = tuple(Kid(self.place[kid.family], kid.index) for kid in family.kids)
            own, self.now = replace(family, kids=kids), n
            made = Apart(self, own, self.old_templates[n][0]).taken() if n in self.candidates else None
            changed |= made is not None
            self.place[n] = self._keep(n, made or own)
        return self._forest() if changed else None

    def _forest(self) -> Forest:
        families = list(self.families.values())
        offsets = np.concatenate([[0], np.cumsum([f.size for f in families])])
        sites = self.before._site_of
        numbers = np.concatenate(
            [offsets[self.place[n]] + np.arange(f.size) for n, f in enumerate(self.survey.families)]
        ).astype(np.int32)
        names = [t.select(np.ones(len(t.numbers), bool), numbers[t.numbers]) for t in self.before._names.tables]
        roots = None if self.before._roots is None else [int(numbers[r]) for r in self.before._roots]
        site_of = [np.array([sites[n][m] for n, m in zip(*own, strict=True)]) for own in self.origin.values()]
        interned = Interned(families, offsets, numbers, self.before._sites, site_of)
        return Rewritten(self.before, interned, names, roots, dict(self.origin))

    def _keep(self, n: int, family: Family) -> int:
        """A family that stands for an old one."""
        number = self._add(family, n, np.arange(family.size))
        self.below[number] = self.survey.below[n]
        if n in self.old_templates:
            self.templates[number] = self.old_templates[n]
            self.real |= {(number, e): self.old_real[n, e] for e in range(len(self.old_templates[n][1]))}
        return number

    def _add(self, family: Family, origin: int, members: np.ndarray) -> int:
        number = len(self.families)
        self.families[number] = replace(family, number=number)
        self.origin[number] = np.full(len(members), origin), members
        return number

    def sum_of(self, family: Family, kid: Kid) -> int:
        """The sum of the children of one family, as a family by itself."""
        key = family.cls, kid.family, np.asarray(kid.index).tobytes()
        if key not in self.known:
            number = self.known[key] = self._add(replace(family, kids=(kid,)), self.now, np.zeros(family.size, int))
            self.templates[number] = open_template(self.templates[kid.family][0])
            self.below[number] = self.below[kid.family]
            self.real |= {(number, e): self.is_real(kid.family) for e in range(len(self.templates[number][1]))}
        return self.known[key]

    def is_real(self, number: int) -> bool:
        """Whether all elements of a family are known to be real."""
        return all(self.real[number, e] for e in range(len(self.templates[number][1])))

    def emit(
        self, cls: Any, options: Any, kids: Sequence[int], index: np.ndarray, dims: tuple[int, ...], real: bool
    ) -> Members:
        """Members of a family with these children (n, k): of the one made before where there is one of its kind."""
        key = cls, freeze(options), tuple(kids)
        if kids:
            rows, first, inverse = np.unique(index, axis=0, return_index=True, return_inverse=True)
        else:
            rows, first, inverse = index[:1], np.zeros(1, int), np.zeros(len(index), int)
        number = self.known.get(key)
        if number is None:
            number = self.known[key] = self._add(Family(0, cls, options, (), 0), self.now, first[:0])
            self.rows[number] = rows[:0]
            self.templates[number] = open_template(dims)
            self.real |= {(number, e): real for e in range(len(self.templates[number][1]))}
        places = {row.tobytes(): i for i, row in enumerate(self.rows[number])}
        new = [i for i, row in enumerate(rows) if row.tobytes() not in places]
        places |= {rows[i].tobytes(): len(places) + k for k, i in enumerate(new)}
        table = self.rows[number] = np.concatenate([self.rows[number], rows[new]])
        own = tuple(Kid(kid, table[:, k].astype(np.int32)) for k, kid in enumerate(kids))
        self.families[number] = replace(self.families[number], kids=own, size=len(table))
        self.below[number] = of_family(number, self.families[number], self.below, {})
        owner, member = self.origin[number]
        self.origin[number] = np.append(owner, np.full(len(new), self.now)), np.append(member, first[new])
        return Members(number, np.array([places[row.tobytes()] for row in rows])[inverse.reshape(-1)])


def _shapes(families: Sequence[Family], numbers: Sequence[int]) -> tuple[dict[int, Template], dict[Source, bool]]:
    """Of these families and all below them; which correlations there are makes no difference."""
    sub = subset(families, {n: np.arange(families[n].size) for n in numbers})
    given: dict[int, Template] = {}
    complex_ = set()
    for n, family in sub.families.items():
        if family.cls.role == "parm":
            given[n] = open_template(())
            complex_ |= {n} if is_complex(family) else set()
        elif family.cls.role == "lookup" and not family.kids:
            given[n] = lookup_template(family)
        elif family.cls.role == "data":
            visibilities = family.options["column"] != "UVW"
            given[n] = open_template((2, 2) if visibilities else (3,))
            complex_ |= {n} if visibilities else set()
    sizes = {"time": 2, "freq": 3}
    for family in sub.families.values():
        known = np.shape(family.members["value"][0]) if family.cls.role == "constant" else ()
        extents = known[len(known) - len(family.own_axes) :] or (2,) * len(family.own_axes)
        sizes |= {a: n for a, n in zip(family.own_axes, extents, strict=True) if a not in sizes or n > 1}
    return shapes(sub.families, given, frozenset(complex_), sizes)
