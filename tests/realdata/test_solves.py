"""Solves on real data, through the public API, against least squares written out in numpy and scipy."""

from __future__ import annotations

import runpy
from pathlib import Path

import networkx as nx
import numpy as np
from casacore.tables import table
from scipy.optimize import least_squares

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

EXAMPLES = Path(__file__).parents[2] / "examples"


def define(ms, model, full=False, solint=(1, None), known=()):
    """DATA = J_p model J_q^H; `model` is a column or a function that makes a node; residuals go to LEFT.

    The gains of the antennas `known` are 1.
    """
    ns = rt.Scope()
    for p in ms.antennas:
        for name in ("xx", "xy", "yx", "yy") if full else ("xx", "yy"):
            ns[name](p) << Meq.Parm(complex(name[0] == name[1]), tags="" if p in known else "gain", solint=solint)
        ns.J(p) << Meq.Matrix22(ns.xx(p), ns.xy(p) if full else 0, ns.yx(p) if full else 0, ns.yy(p))
    for p, q in ms.baselines:
        sky = Meq.Spigot(p, q, column=model) if isinstance(model, str) else model()
        ns.model(p, q) << Meq.MatrixMultiply(ns.J(p), sky, Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(ns.model(p, q), Meq.Spigot(p, q, column="DATA"))
        ns.left(p, q) << Meq.Sink(Meq.Spigot(p, q, column="DATA") - ns.model(p, q), column="LEFT")
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns.forest()


def run(path, model, **options):
    with rt.MeasurementSet(path) as ms:
        return define(ms, model, **options).run(ms, progress=False)


def linear():
    return Meq.PointSource(1, 0, 0, 0)


def circular():
    return Meq.PointSource(1, 0, 0, 0, basis="circular")


def columns(path, *names):
    """Whole columns as casacore gives them, and what is good: unflagged cross-correlations with data."""
    with table(str(path), ack=False) as main:
        flags = main.getcol("FLAG") | main.getcol("FLAG_ROW")[:, None, None]
        cross = main.getcol("ANTENNA1") != main.getcol("ANTENNA2")
        values = [main.getcol(name) for name in names]
    good = ~flags & cross[:, None, None] & np.isfinite(values[0])
    assert all(np.isfinite(v[cross]).all() for v in values[1:])
    return [*values, good]


def power_left(path, hands=slice(None)):
    """Fraction of the power of DATA that is in LEFT, where it was solved."""
    data, left, good = columns(path, "DATA", "LEFT")
    data, left, good = (a[..., hands] for a in (data, left, good & (left != 0)))
    return (np.abs(left[good]) ** 2).sum() / (np.abs(data[good]) ** 2).sum()


def squares(path, slot, model):
    """(antennas, antennas, channels, 2, 2) matrices of one slot: weights (0 where bad), data, model."""
    with table(str(path), ack=False) as main:
        time = main.getcol("TIME")
        rows = np.flatnonzero((time == np.unique(time)[slot]) & (main.getcol("ANTENNA1") != main.getcol("ANTENNA2")))
        p, q = main.getcol("ANTENNA1")[rows], main.getcol("ANTENNA2")[rows]
        raw = [main.getcol(name)[rows] for name in ("DATA", model)]
        weight = main.getcol("WEIGHT_SPECTRUM")[rows] * ~main.getcol("FLAG")[rows]
    n = max(p.max(), q.max()) + 1
    result = []
    for values in (weight, *raw):
        cube = np.zeros((n, n, values.shape[1], 2, 2), values.dtype.char)
        square = values.reshape(*values.shape[:2], 2, 2)
        cube[p, q], cube[q, p] = square, square.conj().swapaxes(-1, -2)
        result.append(cube.astype(complex) if np.iscomplexobj(cube) else cube.astype(float))
    return result


def stefcal(weight, data, model, steps=300):
    """Diagonal gains (antennas, 2) and chi2: each in turn by linear least squares (Salvini & Wijnholds 2014)."""
    gains = np.full((len(data), 2), np.sqrt(np.abs(data).max() / np.abs(model).max()), complex)
    for step in range(steps):
        z = model * gains.conj()[None, :, None, None, :]
        top = (weight * data * z.conj()).sum((1, 2, 4))
        bottom = (weight * np.abs(z) ** 2).sum((1, 2, 4))
        new = top / np.maximum(bottom, 1e-300)
        gains = new if step % 2 == 0 else (new + gains) / 2
    left = data - gains[:, None, None, :, None] * model * gains.conj()[None, :, None, None, :]
    return gains, float((weight * np.abs(left) ** 2).sum())  # both p,q and q,p: 2 w |r|^2 per baseline


def gains_of(report, label="J", group=0):
    """(antennas, time, 2) diagonal elements of the first channel, NaN where there is no solution."""
    (jones,) = (j for j in report.tables.groups[group].jones if j.label == label)
    diagonal = np.einsum("atii->ati", jones.jones[:, 0])
    return np.where(jones.flags[:, 0, :, None], np.nan, diagonal)


def agree(ours, theirs, within):
    """The same gains apart from one phase of all of them."""
    good = np.isfinite(ours) & (theirs != 0)
    turn = np.vdot(ours[good], theirs[good])
    assert good.any()
    np.testing.assert_allclose(ours[good] * turn / abs(turn), theirs[good], atol=within * np.abs(theirs[good]).max())


def test_lofar_61_stations_diagonal(real):
    path = real("lofar_61st_corrected")
    report = run(path, "CORRECTED_DATA")
    assert report.converged
    assert power_left(path) <= 0.06
    for slot in range(2):
        gains, chi2 = stefcal(*squares(path, slot, "CORRECTED_DATA"))
        np.testing.assert_allclose(report.solvers[0].chi2[slot, 0], chi2, rtol=1e-4)
        agree(gains_of(report)[:, slot], gains, 1e-3)


def test_lofar_61_stations_full(real):
    """CORRECTED_DATA was made by one full Jones per station, so that nothing but rounding to float32 is left."""
    path = real("lofar_61st_corrected")
    report = run(path, "CORRECTED_DATA", full=True)
    assert report.converged
    assert power_left(path) < 1e-12
    jones = report.tables.groups[0].jones[0].jones[:, 0]
    _, data, model = squares(path, 0, "CORRECTED_DATA")
    inverse = np.linalg.inv(jones[:, 0])
    corrected = np.einsum("pij,pqcjk,qlk->pqcil", inverse, data, inverse.conj())
    np.testing.assert_allclose(corrected, model, atol=1e-5 * np.abs(model).max())


def test_lofar_hba_diagonal_against_scipy(real):
    path = real("lofar_hba_generic")
    report = run(path, "CORRECTED_DATA")
    assert report.converged
    weight, data, model = squares(path, 0, "CORRECTED_DATA")
    scale = np.abs(data).max()

    def residuals(x):
        g = x.view(complex).reshape(len(data), 2) * np.sqrt(scale / np.abs(model).max())
        left = np.sqrt(weight) * (data - g[:, None, None, :, None] * model * g.conj()[None, :, None, None, :])
        return left.ravel().view(float) / np.sqrt(weight.max()) / scale

    start, _ = stefcal(weight, data, model, steps=10)  # from 1, scipy falls into a side minimum
    found = least_squares(residuals, (start / np.sqrt(scale / np.abs(model).max())).ravel().view(float), xtol=1e-12)
    gains = found.x.view(complex).reshape(len(data), 2) * np.sqrt(scale / np.abs(model).max())
    gains[weight.sum((1, 2, 3, 4)) == 0] = 0
    agree(gains_of(report)[:, 0], gains, 1e-4)
    np.testing.assert_allclose(report.solvers[0].chi2[0, 0], 2 * found.cost * weight.max() * scale**2, rtol=1e-5)


def test_lofar_hba_full_beats_diagonal_and_a_dead_station_is_said(real):
    path = real("lofar_hba_generic")
    run(path, "CORRECTED_DATA")
    diagonal = power_left(path)
    report = run(path, "CORRECTED_DATA", full=True, solint=(1, 1))
    assert power_left(path) < 1e-12 < 0.02 < diagonal < 0.03
    (table_,) = (t for t in report.tables.groups[0].parms if t.label == "xx")
    dead = table_.names.index("xx:RS307HBA")
    assert (table_.status[dead] == Status.NO_DATA).all()
    assert (np.delete(table_.status, dead, 0) == Status.CONVERGED).all()
    assert report.invalid == 7 * 6 * 8 * 4


def test_lofar_sky_model_predicts_as_dp3_does(real, monkeypatch):
    """The BBS sky model as a tree, on the UVW of the file; DP3 turns Gaussians a little differently (0.13 %)."""
    monkeypatch.syspath_prepend(EXAMPLES)
    path = real("lofar_hba_generic")
    script = runpy.run_path(str(EXAMPLES / "lofar.py"))
    script["predict"](path.parent, path)
    with table(str(path), ack=False) as ours, table(str(path.parent / "tPredict.tab"), ack=False) as theirs:
        cross = ours.getcol("ANTENNA1") != ours.getcol("ANTENNA2")
        model, reference = ours.getcol("MODEL_DATA")[cross], theirs.getcol("PREDICT_nobeam")[cross]
    assert np.linalg.norm(model - reference) < 2e-3 * np.linalg.norm(reference)


def test_wsrt_point_source(real):
    """Three antennas against two: their amplitudes can be traded, until one gain is given.

    3C343.1 dominates; 3C343, which is not in the model, leaves a few percent of the power.
    """
    path = real("wsrt_3c343")
    traded = run(path, linear)
    assert [s.counts() for s in traded.solvers] == ["18 singular", "18 singular"]  # XX and YY are independent
    report = run(path, linear, known=["RT0"])
    assert report.converged
    assert 0.03 < power_left(path, hands=[0, 3]) < 0.07


def test_askap_weight_and_sigma_disagree(real):
    """WEIGHT is 1 and SIGMA 0.25. WEIGHT is taken, and the scatter of the data says that it is right."""
    path = real("askap_vela60")
    with rt.MeasurementSet(path) as ms:
        assert ms.read(ms.groups[0], slice(0, 1)).weight_source == "WEIGHT"
    report = run(path, linear)
    left, good = columns(path, "LEFT")
    with table(str(path), ack=False) as main:
        first = main.getcol("TIME") == main.getcol("TIME").min()
    for hand, solver in zip((0, 3), report.solvers, strict=True):
        picked = left[first, :, hand][good[first, :, hand]]
        np.testing.assert_allclose(solver.chi2[0, 0], 2 * (np.abs(picked) ** 2).sum(dtype=float), rtol=1e-4)
        assert solver.counts() == "26 converged, 3 no data"
        assert 0.8 < solver.chi2_per_dof() < 1.0


def test_vla_circular_feeds_on_an_irregular_grid(real):
    """Every slot has baselines of its own; where they have no odd cycle, amplitudes can be traded, and that is said."""
    path = real("vla_tdem0003")
    report = run(path, circular)
    data, left, _ = columns(path, "DATA", "LEFT")
    with rt.MeasurementSet(path) as ms:
        tile = ms.read(ms.groups[0])
        ends = np.array([[ms.antennas.index(name) for name in pair] for pair in ms.baselines])
    gains = gains_of(report)
    for slot in range(15):
        here = tile.rows[:, slot] >= 0
        rows, (p, q) = tile.ms_rows[tile.rows[here, slot]], ends[here].T
        for hand, corr, solver in ((0, 0, report.solvers[0]), (1, 3, report.solvers[1])):
            good = (tile.flags[tile.rows[here, slot], :, corr] == 0).any(1)
            net = nx.Graph(zip(p[good], q[good], strict=True))
            free = any(nx.is_bipartite(net.subgraph(part)) for part in nx.connected_components(net))
            expected_status = {Status.SINGULAR} if free else {Status.CONVERGED, Status.LOW_SNR}
            assert Status(solver.status[slot, 0]) in expected_status
            model = gains[p, slot, hand] * gains[q, slot, hand].conj()
            expected = np.where(np.isfinite(model)[:, None], data[rows][:, :, corr] - model[:, None], 0)
            np.testing.assert_allclose(left[rows][:, :, corr], expected, atol=1e-6 * np.abs(data).max())


def test_alma_several_spectral_windows_and_an_empty_field(real):
    path = real("alma_mssel_small")
    report = run(path, linear)
    groups = {(g.field, g.spw): g for g in report.tables.groups}
    assert set(groups) == {(f, s) for f in ("J1617-7717", "J1423-7829") for s in ("1", "2")}
    for (field, _), group in groups.items():
        for solver in group.solvers:
            assert (solver.status == Status.NO_DATA).all() == (field == "J1617-7717")
            fitted = np.isin(solver.status, (Status.CONVERGED, Status.LOW_SNR)).sum()
            assert fitted >= (0 if field == "J1617-7717" else 13)
    assert all((s.status == Status.CONVERGED).sum() == 15 for s in groups["J1423-7829", "2"].solvers)
    with table(str(path), ack=False) as main:
        for row in range(0, main.nrows(), 50):
            assert not main.iscelldefined("LEFT", row) or np.isfinite(main.getcell("LEFT", row)).all()


def test_alma_one_baseline_is_not_solved(real):
    """One product of two gains does not tell their amplitudes: the report says so, and 0 is written."""
    path = real("alma_two_antennas")
    report = run(path, linear)
    assert not report.converged
    assert "singular: the data do not constrain the parameters" in str(report)
    assert all((s.status == Status.SINGULAR).all() for s in report.solvers)
    left, _ = columns(path, "LEFT")
    assert (left == 0).all()


def test_ovro_order_of_correlations_is_read(real):
    """The file has XX YY XY YX; a polarised source lands where POLARIZATION says."""
    path = real("ovro_lwa_20ant")
    with rt.MeasurementSet(path) as ms:
        ns = rt.Scope()
        for p, q in ms.baselines:
            ns.out(p, q) << Meq.Sink(Meq.PointSource(1, 0.25, 0.125, 0.0625), p, q, column="MODEL_DATA")
        ns.forest().run(ms, progress=False)
    with table(str(path), ack=False) as main, table(str(path / "POLARIZATION"), ack=False) as polarization:
        values = main.getcol("MODEL_DATA")[main.getcol("ANTENNA1") != main.getcol("ANTENNA2")]
        kinds = list(polarization.getcell("CORR_TYPE", 0))
    assert kinds == [9, 12, 10, 11]
    np.testing.assert_array_equal(values, np.broadcast_to([1.25, 0.75, 0.125 + 0.0625j, 0.125 - 0.0625j], values.shape))


def test_ovro_gains_of_both_hands(real):
    path = real("ovro_lwa_20ant")
    report = run(path, linear, solint=(None, None))
    assert report.converged
    data, left, good = columns(path, "DATA", "LEFT")
    with table(str(path), ack=False) as main:
        p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
    gains = gains_of(report)[:, 0]
    cross = p != q
    for hand in range(2):  # XX, then YY
        model = (gains[p[cross], hand] * gains[q[cross], hand].conj())[:, None]  # NaN where a gain is lost in the noise
        expected = np.where(np.isfinite(model), data[cross, :, hand] - model, 0)
        np.testing.assert_allclose(left[cross, :, hand], expected, atol=1e-5 * np.abs(data[cross]).max())
    kept = np.isfinite(gains).all(1)
    assert kept.mean() >= 0.9
    whole = cross & kept[p] & kept[q]
    np.testing.assert_array_equal(left[whole][..., 2:], data[whole][..., 2:])
    assert good[cross].any()


def redundant(ms, groups, start, reference):
    """V_pq = g_p v_group g_q^*: gains and the visibility of each group of equal baselines, per slot and channel."""
    ns = rt.Scope()
    tile = ms.read(ms.groups[0])
    middle = [a // 2 for a in (ms.groups[0].time.size, ms.groups[0].freq.size)]
    free = {"tags": "free", "solint": (1, 1)}
    for p in ms.antennas:
        for name, value in zip("xy", start[p], strict=True):
            ns["g" + name](p) << Meq.Parm(value, **({} if p == reference else free))
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for number, group in enumerate(groups):
        calibrated = [
            tile.columns["DATA"][tile.rows[b, middle[0]], middle[1]] / (start[p] * start[q].conj())
            for b, (p, q) in ((b, ms.baselines[b]) for b in group)
        ]
        for name, value in zip("xy", np.mean(calibrated, 0), strict=True):
            ns["v" + name](number) << Meq.Parm(complex(value), **free)
        for p, q in (ms.baselines[b] for b in group):
            sky = Meq.Matrix22(ns.vx(number), 0, 0, ns.vy(number))
            ns.model(p, q) << Meq.MatrixMultiply(ns.G(p), sky, Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(ns.model(p, q), Meq.Spigot(p, q))
            inverse = Meq.MatrixInvert22(ns.G(p)), Meq.ConjTranspose(Meq.MatrixInvert22(ns.G(q)))
            ns.out(p, q) << Meq.Sink(Meq.MatrixMultiply(inverse[0], Meq.Spigot(p, q), inverse[1]))
    ns.solve << Meq.Solver(*ns.eq, solvable="free")
    return ns.forest()


def test_hera_redundant_baselines(real):
    """No sky model: equal baselines must see the same. omnical's gains of one slot and channel are the start."""
    path = real("hera_45361_redundant")
    with np.load(path.parent / "hera_45361_omnical_gains.npz") as file:
        omnical = file["gain"].conj()  # its visibilities are the conjugates of those in the Measurement Set
    names = ["HH0", "HH1", "HH11", "HH12", "HH13", "HH23", "HH24", "HH25"]
    start = dict(zip(names, omnical[:, 39, 5], strict=True))
    with rt.MeasurementSet(path, antennas=names[1:], channels="36~42") as ms:  # omnical flags HH0
        tile = ms.read(ms.groups[0], uvw=True)
        vectors = tile.uvw[:, 0]
        groups = {}
        for b, vector in enumerate(vectors):
            key = next((k for k in groups if np.linalg.norm(vectors[k] - vector) < 1), b)
            groups.setdefault(key, []).append(b)
        assert sorted(map(len, groups.values())) == [1, 1, 1, 1, 1, 2, 3, 3, 4, 4]
        report = redundant(ms, list(groups.values()), start, "HH12").run(ms, progress=False)
    assert report.converged
    # One phase gradient over the array in each direction stays free; the reference antenna fixes phase and scale.
    assert all((s.rank == s.unknowns - 2).mean() > 0.9 for s in report.solvers)
    with rt.MeasurementSet(path, antennas=names[1:], channels="36~42") as ms:
        tile = ms.read(ms.groups[0], columns=("DATA", "CORRECTED_DATA"))
        data, ours = tile.columns["DATA"], tile.columns["CORRECTED_DATA"]
        theirs = data.copy()
        for b, (p, q) in enumerate(ms.baselines):
            product = omnical[names.index(p), 36:43] * omnical[names.index(q), 36:43].conj()
            theirs[tile.rows[b]] /= product.swapaxes(0, 1)

    def scatter(values):
        cubes = [values[tile.rows[g]] for g in groups.values() if len(g) > 1]
        return np.sqrt(
            sum((np.abs(c - c.mean(0)) ** 2).sum() for c in cubes) / sum((np.abs(c) ** 2).sum() for c in cubes)
        )

    assert scatter(data) > 0.8
    assert scatter(ours) < 0.15 < scatter(theirs) < 0.4
