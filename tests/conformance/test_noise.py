"""Noise leaves: what they are drawn from, and that neighbours know nothing of each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import rimetree as rt
from rimetree import Meq

CELLS = rt.Cells(time=4.9e9 + 10.0 * np.arange(200), freq=1.4e9 + 1e6 * np.arange(150))


def drawn(definition, cells=CELLS):
    ns = rt.Scope()
    ns.root << definition
    return ns.forest().evaluate("root", cells).values


@pytest.mark.parametrize(
    ("definition", "distribution"),
    [
        (lambda: Meq.GaussNoise(2.0, mean=1.0, seed="a"), stats.norm(1.0, 2.0)),
        (lambda: Meq.RandomNoise(-1.0, 3.0, seed=7), stats.uniform(-1.0, 4.0)),
    ],
)
def test_distribution(definition, distribution):
    """30000 values pass Kolmogorov's test, and neighbours in time, frequency or both are not correlated."""
    x = drawn(definition())
    assert stats.kstest(x.ravel(), distribution.cdf).pvalue > 1e-3
    unit = (x - x.mean()) / x.std()
    for a, b in ((unit[1:], unit[:-1]), (unit[:, 1:], unit[:, :-1]), (unit[1:, 1:], unit[:-1, :-1])):
        assert abs((a * b).mean()) < 4 / np.sqrt(a.size)


def test_elements_parts_and_seeds_are_independent():
    pairs = drawn(Meq.GaussNoise(seed=1, dims=(2,), complex=True)).reshape(2, -1)
    other = drawn(Meq.GaussNoise(seed=2, complex=True)).reshape(1, -1)
    parts = np.concatenate([pairs.real, pairs.imag, other.real, other.imag])
    np.testing.assert_allclose(np.corrcoef(parts), np.eye(6), atol=4 / np.sqrt(parts.shape[1]))


def test_noise_belongs_to_the_cell():
    """The same on any part of the grid; equal seeds are equal; noise along one axis is collapsed along the other."""
    whole = drawn(Meq.GaussNoise(seed="x"))
    part = drawn(Meq.GaussNoise(seed="x"), rt.Cells(time=CELLS.time[50:60], freq=CELLS.freq[7:9]))
    np.testing.assert_array_equal(part, whole[50:60, 7:9])
    assert not drawn(Meq.GaussNoise(seed="x") - Meq.GaussNoise(seed="x")).any()
    assert drawn(Meq.GaussNoise(seed="x", axes="time")).shape == (200, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "GaussNoise needs the option seed"),
        ({"seed": -1}, "seed must be a text, or a whole number"),
        ({"seed": 1, "dims": (0,)}, "dims must be positive"),
        ({"seed": 1, "axes": ("",)}, "axes must be names"),
        ({"seed": 1, "stdev": 2.0}, "did you mean 'stddev'"),
    ],
)
def test_options(options, message):
    ns = rt.Scope()
    ns.root << Meq.GaussNoise(**options)
    with pytest.raises(rt.ForestError, match=message):
        ns.forest()
