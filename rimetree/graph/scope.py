"""Scopes and stubs: `ns.G(p) << Meq.Parm(1)`, and array-wise `ns.G.over(P) << ...` with references `ns.G.at(P)`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from sys import _getframe
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RimetreeError
from . import relief
from .definition import Arithmetic, Definition, Ref
from .node import NodeClass, child

if TYPE_CHECKING:
    from .forest import Forest

LARGE = 10_000
"""From this many stubs on, a scope asks the garbage collector for relief."""


class Alias(NodeClass):
    """Another name for its child (`ns.y << ns.x`, `ns.x << 3`); gone once the forest is built, hence not registered."""

    node = child(help="what it stands for")


def qualifier_text(value: Any) -> str:
    """A qualifier as it appears in names. Raises RimetreeError where it is not a text or number, or holds a colon."""
    if not isinstance(value, (str, int, float, np.generic)):
        raise RimetreeError(
            f"a qualifier must be a text or a number, not {value!r}; for many nodes write .over(...) or .at(...)"
        )
    text = str(value)
    if ":" in text:
        raise RimetreeError(f"the qualifier {text!r} contains a colon, which separates qualifiers in names")
    return text


class Codes(dict[Any, int]):
    """Qualifiers as small integers; `texts[code]` is the qualifier."""

    __slots__ = ("arrays", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.arrays: dict[tuple[str, bytes], np.ndarray] = {}

    def __missing__(self, value: Any) -> int:
        text = qualifier_text(value)
        if type(value) is str:
            self[value] = code = len(self.texts)
            self.texts.append(text)
        else:
            self[value] = code = self[text]
        return code

    def encode(self, values: Any) -> np.ndarray:
        """Codes of one qualifier, or of a sequence or array of them, in its shape."""
        if isinstance(values, (str, int, float, np.generic)):
            return np.array(self[values], np.int32)
        if isinstance(values, np.ndarray):
            return self._encode_array(values)
        flat = list(values)
        if flat and isinstance(flat[0], (list, tuple, np.ndarray)):
            return self._encode_array(np.array(flat, object))
        return np.fromiter(map(self.__getitem__, flat), np.int32, len(flat))

    def _encode_array(self, values: np.ndarray) -> np.ndarray:
        key = (values.dtype.str, values.tobytes()) if values.dtype != object else None
        codes = self.arrays.get(key) if key else None  # the same stations and baselines come again and again
        if codes is None:
            codes = np.fromiter(map(self.__getitem__, values.ravel().tolist()), np.int32, values.size)
            if key:
                self.arrays[key] = codes
        return codes.reshape(values.shape)


class Root:
    """What a scope and its subscopes share: all names, coded qualifiers, second definitions."""

    __slots__ = ("__weakref__", "again", "codes", "count", "names")

    def __init__(self) -> None:
        self.names: dict[str, Name] = {}
        self.codes = Codes()
        self.again: list[tuple[Stub, Definition]] = []
        self.count = 0

    def name(self, full: str) -> Name:
        """The table of all nodes called `full`, subscope prefix included, qualifiers not."""
        if full not in self.names:
            self.names[full] = Name(self, full)
        return self.names[full]


class Members:
    """Nodes bound at once by `over`: their coded qualifiers and their one definition."""

    __slots__ = ("definition", "ref")

    def __init__(self, ref: Ref, definition: Definition) -> None:
        self.ref = ref
        self.definition = definition

    def qualifiers(self, texts: list[str]) -> Iterator[tuple[str, ...]]:
        """The qualifiers of each member, in row-major order."""
        if not self.ref.codes:
            return iter([()])
        return zip(*[map(texts.__getitem__, c.tolist()) for c in self.ref.columns], strict=True)


class Name(dict[tuple[Any, ...], "Stub"]):
    """All stubs of one name by qualifiers, and in `bound` what was bound, in that order."""

    __slots__ = ("bound", "full", "root")

    def __init__(self, root: Root, full: str) -> None:
        self.root = root
        self.full = full
        self.bound: list[Stub | Members] = []

    def __missing__(self, quals: tuple[Any, ...]) -> Stub:
        for qual in quals:
            if type(qual) is not str or ":" in qual:
                texts = tuple(map(qualifier_text, quals))
                self[quals] = stub = self[texts] if texts != quals else Stub(self, texts)
                return stub
        self[quals] = stub = Stub(self, quals)
        self.root.count += 1
        if self.root.count == LARGE:
            relief.relieve(self.root)
        return stub

    def stubs(self) -> Iterator[Stub]:
        """The bound stubs, in binding order."""
        texts = self.root.codes.texts
        for entry in self.bound:
            if type(entry) is Stub:
                yield entry
            elif isinstance(entry, Members):
                yield from map(self.__getitem__, entry.qualifiers(texts))


class Stub(Arithmetic):
    """A name, defined or not yet: `ns.G`, `ns.G(p, q, k=v)`.

    `stub << definition` binds it and returns it. Iterating, and `len`, go over the bound nodes of that name whose
    qualifiers begin with the stub's, in binding order: `Meq.Solver(*ns.eq, ...)`.
    """

    __slots__ = ("definition", "name", "number", "quals")

    def __init__(self, name: Name, quals: tuple[str, ...]) -> None:
        self.name = name
        self.quals = quals
        self.definition: Definition | None = None
        self.number = -1

    def __call__(self, *quals: Any, **keywords: Any) -> Stub:
        """The node with these further qualifiers."""
        if self.quals:
            quals = self.quals + quals
        if keywords:
            quals += tuple(f"{k}={qualifier_text(v)}" for k, v in sorted(keywords.items()))
        try:
            return self.name[quals]
        except TypeError:  # a list or an array is not hashable
            return self.name[tuple(map(qualifier_text, quals))]

    def __lshift__(self, value: Any) -> Stub:
        definition = value if type(value) is Definition else Definition(Alias, (value,), (), _getframe(1))
        if self.definition is None:
            self.definition = definition
            self.name.bound.append(self)
        elif self.definition is not definition:
            self.name.root.again.append((self, definition))
        return self

    def at(self, *quals: Any, **keywords: Any) -> Ref:
        """Many nodes at once: each qualifier is one text or number, or a sequence or array of them; they broadcast.

        `ns.G.at(P)` refers to `ns.G(p)` for every p in P. In an array-wise definition references broadcast against the
        members as numpy arrays do. Where a class that takes any number of children (Add, MatrixMultiply) has a single
        argument with more axes than the members, these are its children: with P and Q of shape (n,) and D of (k,),
        `ns.model.over(P, Q) << Meq.Add(ns.V.at(P[:, None], Q[:, None], D))` sums over D. (Two or more arguments, as in
        `ns.a.at(...) * ns.b.at(...)`, go element by element; a Solver and a ReqSeq spread all their arguments.)
        Raises RimetreeError where the shapes do not broadcast.
        """
        codes = self.name.root.codes
        columns = [codes.encode(q) for q in self.quals + quals]
        for key, value in sorted(keywords.items()):
            values = np.asarray(value)
            texts = [f"{key}={qualifier_text(v)}" for v in values.ravel().tolist()]
            columns.append(codes.encode(np.array(texts, object).reshape(values.shape)))
        try:
            spread = np.broadcast_arrays(*columns)
        except ValueError:
            shapes = ", ".join(str(c.shape) for c in columns)
            raise RimetreeError(
                f"{self}: the qualifiers' shapes {shapes} do not broadcast against each other"
            ) from None
        return Ref(self.name, tuple(spread), spread[0].shape if spread else ())

    def over(self, *quals: Any, **keywords: Any) -> Over:
        """Left side of an array-wise definition of many nodes; arguments as for `at`, one member per broadcast element.

        `ns.V.over(P, Q) << Meq.MatrixMultiply(ns.G.at(P), ns.X.at(P, Q), Meq.ConjTranspose(ns.G.at(Q)))`

        On the right, numpy arrays and sequences of texts (as children or as per-member options) hold one value per
        member; numbers and nested lists of numbers are one value for all. Every name of a Parm is its own parameter.
        The binding returns a reference to the members.
        """
        return Over(self.at(*quals, **keywords))

    def all(self) -> Ref:
        """All bound nodes of this name, at once, in binding order."""
        if self.quals:
            raise RimetreeError(f"{self}.all(): leave out the qualifiers, or write *{self}")
        return Ref(self.name, None, ())

    def __iter__(self) -> Iterator[Stub]:
        depth = len(self.quals)
        return (s for s in self.name.stubs() if s.quals[:depth] == self.quals)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return ":".join((self.name.full, *self.quals))

    def __repr__(self) -> str:
        return f"<node {self}>"


class Over:
    """`stub.over(...)`, waiting for its `<<`."""

    __slots__ = ("ref",)

    def __init__(self, ref: Ref) -> None:
        self.ref = ref

    def __lshift__(self, value: Any) -> Ref:
        definition = value if type(value) is Definition else Definition(Alias, (value,), (), _getframe(1))
        self.ref.name.bound.append(Members(self.ref, definition))
        return self.ref


class Scope:
    """Where nodes are named: `ns.name`, `ns["name"]`, `ns.name(qualifiers)`; definitions are bound with `<<`.

    Names may be used before they are bound. Nothing is checked until `forest()`, which reports everything at once.
    """

    _root: Root
    _prefix: str

    def __init__(self) -> None:
        self.__dict__.update(_root=Root(), _prefix="")

    def __getattr__(self, name: str) -> Stub:
        if name.startswith("_"):  # copy, pickle and notebooks ask for many of these; ns["_x"] is a node
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Stub:
        if not isinstance(name, str) or not name or ":" in name:
            raise RimetreeError(f"a node's name must be a text without colons, not {name!r}; write ns.name(qualifiers)")
        stub = self._root.name(self._prefix + name)[()]
        if not hasattr(Scope, name):
            self.__dict__[name] = stub  # the next ns.name is a plain attribute
        return stub

    def __setattr__(self, name: str, value: Any) -> None:
        raise RimetreeError(f"write ns.{name} << ..., not ns.{name} = ...")

    def __lshift__(self, value: Any) -> Stub:
        """Bind a definition under a name made from its class."""
        definition = value if type(value) is Definition else Definition(Alias, (value,), (), _getframe(1))
        name = self._root.name(f"{self._prefix}{definition.class_name}#{len(self._root.names)}")
        return name[()] << definition

    def Subscope(self, name: str, *quals: Any, **keywords: Any) -> Scope:
        """A scope within this forest, whose nodes' names begin with "name:qualifiers::"."""
        stub = Stub(Name(Root(), name), ())(*quals, **keywords)
        scope = Scope()
        scope.__dict__.update(_root=self._root, _prefix=f"{self._prefix}{stub}::")
        return scope

    def search(
        self, *, tags: str | None = None, name: str | None = None, cls: str | type[NodeClass] | None = None
    ) -> list[Stub]:
        """The bound nodes of this scope and its subscopes that have all these tags (blank-separated), whose full name
        contains the regular expression `name`, and which were defined with this class, in binding order per name."""
        wanted = set((tags or "").split())
        pattern = re.compile(name or "")
        kind = cls.__name__ if isinstance(cls, type) else cls
        found = []
        for table in list(self._root.names.values()):
            if table.full.startswith(self._prefix):
                found += [s for s in self._matching(table, wanted, kind) if pattern.search(str(s))]
        return found

    @staticmethod
    def _matching(table: Name, tags: set[str], kind: str | None) -> Iterator[Stub]:
        texts = table.root.codes.texts
        for entry in list(table.bound):
            definition = entry.definition
            if definition is None or kind not in (None, definition.class_name):
                continue
            try:
                own = tag_tuple(definition.keyword("tags"))
            except ValueError:  # reported by forest()
                own = ()
            if tags <= set(own):
                yield from [entry] if isinstance(entry, Stub) else map(table.__getitem__, entry.qualifiers(texts))

    def forest(self, *roots: Stub | Definition | str) -> Forest:
        """The checked forest of all nodes, or of those that `roots` (nodes or their names) need.

        Raises ForestError listing every fault of the scope, also of what the roots do not need: undefined, misspelt,
        cyclic and twice-defined nodes, wrong children and options, each with its script line.
        """
        from .build import build

        return build(self._root, roots)


def tag_tuple(tags: Any) -> tuple[str, ...]:
    """Tags as stored: from a blank-separated text or a sequence of texts, without repetitions. Raises ValueError."""
    if tags is None:
        return ()
    words = tags.split() if isinstance(tags, str) else list(tags) if isinstance(tags, (list, tuple, set)) else [None]
    if not all(isinstance(w, str) for w in words):
        raise ValueError(f"tags must be a text or a list of texts, not {tags!r}")
    return tuple(dict.fromkeys(words))
