"""Weights that bound what an outlier can do: iteratively reweighted least squares (Holland & Welsch 1977, Commun. Stat. A 6, 813).

With q = 2 w |r|^2 / scale, which is chi-squared distributed with two degrees of freedom for a complex datum of Gaussian noise,
a datum's weight is multiplied by
- `student-t`: (dof + 2) / (dof + q), the maximum-likelihood weight of bivariate Student's t (Lange et al. 1989, JASA 84, 881);
- `clip`: 1 up to q = sigmas^2 and 0 beyond: |r| may be that many standard deviations of its real or imaginary part.

`scale` is the noise power over what the weights promise, from the median of q: neither outliers nor weights that are wrong by
a factor, nor a start far from the solution, make good data look bad.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...kernels import kernel
from ..algebra.memory import OPTIONS
from ..algebra.threads import in_turns, take

MEDIAN = 2 * np.log(2)
"""Of chi-squared with two degrees of freedom."""

SAMPLE = 200_000
"""Most data from which the scale is taken."""


@dataclass(frozen=True, slots=True)
class Robust:
    """A weight function: Student's t with `dof` degrees of freedom, or (`dof` 0) clipping at `sigmas`."""

    dof: float = 0.0
    sigmas: float = np.inf

    def factor(self, q: np.ndarray) -> np.ndarray:
        """What a weight is multiplied by, but for `norm`."""
        return (self.dof + 2) / (self.dof + q) if self.dof else np.where(q <= self.sigmas**2, 1.0, 0.0)

    def _moments(self) -> tuple[float, float, float]:
        """E f, E f q / 2 and E f^2 q / 2 for Gaussian noise. E f q / 2 is also the mean derivative of f r (Stein)."""
        node, weight = np.polynomial.laguerre.laggauss(64)
        if not self.dof:  # q < sigmas^2 of an exponential distribution
            tail = np.exp(-(self.sigmas**2) / 2)
            inside = 1 - tail * (1 + self.sigmas**2 / 2)
            return 1 - tail, inside, inside
        f = self.factor(2 * node)
        return float(weight @ f), float(weight @ (f * node)), float(weight @ (f**2 * node))

    @property
    def norm(self) -> float:
        """Makes the inverse of the normal matrix the covariance of the solution (for Gaussian noise): the reweighted matrix
        is E f times the plain one, the covariance of an M-estimator E (f r)^2 / (E (f r)')^2 times the plain one."""
        first, slope, square = self._moments()
        return slope**2 / (square * first)

    @property
    def top(self) -> float:
        """The largest that a weight is multiplied by."""
        return self.norm * ((self.dof + 2) / self.dof if self.dof else 1.0)

    @property
    def expected(self) -> float:
        """chi2 per degree of freedom that Gaussian noise gives with these weights."""
        return self.norm * self._moments()[1]


def scale(weights: np.ndarray, flags: np.ndarray, residual: np.ndarray) -> float:
    """Noise power over 1 / weight, from the median; 1 where nothing is usable.

    residual (nrow, nchan), NaN where there is none, weights (nrow, nchan or 1), flags (nrow, nchan)."""
    step = max(1, residual.size // SAMPLE)
    rows = slice(None, None, step)
    power = np.abs(residual[rows].astype(np.complex128)) ** 2 * weights[rows]
    good = (flags[rows] == 0) & np.isfinite(power) & (weights[rows] > 0)
    return float(np.median(2 * power[good]) / MEDIAN) if good.any() else 1.0


def reweighted(robust: Robust, residual: np.ndarray, weights: np.ndarray, scales: np.ndarray, out: np.ndarray) -> None:
    """out (nrow, nchan, ncorr) float32 = the smaller of `out` and weight * factor; where `residual` (nrow, nchan, ncorr;
    complex64) is NaN it stays. `scales` (ncorr,) as from `scale`; a scale of 0 (no noise at all) changes nothing."""
    with np.errstate(divide="ignore"):
        inverse = np.where(scales > 0, 1 / scales, 0.0)
    limit = robust.sigmas**2 if not robust.dof else np.inf
    top = robust.norm * ((robust.dof + 2) if robust.dof else 1.0)
    in_turns(_reweigh, residual.view(np.float32), weights, inverse, float(robust.dof), limit, top, out)


@kernel(**OPTIONS)
def _reweigh(residual, weights, inverse, dof, limit, top, out, counter):  # type: ignore[no-untyped-def]
    nrow, nchan, ncorr = out.shape
    wide = weights.shape[1] > 1
    i = take(counter)
    while i < nrow:
        for c in range(nchan):
            for k in range(ncorr):
                re, im = residual[i, c, 2 * k], residual[i, c, 2 * k + 1]
                power = np.float64(re) * re + np.float64(im) * im
                if np.isnan(power) or inverse[k] == 0.0:
                    continue
                w = weights[i, c if wide else 0, k]
                q = 2.0 * w * power * inverse[k]
                factor = (top / (dof + q) if dof > 0.0 else top) if q <= limit else 0.0
                out[i, c, k] = min(out[i, c, k], np.float32(w * factor))
        i = take(counter)
