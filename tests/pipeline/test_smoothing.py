"""Smoothed solutions against plain loops; their errors against scatter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rimetree.errors import ConfigError
from rimetree.io.caltable import Values
from rimetree.pipeline.load import check
from rimetree.pipeline.smoothing import smooth
from rimetree.trees.terms import Param

GAIN, ANGLE, DELAY = Param(1 + 0j), Param(0.0, angle=True), Param(0.0)


def cells(values, errors) -> Values:
    shape = (*values.shape, 1, 1)
    return Values(values.reshape(shape), errors.reshape(shape), np.zeros(values.shape, np.uint8))


def slowly(v, e, good, x, width, kind):
    """One row, by loops."""
    out, sigma = list(v), list(e)
    scale = width / 2.3548200450309493
    for i in range(len(v)):
        if not good[i]:
            continue
        total = top = angle = errors = 0
        for j in range(len(v)):
            if good[j] and abs(x[j] - x[i]) <= 4 * scale:
                k = np.exp(-((x[j] - x[i]) ** 2) / (2 * scale**2)) / e[j] ** 2
                total += k
                top += k * (abs(v[j]) if kind == "amp_phase" else v[j])
                angle += k * np.exp(1j * (np.angle(v[j]) if kind == "amp_phase" else v[j]))
                errors += (k * e[j]) ** 2
        out[i] = top / total
        if kind == "amp_phase":
            out[i] = top / total * np.exp(1j * np.angle(angle))
        elif kind == "angle":
            out[i] = np.angle(angle)
        sigma[i] = np.sqrt(errors) / total
    return out, sigma


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 99),
    st.integers(1, 12),
    st.floats(5, 200),
    st.sampled_from(["amp_phase", "real_imag", "angle", "real"]),
)
def test_every_cell_is_the_weighted_mean_of_its_neighbours(seed, count, width, kind):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 100, count))
    values = rng.uniform(-3, 3, (2, count))
    if kind in ("amp_phase", "real_imag"):
        values = rng.uniform(0.5, 2, (2, count)) * np.exp(1j * values)
    errors = rng.uniform(0.01, 0.1, values.shape)
    good = rng.uniform(size=values.shape) < 0.8
    param = {"angle": ANGLE, "real": DELAY}.get(kind, GAIN)
    domain = kind if kind in ("amp_phase", "real_imag") else "amp_phase"
    for axis in (1, 2):
        shape = (2, count, 1) if axis == 1 else (2, 1, count)
        found = smooth(
            cells(values.reshape(shape), errors.reshape(shape)), good.reshape(shape), x, width, axis, param, domain
        )
        for row in range(2):
            want, sigma = slowly(values[row], errors[row], good[row], x, width, kind)
            np.testing.assert_allclose(found.values[row].ravel(), want, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found.errors[row].ravel(), sigma, rtol=1e-9)


def test_errors_are_the_scatter_of_what_is_smoothed():
    rng = np.random.default_rng(1)
    sigma = np.broadcast_to(rng.uniform(0.02, 0.2, 15), (4000, 15))
    values = 1.5 + sigma * rng.normal(size=sigma.shape)
    found = smooth(
        cells(values[..., None], sigma[..., None].copy()),
        np.ones((4000, 15, 1), bool),
        10.0 * np.arange(15),
        60,
        1,
        DELAY,
        "",
    )
    np.testing.assert_allclose(found.values.std(0).ravel(), found.errors[0].ravel(), rtol=0.05)
    assert (found.errors < sigma[..., None, None, None]).all()


def test_phases_do_not_jump_at_a_turn():
    phase = np.array([[3.1, -3.1, 3.12, -3.13, 3.1]])
    found = smooth(
        cells(phase[..., None], np.full((1, 5, 1), 0.1)), np.ones((1, 5, 1), bool), np.arange(5.0), 100, 1, ANGLE, ""
    )
    assert (np.abs(np.angle(np.exp(1j * (found.values - np.pi)))) < 0.05).all()


def test_unknown_errors_weigh_alike_and_stay_unknown():
    values = np.array([[[1.0], [3.0]]])
    found = smooth(
        cells(values, np.full(values.shape, np.nan)), np.ones(values.shape, bool), np.arange(2.0), 1e6, 1, DELAY, ""
    )
    np.testing.assert_allclose(found.values.ravel(), 2.0)
    assert np.isnan(found.errors).all()


def test_smoothed_gains_correct_a_quiet_source_better(observe):
    """Gains of single slots carry the noise of their slot into the data; gains that drift slowly lose it by smoothing."""
    from rimetree.pipeline.run import run

    seen = observe(noise=3.0)
    slow = seen.jones[:, :1, :1] * np.ones_like(seen.jones)
    noise = seen.column("DATA") - seen.predicted(seen.jones)
    seen.put("DATA", (seen.predicted(slow) + noise).astype(np.complex64))
    output = str(seen.path.parent / "g.h5")
    solve = {
        "ms": str(seen.path),
        "output": output,
        "jones": ["G"],
        "field": "field0",
        "time_interval": "1slot",
        "rfi_threshold": 0,
    }
    apply = {"ms": str(seen.path), "jones": ["G"], "tables": output}
    off = []
    for extra in ({}, {"smooth_time": "2min"}):
        run(check({"solve": solve, "apply": apply | extra}), overwrite=True, progress=False)
        off.append(
            np.abs(seen.column("CORRECTED_DATA") - seen.corrected(seen.column("DATA"), slow))[
                ..., [0, 1], [0, 1]
            ].mean()
        )
    assert off[1] < 0.6 * off[0]


@pytest.mark.parametrize("width", ["fast", "-3s", "5MHz", [1, 2]])
def test_widths_are_checked(width):
    with pytest.raises(ConfigError, match="smooth_time"):
        check({"apply": {"ms": "x.ms", "jones": ["G"], "tables": "g.h5", "smooth_time": width}})
