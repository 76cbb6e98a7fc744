"""JAX's sums over the data against those of the kernels: the same Gram matrices, factors and counts to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rimetree.solve.reduce import jax_sums, sums
from rimetree.solve.reduce.jax_sums import Views


def views(case: Any) -> Views:
    """The sources of a case for JAX."""
    made = Views()
    column = 0
    for kind, array in case.memory.twins:
        if kind == "grid":
            made.plane(array)
        else:
            made.column(array.base, column % case.corrs)
            column += 1
    return made


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(b).max(initial=0))


def squares(lanes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What chi2 is made of: R^H R, R^H y, and y^H y with the constant."""
    R, y = lanes[0] + 1j * lanes[1], lanes[2] + 1j * lanes[3]
    parts = np.einsum("nkajs,nkbjs->nabjs", R.conj(), R), np.einsum("nkajs,nkjs->najs", R.conj(), y)
    return *parts, (np.abs(y) ** 2).sum((1, 2)) + lanes[4]


OPTIONS = [
    {"corrs": 1, "bad_values": False},
    {"corrs": 2, "collapsed_weights": True},
    {"corrs": 4, "equal_weights": True, "shared_planes": True},
    {"corrs": 3},
]


@pytest.mark.parametrize("seed", range(8))
def test_sums_and_factors(make_case: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Random equations, holes, flags, weights and numbers that are none; members in blocks of one, of some, and all together."""
    case = make_case(seed, **OPTIONS[seed % 4])
    monkeypatch.setattr(jax_sums, "ROOM", [1.0, 4e3, 256e6][seed % 3])
    made = []
    for module, sources in ((sums, case.memory.sources), (jax_sums, views(case))):
        gram, count = sums.empty_gram(case.elements, case.members, *case.grid())
        arguments = case.table, sources, case.rows, case.elements, case.tcell, case.fcell, case.flags, case.weights
        lost = [module.accumulate(gram, count, *arguments) for _ in range(2)]
        made.append((gram, count, lost, module.factors(gram, count, case.grid()[0], 1, 1, case.grid()[1])))
    (gram, count, lost, lanes), (other, counted, dropped, theirs) = made
    assert dropped == lost
    np.testing.assert_array_equal(counted, count)
    for a, b in zip(other, gram, strict=True):
        close(a, b)
    for ours, own in zip(theirs, lanes, strict=True):
        assert all(np.isfinite(a).all() for a in ours) and not np.tril(ours[0].transpose(0, 3, 4, 1, 2), -1).any()
        for a, b in zip(squares(ours), squares(own), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max(initial=0))
        np.testing.assert_array_equal(ours[5], own[5])


@pytest.mark.parametrize("seed", range(4))
def test_single_data(make_case: Any, seed: int) -> None:
    case = make_case(seed + 20, **OPTIONS[seed % 4])
    case.tcell = np.where(case.tcell < 0, -1, np.arange(case.nslot)).astype(np.int32)
    case.fcell = np.where(case.fcell < 0, -1, np.arange(case.nchan)).astype(np.int32)
    held = views(case)
    for e in range(len(case.planes)):
        own, theirs = (
            module.direct(
                case.table, sources, case.rows, case.elements, e, case.tcell, case.fcell, case.flags, case.weights,
                1, case.nslot, case.nchan, 1,
            )
            for module, sources in ((sums, case.memory.sources), (jax_sums, held))
        )  # fmt: skip
        assert own[1] == theirs[1] == case.samples()[2][e]
        for a, b in zip(theirs[0], own[0], strict=True):
            close(a, b)
