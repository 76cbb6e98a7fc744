"""Every node class: the public checks, and its values against numpy written down by itself."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from rimetree.graph import registry
from rimetree.graph.node import Elementwise, Function, Reducing, Ring
from rimetree.testing import call_node, check_node

CLASSES = registry.names()
COMPUTING = [name for name in CLASSES if issubclass(registry.get(name), (Elementwise, Ring, Function, Reducing))]

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


def determinant(a):
    """numpy's own determinant, matrix axes last."""
    return np.linalg.det(np.moveaxis(a, (0, 1), (-2, -1)))


def gaussian_vector(stddev, mean):
    normal = [stddev * stats.norm.ppf(noise(draw)) for draw in range(4)]
    return np.array([mean + normal[0] + 1j * normal[1], mean + normal[2] + 1j * normal[3]])


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


def cells(function, *axes):
    """A numpy function of all cells along some of the axes 0 time, 1 freq; they stay with extent 1."""
    return lambda a: function(a, axis=tuple(a.ndim - 2 + axis for axis in axes), keepdims=True)


def weighted(a, w):
    """The weighted mean over time, 0 where nothing has weight."""
    total = w.sum(-2, keepdims=True)
    return np.where(total > 0, (w * a).sum(-2, keepdims=True) / np.where(total > 0, total, 1), 0)


def rms(a, **along):
    return np.sqrt(np.mean(np.abs(a) ** 2, **along))


def location(find):
    """Time and frequency of the cell of the extreme, member by member."""

    def found(a):
        places = [np.unravel_index(find(member), SHAPE[1:]) for member in a]
        return np.array([[GRID["time"][t, 0] for t, _ in places], [FREQ[0, f] for _, f in places]])[..., None, None]

    return found


def scramble(*words):
    """SplitMix64 chained over words, in Python's integers: the output for the sum or the exclusive or of each with the last."""
    state = 0
    for i, word in enumerate(words):
        z = ((word if i == 0 else state ^ word) + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        state = z ^ (z >> 31)
    return state


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def noise(draw, seed=5):
    """Uniform numbers over (1, time, freq) for one draw."""
    words = [[scramble(seed, draw, bits(t), bits(f)) for f in FREQ[0]] for t in GRID["time"][:, 0]]
    return (np.array([[word >> 12 for word in row] for row in words], float)[None] + 0.5) / 2**52


# Per class: the dims of the children, the options, and the value by numpy.
ORACLES = {
    "Abs": [((S,), {}, np.abs)],
    "Acos": [((S,), {}, np.arccos)],
    "Add": [((S, S), {}, lambda a, b: a + b), ((M, S, M), {}, lambda a, b, c: a + b[None, None] + c)],
    "Arg": [((S,), {}, np.angle)],
    "Asin": [((M,), {}, np.arcsin)],
    "Atan": [((S,), {}, np.arctan)],
    "Atan2": [((S, S), {}, np.arctan2)],
    "Bessel": [
        ((S,), {}, lambda a: special.j0(a)),
        ((S,), {"order": 3}, lambda a: special.jv(3, a)),
        ((S,), {"order": -3}, lambda a: -special.jv(3, a)),
    ],
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
    "DataCollect": [((V3, V3), {"labels": ["a", "b"]}, lambda a, b: np.stack([a, b]))],
    "Determinant": [((M,), {}, determinant), (((4, 4),), {}, determinant), ((S,), {}, lambda a: a)],
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
    "GaussNoise": [
        ((), {"seed": 5}, lambda: stats.norm.ppf(noise(0))),
        ((), {"seed": 5, "stddev": 0.5, "mean": 3.0, "complex": True, "dims": 2}, lambda: gaussian_vector(0.5, 3.0)),
    ],
    "Max": [((M,), {}, cells(np.max, 0, 1)), ((S, M, S), {}, lambda a, b, c: np.maximum(np.maximum(a, b), c))],
    "MaxLocation": [((S,), {}, location(np.argmax))],
    "MatrixInvert": [((M,), {}, inverse), (((4, 4),), {}, inverse), ((S,), {}, lambda a: 1 / a)],
    "Mean": [
        ((M,), {}, cells(np.mean, 0, 1)),
        ((S,), {"axes": "freq"}, cells(np.mean, 1)),
        ((S, M), {}, lambda a, b: (a + b) / 2),
    ],
    "Min": [((S,), {"axes": ["freq", "time"]}, cells(np.min, 0, 1)), ((S, S), {}, np.minimum)],
    "MinLocation": [((S,), {}, location(np.argmin))],
    "NElements": [((S,), {}, lambda a: 6), ((S,), {"axes": "time"}, lambda a: 2)],
    "Norm": [((V3,), {}, lambda a: np.sqrt((np.abs(a) ** 2).sum(0))), ((S,), {}, np.abs)],
    "Paster": [
        ((M, S), {"index": 2}, lambda a, b: np.array([[a[0, 0], a[0, 1]], [b, a[1, 1]]])),
        ((M, (2,)), {"index": [-1, 1]}, lambda a, b: np.array([[a[0, 0], b[0]], [a[1, 0], b[1]]])),
        ((M, (2,)), {"index": [3, 0], "multi": True}, lambda a, b: np.array([[b[1], a[0, 1]], [a[1, 0], b[0]]])),
    ],
    "Product": [((M,), {}, cells(np.prod, 0, 1)), ((S,), {"axes": "time"}, cells(np.prod, 0))],
    "RandomNoise": [((), {"seed": 5, "low": -1.0, "high": 2.0}, lambda: 3 * noise(0) - 1)],
    "Resampler": [
        ((M, S), {}, lambda a, w: np.where(w.real > 0, a, 0)),
        ((S, S), {"time": 2}, lambda a, w: np.broadcast_to(weighted(a, np.maximum(w.real, 0)), a.shape)),
    ],
    "Rms": [((M,), {}, cells(rms, 0, 1))],
    "StdDev": [((M,), {}, cells(np.std, 0, 1)), ((S,), {"axes": "freq"}, cells(np.std, 1))],
    "Sum": [((M,), {}, cells(np.sum, 0, 1)), ((S,), {"axes": "time"}, cells(np.sum, 0))],
    "Unwrap": [
        ((S, S), {}, lambda x, near: near + (x - near + np.pi) % (2 * np.pi) - np.pi),
        ((M, M), {"period": 0.1}, lambda x, near: near + (x - near + 0.05) % 0.1 - 0.05),
    ],
    "Trace": [((M,), {}, np.trace), (((3, 3),), {}, np.trace), ((S,), {}, lambda a: a)],
    "WMean": [((M, S), {"weights": [3, 1]}, lambda a, b: (3 * a + b) / 4)],
    "WSum": [((M, S), {"weights": [2, -1j]}, lambda a, b: 2 * a - 1j * b)],
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
    "ModRes": [((M,), {}, lambda a: a)],  # finer than cells: tests/graph/test_transform.py
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
