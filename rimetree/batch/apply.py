"""Evaluate Sinks on a tile and write their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph.node import Family
from ..plan.apply import OWN
from ..plan.flags import changed
from ..plan.lower import Lowering, Source, terms_of
from ..plan.subset import paths
from ..plan.template import NodeFailure, Template
from ..ring import Plane
from ..solve.reduce.contract import contract
from ..solve.reduce.sources import PlaneTable
from ..status import Status
from .cascade import Cascade, correlations, families_below
from .flagging import FamilyFlags, data_bits
from .layout import SinkNode
from .span import bind
from .state import State
from .tables import Visibilities, data_of, products


@dataclass(slots=True, eq=False)
class _Compiled:
    node: SinkNode
    planes: PlaneTable
    sources: list[Source]
    plane_of: list[int]
    cascade: Cascade
    parms: list[tuple[int, np.ndarray]]
    """(Parm family, its member for each sink): what must be valid."""
    names: list[int]
    """The element of the child that goes into each of the four places of a matrix, -1: none."""
    flags: FamilyFlags | None
    """Flags of the child, where they are to be written and are not simply those of the row."""
    mixed: bool
    """Whether these flags are those of other correlations of the same row, at most."""
    old: int
    """The bits that came with the data."""


@dataclass(slots=True, eq=False)
class Written:
    """What is to be written of one tile: columns, additions to FLAG (None: nothing), flagsets; numbers of visibilities without
    solution and not finite."""

    columns: dict[str, np.ndarray] = field(default_factory=dict)
    flags: np.ndarray | None = None
    flagsets: dict[str, np.ndarray] = field(default_factory=dict)
    invalid: int = 0
    unfit: int = 0

    def mark(self, node: SinkNode, bad: np.ndarray, new: np.ndarray | None = None) -> None:
        """Flag as this Sink asks: `bad` (nrow, nchan, ncorr) in FLAG, `new` (the same unless given) in its flagset."""
        if node.flag and bad.any():
            self.flags = bad.copy() if self.flags is None else self.flags | bad
        if node.flagset:
            held = self.flagsets.get(node.flagset)
            new = bad if new is None else new
            self.flagsets[node.flagset] = new.copy() if held is None else held | new


class Sinks:
    """All Sinks of a run on one group."""

    def __init__(
        self,
        nodes: Sequence[SinkNode],
        families: Mapping[int, Family],
        templates: Mapping[int, Template],
        visibilities: Visibilities,
        state: State,
    ) -> None:
        self.families, self.visibilities, self.state = families, visibilities, state
        self.templates = templates
        self.compiled = [self._compile(node, templates) for node in nodes]
        self._unfit: dict[int, NodeFailure] = {}

    def _compile(self, node: SinkNode, templates: Mapping[int, Template]) -> _Compiled:
        low = Lowering(self.families, templates, max_fixed_terms=64)
        tensor = low.members(node.child, node.index)
        if tensor.dims not in ((), (2, 2)):
            text = f"writes a (2,2) tensor or a scalar, not one of dims {tensor.dims}; compose a matrix first"
            raise NodeFailure(node.number, text)
        elements = tensor.elements if tensor.dims else (tensor.elements[0], 0, 0, tensor.elements[0])
        planes, sources, plane_of = products(low, elements, self.visibilities, len(node.index))
        parms = paths(self.families, node.child, node.index, self.state.parms)
        targets = {f for f, _ in sources if f not in self.visibilities.baseline}
        cascade = Cascade(self.families, targets, templates, self.state, self.visibilities.data)
        names = [0, 1, 2, 3] if tensor.dims else [0, -1, -1, 0]
        below = families_below(self.families, [node.child])
        otherwise, mixed = self._flagged_otherwise(node, low, elements)
        flags = self._flags(node, templates) if otherwise else None
        old = data_bits(self.families, below)
        return _Compiled(node, planes, sources, plane_of, cascade, list(parms), names, flags, mixed, old)

    def _flagged_otherwise(self, node: SinkNode, low: Lowering, elements: Sequence[Any]) -> tuple[bool, bool]:
        """Whether flags are to be written that are not those of the same visibility, and are those of its row at most."""
        if not (node.flag or node.flagset):
            return False, False
        if node.child in changed(self.families):
            return True, False
        used = [
            (used != corr, not np.array_equal(baseline, node.baseline))
            for element, corr in zip(elements, self.visibilities.corr, strict=True)
            for used, baseline in data_of(low, terms_of(low, element), self.visibilities)
            if corr >= 0
        ]
        return any(map(any, used)), not any(other for _, other in used)

    def _flags(self, node: SinkNode, templates: Mapping[int, Template]) -> FamilyFlags:
        cascade = Cascade(self.families, {node.child}, templates, self.state, self.visibilities.data, flags=True)
        return FamilyFlags(cascade, node.child, self.families[node.child].size, node.mask)

    def columns(self, tile: Any, before: Mapping[str, np.ndarray]) -> Written:
        """What all Sinks write of one tile. `before`: what columns held, where not every visibility is overwritten."""
        found = Written()
        for item in self.compiled:
            name, node = item.node.column, item.node
            if name not in found.columns:
                found.columns[name] = before[name].copy() if name in before else np.zeros(tile.shape, np.complex64)
            out = found.columns[name]
            unfit = self._fill(out, item, tile)
            rows = tile.rows[node.baseline]
            there = rows >= 0
            bad = self._invalid(item, tile)
            if bad is not None:
                mask = np.broadcast_to(bad, (*rows.shape, tile.shape[1]))[there]
                values = out[rows[there]]
                unfit = max(0, unfit - int((values[mask] == 0).sum()))  # what is not finite has been written as 0
                values[mask] = 0
                out[rows[there]] = values
                found.invalid += int(mask.sum()) * tile.shape[2]
            found.unfit += unfit
            if node.flagset or (node.flag and (bad is not None or item.flags)):
                marks = np.zeros(tile.shape, bool)
                if bad is not None:
                    marks[rows[there]] = mask[..., None]
                found.mark(node, *self._flagged(item, tile, marks))
        return found

    def _flagged(self, item: _Compiled, tile: Any, marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`marks` with the flags of what a Sink writes: all, and without those that came with the data."""
        if item.flags is None or (item.mixed and (tile.flags == tile.flags[..., :1]).all()):
            return marks, marks
        rows = tile.rows[item.node.baseline]
        there, new = rows >= 0, marks.copy()
        corrs = correlations(tile.group.corrs)
        used = [(name, corr) for name, corr in zip(item.names, corrs, strict=True) if name >= 0 and corr >= 0]
        words = item.flags.words(tile, [name for name, _ in used])
        for (_, corr), own in zip(used, words, strict=True):
            own = own[item.node.index] if len(own) > 1 else own
            own = np.broadcast_to(own, (*rows.shape, tile.shape[1]))[there]
            marks[rows[there], :, corr] |= own != 0
            new[rows[there], :, corr] |= (own & ~np.int32(item.old)) != 0
        return marks, new

    def _fill(self, out: np.ndarray, item: _Compiled, tile: Any) -> int:
        tensors = item.cascade.tensors(tile)
        sources = bind(item.sources, self.families, self.visibilities, tile, tensors)
        plane_of_corr = np.full(out.shape[2], -1, np.int32)
        for element, corr in enumerate(correlations(tile.group.corrs)):
            if corr >= 0:
                plane_of_corr[corr] = item.plane_of[element]
                if item.plane_of[element] < 0:
                    rows = tile.rows[item.node.baseline]
                    out[rows[rows >= 0], :, corr] = 0
        unfit = int(contract(out, item.planes, sources, tile.rows, plane_of_corr, item.node.baseline))
        if unfit:
            self._blame(item, tile)
        return unfit

    def _blame(self, item: _Compiled, tile: Any) -> None:
        """Note the classes of users that gave what is not finite, where no data are below them."""
        users = [
            n
            for n in sorted(item.cascade.below - set(self._unfit))
            if not self.families[n].cls.__module__.startswith(OWN) and not item.cascade.known[n].data
        ]
        if not users:
            return
        own = Cascade(self.families, users, self.templates, self.state, self.visibilities.data)
        for n, tensor in own.tensors(tile).items():
            arrays = [np.asarray(e.array) for e in tensor.elements if isinstance(e, Plane)]
            wrong = next((w for a in arrays if (w := ~np.isfinite(a)).any()), None)
            if wrong is not None:
                whole = len(wrong) == self.families[n].size
                member = int(np.argmax(wrong.reshape(len(wrong), -1).any(1))) if whole else 0
                text = "its value was NaN or infinite: such visibilities are written as 0"
                self._unfit[n] = NodeFailure(n, text, member)

    def failures(self) -> list[NodeFailure]:
        """What classes of users did wrong, the first node of each family."""
        return list(self._unfit.values())

    def _invalid(self, item: _Compiled, tile: Any) -> np.ndarray | None:
        """(sinks, nslot, nchan or 1) where a parameter below has no usable solution; None where all have."""
        bad: np.ndarray | None = None
        for number, index in item.parms:
            parm = self.state.parms[number]
            wrong = parm.status != Status.CONVERGED
            slots = parm.slot_interval[tile.start : tile.stop]
            if not wrong[:, slots[0] : slots[-1] + 1].any():
                continue
            here = wrong[index][:, slots]
            here = here[..., parm.chan_interval] if here.shape[-1] > 1 else here
            bad = here if bad is None else bad | here
        return bad
