"""Lower an equation to sums of products: residual = sum of coefficient * (solvable factors) * (fixed factors), per
tensor element.

Ring families are expanded symbolically through their children; everything else is a factor: one element of one
family, reached through a *path* (for each equation, which member), possibly conjugated. A sum over a reduction axis
becomes a labelled axis of its paths, so the number of symbolic terms does not depend on the number of sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.node import Family, Kid, Ring
from ..ring import NUMBERS, Number, Tensor
from .apply import blaming
from .template import NodeFailure, Template

MAX_TERMS = 64
"""Terms per element beyond which an expansion stops and the family becomes a factor."""

MAX_FIXED_TERMS = 1
"""A fixed ring family stays a product of its factors up to this many terms; a sum is computed once per tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """For every equation (first axis) and every label of a reduction axis (further axes), the member of a family."""

    labels: tuple[int, ...]
    index: np.ndarray


Token = tuple[int, int, int, bool]
"""A factor: (family, element, path number, conjugated)."""

Key = tuple[Token, ...]

Source = tuple[int, int]
"""One element of one family: (family, element)."""


class Poly:
    """A sum of products of factors: {sorted factors: coefficient}. Equal only to itself; supports the ring
    operations."""

    __slots__ = ("low", "terms")

    def __init__(self, low: Lowering, terms: dict[Key, Number]) -> None:
        self.low = low
        self.terms = terms

    def _sum(self, other: Any, sign: int) -> Any:
        if isinstance(other, NUMBERS):
            if other == 0:
                return self
            other = Poly(self.low, {(): other})
        terms = dict(self.terms)
        for key, coef in other.terms.items():
            total = terms.get(key, 0) + sign * coef
            if total == 0:
                terms.pop(key, None)
            else:
                terms[key] = total
        return Poly(self.low, terms) if terms else 0

    def __add__(self, other: Any) -> Any:
        return self._sum(other, 1)

    def __sub__(self, other: Any) -> Any:
        return self._sum(other, -1)

    def __rsub__(self, other: Any) -> Any:
        return (-self)._sum(other, 1)

    def __neg__(self) -> Poly:
        return Poly(self.low, {key: -coef for key, coef in self.terms.items()})

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, NUMBERS):
            if other == 0:
                return 0
            return self if other == 1 else Poly(self.low, {key: coef * other for key, coef in self.terms.items()})
        terms: dict[Key, Number] = {}
        for key, coef in self.terms.items():
            mine = self.low.labels(key)
            for key2, coef2 in other.terms.items():
                clash = mine & self.low.labels(key2) - self.low.free
                if clash:  # two separate sums over the same axis
                    key2 = self.low.relabel(key2, clash)
                product = tuple(sorted(key + key2))
                terms[product] = terms.get(product, 0) + coef * coef2
                if len(terms) > MAX_TERMS:
                    raise _TooManyTerms
        return Poly(self.low, terms)

    __radd__ = __add__
    __rmul__ = __mul__

    def conjugate(self) -> Poly:
        """Complex conjugate: of every factor and coefficient."""
        flip = {
            tuple(sorted((f, e, p, not c) for f, e, p, c in key)): np.conj(coef).item()
            for key, coef in self.terms.items()
        }
        return Poly(self.low, flip)


class _TooManyTerms(Exception):
    pass


class Lowering:
    """Lowers families of one subset. `solvable` are the Parm families being solved for; `templates` the shapes of all
    families."""

    def __init__(
        self,
        families: Mapping[int, Family],
        templates: Mapping[int, Template],
        solvable: frozenset[int] = frozenset(),
        max_fixed_terms: int = MAX_FIXED_TERMS,
    ) -> None:
        self.max_fixed_terms = max_fixed_terms
        self.families = families
        self.templates = templates
        self.paths: list[Path] = []
        self.columns: dict[Any, np.ndarray] = {}
        """Results of the function `columns`."""
        self._path_numbers: dict[Any, int] = {}
        self._known: dict[tuple[int, int], Tensor] = {}
        self._label_count = 0
        self.free: frozenset[int] = frozenset()
        """Labels that are summed over above the family being expanded: equal ones then mean the same term of one
        sum."""
        self.solvable: set[int] = set(solvable)
        for number in sorted(families):
            family = families[number]
            if any(kid.family in self.solvable for kid in family.kids):
                self.solvable.add(number)
                if family.cls.role == "compute" and family.whole(("time", "freq", *(family.options.get("axes") or ()))):
                    text = "takes cells together, so that what is below it cannot be solved for; solve for its value"
                    raise NodeFailure(number, text)

    def family(self, number: int) -> Tensor:
        """All members of a family as polynomials (or numbers), one equation per member."""
        return self.members(number, np.arange(self.families[number].size, dtype=np.int32))

    def members(self, number: int, index: np.ndarray) -> Tensor:
        """Some members of a family, one equation for each entry of `index` (equations,)."""
        return self._lower(number, self.path(Path((), index)))

    def path(self, path: Path) -> int:
        """The number of a path; equal paths have equal numbers."""
        key = (path.labels, path.index.shape, path.index.tobytes())
        if key not in self._path_numbers:
            self._path_numbers[key] = len(self.paths)
            self.paths.append(path)
        return self._path_numbers[key]

    def labels(self, key: Key) -> set[int]:
        """Reduction labels of a product."""
        return {label for token in key for label in self.paths[token[2]].labels}

    def relabel(self, key: Key, labels: set[int]) -> Key:
        """The same product with new names for some of its reduction labels."""
        fresh: dict[int, int] = {}
        for label in sorted(labels):
            self._label_count += 1
            fresh[label] = self._label_count
        return tuple(sorted((f, e, self.path(self._renamed(p, fresh)), c) for f, e, p, c in key))

    def _renamed(self, number: int, fresh: Mapping[int, int]) -> Path:
        path = self.paths[number]
        return Path(tuple(fresh.get(label, label) for label in path.labels), path.index)

    def _lower(self, number: int, path: int) -> Tensor:
        if (number, path) not in self._known:
            self._known[number, path] = self._expand(number, path)
        return self._known[number, path]

    def _expand(self, number: int, path: int) -> Tensor:
        family = self.families[number]
        if not issubclass(family.cls, Ring) or number not in self.templates:
            return self._factor(number, path)
        children = self._children(family, path)
        self.free = frozenset(self.paths[path].labels)
        try:
            with blaming(number, family.cls, _TooManyTerms):
                tensor = family.cls.ring(*children, **_options(family))
        except _TooManyTerms:
            return self._factor(number, path)
        return tensor if self._worthwhile(number, path, tensor) else self._factor(number, path)

    def _worthwhile(self, number: int, path: int, tensor: Tensor) -> bool:
        """Whether an expansion beats computing the family: fixed sums are computed once, sums of parameters once per
        member."""
        polys = [e for e in tensor.elements if isinstance(e, Poly)]
        summed = any(self.labels(key) - set(self.paths[path].labels) for p in polys for key in p.terms)
        if number not in self.solvable:
            return not summed and all(len(p.terms) <= self.max_fixed_terms for p in polys)
        if self.families[number].cls.role != "compute":
            return True
        tokens = [token for p in polys for key in p.terms for token in key]
        several = any(len(p.terms) > 1 for p in polys)
        pure = all(f in self.solvable for f, *_ in tokens)
        shared = (
            len({p for _, _, p, _ in tokens}) == 1
        )  # not a product over two stations, whose structure the solver uses
        return not (several and pure and shared and not summed)

    def _children(self, family: Family, path: int) -> list[Tensor]:
        tensors: list[Tensor] = []
        for kid in family.kids:
            tensors.extend(self._child(family, kid, path))
        return tensors

    def _child(self, family: Family, kid: Kid, number: int) -> list[Tensor]:
        path = self.paths[number]
        index = np.asarray(kid.index)[path.index]
        if np.ndim(kid.index) == 1:
            return [self._lower(kid.family, self.path(Path(path.labels, index)))]
        terms = kid.index.shape[1]
        if terms == 1 or family.cls.reduction != "add":
            return [self._lower(kid.family, self.path(Path(path.labels, index[..., k]))) for k in range(terms)]
        self._label_count += 1
        label = self._label_count
        tensor = self._lower(kid.family, self.path(Path((*path.labels, label), index)))
        return [tensor.map(lambda element: self._summed(element, label, terms))]

    def _summed(self, element: Any, label: int, terms: int) -> Any:
        """The sum along a reduction axis: implied by the labels of the factors, a multiplication where there are
        none."""
        if isinstance(element, NUMBERS):
            return element * terms
        return Poly(self, {k: c if label in self.labels(k) else c * terms for k, c in element.terms.items()})

    def _factor(self, number: int, path: int) -> Tensor:
        dims, numbers = self.templates[number]
        return Tensor(
            dims,
            tuple(Poly(self, {((number, i, path, False),): 1}) if e is None else e for i, e in enumerate(numbers)),
        )


@dataclass(frozen=True, slots=True)
class Term:
    """coefficient * product of solvable factors * product of fixed factors, summed over reduction labels (sizes in
    `extent`)."""

    coef: complex
    solvable: tuple[Token, ...]
    fixed: tuple[Token, ...]
    labels: tuple[int, ...]
    extent: tuple[int, ...]


def terms_of(low: Lowering, element: Any) -> list[Term]:
    """The terms of one lowered element."""
    if isinstance(element, NUMBERS):
        return [Term(complex(element), (), (), (), ())] if element != 0 else []
    result = []
    for key, coef in element.terms.items():
        solvable = tuple(t for t in key if t[0] in low.solvable)
        fixed = tuple(t for t in key if t[0] not in low.solvable)
        size = {label: n for t in key for label, n in _extents(low.paths[t[2]])}
        labels = tuple(sorted(size))
        result.append(Term(complex(coef), solvable, fixed, labels, tuple(size[label] for label in labels)))
    return result


def _extents(path: Path) -> list[tuple[int, int]]:
    return list(zip(path.labels, path.index.shape[1:], strict=True))


def columns(low: Lowering, path: int, labels: Sequence[int], extent: Sequence[int]) -> np.ndarray:
    """Members along a path for every combination of `labels`: (equations, product of extent)."""
    key = (path, tuple(labels), tuple(extent))
    if key not in low.columns:  # asked for once per combination, and each spreads over all of them
        own = low.paths[path]
        shape = [own.index.shape[0]] + [
            n if label in own.labels else 1 for label, n in zip(labels, extent, strict=True)
        ]
        order = [0] + [1 + own.labels.index(label) for label in labels if label in own.labels]
        full = np.broadcast_to(own.index.transpose(order).reshape(shape), [own.index.shape[0], *extent])
        low.columns[key] = np.asfortranarray(full.reshape(own.index.shape[0], -1))
    return low.columns[key]


def _options(family: Family) -> dict[str, Any]:
    return {key: value for key, value in family.options.items() if key in family.cls.options}
