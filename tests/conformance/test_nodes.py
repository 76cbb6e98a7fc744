"""Every node class: the public checks, and its values against numpy written down by itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rimetree.graph import registry
from rimetree.graph.node import Elementwise, Function, Ring
from rimetree.testing import call_node, check_node

CLASSES = registry.names()
COMPUTING = [name for name in CLASSES if issubclass(registry.get(name), (Elementwise, Ring, Function))]

FREQ = np.array([[1.0e8, 1.4e8, 1.8e8]])
GRID = {"time": np.array([[0.5], [1.5]]), "freq": FREQ}
SHAPE = (2, 2, 3)  # member, time, freq
S, M, V3 = (), (2, 2), (3,)
LIGHT = 299792458.0


def matmul(*factors):
    """Matrix products of arrays (i, j, ...) by explicit sums over Python indices."""
    a, *rest = factors
    for b in rest:
        a = np.array(
            [[sum(a[i, k] * b[k, j] for k in range(len(b))) for j in range(b.shape[1])] for i in range(len(a))]
        )
    return a


def inverse(a):
    """numpy's own inverse, matrix axes last."""
    return np.moveaxis(np.linalg.inv(np.moveaxis(a, (0, 1), (-2, -1))), (-2, -1), (0, 1))


def geometric_phase(lmn, uvw, sign):
    path = uvw[0] * lmn[0] + uvw[1] * lmn[1] + uvw[2] * (lmn[2] - 1)
    angle = sign * 2 * np.pi * FREQ / LIGHT * path
    return np.cos(angle) + 1j * np.sin(angle)


PAULI = {  # I, Q, U, V
    "linear": np.array([[[1, 0], [0, 1]], [[1, 0], [0, -1]], [[0, 1], [1, 0]], [[0, 1j], [-1j, 0]]]),
    "circular": np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, 1j], [-1j, 0]], [[1, 0], [0, -1]]]),
}


def coherency(*iquv, basis="linear"):
    return np.einsum("s...,sij->ij...", np.array(iquv), PAULI[basis])


def stokes(b, basis="linear"):
    return np.einsum("ij...,sji->s...", b, PAULI[basis]) / 2


# Per class: the dims of the children, the options, and the value by numpy.
ORACLES = {
    "Abs": [((S,), {}, np.abs)],
    "Acos": [((S,), {}, np.arccos)],
    "Add": [((S, S), {}, lambda a, b: a + b), ((M, S, M), {}, lambda a, b, c: a + b[None, None] + c)],
    "Arg": [((S,), {}, np.angle)],
    "Asin": [((M,), {}, np.arcsin)],
    "Atan": [((S,), {}, np.arctan)],
    "Atan2": [((S, S), {}, np.arctan2)],
    "Ceil": [((S,), {}, np.ceil)],
    "Composer": [
        ((S, V3), {}, lambda a, b: np.array([a, *b])),
        ((S,) * 4, {"dims": [2, 2]}, lambda a, b, c, d: np.array([[a, b], [c, d]])),
        ((V3, V3), {"dims": [0]}, lambda a, b: np.stack([a, b])),
        ((M, M, M), {"dims": 0}, lambda a, b, c: np.stack([a, b, c])),
    ],
    "Condeq": [((M, M), {}, lambda a, b: b - a), ((M, S), {}, lambda a, b: b - a)],
    "Conj": [((M,), {}, np.conj)],
    "ConjTranspose": [((M,), {}, lambda a: np.conj(np.swapaxes(a, 0, 1))), ((V3,), {}, np.conj)],
    "Cos": [((S,), {}, np.cos)],
    "Cosh": [((S,), {}, np.cosh)],
    "Delay": [
        ((S,), {}, lambda tau: np.exp(-2j * np.pi * FREQ * tau)),
        ((S, S), {}, lambda tau, phase: np.exp(1j * (phase - 2 * np.pi * FREQ * tau))),
    ],
    "Divide": [((S, S), {}, lambda a, b: a / b), ((M, S), {}, lambda a, b: a / b)],
    "Exp": [((M,), {}, np.exp)],
    "FMod": [((S, S), {}, lambda a, b: a - b * np.trunc(a / b))],
    "Floor": [((S,), {}, np.floor)],
    "Identity": [((M,), {}, lambda a: a)],
    "Imag": [((S,), {}, np.imag)],
    "Invert": [((S,), {}, lambda a: 1 / a)],
    "Log": [((S,), {}, np.log)],
    "Matrix22": [((S,) * 4, {}, lambda a, b, c, d: np.array([[a, b], [c, d]]))],
    "MatrixInvert22": [((M,), {}, inverse), ((S,), {}, lambda a: 1 / a)],
    "MatrixMultiply": [
        ((M, M, M), {}, matmul),
        (((2, 3), (3, 4)), {}, matmul),
        ((S, M), {}, lambda a, b: a * b),
        ((M, S, M), {}, lambda a, b, c: matmul(a, c) * b),
        (((4, 3), V3), {}, lambda a, x: matmul(a, x[:, None])[:, 0]),
        ((V3, (3, 4)), {}, lambda x, a: matmul(x[None], a)[0]),
        ((V3, V3), {}, lambda x, y: (x * y).sum(0)),
    ],
    "Mod": [((S, S), {}, lambda a, b: a - b * np.trunc(a / b))],
    "Multiply": [((S, S), {}, lambda a, b: a * b), ((M, S, M), {}, lambda a, b, c: a * b * c)],
    "Negate": [((M,), {}, lambda a: -a)],
    "PhaseDelay": [
        ((V3, V3), {}, lambda lmn, uvw: geometric_phase(lmn, uvw, -1)),
        ((V3, V3), {"sign": 1}, lambda lmn, uvw: geometric_phase(lmn, uvw, +1)),
    ],
    "PointSource": [
        ((S,) * 4, {}, coherency),
        ((S,) * 4, {"basis": "circular"}, lambda *iquv: coherency(*iquv, basis="circular")),
    ],
    "Polar": [((S, S), {}, lambda a, p: a * np.exp(1j * p))],
    "Pow": [((S, S), {}, lambda a, b: np.exp(b * np.log(a)))],
    **{f"Pow{n}": [((M,), {}, lambda a, n=n: a**n)] for n in range(2, 9)},
    "PowerLaw": [((S, S, S), {}, lambda flux, index, freq0: flux * np.exp(index * np.log(FREQ / freq0)))],
    "Real": [((S,), {}, np.real)],
    "Selector": [
        ((M,), {"index": 2}, lambda a: a[1, 0]),
        (((2, 3),), {"index": [0, 2]}, lambda a: a[0, 2]),
        (((2, 3),), {"index": [-1, 1]}, lambda a: a[:, 1]),
        (((2, 3, 2),), {"index": [1, -1, 0]}, lambda a: a[1, :, 0]),
        ((M,), {"index": [0, 3], "multi": True}, lambda a: np.array([a[0, 0], a[1, 1]])),
        ((V3,), {"index": 1, "multi": True}, lambda a: a[1:2]),
    ],
    "Sin": [((S,), {}, np.sin)],
    "Sinh": [((S,), {}, np.sinh)],
    "Sqr": [((M,), {}, lambda a: a * a)],
    "Sqrt": [((S,), {}, np.sqrt)],
    "Stokes": [((M,), {}, stokes), ((M,), {"basis": "circular"}, lambda b: stokes(b, "circular"))],
    "Subtract": [((M, S), {}, lambda a, b: a - b)],
    "Tan": [((S,), {}, np.tan)],
    "Tanh": [((S,), {}, np.tanh)],
    "ToComplex": [((S, S), {}, lambda re, im: re + 1j * im)],
    "Transpose": [((M,), {}, lambda a: np.swapaxes(a, 0, 1)), (((2, 3),), {}, lambda a: np.swapaxes(a, 0, 1))],
}

POSITIVE = {"Log", "Sqrt", "Pow", "PowerLaw"}
"""Real children of these are drawn positive; of the others between -0.9 and 0.9."""

SCALES = {"Delay": (1e-8, 1.0), "PowerLaw": (1.0, 1.0, 1.5e8), "PhaseDelay": (1.0, 100.0)}


def draw(name, dims, complex_):
    """Random children, arrays dims + SHAPE, in all quadrants where complex."""
    random = np.random.default_rng(5)
    low = 0.1 if name in POSITIVE and not complex_ else -0.9
    scales = SCALES.get(name, (1.0,) * len(dims))
    arrays = [scale * random.uniform(low, 0.9, (*d, *SHAPE)) for d, scale in zip(dims, scales, strict=False)]
    return [a + 1j * random.uniform(-0.9, 0.9, a.shape) for a in arrays] if complex_ else arrays


def test_every_computing_class_has_an_oracle():
    """In the table above, or in tests/<folder of the class>, where that exists."""
    rest = set(COMPUTING) - set(ORACLES)
    tests = Path(__file__).resolve().parents[1]
    for name in sorted(rest):
        folder = tests / registry.get(name).__module__.split(".")[2]
        found = [path for path in folder.glob("test_*.py") if re.search(rf"\b{name}\b", path.read_text())]
        assert found, f"{name} has no oracle here, and none in {folder}"
    assert set(ORACLES) <= set(COMPUTING)


@pytest.mark.parametrize("name", CLASSES)
def test_check_node(name):
    check_node(registry.get(name))


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_value(name):
    cls = registry.get(name)
    for dims, options, oracle in ORACLES[name]:
        for complex_ in (False, True)[: 1 if getattr(cls, "real", False) else 2]:
            children = draw(name, dims, complex_)
            value = call_node(cls, *children, coordinates=GRID, **options)
            expected = np.asarray(oracle(*children))
            assert value.shape == np.broadcast_shapes(expected.shape, value.shape)
            np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
            assert np.iscomplexobj(value) or not np.iscomplexobj(expected)
