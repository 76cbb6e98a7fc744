"""What the unknowns of a class are: which coefficients of which Parms, which are gains or make a Jones matrix, which belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.node import Family
from ..plan.atoms import Atoms, Unknowns
from ..plan.lower import Lowering, Poly, terms_of
from ..solve.result.gauges import Meaning
from ..solve.single.retract import Retraction
from .known import bounded
from .state import State


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """The unknowns of the Parm families `parms`, seen through the equations that `low` has written out."""

    families: Mapping[int, Family]
    state: State
    low: Lowering
    unknowns: Unknowns
    parms: tuple[int, ...]

    def meaning(self) -> Meaning:
        """Which part of which coefficient of which Parm every unknown is."""
        nodes, coefficients, parts = [], [], []
        for n in self.parms:  # in the order of `Unknowns`
            members, ct, cf = self.unknowns.shapes[n]
            size = self.unknowns.parts[n]
            nodes.append(np.repeat(np.array(self.state.parms[n].names), ct * cf * size))
            coefficients.append(np.tile(np.repeat(np.arange(ct * cf), size), members))
            parts.append(np.tile([1, 2] if size == 2 else [0], members * ct * cf))
        return Meaning(*(np.concatenate(a) for a in (nodes, coefficients, parts)))

    def _matrices(self) -> list[np.ndarray]:
        """(members, 4): real parts' unknowns of 2x2 families whose elements are four complex Parms."""
        found = []
        for number, family in self.families.items():
            if (
                number not in self.low.solvable
                or family.cls.role != "compute"
                or self.low.templates[number][0] != (2, 2)
            ):
                continue
            tensor = self.low.family(number)
            tokens = [_single(e) for e in tensor.elements]
            if any(t is None or self.families[t[0]].cls.role != "parm" or t[3] for t in tokens):
                continue
            if any(self.unknowns.parts[t[0]] != 2 or not self._gain(t[0]) for t in tokens if t):
                continue
            if any(bounded(self.families[t[0]]) for t in tokens if t):  # a product of matrices does not keep amplitudes
                continue
            found.append(
                np.stack([self.unknowns.index(t[0], self.low.paths[t[2]].index, 0, 0) for t in tokens if t], 1)
            )
        return found

    def _gain(self, parm: int) -> bool:
        """Whether a Parm's value is its only coefficient."""
        return self.state.parms[parm].funklet.constant(self.unknowns.shapes[parm][1:])

    def retraction(self) -> Retraction:
        """How steps change them: complex Parms are gains, families of four make Jones matrices."""
        matrices = np.concatenate([np.empty((0, 4), int), *self._matrices()])
        matrices = np.unique(matrices, axis=0) if len(matrices) else matrices
        used = set(matrices.ravel().tolist())
        gains = [
            self.unknowns.index(n, np.arange(self.families[n].size), 0, 0)
            for n in self.parms
            if self.unknowns.parts[n] == 2 and self._gain(n)
        ]
        flat = np.concatenate([np.empty(0, int), *gains])
        return Retraction(flat[[g not in used for g in flat.tolist()]] if flat.size else flat, matrices)

    def blocks(self) -> np.ndarray:
        """Unknowns of one station or one source: those that meet in a family whose members share no others."""
        label = np.arange(self.unknowns.count)
        for n in self.parms:  # the coefficients of one Parm
            _, ct, cf = self.unknowns.shapes[n]
            own = ct * cf * self.unknowns.parts[n]
            start = self.unknowns.offsets[n]
            label[start : start + self.families[n].size * own] = (
                start + np.arange(self.families[n].size).repeat(own) * own
            )
        for number in sorted(self.low.solvable):
            if self.families[number].cls.role == "compute" and not self._joins_stations(number):
                funklets = {n: self.state.parms[n].funklet for n in self.parms}
                slots = Atoms(
                    self.families, self.low.templates, self.low.solvable, [(number, 0)], self.unknowns, funklets
                ).parameters
                label = _merged(label, slots)
        return np.unique(label, return_inverse=True)[1].astype(np.int32)

    def _joins_stations(self, number: int) -> bool:
        """Whether a family multiplies factors with conjugated ones, as a baseline does with its two stations."""
        polys = [e for e in self.low.family(number).elements if isinstance(e, Poly)]
        return len({token[3] for e in polys for term in terms_of(self.low, e) for token in term.solvable}) > 1


def _merged(label: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Join the labels that meet in a member, unless some label occurs in members with different label sets."""
    member, column = np.nonzero(slots >= 0)
    most = int(label.max(initial=0)) + 1
    pairs = np.unique(member * most + label[slots[member, column]])  # however many unknowns have one label
    member, found = np.divmod(pairs, most)
    owner: dict[int, bytes] = {}
    joined = np.arange(most)
    for own in np.split(found, np.flatnonzero(np.diff(member)) + 1):
        for value in own.tolist():
            if owner.setdefault(value, own.tobytes()) != own.tobytes():
                return label
        joined[own] = own[:1]
    return joined[label]


def _single(element: Any) -> tuple[int, int, int, bool] | None:
    """The only factor of an element that is one factor with coefficient 1."""
    if isinstance(element, Poly) and len(element.terms) == 1:
        ((key, coef),) = element.terms.items()
        if len(key) == 1 and coef == 1:
            return key[0]
    return None
