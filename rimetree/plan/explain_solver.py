"""What the solvers of a forest will do, in words: classes of parameters, terms of the equations, what is collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graph.node import Family, Function
from ..parms.funklet import coefficients, funklet_of, matching, varying
from .depends import Depends
from .lower import Lowering, Term, terms_of
from .subset import Subset
from .template import Template

if TYPE_CHECKING:
    from ..graph.forest import Forest

AXES = (("time", "slots"), ("freq", "channels"))


def explain_solvers(
    forest: Forest, sub: Subset, templates: Mapping[int, Template], known: Mapping[int, Depends]
) -> Iterator[str]:
    """Lines on every Solver of a subset."""
    for number, family in sub.families.items():
        if family.cls.role == "solver":
            for member in range(family.size):
                yield from _Solver(forest, sub, templates, known, number, member).lines()


def solvable_parms(families: Mapping[int, Family], solver: Family) -> dict[int, np.ndarray]:
    """The Parm families that a Solver fits, and which of their members: by tag, name, or label (the name without qualifiers)."""
    below = {kid.family for kid in solver.kids}
    for number in sorted(families, reverse=True):
        if number in below:
            below.update(kid.family for kid in families[number].kids)
    parms = {n: families[n] for n in sorted(below) if families[n].cls.role == "parm"}
    chosen = {n: np.any([matching(f, word) for word in solver.options["solvable"]], 0) for n, f in parms.items()}
    return {n: members for n, members in chosen.items() if members.any()}


class _Solver:
    """One Solver: its classes of parameters and the equations that it makes small."""

    def __init__(
        self,
        forest: Forest,
        sub: Subset,
        templates: Mapping[int, Template],
        known: Mapping[int, Depends],
        number: int,
        member: int,
    ) -> None:
        self.forest, self.sub, self.families = forest, sub, sub.families
        self.templates, self.known = templates, known
        family = sub.families[number]
        self.name, self.options = self._name(number, member), family.options
        self.condeqs = [kid.family for kid in family.kids]
        self.parms = solvable_parms(sub.families, family)

    def lines(self) -> Iterator[str]:
        """One block per class of parameters with equal solution intervals."""
        classes: dict[Any, list[int]] = {}
        for n in self.parms:
            classes.setdefault(self.families[n].options.get("solint") or (None, None), []).append(n)
        yield ""
        equations = sum(self.families[n].size for n in self.condeqs)
        words = f"{len(classes)} classes of solution intervals, {self._way()}" if len(classes) > 1 else "fitted at once"
        yield f"Solver {self.name}: {equations:,} equations, {words}"
        for solint, parms in classes.items():
            yield from self._class(solint, parms)

    def _way(self) -> str:
        """How several classes are fitted, and why."""
        for option, usual in (("algorithm", ("auto", "gn-cg")), ("backend", ("numba",))):
            if self.options[option] not in usual:
                return f"fitted in turn ({option}={self.options[option]!r})"
        if any(b is not None for n in self.parms for b in self.families[n].members.get("bounds", ())):
            return "fitted in turn, because some have bounds"
        if any(self.families[n].options.get("smooth", (None, None)) != (None, None) for n in self.parms):
            return "fitted in turn, because some have smooth="
        return "fitted jointly by conjugate gradients after one turn each"

    def _class(self, solint: tuple[Any, Any], parms: Sequence[int]) -> Iterator[str]:
        per = " x ".join(
            f"all {unit}" if value is None else _interval(value, unit)
            for value, (_, unit) in zip(solint, AXES, strict=True)
        )
        shown = ", ".join(f"{self._labels(n)} ({self._unknowns(n)} real unknowns)" for n in parms)
        yield f"  {shown} per {per}"
        low = Lowering(self.families, self.templates, frozenset(parms))
        atoms: set[tuple[int, int]] = set()
        for number in self.condeqs:
            yield from self._equation(low, number, atoms)
        for axis, unit in AXES:
            yield f"    {self._collapsed(low, axis, unit, sorted({f for f, _ in atoms}))}"

    def _labels(self, number: int) -> str:
        names = np.asarray(self.families[number].members["name"])[self.parms[number]]
        return ", ".join(dict.fromkeys(str(name).split(":")[0] for name in names))

    def _unknowns(self, number: int) -> int:
        start = coefficients(self.families[number])[self.parms[number]]
        return int(start.size * (2 if np.iscomplexobj(start) else 1))

    def _equation(self, low: Lowering, number: int, atoms: set[tuple[int, int]]) -> Iterator[str]:
        tensor = low.family(number)
        yield f"    {self._name(number, 0)} (#{self.forest.written(number)}, {self.families[number].size:,} equations)"
        texts: dict[str, list[int]] = {}
        for e, element in enumerate(tensor.elements):
            terms = terms_of(low, element)
            solvable = [t for t in terms if t.solvable]
            atoms.update(token[:2] for t in solvable for token in t.solvable)
            texts.setdefault(self._element(solvable, len(terms) - len(solvable)), []).append(e)
        for text, elements in texts.items():
            which = _elements(elements, tensor.dims)
            yield f"      {which}: {text}"

    def _element(self, solvable: Sequence[Term], constant: int) -> str:
        if not solvable:
            return "no parameter enters; left out"
        planes = {(t.fixed, k) for t in solvable for k in range(int(np.prod(t.extent, dtype=int)))}
        count = sum(int(np.prod(t.extent, dtype=int)) for t in solvable)
        factors = max(len(t.solvable) for t in solvable)
        words = [
            f"{count} term{'s' if count > 1 else ''} of up to {factors} solvable factor{'s' if factors > 1 else ''}"
        ]
        words += [f"{len(planes)} fixed plane{'s' if len(planes) > 1 else ''}"]
        words += ["data apart"] if constant else []
        return ", ".join(words)

    def _collapsed(self, low: Lowering, axis: str, unit: str, atoms: Sequence[int]) -> str:
        causes = [cause for cause in (self._cause(low, n, axis) for n in atoms) if cause]
        if not causes:
            return f"{axis}: the {unit} of an interval are summed before iterating"
        return f"{axis}: {unit} are kept apart, because {causes[0]}"

    def _cause(self, low: Lowering, number: int, axis: str) -> str:
        """Why a solvable factor varies within a solution interval along an axis; empty where it does not."""
        stack, seen = [number], set()
        while stack:
            n = stack.pop()
            if n in seen:
                continue
            seen.add(n)
            family = self.families[n]
            if n not in low.solvable:
                if axis in self.known[n].axes:
                    return f"{self._name(n, 0)} (#{self.forest.written(n)}), which is a part of {self._name(number, 0)}, varies along it"
            elif family.cls.role == "parm":
                if axis in varying(family):
                    return f"{self._name(n, 0)} is a {funklet_of(family).kind} along it"
            elif issubclass(family.cls, Function) and axis in family.cls.coordinates:
                return f"{self._name(n, 0)} ({self._class_of(n)}) varies along it"
            else:
                stack.extend(kid.family for kid in family.kids)
        return ""

    def _class_of(self, number: int) -> str:
        return self.forest.class_of(number, int(self.sub.members[number][0]))

    def _name(self, number: int, member: int) -> str:
        return self.forest.name_of(number, int(self.sub.members[number][member]))


def _interval(value: int | str, unit: str) -> str:
    """`10 slots`, `slot`, `30s`."""
    if isinstance(value, str):
        return value
    return unit[:-1] if value == 1 else f"{value} {unit}"


def _elements(numbers: Sequence[int], dims: tuple[int, ...]) -> str:
    if not dims:
        return "value"
    places = [str(list(map(int, np.unravel_index(n, dims)))).replace(" ", "") for n in numbers]
    return ("element " if len(places) == 1 else "elements ") + " ".join(places)
