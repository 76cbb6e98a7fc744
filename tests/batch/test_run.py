"""Runs on simulated Measurement Sets, against numpy and scipy on the same data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status


def corrected(o, gains):
    """DATA / (g_p g_q^*) for gains (slot, antenna, 2, channel) per datum."""
    data = kit_data(o)
    out = np.empty_like(data)
    for k, corr in enumerate(o.corrs):
        i, j = ("XR".find(corr[0]) < 0, "XR".find(corr[1]) < 0)
        out[..., k] = data[..., k] / (gains[o.slot, o.p, int(i)] * gains[o.slot, o.q, int(j)].conj())
    return out


def kit_data(o):
    from casacore.tables import table

    with table(str(o.path), ack=False) as main:
        return main.getcol("DATA")


def spread(gains, slots, channels):
    """Gains per interval (t, antenna, 2, f) as gains per slot and channel, from the numbers of slots and channels in each."""
    return gains.repeat(slots, 0).repeat(channels, 3)


# Solution intervals.

TIME = {
    None: [12],
    1: [1] * 12,
    4: [4, 2, 4, 2],
    5: [5, 1, 5, 1],
    100: [6, 6],
    "30s": [3] * 4,
    "40s": [4, 2, 4, 2],
    "scan": [6, 6],
}
FREQ = {None: [4], 1: [1] * 4, 3: [3, 1], "2MHz": [2, 2], "all": [4]}


@pytest.mark.parametrize(
    ("time", "freq"),
    [*((t, None) for t in TIME), *((None, f) for f in FREQ if f), ("30s", "2MHz"), (4, 3), ("scan", 1), (1, 1)],
)
def test_solution_intervals(kit, time, freq):
    """12 slots of 10 s in two scans, 4 channels of 1 MHz: the ratio of sums in every interval; none crosses a scan."""
    o = kit.observe(times=(5e9, 12, 10.0), scans=2)
    rng = np.random.default_rng(5)
    weight = rng.uniform(0.5, 2, o.model.shape).astype(np.float32)
    flag = rng.uniform(size=o.model.shape) < 0.1
    kit.putcol(o.path, WEIGHT_SPECTRUM=weight, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    report = kit.linear(ms, (time, freq)).forest().run(ms, progress=False)
    table = report.tables.groups[0].parms[0]
    weight, data, model = np.where(flag, 0, weight), kit.getcol(o.path, "DATA"), o.model.astype(np.complex64)
    slots, channels = TIME[time], FREQ[freq]
    assert table.values.shape == (1, len(slots), len(channels), 1, 1)
    t, f = np.repeat(np.arange(len(slots)), slots)[o.slot], np.repeat(np.arange(len(channels)), channels)
    for i in range(len(slots)):
        for j in range(len(channels)):
            part = np.ix_(t == i, f == j)
            w, m, d = weight[part], model[part], data[part]
            power = (w * abs(m) ** 2).sum()
            value = (w * m.conj() * d).sum() / power
            assert table.values[0, i, j, 0, 0] == pytest.approx(value, rel=1e-6)
            assert table.errors[0, i, j, 0, 0] == pytest.approx(1 / np.sqrt(2 * power), rel=1e-5)
            summary = report.solvers[0]
            assert summary.chi2[i, j] == pytest.approx((2 * w * abs(d - value * m) ** 2).sum(), rel=1e-5)
            assert summary.dof[i, j] == 2 * (w > 0).sum() - 2
    begin = np.unique(kit.getcol(o.path, "TIME")) - 5
    last = np.cumsum(slots) - 1
    np.testing.assert_allclose(table.time, np.stack([begin[last + 1 - slots], begin[last] + 10], 1), rtol=0, atol=1e-5)
    assert (table.status == Status.CONVERGED).all() and report.converged


def test_mixed_solution_intervals(kit):
    """Two Parms with different intervals in one solve reach the chi-squared of linear least squares."""
    o = kit.observe(times=(5e9, 12, 10.0))
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    ns.a << Meq.Parm(1 + 0j, tags="x", solint=(4, None))
    ns.b << Meq.Parm(0j, tags="x", solint=(None, "2MHz"))
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA") + ns.b, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    report = ns.forest().run(ms, progress=False)
    data = kit.getcol(o.path, "DATA")
    design = np.zeros((*data.shape, 5), complex)
    row, chan = np.arange(len(data)), np.arange(4)
    design[row, ..., o.slot // 4] = o.model.astype(np.complex64)
    design[:, chan, :, 3 + chan // 2] = 1
    best = np.linalg.lstsq(design.reshape(-1, 5), data.ravel(), rcond=None)[1][0] * 2 / o.sigma**2
    ours = sum(s.chi2.sum() for s in report.solvers if "b" in s.component)
    assert best <= ours * (1 + 1e-6) and ours - best < 1e-3 * data.size
    assert report.converged


# Correlations, groups, rows that are missing.


@pytest.mark.parametrize(
    "corrs", ["linear", "circular", ("XX", "YY"), ("RR",), ("YY",), ("XX", "XY", "YY", "YX")], ids=str
)
def test_correlations(kit, corrs):
    o = kit.observe(corrs=corrs)
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms).forest().run(ms, progress=False)
    assert report.converged
    gains = np.ones((1, 5, 2, 1), complex)
    for table in report.tables.groups[0].parms:
        gains[0, :, "xy".index(table.label[1]), 0] = table.values[:, 0, 0, 0, 0]
    hands = sorted({kit.element(c)[0] for c in o.corrs})
    assert [t.label for t in report.tables.groups[0].parms] == [("gx", "gy")[i] for i in hands]
    result = kit.getcol(o.path, "CORRECTED_DATA")
    np.testing.assert_allclose(result, corrected(o, spread(gains, [6], [4])), rtol=1e-5)
    error = np.abs(gains[0, :, hands, 0]) - np.abs(o.gains[0][:, hands, 0].T)
    assert (
        np.abs(error).max() < 5 * o.sigma / np.sqrt(2 * 4 * 6 * 4) / 2
    )  # 4 baselines of each antenna, |model| about 2
    if len(hands) == 1:
        assert report.notes == [
            (
                f"field0/spw0 has correlations {o.corrs[0]} only: 5 Parms such as {'xy'[1 - hands[0]].join('g:')}ant00 "
                "are in no equation and keep their values"
            )
        ]


def test_several_windows_and_fields(raw_ms):
    """A mean per correlation in each field and spectral window; one of them has a single correlation."""
    rows = [(p, q, 10.0 * t, 1, t % 2, d) for t in range(6) for d in (0, 1) for p in range(3) for q in range(p + 1, 3)]
    path = raw_ms(rows, [(3, ("XX", "XY", "YX", "YY")), (5, ("YY",))])
    ms = rt.MeasurementSet(path)
    ns = rt.Scope()
    corners = [ns[f"m{i}"] << Meq.Parm(0j, tags="mean", solint=(2, None)) for i in range(4)]
    ns.mean << Meq.Matrix22(*corners)
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.mean, Meq.Spigot(p, q))
        ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q) - ns.mean, column="RESIDUAL")
    ns.solve << Meq.Solver(*ns.eq, solvable="mean")
    report = ns.forest().run(ms, progress=False)
    from casacore.tables import table

    with table(str(path), ack=False) as main:
        for group in report.tables.groups:
            window = int(group.spw)
            nchan, corrs = [(5, ("m3",)), (3, ("m0", "m1", "m2", "m3"))][window]
            own = [r for r, row in enumerate(rows) if f"3C{row[4]}" == group.field and 1 - row[5] == window]
            assert [t.label for t in group.parms] == list(corrs)
            for k, one in enumerate(group.parms):
                for interval, part in enumerate((own[:6], own[6:])):
                    mean = np.mean(part) + 1000 * (nchan - 1) / 2 + 1j * k
                    assert one.values[0, interval, 0, 0, 0] == pytest.approx(mean, rel=1e-6)
                    for r in part:
                        residual = main.getcell("DATA", r)[:, k] - mean
                        np.testing.assert_allclose(main.getcell("RESIDUAL", r)[:, k], residual, atol=1e-3)
    assert len(report.tables.groups) == 4


def best_gains(o, path, kit, rows):
    """scipy's solution (antenna, 2) for one interval: all rows given, slots as they are."""
    data, model, flag = (kit.getcol(path, name) for name in ("DATA", "MODEL_DATA", "FLAG"))

    def residual(x):
        g = (x[:10] + 1j * x[10:]).reshape(5, 2)
        r = np.concatenate([
            ((data[..., k] - g[o.p[rows], i][:, None] * model[..., k] * g[o.q[rows], j].conj()[:, None]) * ~flag[..., k]).ravel()
            for k, (i, j) in enumerate(map(kit.element, o.corrs))
        ])  # fmt: skip
        return np.concatenate([r.real, r.imag]) * np.sqrt(2) / o.sigma

    found = least_squares(residual, np.repeat([1.0, 0.0], 10), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    return (found.x[:10] + 1j * found.x[10:]).reshape(5, 2), 2 * found.cost


def test_missing_baselines_and_irregular_slots(kit):
    """Rows and whole baselines missing, slots of different spacing: scipy's minimum, and rows where they belong."""
    o = kit.observe(times=(5e9, 7, 10.0), antennas=5)
    gone = (o.p == 1) & (o.q == 3) | (o.slot == 2) & (o.p == 0) | (o.slot == 5) & (o.q != 4)
    rows = np.flatnonzero(~gone)
    path = kit.keep_rows(o.path, rows, "fewer.ms")
    time = kit.getcol(path, "TIME")
    kit.putcol(path, TIME=time + np.array([0, 0, 3, 20, 21, 100, 1000])[o.slot[rows]])
    ms = rt.MeasurementSet(path)
    report = kit.diagonal(ms).forest().run(ms, progress=False)
    gains, chi2 = best_gains(o, path, kit, rows)
    ours = kit.solved(report)[0, ..., 0]
    np.testing.assert_allclose(np.outer(ours, ours.conj()), np.outer(gains, gains.conj()), atol=1e-5)
    assert report.solvers[0].chi2[0, 0] == pytest.approx(chi2, rel=1e-6)
    assert report.solvers[0].dof[0, 0] == rows.size * 32 - 20 + 1
    whole = corrected(o, spread(ours[None, :, :, None], [7], [4]))[rows]
    np.testing.assert_allclose(kit.getcol(path, "CORRECTED_DATA"), whole, rtol=1e-5)


def test_sinks_of_some_baselines_leave_the_others_alone(kit):
    o = kit.observe()
    before = (o.model + 1).astype(np.complex64)
    kit.putcol(o.path, CORRECTED_DATA=before)
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    ns.out << Meq.Sink(Meq.Spigot("ant01", "ant03") * 2)
    ns.forest().run(ms, progress=False)
    own = (o.p == 1) & (o.q == 3)
    after = kit.getcol(o.path, "CORRECTED_DATA")
    np.testing.assert_array_equal(after[~own], before[~own])
    np.testing.assert_allclose(after[own], 2 * kit.getcol(o.path, "DATA")[own], rtol=1e-6)


def test_antennas_by_number(kit):
    """Numbers are those of the ANTENNA table, whatever is selected."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path, antennas=["ant01", "ant03", "ant04"])
    ns = rt.Scope()
    ns.out << Meq.Sink(Meq.Spigot(1, 3), column="COPY")
    ns.forest().run(ms, progress=False)
    own = (o.p == 1) & (o.q == 3)
    np.testing.assert_array_equal(kit.getcol(o.path, "COPY")[own], kit.getcol(o.path, "DATA")[own])
    assert not kit.getcol(o.path, "COPY")[~own].any()


def test_two_solvers_share_families(kit):
    """Each Solver uses its own equations and fits its own Parms, though all are alike."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    ns.a << Meq.Parm(1 + 0j)
    ns.b << Meq.Parm(1 + 0j)
    ns.c << Meq.Parm(1 + 0j)
    halves = {"a": ms.baselines[:5], "b": ms.baselines[5:]}
    for parm, pairs in ((ns.a, halves["a"]), (ns.b, halves["b"])):
        equations = [
            Meq.Condeq(parm * ns.c * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q)) for p, q in pairs
        ]
        ns.solve(str(parm)) << Meq.Solver(*equations, solvable=str(parm))
    report = ns.forest().run(ms, progress=False)
    values = {t.label: t.values.item() for t in report.tables.groups[0].parms}
    assert sorted(values) == ["a", "b"]  # c was not asked for
    model, data = o.model.astype(np.complex64), kit.getcol(o.path, "DATA")
    for name, pairs in halves.items():
        own = np.array([(f"ant{p:02}", f"ant{q:02}") in pairs for p, q in zip(o.p, o.q, strict=True)])
        m, d = model[own], data[own]
        assert values[name] == pytest.approx((m.conj() * d).sum() / (abs(m) ** 2).sum(), rel=1e-6)


# Tiles.


@pytest.mark.parametrize("solint", [(None, None), (3, None), (1, 1), ("scan", 2)], ids=str)
def test_tiles_do_not_change_the_answer(kit, solint):
    """Tiles of one or two slots, the last shorter, intervals within and beyond a tile: what one tile gives, to rounding."""
    o = kit.observe(times=(5e9, 11, 10.0), scans=2)
    ms = rt.MeasurementSet(o.path)
    forest = kit.diagonal(ms, solint).forest()
    whole = forest.run(ms, progress=False)
    column = kit.getcol(o.path, "CORRECTED_DATA")
    slot = ms.groups[0].bytes_per_slot(["DATA", "MODEL_DATA", "CORRECTED_DATA"])
    tiled = forest.run(ms, progress=False, memory=2.5 * 3 * slot)
    assert "tiles of up to" in tiled.plan and "1 tile of up to 11 slots" in whole.plan
    np.testing.assert_allclose(kit.solved(tiled), kit.solved(whole), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(kit.getcol(o.path, "CORRECTED_DATA"), column, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tiled.solvers[0].dof, whole.solvers[0].dof)


# Noise.


def test_chi_squared_and_errors_on_noise(kit):
    """300 independent intervals: chi2/dof is 1, and true gains lie within the errors given as often as they should."""
    o = kit.observe(times=(5e9, 300, 10.0), antennas=5, noise=0.2)
    rng = np.random.default_rng(11)
    factor = rng.uniform(0.5, 2, o.model.shape)  # noise that differs from datum to datum, and weights that say so
    clean = kit.getcol(o.path, "DATA") * 0
    for k, (i, j) in enumerate(map(kit.element, o.corrs)):
        clean[..., k] = o.gains[o.slot, o.p, i] * o.model[..., k] * o.gains[o.slot, o.q, j].conj()
    noise = kit.getcol(o.path, "DATA") - clean
    kit.putcol(o.path, DATA=clean + noise * factor, WEIGHT_SPECTRUM=(1 / (o.sigma * factor) ** 2).astype(np.float32))
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms, (1, None), sink=False).forest().run(ms, progress=False)
    summary = report.solvers[0]
    dof = summary.dof.sum()
    assert dof == 300 * (10 * 4 * 4 * 2 - 20 + 1)
    assert abs(summary.chi2.sum() / dof - 1) < 4 * np.sqrt(2 / dof)
    tables = {t.label: t for t in report.tables.groups[0].parms}
    errors = np.stack([tables[g].errors[..., 0, 0] for g in ("gx", "gy")]).transpose(2, 1, 0, 3)
    found, truth = kit.solved(report), o.gains[..., :1]
    phase = (found.conj() * truth).sum((1, 2), keepdims=True)
    pull = (found * phase / abs(phase) - truth) / errors
    pull = np.concatenate([pull.real.ravel(), pull.imag.ravel()])
    assert abs(pull.mean()) < 0.1 and abs(pull.std() - 1) < 0.05
    assert 0.6 < (abs(pull) < 1).mean() < 0.76 and abs(pull).max() < 6


def test_residuals_far_above_the_noise_are_spoken_of(kit):
    """A source that the model lacks, 5 times the noise per visibility: converged, and the report says by how much it is off."""
    o = kit.observe(noise=0.1)
    ms = rt.MeasurementSet(o.path)
    assert "weights promise" not in str(kit.diagonal(ms).forest().run(ms, progress=False))
    rng = np.random.default_rng(5)
    other = 0.5 * np.exp(2j * np.pi * rng.random(o.model.shape))
    kit.putcol(o.path, DATA=kit.getcol(o.path, "DATA") + other.astype(np.complex64))
    report = kit.diagonal(ms).forest().run(ms, progress=False)
    assert report.converged
    (line,) = [line for line in str(report).splitlines() if "weights promise" in line]
    times = float(line.split("up to ")[1].split(" times")[0])
    assert abs(times / np.sqrt(1 + 0.25 / 0.01) - 1) < 0.1


def test_weights_far_too_small_are_spoken_of(kit):
    """A hundredth in sigma of what they are: the report says by how much; data without noise say nothing of weights."""
    o = kit.observe(noise=0.1)
    ms = rt.MeasurementSet(o.path)
    kit.putcol(o.path, WEIGHT_SPECTRUM=1e-4 * kit.getcol(o.path, "WEIGHT_SPECTRUM"))
    report = str(kit.diagonal(ms).forest().run(ms, progress=False))
    (line,) = [line for line in report.splitlines() if "weights promise" in line]
    assert abs(float(line.split("at most ")[1].split(" times")[0]) / 0.01 - 1) < 0.1
    kit.putcol(o.path, DATA=kit.getcol(o.path, "MODEL_DATA"))
    assert "weights promise" not in str(kit.diagonal(ms).forest().run(ms, progress=False))


@pytest.mark.parametrize(("solint", "plan"), [((1, None), "1 tile of"), ((9, None), "3 tiles of")])
def test_rows_without_model_count_as_flagged_ones(kit, monkeypatch, solint, plan):
    """Found empty while sums follow the reading, of one tile or of several: what was summed by then is forgotten."""
    from casacore.tables import makearrcoldesc, maketabdesc, table

    from rimetree.batch import tiling
    from rimetree.io import filling

    monkeypatch.setattr(filling, "CHUNK_BYTES", 2000)
    if plan != "1 tile of":
        monkeypatch.setattr(tiling, "COMFORT", 10 * 8 * 4 * (8 + 8 + 4 + 1) * 1.6)
    o = kit.observe(times=(5e9, 9, 10.0), antennas=5)
    gone = np.array([17, 18, 60, 89])
    flags = kit.getcol(o.path, "FLAG")
    flagged, model = flags.copy(), kit.getcol(o.path, "MODEL_DATA")
    flagged[gone] = True
    kit.putcol(o.path, FLAG=flagged)
    ms = rt.MeasurementSet(o.path)
    expected = kit.diagonal(ms, solint).forest().run(ms, progress=False)
    ms.close()
    kit.putcol(o.path, FLAG=flags)
    with table(str(o.path), readonly=False, ack=False) as main:
        main.removecols(["MODEL_DATA"])
        main.addcols(maketabdesc(makearrcoldesc("MODEL_DATA", 0j, ndim=2, valuetype="complex")))
        for row in np.setdiff1d(np.arange(len(model)), gone):
            main.putcell("MODEL_DATA", int(row), model[row])
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms, solint).forest().run(ms, progress=False)
    assert plan in report.plan and plan in expected.plan
    np.testing.assert_allclose(kit.solved(report), kit.solved(expected), rtol=1e-9)
    np.testing.assert_array_equal(report.solvers[0].dof, expected.solvers[0].dof)
    np.testing.assert_allclose(report.solvers[0].chi2, expected.solvers[0].chi2, rtol=1e-9)
