"""`check_node(cls)`: what every node class promises, checked. Run on all our classes, and by authors on their own.

A class may help with attributes of its own: `example()` returns ways of calling it, `[(children, options), ...]`, where
a child is its dims or an array of typical values; `real = True` says that its children must be real; `smooth = False`
that its derivative may jump, so that it is not checked.
"""

from __future__ import annotations

import itertools
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph.definition import Maker
from ..graph.node import Elementwise, Function, NodeClass, Reducing, Ring
from ..graph.registry import get
from ..plan.xla import jax
from ..ring import NUMBERS, Plane, Tensor
from .calling import apply_class, defaults, stacked, tensor
from .exact import Exact
from .laws import law_sides

Example = tuple[Sequence[Any], Mapping[str, Any]]

TYPICAL = {"s": 1e-9, "Hz": 1.5e8, "m": 3.0}
"""Magnitude of a child's values by its declared unit; 1 for others. They go with frequencies of 150 MHz."""

MEMBERS, EXTENT = 2, 3
"""Members of the batch, and cells per axis, in the checks."""

STEP = 1e-5
"""Relative step of the central differences: their error is about STEP^2 and 1e-16 / STEP."""


def check_node(cls: type[NodeClass] | Maker, examples: Iterable[Example] | None = None) -> None:
    """Run every check that applies to this class, or to what `rt.node` made of a function; AssertionError says which
    one fails and how.

    Declarations: registered, documented, every child and option with a help text. For classes that compute, on each
    example, with real and complex children: finite values; jit equals eager; two calls are equal; children that are
    constant or vary over time only, frequency only or a mixture give the value of the same children spread out, with
    the same dims; so does a single cell; a batch equals its members; jvp equals central differences; 0 and 1 known when
    compiling equal arrays of them; a Ring class uses ring operations only; the children of a commutative class may
    change places; what a class declares as its `law` holds. `examples` replaces the class's own `example()`.
    """
    if isinstance(cls, Maker):
        cls = get(cls.cls if isinstance(cls.cls, str) else cls.cls.__name__)
    _check_declarations(cls)
    if not issubclass(cls, (Elementwise, Ring, Function, Reducing)):
        return
    for children, options in list(examples) if examples is not None else _examples(cls):
        for complex_ in (False, True)[: 1 if getattr(cls, "real", False) else 2]:
            _Check(cls, children, options, complex_).run()


def _check_declarations(cls: type[NodeClass]) -> None:
    name = cls.__name__
    _expect(cls, get(name) is cls, f"the registry has another class called {name}")
    _expect(cls, name[:1].isupper(), "its name must begin with a capital letter")
    _expect(cls, len((vars(cls).get("__doc__") or "").strip()) > 5, "it has no docstring")
    for what, declared in (("child", cls.children), ("option", cls.options)):
        for key, one in declared.items():
            _expect(
                cls,
                bool(one.help or one.unit),
                f"{what} {key} has no help text (help=, or `{key}: ...` in a docstring)",
            )
    many = [key for key, one in cls.children.items() if one.many]
    _expect(cls, many in ([], list(cls.children)[-1:]), "only the last child can be declared with many")
    for key, option in cls.options.items():
        legal = option.choices is None or option.required or option.default in (None, *option.choices)
        _expect(cls, legal, f"the default of {key} is not one of its choices")
    _expect(cls, not cls.reduction or cls.commutative, "a class with a reduction must be commutative")


def _examples(cls: type[NodeClass]) -> list[Example]:
    """The class's own examples, or some made from its declarations, one per choice of an option."""
    own = getattr(cls, "example", None)
    if own is not None:
        return list(own())
    missing = [key for key, option in cls.options.items() if option.required]
    _expect(cls, not missing, f"option {missing[:1]} has no default: give the class an example()")
    children: list[tuple[int, ...]] = []
    for one in cls.children.values():
        children += [one.dims or ()] * (max(one.least, 2) if one.many else 1)
    choices = [
        {key: choice}
        for key, option in cls.options.items()
        for choice in option.choices or ()
        if choice != option.default
    ]
    found: list[Example] = [(children, options) for options in [{}, *choices]]
    if issubclass(cls, Elementwise):
        found.append(([(2, 2), *children[1:]], {}))
    return found


class _Check:
    """One class with one example, with real or complex children."""

    def __init__(
        self, cls: type[NodeClass], children: Sequence[Any], options: Mapping[str, Any], complex_: bool
    ) -> None:
        self.cls = cls
        self.options = options
        self.random = np.random.default_rng(zlib.crc32(cls.__name__.encode()))
        own = cls.axes_of(cls.normalise(defaults(cls) | dict(options))) if issubclass(cls, Function) else ()
        axes = dict.fromkeys(("time", "freq", *own))
        self.rank = len(axes)
        self.grid = OrderedDict((axis, self._axis(axis, i)) for i, axis in enumerate(axes))
        self.children = [self._values(child, i, complex_) for i, child in enumerate(children)]
        self.label = f"children of dims {[c.shape[: c.ndim - self.rank - 1] for c in self.children]}, options {options}"
        self.label += ", complex" if complex_ else ", real"
        self.function: Callable[..., Any] = jax.jit(self.evaluate)
        self.full = np.asarray(self.evaluate(self.children, self.grid))

    def run(self) -> None:
        """All checks."""
        self.check_repeatable()
        self.check_grids()
        self.check_members()
        if self.children and getattr(self.cls, "smooth", True):
            self.check_derivative()
        if issubclass(self.cls, Ring):
            self.check_ring()
        self.check_constants()
        self.check_law()
        if self.cls.commutative:
            self.close("with its children in another order", self.evaluate(self.children[::-1], self.grid), self.full)

    def evaluate(self, children: Sequence[Any], grid: Mapping[str, Any]) -> Any:
        """Value as one array, dims + (member, grid...)."""
        kids = [tensor(child, self.rank) for child in children]
        return stacked(apply_class(self.cls, kids, self.options, grid), self.rank)

    def check_repeatable(self) -> None:
        """Eager, eager again, and jit; all finite."""
        _expect(self.cls, bool(np.isfinite(self.full).all()), f"its value is not finite ({self.label})")
        again = np.asarray(self.evaluate(self.children, self.grid))
        _expect(self.cls, bool(np.array_equal(again, self.full)), f"two equal calls differ ({self.label})")
        self.close("under jit", self.function(self.children, self.grid), self.full)

    def check_grids(self) -> None:
        """Children that do not vary along some axes give the value of the same children spread out."""
        none, every = frozenset[int](), frozenset(range(self.rank))
        time, freq = frozenset({0}), frozenset({1})
        mixed = itertools.cycle([time, freq, none, every])
        for name, masks in {
            "constant children": [none] * len(self.children),
            "children over time only": [time] * len(self.children),
            "children over frequency only": [freq] * len(self.children),
            "children over different axes": list(itertools.islice(mixed, len(self.children))),
        }.items():
            collapsed = [self._collapse(c, mask) for c, mask in zip(self.children, masks, strict=True)]
            spread = [np.broadcast_to(c, w.shape).copy() for c, w in zip(collapsed, self.children, strict=True)]
            self.close(f"with {name}", self.evaluate(collapsed, self.grid), self.function(spread, self.grid))
        if issubclass(self.cls, Reducing):
            return
        point = [self._collapse(c, none) for c in self.children]
        grid = OrderedDict((axis, v.reshape(-1)[:1].reshape((1,) * self.rank)) for axis, v in self.grid.items())
        self.close("on one cell", self.evaluate(point, grid), self._collapse(self.full, none))

    def check_members(self) -> None:
        """A batch is its members."""
        take: tuple[Any, ...] = (..., slice(1, 2), *[slice(None)] * self.rank)
        full = self.full if self.full.shape[-self.rank - 1] == 1 else self.full[take]
        self.close("of one member alone", self.function([c[take] for c in self.children], self.grid), full)

    def check_derivative(self) -> None:
        """jax.jvp along random directions against central differences; complex children also along i times these."""
        directions = [c * self.random.uniform(-1, 1, c.shape) for c in self.children]

        def both(x: list[Any], v: list[Any]) -> tuple[Any, Any]:
            derivative = jax.jvp(lambda y: self.evaluate(y, self.grid), (x,), (v,))[1]
            above, below = ([a + s * STEP * b for a, b in zip(x, v, strict=True)] for s in (1, -1))
            return derivative, (self.evaluate(above, self.grid) - self.evaluate(below, self.grid)) / (2 * STEP)

        compiled = jax.jit(both)
        for factor in (1, 1j) if np.iscomplexobj(self.children[0]) else (1,):
            exact, differences = map(np.asarray, compiled(self.children, [factor * d for d in directions]))
            scale = np.abs(self.full).max() + np.abs(exact).max()
            self.close("derivative against differences", exact, differences, 1e-7, 1e-8 * scale)

    def check_constants(self) -> None:
        """Elements that are the number 0 or 1 give what arrays of 0 or 1 give."""
        counts = [int(np.prod(c.shape[: c.ndim - self.rank - 1], dtype=int)) for c in self.children]
        single = [[(i, e)] for i, count in enumerate(counts) for e in range(count)]
        whole = [[(i, e) for e in range(count)] for i, count in enumerate(counts)]
        diagonal = [
            [(i, e) for e in (1, 2)] for i, c in enumerate(self.children) if c.shape[: -self.rank - 1] == (2, 2)
        ]
        everything = list(itertools.chain(*whole))
        for places, number in itertools.product([*single, *whole, *diagonal, everything], (0, 1)):
            self._check_constant(places, number)

    def _check_constant(self, places: list[tuple[int, int]], number: int) -> None:
        arrays = [c.copy() for c in self.children]
        kids = [list(tensor(c, self.rank).elements) for c in arrays]
        for child, element in places:
            arrays[child].reshape(-1, *arrays[child].shape[-self.rank - 1 :])[element] = number
            kids[child][element] = number
        expected = np.asarray(self.function(arrays, self.grid))
        if not np.isfinite(expected).all():
            return  # a class may refuse what divides by zero, or give infinity
        tensors = [Tensor(tensor(c, self.rank).dims, tuple(k)) for c, k in zip(arrays, kids, strict=True)]
        where = f"with the number {number} as " + ", ".join(f"child {child} element {e}" for child, e in places)
        try:
            got = stacked(apply_class(self.cls, tensors, self.options, self.grid), self.rank)
        except Exception as error:  # the function is the author's: it may raise anything
            raise AssertionError(f"{self.cls.__name__} {where}: {error!r} ({self.label})") from error
        self.close(where, got, expected)

    def check_law(self) -> None:
        """What the class declares of its values at sums and products."""

        def value(cls: type[NodeClass], children: Sequence[Any], options: Mapping[str, Any]) -> Any:
            kids = [tensor(child, self.rank) for child in children]
            return np.asarray(stacked(apply_class(cls, kids, options, self.grid), self.rank))

        for what, got, expected in law_sides(self.cls, self.children, self.options, value, self.random):
            self.close(f"{what} (its law)", got, expected, 1e-9)

    def check_ring(self) -> None:
        """The function must work on elements that can do nothing but + - * and conjugate()."""
        kids = [tensor(c, self.rank).map(lambda e: Exact(e.array)) for c in self.children]
        try:
            value = apply_class(self.cls, kids, self.options, self.grid)
            result = value.map(lambda e: e if isinstance(e, NUMBERS) else Plane(e.hidden))
        except (TypeError, AttributeError) as error:
            raise AssertionError(
                f"{self.cls.__name__}: a Ring class uses only + - * and conjugate(): {error}"
            ) from error
        self.close("on ring elements", stacked(result, self.rank), self.full)

    def close(self, what: str, got: Any, expected: Any, rtol: float = 1e-11, atol: float | None = None) -> None:
        """AssertionError unless the arrays agree, up to broadcasting along member and grid axes."""
        got, expected = np.asarray(got), np.asarray(expected)
        dims = [a.shape[: a.ndim - self.rank - 1] for a in (got, expected)]
        _expect(self.cls, dims[0] == dims[1], f"{what}: dims {dims[0]} instead of {dims[1]} ({self.label})")
        atol = rtol * float(max(np.abs(expected).max(), np.abs(self.full).max())) if atol is None else atol
        wrong = ~np.isclose(got, expected, rtol=rtol, atol=atol)
        if wrong.any():
            worst = float(np.abs(got - expected).max())
            raise AssertionError(f"{self.cls.__name__} {what}: off by up to {worst:.3g} ({self.label})")

    def _axis(self, axis: str, place: int) -> np.ndarray:
        centres = 1.5e8 + 1e6 * np.arange(EXTENT) if axis == "freq" else 0.5 + np.arange(EXTENT)
        return centres.reshape([EXTENT if i == place else 1 for i in range(self.rank)])

    def _values(self, child: Any, place: int, complex_: bool) -> np.ndarray:
        """Values near typical ones, varying by a tenth over members and grid."""
        typical = child
        if isinstance(child, tuple):
            declared = list(self.cls.children.values())
            unit = declared[min(place, len(declared) - 1)].unit
            typical = self.random.uniform(0.2, 0.8, child) * TYPICAL.get(unit, 1.0)
        typical = np.asarray(typical, float)
        shape = (*typical.shape, MEMBERS, *(EXTENT for _ in range(self.rank)))
        values = typical.reshape(*typical.shape, *[1] * (self.rank + 1)) * self.random.uniform(0.9, 1.1, shape)
        return values * np.exp(1j * self.random.uniform(0.4, 0.8, shape)) if complex_ else values

    def _collapse(self, values: np.ndarray, kept: frozenset[int]) -> np.ndarray:
        index: tuple[Any, ...] = (..., *[slice(None) if axis in kept else slice(0, 1) for axis in range(self.rank)])
        return values[index]


def _expect(cls: type[NodeClass], true: bool, message: str) -> None:
    if not true:
        raise AssertionError(f"{cls.__name__}: {message}")
