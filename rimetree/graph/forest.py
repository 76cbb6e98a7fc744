"""A Forest: the checked, interned nodes of a scope as families, with their names and script lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RimetreeError, nearest
from .check import place
from .families import Block, Interned, intern
from .names import Names, NameTable, base_of
from .node import Family, Kid
from .rows import depths
from .values import Values, freeze

if TYPE_CHECKING:
    import networkx

Place = tuple[int, int]
"""A node: number of its family, and its place (member) in it."""


class Places(Mapping[str, Place]):
    """Full name -> (family, member)."""

    def __init__(self, names: Names, offsets: np.ndarray) -> None:
        self._names = names
        self._offsets = offsets

    def __getitem__(self, name: str) -> Place:
        return self.split(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def split(self, number: int) -> Place:
        """Family and member of a node number."""
        family = int(np.searchsorted(self._offsets, number, side="right")) - 1
        return family, number - int(self._offsets[family])


class Forest:
    """All nodes of a scope: checked, equal ones merged, grouped into `families` that are sorted children first.

    A node is (family, member). Made by `Scope.forest()`. Two forests are equal where they have the same nodes and
    names, however these are numbered.
    """

    families: list[Family]
    """In topological order, children first."""
    names: Mapping[str, Place]
    """Full name ("G:p:q:k=v") -> (family, member). A node may have several names, or none."""

    def __init__(self, interned: Interned, tables: list[NameTable], roots: list[int] | None = None) -> None:
        self.families = interned.families
        self._offsets = interned.offsets
        self._sites = interned.sites
        self._site_of = interned.site_of
        self._names = Names(tables, len(self))
        self._places = Places(self._names, self._offsets)
        self.names = self._places
        self._roots = roots
        self.layouts: dict[Any, Any] = {}
        """What runs on data have found out about this forest, for the next run."""
        self.programs: dict[Any, Any] = {}
        """What evaluating has compiled, by node and shape of the grid."""

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def __repr__(self) -> str:
        return f"<forest of {len(self)} nodes in {len(self.families)} families>"

    # ---- nodes and names

    def find(self, name: str) -> Place:
        """(family, member) of a node by full name. Raises RimetreeError, with the nearest name, where there is none."""
        name = str(name)
        if name in self.names:
            return self.names[name]
        same = list(self._names.of(base_of(name)))
        if same:
            message = (
                f"there is no node {name!r}{nearest(name, same[:5000])}; nodes of that name begin with {same[0]!r}"
            )
        else:
            message = f"there is no node {name!r}{nearest(base_of(name), self._names.bases())}"
        raise RimetreeError(message)

    def name_of(self, family: int, member: int) -> str:
        """A node's first name; for a nameless one its class and children, as "ConjTranspose(G:p)"."""
        return self._text(family, member, 3)

    def written(self, family: int) -> int:
        """The number that a family has where the forest was written, before anything was taken apart."""
        return family

    def class_of(self, family: int, member: int) -> str:
        """The name of a node's class."""
        return self.families[family].cls.__name__

    def _text(self, family: int, member: int, depth: int) -> str:
        name = self._names.text(int(self._offsets[family]) + member)
        if name is not None:
            return name
        node = self.families[family]
        if node.cls.role in ("constant", "lookup", "parm", "data"):
            own = [str(v) for v in (node.members[key][member] for key in node.members) if v is not None]
            return own[-1] if node.cls.role == "parm" else f"{node.cls.__name__}({', '.join(own)})"
        kids = list(self._kids(node, member))
        if depth == 0 and kids:
            return f"{node.cls.__name__}(...)"
        shown = [self._text(*kid, depth - 1) for kid in kids[:4]] + ["..."] * (len(kids) > 4)
        return f"{node.cls.__name__}({', '.join(shown)})"

    @staticmethod
    def _kids(family: Family, member: int) -> Iterator[Place]:
        for kid in family.kids:
            yield from ((kid.family, int(i)) for i in np.atleast_1d(kid.index[member]))

    def where(self, family: int, member: int) -> str:
        """The script line of a node's first definition, as "file.py:12"."""
        return place(self._sites[self._site_of[family][member]])

    def qualifiers(self, name: str) -> tuple[str, ...]:
        """The qualifiers in a full name: ("p", "q") of "G:p:q". Raises RimetreeError where there is no such node."""
        self.find(name)
        rest = str(name)[len(base_of(str(name))) + 1 :]
        return tuple(rest.split(":")) if rest else ()

    @property
    def roots(self) -> list[tuple[int, np.ndarray]]:
        """(family, members) of the nodes that the forest was asked for, or else of all nodes without parents."""
        if self._roots is not None:
            places = [self._places.split(number) for number in self._roots]
            return [(f, np.array([m for g, m in places if g == f])) for f in dict.fromkeys(f for f, _ in places)]
        free = [np.ones(family.size, bool) for family in self.families]
        for family in self.families:
            for kid in family.kids:
                free[kid.family][kid.index.ravel()] = False
        return [(number, np.flatnonzero(members)) for number, members in enumerate(free) if members.any()]

    def tagged(self, tag: str) -> list[tuple[int, np.ndarray]]:
        """(family, members) of all nodes with a tag."""
        return [(f.number, np.arange(f.size)) for f in self.families if tag in f.options["tags"]]

    def to_networkx(self) -> networkx.MultiDiGraph[Place]:
        """A graph for browsing: nodes (family, member) with `name`, `cls`, `where`; edges from parents to children."""
        import networkx

        graph: networkx.MultiDiGraph[Place] = networkx.MultiDiGraph()
        for family in self.families:
            for member in range(family.size):
                at = (family.number, member)
                graph.add_node(at, name=self.name_of(*at), cls=family.cls.__name__, where=self.where(*at))
                graph.add_edges_from((at, kid) for kid in self._kids(family, member))
        return graph

    # ---- equality

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Forest):
            return NotImplemented
        count = len(self)
        if count != len(other) or len(self._names) != len(other._names):
            return False
        values, keys = Values(), {}  # type: ignore[var-annotated]
        blocks = [*self._blocks(values, keys, 0), *other._blocks(values, keys, count)]
        final = intern(blocks, depths([(b.ids, b.kids) for b in blocks], 2 * count), values).final
        if int(final.max(initial=-1)) + 1 != count:
            return False
        mine, theirs = final[:count], final[count:]
        return all(
            {n: int(mine[i]) for n, i in self._names.of(base).items()}
            == {n: int(theirs[i]) for n, i in other._names.of(base).items()}
            for base in {*self._names.bases(), *other._names.bases()}
        )

    def _blocks(self, values: Values, keys: dict[object, int], start: int) -> Iterator[Block]:
        """The families as blocks to be interned again, together with another forest's."""
        for family in self.families:
            ids = start + int(self._offsets[family.number]) + np.arange(family.size)
            columns = [start + self._offsets[kid.family] + _columns(kid) for kid in family.kids]
            kids = np.concatenate(columns, axis=1) if columns else np.zeros((family.size, 0), np.int64)
            members = {name: values.encode_array(np.asarray(v), 1) for name, v in family.members.items()}
            key = keys.setdefault((family.cls, freeze(family.options)), len(keys))
            yield Block(family.cls, key, family.options, ids, kids, members, (None, 0))

    # ---- what later layers do with a forest

    def evaluate(self, root: str, cells: Any, oracle: bool = False, **kw: Any) -> Any:
        """The Result of a node on cells; see `rimetree.plan.evaluate.evaluate`."""
        from ..plan.evaluate import evaluate

        return evaluate(self, root, cells, oracle=oracle, **kw)

    def explain(self, root: str | None = None, **kw: Any) -> Any:
        """What will be computed, when, and of which size; see `rimetree.batch.explain.explain`."""
        from ..batch.explain import explain

        return explain(self, root, **kw)

    def run(
        self,
        data: Any,
        solutions: Any = None,
        *,
        overwrite: bool = False,
        memory: Any = None,
        progress: bool = True,
        start: Any = None,
        fixed: Any = None,
        ref_antenna: str | None = None,
    ) -> Any:
        """Solve and write on a Measurement Set; see `rimetree.batch.run.run`."""
        from ..batch.run import run

        return run(
            self,
            data,
            solutions,
            overwrite=overwrite,
            memory=memory,
            progress=progress,
            start=start,
            fixed=fixed,
            ref_antenna=ref_antenna,
        )


def _columns(kid: Kid) -> np.ndarray:
    """A kid's index as (n, k)."""
    index = np.asarray(kid.index, np.int64)
    return index if index.ndim == 2 else index[:, None]
