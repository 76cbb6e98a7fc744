"""Faraday rotation of a polarised source."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.graph.registry import get
from rimetree.testing import call_node

LIGHT = 299792458.0
FREQ = np.array([[1.0e9, 1.4e9, 1.8e9]])


def value(name, *children, **options):
    grid = {"time": np.array([[0.0]]), "freq": FREQ}
    return call_node(get(name), *children, coordinates=grid, **options)[..., 0, 0, :]


@pytest.mark.parametrize("basis", ["linear", "circular"])
def test_faraday_rotation_turns_q_and_u(basis):
    i, q, u, v, rm = 2.0, 0.3, 0.4, 0.1, 11.0
    source = value("PointSource", i, q, u, v, basis=basis)
    jones = value("FaradayRotation", rm, basis=basis)
    turned = np.einsum("abf,bcf,dcf->adf", jones, np.broadcast_to(source, (2, 2, 3)), jones.conj())
    found = value("Stokes", turned[:, :, None, None], basis=basis)
    polarised = (q + 1j * u) * np.exp(2j * rm * (LIGHT / FREQ[0]) ** 2)
    np.testing.assert_allclose(found, [np.full(3, i), polarised.real, polarised.imag, np.full(3, v)], atol=1e-13)
