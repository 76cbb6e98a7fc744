"""Definitions: the light record that `Meq.Sin(child, option=value)` makes. Nothing is checked before `Scope.forest()`.

A definition keeps what was written and where. Hundreds of thousands are made by a user's loops, hence slots, shared
keyword tuples, and the bytecode offset instead of the line number.
"""

from __future__ import annotations

from sys import _getframe
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from .node import NodeClass

if TYPE_CHECKING:
    from .scope import Name

PLAIN, SEQUENCES, BULK = 0, 1, 2
"""What a definition holds: nothing special; lists or arrays somewhere, which under `over` mean one value per member;
references to many nodes (`Ref`), here or further down."""

_keywords: dict[tuple[str, ...], tuple[str, ...]] = {}

_OPERATORS = {
    "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "Divide", "remainder": "Mod", "power": "Pow",
}  # fmt: skip
"""Node classes by the names of numpy's operators."""

_FUNCTIONS = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "square": "Sqr", "absolute": "Abs", "conjugate": "Conj", "negative": "Negate",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan", "arctan2": "Atan2",
    "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "floor": "Floor", "ceil": "Ceil", "reciprocal": "Invert", "matmul": "MatrixMultiply",
}  # fmt: skip
"""Node classes that do what a function of numpy's does, by its name."""


def where(code: CodeType, lasti: int) -> str:
    """`file.py:12` of a bytecode offset."""
    for start, stop, line in code.co_lines():
        if start <= lasti < stop and line is not None:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"


class Arithmetic:
    """Operators that define nodes: + - * / % ** unary minus, abs, with nodes or numbers on either side."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Definition:
        """Operators with numpy's arrays and numbers on the left. TypeError where a function of numpy's is given a node."""
        if method == "__call__" and ufunc.__name__ in _OPERATORS:
            return Definition(_OPERATORS[ufunc.__name__], inputs, (), _getframe(1))
        own = _FUNCTIONS.get(ufunc.__name__)
        instead = f"write Meq.{own}" if own else "a function with @rt.node can use it"
        raise TypeError(f"np.{ufunc.__name__} takes numbers, not nodes: {instead}")

    def __add__(self, other: Any) -> Definition:
        return Definition("Add", (self, other), (), _getframe(1))

    def __radd__(self, other: Any) -> Definition:
        return Definition("Add", (other, self), (), _getframe(1))

    def __sub__(self, other: Any) -> Definition:
        return Definition("Subtract", (self, other), (), _getframe(1))

    def __rsub__(self, other: Any) -> Definition:
        return Definition("Subtract", (other, self), (), _getframe(1))

    def __mul__(self, other: Any) -> Definition:
        return Definition("Multiply", (self, other), (), _getframe(1))

    def __rmul__(self, other: Any) -> Definition:
        return Definition("Multiply", (other, self), (), _getframe(1))

    def __truediv__(self, other: Any) -> Definition:
        return Definition("Divide", (self, other), (), _getframe(1))

    def __rtruediv__(self, other: Any) -> Definition:
        return Definition("Divide", (other, self), (), _getframe(1))

    def __mod__(self, other: Any) -> Definition:
        return Definition("Mod", (self, other), (), _getframe(1))

    def __rmod__(self, other: Any) -> Definition:
        return Definition("Mod", (other, self), (), _getframe(1))

    def __pow__(self, other: Any) -> Definition:
        return Definition("Pow", (self, other), (), _getframe(1))

    def __rpow__(self, other: Any) -> Definition:
        return Definition("Pow", (other, self), (), _getframe(1))

    def __neg__(self) -> Definition:
        return Definition("Negate", (self,), (), _getframe(1))

    def __abs__(self) -> Definition:
        return Definition("Abs", (self,), (), _getframe(1))


class Ref(Arithmetic):
    """A reference to many nodes of one name at once, made by `stub.at(...)`, `stub.over(...) << ...` and `stub.all()`.

    `shape` is that of the qualifier arrays broadcast against each other; `codes` holds the coded qualifiers, one array
    per qualifier, each of `shape`; it is None where all bound nodes of that name are meant.
    """

    __slots__ = ("_columns", "codes", "name", "shape")

    def __init__(self, name: Name, codes: tuple[np.ndarray, ...] | None, shape: tuple[int, ...]) -> None:
        self.name = name
        self.codes = codes
        self.shape = shape
        self._columns: tuple[np.ndarray, ...] | None = None

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """The coded qualifiers, each as a column (n,) in row-major order; made once, for broadcasting leaves views."""
        if self._columns is None:
            self._columns = tuple(c.ravel() for c in self.codes or ())
        return self._columns


class Definition(Arithmetic):
    """One node, or under `over` many: its class (or class name), arguments as written, and the script line.

    `args` are the positional arguments followed by the values of the keywords `names`. `number` belongs to `gather`.
    """

    __slots__ = ("args", "bulk", "cls", "code", "lasti", "names", "number")

    def __init__(
        self, cls: type[NodeClass] | str, args: tuple[Any, ...], names: tuple[str, ...], frame: FrameType
    ) -> None:
        self.cls = cls
        self.names = names
        self.code = frame.f_code
        self.lasti = frame.f_lasti
        self.number = -1
        self.args = args
        self.bulk = PLAIN
        for arg in args:
            kind = type(arg)
            if kind is Definition:
                if arg.bulk:
                    self.bulk = max(self.bulk, arg.bulk)
            elif kind in _SPECIAL:
                self._special(frame)
                break

    def _special(self, frame: FrameType) -> None:
        """Set `bulk`; makers among the arguments become definitions, lists and arrays are copied."""
        result: list[Any] = []
        for arg in self.args:
            kind = type(arg)
            if kind is Maker:
                arg = Definition(arg.cls, (), (), frame)
            elif kind is Definition:
                self.bulk = max(self.bulk, arg.bulk)
            elif kind is Ref:
                self.bulk = BULK
            elif kind in _SPECIAL:
                self.bulk = max(self.bulk, SEQUENCES)
                arg = _copied(arg)
            result.append(arg)
        self.args = tuple(result)

    @property
    def where(self) -> str:
        """The script line, as `file.py:12`."""
        return where(self.code, self.lasti)

    def keyword(self, name: str) -> Any:
        """The value given for a keyword, or None."""
        return self.args[self.names.index(name) - len(self.names)] if name in self.names else None

    @property
    def class_name(self) -> str:
        """The name of the node class, also where there is no such class."""
        return self.cls if isinstance(self.cls, str) else self.cls.__name__

    def __repr__(self) -> str:
        return f"<{self.class_name} defined at {self.where}>"


def _copied(value: Any) -> Any:
    """Lists and arrays, and those within lists, copied; all else as it is."""
    if type(value) is list:
        return [_copied(v) for v in value]
    return value.copy() if type(value) is np.ndarray else value


class Maker:
    """`Meq.Sin`: called with children first, then options in declared order, either of them by keyword too.

    Children are nodes, numbers, nested lists or arrays (constants), or makers (`Meq.Freq` is `Meq.Freq()`).
    Every class understands `tags="a b"`. Mistakes are collected and raised by `Scope.forest()`.
    """

    __slots__ = ("cls",)

    def __init__(self, cls: type[NodeClass] | str) -> None:
        self.cls = cls

    def __call__(self, *args: Any, **options: Any) -> Definition:
        """A definition with these children and options."""
        if not isinstance(self.cls, str) and self.cls.defaults:
            options |= _left_out(self.cls, len(args), options, _getframe(1))
        if options and not isinstance(self.cls, str) and self.cls.expanded is not None:
            args, options = _expanded(self.cls, args, options, _getframe(1))
        if options:
            names = tuple(options)
            return Definition(
                self.cls, args + tuple(options.values()), _keywords.setdefault(names, names), _getframe(1)
            )
        return Definition(self.cls, args, (), _getframe(1))


def _left_out(cls: type[NodeClass], given: int, options: dict[str, Any], frame: FrameType) -> dict[str, Any]:
    """The default children that are neither among the first `given` nor among the keywords."""
    absent = [name for name in list(cls.children)[given:] if name in cls.defaults and name not in options]
    values = {name: cls.defaults[name] for name in absent}
    return {n: Definition(v, (), (), frame) if isinstance(v, str) else v for n, v in values.items()}


def _expanded(
    cls: type[NodeClass], args: tuple[Any, ...], options: dict[str, Any], frame: FrameType
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a class that says some of its options by other nodes; unchanged where there are too many."""
    if len(args) > len(cls.children) or cls.expanded is None:
        return args, options
    children = dict(zip(cls.children, args, strict=False)) | {k: v for k, v in options.items() if k in cls.children}

    def make(name: str, *args: Any, **options: Any) -> Definition:
        return Definition(name, args + tuple(options.values()), tuple(options), frame)

    children, rest = cls.expanded(children, {k: v for k, v in options.items() if k not in cls.children}, make)
    return (), children | rest


_SPECIAL = frozenset({Ref, Maker, list, tuple, np.ndarray})
