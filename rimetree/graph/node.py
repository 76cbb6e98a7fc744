"""How a node class is declared: children, options, a role, and one pure function.

A class is a few lines. It is never instantiated; the engine reads its declarations and calls its function:

    @node
    class Polar(Elementwise):
        '''amplitude * exp(i phase). ...'''
        amplitude = child(help="any unit")
        phase = child(unit="rad", help="phase")

        @staticmethod
        def compute(amplitude, phase):
            return amplitude * jnp.exp(1j * phase)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ..ring import Tensor
from .kinds import ANYTHING, BITS, NAMES, Kind, choice, kind, names_of, or_none

Derivative = Literal["differences", "complex-step"] | Callable[..., Any]

Expansion = Callable[[dict[str, Any], dict[str, Any], Callable[..., Any]], tuple[dict[str, Any], dict[str, Any]]]

Role = Literal[
    "compute", "constant", "coordinate", "lookup", "parm", "data", "equation", "solver", "sink", "sequence", "transform"
]


@dataclass(frozen=True, slots=True)
class Child:
    """One declared child. `many` takes all remaining positional children (at least `least`).

    `default`, a number or the name of a class of leaves, stands for a child that is left out. An `optional` one is given by
    keyword or not at all; only a class that treats all children alike can have it.
    """

    help: str = ""
    unit: str = ""
    dims: tuple[int, ...] | None = None
    many: bool = False
    least: int = 1
    default: float | str | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option. `per_member` options may differ between the members of one family (antenna, value, seed)."""

    default: Any = None
    kind: Kind = ANYTHING
    help: str = ""
    unit: str = ""
    per_member: bool = False
    required: bool = False
    example: Any = None

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """All values that it may have, where they are few."""
        return self.kind.choices


def child(
    help: str = "",
    *,
    unit: str = "",
    dims: tuple[int, ...] | None = None,
    many: bool = False,
    least: int = 1,
    default: float | str | None = None,
    optional: bool = False,
) -> Any:
    """Declare a child, in the order in which it is given in a call."""
    return Child(help, unit, dims, many, least, default, optional)


def option(
    default: Any = None,
    *,
    type: Any = object,
    help: str = "",
    choices: tuple[Any, ...] | None = None,
    unit: str = "",
    per_member: bool = False,
    required: bool = False,
    example: Any = None,
) -> Any:
    """Declare an option: `default` unless `required`; `choices` or `type` are checked when the forest is built.

    `type` is a Python type or annotation, a kind of `graph.kinds`, or a tuple of these; None is legal where it is the default.
    `example` is what a form shows for a required option. Raises RimetreeError where `type` is none of these.
    """
    what = kind(type) if choices is None else choice(choices)
    if default is None and not required:
        what = or_none(what)
    return Option(default, what, help, unit, per_member, required, what.example if example is None else example)


class Law(NamedTuple):
    """How values of a class at sums and products follow from those at their parts, so that a solver can take them apart.

    True for all values of the children, element by element, NaN and infinities included up to which of the two there is;
    `check_node` tries them.
    """

    proportional: str = ""
    """A child to which the value is proportional: f(a, x) = a f(1, x)."""
    sums: tuple[str, ...] = ()
    """Children at whose sums, taken together, the value is a sum of products of values at the parts."""
    of_parts: tuple[tuple[str, str, int], ...] = ()
    """These products: f(x + y) = sum of sign * first(x) * second(y), as (class of first, class of second, sign)."""
    product: str = ""
    """A child at whose products the value is the product of values: f(x y) = f(x) f(y)."""
    mirror: Literal["", "conjugate", "negative"] = ""
    """f(conj x) = conj f(x) of the children `sums` or `product`; or f(-x) = conj f(x)."""
    like: tuple[str, complex] | None = None
    """f(1, x) is this other class at so many times x."""


class Unusable(TypeError):
    """What a node's function returned is of no use; the message, which names no node, says why."""


class NodeClass:
    """Base of all node classes. Subclass `Elementwise`, `Ring` or `Function`, or declare a role of the engine's."""

    role: ClassVar[Role] = "compute"
    commutative: ClassVar[bool] = False
    """The order of a `many` child does not matter: children of one family become one reduction axis."""

    reduction: ClassVar[Literal["", "add", "multiply"]] = ""
    """What a commutative class does along its reduction axis."""

    children: ClassVar[Mapping[str, Child]] = {}
    options: ClassVar[Mapping[str, Option]] = {}
    defaults: ClassVar[Mapping[str, float | str]] = {}
    """What stands for the children that may be left out."""

    flag_rule: ClassVar[Callable[..., Tensor] | None] = None
    """`flag_rule(flags, **options)`: the flags of the value, elements `ring.Bits` or 0, from the Tensors of the children's.
    None: all of them together, as its kind of class combines elements (`plan.flags`)."""

    flags_values: ClassVar[bool] = False
    """Whether flags depend on values: `flag_rule` then gets the Tensors of the children's values as keyword `values`."""

    sees_flags: ClassVar[bool] = False
    """Whether the value depends on flags: `compute` of a Function then gets the children's as keyword `flags`."""

    law: ClassVar[Law | None] = None
    """What is known of values at sums and products."""

    numpy: ClassVar[bool | None] = None
    """Whether `compute` needs arrays of numpy's, not JAX's; None: found out by trying. It is then called on the host."""

    derivative: ClassVar[Derivative] = "differences"
    """Of such a `compute`: how it is differentiated, or a function that returns the derivative for each argument."""

    returns: ClassVar[type | None] = None
    """Of such a `compute`: float or complex; None: found out by trying."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        declared = {k: v for base in reversed(cls.__mro__) for k, v in vars(base).items()}
        cls.children = {k: v for k, v in declared.items() if isinstance(v, Child)}
        cls.options = {k: v for k, v in declared.items() if isinstance(v, Option)}
        cls.defaults = {k: v.default for k, v in cls.children.items() if v.default is not None}

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Options as stored; raise ValueError with one plain sentence where a value is not legal.

        Called once per distinct value, not per node: first with all per-member options at their defaults, then for each
        distinct value of a per-member option with the others at their defaults. What a value becomes may depend on static
        options, not on other per-member ones.
        """
        return options

    expanded: ClassVar[Expansion | None] = None
    """`expanded(children, options, make)`: children and options, by name, that say the same in simpler terms; `make(name,
    *children, **options)` defines a node. None: nothing is said in simpler terms. What is not legal is left for the checks."""

    @classmethod
    def taken(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Axes of the grid whose cells it takes together, though they stay (for those that collapse, see `Reducing`)."""
        return ()

    @classmethod
    def family_key(cls, options: Mapping[str, Any]) -> Any:
        """What of the per-member options must agree within a family (hashable), e.g. which elements are 0 or 1."""
        return None


class Elementwise(NodeClass):
    """A function of scalars, applied per tensor element; scalars combine with tensors, tensors must have equal dims.

    `compute(*arrays)` gets JAX arrays (or Python numbers) that broadcast against each other, then the options by name.
    """

    @staticmethod
    def compute(*args: Any, **options: Any) -> Any:
        """The value, from one array (or Python number) per child, which broadcast."""
        raise NotImplementedError


class Ring(NodeClass):
    """A function made of + - * and conjugation only: evaluated on planes, expanded symbolically by the solver.

    `ring(*tensors, **options)` gets Tensors whose elements support + - * and .conjugate(), and returns a Tensor.
    """

    @staticmethod
    def ring(*args: Tensor, **options: Any) -> Tensor:
        """The value, from the children's tensors of elements."""
        raise NotImplementedError


class Function(NodeClass):
    """Any other function of tensors. `compute(*tensors, **options)` gets Tensors of planes and returns a Tensor.

    Where `coordinates` names grid axes, their centres come first, as arrays that broadcast over the grid.
    """

    coordinates: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def axes_of(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The grid axes whose centres `compute` gets; a class whose options say which replaces this."""
        return cls.coordinates

    @classmethod
    def reads(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arrays from outside the tree, as the pixels of a file, that `compute` gets by name besides the options.

        Read on the host each time a program starts (so the class keeps what is large); arguments, not constants, of what is
        compiled. Raises ValueError with one plain sentence.
        """
        return {}

    @staticmethod
    def compute(*args: Any, **options: Any) -> Tensor:
        """The value, from coordinate arrays and the children's tensors of planes."""
        raise NotImplementedError


class Over(NamedTuple):
    """The values that a `Reducing` class takes together."""

    axes: tuple[int, ...]
    """Axes of the array, counted from the end; those along which it does not vary are left out."""
    repeats: int = 1
    """For how many cells each value stands, because axes along which nothing varies are collapsed."""
    good: Any = None
    """Which values count, as an array of booleans that broadcasts to the values'; None: all."""
    centres: tuple[Any, ...] = ()
    """Centres of the cells along each axis of the grid that is taken together, in the order of `axes`' option."""


class Reducing(NodeClass):
    """A function of all cells along some axes of the grid, per tensor element; these axes collapse.

    `reduce(x, over)` gets one array and what to take together, and returns the array with those axes at extent 1, or a
    tuple of such arrays, which become one more tensor axis. Of several children, corresponding elements are taken
    together instead, cell by cell. Values that are flagged do not count; where none counts, the result is 0 and has the
    flags of them all. A run holds axes that are taken together as a whole: tiles never change a value.
    """

    sees_flags = True
    locates: ClassVar[bool] = False
    """Whether `reduce` returns a tuple: the value has one more tensor axis than the child."""

    axes = option(None, type=NAMES, help='axes of the grid: "freq" or ("time", "freq"); None: all')
    flag_mask = option(-1, type=BITS, help="bits of flags that leave a value out; -1: all")

    @classmethod
    def normalise(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Axes as a tuple of names, or None."""
        return options if options["axes"] is None else {**options, "axes": names_of(options["axes"])}

    @staticmethod
    def reduce(x: Any, over: Over) -> Any:
        """The value, from an array (..., grid)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What leaves may ask of the data of one field and spectral window.

    ITRF positions (3,) in m and mounts by antenna (by name and by number); phase centre (2,) in rad, J2000; centres and
    widths of slots (2, nslot) in s and of channels (2, nchan) in Hz.
    """

    positions: Mapping[str | int, np.ndarray]
    mounts: Mapping[str | int, str]
    centre: np.ndarray
    slots: np.ndarray
    channels: np.ndarray
    nowhere: str = ""
    """Why the phase centre is NaN, where it is."""


class Lookup(NodeClass):
    """A leaf whose real value is looked up outside the tree by plain numpy: in the observation, an ephemeris, a file.

    It varies along `axes` only, and is looked up once per tile, or once per run where "time" is not among them. One of a single
    axis may be moved by a CoordTransform: it is then looked up for each cell, while programs run (see `plan.host`).
    """

    role = "lookup"
    axes: ClassVar[tuple[str, ...]] = ()
    of_cells: ClassVar[bool] = False
    """Whether it says what the cells are like, so that it cannot be moved to other coordinates."""

    @staticmethod
    def dims(options: Mapping[str, Any]) -> tuple[int, ...]:
        """The dims of the value."""
        return ()

    @classmethod
    def observe(cls, observation: Observation, options: dict[str, Any]) -> dict[str, Any]:
        """The options of one member, completed from the observation where the user left them out."""
        return options

    @staticmethod
    def look_up(*args: np.ndarray, **options: Any) -> Any:
        """The value of one member, dims + the extents of `axes`, from the centres along `axes`, each (extent,).

        Raises ValueError with one plain sentence where it cannot be known.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Kid:
    """Children of one family: member indices (n,), or (n, k) where the class is commutative (a reduction axis)."""

    family: int
    index: Any


@dataclass(slots=True, eq=False)
class Calls:
    """How the function of a family fared while a compiled program ran, see `plan.host`."""

    troubles: list[str] = field(default_factory=list)
    """What it raised."""
    gave: bool = False
    """Whether it gave a value in some cell."""


@dataclass(slots=True, eq=False)
class Family:
    """Nodes of one class and static options whose children lie in the same families."""

    number: int
    cls: type[NodeClass]
    options: Mapping[str, Any]
    kids: tuple[Kid, ...]
    size: int
    members: dict[str, Any] = field(default_factory=dict)
    """Per-member options: an array or list of length `size` each."""
    calls: Calls = field(default_factory=Calls)

    @property
    def own_axes(self) -> tuple[str, ...]:
        """Axes of the grid along which the class itself varies, whatever its children do."""
        if self.cls.role == "coordinate":
            return (self.options.get("axis") or self.cls.axis,)  # type: ignore[attr-defined]
        if issubclass(self.cls, (Function, Lookup)):
            asked = self.cls.axes_of(self.options) if issubclass(self.cls, Function) else self.cls.axes
            return tuple(axis for axis in asked if axis not in self.options.get("moved", ()))
        return self.options.get("axes") or () if self.cls.role == "constant" else ()

    def whole(self, axes: Collection[str]) -> frozenset[str]:
        """Which of these axes must be held whole, not tile by tile, for the value to be right."""
        if issubclass(self.cls, Reducing):
            chosen = () if len(self.kids) > 1 else self.options.get("axes")
        else:
            chosen = self.own_axes if self.cls.role == "constant" else self.cls.taken(self.options)
        return frozenset(axes if chosen is None else set(axes) & set(chosen))
