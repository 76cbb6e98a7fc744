"""The sum over sources: visibilities of many sources on all baselines of one slot after the other.

For a block of sources the phasors of every station and channel are computed once and kept in the second-level cache; each baseline
then multiplies two of them and adds the product, times the Stokes parameters, to sums that stay in the first-level cache.
The phase is computed in float64 and reduced to a fraction of a turn, the rest in float32: errors are 1e-6 of the summed flux.
"""

# Kernels take arrays only; annotations would repeat that on every argument.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from __future__ import annotations

import math

import numpy as np

from ..kernels import kernel
from ..solve.algebra.memory import OPTIONS
from ..solve.algebra.threads import take

BLOCK = 32
"""Sources per block, a multiple of UNROLLED."""

UNROLLED = 4
"""Sources added up in registers before the sums in memory are touched."""


@kernel(**OPTIONS)
def sum_sources(out, uvw, pairs, rows, lmn, waves, stokes, shapes, smears, mix, counter):
    """Add to out the visibilities of all sources. Slots are shared out between threads by `counter`.

    out (nrow, nchan, ncorr) complex64; uvw (nslot, station, 3) in m; pairs (baseline, 2); rows (baseline, nslot), -1
    where there is none; lmn (n, 3) with n - 1 and the sign of the phase; waves (nchan,) wave numbers nu/c; stokes
    (plane, n, nchan) float32; shapes (n, 4): quadratic forms a, b, c of an exponent -(a u^2 + b u v + c v^2) in wavelengths,
    and 1 where there is one; smears (nslot, nchan + 4): channel widths over c, then slot length and the rates' cos and
    sin of declination, and 1 where there is smearing; mix (ncorr, plane): correlations from Stokes. n is a multiple of UNROLLED.
    """
    nslot, stations = uvw.shape[:2]
    nchan, planes, baselines = len(waves), len(stokes), len(pairs)
    phasors = np.empty((stations, BLOCK, 2, nchan), np.float32)
    sums = np.empty((baselines, planes, 2, nchan), np.float32)
    product = np.empty((UNROLLED, 2, nchan), np.float32)
    while True:
        slot = take(counter)
        if slot >= nslot:
            break
        sums[:] = 0
        for start in range(0, len(lmn), BLOCK):
            count = min(BLOCK, len(lmn) - start)
            _phasors(phasors, uvw[slot], lmn[start : start + count], waves)
            for b in range(baselines):
                if rows[b, slot] < 0:
                    continue
                p, q = pairs[b]
                for s in range(0, count, UNROLLED):
                    for j in range(UNROLLED):
                        _multiply(product[j], phasors[p, s + j], phasors[q, s + j])
                        source = start + s + j
                        if shapes[source, 3] != 0 or smears[slot, nchan + 3] != 0:
                            _attenuate(
                                product[j], uvw[slot, p], uvw[slot, q], lmn[source], waves, shapes[source], smears[slot]
                            )
                    for k in range(planes):
                        _add(sums[b, k], product, stokes[k, start + s : start + s + UNROLLED])
        for b in range(baselines):
            row = rows[b, slot]
            if row >= 0:
                _correlate(out[row], sums[b], mix)


@kernel(**OPTIONS)
def _phasors(phasors, uvw, lmn, waves):
    """exp(2 pi i wave (u l + v m + w (n - 1))) for all stations, some sources and all channels."""
    for station in range(len(uvw)):
        for s in range(len(lmn)):
            path = uvw[station, 0] * lmn[s, 0] + uvw[station, 1] * lmn[s, 1] + uvw[station, 2] * lmn[s, 2]
            real, imag = phasors[station, s, 0], phasors[station, s, 1]
            for c in range(len(waves)):
                turns = path * waves[c]
                # half the angle, within a quarter turn either way: Taylor series in float32 are exact to rounding there
                x = np.float32(math.pi) * np.float32(turns - np.rint(turns))
                y = x * x
                sine = x * (
                    np.float32(1)
                    + y * (np.float32(-1 / 6) + y * (np.float32(1 / 120) + y * (np.float32(-1 / 5040)
                    + y * (np.float32(1 / 362880) + y * np.float32(-1 / 39916800)))))
                )  # fmt: skip
                cosine = np.float32(1) + y * (
                    np.float32(-1 / 2) + y * (np.float32(1 / 24) + y * (np.float32(-1 / 720)
                    + y * (np.float32(1 / 40320) + y * (np.float32(-1 / 3628800) + y * np.float32(1 / 479001600)))))
                )  # fmt: skip
                real[c] = np.float32(1) - np.float32(2) * sine * sine
                imag[c] = np.float32(2) * sine * cosine


@kernel(**OPTIONS)
def _multiply(product, first, second):
    """first times the conjugate of second."""
    real, imag = product[0], product[1]
    a, b, c, d = first[0], first[1], second[0], second[1]
    for i in range(len(real)):
        real[i] = a[i] * c[i] + b[i] * d[i]
        imag[i] = b[i] * c[i] - a[i] * d[i]


@kernel(**OPTIONS)
def _add(total, product, stokes):
    """Add UNROLLED products, each times a Stokes parameter over frequency."""
    s0, s1, s2, s3 = stokes[0], stokes[1], stokes[2], stokes[3]
    for part in range(2):
        sums = total[part]
        a, b, c, d = product[0, part], product[1, part], product[2, part], product[3, part]
        for i in range(len(sums)):
            sums[i] += (a[i] * s0[i] + b[i] * s1[i]) + (c[i] * s2[i] + d[i] * s3[i])


@kernel(**OPTIONS)
def _attenuate(product, first, second, lmn, waves, shape, smear):
    """The visibility of the source's shape, and the loss by averaging over channel and slot."""
    nchan = len(waves)
    u, v, w = first[0] - second[0], first[1] - second[1], first[2] - second[2]
    form = shape[0] * u * u + shape[1] * u * v + shape[2] * v * v
    interval, across, along = smear[nchan], smear[nchan + 1], smear[nchan + 2]
    path = u * lmn[0] + v * lmn[1] + w * lmn[2]
    rate = interval * ((w * across - v * along) * lmn[0] + u * along * lmn[1] - u * across * lmn[2])
    for c in range(nchan):
        factor = math.exp(-form * waves[c] * waves[c])
        if smear[nchan + 3] != 0:
            factor *= _sinc(smear[c] * path) * _sinc(rate * waves[c])
        product[0, c] *= np.float32(factor)
        product[1, c] *= np.float32(factor)


@kernel(**OPTIONS)
def _sinc(x):
    angle = math.pi * x
    return math.sin(angle) / angle if abs(angle) > 1e-9 else 1.0


@kernel(**OPTIONS)
def _correlate(out, sums, mix):
    """Correlations from sums of Stokes parameters."""
    for c in range(out.shape[0]):
        for k in range(out.shape[1]):
            value = np.complex64(0)
            for plane in range(len(sums)):
                value += mix[k, plane] * complex(sums[plane, 0, c], sums[plane, 1, c])
            out[c, k] = value
