"""Visibilities of an image: Fourier transforms on planes of constant w, interpolated by a compact kernel.

The "exponential of semicircle" kernel over `WIDTH` cells in u, v and w, on grids twice as fine as the image needs: the
direct sum over pixels is met to 1e-6 of the summed flux. References: Barnett, Magland & af Klinteberg 2019, SIAM J. Sci. Comput.
41, C479 (kernel); Arras et al. 2021, A&A 646, A58 (w).
"""

# Kernels take arrays only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from ..kernels import kernel
from ..solve.algebra.memory import OPTIONS
from ..solve.algebra.threads import in_turns, take, threads

WIDTH = 8
"""Cells that the kernel covers along each axis."""

BETA = 2.3 * WIDTH
"""Shape of the kernel exp(BETA (sqrt(1 - (2 x / WIDTH)^2) - 1)), best for grids twice as fine."""


def degrid(image: np.ndarray, l: np.ndarray, m: np.ndarray, uvw: np.ndarray) -> np.ndarray:
    """The sum over pixels of image (nm, nl) times exp(2 pi i (u l + v m + w (n - 1))), for uvw (k, 3) in wavelengths: (k,).

    l (nl,) and m (nm,) are evenly spaced direction cosines.
    """
    n = np.sqrt(np.maximum(1 - l**2 - m[:, None] ** 2, 0.0)) - 1
    seen = np.where(l**2 + m[:, None] ** 2 < 1, image, 0.0)
    columns, cells_u, pixels_l, l0 = _grid(l)
    lines, cells_v, pixels_m, m0 = _grid(m)
    middle = (n.max() + n.min()) / 2
    half = max((n.max() - n.min()) / 2, 1e-12)
    step = 1 / (4 * half)
    position = np.stack([uvw[:, 0] * cells_u, uvw[:, 1] * cells_v, uvw[:, 2] / step], 1)
    seen = seen / (_transform(pixels_l / columns) * _transform(pixels_m / lines)[:, None])
    seen = seen / _transform((n - middle) * step)
    out = np.zeros(len(uvw), complex)
    first, last = (math.floor(f(position[:, 2])) for f in (np.min, np.max))
    grid = np.zeros((lines, columns), complex)
    place = np.ix_(pixels_m % lines, pixels_l % columns)
    for plane in range(first - WIDTH // 2, last + WIDTH // 2 + 2):
        grid[:] = 0
        grid[place] = seen * np.exp(2j * math.pi * plane * step * (n - middle))
        transformed = fft.ifft2(grid, norm="forward", workers=threads())
        in_turns(_interpolate, out, transformed, position, plane)
    return out * np.exp(2j * math.pi * (uvw @ [l0, m0, middle]))


def _grid(cosines: np.ndarray) -> tuple[int, float, np.ndarray, float]:
    """Size of the grid along an axis, cells per wavelength, whole places of the pixels, and the direction cosine of place 0."""
    step = cosines[1] - cosines[0] if cosines.size > 1 else 1e-6
    pixels = round(cosines[0] / step) + np.arange(cosines.size)
    size = int(fft.next_fast_len(max(4 * (int(np.abs(pixels).max()) + 1), 2 * WIDTH)))
    return size, float(step * size), pixels, float(cosines[0] - pixels[0] * step)


def _transform(x: np.ndarray) -> np.ndarray:
    """The Fourier transform of the kernel at frequencies x (turns per cell), by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(4 * WIDTH)
    at = nodes * WIDTH / 2
    kernel = np.exp(BETA * (np.sqrt(1 - nodes**2) - 1)) * weights * WIDTH / 2
    total: np.ndarray = sum(k * np.cos(2 * math.pi * t * x) for k, t in zip(kernel, at, strict=True))
    return total


@kernel(**OPTIONS)
def _kernel(x):
    inside = 1 - (2 * x / WIDTH) ** 2
    return math.exp(BETA * (math.sqrt(inside) - 1)) if inside > 0 else 0.0


@kernel(**OPTIONS)
def _interpolate(out, grid, position, plane, counter):
    """Add what one plane of w gives to the visibilities near it."""
    lines, columns = grid.shape
    across, along = np.empty(WIDTH), np.empty(WIDTH)
    chunk = 4096
    while True:
        start = take(counter) * chunk
        if start >= len(out):
            break
        for k in range(start, min(start + chunk, len(out))):
            weight = _kernel(position[k, 2] - plane)
            if weight == 0.0:
                continue
            x, y = position[k, 0], position[k, 1]
            left, low = math.ceil(x - WIDTH / 2), math.ceil(y - WIDTH / 2)
            for i in range(WIDTH):
                across[i], along[i] = _kernel(x - (left + i)), _kernel(y - (low + i))
            total = 0j
            for i in range(WIDTH):
                line = grid[(low + i) % lines]
                part = 0j
                for j in range(WIDTH):
                    part += line[(left + j) % columns] * across[j]
                total += part * along[i]
            out[k] += weight * total
