"""Quantities with units."""

from __future__ import annotations

import pytest

from rimetree.quantity import hertz, seconds


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30), ("2min", 120), ("1.5 h", 5400), ("250ms", 0.25), ("1e-3 s", 1e-3), (7, 7)]
)
def test_seconds(text, value):
    assert seconds(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "value"), [("4MHz", 4e6), ("250 kHz", 2.5e5), (".5ghz", 5e8), ("12Hz", 12), (1e6, 1e6)]
)
def test_hertz(text, value):
    assert hertz(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("wrong", ["30", "4MHz", "s", "", "1 s s", None, True, float("nan"), [1], "1e999s"])
def test_what_is_not_a_time(wrong):
    with pytest.raises(ValueError, match=r"expected a time.* such as '30s'|expected a time, for example '30s'"):
        seconds(wrong)
