"""Leakages, cross-hand delays and phases, and turning feeds, against known full Jones matrices."""

from __future__ import annotations

import numpy as np
import pytest

from rimetree.io.caltable import CalFile
from rimetree.io.ms import MeasurementSet
from rimetree.pipeline.load import check
from rimetree.pipeline.mounts import feed_angles
from rimetree.pipeline.run import run as run_blocks

MODEL = {
    "polarised": np.array([[5.2, 0.8 + 0.1j], [0.8 - 0.1j, 4.8]]),
    "unpolarised": 5 * np.eye(2),
}


class Sky:
    """Data made of full Jones matrices (ant, slot, chan, 2, 2) on the set of `observe`."""

    def __init__(self, seen, jones, brightness, noise=0.05, seed=3):
        self.seen, self.jones = seen, np.broadcast_to(jones, (6, 12, 16, 2, 2))
        self.model = np.broadcast_to(brightness, seen.model.shape).astype(np.complex64)
        left, right = self.jones[seen.first], self.jones[seen.second].conj().swapaxes(-1, -2)
        rng = np.random.default_rng(seed)
        error = rng.normal(size=(2, *self.model.shape)) * noise / np.sqrt(2)
        seen.put("MODEL_DATA", self.model)
        seen.put("DATA", (left @ self.model @ right + error[0] + 1j * error[1]).astype(np.complex64))

    def left_over(self):
        """rms of corrected minus model over that of the true inverse, of the parallel and of the cross-hands."""
        seen, inverse = self.seen, np.linalg.inv(self.jones)
        best = inverse[seen.first] @ seen.column("DATA") @ inverse[seen.second].conj().swapaxes(-1, -2) - self.model
        ours = seen.column("CORRECTED_DATA") - self.model
        hands = ([0, 1], [0, 1]), ([0, 1], [1, 0])
        return [
            np.sqrt((np.abs(ours[..., i, j]) ** 2).mean() / (np.abs(best[..., i, j]) ** 2).mean()) for i, j in hands
        ]


def solve(seen, block, apply=None, **others):
    output = str(seen.path.parent / "p.h5")
    common = {"ms": str(seen.path), "output": output, "field": "field0", "ref_ant": "ant00", "rfi_threshold": 0}
    content = {"solve": {**common, **block}}
    if apply is not None:
        content["apply"] = {"ms": str(seen.path), "jones": apply, "tables": output, **others}
    report = run_blocks(check(content), overwrite=True, progress=False)
    assert report.converged, report.full()
    return {table.key: table for table in CalFile.load(output).tables}


def gains(rng, slots=12, chans=1):
    """Drifting gains of random phase, one hand of the reference not that of the other."""
    t = np.linspace(0, 1, slots)[None, :, None, None]
    shape = (6, 1, 1, 2)
    drift = 0.4 * np.sin(2 * np.pi * (t + rng.uniform(size=shape)))
    return (1 + 0.1 * rng.normal(size=shape)) * np.exp(1j * (rng.uniform(-3, 3, shape) + drift))


def diagonal(values):
    """(..., 2) as matrices."""
    return values[..., None] * np.eye(2)


def leakages(rng):
    matrix = np.zeros((6, 1, 1, 2, 2), complex) + np.eye(2)
    matrix[..., 0, 1], matrix[..., 1, 0] = 0.05 * (rng.normal(size=(2, 6, 1, 1)) + 1j * rng.normal(size=(2, 6, 1, 1)))
    return matrix


@pytest.mark.parametrize("feed", ["linear", "circular"])
def test_gains_and_leakages_leave_the_noise(observe, feed: str):
    rng = np.random.default_rng(8)
    sky = Sky(observe(corrs=feed), diagonal(gains(rng)) @ leakages(rng), MODEL["polarised"])
    steps = {"jones": ["G", "D"], "joint": ["G", "D"], "time_interval": ["1slot", "inf"], "max_iter": 200}
    solve(sky.seen, steps, ["G0", "D0"], time_interp="linear")
    parallel, cross = sky.left_over()
    assert parallel < 1.05
    assert cross < 1.05


def test_leakages_of_an_unpolarised_source(observe):
    """Known up to xy + c, yx - conj(c): that of the reference antenna is 0."""
    rng = np.random.default_rng(9)
    true = leakages(rng)
    sky = Sky(observe(), true, MODEL["unpolarised"], noise=0.02)
    found = solve(sky.seen, {"jones": ["D"]})["D0"].jones[:, 0, 0]
    shift = true[0, 0, 0, 0, 1]
    assert found[0, 0, 1] == 0
    # The freedom is a unitary matrix, hence exact to first order in leakages of 0.07 only; noise is far below.
    np.testing.assert_allclose(found[:, 0, 1], true[:, 0, 0, 0, 1] - shift, atol=0.02)
    np.testing.assert_allclose(found[:, 1, 0], true[:, 0, 0, 1, 0] + shift.conj(), atol=0.02)


def test_cross_hand_delay_and_phase(observe):
    """K G D KC CP on a polarised source: the delay and the phase are those put in, and nothing is left."""
    rng = np.random.default_rng(10)
    seen = observe(width=4e6)
    static = gains(rng, slots=1)
    static[0] = np.abs(static[0])
    delay, phase = 3e-9, 0.7
    x = np.exp(-2j * np.pi * delay * seen.freq)[None, None, :]
    late = rng.uniform(-20e-9, 20e-9, (6, 1, 1, 2))
    late[0] = 0
    early = np.exp(-2j * np.pi * late * (seen.freq - seen.freq.mean())[None, None, :, None])
    between = np.stack([x, np.exp(1j * phase) * np.ones_like(x)], -1)
    sky = Sky(seen, diagonal(early * static) @ diagonal(between), MODEL["polarised"], noise=0.02)
    found = solve(seen, {"jones": ["K", "G", "KC", "CP"]}, ["K0", "G0", "KC0", "CP0"])
    assert abs(found["KC0"].delay[0, 0, 0, 0] - delay) < 5 * found["KC0"].parms["delay"].errors.item() + 1e-12
    assert abs(found["KC0"].delay[0, 0, 0, 0] - delay) < 0.02e-9
    slack = 2 * np.pi * seen.freq.mean() * abs(found["KC0"].delay[0, 0, 0, 0] - delay)
    assert abs(np.angle(np.exp(1j * (found["CP0"].parms["phase"].values.item() - phase)))) < slack + 0.01
    assert max(sky.left_over()) < 1.05


@pytest.mark.parametrize("feed", ["linear", "circular"])
def test_turning_feeds(observe, feed: str):
    """G P: the model is turned in the solve, and the correction turns the data back."""
    seen = observe(corrs=feed)
    with MeasurementSet(seen.path) as ms:
        angle = feed_angles(ms, ms.groups[0])
    c, s = np.cos(angle), np.sin(angle)
    if feed == "linear":
        turn = np.stack([c, s, -s, c], -1).reshape(6, 12, 1, 2, 2)
    else:
        turn = diagonal(np.stack([np.exp(-1j * angle), np.exp(1j * angle)], -1))[:, :, None]
    assert np.ptp(angle) > 1e-4
    rng = np.random.default_rng(11)
    sky = Sky(seen, diagonal(gains(rng)) @ turn, MODEL["polarised"])
    solve(seen, {"jones": ["G"], "time_interval": "1slot", "apply_parang": True}, ["G0"], apply_parang=True)
    assert max(sky.left_over()) < 1.05


def test_parallel_hands_know_no_phase_between_x_and_y_however_feeds_turn(observe):
    """So that of the reference antenna is 0 in both, in every slot."""
    seen = observe()
    with MeasurementSet(seen.path) as ms:
        angle = feed_angles(ms, ms.groups[0])
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([c, s, -s, c], -1).reshape(6, 12, 1, 2, 2)
    sky = Sky(seen, diagonal(gains(np.random.default_rng(11))) @ turn, MODEL["unpolarised"])
    step = {"jones": ["G"], "time_interval": "1slot", "apply_parang": True, "ref_ant": "ant00"}
    found = solve(seen, step, ["G0"], apply_parang=True)["G0"]
    for element in (found.parms["x"], found.parms["y"]):
        assert np.abs(np.angle(element.values[0])).max() < 1e-9
    assert sky.left_over()[0] < 1.05


def test_parallactic_angles_are_those_of_spherical_trigonometry(observe):
    """tan q = sin H / (tan phi cos dec - sin dec cos H), with the sidereal time of a mean Earth (good to a degree here)."""
    with MeasurementSet(observe().path) as ms:
        group, (x, y, z) = ms.groups[0], ms.positions[0]
        found = feed_angles(ms, group)[0]
    days = group.time / 86400 + 2400000.5 - 2451545.0
    sidereal = np.radians(280.46061837 + 360.98564736629 * days)
    ra, dec = group.phase_dir
    hour, latitude = sidereal + np.arctan2(y, x) - ra, np.arctan2(z, np.hypot(x, y))
    true = np.arctan2(np.sin(hour), np.tan(latitude) * np.cos(dec) - np.sin(dec) * np.cos(hour))
    assert np.abs(np.angle(np.exp(1j * (found - true)))).max() < np.radians(1)


ORDERS = [["K", "G", "D", "KC", "CP"], ["K", "G", "KC", "CP", "D"], ["K", "B", "G", "KC", "CP", "D"]]


def sources(rng, seen):
    """Three sources of different polarisation, whose fringes turn. One or two of them leave a freedom: matrices J with J X J^H = X
    for all brightness matrices X seen, three for one of them (Sault, Hamaker & Bregman 1996, A&AS 117, 149), one for two."""
    x, t = np.linspace(-1, 1, 16), np.linspace(-1, 1, 12)[:, None]
    total = 0
    for flux, q, u, v in ((10, 0.05, 0.1, -0.05), (3, -0.1, 0.05, 0.1), (3, 0.1, -0.1, 0.05)):
        turns = rng.uniform(-1, 1, (2, seen.first.size, 1, 1)) * (flux < 10)
        fringe = np.exp(2j * np.pi * (turns[0] * x + turns[1] * t))[..., None, None]
        total = total + flux * fringe * np.array([[1 + q, u + 1j * v], [u - 1j * v, 1 - q]])
    return total


@pytest.mark.parametrize("feed", ["linear", "circular"])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_everything_of_a_polarised_field_in_any_order(observe, order: list[str], feed: str):
    """No `joint:` is said. Delay and phase between x and y are true within their errors, and nothing is left."""
    rng = np.random.default_rng(12)
    seen, delay, phase = observe(width=4e6, corrs=feed, noise=0.1), 3e-9, 0.7
    static = gains(rng, slots=1)
    static[0] = np.abs(static[0])
    late = rng.uniform(-20e-9, 20e-9, (6, 1, 1, 2))
    late[0] = 0
    x, one = np.exp(-2j * np.pi * delay * seen.freq)[None, None, :], np.ones((1, 1, 16))
    curve = np.linspace(-1, 1, 16)[:, None]
    first = np.arange(6)[:, None, None, None] > 0  # the reference antenna has no phases of its own: they are KC and CP
    drift = 0.4 * np.sin(2 * np.pi * (np.linspace(0, 1, 12)[:, None, None] + rng.uniform(size=(6, 1, 1, 1))))
    true = {
        "K": diagonal(np.exp(-2j * np.pi * late * (seen.freq - seen.freq.mean())[:, None])),
        "G": diagonal(static * np.exp(1j * drift)),
        "B": diagonal(
            1 + 0.1 * curve**2 * rng.normal(size=(6, 1, 1, 2)) + 0.1j * curve**3 * rng.normal(size=(6, 1, 1, 2)) * first
        ),
        "D": leakages(rng),
        "KC": diagonal(np.stack([x, one], -1)),
        "CP": diagonal(np.stack([one, np.exp(1j * phase) * one], -1)),
    }
    jones = np.eye(2)
    for name in order:
        jones = jones @ true[name]
    sky = Sky(seen, jones, sources(rng, seen), noise=0.1)
    intervals = {"K": "scan", "G": "1slot"}
    block = {
        "jones": order,
        "time_interval": [intervals.get(name, "inf") for name in order],
        "freq_interval": ["1chan" if name == "B" else "full" for name in order],
    }
    found = solve(seen, block, [f"{name}0" for name in order])
    assert max(sky.left_over()) < 1.05
    late_by, turned = found["KC0"].parms["delay"], found["CP0"].parms["phase"]
    assert abs(late_by.values.item() - delay) < 4 * late_by.errors.item() < 0.1e-9
    wrong = turned.values.item() - phase
    assert abs(np.angle(np.exp(1j * wrong))) < 4 * turned.errors.item() < 1
    # The phase is that at frequency 0: delay and phase err together, and at the band's centre the sum is known a hundred times better.
    wrong += 2 * np.pi * seen.freq.mean() * (late_by.values.item() - delay)
    assert abs(np.angle(np.exp(1j * wrong))) < 0.005


@pytest.mark.parametrize("name", ["R", "F"])
@pytest.mark.parametrize("feed", ["linear", "circular"])
def test_rotations_begin_in_the_right_turn(observe, feed: str, name: str):
    """Any angle; Faraday rotation that turns the plane many times, of a polarised source."""
    rng = np.random.default_rng(14)
    seen = observe(corrs=feed)
    law = (299792458.0 / seen.freq) ** 2 if name == "F" else np.ones(16)
    true = rng.uniform(-1, 1, 6) * (2000 if name == "F" else np.pi)
    angle = (true[:, None] * law)[:, None]
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([c, -s, s, c], -1).reshape(6, 1, 16, 2, 2)
    if feed == "circular":
        turn = diagonal(np.stack([np.exp(1j * angle), np.exp(-1j * angle)], -1))
    sky = Sky(seen, turn, MODEL["polarised"], noise=0.1)
    found = solve(seen, {"jones": [name]}, [f"{name}0"])[f"{name}0"]
    assert max(sky.left_over()) < 1.05
    if name == "F":
        np.testing.assert_allclose(found.parms["rm"].values.ravel(), true, atol=0.5)  # a turn is 68 rad/m^2


@pytest.mark.parametrize("feed", ["linear", "circular"])
def test_leakages_err_by_the_noise(observe, feed: str):
    """Least squares linearised in numpy: the covariance of 12 complex leakages from all four hands."""
    noise, true = 0.2, leakages(np.random.default_rng(13))
    sky = Sky(observe(corrs=feed), true, MODEL["polarised"], noise=noise)
    found = solve(sky.seen, {"jones": ["D"]})["D0"].jones[:, 0, 0]
    error = np.concatenate([found[:, 0, 1] - true[:, 0, 0, 0, 1], found[:, 1, 0] - true[:, 0, 0, 1, 0]])

    def predicted(jones):
        return jones[sky.seen.first] @ MODEL["polarised"] @ jones[sky.seen.second].conj().swapaxes(-1, -2)

    columns = []
    for row, column in ((0, 1), (1, 0)):
        for antenna in range(6):
            for part in (1, 1j):
                step = np.zeros((6, 2, 2), complex)
                step[antenna, row, column] = 1e-6 * part
                change = (predicted(true[:, 0, 0] + step) - predicted(true[:, 0, 0] - step)) / 2e-6
                columns.append(change.ravel().view(float))
    design = np.array(columns) * np.sqrt(12 * 16) / (noise / np.sqrt(2))
    floor = np.sqrt(np.trace(np.linalg.inv(design @ design.T)) / 12)
    assert np.sqrt((np.abs(error) ** 2).mean()) < 1.2 * floor
