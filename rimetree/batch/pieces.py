"""Data of a span in pieces that a device works on at once: what `plan.residuals` takes, kept where memory allows, else made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..plan.depends import Depends, depends
from ..plan.program import Program
from ..plan.residuals import Group, Piece, Residuals, Solved, dependent, linear_basis, traced
from ..ring import Plane
from ..solve.reduce.sources import LARGEST
from .cascade import Cascade, families_below
from .fit import ClassFit
from .joint_grid import Axis
from .span import Span

AT_ONCE, SHARE, LEAST = 256e6, 0.3, 4e6
"""Bytes of planes that a piece may take while derivatives are worked out: at most, of the memory, and in any case."""

COPIES = 6
"""Planes of a family held at once meanwhile: values, their changes, and what reverse differentiation keeps."""

NARROW = 4
"""Fixed families of at most so many members per equation are computed once per tile; wider ones, once per piece and kept with it."""


class Equations:
    """The equations of a fit as `Residuals`, and what they take of a tile; `solved`: where the unknowns are."""

    def __init__(
        self,
        fit: ClassFit,
        solved: Mapping[int, Solved],
        groups: Sequence[Group],
        parts: Sequence[np.ndarray],
        time: Axis,
        freq: Axis,
        memory: float,
    ) -> None:
        self.fit, self.solved, self.time, self.freq = fit, solved, time, freq
        numbers = [table.family for table in fit.tables]
        moving = dependent(fit.families, fit.parms, numbers)
        self.fixed, self.wide = self._fixed(moving)
        needed = families_below(fit.families, numbers, frozenset(self.fixed))
        self.families = {
            n: replace(fit.families[n], kids=()) if n in self.fixed else fit.families[n] for n in sorted(needed)
        }
        self.cascade = Cascade(fit.families, self.fixed, fit.low.templates, fit.state, fit.visibilities.data)
        self.given = [n for n, f in self.families.items() if f.cls.role == "data" or n in self.fixed]
        self.held = [n for n, f in self.families.items() if f.cls.role == "parm" and n not in solved]
        templates = {n: fit.low.templates[n] for n in (*self.given, *self.held, *solved)}
        self.before = Before(Program(self.families, self.wide, templates))
        templates |= {n: fit.low.templates[n] for n in self.wide}
        self.program = Program(self.families, numbers, templates)
        rows = {t.family: (np.asarray(own), t.names, t.real) for own, t in zip(fit.condeqs, fit.tables, strict=True)}
        ends = np.cumsum([len(table.forms) for table in fit.tables])
        self.parts = {
            n: list(parts[end - len(t.forms) : end]) for n, t, end in zip(numbers, fit.tables, ends, strict=True)
        }
        count = 1 + max((int(p.max(initial=0)) for p in parts), default=0)
        self.residuals = Residuals(self.program, rows, solved, count, (time.count, freq.count), groups)
        self.shape = self._shape(min(AT_ONCE, max(SHARE * memory, LEAST)))
        self._static: Piece | None = None

    def _fixed(self, moving: set[int]) -> tuple[list[int], list[int]]:
        """Families that no unknown moves and others use: those computed once per tile, and wider ones, once per piece."""
        families, most = self.fit.families, NARROW * sum(len(own) for own in self.fit.condeqs)
        used = {kid.family for n in moving for kid in families[n].kids} - moving
        found = sorted(n for n in used if families[n].cls.role == "compute")
        return [n for n in found if families[n].size <= most], [n for n in found if families[n].size > most]

    def _bytes(self, known: Mapping[int, Depends], n: int, each: float) -> tuple[int, float]:
        """Of a family: 0 where it varies along neither axis, 1 time, 2 frequency, 3 both; and bytes per cell of these."""
        template = self.fit.low.templates.get(n)
        open_ = sum(e is None for e in template[1]) if template else 1
        axes = frozenset({"time", "freq"}) if n in self.fixed else known[n].axes
        return ("time" in axes) + 2 * ("freq" in axes), float(each * open_ * self.families[n].size)

    def _shape(self, room: float) -> tuple[int, int]:
        """Slots and channels of a piece that takes `room` bytes: all channels where these fit, and what must be whole."""
        slots, channels = self.time.label.size, self.freq.label.size
        whole = [any(f.whole((axis,)) for f in self.families.values()) for axis in ("time", "freq")]
        known, sizes = self._known(), [0.0] * 4
        for n in self.families:
            which, size = self._bytes(known, n, 16.0 * (2 if n in (*self.given, *self.wide) else COPIES))
            sizes[which] += size
        none, t, f, both = sizes
        room = max(room - none, 0)
        if not whole[0]:
            slots = int(np.clip(max(room - channels * f, 0) // max(t + channels * both, 1), 1, slots))
        if not whole[1] and slots * (t + channels * both) + channels * f > room:
            channels = int(np.clip((room - slots * t) // max(f + slots * both, 1), 1, channels))
        return slots, channels

    def _known(self) -> Mapping[int, Depends]:
        return depends(self.families, {n: p.axes for n, p in self.fit.state.parms.items()})

    def bytes(self, slots: int) -> float:
        """Of all pieces of so many slots, where they are kept."""
        channels, known = self.freq.label.size, self._known()
        total = (
            sum(len(rows) * len(names) * 4.0 for rows, names, _ in self.residuals.equations.values()) * slots * channels
        )
        for n in (*self.given, *self.wide):
            which, size = self._bytes(known, n, 16.0 if n in (*self.fixed, *self.wide) else 8.0)
            total += size * (1, slots, channels, slots * channels)[which]
        return total

    def static(self, piece: Piece) -> Piece:
        """What is the same in every piece, on the device where it goes once."""
        from ..plan.xla import jax

        if self._static is None:
            self._static = jax.device_put({key: piece[key] for key in ("index", "members", "reads", "part")})
        return self._static

    # Of one tile.

    def pieces(self, tile: Any, span: Span) -> Iterator[tuple[Piece, Piece | None]]:
        """The pieces of a tile; beside each, the same with the data as they are where some of them are not finite."""
        slots, channels = self.shape
        whole, raw = self._whole(tile, span)
        extent = whole["coordinates"][0].shape[0], whole["coordinates"][1].shape[1]
        for t in range(0, extent[0], slots):
            for f in range(0, extent[1], channels):
                cut = _Cut((t, f), (slots, channels), extent)
                piece = cut.piece(whole)
                yield piece, piece | {"values": cut.values(raw)} if raw is not None else None

    def _whole(self, tile: Any, span: Span) -> tuple[dict[str, Any], dict[int, Any] | None]:
        state = self.fit.state
        slots, chans = np.arange(tile.start, tile.stop), np.arange(state.group.freq.size)
        coordinates = {"time": state.group.time[slots][:, None], "freq": state.group.freq[None]}
        tensors = self.cascade.tensors(tile)
        given: dict[int, tuple[np.ndarray, ...]] = {
            n: (state.plane(n, slice(tile.start, tile.stop)),) for n in self.held
        }
        for n in self.given:
            if n in self.fixed:
                given[n] = tuple(np.asarray(e.array) for e in tensors[n].elements if isinstance(e, Plane))
            else:
                given[n] = tuple(self.cascade.data(n, tile))
        flagged = (n for n in self.given if n in self.program.flagged and n not in self.fixed)
        inputs = self.program.inputs(coordinates, given, {n: self.cascade.data_flags(n, tile) for n in flagged})
        raw = None
        bad = {n: [~(np.abs(a).astype(float) <= LARGEST) for a in given[n]] for n in self.given}
        if any(b.any() for masks in bad.values() for b in masks):
            raw = {n: tuple(np.where(b, np.nan, a) for a, b in zip(given[n], bad[n], strict=True)) for n in self.given}
            raw = inputs["values"] | raw
            inputs["values"] |= {
                n: tuple(np.where(b, np.ones((), a.dtype), a) for a, b in zip(given[n], bad[n], strict=True))
                for n in self.given
            }
        place, basis = {}, {}
        prepared = state.prepared(self.solved, slots[:, None], chans[:, None])
        for n, own in self.solved.items():
            parm = state.parms[n]
            place[n] = (
                parm.slot_interval[slots] - parm.slot_interval[span.start],
                parm.chan_interval - parm.chan_interval[0],
            )
            basis[n] = linear_basis(prepared[n]) if own.funklet.linear else prepared[n]
        whole = {
            **inputs,
            "coordinates": (coordinates["time"], coordinates["freq"]),
            "weights": self._weights(tile),
            "place": place,
            "basis": basis,
            "part": self.parts,
            "cells": (self.time.label[slots - span.start], self.freq.label),
        }
        return whole, raw

    def _weights(self, tile: Any) -> dict[int, list[np.ndarray]]:
        """Per equation family and element (rows, T, F) float32: w of `solve.reduce.sums`, 0 where data are flagged or missing."""
        fit, found = self.fit, {}
        for place, (table, rows) in enumerate(zip(fit.tables, fit.condeqs, strict=True)):
            elements, flags, weights = fit.data(place, tile)
            shape = len(rows), tile.stop - tile.start, fit.state.group.freq.size
            lines = tile.rows if elements.rows is None else elements.rows
            made = []
            for k in range(len(table.names)):
                w = np.ones(shape, np.float32)
                entries = range(elements.data_start[k], elements.data_start[k + 1])
                for i, d in enumerate(d for d in entries if elements.data_corr[d] >= 0):
                    index, corr = elements.data_index[d][rows], elements.data_corr[d]
                    own = np.where((index >= 0)[:, None], lines[index], -1)
                    x = np.ones(shape, np.float32) if weights is None else 2 * weights[own, :, corr]
                    x = np.where((x > 0) & (x < np.inf) & (own >= 0)[..., None] & (flags[own, :, corr] == 0), x, 0)
                    w = np.minimum(w, x) if i else x
                made.append(w)
            found[table.family] = made
        return found


class Before:
    """The values of families that no unknown moves and that are too wide to be held for a whole tile, added to a piece."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._run: Any = None

    def __call__(self, piece: Piece) -> Piece:
        """The piece with these."""
        if not self.program.targets:
            return piece
        if self._run is None:
            from ..plan.xla import jax

            self._run = jax.jit(lambda piece: self.program._trace(traced(piece)))
        return {**piece, "values": {**piece["values"], **self._run(piece)}}


class Held:
    """The pieces of a span, kept on the device where they take no more than `room` bytes, else made from its tiles on each pass.

    What is not finite among the data counts nowhere: it is told from what is not finite in the equations by replacing it with 1.
    """

    def __init__(self, equations: Equations, span: Span, x: np.ndarray, room: float) -> None:
        self.equations, self.span, self.x = equations, span, x
        self.keep = equations.bytes(span.stop - span.start) <= room
        self.dropped = 0
        self._kept: list[Piece] = []
        self._passes = 0

    def __call__(self) -> Iterator[Piece]:
        """One pass."""
        if self._kept:
            yield from self._kept
            return
        self._passes += 1
        for tile in self.span.tiles():
            for piece, raw in self.equations.pieces(tile, self.span):
                sent = self._sent(piece, raw)
                if self.keep:
                    self._kept.append(sent)
                yield sent

    def _sent(self, piece: Piece, raw: Piece | None) -> Piece:
        from ..plan.xla import jax

        before = self.equations.before
        if raw is not None:
            finite = self.equations.residuals.finite
            fine, seen = finite(self.x, before(piece)), finite(self.x, before(raw))
            weights = {}
            for n, rows in piece["weights"].items():
                lost = [np.asarray(a & ~b) for a, b in zip(fine[n], seen[n], strict=True)]
                if self._passes == 1:
                    self.dropped += sum(int((bad & (w > 0)).sum()) for bad, w in zip(lost, rows, strict=True))
                weights[n] = [np.where(bad, np.float32(0), w) for bad, w in zip(lost, rows, strict=True)]
            piece = {**piece, "weights": weights}
        return before(jax.device_put({**piece, **self.equations.static(piece)}))


class _Cut:
    """A piece of arrays over all slots and channels of a tile, filled up to its full size at the end of an axis."""

    def __init__(self, start: tuple[int, int], size: tuple[int, int], extent: tuple[int, int]) -> None:
        self.extent = extent
        self.stop = [min(s + n, e) for s, n, e in zip(start, size, extent, strict=True)]
        self.start, self.size = start, size

    def along(self, array: np.ndarray, axis: int, which: int, zeros: bool = False) -> np.ndarray:
        """Cut one axis of an array, if it is that of the slots (0) or channels (1)."""
        if np.ndim(array) < (-axis if axis < 0 else axis + 1) or array.shape[axis] != self.extent[which]:
            return array
        if self.extent[which] == 1 and self.size[which] == 1:
            return array
        axis = axis % array.ndim
        at = [slice(None)] * array.ndim
        at[axis] = slice(self.start[which], self.stop[which])
        cut = array[tuple(at)]
        short = self.size[which] - cut.shape[axis]
        if not short:
            return cut
        pad = [(0, short if i == axis else 0) for i in range(array.ndim)]
        return np.pad(cut, pad, mode="constant" if zeros else "edge")

    def grid(self, array: Any, zeros: bool = False) -> Any:
        """Of an array (..., T, F)."""
        return self.along(self.along(array, -2, 0, zeros), -1, 1, zeros)

    def values(self, values: Mapping[int, Sequence[Any]]) -> dict[int, tuple[Any, ...]]:
        """Of planes per family."""
        return {n: tuple(self.grid(a) for a in arrays) for n, arrays in values.items()}

    def piece(self, whole: Mapping[str, Any]) -> dict[str, Any]:
        """Of everything."""
        time, freq = whole["coordinates"]
        slots, chans = (lambda a: self.along(a, 0, 0)), (lambda a: self.along(a, 0, 1))
        return {
            **whole,
            "coordinates": (self.along(time, 0, 0), self.along(freq, 1, 1)),
            "values": self.values(whole["values"]),
            "flags": self.values(whole["flags"]),
            "weights": {n: [self.grid(w, zeros=True) for w in rows] for n, rows in whole["weights"].items()},
            "place": {n: (slots(t), chans(f)) for n, (t, f) in whole["place"].items()},
            "basis": {n: self._basis(b) for n, b in whole["basis"].items()},
            "cells": (slots(whole["cells"][0]), chans(whole["cells"][1])),
        }

    def _basis(self, basis: Any) -> Any:
        if isinstance(basis, np.ndarray):
            return self.grid(basis)
        return tuple(self.along(self.along(np.asarray(b), 0, 0), 2, 1) for b in basis)
