"""Random forests of pure classes: the compiled result equals the node-by-node interpreter, and tiles do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq

UNARY = ("Sin", "Cos", "Exp", "Sqr", "Negate", "Abs", "Conj", "Real", "Imag", "Tanh", "Transpose", "ConjTranspose")
BINARY = ("Add", "Subtract", "Multiply")


@st.composite
def forests(draw: Any) -> rt.Scope:
    """A scope with a node `root` made of leaves (collapsed on some axes), functions, sums over families, and 2x2 matrices."""
    ns = rt.Scope()
    small = st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 3))
    scalars: list[Any] = [Meq.Time(), Meq.Freq(), Meq.Constant(draw(small)), Meq.Constant(0), Meq.Constant(1)]
    ns.p << Meq.Parm([[draw(small), draw(small)], [draw(small), 0.0]])
    ns.c << Meq.Parm(complex(draw(small), draw(small)))
    scalars += [ns.p, ns.c]
    matrices: list[Any] = []
    for _i in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(("unary", "binary", "matrix", "product", "sum")))
        if kind == "matrix":
            matrices.append(Meq.Matrix22(*(draw(st.sampled_from(scalars)) for _ in range(4))))
        elif kind == "product" and matrices:
            matrices.append(
                Meq.MatrixMultiply(*(draw(st.sampled_from(matrices)) for _ in range(draw(st.integers(2, 3)))))
            )
        elif kind == "sum":
            terms = [Meq.Multiply(draw(small), draw(st.sampled_from(scalars))) for _ in range(draw(st.integers(2, 4)))]
            scalars.append(Meq.Add(*terms))
        elif kind == "unary":
            pool = draw(st.sampled_from([scalars, matrices])) or scalars
            made = getattr(Meq, draw(st.sampled_from(UNARY)))(0.1 * draw(st.sampled_from(pool)))
            pool.append(made)
        else:
            a, b = draw(st.sampled_from(scalars)), draw(st.sampled_from(scalars + matrices))
            made = getattr(Meq, draw(st.sampled_from(BINARY)))(a, b)
            (matrices if any(b is m for m in matrices) else scalars).append(made)
    ns.root << Meq.Multiply(draw(st.sampled_from(scalars + matrices)), 1.5)
    return ns


@settings(max_examples=60, deadline=None)
@given(forests(), st.integers(1, 3), st.integers(1, 3))
def test_compiled_equals_oracle(ns: rt.Scope, nt: int, nf: int) -> None:
    forest = ns.forest()
    cells = rt.Cells(time=(0, 1.0 * nt, nt), freq=(0, 1.0 * nf, nf))
    compiled, oracle = forest.evaluate("root", cells), forest.evaluate("root", cells, oracle=True)
    assert compiled.dims == oracle.dims
    np.testing.assert_allclose(
        np.broadcast_to(compiled.values, oracle.values.shape), oracle.values, rtol=1e-10, atol=1e-10, equal_nan=True
    )


@settings(max_examples=20, deadline=None)
@given(forests(), st.integers(1, 3))
def test_tiles_do_not_matter(ns: rt.Scope, cut: int) -> None:
    forest = ns.forest()
    time = np.linspace(0.1, 2, 4)
    whole = forest.evaluate("root", rt.Cells(time=time, freq=(0, 2, 2))).values
    parts = [forest.evaluate("root", rt.Cells(time=t, freq=(0, 2, 2))).values for t in (time[:cut], time[cut:])]
    shape = [(*p.shape[:-2], n, 2) for p, n in zip(parts, (cut, 4 - cut), strict=True)]
    joined = np.concatenate([np.broadcast_to(p, s) for p, s in zip(parts, shape, strict=True)], -2)
    np.testing.assert_allclose(joined, np.broadcast_to(whole, joined.shape), rtol=1e-10, atol=1e-10)
