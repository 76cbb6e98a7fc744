"""Weights of data, from the best column that there is, and what they say of flags."""

from __future__ import annotations

import numpy as np

from .reading import EmptyCells, RowReader
from .tile import Buffers


class Weights:
    """Weights of the rows of a reader, (nrow, nchan or 1, ncorr): from WEIGHT_SPECTRUM, else WEIGHT, else 1/SIGMA^2, else 1.

    present  (nrow,) the rows that have a cell of WEIGHT_SPECTRUM, where not all have one
    """

    def __init__(
        self, reader: RowReader, shape: tuple[int, int, int], buffers: Buffers, present: np.ndarray | None
    ) -> None:
        self.reader = reader
        self.wide = "WEIGHT_SPECTRUM" in reader.names and (present is None or bool(present.all()))
        if self.wide:
            self.values, self.source = buffers.take("*weights", shape, np.float32), "WEIGHT_SPECTRUM"
            return
        self.values, self.source = _row_weights(reader, (shape[0], 1, shape[2]))
        if present is not None and present.any():
            some = RowReader(reader.path, reader.table, reader.rows[present], reader.channels, reader.stop)
            cube = np.repeat(self.values, shape[1], axis=1)
            cube[present] = some.load("WEIGHT_SPECTRUM", np.empty(cube[present].shape, np.float32))
            self.values, self.source = cube, f"WEIGHT_SPECTRUM, else {self.source}"

    def read(self, rows: slice, flags: np.ndarray) -> None:
        """Read those of some rows; unusable ones become 0 and flag their data. Raises `EmptyCells` as `RowReader.read` does."""
        for part in self.reader.read("WEIGHT_SPECTRUM", self.values, rows) if self.wide else (rows,):
            _combine(self.values[part], flags[part])


def _row_weights(reader: RowReader, shape: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    """Weights per row from WEIGHT, else 1/SIGMA^2, else 1; a row without one takes the next."""
    out, missing, sources = np.ones(shape, np.float32), np.ones(shape[0], bool), []
    for name in ("WEIGHT", "SIGMA"):
        if name not in reader.names or not missing.any():
            continue
        values = RowReader(reader.path, reader.table, reader.rows[missing], None, reader.stop)
        filled = np.flatnonzero(missing)
        try:
            block = values.load(name, np.empty((filled.size, shape[2]), np.float32))
        except EmptyCells as gap:
            filled = filled[gap.present]
            values = RowReader(reader.path, reader.table, reader.rows[filled], None, reader.stop)
            block = values.load(name, np.empty((filled.size, shape[2]), np.float32))
        if name == "SIGMA":
            good = block > 0
            with np.errstate(divide="ignore", over="ignore"):
                block[good] = 1 / np.square(block[good])
            block[~good] = 0
        if filled.size:
            out[filled, 0], missing[filled] = block, False
            sources.append("1/SIGMA^2" if name == "SIGMA" else name)
    return out, ", else ".join([*sources, "1"] if missing.any() else sources)


def _combine(weights: np.ndarray, flags: np.ndarray) -> None:
    """Flag data whose weight is not positive and finite, and make these weights 0."""
    if weights.size and weights.min() > 0 and weights.max() < np.inf:  # NaN fails both
        return
    # As unsigned integers the positive finite floats are 1 ... 0x7F7FFFFF: one subtraction and one comparison.
    bad = weights.view(np.uint32) - np.uint32(1) >= np.uint32(0x7F7FFFFF)
    weights[bad] = 0
    np.bitwise_or(flags, bad.view(np.uint8), out=flags)
