"""Evaluate Sinks on a tile and write their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph.node import Family
from ..plan.apply import OWN
from ..plan.lower import Lowering, Source
from ..plan.subset import paths
from ..plan.template import NodeFailure, Template
from ..ring import Plane
from ..solve.contract import contract
from ..solve.sources import PlaneTable
from ..solve.status import Status
from .cascade import Cascade, correlations
from .fit import bind
from .layout import SinkNode
from .state import State
from .tables import Visibilities, products


@dataclass(slots=True, eq=False)
class _Compiled:
    node: SinkNode
    planes: PlaneTable
    sources: list[Source]
    plane_of: list[int]
    cascade: Cascade
    parms: list[tuple[int, np.ndarray]]
    """(Parm family, its member for each sink): what must be valid."""


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
        return _Compiled(node, planes, sources, plane_of, cascade, list(parms))

    def columns(
        self, tile: Any, before: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None, int, int]:
        """Columns to write, flags to write (or None), numbers of visibilities without solution and not finite.

        `before`: what the columns held, where not every visibility is overwritten.
        """
        out: dict[str, np.ndarray] = {}
        flags: np.ndarray | None = None
        invalid = dropped = 0
        for item in self.compiled:
            name = item.node.column
            if name not in out:
                out[name] = before[name].copy() if name in before else np.zeros(tile.shape, np.complex64)
            dropped += self._fill(out[name], item, tile)
            bad = self._invalid(item, tile)
            if bad is not None:
                rows = tile.rows[item.node.baseline]
                there = rows >= 0
                mask = np.broadcast_to(bad, (*rows.shape, tile.shape[1]))[there]
                values = out[name][rows[there]]
                values[mask] = 0
                out[name][rows[there]] = values
                invalid += int(mask.sum()) * tile.shape[2]
                if item.node.flag:
                    flags = tile.flags.astype(bool) if flags is None else flags
                    marked = flags[rows[there]]
                    marked[mask] = True
                    flags[rows[there]] = marked
        return out, flags, invalid, dropped

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
