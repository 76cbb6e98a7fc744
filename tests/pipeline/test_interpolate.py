"""Solutions at other times and channels, against numpy and scipy; whose solutions they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from rimetree.errors import ConfigError
from rimetree.io.caltable import CalTable, Values
from rimetree.pipeline.interpolate import Rule, evaluate, spread
from rimetree.status import Status
from rimetree.trees.terms import Placed, term


def table(gains: np.ndarray, time: np.ndarray, field: str = "A", half: float = 5.0, **attrs) -> CalTable:
    """G of gains (ant, time), equal for x and y; cells of 2 `half` seconds."""
    values = gains[:, :, None, None, None].astype(complex)
    status = np.zeros(values.shape[:3], np.uint8)
    jones = gains[:, None, :, None, None] * np.eye(2)
    edges = np.stack([time - half, time + half], 1)
    parms = {what: Values(values.copy(), np.zeros(values.shape), status.copy()) for what in "xy"}
    freq = np.array([1e9])
    return CalTable(
        "G0", "G", field, 0, ["a", "b"], time, edges, freq, np.array([[0.9e9, 1.1e9]]), np.ones(time.size, int), jones,
        np.zeros((2, 1, time.size), bool), np.zeros(jones.shape), parms, attrs=attrs,
    )  # fmt: skip


def at(one: CalTable, points: np.ndarray, **rule) -> np.ndarray:
    return evaluate(one, np.asarray(points, float), np.array([1e9]), Rule(**rule))[:, 0, :, 0, 0]


T = 10.0 * np.arange(6)
G = np.array([[1, 1.2, 0.9, 1.1, 1.0, 1.3], [2, 1.9, 2.1, 2.2, 2.0, 1.8]]) * np.exp(
    1j * np.array([[0, 1, 2, 3, 4, 5], [0, -1.5, -3, -4.5, -6, -7.5]])
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-30, 90), min_size=1, max_size=5, unique=True))
def test_linear_and_cubic_are_numpys_and_scipys_on_amplitude_and_unwrapped_phase(points):
    inside = np.clip(points, 0, 50)
    for method in ("linear", "cubic"):
        for row, got in zip(G, at(table(G, T), points, time=method), strict=True):
            curve = (lambda y: np.interp(inside, T, y)) if method == "linear" else (lambda y: CubicSpline(T, y)(inside))
            want = curve(np.abs(row)) * np.exp(1j * curve(np.unwrap(np.angle(row))))
            np.testing.assert_allclose(got, want, rtol=1e-10)


def test_real_and_imaginary_parts_if_asked():
    got = at(table(G, T), [15], time="linear", domain="real_imag")[:, 0]
    np.testing.assert_allclose(got, (G[:, 1] + G[:, 2]) / 2)


def test_cells_without_a_solution_are_passed_over_except_by_exact():
    one = table(G, T)
    for parm in one.parms.values():
        parm.status[0, 2] = Status.DIVERGED
        parm.values[0, 2] = np.nan
    np.testing.assert_allclose(at(one, [19], time="nearest")[:, 0], [G[0, 1], G[1, 2]])
    exact = at(one, [20], time="exact")[:, 0]
    assert np.isnan(exact[0]) and exact[1] == G[1, 2]
    between = at(one, [20], time="linear")[0, 0]
    np.testing.assert_allclose(np.abs(between), (1.2 + 1.1) / 2)
    for parm in one.parms.values():
        parm.status[0] = Status.NO_DATA
    assert np.isnan(at(one, [20], time="linear")[0]).all()


def test_the_cell_that_holds_a_datum_is_nearest_to_it():
    one = table(G[:, :2], np.array([100.0, 210.0]))
    one = replace(one, time_edges=np.array([[0.0, 200.0], [205.0, 215.0]]))
    np.testing.assert_allclose(at(one, [190.0])[0], G[0, 0])


class Target:
    field_name, phase_dir = "T", np.array([0.0, 0.1])
    time, interval = np.array([0.0, 100.0]), np.full(2, 10.0)
    freq, width = np.array([1e9]), np.array([1e6])


def values(rule: Rule, *tables: CalTable) -> np.ndarray:
    (x, _) = spread(tables, Placed("G0", term("G")), Target(), ["a", "b"], rule)
    return np.broadcast_to(x.values[0, :, 0, 0, 0], 2)


def test_which_field():
    first = table(np.full((2, 1), 2.0), np.array([-20.0]), "A", field_ra=1.0, field_dec=0.1)
    second = table(np.full((2, 1), 3.0), np.array([130.0]), "B", field_ra=0.01, field_dec=0.1)
    assert values(Rule("nearest_time"), first, second).tolist() == [2, 3]
    assert values(Rule("nearest_sky"), first, second).tolist() == [3, 3]
    assert values(Rule("pinned", ("A",)), first, second).tolist() == [2, 2]
    across = values(Rule("all", time="linear"), first, second)
    np.testing.assert_allclose(across, [2 + 20 / 150, 2 + 120 / 150])
    with pytest.raises(ConfigError, match="there are those of A"):
        values(Rule("pinned", ("C",)), first)


def test_an_antenna_without_solutions_has_none():
    (x, _) = spread([table(G, T)], Placed("G0", term("G")), Target(), ["b", "new"], Rule())
    assert (x.status[0] == Status.CONVERGED).all() and (x.status[1] == Status.NO_DATA).all()


def test_frequencies():
    one = table(G[:, :1], T[:1])
    values = np.array([1.0, 2, 4])[None, None, :, None, None] * np.ones((2, 1, 1, 1, 1)) + 0j
    parms = {w: Values(values.copy(), np.zeros(values.shape), np.zeros((2, 1, 3), np.uint8)) for w in "xy"}
    parms["x"].status[0, 0, 1] = Status.NO_DATA
    freq = np.array([1e9, 1.1e9, 1.2e9])
    edges = np.stack([freq - 5e7, freq + 5e7], 1)
    one = replace(one, freq=freq, freq_edges=edges, parms=parms)
    points = np.array([1.02e9, 1.1e9, 1.16e9])
    got = evaluate(one, T[:1], points)[:, :, 0]
    np.testing.assert_allclose(got[1, :, 0, 0], [1, 2, 4])
    assert np.isnan(got[0, 1, 0, 0])  # a bad channel of a bandpass stays bad
    got = evaluate(one, T[:1], points, Rule(freq="linear"))[:, :, 0]
    np.testing.assert_allclose(got[1, :, 1, 1], np.interp(points, freq, [1, 2, 4]))


def test_curves_in_frequency_in_both_domains():
    """A bandpass of 6 cells at 9 frequencies, some outside: as numpy and scipy have it, cell ends held constant."""
    freq = 1e9 + 1e7 * np.arange(6)
    edges = np.stack([freq - 5e6, freq + 5e6], 1)
    values = np.repeat(G[:, None, :, None, None], 1, 1).astype(complex)
    parms = {w: Values(values, np.zeros(values.shape), np.zeros((2, 1, 6), np.uint8)) for w in "xy"}
    one = replace(table(G[:, :1], T[:1]), freq=freq, freq_edges=edges, parms=parms)
    points = np.linspace(0.99e9, 1.06e9, 9)
    inside = points.clip(freq[0], freq[-1])
    for method in ("linear", "cubic"):

        def curve(y, method=method):
            return np.interp(inside, freq, y) if method == "linear" else CubicSpline(freq, y)(inside)

        for domain in ("amp_phase", "real_imag"):
            got = evaluate(one, T[:1], points, Rule(freq=method, domain=domain))[:, :, 0, 0, 0]
            for row, found in zip(G, got, strict=True):
                polar = curve(np.abs(row)) * np.exp(1j * curve(np.unwrap(np.angle(row))))
                want = polar if domain == "amp_phase" else curve(row.real) + 1j * curve(row.imag)
                np.testing.assert_allclose(found, want, rtol=1e-9)
