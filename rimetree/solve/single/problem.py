"""A least-squares problem on pseudo-visibilities: equations, unknowns, and the independent components that they fall
into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..reduce.forms import Form, Tables, tables
from ..result.gauges import Meaning
from .bounds import Constraints
from .normal import mark
from .retract import Retraction

Split = tuple[np.ndarray, np.ndarray]
"""Real and imaginary part."""


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """One residual element of one Condeq family: R (members, rows, planes, J, S), y (members, rows, J, S), the part
    of chi2 that no parameter changes (members, S), the number of real data used (members, S)."""

    form: Form
    R: Split
    y: Split
    constant: np.ndarray
    data: np.ndarray

    def members(self, rows: np.ndarray, form: Form | None = None) -> Equations:
        """Some members only; `form`: theirs, where it is known."""
        if len(rows) == len(self.constant):
            return self
        pick = lambda a: np.ascontiguousarray(a[rows])  # noqa: E731
        return Equations(
            form or self.form.members(rows),
            (pick(self.R[0]), pick(self.R[1])),
            (pick(self.y[0]), pick(self.y[1])),
            pick(self.constant),
            pick(self.data),
        )

    def intervals(self, which: slice) -> Equations:
        """Some intervals only."""
        pick = lambda a: np.ascontiguousarray(a[..., which])  # noqa: E731
        split = (pick(self.R[0]), pick(self.R[1])), (pick(self.y[0]), pick(self.y[1]))
        return Equations(self.form, *split, pick(self.constant), pick(self.data))


AtomValues = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Atoms (atoms, J, S) and derivatives (atoms, parameters, J, S), real and imaginary parts in turn: u_re, u_im, t_re,
t_im."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Equations over `count` unknowns. `atoms(theta (count, S))` gives the atoms of all intervals."""

    equations: tuple[Equations, ...]
    atom_unknown: np.ndarray
    blocks: np.ndarray
    retract: Retraction
    atoms: Callable[[np.ndarray], AtomValues]
    multiplicative: bool
    count: int
    intervals: int
    unknowns: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    """Numbers, in the whole problem, of the unknowns of a component."""
    traced: Callable[[np.ndarray], tuple[Any, Any]] | None = None
    """Atoms and derivatives of all intervals as complex arrays of JAX, which stay on the device of a backend; None: `atoms` does."""
    linear: bool = False
    """Whether all atoms are linear in the unknowns (gains and polynomials are, their exponentials and inverses are
    not)."""
    constraints: Constraints | None = None
    curvature: Callable[[np.ndarray], np.ndarray] | None = None
    """Second derivatives (atoms, parameters, parameters, J, S) of atoms that are not linear, complex."""
    structure: dict[Any, Any] = field(default_factory=dict)
    """What follows from forms and unknowns alone, kept by whoever solves the same equations on other data again."""
    meaning: Meaning | None = None
    """What the unknowns are; without it null directions get no names."""
    fitted: np.ndarray | None = None
    """(count,) which unknowns move, beside others that equations see, too; None: all."""

    def components(self) -> list[Problem]:
        """The independent parts in which something moves: unknowns that no equation connects are solved separately."""
        label = self.labels()
        moving = label if self.fitted is None else label[self.fitted]
        return [self._component(np.flatnonzero(label == c)) for c in np.unique(moving[moving >= 0])]

    @property
    def moving(self) -> int:
        """How many unknowns move."""
        return self.count if self.fitted is None else int(self.fitted.sum())

    def labels(self) -> np.ndarray:
        """Component of every unknown; -1 for those that no equation sees."""
        found: np.ndarray = self.kept("labels", self._labels)
        return found

    def _labels(self) -> np.ndarray:
        rows, cols = [], []
        for eq in self.equations:
            seen = self.unknowns_of(eq.form)
            rows.append(np.repeat(seen[:, :1], seen.shape[1], 1).ravel())
            cols.append(seen.ravel())
        if not rows:
            return np.full(self.count, -1)
        r, c = np.concatenate(rows), np.concatenate(cols)
        label = connected(self.count, r, c)
        touched = np.zeros(self.count, bool)
        touched[c] = True
        label = np.where(touched, label, -1)
        order = {old: new for new, old in enumerate(dict.fromkeys(label[touched].tolist()))}
        return np.array([order.get(v, -1) for v in label.tolist()])

    def kept(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was kept in `structure` under `key`, made where nothing was."""
        if key not in self.structure:
            self.structure[key] = make()
        return self.structure[key]

    def unknowns_of(self, form: Form) -> np.ndarray:
        """(members, unknowns) that each equation sees, both parts of complex ones."""
        found: np.ndarray = self.kept(("unknowns", form), lambda: self._unknowns_of(form))
        return found

    def _unknowns_of(self, form: Form) -> np.ndarray:
        first = self.atom_unknown[form.factor_atom[:, form.units[:, 0]], form.units[:, 1]]
        second = np.where(form.units[:, 2] == 2, first + 1, first)
        return np.ascontiguousarray(np.concatenate([first, second], 1), np.int32)

    def _component(self, unknowns: np.ndarray) -> Problem:
        if len(unknowns) == self.count:
            return replace(self, unknowns=unknowns)
        place = np.full(self.count + 1, -1, np.int32)
        place[unknowns] = np.arange(len(unknowns))
        structure: dict[Any, Any] = self.kept(("component", unknowns.tobytes()), dict)
        equations = []
        for i, eq in enumerate(self.equations):
            rows = np.flatnonzero(place[self.unknowns_of(eq.form)[:, 0]] >= 0)
            if rows.size:
                form = structure.get(("form", i)) or structure.setdefault(("form", i), eq.form.members(rows))
                equations.append(eq.members(rows, form))
        _, blocks = np.unique(self.blocks[unknowns], return_inverse=True)
        return replace(
            self,
            equations=tuple(equations),
            atom_unknown=place[self.atom_unknown],
            blocks=blocks.astype(np.int32),
            retract=self.retract.local(unknowns, self.count),
            constraints=self.constraints and self.constraints.local(unknowns, self.count),
            count=len(unknowns),
            unknowns=unknowns,
            structure=structure,
            meaning=self.meaning.of(unknowns) if self.meaning else None,
            fitted=None if self.fitted is None else self.fitted[unknowns],
        )

    def emptied(self) -> Problem:
        """The same unknowns without equations and data, which take memory."""
        return replace(self, equations=(), atoms=no_atoms, traced=None, constraints=None, structure={})

    def tables(self) -> Tables:
        """All equations as the kernels take them."""
        extents = np.array([[*eq.R[0].shape[:4]] for eq in self.equations])
        forms = [eq.form for eq in self.equations]
        made: Tables = self.kept(
            ("tables", extents.tobytes()), lambda: tables(forms, extents, self.atom_unknown, self.blocks)
        )
        return made

    def constant(self) -> np.ndarray:
        """The part of chi2 that no parameter changes, per interval (S,)."""
        return np.asarray(sum(eq.constant.sum(0) for eq in self.equations))

    def seen(self) -> np.ndarray:
        """(count, S) whether any data see each unknown that moves."""
        result = np.zeros((self.count, self.intervals), np.bool_)
        for eq in self.equations:
            mark(self.unknowns_of(eq.form), eq.data, result)
        return result if self.fitted is None else result & self.fitted[:, None]

    def data(self) -> np.ndarray:
        """Real data per interval (S,)."""
        return np.asarray(sum(eq.data.sum(0) for eq in self.equations))

    def power(self) -> np.ndarray:
        """Weighted data power per interval (S,): the scale of rounding errors in chi2."""
        return np.asarray(sum(_power(eq.y[0]) + _power(eq.y[1]) + eq.constant.sum(0) for eq in self.equations))


def connected(count: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The connected components of a graph of `count` vertices with edges a[i] - b[i]: the lowest vertex of each one's.

    Roots are hooked on lower ones and paths halved until nothing moves. (scipy has it too, but takes 0.3 s to import.)
    """
    label = np.arange(count)
    while True:
        low = np.minimum(label[a], label[b])
        np.minimum.at(label, label[a], low)
        np.minimum.at(label, label[b], low)
        while (label[label] != label).any():
            label = label[label]
        if (label[a] == label[b]).all():
            return label


def no_atoms(theta: np.ndarray) -> AtomValues:
    """Of a problem that is only the shape of one."""
    raise ValueError("a problem without its equations has no atoms")


def _power(array: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("nkjs,nkjs->s", array, array))
