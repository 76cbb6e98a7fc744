"""Spectra, shapes, smearing and beams against integrals and formulas written down by themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import eval_hermite

import rimetree as rt
from rimetree import Meq
from rimetree.graph.registry import get
from rimetree.testing import call_node

LIGHT = 299792458.0
FREQ = np.array([[1.0e9, 1.4e9, 1.8e9]])
GRID = {"time": np.array([[0.0]]), "freq": FREQ}
UVW = np.array([700.0, -400.0, 90.0])


def column(*numbers):
    return np.reshape(numbers, (-1, 1, 1, 1)) if len(numbers) > 1 else float(numbers[0])


def value(name, *children, **options):
    return call_node(get(name), *children, coordinates=GRID, **options)[..., 0, 0, :]


def test_spectra():
    x = FREQ[0] / 1.2e9
    found = value("PowerLaw", 2.0, -0.7, 1.2e9, 0.3, -0.1, log="log10")
    np.testing.assert_allclose(found, 2 * x ** (-0.7 + 0.3 * np.log10(x) - 0.1 * np.log10(x) ** 2))
    np.testing.assert_allclose(value("PowerLaw", 2.0, -0.7, 1.2e9, 0.3), 2 * x ** (-0.7 + 0.3 * np.log(x)))
    np.testing.assert_allclose(
        value("PolynomialSpectrum", 2.0, 1.2e9, 0.5, -0.25), 2 + 0.5 * (x - 1) - (x - 1) ** 2 / 4
    )


def transform(image, cell, sign=-1):
    """The integral of an image [l, m] over exp(sign 2 pi i (u l + v m)), per frequency."""
    count = len(image)
    l = (np.arange(count) - count // 2) * cell
    u, v = (UVW[i] * FREQ[0] / LIGHT for i in (0, 1))
    along_l, along_m = (np.exp(sign * 2j * np.pi * k[:, None] * l) for k in (u, v))
    return np.einsum("fl,lm,fm->f", along_l, image, along_m) * cell**2


@pytest.mark.parametrize("pa", [0.0, 0.6, 2.5])
def test_gaussian_is_the_transform_of_a_gaussian(pa):
    major, minor = 2e-4, 0.8e-4
    cell = 4e-6
    l, m = np.meshgrid(*[(np.arange(512) - 256) * cell] * 2, indexing="ij")
    along, across = l * np.sin(pa) + m * np.cos(pa), l * np.cos(pa) - m * np.sin(pa)
    image = np.exp(-4 * math.log(2) * ((along / major) ** 2 + (across / minor) ** 2))
    image /= image.sum() * cell**2
    found = value("GaussianShape", major, minor, pa, column(*UVW))
    np.testing.assert_allclose(found, transform(image, cell), atol=1e-10)
    assert found.min() < 0.9


@pytest.mark.parametrize("sign", [-1, 1])
def test_shapelets_are_the_transform_of_shapelets(sign):
    beta, cell = 5e-5, 4e-6
    coefficients = np.array([[1.0, 0.3, -0.2], [0.4, -0.5, 0.1]])
    x = (np.arange(512) - 256) * cell / beta
    basis = [
        eval_hermite(n, x) * np.exp(-(x**2) / 2) / math.sqrt(2**n * math.sqrt(math.pi) * math.factorial(n) * beta)
        for n in range(3)
    ]
    image = np.einsum("jk,jl,km->lm", coefficients, np.array(basis[:2]), np.array(basis))
    found = value("ShapeletShape", coefficients[..., None, None, None], beta, column(*UVW), sign=sign)
    np.testing.assert_allclose(found, transform(image, cell, sign), atol=1e-14)
    assert np.abs(found.imag).max() > 1e-5


def test_smearing_is_the_mean_over_channel_and_slot():
    lmn = np.array([0.01, -0.02, math.sqrt(1 - 5e-4)])
    rate = np.array([0.1, 0.15, -0.02])
    width, interval = 2e6, 30.0

    def phase(freq, time):
        path = (UVW + rate * time) @ (lmn - [0, 0, 1])
        return np.exp(-2j * np.pi * freq * path / LIGHT)

    steps = (np.arange(4000) + 0.5) / 4000 - 0.5
    found = value("Smearing", column(*lmn), column(*UVW), column(*rate), width, interval)
    for freq, factor in zip(FREQ[0], found, strict=True):
        over_channel = np.mean([phase(freq + width * s, 0) for s in steps])
        over_slot = np.mean([phase(freq, interval * s) for s in steps])
        np.testing.assert_allclose(factor, (over_channel * over_slot / phase(freq, 0) ** 2).real, atol=1e-6)
    assert found.max() < 0.95


def test_wsrt_beam():
    r = math.hypot(0.006, -0.004)
    expected = np.cos(np.minimum(66 * FREQ[0] / 1e9 * r, 0.8)) ** 3
    np.testing.assert_allclose(value("WSRTCos3Beam", column(0.006, -0.004), 66.0, clip=0.8), expected)
    assert value("WSRTCos3Beam", column(0.0, 0.0), 66.0) == pytest.approx(1)


def test_widths_of_cells(make_ms, edit):
    """Of the data in a run, channel by channel; of the grid elsewhere."""
    path = make_ms()
    with edit(path / "SPECTRAL_WINDOW") as table:
        table.putcol("CHAN_WIDTH", np.array([[1e6, -1e6, 2e6, 1e6, 3e6]]))
    ms = rt.MeasurementSet(path)
    ns = rt.Scope()
    p, q = ms.baselines[0]
    ns.out << Meq.Sink(Meq.Matrix22(Meq.ChannelWidth(), Meq.SlotLength(), 0, 0), p, q, column="CORRECTED_DATA")
    ns.forest().run(ms, progress=False)
    again = rt.MeasurementSet(path)
    tile = again.read(again.groups[0], columns=("CORRECTED_DATA",))
    found = tile.columns["CORRECTED_DATA"][tile.rows[0]]
    np.testing.assert_allclose(found[..., 0].real, np.tile([1e6, 1e6, 2e6, 1e6, 3e6], (6, 1)))
    np.testing.assert_allclose(found[..., 1].real, 10.0)
    cells = rt.Cells(time=(0.0, 20.0, 4), freq=(1e9, 1.1e9, 5))
    for node, width in ((Meq.ChannelWidth(), 2e7), (Meq.SlotLength(), 5.0), (Meq.SlotLength(length=3.0), 3.0)):
        ns = rt.Scope()
        ns.x << node
        np.testing.assert_allclose(ns.forest().evaluate("x", cells).values, width)


def test_width_of_a_single_cell_must_be_given():
    ns = rt.Scope()
    ns.x << Meq.ChannelWidth()
    with pytest.raises(rt.ForestError, match="one centre only.*give width="):
        ns.forest().evaluate("x", rt.Cells(freq=[1e9]))
