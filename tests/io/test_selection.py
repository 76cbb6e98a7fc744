"""Selections: what they keep, and what is said where they keep nothing."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.errors import ConfigError, DataError
from rimetree.io import MeasurementSet
from rimetree.io.selection import choose_channels, choose_numbers

FIELDS = np.array([[0.0, 0.5], [0.1, 0.5], [0.2, 0.5]])


@pytest.fixture
def path(make_ms, edit):
    made = make_ms(scans=6, times=(5e9, 12, 10.0), phase_dir=FIELDS)
    with edit(made / "FIELD") as table:
        table.putcol("NAME", ["3C286", "3C48", "J1234+56"])
    return made


@pytest.mark.parametrize(
    ("spec", "ids"),
    [
        ("3C48", [1]),
        (1, [1]),
        ("1", [1]),
        ("3C*", [0, 1]),
        ("0~1", [0, 1]),
        (["3C48", 2], [1, 2]),
        ("3C286,J*", [0, 2]),
    ],
)
def test_fields(path, spec, ids):
    assert [field.id for field in MeasurementSet(path, field=spec).fields] == ids


@pytest.mark.parametrize(
    ("spec", "scans"), [("1~3,5", {1, 2, 3, 5}), (4, {4}), ([1, "6"], {1, 6}), ("2~99", {2, 3, 4, 5, 6})]
)
def test_scans(path, spec, scans):
    ms = MeasurementSet(path, scans=spec)
    assert {int(s) for group in ms.groups for s in group.scan} == scans


@pytest.mark.parametrize("spec", [slice(1, 3), (1, 3), "1~2", [1, 3]])
def test_channels(path, spec):
    group = MeasurementSet(path, channels=spec).groups[0]
    np.testing.assert_allclose(group.freq, [1.401e9, 1.402e9])


def test_antennas_keep_rows_between_them(path):
    ms = MeasurementSet(path, antennas=["ant00", "ant02", 3])
    assert ms.baselines == [("ant00", "ant02"), ("ant00", "ant03"), ("ant02", "ant03")]
    assert MeasurementSet(path, antennas="ant0[12]").antennas == ["ant01", "ant02"]


def test_taql(path):
    ms = MeasurementSet(path, taql="ANTENNA1 == 0 && SCAN_NUMBER > 3")
    assert ms.baselines == [("ant00", "ant01"), ("ant00", "ant02"), ("ant00", "ant03")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "3C285"}, r"no field '3C285' \(did you mean '3C286'\?\); .* 3C286 \(0\), 3C48 \(1\)"),
        ({"field": 7}, "no field 7"),
        ({"spw": 1}, r"no spw 1; .*x.ms has spw0 \(0\)"),
        ({"scans": "8~9"}, r"no '8~9'; .*x\.ms has 1~6"),
        ({"scans": "first"}, "expected numbers such as"),
        ({"antennas": "ant9"}, r"no antennas 'ant9' \(did you mean"),
        ({"antennas": []}, "selects nothing; leave it out"),
        ({"field": 1.5}, "expected a name, a number, or a list"),
        ({"channels": "2~5"}, "spectral window 0 has channels 0~4"),
        ({"channels": slice(9, 12)}, "spectral window 0 has channels 0~4"),
        ({"channels": slice(0, 4, 2)}, "a slice without step"),
        ({"channels": 3.5}, "expected 'first~last'"),
        ({"taql": "NOSUCH == 1"}, "casacore does not understand it"),
    ],
)
def test_what_does_not_exist(path, options, message):
    with pytest.raises(ConfigError, match=message):
        MeasurementSet(path, **options)


def test_what_is_empty_lists_what_there_is(path):
    with pytest.raises(
        DataError, match=r"no cross-correlations with field='3C48', scans=1\. There are: field '3C286' \(0\), spw 0"
    ):
        MeasurementSet(path, field="3C48", scans=1)


def test_numbers_of_a_range_need_not_all_exist():
    assert choose_numbers("1~3,9", [1, 3, 9, 11], "scans") == [1, 3, 9]


def test_negative_slice_limits_count_from_the_end():
    assert choose_channels(slice(-3, None), 10, 0) == slice(7, 10, 1)
