"""Averages over channels against sums in numpy, and delays found from them against those found from all data."""

from __future__ import annotations

import numpy as np
import pytest

import rimetree as rt
from rimetree.io.caltable import CalFile
from rimetree.io.solutions import GroupSolutions, Solutions
from rimetree.pipeline import averages, steady
from rimetree.pipeline.load import check
from rimetree.pipeline.run import run
from rimetree.pipeline.tabulate import tabulate_guess
from rimetree.pipeline.views import View
from rimetree.trees.terms import Placed, term
from rimetree.trees.terms.base import Band


@pytest.fixture
def few(monkeypatch):
    """Sixteen channels in five bins, the last one with a gap before it."""
    monkeypatch.setattr(averages, "BINS", 4)


def test_bins_end_at_gaps():
    freq = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21])
    bins = averages.Bins.divide(freq, np.ones(11))
    whole = averages.Bins.divide(freq[::-1], -np.ones(11))
    assert bins.of.tolist() == list(range(11))
    assert whole.edges.min(0).tolist() == [0.5, 1.5]
    many = averages.Bins.divide(np.r_[0:64, 100:140].astype(float), np.ones(104))
    assert np.bincount(many.of).tolist() == [4] * 16 + [3] * 13 + [1]
    np.testing.assert_array_equal(
        many.edges[[0, 15, 16, -1]], [[-0.5, 3.5], [59.5, 63.5], [99.5, 102.5], [138.5, 139.5]]
    )


@pytest.mark.parametrize("hands", ["parallel", "all"])
def test_averages_are_those_of_numpy(observe, few, hands):
    """Flags, zero weights and NaN count nowhere; the guess, of another delay in each scan, is taken out and put in again."""
    from casacore.tables import table

    seen = observe(polarised=True)
    rng = np.random.default_rng(3)
    with table(str(seen.path), readonly=False, ack=False) as main:
        data, flag, weight = main.getcol("DATA"), main.getcol("FLAG"), main.getcol("WEIGHT_SPECTRUM")
        data[rng.random(data.shape) < 0.05] = np.nan
        flag[rng.random(flag.shape) < 0.1] = True
        flag[:40, 4:8] = True
        weight[:] = rng.uniform(0.5, 2, weight.shape)
        weight[rng.random(weight.shape) < 0.05] = 0
        for name, values in (("DATA", data), ("FLAG", flag), ("WEIGHT_SPECTRUM", weight)):
            main.putcol(name, values)
    with rt.MeasurementSet(seen.path) as ms:
        (group,) = ms.groups
        solved = Placed("K0", term("K"), ("scan", None), Band(1.408e9))
        late, phase = rng.uniform(-50e-9, 50e-9, (2, 6, 2)), rng.uniform(-3, 3, (2, 6, 2))
        guess = {
            f"{what}_{hand}": values[h]
            for what, values in (("delay", late), ("phase", phase))
            for h, hand in enumerate("xy")
        }
        start = Solutions([tabulate_guess(solved, guess, group, ms.antennas)])
        none = GroupSolutions(str(group.field_name), str(group.spw_id), [], [], [])
        made = averages.average(View(ms), [], [], [none], solved, start, hands, ("DATA", "MODEL_DATA"), None)
        (tile,) = made.reader(made.groups[0], ["DATA", "MODEL_DATA"], [slice(0, 12)])
    number = (seen.scan != seen.scan[0]).astype(int)

    def jones(freq):
        turns = -2 * np.pi * (freq - 1.408e9)[:, None]
        each = phase[..., None, None] + late[..., None, None] * turns
        return np.exp(1j * each[..., 0])[:, :, number].transpose(1, 2, 3, 0)

    shape = (12, 15, 16, 4)
    model = seen.predicted(jones(seen.freq)).swapaxes(0, 1).reshape(shape)
    data, flag, weight = data.reshape(shape), flag.reshape(shape), weight.reshape(shape)
    used = ~flag & (weight > 0) & np.isfinite(data)
    power = np.where(used, weight * abs(model) ** 2, 0)
    total = np.where(used, weight * model.conj() * np.where(used, data, 0), 0)
    power, total = (x.reshape(12, 15, 4, 4, 4).sum(3) for x in (power, total))
    edges = seen.freq.reshape(4, 4).mean(1)
    middle = jones(edges)
    turn = middle[seen.first][..., :, None] * middle[seen.second].conj()[..., None, :]
    turn = turn.swapaxes(0, 1).reshape(12, 15, 4, 4)
    kept = [0, 3] if hands == "parallel" else [0, 1, 2, 3]
    expected = np.where(power > 0, turn * total / np.maximum(power, 1e-30), 0)[..., kept]
    np.testing.assert_allclose(made.groups[0].freq, edges)
    np.testing.assert_allclose(tile.weights.reshape(expected.shape), power[..., kept], rtol=1e-5)
    np.testing.assert_allclose(tile.columns["DATA"].reshape(expected.shape), expected, atol=2e-5)
    np.testing.assert_array_equal(tile.flags != 0, tile.weights == 0)
    assert (tile.flags != 0).any() and (tile.columns["MODEL_DATA"] == 1).all()


def straight(seen):
    """The fixture's data without bandpass: the delay of a curved phase depends on what is averaged."""
    rng, freq = np.random.default_rng(7), seen.freq[:, None]
    late, phase = (
        rng.uniform(-100e-9, 100e-9, (6, 1, 1, 2)),
        2 * np.sin(seen.scan + np.linspace(0, 2, 12))[:, None, None],
    )
    seen.jones = np.exp(-2j * np.pi * late * (freq - 1.4e9) + 1j * phase * rng.normal(size=(6, 1, 1, 2)))
    noise = rng.normal(size=(2, *seen.model.shape)) * seen.noise / np.sqrt(2)
    seen.put("DATA", (seen.predicted(seen.jones) + noise[0] + 1j * noise[1]).astype(np.complex64))
    return seen


def delays(seen, **keys):
    """The table of K, one for all scans, and what the run reported."""
    path = str(seen.path.parent / "a.h5")
    solve = {
        "ms": str(seen.path),
        "output": path,
        "jones": ["K"],
        "field": "field0",
        "rfi_threshold": 0,
        "ref_ant": "ant00",
        **keys,
    }
    report = run(check({"solve": solve}), overwrite=True, progress=False)
    assert report.converged, report.full()
    (found,) = CalFile.load(path).tables
    return found, report.steps[0].report.plan


@pytest.mark.parametrize("polarised", [False, True])
def test_delays_from_averages_are_those_from_all_data(observe, few, monkeypatch, polarised):
    """But for what n bins do not say, 1/n^2 of the information on slopes."""
    seen = straight(observe(polarised=polarised))
    found, plan = delays(seen)
    monkeypatch.setattr(averages, "SHARE", 0.0)
    exact, other = delays(seen)
    assert "averaged over channels to 4" in plan and "averaged" not in other
    for what in ("delay_x", "delay_y", "phase_x", "phase_y"):
        lost = 1 / 4**2 if "delay" in what else 0.0
        error = exact.parms[what].errors[1:]
        apart = abs(found.parms[what].values - exact.parms[what].values)[1:]
        assert (apart < (0.02 + 4 * np.sqrt(lost / (1 - lost))) * error).all()
        np.testing.assert_allclose(found.parms[what].errors[1:], error / np.sqrt(1 - lost), rtol=0.01)


def test_a_wrong_guess_is_noticed_and_made_again(observe, few, monkeypatch):
    """A guess off by a quarter of a turn over the band: averages made with it do not count."""
    seen = straight(observe())
    right, _ = delays(seen)
    own, made = type(term("K")).guess, []

    def wrong(self, looked):
        found = own(self, looked)
        return {**found, "delay_x": found["delay_x"] + 0.25 / 16e6 * np.arange(6)[:, None] / 5}

    average = averages.average
    monkeypatch.setattr(type(term("K")), "guess", wrong)
    monkeypatch.setattr(steady, "average", lambda *given: made.append(given[5]) or average(*given))
    found, _ = delays(seen)
    assert len(made) == 2
    error = right.parms["delay_x"].errors[1:]
    assert (abs(found.parms["delay_x"].values - right.parms["delay_x"].values)[1:] < 0.05 * error).all()


def test_outliers_are_told_among_samples(observe):
    _, plan = delays(observe(), residual_threshold=6)
    assert "averaged" not in plan
