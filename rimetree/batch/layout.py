"""What a forest asks of its data: solvers in order, sinks, columns, baselines of data nodes; checks before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ConfigError, ForestError, Issue
from ..graph.node import Family
from ..plan.depends import depends
from ..plan.flags import needs
from ..plan.lookup import lookup_template
from ..plan.lower import Source
from ..plan.rewrite import rewritten
from ..plan.shapes import shapes
from ..plan.subset import subset
from ..plan.template import Template, open_template
from .baselines import Baselines
from .cascade import UVW, correlations, families_below
from .flagging import data_bits
from .known import faults
from .solvable import SolverNode, solver_nodes

if TYPE_CHECKING:
    from ..graph.forest import Forest


SINK = {"flag": False, "flagset": None, "flag_mask": -1}
"""Options of a Sink about flags, and what stands for those that its class does not have."""

Shapes = tuple[dict[int, Template], dict[Source, bool]]


@dataclass(frozen=True, slots=True, eq=False)
class SinkNode:
    """One Sink family: the family below, the member of it per sink, baselines, column; whether to write FLAG, which flagset, and
    which bits."""

    number: int
    child: int
    index: np.ndarray
    baseline: np.ndarray
    column: str
    flag: bool
    flagset: str | None
    mask: int


@dataclass(slots=True, eq=False)
class Layout:
    """A forest against the antennas and baselines of its data. `baseline`: data family -> baseline of each member."""

    forest: NodeNames
    families: Mapping[int, Family]
    solvers: list[SolverNode] = field(default_factory=list)
    sinks: list[SinkNode] = field(default_factory=list)
    baseline: dict[int, np.ndarray] = field(default_factory=dict)
    _shapes: dict[Any, Any] = field(default_factory=dict)

    @property
    def solvable(self) -> dict[int, np.ndarray]:
        """Parm family -> which of its members some Solver fits."""
        found: dict[int, np.ndarray] = {}
        for solver in self.solvers:
            for n, chosen in solver.parms.items():
                found[n] = found.get(n, False) | chosen
        return found

    @property
    def whole(self) -> str:
        """The name of a node that takes all slots together, so that they must be held in one tile; empty: there is none."""
        wanting = (n for n, family in self.families.items() if family.whole(("time",)))
        return next((self.forest.name_of(n, 0) for n in wanting), "")

    @property
    def reads(self) -> set[str]:
        """Columns read."""
        return {f.options["column"] for f in self.families.values() if f.cls.role == "data"} - {UVW, *self.skies}

    @property
    def skies(self) -> dict[str, Mapping[str, Any]]:
        """What is predicted from sky models, as columns, with the options of the nodes."""
        data = [f for f in self.families.values() if f.cls.role == "data"]
        return {f.options["column"]: f.options for f in data if "sky" in f.options}

    @property
    def flagsets(self) -> set[str]:
        """Flagsets read."""
        return {name for f in self.families.values() if f.cls.role == "data" for name in f.options.get("flagsets", ())}

    @property
    def marks(self) -> set[str]:
        """Flagsets written."""
        return {sink.flagset for sink in self.sinks if sink.flagset}

    @property
    def uvw(self) -> bool:
        """Whether UVW is read."""
        return bool(self.skies) or any(
            f.cls.role == "data" and f.options["column"] == UVW for f in self.families.values()
        )

    @property
    def writes(self) -> set[str]:
        """Columns written."""
        return {sink.column for sink in self.sinks}

    def obstacles(self, ms: Any) -> list[str]:
        """What is in the way of reading and writing a Measurement Set, one line each."""
        found: list[str] = ms.obstacles(self.reads, self.writes)
        return found + (ms.flagset_obstacles(self.flagsets, self.marks) if self.flagsets or self.marks else [])

    def visibilities(self) -> dict[int, np.ndarray]:
        """Data families that are 2x2 visibilities."""
        return {n: b for n, b in self.baseline.items() if self.families[n].options["column"] != UVW}

    def templates(self, corrs: Sequence[str]) -> dict[int, Template]:
        """Shapes of the Parm, lookup and data families; absent correlations are 0."""
        result: dict[int, Template] = {}
        there = correlations(corrs)
        for number, family in self.families.items():
            if family.cls.role == "parm":
                result[number] = open_template(())
            elif family.cls.role == "lookup" and not family.kids:
                result[number] = lookup_template(family)
            elif family.cls.role == "data":
                uvw = family.options["column"] == UVW
                result[number] = open_template((3,)) if uvw else ((2, 2), tuple(None if c >= 0 else 0 for c in there))
        return result

    def shapes(self, corrs: Sequence[str], complex_families: frozenset[int], sizes: Mapping[str, int]) -> Shapes:
        """Templates of all families, and which of their elements are real (see `plan.shapes`)."""
        key = tuple(corrs), complex_families, *sizes.items()
        if key not in self._shapes:
            self._shapes[key] = shapes(self.families, self.templates(corrs), complex_families, sizes)
        found: Shapes = self._shapes[key]
        return found


def layout(forest: Forest, baselines: Baselines) -> Layout:
    """Read a forest; what was found for the same baselines before is used again.

    Raises ForestError naming every data node or Sink whose baseline is not there, SolveError where a Solver has
    nothing to fit or a Parm no equation, ConfigError where there are data nodes but no baselines at all.
    """
    if baselines.key not in forest.layouts:
        forest.layouts[baselines.key] = _layout(forest, baselines)
    found: Layout = forest.layouts[baselines.key]
    return found


def _layout(forest: Forest, baselines: Baselines) -> Layout:
    forest = rewritten(forest)
    families = forest.families
    wanted = {n: np.arange(f.size) for n, f in enumerate(families) if f.cls.role in ("solver", "sink")}
    if not wanted:
        raise ForestError([Issue("forest", "", "has neither a Solver nor a Sink: there is nothing to run")])
    sub = subset(families, wanted)
    if not baselines.count and any(f.cls.role in ("data", "sink") for f in sub.families.values()):
        raise ConfigError("this forest has Spigots or Sinks: run it on an rt.MeasurementSet, not on rt.Cells")
    found = Layout(NodeNames(forest, sub), sub.families)
    issues: list[Issue] = []
    for number, family in sub.families.items():
        if family.cls.role == "data":
            found.baseline[number] = _baselines(found, number, baselines, issues)
        elif family.cls.role == "parm":
            issues += [_issue(found, number, member, text) for member, text in faults(family).items()]
    if issues:
        raise ForestError(issues)
    found.solvers = solver_nodes(forest, sub)
    for solver in found.solvers:
        issues += _flags_by_unknowns(found, solver)
    found.sinks = _sinks(found, baselines, issues)
    if issues:
        raise ForestError(issues)
    return found


class NodeNames:
    """Names and script lines of the members of a subset."""

    def __init__(self, forest: Forest, sub: Any) -> None:
        self.forest, self.sub = forest, sub

    def name_of(self, family: int, member: int) -> str:
        """Full name of a node."""
        return self.forest.name_of(family, int(self.sub.members[family][member]))

    def class_of(self, family: int, member: int) -> str:
        """Name of the class of a node, as it was written."""
        return self.forest.class_of(family, int(self.sub.members[family][member]))

    def where(self, family: int, member: int) -> str:
        """Script line of a node."""
        return self.forest.where(family, int(self.sub.members[family][member]))

    def qualifiers(self, family: int, member: int) -> tuple[Any, ...]:
        """Qualifiers of a node's name; none where it is anonymous."""
        name = self.name_of(family, member)
        return tuple(self.forest.qualifiers(name)) if name in self.forest.names else ()

    def order(self, family: int, member: int) -> int:
        """Position in the forest."""
        return int(self.sub.members[family][member])


def _baselines(found: Layout, number: int, baselines: Baselines, issues: list[Issue]) -> np.ndarray:
    """The baseline of every member of a data family."""
    members = found.families[number].members
    result = np.zeros(found.families[number].size, np.int32)
    for i, (p, q) in enumerate(zip(members["p"], members["q"], strict=True)):
        place = baselines.find(p, q)
        if place is None:
            issues.append(_issue(found, number, i, baselines.missing(p, q)))
        else:
            result[i] = place
    return result


def _issue(found: Layout, number: int, member: int, text: str) -> Issue:
    return Issue(found.forest.name_of(number, member), found.forest.where(number, member), text)


def _flags_by_unknowns(found: Layout, solver: SolverNode) -> list[Issue]:
    """Nodes of which what is flagged would change while the Solver fits."""
    families, issues = found.families, []
    leaves = [n for n, family in families.items() if not family.kids]
    for condeq in solver.condeqs:
        valued, flagged = needs(families, leaves, (), {condeq}, families)
        known = depends(families)
        for number in sorted(n for n in flagged if families[n].cls.flags_values):
            unknown = [
                n for kid in families[number].kids for n in known[kid.family].parms & solver.parms.keys() & valued
            ]
            if unknown:
                parm = found.forest.name_of(unknown[0], 0)
                text = f"flags by values that depend on {parm}, which {solver.name} fits; flag by what is known before"
                issues.append(_issue(found, number, 0, f"{text}, or fit once more with another Solver"))
    return issues


def _sinks(found: Layout, baselines: Baselines, issues: list[Issue]) -> list[SinkNode]:
    """The Sinks; what is wrong with them goes to `issues`."""
    nodes: list[SinkNode] = []
    writers: dict[tuple[str, int], str] = {}
    for number, family in found.families.items():
        if family.cls.role != "sink":
            continue
        kid, column = family.kids[0], family.options["column"]
        index = np.asarray(kid.index).reshape(-1)
        baseline = np.zeros(family.size, np.int32)
        under = _data_baselines(found, kid.family)
        for i in range(family.size):
            place = _sink_baseline(found, number, i, int(under[index[i]]), baselines)
            if isinstance(place, str):
                issues.append(_issue(found, number, i, place))
                continue
            baseline[i], name = place, found.forest.name_of(number, i)
            other = writers.setdefault((column, place), name)
            if other != name:
                text = f"writes {column} on the same baseline as {other}; keep one of them, or write another column"
                issues.append(_issue(found, number, i, text))
        options = [family.options.get(name, default) for name, default in SINK.items()]
        node = SinkNode(number, kid.family, index, baseline, column, *options)
        issues += [_issue(found, number, 0, text) for text in _bits_of_data(found, node)]
        nodes.append(node)
    return nodes


def _bits_of_data(found: Layout, node: SinkNode) -> list[str]:
    """What is wrong where a flagset could not hold the flags of some class, because data below have the same bit."""
    if node.flagset is None:
        return []
    below = families_below(found.families, [node.child])
    old = data_bits(found.families, below)
    same = {f.cls.__name__ for n, f in found.families.items() if n in below and f.cls.flags_values}
    bits = [f.options["flag_bit"] for n, f in found.families.items() if n in below and f.cls.flags_values]
    if not any(bit & old for bit in bits):
        return []
    return [f"a {min(same)} below it has flag_bit={bits[0]}, the bit of bad data, which no flagset takes; use another"]


def _sink_baseline(found: Layout, number: int, member: int, under: int, baselines: Baselines) -> int | str:
    """The baseline of a Sink: as it says, else of the data below it (`under`), else by its last two qualifiers.

    A text that says what is wrong, where there is none.
    """
    p, q = (found.families[number].members.get(name, {member: None})[member] for name in ("p", "q"))
    if p is not None and q is not None:
        place = baselines.find(p, q)
        return baselines.missing(p, q) if place is None else place
    if p is None and q is None and under >= 0:
        return under
    qualifiers = found.forest.qualifiers(number, member)
    place = baselines.find(*qualifiers[-2:]) if p is None and q is None and len(qualifiers) >= 2 else None
    if place is None:
        return "cannot tell its baseline: give p and q, Meq.Sink(child, p, q, column=...), as they are in ms.baselines"
    return place


def _data_baselines(found: Layout, family: int) -> np.ndarray:
    """Per member of a family the only baseline whose data it uses: -1 none, -2 several."""
    known: dict[int, np.ndarray] = {}
    for number, node in found.families.items():
        result = np.full(node.size, -1, np.int32)
        if number in found.baseline:
            result = found.baseline[number]
        for kid in node.kids:
            index = np.asarray(kid.index)
            for column in np.atleast_2d(index.T) if number <= family else []:
                below = known[kid.family][column]
                clash = (result >= 0) & (below >= 0) & (result != below)
                result = np.where(clash | (below == -2), -2, np.where(result == -1, below, result))
        known[number] = result
        if number == family:
            break
    return known[family]
