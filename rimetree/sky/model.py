"""A sky model: sources as arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

LIGHT = 299792458.0
"""Speed of light, m/s."""


@dataclass(frozen=True, slots=True, eq=False)
class SkyModel:
    """Sources, all arrays over the source axis (n,).

    names; patches (the name of the patch of each, or ""); radec (n, 2) in rad, J2000; stokes (n, 4), I Q U V in Jy at
    freq0; freq0 (n,) in Hz; index (n, k) spectral terms: I = I0 x^(c0 + c1 log10 x + ...), x = nu / freq0, where
    logarithmic (n,), else I = I0 + c0 (x - 1) + c1 (x - 1)^2 + ...; Q, U, V scale with I. rm (n,) rotation measure in rad/m^2;
    shape (n, 3): full widths at half maximum of the major and minor axis and position angle (north through east), rad; 0, 0
    for a point.
    """

    names: np.ndarray
    patches: np.ndarray
    radec: np.ndarray
    stokes: np.ndarray
    freq0: np.ndarray
    index: np.ndarray
    logarithmic: np.ndarray
    rm: np.ndarray
    shape: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        extended = int((self.shape[:, 0] > 0).sum())
        return f"<sky model of {len(self)} sources, {extended} of them Gaussians, {self.stokes[:, 0].sum():.4g} Jy>"

    @property
    def points(self) -> np.ndarray:
        """(n,) which sources are points."""
        found: np.ndarray = self.shape[:, 0] == 0
        return found

    def only(self, chosen: Any) -> SkyModel:
        """The sources chosen by a mask (n,), numbers or a slice."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def brightest(self, count: int) -> SkyModel:
        """The `count` sources with the largest |I| at their reference frequencies, in the order of the file."""
        return self.only(np.sort(np.argsort(-np.abs(self.stokes[:, 0]), kind="stable")[:count]))

    def lmn(self, centre: Any) -> np.ndarray:
        """Direction cosines (n, 3) l, m, n - 1 about a phase centre (ra, dec) in rad; see `Meq.LMN`."""
        (a, d), (a0, d0) = self.radec.T, centre
        half = np.sin((a - a0) / 2) ** 2
        l = np.cos(d) * np.sin(a - a0)
        m = np.sin(d - d0) + 2 * np.cos(d) * np.sin(d0) * half
        return np.stack([l, m, -2 * (np.sin((d - d0) / 2) ** 2 + np.cos(d) * np.cos(d0) * half)], 1)

    def brightness(self, freq: np.ndarray) -> np.ndarray:
        """Stokes I, Q, U, V (4, n, nchan) in Jy at frequencies (nchan,) in Hz."""
        x = freq / self.freq0[:, None]
        powers = np.arange(self.index.shape[1])
        with np.errstate(divide="ignore"):
            exponent = (self.index[:, :, None] * np.log10(x)[:, None] ** powers[:, None]).sum(1)
        slopes = (self.index[:, :, None] * (x - 1)[:, None] ** (1 + powers[:, None])).sum(1)
        I = self.stokes[:, :1]
        linear = np.divide(I + slopes, I, out=np.ones_like(x), where=I != 0)
        scale = np.where(self.logarithmic[:, None], x**exponent, linear)
        scale = np.where((self.index != 0).any(1)[:, None], scale, 1.0)
        found = self.stokes.T[:, :, None] * scale
        turned = (found[1] + 1j * found[2]) * np.exp(2j * self.rm[:, None] * (LIGHT / freq) ** 2)
        return np.stack([found[0], turned.real, turned.imag, found[3]])
