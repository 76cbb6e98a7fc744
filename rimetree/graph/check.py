"""What makes a forest illegal: which roles may be children of which, cycles, and the collection of all faults."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import Issue, nearest
from .definition import where
from .families import Block, Site
from .node import NodeClass, Role
from .scope import Alias

ROLES: tuple[Role, ...] = (
    "compute", "constant", "coordinate", "lookup", "parm", "data", "equation", "solver", "sink", "sequence",
    "transform",
)  # fmt: skip

VALUES: frozenset[Role] = frozenset({"compute", "constant", "coordinate", "lookup", "parm", "data", "transform"})

CHILDREN: dict[Role, frozenset[Role]] = {
    "compute": VALUES | {"equation"},
    "constant": VALUES,
    "coordinate": VALUES,
    "lookup": VALUES,
    "parm": VALUES,
    "data": VALUES,
    "equation": VALUES,
    "solver": frozenset({"equation"}),
    "sink": VALUES | {"equation", "sequence"},
    "sequence": frozenset(ROLES),
    "transform": VALUES,
}
"""By role of the parent: the roles that its children may have."""

WANTED: dict[Role, str] = {
    "solver": "equations (Meq.Condeq)",
    "sink": "nodes with a value, or a Meq.ReqSeq",
}
"""By role of the parent, where it is not "nodes with a value"."""


class Wrong(NodeClass):
    """Stands for a node that has a fault, so that checking can go on; never in a finished forest."""


@dataclass(slots=True)
class Fault:
    """A fault of one or more definitions on one script line. `node` is a text, or a provisional number named later."""

    node: str | int
    site: Site
    message: str
    count: int = 1


class Faults:
    """All faults found so far; equal ones of one script line are counted, not repeated."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, str, str], Fault] = {}

    def add(self, node: str | int, site: Site, message: str, count: int = 1) -> None:
        """Record a fault of `count` nodes, of which `node` is the first."""
        key = (id(site[0]), site[1], message, node if isinstance(node, str) else "")
        if key in self._found:
            self._found[key].count += count
        else:
            self._found[key] = Fault(node, site, message, count)

    def __bool__(self) -> bool:
        return bool(self._found)

    def issues(self, name: Callable[[int], str]) -> list[Issue]:
        """The faults for the user; `name` gives the name of a node from its provisional number."""
        return [
            Issue(
                f.node if isinstance(f.node, str) else name(f.node),
                place(f.site),
                f.message + (f" (and {f.count - 1} more from this line)" if f.count > 1 else ""),
            )
            for f in self._found.values()
        ]


def place(site: Site) -> str:
    """`file.py:12` of a site."""
    return where(site[0], site[1]) if site[0] is not None else ""


def check_kinds(blocks: Iterable[Block], count: int, faults: Faults) -> None:
    """Fault the nodes that have a child of a role that their own role does not allow."""
    blocks = list(blocks)
    role_of = np.full(count, len(ROLES), np.int8)
    for block in blocks:
        if block.cls not in (Wrong, Alias):
            role_of[block.ids] = ROLES.index(block.cls.role)
    for block in blocks:
        if block.kids.shape[1] == 0 or block.cls in (Wrong, Alias):
            continue
        allowed = np.array([r in CHILDREN[block.cls.role] for r in ROLES] + [True])
        legal = allowed[role_of[block.kids]]
        if not legal.all():
            bad = ~legal.all(axis=1)
            row = int(np.flatnonzero(bad)[0])
            role = next(ROLES[r] for r in role_of[block.kids[row]] if not allowed[r])
            wanted = WANTED.get(block.cls.role, "nodes with a value")
            message = f"the children of {block.cls.__name__} must be {wanted}, not a node of role {role!r}"
            faults.add(int(block.ids[row]), block.site, message, int(bad.sum()))


def cycles(blocks: Iterable[Block], depth: np.ndarray) -> list[list[int]]:
    """Each cycle among the nodes of depth -1: node numbers from parent to child, the first repeated at the end."""
    onward: dict[int, int] = {}
    for block in blocks:
        for row in np.flatnonzero(depth[block.ids] < 0).tolist():
            kids = block.kids[row]
            onward[int(block.ids[row])] = int(kids[depth[kids] < 0][0])
    found = []
    seen: dict[int, int] = {}
    for start in onward:
        path = []
        node = start
        while node not in seen:
            seen[node] = start
            path.append(node)
            node = onward[node]
        if seen[node] == start and node in path:
            found.append([*path[path.index(node) :], node])
    return found


def suggest(full: str, quals: tuple[str, ...], members: dict[str, list[str]]) -> str:
    """` (did you mean ...?)` for an undefined node; `members` are the bound full names by name without qualifiers."""
    name = ":".join((full, *quals))
    close = difflib.get_close_matches(full, list(members), n=3, cutoff=0.6)
    for base in close:
        same = ":".join((base, *quals))
        if same in members[base]:
            return f" (did you mean {same!r}?)"
    return nearest(name, [n for base in close or list(members)[:200] for n in members[base][: 2000 if close else 10]])
