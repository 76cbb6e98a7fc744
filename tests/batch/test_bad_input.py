"""Everything a user can get wrong when a forest is run: one clear message before anything is written, or a true report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """An observation that nothing may be written to: (its path, the Measurement Set)."""
    import runpy

    observed = runpy.run_path(str(CONFTEST))["observe"](tmp_path_factory.mktemp("seen") / "seen.ms")
    return rt.MeasurementSet(observed.path)


def snapshot(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*") if file.name != "table.lock"}


# What is wrong with the forest.


def cycle(ns, ms):
    ns.a << Meq.Sin(ns.b)
    ns.b << Meq.Cos(ns.a)


def undefined(ns, ms):
    ns.x << Meq.Sink(Meq.MatrixMultiply(ns.GG("ant00"), Meq.Spigot("ant00", "ant01")), column="X")


def duplicate(ns, ms):
    ns.gx("ant00") << Meq.Parm(2 + 0j)


def misspelt_class(ns, ms):
    ns.x << Meq.Matrix23(1, 2, 3, 4)


def product_of_vector(ns, ms):
    uvw = Meq.Spigot("ant00", "ant01", column="UVW")
    ns.x << Meq.Sink(Meq.MatrixMultiply(Meq.Spigot("ant00", "ant01"), uvw), column="X")


def equation_of_unlike_shapes(ns, ms):
    vector = Meq.Spigot("ant00", "ant01", column="UVW") * ns.gx("ant00")
    ns.bad << Meq.Condeq(vector, Meq.Spigot("ant00", "ant01"))
    ns.solve2 << Meq.Solver(ns.bad, solvable="gain")


def sink_of_vector(ns, ms):
    ns.x << Meq.Sink(Meq.Spigot("ant00", "ant01", column="UVW"), column="X")


def spigot_elsewhere(ns, ms):
    ns.x << Meq.Sink(Meq.Spigot("ant00", "ant1"), column="X")


def spigot_reversed(ns, ms):
    ns.x << Meq.Sink(Meq.Spigot("ant02", "ant01"), column="X")


def sink_of_two_baselines(ns, ms):
    ns.x << Meq.Sink(Meq.Spigot("ant00", "ant01") + Meq.Spigot("ant00", "ant02"), column="X")


def sink_of_none(ns, ms):
    ns.x << Meq.Sink(Meq.Matrix22(1, 2, 3, 4), column="X")


def sink_elsewhere(ns, ms):
    ns.x << Meq.Sink(Meq.Matrix22(1, 2, 3, 4), "ant00", "ant09", column="X")


def sink_twice(ns, ms):
    ns.x << Meq.Sink(Meq.Spigot("ant00", "ant01") * 2)


FOREST = {
    cycle: r"^a \(.*test_bad_input.py:\d+\): needs itself: a -> b -> a$",
    undefined: r"^GG:ant00 \(.*:\d+\): used here but never defined \(did you mean 'G:ant00'\?\)$",
    duplicate: r"^gx:ant00 \(.*test_bad_input.py:\d+\): defined here, but already defined differently at .*conftest.py:\d+$",
    misspelt_class: r"^x \(.*:\d+\): there is no node class 'Matrix23' \(did you mean 'Matrix22'\?\)$",
    product_of_vector: r"\(MatrixMultiply\) \(.*test_bad_input.py:\d+\): a \(2,2\) tensor and a \(3,\) tensor cannot be multi",
    equation_of_unlike_shapes: r"^bad \(Condeq\) \(.*:\d+\): a \(2,2\) tensor and a \(3,\) tensor cannot be equated$",
    sink_of_vector: r"^x \(Sink\) \(.*:\d+\): writes a \(2,2\) tensor or a scalar, not one of dims \(3,\); compose a matrix first$",
    spigot_elsewhere: r"^Spigot\(ant00, ant1\) \(.*:\d+\): baseline ant00-ant1 is not in the data \(did you mean 'ant00-ant\d\d'\?\)$",
    spigot_reversed: r"it is stored as ant01-ant02: take Meq.ConjTranspose\(Meq.Spigot\('ant01', 'ant02'\)\)$",
    sink_of_two_baselines: r"^x \(.*:\d+\): cannot tell its baseline: give p and q",
    sink_of_none: r"^x \(.*:\d+\): cannot tell its baseline: give p and q",
    sink_elsewhere: r"^x \(.*:\d+\): baseline ant00-ant09 is not in the data",
    sink_twice: r"writes CORRECTED_DATA on the same baseline as \S+; keep one of them, or write another column$",
}


@pytest.mark.parametrize(("fault", "message"), FOREST.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_wrong_forests(kit, seen, fault: Callable, message: str):
    before = snapshot(seen.path)
    ns = kit.diagonal(seen)
    fault(ns, seen)
    with pytest.raises(rt.ForestError, match=message):
        ns.forest().run(seen, progress=False)
    assert snapshot(seen.path) == before


def test_nothing_to_do(seen):
    ns = rt.Scope()
    ns.a << Meq.Spigot("ant00", "ant01")
    with pytest.raises(rt.ForestError, match="has neither a Solver nor a Sink: there is nothing to run"):
        ns.forest().run(seen)


# What is wrong with the solve.


@pytest.mark.parametrize("where", ["nowhere", "in a sink", "among the others"])
def test_parm_without_equation(kit, seen, where):
    ns = kit.diagonal(seen)
    name = "gx:ant99" if where == "among the others" else "lonely"
    lonely = ns.gx("ant99") if where == "among the others" else ns.lonely
    lonely << Meq.Parm(1 + 0j, tags="gain")
    if where != "nowhere":
        ns.x << Meq.Sink(lonely * Meq.Spigot("ant00", "ant01"), column="X")
    message = f"^solve: Parm {name} is solvable \\('gain'\\) but no equation depends on it; remove it or its tag$"
    with pytest.raises(rt.SolveError, match=message):
        ns.forest().run(seen, progress=False)


def test_parm_that_is_multiplied_away(seen):
    """It is below an equation, but a zero makes it vanish."""
    ns = rt.Scope()
    ns.a << Meq.Parm(1 + 0j, tags="x")
    ns.b << Meq.Parm(1 + 0j, tags="x")
    for p, q in seen.baselines:
        ns.eq(p, q) << Meq.Condeq(Meq.Matrix22(ns.a, 0, 0, ns.b * 0), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    with pytest.raises(rt.SolveError, match="^Parm b is solvable but drops out of every equation, multiplied by 0"):
        ns.forest().run(seen, progress=False)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gian", r"^solve2: solvable='gian' matches no tag or name of a Parm \(did you mean 'gain'\?\)$"),
        ("bandpass", r"^solve2: solvable='bandpass' matches no tag or name of a Parm$"),
        ("other", r"^solve2: its equations depend on no Parm that matches solvable='other'; tag one, or name it$"),
    ],
)
def test_solvable_that_matches_nothing(kit, seen, word, message):
    ns = kit.diagonal(seen)
    ns.o << Meq.Parm(1.0, tags="other")
    ns.e << Meq.Condeq(ns.o, 1.0)
    ns.solve3 << Meq.Solver(ns.e, solvable="other")
    ns.solve2 << Meq.Solver(*ns.eq, solvable=word)
    with pytest.raises(rt.SolveError, match=message):
        ns.forest().run(seen, progress=False)


@pytest.mark.parametrize("antennas", [2, 4], ids=["one baseline", "two baselines apart"])
@pytest.mark.parametrize("kind", ["gains", "amplitude and phase", "jones"])
def test_amplitudes_that_nothing_ties_down(kit, antennas, kind):
    """V = g_p M g_q^*: one gain may grow as the other shrinks, so the solution is singular and nothing is corrected by it."""
    o = kit.observe(antennas=antennas)
    if antennas == 4:
        o.path = kit.keep_rows(o.path, np.flatnonzero((o.q - o.p == 1) & (o.p != 1)), "apart.ms")
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        if kind == "amplitude and phase":
            ns.J(p) << Meq.Polar(ns.a(p) << Meq.Parm(1.0, tags="x"), ns.f(p) << Meq.Parm(0.0, tags="x"))
        else:
            off = [0, 0] if kind == "gains" else [ns[e](p) << Meq.Parm(0j, tags="x") for e in ("xy", "yx")]
            diagonal = [ns[e](p) << Meq.Parm(1 + 0j, tags="x") for e in ("xx", "yy")]
            ns.J(p) << Meq.Matrix22(diagonal[0], off[0], off[1], diagonal[1])
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.out(p, q) << Meq.Sink(model)
    ns.solve << Meq.Solver(*ns.eq, solvable="x")
    report = ns.forest().run(ms, progress=False)
    assert not report.converged and "singular: the data do not constrain the parameters" in str(report)
    assert not kit.getcol(o.path, "CORRECTED_DATA").any()
    for table in report.tables.groups[0].parms:
        free = table.status == Status.SINGULAR
        assert free.all() if table.label != "f" else not free.any()  # phases are as good as ever
        assert np.isnan(table.errors[free]).all()


def test_one_baseline_still_gives_phases(kit):
    o = kit.observe(antennas=2, gain=lambda shape: np.exp(1j * np.array([0.3, -0.4])[None, :, None, None]))
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        ns.J(p) << Meq.Polar(1, ns.f(p) << Meq.Parm(0.0, tags="x"))
    ((p, q),) = ms.baselines
    ns.eq << Meq.Condeq(ns.J(p) * Meq.Spigot(p, q, column="MODEL_DATA") * Meq.Conj(ns.J(q)), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(ns.eq, solvable="x")
    report = ns.forest().run(ms, progress=False)
    assert report.converged
    first, second = report.tables.groups[0].parms[0].values.ravel()
    assert first - second == pytest.approx(0.7, abs=0.02)


def test_antennas_cut_off_by_flags(kit):
    """In the second interval antennas 4 and 5 see only each other: singular there, and only they."""
    o = kit.observe(antennas=6)
    kit.putcol(o.path, FLAG=np.broadcast_to(((o.slot >= 3) & (o.p < 4) & (o.q >= 4))[:, None, None], o.model.shape))
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms, 3).forest().run(ms, progress=False)
    for table in report.tables.groups[0].parms:
        np.testing.assert_array_equal(table.status[:, 1, 0] == Status.SINGULAR, [0, 0, 0, 0, 1, 1])
        assert (table.status[:, 0] == Status.CONVERGED).all() and (table.status[:4] == Status.CONVERGED).all()
    written = kit.getcol(o.path, "CORRECTED_DATA").any((1, 2))
    np.testing.assert_array_equal(written, ~((o.slot >= 3) & (o.q >= 4)))


def test_model_of_zeros(kit):
    """MODEL_DATA that nobody filled, here for one hand: its gains are singular, those of the other hand are not."""
    o = kit.observe(corrs=("XX", "YY"))
    model = o.model.astype(np.complex64)
    model[..., 1] = 0
    kit.putcol(o.path, MODEL_DATA=model)
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms).forest().run(ms, progress=False)
    status = {t.label: set(t.status.ravel().tolist()) for t in report.tables.groups[0].parms}
    assert status == {"gx": {Status.CONVERGED}, "gy": {Status.SINGULAR}} and not report.converged


def test_slopes_within_one_slot(kit):
    """The last interval is one slot long: its slope is unknown and changes nothing, so its value is as good as any."""
    o = kit.observe(times=(5e9, 5, 10.0))
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    ns.a << Meq.Parm([[1 + 0j], [0j]], solint=(2, None))
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="a")
    report = ns.forest().run(ms, progress=False)
    table = report.tables.groups[0].parms[0]
    assert report.converged and (table.status == Status.CONVERGED).all()
    assert np.isfinite(table.errors[0, :2]).all() and np.isfinite(table.errors[0, 2, 0]).tolist() == [[True], [False]]
    data, model = kit.getcol(o.path, "DATA")[o.slot == 4], o.model.astype(np.complex64)[o.slot == 4]
    assert table.values[0, 2, 0, 0, 0] == pytest.approx((model.conj() * data).sum() / (abs(model) ** 2).sum(), rel=1e-6)


# What is wrong with the data.


def test_every_datum_flagged(kit):
    o = kit.observe()
    kit.putcol(o.path, FLAG=np.ones(o.model.shape, bool))
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms, 2).forest().run(ms, progress=False)
    assert (report.solvers[0].status == Status.NO_DATA).all() and not report.converged
    assert "3 no data" in str(report) and "960 visibilities have no valid solution: written as 0" in str(report)
    assert not kit.getcol(o.path, "CORRECTED_DATA").any()


def test_some_antennas_and_intervals_flagged(kit):
    """An antenna without data spoils its own baselines only; a sink may flag what it could not correct."""
    o = kit.observe()
    flag = np.zeros(o.model.shape, bool)
    flag[(o.p == 2) | (o.q == 2) | (o.slot < 3)] = True
    flag[5, 2, 1] = False  # too little for an interval
    kit.putcol(o.path, FLAG=flag)
    ms = rt.MeasurementSet(o.path)
    report = kit.diagonal(ms, 3, flag=True).forest().run(ms, progress=False)
    assert report.solvers[0].status.ravel().tolist() == [Status.TOO_FEW_DATA, Status.CONVERGED]
    bad = (o.p == 2) | (o.q == 2) | (o.slot < 3)
    np.testing.assert_array_equal(~kit.getcol(o.path, "CORRECTED_DATA").any((1, 2)), bad)
    np.testing.assert_array_equal(kit.getcol(o.path, "FLAG").all((1, 2)), bad)
    assert report.invalid == bad.sum() * 16
    assert "field0/spw0 gx:ant02, gy:ant02: no data in 1 of 2 intervals" in str(report)


def test_factors_of_which_only_the_product_is_known(kit):
    """a gx and a gy at every antenna: all converges, and the report says what of it means nothing."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)
    ns = rt.Scope()
    for p in ms.antennas:
        a, gx, gy = (ns[name](p) << Meq.Parm(1 + 0j, tags="gain") for name in ("a", "gx", "gy"))
        ns.G(p) << a * Meq.Matrix22(gx, 0, 0, gy)
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    report = ns.forest().run(ms, progress=False, ref_antenna="ant01")
    assert report.converged
    words = "phase between a and gx, gy, for each of 5; scale between a and gx, gy, for each of 5"
    assert f"solve: not determined: {words}: these values are one choice of many" in str(report)


@pytest.mark.parametrize("solint", [None, (1, 1)], ids=["sums", "single data"])
def test_numbers_that_are_none(kit, solint):
    """NaN and Inf in data, model and weights, and weights below 0: as if flagged; what is written is finite."""
    o = kit.observe()
    data, weight = kit.getcol(o.path, "DATA"), kit.getcol(o.path, "WEIGHT_SPECTRUM")
    model = o.model.astype(np.complex64)
    flag = np.zeros(data.shape, bool)
    for number, (array, value) in enumerate(
        [
            (data, np.nan),
            (data, np.inf),
            (model, np.nan),
            (model, -np.inf),
            (weight, np.nan),
            (weight, np.inf),
            (weight, -3),
        ]
    ):
        at = (7 * number + 1, number % 4, 3 * (number % 2))  # parallel hands, which depend on every gain
        array[at], flag[at] = value, True
    clean = kit.keep_rows(o.path, np.arange(60), "clean.ms")
    kit.putcol(clean, FLAG=flag)
    kit.putcol(o.path, DATA=data, MODEL_DATA=model, WEIGHT_SPECTRUM=weight)
    reports = [
        kit.diagonal(ms, solint).forest().run(ms, progress=False) for ms in map(rt.MeasurementSet, (o.path, clean))
    ]
    np.testing.assert_allclose(*map(kit.solved, reports), rtol=1e-6, atol=1e-9)
    assert [r.solvers[0].dof.sum() for r in reports] == [reports[0].solvers[0].dof.sum()] * 2
    assert reports[0].dropped == 4 and "4 unflagged samples are NaN or Inf and were not used" in str(reports[0])
    result = kit.getcol(o.path, "CORRECTED_DATA")
    lost = ~np.isfinite(data)
    assert np.isfinite(result).all() and not result[lost].any() and reports[0].unfit == 2
    np.testing.assert_allclose(result[~lost], kit.getcol(clean, "CORRECTED_DATA")[~lost], rtol=1e-5)


def test_autocorrelations_are_left_alone(kit):
    from casacore.tables import table

    o = kit.observe()
    with table(str(o.path), readonly=False, ack=False) as main:
        main.addrows(5)
        for name in main.colnames():
            if main.iscelldefined(name, 0):
                main.putcol(name, main.getcol(name, 0, 5), 60, 5)
        for name in ("ANTENNA1", "ANTENNA2"):
            main.putcol(name, np.arange(5, dtype=np.int32), 60, 5)
    ms = rt.MeasurementSet(o.path)
    assert len(ms.baselines) == 10
    report = kit.diagonal(ms).forest().run(ms, progress=False)
    assert report.solvers[0].dof[0, 0] == 60 * 32 - 19
    written = kit.getcol(o.path, "CORRECTED_DATA").any((1, 2))
    assert written[:60].all() and not written[60:].any()


def test_selections_that_are_empty_or_unknown(kit, seen):
    for wrong, kind, message in [
        ({"field": "3C147"}, rt.ConfigError, "there is no field '3C147'; .* has field0"),
        ({"spw": 3}, rt.ConfigError, "there is no spw 3"),
        (
            {"antennas": ["ant00"]},
            rt.DataError,
            r"no cross-correlations with antennas=\['ant00'\]. There are: field 'field0'",
        ),
        ({"taql": "TIME < 0"}, rt.DataError, "no cross-correlations with taql='TIME < 0'. There are"),
        ({"scans": 7}, rt.ConfigError, "scans=7: there is no 7; .* has 1"),
    ]:
        with pytest.raises(kind, match=message):
            kit.diagonal(rt.MeasurementSet(seen.path, **wrong)).forest().run(seen)
    with pytest.raises(rt.DataError, match="nothing.ms: no such Measurement Set; check the path"):
        rt.MeasurementSet(seen.path.with_name("nothing.ms"))


def test_columns_and_options_all_at_once(kit, seen):
    ns = kit.diagonal(seen)
    ns.x << Meq.Sink(Meq.Spigot("ant00", "ant01", column="MODEL"), column="no good")
    before = snapshot(seen.path)
    with pytest.raises(rt.DataError) as caught:
        ns.forest().run(seen)
    lines = str(caught.value).splitlines()
    assert lines == [
        (
            f"{seen.path}: column MODEL does not exist (did you mean 'MODEL_DATA'?); columns with visibilities: "
            "DATA, MODEL_DATA"
        ),
        f"{seen.path}: 'no good' cannot be a column name; use letters, digits and underscores",
    ]
    assert snapshot(seen.path) == before


def test_options(kit, seen, tmp_path):
    forest = kit.diagonal(seen).forest()
    before = snapshot(seen.path)
    (tmp_path / "old.h5").write_bytes(b"old")
    for data, options, kind, message in [
        (str(seen.path), {}, rt.ConfigError, "run needs an rt.MeasurementSet, rt.MeasurementSets or rt.Cells, got str"),
        (
            rt.Cells(time=(0, 4, 4), freq=(0, 4, 4)),
            {},
            rt.ConfigError,
            "this forest has Spigots or Sinks: run it on an rt.Mea",
        ),
        (
            seen,
            {"memory": 1000},
            rt.ConfigError,
            "memory=1000 bytes is too little: one slot of all baselines needs [0-9]",
        ),
        (seen, {"memory": "2GB"}, rt.ConfigError, "memory='2GB': expected a number of bytes, for example 4e9"),
        (seen, {"memory": -1}, rt.ConfigError, "memory=-1: expected a number of bytes"),
        (
            seen,
            {"solutions": tmp_path / "old.h5"},
            rt.DataError,
            r"old.h5 exists; choose another name, or allow overwriting",
        ),
        (seen, {"solutions": tmp_path / "no" / "x.h5"}, rt.DataError, "x.h5: there is no folder .*no; create it first"),
        (seen, {"solutions": tmp_path}, rt.DataError, "is a folder; give the name of a file"),
        (seen, {"start": "nothing.h5"}, rt.DataError, "nothing.h5: no such file; expected an HDF5 solution file"),
        (seen, {"start": tmp_path / "old.h5"}, rt.DataError, "old.h5"),
    ]:
        with pytest.raises(kind, match=message):
            forest.run(data, progress=False, **options)
    assert snapshot(seen.path) == before and (tmp_path / "old.h5").read_bytes() == b"old"


def test_read_only(kit, monkeypatch):
    """The superuser may write anything, so the mode bits are what the test asks for."""
    o = kit.observe()
    ms = rt.MeasurementSet(o.path)
    monkeypatch.setattr(os, "access", lambda p, mode: bool(os.stat(p).st_mode & 0o200) or not mode & os.W_OK)
    os.chmod(o.path / "table.f0", 0o400)
    with pytest.raises(
        rt.DataError, match=r"x.ms: read-only: table.f0; make them writable \(chmod -R u\+w\) or work on a copy"
    ):
        kit.diagonal(ms).forest().run(ms, progress=False)
    report = kit.diagonal(ms, sink=False).forest().run(ms, progress=False)  # solving alone writes nothing
    assert report.converged and report.written == {}


LIMITED = """
import resource, runpy, sys
import rimetree as rt
kit = runpy.run_path(sys.argv[1])
ms = rt.MeasurementSet(sys.argv[2])
forest = kit["diagonal"](ms, (1, 1), sink=sys.argv[4] == "sink").forest()
kit["diagonal"](ms, (1, 1), sink=False).forest().run(ms, progress=False)  # compiled code may have to be cached
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    forest.run(ms, sys.argv[5], overwrite=True, progress=False)
except rt.DataError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("limit", "sink", "message"),
    [
        (200_000, "sink", "x.ms: writing the new column CORRECTED_DATA failed: "),
        (20_000, "no sink", "old.h5 could not be written (file too large); nothing was changed"),
    ],
)
def test_full_disk(kit, limit, sink, message):
    """Files may not grow beyond a limit: one message, the set opens, and the old solutions are as they were."""
    o = kit.observe(times=(5e9, 60, 10.0))
    data = kit.getcol(o.path, "DATA")
    old = kit.path / "old.h5"
    old.write_bytes(b"old solutions")
    command = [sys.executable, "-c", LIMITED, str(CONFTEST), str(o.path), str(limit), sink, str(old)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert message in done.stdout and done.stdout.count("\n") == 1 and done.stderr == "", done
    assert sorted(p.name for p in kit.path.iterdir()) == ["old.h5", "x.ms"] and old.read_bytes() == b"old solutions"
    ms = rt.MeasurementSet(o.path)
    np.testing.assert_array_equal(kit.getcol(o.path, "DATA"), data)
    assert kit.diagonal(ms).forest().run(ms, old, overwrite=True, progress=False).converged


def test_stokes_parameters_are_not_taken_for_correlations_of_receptors(make_ms, edit):
    """Their I would be solved as XX, and Q, U, V left out."""
    path = make_ms()
    with edit(path / "POLARIZATION") as table:
        table.putcell("CORR_TYPE", 0, np.array([1, 2, 3, 4], np.int32))
    with rt.MeasurementSet(path) as ms:
        ns = rt.Scope()
        for p in ms.antennas:
            ns.g(p) << Meq.Parm(1 + 0j, tags="g")
            ns.G(p) << Meq.Matrix22(ns.g(p), 0, 0, ns.g(p))
        for p, q in ms.baselines:
            ns.eq(p, q) << Meq.Condeq(Meq.MatrixMultiply(ns.G(p), Meq.ConjTranspose(ns.G(q))), Meq.Spigot(p, q, "DATA"))
        ns.solve << Meq.Solver(*ns.eq, solvable="g")
        with pytest.raises(rt.DataError, match="the data are Stokes I Q U V, and what is solved"):
            ns.forest().run(ms, progress=False)
