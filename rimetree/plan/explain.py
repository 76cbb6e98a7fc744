"""What a forest will compute, when, and of which size, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.node import Family
from ..grid import Cells
from ..parms.funklet import is_complex, varying
from ..parms.intervals import freq_intervals, time_intervals
from .depends import Depends, depends
from .explain_solver import explain_solvers
from .lookup import lookup_template
from .rewrite import Rewritten, rewritten
from .shapes import shapes
from .subset import Subset, subset
from .template import NodeFailure, Template, open_template

if TYPE_CHECKING:
    from ..graph.forest import Forest

APART = 8
"""Families taken apart that are named."""

SYMBOLS = {"time": "T", "freq": "F"}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Cells per axis where they are known, and what sets them."""

    sizes: Mapping[str, int]
    group: Any = None

    @classmethod
    def of(cls, data: Any) -> Grid:
        """Of Cells, of the first group of a Measurement Set, or unknown (None)."""
        if data is None:
            return cls({})
        if isinstance(data, Cells):
            return cls({name: axis.centres.size for name, axis in data.axes.items()})
        group = data.groups[0]
        return cls({"time": group.time.size, "freq": group.freq.size}, group)

    def parm_axes(self, family: Family) -> frozenset[str]:
        """Axes along which a Parm family varies: it has coefficients, or (as far as is known) several intervals."""
        solint = family.options.get("solint") or (None, None)
        several = {
            axis for axis, interval in zip(("time", "freq"), solint, strict=True) if self._several(axis, interval)
        }
        return varying(family) | several

    def _several(self, axis: str, interval: Any) -> bool:
        if interval is None or self.group is None:
            return interval is not None
        g = self.group
        if axis == "time":
            return bool(time_intervals(interval, g.time, g.interval, g.scan)[-1] > 0)
        return bool(freq_intervals(interval, g.freq, g.width)[-1] > 0)


def explain(forest: Forest, root: str | None = None, data: Any = None) -> str:
    """The families of a forest (or of what the node `root` needs), their shapes, bytes and caching, and its solvers.

    `data` (a MeasurementSet or Cells) gives sizes and bytes; without it they are in terms of T slots and F channels.
    Raises RimetreeError where there is no such node, ForestError where children do not fit.
    """
    grid = Grid.of(data)
    title = "forest" if root is None else str(root)
    sub, templates, real, known = _known(forest, root, grid)
    nodes = sum(family.size for family in sub.families.values())
    head = f"{title}: {_plural(nodes, 'node')} in {_plural(len(sub.families), 'family')}"
    sizes = ", ".join(f"{name} {size}" for name, size in grid.sizes.items())
    head += f"; cells: {sizes}" if sizes else "; T slots, F channels"
    if grid.sizes:
        head += f"; {_work(sub, templates, known, grid)}"
    rows = [_row(forest, sub, n, templates, real, known[n], _solved(sub.families), grid) for n in sub.families]
    lines = [head, *_table(("#", "class", "nodes", "first", "children", "value", "varies", "kept for", "bytes"), rows)]
    solved = rewritten(forest)
    if isinstance(solved, Rewritten):
        sub, templates, real, known = _known(solved, root, grid)
        lines += _apart(solved)
    lines += explain_solvers(solved, sub, templates, known)
    return "\n".join([*lines, "", *_legend(rows)])


def _apart(forest: Rewritten) -> Iterator[str]:
    """What is taken apart before solving."""
    names = [f"{forest.before.class_of(*at)} {_short(forest.before.name_of(*at))} (#{at[0]})" for at in forest.apart]
    yield ""
    yield "Taken apart into factors that vary with less (as exp(a + b) = exp(a) exp(b)), before solving:"
    yield from (f"  {name}" for name in names[:APART])
    if len(names) > APART:
        yield f"  and {len(names) - APART} more"


Known = tuple[Subset, dict[int, Template], dict[tuple[int, int], bool], dict[int, Depends]]


def _known(forest: Forest, root: str | None, grid: Grid) -> Known:
    """Of all nodes of a forest, or of those that `root` needs: families, shapes, which elements are real, and what they depend on."""
    wanted = {n: np.arange(f.size) for n, f in enumerate(forest.families)}
    if root is not None:
        family, member = forest.find(str(root))
        wanted = {family: np.array([member])}
    sub = subset(forest.families, wanted)
    templates, real = _shapes(forest, sub, grid)
    parms = {n: grid.parm_axes(f) for n, f in sub.families.items() if f.cls.role == "parm"}
    return sub, templates, real, depends(sub.families, parms)


def _shapes(forest: Forest, sub: Subset, grid: Grid) -> tuple[dict[int, Template], dict[tuple[int, int], bool]]:
    given: dict[int, Template] = {}
    complex_ = set()
    for number, family in sub.families.items():
        if family.cls.role == "parm":
            given[number] = open_template(())
            complex_ |= {number} if is_complex(family) else set()
        elif family.cls.role == "lookup" and not family.kids:
            given[number] = lookup_template(family)
        elif family.cls.role == "data":
            vector = family.options["column"] == "UVW"
            given[number] = open_template((3,) if vector else (2, 2))
            complex_ |= set() if vector else {number}
    try:
        return shapes(sub.families, given, frozenset(complex_), _sizes(sub.families, grid))
    except NodeFailure as failure:
        from .evaluate import explained

        raise explained(forest, failure, sub) from failure


def _sizes(families: Mapping[int, Family], grid: Grid) -> dict[str, int]:
    """Cells per axis; where they are not known, as many as the constants on a grid have, or any number."""
    sizes = {"time": 2, "freq": 3}
    if grid.sizes:
        return sizes | dict(grid.sizes)
    for family in families.values():
        known = np.shape(family.members["value"][0]) if family.cls.role == "constant" else ()
        extents = known[len(known) - len(family.own_axes) :] or (2,) * len(family.own_axes)
        for axis, extent in zip(family.own_axes, extents, strict=True):
            if axis not in sizes or extent > 1:
                sizes[axis] = extent
    return sizes


def _work(sub: Subset, templates: Mapping[int, Template], known: Mapping[int, Depends], grid: Grid) -> str:
    """How many numbers are computed, and how many there would be if every node filled the grid."""
    least = most = 0
    for number, family in sub.families.items():
        if family.cls.role in ("compute", "equation") and number in templates:
            elements = family.size * sum(v is None for v in templates[number][1])
            least += elements * int(np.prod([grid.sizes.get(axis, 1) for axis in known[number].axes], initial=1))
            most += elements * int(np.prod(list(grid.sizes.values())))
    return f"{least:,} cell evaluations ({most:,} on the whole grid)"


def _solved(families: Mapping[int, Family]) -> frozenset[int]:
    """Parm families that some Solver among `families` fits."""
    from .explain_solver import solvable_parms

    return frozenset(n for f in families.values() if f.cls.role == "solver" for n in solvable_parms(families, f))


def _row(
    forest: Forest,
    sub: Subset,
    number: int,
    templates: Mapping[int, Template],
    real: Mapping[tuple[int, int], bool],
    depend: Depends,
    solved: frozenset[int],
    grid: Grid,
) -> list[str]:
    family = sub.families[number]
    valued = number in templates
    axes = [axis for axis in ("time", "freq", *sorted(depend.axes - {"time", "freq"})) if axis in depend.axes]
    role = {"solver": "", "sink": "written", "data": "tile", "constant": "always"}.get(family.cls.role)
    return [
        str(number),
        family.cls.__name__,
        f"{family.size:,}",
        _short(forest.name_of(number, int(sub.members[number][0]))) + f" {family.options.get('column', '')}".rstrip(),
        _children(family),
        _value(number, templates[number], real) if valued else "",
        " ".join(axes) or ("-" if valued else ""),
        depend.stage(solved) if role is None else role,
        _bytes(number, templates[number], real, family, axes, grid) if valued else "",
    ]


def _children(family: Family) -> str:
    words = []
    for kid in family.kids:
        index = np.asarray(kid.index)
        count = index.shape[1] if index.ndim == 2 else 1
        words.append(f"{kid.family}" + (f" x{count}" if count > 1 else ""))
    return ", ".join(words[:6]) + (f", ... ({len(words)})" if len(words) > 6 else "")


def _value(number: int, template: Template, real: Mapping[tuple[int, int], bool]) -> str:
    """Elements: r, c, or a number known when compiling; rows of a matrix separated by |."""
    dims, numbers = template
    words = [_number(v) if v is not None else "r" if real[number, e] else "c" for e, v in enumerate(numbers)]
    if not dims:
        return words[0]
    if len(words) > 16:
        return f"{dims} {len(words)} elements"
    rows = [" ".join(words[i : i + dims[-1]]) for i in range(0, len(words), dims[-1])]
    return f"[{' | '.join(rows)}]"


def _number(value: Any) -> str:
    return f"{value.real:.4g}" if isinstance(value, complex) and value.imag == 0 else f"{value:.4g}"


def _bytes(
    number: int,
    template: Template,
    real: Mapping[tuple[int, int], bool],
    family: Family,
    axes: Sequence[str],
    grid: Grid,
) -> str:
    each = sum((8 if real[number, e] else 16) for e, v in enumerate(template[1]) if v is None)
    total = each * family.size
    unknown = [SYMBOLS.get(axis, axis) for axis in axes if axis not in grid.sizes]
    for axis in axes:
        total *= grid.sizes.get(axis, 1)
    return " ".join([amount(total), *unknown]) if total else "0"


def amount(count: float) -> str:
    """Bytes in words, `3.2 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _short(text: str, width: int = 32) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _plural(count: int, word: str) -> str:
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{count:,} {word if count == 1 else many}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as needed; empty columns left out; numbers to the right."""
    keep = [i for i in range(len(head)) if any(row[i] for row in rows)]
    width = {i: max(len(head[i]), *(len(row[i]) for row in rows)) for i in keep}
    right = {"#", "nodes", "bytes"}
    for row in (head, *rows):
        cells = [f"{row[i]:>{width[i]}}" if head[i] in right else f"{row[i]:{width[i]}}" for i in keep]
        yield "  " + "  ".join(cells).rstrip()


def _legend(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "value: r real, c complex, numbers are known when compiling and cost nothing; x: summed, not unrolled"
    stages = {
        "run": "run: computed once",
        "tile": "tile: once per tile of data",
        "iteration": "iteration: anew in each iteration of a solve",
    }
    yield "kept for: " + "; ".join(text for key, text in stages.items() if any(key in row for row in rows))
