"""One family taken apart: f(x + y) as a sum of products of f(x) and f(y), f(a, x) as a f(1, x), as `graph.node.Law` says of its class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.node import Elementwise, Family, Kid, Law, Ring, option
from ..graph.node import child as declared
from ..graph.registry import get
from ..ring import NUMBERS, Number, Tensor
from .footprint import Footprint, labels, widest
from .lower import Lowering, Path, Poly, Token

if TYPE_CHECKING:
    from .rewrite import Rewriter

MANY = 8
"""Terms of one kind in a sum beyond which they stay together."""

PARTS = 6
"""Factors that a value is taken apart into, at most; half of it where every further one doubles the number of products."""


class Combined(Ring):
    """Sums of products of elements of the children: what was taken apart, put together."""

    parts = declared(help="any", many=True, least=0)
    dims = option((), help="dims of the value")
    terms = option((), help="per element its terms (coefficient, ((child, element, conjugated), ...))")

    @staticmethod
    def ring(*parts: Tensor, **options: Any) -> Tensor:
        """Element by element, by the options `dims` and `terms`."""

        def element(of: Sequence[Any]) -> Any:
            total: Any = 0
            for coef, factors in of:
                product = coef
                for kid, place, conj in factors:
                    own = parts[kid].elements[place]
                    product = (own.conjugate() if conj else own) * product
                total = product + total
            return total

        return Tensor(options["dims"], tuple(map(element, options["terms"])))


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One term of an element of a child, or one factor of it where that is a product, and what it varies with."""

    child: int
    element: int
    coef: Number
    tokens: tuple[Token, ...]
    footprint: Footprint


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """For every member of the family that is taken apart, that of another (n,); or its conjugate."""

    family: int
    index: np.ndarray
    conj: bool = False


class Arguments(Lowering):
    """Children as sums of products, as far as these separate what varies with different things."""

    def __init__(self, owner: Rewriter, size: int) -> None:
        super().__init__(owner.families, owner.templates)
        self.owner = owner
        self.nothing = Footprint(frozenset(), frozenset(), np.zeros(size, np.int64))

    def footprint(self, tokens: Sequence[Token]) -> Footprint:
        """What a product varies with."""
        total = self.nothing
        for family, _, path, _ in tokens:
            total |= Footprint(*self.owner.below[family], labels(self.paths[path].index[:, None]))
        return total

    def _worthwhile(self, number: int, path: int, tensor: Tensor) -> bool:
        tokens = {token for e in tensor.elements if isinstance(e, Poly) for key in e.terms for token in key}
        return len(widest(self.footprint([token]) for token in tokens)) > 1

    def _child(self, family: Family, kid: Kid, number: int) -> list[Tensor]:
        path = self.paths[number]
        if np.ndim(kid.index) == 2 and family.cls.reduction == "add" and kid.index.shape[1] > MANY:
            return [self._factor(self.owner.sum_of(family, kid), number)]
        index = np.asarray(kid.index)[path.index]
        columns = [index] if np.ndim(kid.index) == 1 else list(np.moveaxis(index, -1, 0))
        return [self._lower(kid.family, self.path(Path(path.labels, column))) for column in columns]


class Apart:
    """One family, whose children are in the new forest, about to be taken apart."""

    def __init__(self, owner: Rewriter, family: Family, dims: tuple[int, ...]) -> None:
        self.owner, self.family, self.dims = owner, family, dims
        self.low = Arguments(owner, family.size)
        law = family.cls.law or Law()
        values = [self.low.members(kid.family, np.asarray(kid.index)) for kid in family.kids]
        names = child_names(family.cls, len(values))
        self.pulled = names.index(law.proportional) if law.proportional else None
        self.factor = values[self.pulled] if self.pulled is not None else Tensor.scalar(1)
        self.one = self.pulled
        """The child that is 1 in what is left."""
        kids: list[Kid | None] = [None if i == self.pulled else kid for i, kid in enumerate(family.kids)]
        cls, options = family.cls, family.options
        if law.like is not None:
            cls, options = get(law.like[0]), {"tags": ()}
            scale = law.like[1]
            kids, values = [None], [v.map(lambda e: e * scale) for i, v in enumerate(values) if i != self.pulled]
            law, names, self.one = cls.law or Law(), list(cls.children), None
        self.cls, self.options, self.law, self.names, self.kids = cls, options, law, names, kids
        self.shapes = [() if i == self.one else v.dims for i, v in enumerate(values)]
        self.items, self.held = self._items(values)

    def _items(self, values: Sequence[Tensor]) -> tuple[list[Item], Footprint]:
        """What can be shared out among factors, and what all of them vary with."""
        own = Family(0, self.cls, self.options, (), 1).own_axes
        held = Footprint(frozenset(), frozenset(own), self.low.nothing.shared)
        items = []
        for child, (name, value) in enumerate(zip(self.names, values, strict=True)):
            if name in self.law.sums:
                self.kids[child] = None
                for e, element in enumerate(value.elements):
                    terms = {(): element} if isinstance(element, NUMBERS) else element.terms
                    items += [Item(child, e, c, key, self.low.footprint(key)) for key, c in terms.items() if c != 0]
            elif name == self.law.product and all(isinstance(e, NUMBERS) or len(e.terms) == 1 for e in value.elements):
                self.kids[child] = None
                for e, element in enumerate(value.elements):
                    ((key, coef),) = [((), element)] if isinstance(element, NUMBERS) else element.terms.items()
                    single: list[tuple[Token, ...]] = [(t,) for t in key] or [()]
                    items += [Item(child, e, 1 if i else coef, t, self.low.footprint(t)) for i, t in enumerate(single)]
            elif (kid := self.kids[child]) is not None:
                index = np.asarray(kid.index).reshape(self.family.size, -1)
                held |= Footprint(*self.owner.below[kid.family], labels(index))
        return items, held

    def taken(self) -> Family | None:
        """A family of sums of products that equals this one; None where nothing is gained."""
        whole = [item.footprint | self.held for item in self.items] or [self.held]
        groups = widest(whole)
        if len(groups) > (limit := PARTS if len(self.law.of_parts) < 2 else PARTS // 2):
            rest = groups[limit - 1]
            for one in groups[limit:]:
                rest |= one
            groups = [*groups[: limit - 1], rest]
        tokens = {t for e in self.factor.elements if isinstance(e, Poly) for key in e.terms for t in key}
        if len(widest([*groups, *(self.low.footprint((t,)) for t in tokens)])) < 2:
            return None
        shares: list[list[Item]] = [[] for _ in groups]
        for item, footprint in zip(self.items, whole, strict=False):
            shares[next(i for i, group in enumerate(groups) if footprint <= group)].append(item)
        return self._together(self._products(self.cls, shares))

    def _products(self, cls: Any, shares: Sequence[list[Item]]) -> list[tuple[int, list[Members]]]:
        """The value of a class at a sum, or product, of parts, as products with their signs."""
        if len(shares) == 1:
            return [(1, [self._part(cls, shares[0])])]
        found = []
        for one, other, sign in cls.law.of_parts or ((cls.__name__, cls.__name__, 1),):
            first = self._part(get(one), shares[0])
            found += [(sign * s, [first, *rest]) for s, rest in self._products(get(other), shares[1:])]
        return found

    def _part(self, cls: Any, items: Sequence[Item]) -> Members:
        """The value of a class at one part; its conjugate at the mirrored part, where another may be that as it stands."""
        mirrored = self._mirrored(items)
        conj = mirrored is not None and self._order(mirrored) < self._order(items)
        kids = [self._kid(child, mirrored if conj and mirrored else items) for child in range(len(self.kids))]
        columns = np.stack([kid.index for kid in kids], 1)
        families = [kid.family for kid in kids]
        if issubclass(cls, Elementwise):
            dims = next((d for f in families if (d := self.owner.templates[f][0])), ())
            real = all(self.owner.is_real(f) for f in families)
        else:
            dims, real = self.dims, False
        found = self.owner.emit(cls, self.options, families, columns, dims, real)
        return Members(found.family, found.index, conj)

    def _mirrored(self, items: Sequence[Item]) -> list[Item] | None:
        """The items at which the value is the conjugate; None where that is not known."""
        if self.law.mirror == "negative":
            return [Item(i.child, i.element, -i.coef, i.tokens, i.footprint) for i in items]
        if self.law.mirror != "conjugate" or any(kid is not None for kid in self.kids):
            return None
        return [
            Item(
                i.child,
                i.element,
                np.conj(i.coef).item(),
                tuple((f, e, p, c != (not self.owner.real[f, e])) for f, e, p, c in i.tokens),
                i.footprint,
            )
            for i in items
        ]

    @staticmethod
    def _order(items: Sequence[Item]) -> Any:
        """Of an item list and its mirror image, that with less conjugation and with positive coefficients comes first."""
        return [(tuple(c for *_, c in i.tokens), i.coef.imag < 0, i.coef.imag == 0 and i.coef.real < 0) for i in items]

    def _kid(self, child: int, items: Sequence[Item]) -> Members:
        """A child of a part."""
        kid = self.kids[child]
        if kid is not None:
            return Members(kid.family, np.asarray(kid.index))
        own = [item for item in items if item.child == child]
        places = sorted({(t[0], t[2]) for item in own for t in item.tokens})
        number = {place: i for i, place in enumerate(places)}
        terms = []
        for e in range(int(np.prod(self.shapes[child], dtype=int))):
            here = [item for item in own if item.element == e]
            factors = [(i.coef, tuple((number[f, p], el, c) for f, el, p, c in i.tokens)) for i in here]
            if child == self.one or self.names[child] == self.law.product:
                factors = [(math.prod(c for c, _ in factors), tuple(f for _, fs in factors for f in fs))]
            terms.append(tuple(factors))
        if len(places) == 1 and terms == [((1, ((0, e, False),)),) for e in range(len(terms))]:
            return Members(places[0][0], self.low.paths[places[0][1]].index)
        options = {"dims": self.shapes[child], "terms": tuple(terms), "tags": ()}
        tokens = [t for item in own for t in item.tokens]
        real = not any(isinstance(i.coef, complex) for i in own) and all(self.owner.real[t[:2]] for t in tokens)
        columns = [self.low.paths[p].index for _, p in places]
        index = np.stack(columns, 1) if columns else np.zeros((self.family.size, 0), np.int32)
        return self.owner.emit(Combined, options, [f for f, _ in places], index, self.shapes[child], real)

    def _together(self, products: Sequence[tuple[int, list[Members]]]) -> Family:
        """The sum of products, times the factor that was pulled out."""
        kids: list[Kid] = []
        places: dict[Any, int] = {}

        def place(family: int, index: np.ndarray) -> int:
            key = family, index.tobytes()
            if key not in places:
                places[key] = len(kids)
                kids.append(Kid(family, index.astype(np.int32)))
            return places[key]

        first = []
        if self.pulled is not None:
            kid = self.family.kids[self.pulled]
            first = [(place(kid.family, np.asarray(kid.index)), self.owner.templates[kid.family][0], False)]
        sums = [
            (sign, [*first, *((place(m.family, m.index), self.owner.templates[m.family][0], m.conj) for m in parts)])
            for sign, parts in products
        ]
        count = int(np.prod(self.dims, dtype=int))
        terms = tuple(
            tuple((sign, tuple((k, e if dims else 0, conj) for k, dims, conj in factors)) for sign, factors in sums)
            for e in range(count)
        )
        options = {"dims": self.dims, "terms": terms, "tags": self.family.options["tags"]}
        return Family(self.family.number, Combined, options, tuple(kids), self.family.size)


def child_names(cls: Any, count: int) -> list[str]:
    """The declared name of each of so many children."""
    names = list(cls.children)
    return [names[min(i, len(names) - 1)] for i in range(count)]
