"""What node classes refuse: children that do not fit, and options that are not legal; each in one plain sentence."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rimetree.graph.calls import check
from rimetree.graph.registry import get
from rimetree.ring import Tensor
from rimetree.testing import call_node

SCALAR, MATRIX, VECTOR, WIDE = (np.ones((*dims, 1, 1, 1)) for dims in ((), (2, 2), (3,), (2, 3)))
CUBE = np.ones((2, 2, 2, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "children", "options", "message"),
    [
        ("Add", (MATRIX, VECTOR), {}, "a (2,2) tensor and a (3,) tensor cannot be added"),
        ("Multiply", (WIDE, MATRIX), {}, "a (2,3) tensor and a (2,2) tensor cannot be multiplied"),
        ("Subtract", (MATRIX, VECTOR), {}, "a (2,2) tensor and a (3,) tensor cannot be subtracted"),
        ("Condeq", (MATRIX, VECTOR), {}, "cannot be equated"),
        ("Divide", (MATRIX, VECTOR), {}, "(3,)"),
        ("MatrixMultiply", (MATRIX, VECTOR), {}, "a (2,2) tensor and a (3,) tensor cannot be multiplied as matrices"),
        ("MatrixMultiply", (CUBE, MATRIX), {}, "cannot be multiplied as matrices"),
        ("MatrixInvert22", (WIDE,), {}, "must be a scalar or a (2,2) tensor, not a (2,3) tensor"),
        ("Transpose", (CUBE,), {}, "a (2,2,2) tensor cannot be transposed"),
        ("Matrix22", (SCALAR, SCALAR, MATRIX, SCALAR), {}, "c must be a scalar, not a (2,2) tensor"),
        ("Composer", (MATRIX, VECTOR), {"dims": [0]}, "a (2,2) tensor and a (3,) tensor cannot be stacked"),
        ("Composer", (SCALAR, SCALAR), {"dims": [2, 2]}, "2 elements do not fill dims=[2, 2]"),
        ("Selector", (MATRIX,), {"index": 4}, "index=4 is not in a (2,2) tensor"),
        ("Selector", (MATRIX,), {"index": [0, 2]}, "index=[0, 2] is not in a (2,2) tensor"),
        ("Selector", (VECTOR,), {"index": [0, 3], "multi": True}, "which has elements 0 to 2"),
        ("PhaseDelay", (VECTOR, SCALAR), {}, "uvw must be a (3,) tensor, not a scalar"),
        ("PointSource", (SCALAR, MATRIX, SCALAR, SCALAR), {}, "Q must be a scalar, not a (2,2) tensor"),
        ("Stokes", (SCALAR,), {}, "coherency must be a (2,2) tensor, not a scalar"),
        ("Delay", (SCALAR, SCALAR, SCALAR), {}, "at most one phase"),
    ],
)
def test_children_that_do_not_fit(name, children, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call_node(get(name), *children, **options)


@pytest.mark.parametrize("matrix", [(0, 0, 0, 2), (1, 2, 2, 4)])
def test_singular_constants_have_no_inverse(matrix):
    with pytest.raises(ValueError, match="singular"):
        get("MatrixInvert22").compute(Tensor((2, 2), matrix))


@pytest.mark.parametrize("name", ["Ceil", "Floor", "Mod", "FMod", "Atan2"])
def test_real_functions_refuse_complex_children(name):
    cls = get(name)
    with pytest.raises(ValueError, match="must be real, not complex"):
        call_node(cls, *[SCALAR * 1j] * len(cls.children))


def defaults(name, **given):
    cls = get(name)
    checked = {key: check(key, cls.options[key], value) for key, value in given.items()}
    return cls.normalise({key: option.default for key, option in cls.options.items()} | checked)


@pytest.mark.parametrize(
    ("solint", "stored"),
    [
        (None, (None, None)),
        (10, (10, None)),
        ("30s", ("30s", None)),
        ("scan", ("scan", None)),
        ("all", (None, None)),
        ((10, None), (10, None)),
        (["2min", "4MHz"], ("2min", "4MHz")),
        ((None, 1), (None, 1)),
        (("scan", "all"), ("scan", None)),
    ],
)
def test_solution_intervals(solint, stored):
    assert defaults("Parm", value=1, solint=solint)["solint"] == stored


@pytest.mark.parametrize(
    ("solint", "axis"),
    [(0, "time"), (-1, "time"), (True, "time"), (1.5, "time"), ("4MHz", "time"), ("-3s", "time"), ("fast", "time"),
     ((None, "scan"), "freq"), ((None, "30s"), "freq"), ((1, 0), "freq"), ((1, 2, 3), "two for"), ((), "two for")],
)  # fmt: skip
def test_wrong_solution_intervals(solint, axis):
    with pytest.raises(ValueError, match=axis):
        defaults("Parm", value=1, solint=solint)


@pytest.mark.parametrize("value", ["one", [1, "two"], [[1, 2], [3]], [], {"a": 1}, [None], object()])
@pytest.mark.parametrize("name", ["Constant", "Parm"])
def test_values_that_are_no_numbers(name, value):
    with pytest.raises(ValueError, match="value must be a number or a nested list of numbers"):
        defaults(name, value=value)


@pytest.mark.parametrize("value", [[1, 2], np.ones((2, 2, 2)), np.nan, [[1, np.inf]]])
def test_parm_values(value):
    with pytest.raises(ValueError, match=r"nested|finite"):
        defaults("Parm", value=value)


def test_numbers_are_stored_as_float_or_complex():
    assert isinstance(defaults("Constant", value=3)["value"], float)
    assert isinstance(defaults("Constant", value=np.complex64(3))["value"], complex)
    assert defaults("Constant", value=[[1, 2j]])["value"].dtype == np.complex128
    assert defaults("Parm", value=[[1, 2], [3, 4]])["value"].shape == (2, 2)


def test_families_of_constants_and_parms():
    """Members of a family agree in dims, in being complex, and in which elements are 0 or 1."""

    def key(name, value):
        return get(name).family_key(defaults(name, value=value))

    assert key("Constant", 2) == key("Constant", 3.5)
    assert len({key("Constant", v) for v in (0, 1, 2, 2j)}) == 4
    assert key("Constant", [2, 0]) == key("Constant", [5, 0])
    assert len({key("Constant", v) for v in ([2, 0], [0, 2], [2, 1], [2j, 0], [[2, 0]])}) == 5
    assert key("Parm", 1) == key("Parm", 0)
    assert len({key("Parm", v) for v in (1, 1j, [[1]], [[1, 2]], [[1, 2j]])}) == 5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Solver", {"solvable": ()}, "solvable"),
        ("Solver", {"solvable": ("a", 3)}, "solvable"),
        ("Solver", {"solvable": "a", "max_iter": 0}, "max_iter"),
        ("Solver", {"solvable": "a", "tol": 0.0}, "tol"),
        ("Solver", {"solvable": "a", "lm": -1.0}, "lm"),
        ("ReqSeq", {"result": -1}, "result"),
        ("Composer", {"dims": (2, -1)}, "dims"),
        ("Composer", {"dims": ()}, "dims"),
        ("Spigot", {"column": " "}, "column"),
        ("Sink", {"column": ""}, "column"),
    ],
)
def test_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        defaults(name, **options)


def test_solvable_is_a_tuple_without_repeats():
    assert defaults("Solver", solvable="gain")["solvable"] == ("gain",)
    assert defaults("Solver", solvable=["gain", "G:m001", "gain"])["solvable"] == ("gain", "G:m001")


def test_dims_of_spigots():
    spigot = get("Spigot")
    assert spigot.dims({"column": "UVW"}) == (3,)
    assert spigot.dims({"column": "MODEL_DATA"}) == (2, 2)
