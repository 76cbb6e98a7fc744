"""Memory that solving takes beside the columns of a tile: the sums of a span, and planes evaluated for a tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ConfigError
from ..parms.intervals import AxisGrid
from ..solve.algebra.simd import LANES
from .dense import normal_bytes
from .fit import ClassFit
from .tiling import available_memory

PARTS = 16
"""Bytes of a complex number."""


def sums_bytes(fit: ClassFit, slots: slice) -> int:
    """Sums and pseudo-visibilities of a span: these must be held at once, however many tiles it is read in."""
    first = fit.state.parms[fit.parms[0]]
    times, freqs = (first.slot_interval[slots], first.chan_interval)
    collapse_t, collapse_f = fit.collapses()
    tgrid, fgrid = AxisGrid.of(times - times[0], collapse_t), AxisGrid.of(freqs, collapse_f)
    joint, intervals = tgrid.joint * fgrid.joint, tgrid.count * fgrid.count
    cells, lanes = joint * intervals, joint * (-(-intervals // LANES) * LANES)
    single = cells >= times.size * freqs.size  # as in SpanSums
    total = fit.atoms.count * (1 + fit.atoms.parameters.shape[1]) * PARTS * (cells + lanes)
    for table in fit.tables:
        planes = table.elements.ntheta.astype(float) + 1
        rows = np.ones_like(planes) if single else planes - 1
        pseudo = (
            PARTS * rows * planes * (2 * cells + lanes)
        )  # R and y; those of a component; in the order of the kernel
        gram = 0 if single else (8 * planes**2 + 8) * cells
        total += fit.families[table.family].size * int((pseudo + gram).sum())
    return int(total)


def too_large(fit: ClassFit, memory: float) -> bool:
    """Whether one solution interval of a class is too much for `memory` bytes of sums, or its normal matrices for what is free."""
    first = fit.state.parms[fit.parms[0]]
    longest = np.bincount(first.together).argmax()
    slots = np.flatnonzero(first.together == longest)
    span = slice(int(slots[0]), int(slots[-1]) + 1)
    return sums_bytes(fit, span) > memory or normal_bytes(int(fit.fitted.sum()), 1) > available_memory()


def planes_bytes(fit: ClassFit) -> int:
    """Planes evaluated per slot of a tile: predicted models, fixed Jones terms."""
    cascade, group = fit.cascade, fit.state.group
    known = fit.state.known(fit.families)
    total = 0
    for n in cascade.targets:
        if "time" in known[n].axes:
            open_ = sum(value is None for value in fit.low.templates[n][1])
            total += fit.families[n].size * open_ * PARTS * (group.freq.size if "freq" in known[n].axes else 1)
    return 2 * total  # its parts take as much again while it is being evaluated


def slot_bytes(classes: Mapping[str, Sequence[ClassFit]]) -> float:
    """Of one more slot in a tile, for the solver class that takes most."""
    sizes = [
        sums_bytes(fit, slice(0, fit.state.group.time.size)) / fit.state.group.time.size + planes_bytes(fit)
        for fits in classes.values()
        for fit in fits
    ]
    return max(sizes, default=0.0)


def check_spans(classes: Mapping[str, Sequence[ClassFit]], spans: Sequence[slice], limit: float) -> None:
    """Raises ConfigError where the sums of a span are more than `limit` bytes, naming the Solver and the Parms."""
    for name, fits in classes.items():
        for fit in fits:
            span = max(spans, key=lambda s: sums_bytes(fit, s))
            size = sums_bytes(fit, span)
            if size > limit:
                labels = dict.fromkeys(text.split(":")[0] for n in fit.parms for text in fit.state.parms[n].names)
                raise ConfigError(
                    f"memory={limit:.3g} bytes is too little for {name}: the solutions of {', '.join(labels)} join "
                    f"{span.stop - span.start} slots, and these sums take {size:.3g} bytes; give more memory, shorter "
                    "solution intervals in time, or fewer channels (explain says what is kept apart within an interval)"
                )
