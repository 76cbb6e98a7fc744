"""A BBS text sky model as nodes: point sources and Gaussians with logarithmic spectra, on the UVW of each baseline.

Everything here is made of elementary nodes, so it also shows how to write a source shape of one's own.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rimetree import Meq, Scope

LIGHT = 299792458.0
FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian, in sigmas."""


class Source(NamedTuple):
    """Position, axes (full width at half maximum; 0 for a point) and position angle in rad; Jy; Hz."""

    name: str
    ra: float
    dec: float
    flux: float
    freq0: float
    spectrum: list[float]
    major: float
    minor: float
    angle: float


def read_bbs(path: Path) -> list[Source]:
    """The sources of a BBS text file; the columns are named in its first line, as DP3's makesourcedb wants them."""
    head, *lines = path.read_text().splitlines()
    names = [n.split("=")[0].strip() for n in re.sub(r"# \((.*)\) = format", r"\1", head).split(",")]
    sources = []
    for line in lines:
        # Commas inside [...] belong to the spectrum.
        text = re.sub(r"\[(.*?)\]", lambda m: m[1].replace(",", ";"), line)
        row = dict(zip(names, next(csv.reader([text], skipinitialspace=True)), strict=False))
        if row["Name"]:
            sources.append(_source(row))
    return sources


def _source(row: dict[str, str]) -> Source:
    h, m, s = (float(x) for x in row["Ra"].split(":"))
    sign, degrees, minutes, seconds = re.match(r"([+-]?)(\d+)\.(\d+)\.([\d.]+)", row["Dec"]).groups()  # type: ignore[union-attr]
    dec = math.radians(int(degrees) + int(minutes) / 60 + float(seconds) / 3600)
    return Source(
        name=row["Name"],
        ra=math.radians(15 * (h + m / 60 + s / 3600)),
        dec=-dec if sign == "-" else dec,
        flux=float(row["I"]),
        freq0=float(row["ReferenceFrequency"]),
        spectrum=[float(x) for x in row["SpectralIndex"].split(";")],
        major=math.radians(float(row.get("MajorAxis") or 0) / 3600),
        minor=math.radians(float(row.get("MinorAxis") or 0) / 3600),
        angle=math.radians(float(row.get("Orientation") or 0)),
    )


def sky_nodes(ns: Scope, sources: list[Source], centre: tuple[float, float], baselines: list[tuple[str, str]]) -> Any:
    """Defines `ns.sky(p, q)`, the sum of all sources without a beam, and returns `ns.sky`.

    LOFAR stores UVW of antenna 2 minus antenna 1, hence sign=+1.
    """
    for source in sources:
        ns.brightness(source.name) << Meq.PointSource(_spectrum(source), 0, 0, 0)
    for p, q in baselines:
        uvw = Meq.Spigot(p, q, column="UVW")
        terms = []
        for source in sources:
            phase = Meq.PhaseDelay(Meq.Composer(*lmn(source, centre)), uvw, sign=1)
            shape = _gaussian(source, uvw) if source.major else 1
            terms.append(ns.brightness(source.name) * (phase * shape))
        ns.sky(p, q) << Meq.Add(*terms)
    return ns.sky


def lmn(source: Source, centre: tuple[float, float]) -> tuple[float, float, float]:
    """Direction cosines of a source seen from the phase centre (ra, dec in rad)."""
    ra, dec = source.ra - centre[0], centre[1]
    l = math.cos(source.dec) * math.sin(ra)
    m = math.sin(source.dec) * math.cos(dec) - math.cos(source.dec) * math.sin(dec) * math.cos(ra)
    return l, m, math.sqrt(1 - l * l - m * m)


def _spectrum(source: Source) -> Any:
    """flux x^(a + b log10 x + ...), x = nu/nu0: BBS' logarithmic spectral index."""
    ratio = Meq.Freq() / source.freq0
    log10 = Meq.Log(ratio) * (1 / math.log(10))
    index: Any = source.spectrum[-1]
    for coefficient in reversed(source.spectrum[:-1]):
        index = index * log10 + coefficient
    return source.flux * Meq.Pow(ratio, index)


def _gaussian(source: Source, uvw: Any) -> Any:
    """exp(-2 pi^2 (sigma . uv nu/c)^2): the transform of a Gaussian whose major axis lies at `angle`, N through E."""
    u, v = Meq.Selector(uvw, index=0), Meq.Selector(uvw, index=1)
    sin, cos = np.sin(source.angle), np.cos(source.angle)
    along = (u * sin + v * cos) * (source.major / FWHM)
    across = (u * cos - v * sin) * (source.minor / FWHM)
    wavelengths = Meq.Sqr(Meq.Freq()) * (-2 * math.pi**2 / LIGHT**2)
    return Meq.Exp(wavelengths * (Meq.Sqr(along) + Meq.Sqr(across)))
