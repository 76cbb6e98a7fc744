"""Random forests of pure classes: the compiled result equals the node-by-node interpreter, and tiles do not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq
from rimetree.graph import registry
from rimetree.graph.node import Elementwise, Function, Reducing, Ring
from rimetree.plan.program import Program

ANY = (
    *(
        "Abs",
        "Acos",
        "Arg",
        "Asin",
        "Atan",
        "Conj",
        "ConjTranspose",
        "Cos",
        "Cosh",
        "Exp",
        "Identity",
        "Imag",
        "Invert",
    ),
    *("Log", "Negate", "Norm", "Pow2", "Pow3", "Pow4", "Pow5", "Pow6", "Pow7", "Pow8", "Real", "Sin", "Sinh", "Sqr"),
    *("Sqrt", "Tan", "Tanh", "Transpose"),
)
OF_REAL = ("Ceil", "Floor", "Bessel")
OF_TWO = ("Add", "Divide", "Multiply", "Pow", "Subtract", "ToComplex")
OF_TWO_REAL = ("Atan2", "FMod", "Mod", "Polar", "Unwrap")
OF_MATRIX = ("ConjTranspose", "Determinant", "MatrixInvert", "MatrixInvert22", "Norm", "Trace", "Transpose")
OVER_CELLS = ("Mean", "NElements", "Product", "Rms", "StdDev", "Sum")
OVER_REAL = ("Max", "MaxLocation", "Min", "MinLocation")
LEAVES = ("GaussNoise", "RandomNoise")
BY_HAND = ("Composer", "DataCollect", "Matrix22", "MatrixMultiply", "Paster", "Selector", "WMean", "WSum")

SMOOTH = ("Add", "Atan", "Cos", "Exp", "Multiply", "Negate", "Pow2", "Pow3", "Sin", "Sinh", "Sqr", "Subtract", "Tanh")
"""Classes analytic everywhere, for complex steps."""


def small(draw: Any) -> float:
    return float(round(draw(st.floats(-2, 2, allow_nan=False)), 3))


def leaves(draw: Any, ns: rt.Scope) -> list[Any]:
    """Scalars on all kinds of axes; 0 and 1 among them."""
    ns.p << Meq.Parm([[small(draw), small(draw)], [small(draw), 0.0]])
    ns.c << Meq.Parm(complex(small(draw), small(draw)))
    noise = getattr(Meq, draw(st.sampled_from(LEAVES)))(
        seed=draw(st.integers(0, 9)), axes=draw(st.sampled_from(("time", "freq")))
    )
    numbers = [Meq.Constant(small(draw)), Meq.Constant(0), Meq.Constant(1)]
    return [Meq.Time(), Meq.Freq(), Meq.Grid("l"), noise, ns.p, ns.c, *numbers]


def tame(x: Any) -> Any:
    """Something real between -0.9 and 0.9, so that no chain of functions overflows."""
    return 0.9 * Meq.Sin(Meq.Real(x))


@st.composite
def forests(draw: Any, reductions: bool = True) -> rt.Scope:
    """A scope with a node `root` made of any pure classes, on scalars and 2x2 matrices."""
    ns = rt.Scope()
    scalars = leaves(draw, ns)
    plain = list(scalars)
    matrices = [Meq.Matrix22(*(draw(st.sampled_from(scalars)) for _ in range(4)))]

    def scalar() -> Any:
        return draw(st.sampled_from(scalars))

    def matrix() -> Any:
        return draw(st.sampled_from(matrices))

    def either() -> Any:
        return draw(st.sampled_from(scalars + matrices))

    def of(names: Any) -> Any:
        return getattr(Meq, draw(st.sampled_from(names)))

    axes = draw(st.sampled_from(("freq", "l", ("l", "freq"))))
    place = draw(st.sampled_from((0, 3, (1, 0), (1, -1))))
    dims = () if not isinstance(place, tuple) or -1 not in place else (2,)
    makers: dict[str, Callable[[], Any]] = {
        "any": lambda: of(ANY)(tame(scalar())),
        "any of a complex": lambda: of([n for n in ANY if n not in ("Acos", "Asin", "Log", "Sqrt")])(0.3 * scalar()),
        "any of a matrix": lambda: Meq.Trace(of(("Sin", "Exp", "Conj", "Abs", "Pow3", "Real"))(0.2 * matrix())),
        "real": lambda: of(OF_REAL)(3 * tame(scalar())),
        "two": lambda: of(OF_TWO)(2 + tame(scalar()), 1.5 + tame(scalar())),
        "two real": lambda: of(OF_TWO_REAL)(2 + tame(scalar()), 1.5 + tame(scalar())),
        "of a matrix": lambda: of(OF_MATRIX)(
            Meq.Constant([[2.0, 0.3], [0.1, 1.7]]) + 0.3 * Meq.Sin(Meq.Real(matrix()))
        ),
        "weighted": lambda: of(("WSum", "WMean"))(scalar(), scalar(), weights=[1.5, small(draw) + 3]),
        "sum": lambda: Meq.Add(*(Meq.Multiply(small(draw), scalar()) for _ in range(draw(st.integers(2, 4))))),
        "select": lambda: Meq.Norm(Meq.Selector(matrix(), index=place)),
        "matrix": lambda: Meq.Matrix22(scalar(), scalar(), 0, scalar()),
        "product": lambda: 0.3 * Meq.MatrixMultiply(matrix(), matrix(), scalar()),
        "compose": lambda: Meq.Composer(scalar(), 1, scalar(), scalar(), dims=[2, 2]),
        "collect": lambda: Meq.DataCollect(Meq.Composer(scalar(), scalar()), Meq.Composer(scalar(), 0)),
        "paste": lambda: Meq.Paster(matrix(), scalar() if not dims else Meq.Composer(scalar(), 1), index=place),
        "moved": lambda: Meq.CoordTransform(
            Meq.Grid("l") * draw(st.sampled_from(plain)) + draw(st.sampled_from(plain)), tame(scalar()), axes="l"
        ),
        "blocks": lambda: Meq.Resampler(tame(scalar()), freq=draw(st.integers(1, 3)), linear=draw(st.booleans())),
        "mean of several": lambda: Meq.Mean(either(), either(), scalar()),
    }
    if reductions:
        makers["cells"] = lambda: of(OVER_CELLS)(tame(scalar()), axes=axes)
        makers["extremes"] = lambda: Meq.Norm(of(OVER_REAL)(Meq.Real(scalar()), axes=axes))
    of_matrices = {"matrix", "product", "compose", "collect", "paste", "mean of several", "of a matrix"}
    for _ in range(draw(st.integers(1, 7))):
        kind = draw(st.sampled_from(sorted(makers)))
        made = makers[kind]()
        if kind in of_matrices:
            matrices.append(made * Meq.Constant([[1.0, 1], [1, 1]]))  # scalars become matrices
        else:
            scalars.append(made)
    ns.root << Meq.Multiply(scalars[-1], matrices[-1], 1.5)
    return ns


def test_every_pure_class_is_drawn() -> None:
    drawn = {*ANY, *OF_REAL, *OF_TWO, *OF_TWO_REAL, *OF_MATRIX, *OVER_CELLS, *OVER_REAL, *LEAVES, *BY_HAND}
    pure = {
        name
        for name in registry.names()
        if issubclass(cls := registry.get(name), (Elementwise, Ring, Function, Reducing))
        and cls.role == "compute"
        and cls.__module__.startswith(("rimetree.nodes.math", "rimetree.nodes.tensor", "rimetree.nodes.data"))
    }
    files = {"FITSImage", "FITSReader"}  # these have tests/data
    assert pure - drawn - files - {"Condeq"} == set()


@settings(max_examples=40, deadline=None)
@given(forests(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_compiled_equals_oracle(ns: rt.Scope, nt: int, nf: int, nl: int) -> None:
    forest = ns.forest()
    cells = rt.Cells(time=(0, 1.0 * nt, nt), freq=(0.1, 1.0 * nf, nf), l=(-1, 1, nl))
    compiled, oracle = forest.evaluate("root", cells), forest.evaluate("root", cells, oracle=True)
    assert compiled.dims == oracle.dims
    full = np.broadcast_to(compiled.values, oracle.values.shape)
    np.testing.assert_allclose(full, oracle.values, rtol=1e-9, atol=1e-9, equal_nan=True)


@settings(max_examples=12, deadline=None)
@given(forests(), st.integers(1, 3))
def test_tiles_do_not_matter(ns: rt.Scope, cut: int) -> None:
    """Nothing here takes cells together along time, so any cut in time gives the same."""
    forest = ns.forest()
    time = np.linspace(0.1, 2, 4)
    whole = forest.evaluate("root", rt.Cells(time=time, freq=(0, 2, 2), l=(0, 1, 2))).values
    pieces = (time[:cut], time[cut:])
    parts = [forest.evaluate("root", rt.Cells(time=t, freq=(0, 2, 2), l=(0, 1, 2))).values for t in pieces]
    shape = [(*p.shape[:-3], n, 2, 2) for p, n in zip(parts, (cut, 4 - cut), strict=True)]
    joined = np.concatenate([np.broadcast_to(p, s) for p, s in zip(parts, shape, strict=True)], -3)
    np.testing.assert_allclose(joined, np.broadcast_to(whole, joined.shape), rtol=1e-9, atol=1e-9, equal_nan=True)


@st.composite
def analytic(draw: Any) -> rt.Scope:
    """A scope whose `root` is an analytic function of the Parms `x`."""
    ns = rt.Scope()
    ns.x << Meq.Parm(round(draw(st.floats(0.2, 0.8)), 3))
    pool: list[Any] = [ns.x, Meq.Time(), Meq.Freq() * ns.x, Meq.Constant(draw(st.floats(0.5, 1.5)))]
    for _ in range(draw(st.integers(1, 7))):
        name = draw(st.sampled_from(SMOOTH))
        two = name in ("Add", "Multiply", "Subtract")
        pool.append(0.5 * getattr(Meq, name)(*(draw(st.sampled_from(pool)) for _ in range(2 if two else 1))))
    ns.root << pool[-1] + ns.x * pool[-2] / (2 + Meq.Sqr(ns.x)) + Meq.Mean(pool[-1] * ns.x, axes="freq")
    return ns


@settings(max_examples=15, deadline=None)
@given(analytic())
def test_derivatives_equal_complex_steps(ns: rt.Scope) -> None:
    """df/dx = Im f(x + ih) / h for analytic f, without cancellation, so to rounding."""
    forest = ns.forest()
    families = dict(enumerate(forest.families))
    (parm,), (root, _) = [n for n, f in families.items() if f.cls.role == "parm"], forest.find("root")
    program = Program(families, [root], {parm: ((), (None,))})
    coordinates = rt.Cells(time=(0, 1, 2), freq=(0, 1, 3)).coordinates()
    inputs = program.inputs(coordinates, {parm: (np.zeros((1, 1, 1)),)})

    def value(x: Any) -> Any:
        return program._trace({**inputs, "values": {**inputs["values"], parm: (x,)}})[root][0]

    x = np.full((1, 1, 1), float(families[parm].members["value"][0]))
    _, derivative = jax.jvp(value, (x,), (np.ones_like(x),))
    step = np.imag(value(x + 1e-30j)) / 1e-30
    np.testing.assert_allclose(np.broadcast_to(derivative, step.shape), step, rtol=1e-11, atol=1e-12)
