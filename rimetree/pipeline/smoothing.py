"""Solutions smoothed along time and frequency: Gaussian means weighted by the errors, which are carried along."""

from __future__ import annotations

import numpy as np

from ..io.caltable import Values
from ..trees.terms import Param

SIGMAS = 4.0
"""Half-length of the Gaussian in its standard deviations: what is further away weighs less than 0.04 %."""

FWHM = 2 * np.sqrt(2 * np.log(2))


def smooth(
    cells: Values, good: np.ndarray, centres: np.ndarray, width: float, axis: int, param: Param, domain: str
) -> Values:
    """Cells (n, time, freq, 1, 1) smoothed along `axis` (1: time, 2: frequency) by a Gaussian of full width at half maximum `width`.

    Every good cell becomes sum(k w v) / sum(k w) of the good cells around it, w = 1 / error^2 (1 where not all errors of a row
    are known), k the Gaussian of the distance of `centres`; its error is sqrt(sum (k w error)^2) / sum(k w). Amplitudes and
    phases (as unit phasors, so that turns do not matter) are smoothed apart, or real and imaginary parts, as `domain` says.
    A cell that is not good stays as it is, and so does its status.
    """
    values, errors = (np.moveaxis(a[..., 0, 0], axis, -1) for a in (cells.values, cells.errors))
    fine = np.moveaxis(good, axis, -1)
    known = (np.isfinite(errors) & (errors > 0)) | ~fine
    safe = np.where(known & fine, errors, 1.0)
    weight = np.where(fine, np.where(known.all(-1, keepdims=True), 1 / safe**2, 1.0), 0.0)
    clean = np.where(fine, values, 0)
    spread = np.where(fine, errors, 0.0)
    out, sigma = values.copy(), errors.copy()
    scale = width / FWHM
    for i, centre in enumerate(centres):
        near = np.abs(centres - centre) <= SIGMAS * scale
        k = weight[..., near] * np.exp(-0.5 * ((centres[near] - centre) / scale) ** 2)
        total = k.sum(-1)
        own = fine[..., i]
        total = np.where(own, total, 1.0)
        mean = _mean(clean[..., near], k, total, param, domain)
        out[..., i] = np.where(own, mean, values[..., i])
        error = np.sqrt(((k * spread[..., near]) ** 2).sum(-1)) / total
        sigma[..., i] = np.where(own, error, errors[..., i])
    smoothed, its_errors = (np.moveaxis(a, -1, axis)[..., None, None] for a in (out, sigma))
    return Values(smoothed, its_errors, cells.status)


def _mean(values: np.ndarray, k: np.ndarray, total: np.ndarray, param: Param, domain: str) -> np.ndarray:
    if not np.iscomplexobj(values):
        if param.angle:
            return np.asarray(np.angle((k * np.exp(1j * values)).sum(-1)))
        return np.asarray((k * values).sum(-1) / total)
    if domain == "real_imag":
        return np.asarray((k * values).sum(-1) / total)
    size = np.abs(values)
    units = np.divide(values, size, where=size > 0, out=np.zeros_like(values))
    return np.asarray((k * size).sum(-1) / total * np.exp(1j * np.angle((k * units).sum(-1))))
