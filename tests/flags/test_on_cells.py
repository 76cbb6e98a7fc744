"""Flags of values on bare cells: numpy's masked arrays, and OR by numpy, say what they must be."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq
from rimetree.errors import ForestError

NT, NF = 3, 4
CELLS = rt.Cells(time=(0, NT, NT), freq=(0, NF, NF))
TIME, FREQ = np.arange(0.5, NT)[:, None], np.arange(0.5, NF)[None]


def evaluate(definition: Any, cells: rt.Cells = CELLS) -> Any:
    """The compiled result, which must equal the interpreter's; flags on all of its cells."""
    ns = rt.Scope()
    ns.root << definition
    forest = ns.forest()
    compiled, oracle = forest.evaluate("root", cells), forest.evaluate("root", cells, oracle=True)
    full = oracle.values.shape
    np.testing.assert_allclose(np.broadcast_to(compiled.values, full), oracle.values, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.broadcast_to(compiled.flags, full), np.broadcast_to(oracle.flags, full))
    return compiled


def everywhere(result: Any, dims: tuple[int, ...] = ()) -> np.ndarray:
    return np.broadcast_to(result.flags, (*dims, NT, NF))


def marked(words: np.ndarray, values: Any = 0.0) -> Any:
    """`values` with these flags, on the axes that `words` has."""
    axes = tuple(name for name, n in zip(("time", "freq"), words.shape, strict=True) if n > 1)
    shape = tuple(n for n in words.shape if n > 1)
    flaggers = [
        Meq.ZeroFlagger(Meq.Constant((words & bit).reshape(shape).tolist(), axes=axes), oper="NE", flag_bit=bit)
        for bit in (1, 2, 4)
    ]
    return Meq.MergeFlags(values, *flaggers)


@pytest.mark.parametrize(
    ("oper", "function"),
    [
        ("EQ", operator.eq),
        ("NE", operator.ne),
        ("LT", operator.lt),
        ("LE", operator.le),
        ("GT", operator.gt),
        ("GE", operator.ge),
    ],
)
def test_every_comparison(oper: str, function: Callable[..., Any]) -> None:
    """A ZeroFlagger flags where its child compares so with the limit, keeps the value, and only on the axes that it has."""
    for limit in (0.0, 1.5, 7.0):
        result = evaluate(Meq.ZeroFlagger(Meq.Freq(), oper=oper, limit=limit, flag_bit=4))
        hit = np.where(function(FREQ, limit), 4, 0)
        np.testing.assert_array_equal(result.values, FREQ)
        assert result.flags.shape == (1, NF if hit.any() else 1)
        np.testing.assert_array_equal(everywhere(result), np.broadcast_to(hit, (NT, NF)))


def test_nan_is_always_flagged() -> None:
    values = np.where(FREQ > 2, np.nan, FREQ)
    for oper in ("LT", "GT"):
        flags = evaluate_nan(Meq.ZeroFlagger(Meq.Constant(values[0], axes="freq"), oper=oper, limit=1e9)).flags
        np.testing.assert_array_equal(flags[0] != 0, np.isnan(values[0]) | (oper == "LT"))


def evaluate_nan(definition: Any) -> Any:
    ns = rt.Scope()
    ns.root << definition
    return ns.forest().evaluate("root", CELLS)


@st.composite
def words(draw: Any, most: int = 7) -> np.ndarray:
    """Random flag words on any axes."""
    shape = draw(st.sampled_from([(1, 1), (NT, 1), (1, NF), (NT, NF)]))
    return np.array(draw(st.lists(st.integers(0, most), min_size=NT * NF, max_size=NT * NF)))[
        : shape[0] * shape[1]
    ].reshape(shape)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "Sum": np.ma.sum,
    "Mean": np.ma.mean,
    "Product": np.ma.prod,
    "StdDev": np.ma.std,
    "Rms": lambda a, **along: np.ma.sqrt(np.ma.mean(np.abs(a) ** 2, **along)),
    "Min": np.ma.min,
    "Max": np.ma.max,
    "NElements": lambda a, **along: np.ma.sum(np.ma.array(np.ones(a.shape), mask=np.ma.getmaskarray(a)), **along),
}


@settings(max_examples=25, deadline=None)
@given(
    words(),
    st.sampled_from(sorted(REDUCTIONS)),
    st.sampled_from([None, "time", "freq"]),
    st.sampled_from([-1, 1, 6]),
    st.sampled_from(["both", "time", "none"]),
)
def test_reductions_leave_flagged_values_out(flags: Any, name: str, axes: Any, mask: int, varies: str) -> None:
    """As numpy's masked arrays do, whatever the axes of value and flags; where nothing is left the result is flagged."""
    value = {"both": Meq.Time() + 2 * Meq.Freq(), "time": Meq.Time() + 0.25, "none": Meq.Constant(1.5)}[varies]
    array = {"both": TIME + 2 * FREQ, "time": TIME + 0.25, "none": np.array(1.5)}[varies]
    full = np.broadcast_to(flags, (NT, NF))
    masked = np.ma.array(np.broadcast_to(array, (NT, NF)), mask=(full & mask) != 0)
    where = {None: (0, 1), "time": 0, "freq": 1}[axes]
    result = evaluate(getattr(Meq, name)(marked(flags, value), axes=axes, flag_mask=mask))
    alive = ~masked.mask.all(where, keepdims=True)
    shape = alive.shape
    expected = np.ma.filled(REDUCTIONS[name](masked, axis=where), 0.0).reshape(shape)
    np.testing.assert_allclose(np.broadcast_to(result.values, shape), np.where(alive, expected, 0), rtol=1e-12)
    every = np.bitwise_or.reduce(full, where, keepdims=True)
    np.testing.assert_array_equal(np.broadcast_to(result.flags, shape), np.where(alive, every & ~mask, every))


@settings(max_examples=6, deadline=None)
@given(words(), words(), st.sampled_from(["Mean", "Min", "Max"]))
def test_children_taken_together_leave_flagged_ones_out(one: Any, two: Any, name: str) -> None:
    result = evaluate(getattr(Meq, name)(marked(one, Meq.Time()), marked(two, 3.0 - Meq.Freq()), 1.25))
    values = np.stack(np.broadcast_arrays(TIME, 3 - FREQ, np.array(1.25)))
    masks = np.stack([np.broadcast_to(w != 0, (NT, NF)) for w in (one, two, np.zeros((1, 1), int))])
    expected = REDUCTIONS[name](np.ma.array(values, mask=masks), axis=0)
    np.testing.assert_allclose(np.broadcast_to(result.values, (NT, NF)), expected, rtol=1e-12)
    assert not result.flags.any()  # the number is never flagged
    alone = evaluate(getattr(Meq, name)(marked(one, Meq.Time()), marked(two, Meq.Freq())))
    both = np.broadcast_to((one != 0) & (two != 0), (NT, NF))
    np.testing.assert_array_equal(everywhere(alone), np.where(both, one | two, 0))


def test_locations_of_extremes_are_of_what_is_not_flagged() -> None:
    """Also where the value does not vary: then the first cell that is not flagged."""
    flags = np.array([[0, 0, 1, 1]])
    for value in (Meq.Freq(), Meq.Constant(1.0)):
        found = evaluate(Meq.MinLocation(marked(flags[:, ::-1], value), axes="freq"))
        assert found.values.item() == FREQ[0, 2]
    assert evaluate(Meq.MaxLocation(marked(flags, Meq.Freq()), axes="freq")).values.item() == FREQ[0, 1]


# Flags through trees. A value here is (definition, flags): an array of words per element, None for a constant 0.

Value = tuple[Any, list[Any]]


def join(*elements: Any) -> Any:
    there = [e for e in elements if e is not None]
    return reduce(operator.or_, there) if there else None


@st.composite
def trees(draw: Any) -> tuple[Value, tuple[int, ...]]:
    """A random tree of scalars and 2x2 matrices over flagged leaves, and what its flags are by the rules, worked out here."""
    none = np.zeros((1, 1), int)
    scalars: list[Value] = [
        (Meq.Constant(0), [None]),
        (Meq.Constant(2.0), [none]),
        (Meq.Constant(2.0) - 2.0, [none]),
        (Meq.Time(), [none]),
    ]
    for value in (Meq.Freq(), Meq.Time() * 0.5, Meq.Constant(0.25)):
        flags = draw(words())
        scalars.append((marked(flags, value), [flags]))
    matrices: list[Value] = []

    def scalar() -> Value:
        return draw(st.sampled_from(scalars))

    def matrix() -> Value:
        four = [scalar() for _ in range(4)]
        made = Meq.Matrix22(*(d for d, _ in four)), [f[0] for _, f in four]
        return draw(st.sampled_from([made, *matrices]))

    def times(a: Any, b: Any) -> Any:
        return None if a is None or b is None else a | b

    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["add", "multiply", "sin", "product", "invert", "merge", "replace", "norm"]))
        (a, fa), (b, fb) = scalar(), scalar()
        (m, fm), (n, fn) = matrix(), matrix()
        if kind == "add":
            scalars.append((Meq.Add(a, b), [join(fa[0], fb[0])]))
            matrices.append((Meq.Add(m, a), [join(e, fa[0]) for e in fm]))
        elif kind == "multiply":
            scalars.append((Meq.Multiply(a, b), [times(fa[0], fb[0])]))
        elif kind == "sin":
            scalars.append((Meq.Sin(a), [join(fa[0], none)]))
        elif kind == "product":
            rows = [join(*(times(fm[2 * i + k], fn[2 * k + j]) for k in (0, 1))) for i in (0, 1) for j in (0, 1)]
            matrices.append((0.1 * Meq.MatrixMultiply(m, n), rows))
        elif kind == "invert":
            whole = join(none, *fm)
            matrices.append((Meq.Exp(Meq.MatrixInvert22(Meq.Constant([[1e6, 1], [2, 3e6]]) + m)), [whole] * 4))
        elif kind == "merge":
            added = [[x & 5 for x in (f, fa[0]) if x is not None] for f in fn]
            merged = [join(none, e, *more) for e, more in zip(fm, added, strict=True)]
            matrices.append((Meq.MergeFlags(m, n, a, flag_mask=5), merged))
        elif kind == "replace":
            scalars.append((Meq.ReplaceFlagged(a, value=0.5, flag_mask=3), [None if fa[0] is None else fa[0] & ~3]))
        else:
            scalars.append((Meq.Norm(m), [join(none, *fm)]))
    pool = matrices or scalars
    return pool[-1], (2, 2) if matrices else ()


@settings(max_examples=25, deadline=None)
@given(trees())
def test_flags_are_joined_through_random_trees(tree: tuple[Value, tuple[int, ...]]) -> None:
    (definition, expected), dims = tree
    result = evaluate(definition)
    full = [np.broadcast_to(0 if e is None else e, (NT, NF)) for e in expected]
    np.testing.assert_array_equal(everywhere(result, dims).reshape(-1, NT, NF), full)
    for axis in (0, 1):  # no axis is longer than some leaf makes it
        varies = any(e is not None and e.shape[axis] > 1 for e in expected)
        assert result.flags.shape[len(result.flags.shape) - 2 + axis] == 1 or varies


@pytest.mark.parametrize("cut", [1, 2])
def test_tiles_do_not_change_flags(cut: int) -> None:
    """Flags of the slots of two tiles are those of all slots at once."""
    product = Meq.Time() * Meq.Freq()
    ns = rt.Scope()
    ns.root << Meq.Mean(Meq.MergeFlags(product, Meq.ZeroFlagger(product, oper="GE", limit=1.0)), axes="freq")
    forest = ns.forest()
    time = np.arange(0.5, NT)
    whole = forest.evaluate("root", rt.Cells(time=time, freq=(0, NF, NF)))
    parts = [forest.evaluate("root", rt.Cells(time=t, freq=(0, NF, NF))) for t in (time[:cut], time[cut:])]
    np.testing.assert_allclose(np.concatenate([p.values for p in parts]), whole.values, rtol=1e-15)
    joined = np.concatenate([np.broadcast_to(p.flags, p.values.shape) for p in parts])
    np.testing.assert_array_equal(joined, whole.flags)
    assert whole.flags.tolist() == [[0], [0], [2]] and whole.values.ravel().tolist() == [0.5, 0.75, 0.0]


def test_merging_all_elements() -> None:
    """merge_all: one flagged element of the others flags every element."""
    flags = np.array([[0, 2, 0, 0]])
    other = Meq.Matrix22(1.0, marked(flags, 1.0), 1.0, 1.0)
    apart = evaluate(Meq.MergeFlags(Meq.Constant([[1.0, 2], [3, 4]]), other))
    np.testing.assert_array_equal(everywhere(apart, (2, 2))[:, :, 0], [[[0] * 4, flags[0]], [[0] * 4, [0] * 4]])
    together = evaluate(Meq.MergeFlags(Meq.Constant([[1.0, 2], [3, 4]]), other, merge_all=True))
    np.testing.assert_array_equal(everywhere(together, (2, 2)), np.broadcast_to(flags, (2, 2, NT, NF)))


def test_replaced_values() -> None:
    flags = np.array([[1, 0, 4, 5]])
    result = evaluate(Meq.ReplaceFlagged(marked(flags, Meq.Freq()), value=-1.0, flag_mask=1))
    np.testing.assert_array_equal(result.values[0], [-1, FREQ[0, 1], FREQ[0, 2], -1])
    np.testing.assert_array_equal(result.flags[0], [0, 0, 4, 4])
    by_other = evaluate(Meq.ReplaceFlagged(Meq.Freq(), marked(flags), value=2j))
    np.testing.assert_array_equal(by_other.values[0], [2j, FREQ[0, 1], 2j, 2j])
    assert not by_other.flags.any()


def test_many_flaggers_are_one_family() -> None:
    """A sum over many flagged terms joins the flags of all, each with a limit of its own."""
    ns = rt.Scope()
    for i in range(300):
        ns.z(i) << Meq.ZeroFlagger(Meq.Freq() * (i + 1), oper="GT", limit=float(i) + 3.0)
    ns.root << Meq.Add(*ns.z)
    forest = ns.forest()
    assert len(forest.families) < 9
    hit = np.stack([FREQ[0] * (i + 1) > i + 3 for i in range(300)]).any(0)
    np.testing.assert_array_equal(forest.evaluate("root", CELLS).flags[0], 2 * hit)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Meq.ZeroFlagger(Meq.Freq(), oper="GTT"), "oper.*did you mean 'GT'"),
        (
            lambda: Meq.ZeroFlagger(Meq.Freq(), flag_bit=0),
            "flag_bit must be a whole number of 32 bits that are not all 0",
        ),
        (lambda: Meq.ZeroFlagger(Meq.Freq(), flag_bit=2**31), "flag_bit must be a whole number of 32 bits"),
        (lambda: Meq.ZeroFlagger(Meq.Freq(), limit=float("nan")), "limit must be a finite number"),
        (lambda: Meq.MergeFlags(Meq.Freq()), "MergeFlags"),
        (
            lambda: Meq.MergeFlags(Meq.Freq(), Meq.Time(), flag_mask=2**33),
            "flag_mask must be a whole number of 32 bits",
        ),
        (lambda: Meq.Mean(Meq.Freq(), flag_mask=-(2**31) - 1), "flag_mask must be a whole number of 32 bits"),
    ],
)
def test_bad_options_name_the_node(make: Callable[[], Any], message: str) -> None:
    ns = rt.Scope()
    ns.root << make()
    with pytest.raises(ForestError, match=message):
        ns.forest()


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (Meq.ZeroFlagger(Meq.Freq() * 1j, oper="GT"), r"root \(ZeroFlagger\).*must be real"),
        (Meq.MergeFlags(Meq.Constant([1.0, 2, 3]), Meq.Constant([1.0, 2])), r"flags of a \(2,\) tensor do not go with"),
    ],
)
def test_what_does_not_fit_names_the_node(definition: Any, message: str) -> None:
    ns = rt.Scope()
    ns.root << definition
    with pytest.raises(ForestError, match=message):
        ns.forest().evaluate("root", CELLS)
