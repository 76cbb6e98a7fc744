"""Flux scales: gains solved with a model of unknown flux brought to the scale of those of a field of known flux."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, nearest
from ..io.caltable import CalFile, CalTable
from . import syntax
from .config import Fluxscale
from .data import Data, paths_of
from .reference import survey

CLIP = 3.0
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """Of one transfer field and spectral window, per hand (p, q): what its gains are multiplied by, and the flux that follows.

    scale (2,) with error (2,); flux = model flux / scale^2 (Jy); antennas used; freq Hz; the reference field.
    """

    field: str
    reference: str
    spw: int
    freq: float
    scale: np.ndarray
    error: np.ndarray
    scatter: np.ndarray
    antennas: int
    model: float

    @property
    def flux(self) -> float:
        """Jy, from the weighted mean of both hands."""
        weight = 1 / np.maximum(self.error, 1e-12) ** 2
        return float(self.model / ((self.scale * weight).sum() / weight.sum()) ** 2)

    @property
    def flux_error(self) -> float:
        """1 sigma, Jy."""
        relative = 1 / np.sqrt((1 / np.maximum(self.error / self.scale, 1e-12) ** 2).sum())
        return float(2 * relative * self.flux)

    def __str__(self) -> str:
        s = self.scale
        return (
            f"{self.field}, spw {self.spw}: {self.flux:.6g} +- {self.flux_error:.2g} Jy at {self.freq / 1e9:.6g} GHz "
            f"(gains x {s[0]:.5g}, {s[1]:.5g}; {self.antennas} antennas; from {self.reference}; model {self.model:.6g} Jy)"
        )


class FluxscaleRun:
    """A fluxscale block at work."""

    def __init__(self, block: Fluxscale) -> None:
        self.block = block
        self._opened: dict[str, Data] = {}

    def run(self, files: dict[str, CalFile]) -> tuple[CalFile, list[Scale]]:
        """The file with scaled gains, and the scales; `files`: solution files by path.

        Gains g are those of V = g_p M g_q^H: a field of true flux S solved with a model of flux M has gains
        sqrt(S / M) g. Where the model of the reference field is right, those of a transfer field are therefore to be
        multiplied by s = |g_ref| / |g_transfer|, and its flux is M / s^2. Running it again changes nothing.
        Raises ConfigError where a field or key has no solutions.
        """
        try:
            return self._run(files)
        finally:
            for data in self._opened.values():
                data.close()

    def _run(self, files: dict[str, CalFile]) -> tuple[CalFile, list[Scale]]:
        block = self.block
        source, target = files[block.reference_table], files[block.transfer_table]
        key = syntax.resolve(block.jones_type, source.keys, f"fluxscale: {block.reference_table}")
        syntax.resolve(key, target.keys, f"fluxscale: {block.transfer_table}")
        result = copy.deepcopy(target)
        scales = []
        for name in block.transfers:
            for table in self._tables(target, key, name, block.transfer_table):
                reference = self._reference(source, key, table)
                found = self._scale(reference, table)
                scales.append(found)
                result.put(_scaled(_original(table), found.scale))
                result.flux[name, table.spw] = self._attrs(found, key)
        for name in block.transfers:
            _fit_index(result, [s for s in scales if s.field == name])
        return result, scales

    def _tables(self, file: CalFile, key: str, field: str, path: str) -> list[CalTable]:
        own = [t for t in file.tables if t.key == key]
        found = [t for t in own if t.field == field]
        if not found:
            known = [t.field for t in own]
            raise ConfigError(
                f"fluxscale: {path}: {key} has no solutions of field {field!r}{nearest(field, known)}; it has "
                f"{', '.join(dict.fromkeys(known))}"
            )
        if self.block.spw is None:
            return found
        wanted = {window.id for window in self._data(found[0]).windows(self.block.spw)}
        chosen = [t for t in found if t.spw in wanted]
        if not chosen:
            there = ", ".join(str(t.spw) for t in found)
            raise ConfigError(
                f"fluxscale: {path}: {key} of field {field} has no solutions for spw {self.block.spw}; it has them for spw {there}"
            )
        return chosen

    def _data(self, table: CalTable) -> Data:
        """The Measurement Set that a table was solved on, or that the block names. DataError where it is not there."""
        path = self.block.ms or paths_of(str(table.attrs.get("ms", "")))
        if not path:
            raise DataError(f"fluxscale: {table.key} does not say its Measurement Set; say it in the block, ms: x.ms")
        if str(path) not in self._opened:
            self._opened[str(path)] = Data(path)
        return self._opened[str(path)]

    def _reference(self, file: CalFile, key: str, table: CalTable) -> list[CalTable]:
        """The tables of the reference fields in the spectral window of a transfer field."""
        found = [
            t for name in self.block.references
            for t in self._tables(file, key, name, self.block.reference_table) if t.spw == table.spw
        ]  # fmt: skip
        if not found:
            raise ConfigError(
                f"fluxscale: {self.block.reference_table}: no reference field has {key} for spw {table.spw}"
            )
        return found

    def _scale(self, references: Sequence[CalTable], table: CalTable) -> Scale:
        found = [_ratios(_original(r), _original(table)) for r in references]
        every, sigma = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
        kept = np.isfinite(every).all(1)
        for _ in range(ROUNDS if kept.any() else 0):
            middle = np.median(every[kept], 0)
            spread = np.maximum(1.4826 * np.median(np.abs(every[kept] - middle), 0), np.median(sigma[kept], 0))
            with np.errstate(invalid="ignore"):
                kept = kept & (np.abs(every - middle) <= CLIP * np.maximum(spread, 1e-9)).all(1)
        if not kept.any():
            raise ConfigError(
                f"fluxscale: fields {', '.join(self.block.references)} and {table.field} have no antenna with solutions in common"
            )
        centre, count = every[kept].mean(0), int(kept.sum())
        scatter = every[kept].std(0, ddof=1) if count > 1 else np.zeros(2)
        error = np.maximum(scatter, np.sqrt((sigma[kept] ** 2).mean(0))) / np.sqrt(count)
        return Scale(
            table.field, ", ".join(r.field for r in references), table.spw, float(table.freq.mean()), centre, error, scatter,
            count, self._model(table),
        )  # fmt: skip

    def _model(self, table: CalTable) -> float:
        """Flux of the model of a transfer field: the mean amplitude of the parallel hands, Jy."""
        data = self._data(table)
        ms = data.select(next(data.windows(table.spw)), table.field or None, pool=not table.field)
        flux = survey(ms, ms.groups[0], self.block.model_col).flux
        if not flux > 0:
            raise DataError(
                f"fluxscale: {data.path}: {self.block.model_col} of field {table.field}, spw {table.spw} is zero or flagged, so the "
                "flux cannot be told from the gains; set the model that they were solved with"
            )
        return flux

    def _attrs(self, found: Scale, key: str) -> dict[str, Any]:
        return {
            "reference_field": found.reference,
            "reference_table": self.block.reference_table,
            "jones_type": key,
            "transfer_field": found.field,
            "scale_p": float(found.scale[0]),
            "scale_q": float(found.scale[1]),
            "scatter_p": float(found.scatter[0]),
            "scatter_q": float(found.scatter[1]),
            "error_p": float(found.error[0]),
            "error_q": float(found.error[1]),
            "n_ant": found.antennas,
            "model_flux": found.model,
            "flux": found.flux,
            "flux_error": found.flux_error,
            "freq": found.freq,
        }


def _ratios(reference: CalTable, table: CalTable) -> tuple[np.ndarray, np.ndarray]:
    """(antennas in common, 2): mean |g| of the reference field over that of the other, NaN where one has none; 1 sigma of it.

    Antennas scatter by chance less than their errors allow where they are few: both are needed.
    """
    common = [name for name in reference.antennas if name in table.antennas]
    pairs = [(_amplitude(reference, name), _amplitude(table, name)) for name in common]
    ratio = np.array([one / other for (one, _), (other, _) in pairs]).reshape(-1, 2)
    relative = np.array([np.hypot(e / one, f / other) for (one, e), (other, f) in pairs]).reshape(-1, 2)
    return ratio, ratio * relative


def _amplitude(table: CalTable, antenna: str) -> tuple[np.ndarray, np.ndarray]:
    """Root of the mean power of both hands of an antenna, over time and frequency, and its error.

    An error of a gain holds for a complex number, so half its square for the amplitude; it is brought to the noise that there
    was by chi2. 0 where errors are not known.
    """
    i = table.antennas.index(antenna)
    good = ~table.flags[i]
    if not good.any():
        return np.full(2, np.nan), np.zeros(2)
    size, sigma = (np.stack([a[i][good][:, c, c] for c in (0, 1)], -1) for a in (np.abs(table.jones), table.errors))
    dof = table.stats["dof"].sum() if "dof" in table.stats else 0
    scale = np.nansum(table.stats["chi2"]) / dof if dof else 1.0
    root = np.sqrt((size**2).mean(0))
    error = np.sqrt(scale / 2 * np.nan_to_num((size * sigma) ** 2).sum(0)) / (len(size) * root)
    return root, error


def _original(table: CalTable) -> CalTable:
    """Gains as they were solved: an earlier scale taken out."""
    before = np.array([float(table.attrs.get(f"flux_scale_{hand}", 1.0)) for hand in "pq"])
    return _scaled(table, 1 / before, reset=True) if (before != 1).any() else table


def _scaled(table: CalTable, scale: np.ndarray, reset: bool = False) -> CalTable:
    """A copy with columns x and y multiplied, and the scale noted."""
    result = copy.deepcopy(table)
    result.jones = table.jones * scale
    result.errors = table.errors * scale
    for what, parm in result.parms.items():
        if what[-1] in "xy" and not what.startswith(("phase", "delay")):
            factor = scale["xy".index(what[-1])]
            parm.values, parm.errors = parm.values * factor, parm.errors * factor
    for hand, value in zip("pq", scale.tolist(), strict=True):
        result.attrs.pop(f"flux_scale_{hand}", None)
        if not reset:
            result.attrs[f"flux_scale_{hand}"] = value
    return result


def _fit_index(file: CalFile, scales: Sequence[Scale]) -> None:
    """With two spectral windows or more: flux = flux_0 (nu / nu_0)^index by weighted least squares of the logarithms."""
    if len(scales) < 2 or len({s.freq for s in scales}) < 2:
        return
    freq, flux = np.array([s.freq for s in scales]), np.array([s.flux for s in scales])
    sigma = np.maximum(np.array([s.flux_error for s in scales]) / flux, 1e-9)
    middle = float(np.exp(np.log(freq).mean()))
    design = np.stack([np.ones(len(freq)), np.log(freq / middle)], 1) / sigma[:, None]
    cover = np.linalg.inv(design.T @ design)
    level, index = cover @ design.T @ (np.log(flux) / sigma)
    for s in scales:
        file.flux[s.field, s.spw] |= {
            "spectral_index": float(index),
            "spectral_index_error": float(np.sqrt(cover[1, 1])),
            "fitted_flux": float(np.exp(level)),
            "fitted_flux_error": float(np.exp(level) * np.sqrt(cover[0, 0])),
            "fitted_freq": middle,
        }
