"""docs/meqtrees.md says of every class of MeqTrees what it is here, and what it says exists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rimetree.graph import registry

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "meqtrees.md").read_text(encoding="utf-8")

WANTED = """
    Constant Parm Freq Time Grid GaussNoise RandomNoise Spigot FITSImage FITSReader
    Exp Log Abs Invert Negate Sqrt Sqr Pow2 Pow3 Pow4 Pow5 Pow6 Pow7 Pow8 Sin Cos Tan Acos Asin Atan Cosh Sinh Tanh Norm Arg
    Real Imag Conj Ceil Floor Identity Subtract Divide Pow Mod FMod Atan2 ToComplex Polar Bessel Add Multiply WSum WMean
    Sum Mean Product StdDev Rms Min Max NElements MinLocation MaxLocation
    Composer Selector Paster Transpose ConjTranspose MatrixMultiply MatrixInvert22 Determinant Trace Matrix22
    ReqSeq ReqMux Sink VisDataMux DataCollect ModRes Resampler CoordTransform ZeroFlagger MergeFlags ReplaceFlaggedValues
    Condeq Solver UVW LMN LMRaDec AzEl RADec ObjectRADec LST ParAngle LongLat
    VisPhaseShift PSVTensor TFSmearFactor Stokes FFTBrick UVInterpol ShapeletVisTf WSRTCos3Beam
    Fabs GridPoints AzElRaDec EMFPar StationBeam UVInterpolWave UVDetaper PatchComposer Compounder PyNode PyFunctionNode
    PyTensorFuncNode Functional PrivateFunction DataConcat HistoryCollect Stripper
"""
"""What the paper and section 5 of our notes on MeqTrees list."""


def rows() -> list[tuple[list[str], str]]:
    """(names of MeqTrees, what they are here) of each row of the table; "Pow2 ... Pow8" are seven."""
    table = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][1:]
    found = []
    for names, here in table:
        names = re.sub(r"Pow2 \.\.\. Pow8", ", ".join(f"Pow{n}" for n in range(2, 9)), names)
        found.append((re.split(r", ", names), here))
    return found


@pytest.mark.parametrize("name", WANTED.split())
def test_every_class_of_meqtrees_is_accounted_for(name):
    places = [here for names, here in rows() if name in names]
    assert len(places) == 1, f"{name} is in {len(places)} rows of docs/meqtrees.md"


def test_what_the_table_names_exists():
    for names, here in rows():
        if here.startswith("the same"):
            assert not [name for name in names if registry.find(name) is None]
        quoted = re.findall(r"`(\w+)`", here)
        assert not [name for name in quoted if registry.find(name) is None]
        assert quoted or here.startswith(("the same", "not ", "a function", "the statuses"))


def test_example_of_a_node_of_ones_own(capsys, monkeypatch):
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "docs/meqtrees.md", "exec"), {"__name__": "docs"})  # the page's own text
    printed = [float(word) for word in re.findall(r"[\d.]+", capsys.readouterr().out)]
    np.testing.assert_allclose(printed, 1 + 0.2 * np.sin((1412.5, 1437.5, 1462.5, 1487.5)), rtol=1e-7)
