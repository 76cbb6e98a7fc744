"""Flags in front of equations and Sinks, on Measurement Sets: what is flagged in a tree is as if it had been flagged in the data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq

RFI = 1000.0


def column(path: Any, name: str) -> np.ndarray:
    from casacore.tables import table

    with table(str(path), ack=False) as main:
        return np.asarray(main.getcol(name))


def put(path: Any, **columns: np.ndarray) -> None:
    from casacore.tables import table

    with table(str(path), ack=False, readonly=False) as main:
        for name, values in columns.items():
            main.putcol(name, values)


@pytest.fixture
def observed(make_ms: Any) -> SimpleNamespace:
    """Data of a source of 2 Jy with noise; strong interference in some single correlations; some of the rest is flagged."""
    path = make_ms(antennas=5, times=(5e9, 8, 10.0), freqs=(1.4e9, 6, 1e6), noise=0.1, seed=3)
    rng = np.random.default_rng(7)
    data = column(path, "DATA") + 2 * np.array([1, 0, 0, 1])
    rfi = rng.random(data.shape) < 0.05
    data[rfi] += RFI * np.exp(2j * np.pi * rng.random(rfi.sum()))
    flag = rng.random(data.shape) < 0.1
    put(path, DATA=data.astype(np.complex64), FLAG=flag)
    return SimpleNamespace(path=path, data=data, rfi=rfi, flag=flag)


def clipped(p: str, q: str, **options: Any) -> Any:
    """The data, with those beyond 100 Jy flagged."""
    data = Meq.Spigot(p, q)
    return Meq.MergeFlags(data, Meq.ZeroFlagger(Meq.Abs(data), oper="GT", limit=100.0), **options)


def gains(
    path: Any, data: Any, solint: Any = (2, None), condeq: Any = None, memory: float | None = None, **solver: Any
) -> np.ndarray:
    """Gains of all antennas for data of a source of 2 Jy."""
    ns = rt.Scope()
    with rt.MeasurementSet(path) as ms:
        for p in ms.antennas:
            ns.gx(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
            ns.gy(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
            ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.G(p), Meq.Constant([[2.0, 0], [0, 2]]), Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(model, data(p, q), **(condeq or {}))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain", **solver)
        report = ns.forest().run(ms, progress=False, memory=memory)
        assert memory is None or "1 tile " not in report.plan
    tables = {table.label: table.values for table in report.tables.groups[0].parms}
    return np.stack([tables["gx"], tables["gy"]])


@pytest.mark.parametrize(
    ("solint", "options"),
    [((2, None), {}), ((1, 1), {}), ((2, None), {"backend": "jax"}), ((4, 2), {"robust": "student-t"})],
)
def test_flagging_in_the_tree_equals_flagging_beforehand(observed: Any, solint: Any, options: Any) -> None:
    inside = gains(observed.path, clipped, solint, **options)
    put(observed.path, FLAG=observed.flag | observed.rfi)
    before = gains(observed.path, lambda p, q: Meq.Spigot(p, q), solint, **options)
    np.testing.assert_allclose(inside, before, rtol=1e-9, atol=1e-9)
    assert np.abs(np.abs(before) - 1).max() < 0.5
    put(observed.path, FLAG=observed.flag)
    assert np.abs(np.abs(gains(observed.path, lambda p, q: Meq.Spigot(p, q), solint)) - 1).max() > 2  # it matters


def test_tiles_do_not_change_solutions(observed: Any) -> None:
    """Flags found tile by tile, also where a solution interval is longer than a tile."""
    with rt.MeasurementSet(observed.path) as ms:
        small = 4.0 * 2 * ms.groups[0].bytes_per_slot({"DATA"}, spare=64)
    for solint in ((2, None), (None, 3)):
        whole = gains(observed.path, clipped, solint)
        np.testing.assert_allclose(gains(observed.path, clipped, solint, memory=small), whole, rtol=1e-9)


def written(path: Any, definition: Any, slots: int | None = None, **options: Any) -> SimpleNamespace:
    """Columns after a run of a Sink on every baseline, and its report."""
    ns = rt.Scope()
    with rt.MeasurementSet(path) as ms:
        for p, q in ms.baselines:
            ns.out(p, q) << Meq.Sink(definition(p, q), p, q, **options)
        memory = (
            None if slots is None else 3 * slots * ms.groups[0].bytes_per_slot({"DATA", "CORRECTED_DATA"}, spare=16)
        )
        report = ns.forest().run(ms, progress=False, memory=memory)
    return SimpleNamespace(out=column(path, "CORRECTED_DATA"), flag=column(path, "FLAG"), report=report)


def by_baseline(path: Any, values: np.ndarray) -> np.ndarray:
    """(slot, baseline, channel, correlation): rows of the simulator are slot by slot."""
    count = np.unique(column(path, "TIME")).size
    return values.reshape(count, -1, *values.shape[1:])


@pytest.mark.parametrize(
    ("axes", "where", "slots"), [("time", 0, None), ("freq", 2, None), ("freq", 2, 3), (("time", "freq"), (0, 2), None)]
)
def test_data_less_their_mean(observed: Any, axes: Any, where: Any, slots: int | None) -> None:
    """A mean over data leaves out what FLAG and the tree flag, as numpy's masked arrays do, in tiles of any size."""
    result = written(observed.path, lambda p, q: Meq.Spigot(p, q) - Meq.Mean(clipped(p, q), axes=axes), slots)
    bad = observed.flag | observed.rfi
    data = by_baseline(observed.path, np.ma.array(observed.data.astype(np.complex64), mask=bad))
    mean = data.mean(where, keepdims=True)
    np.testing.assert_allclose(by_baseline(observed.path, result.out), data.data - mean.filled(0), rtol=1e-4, atol=1e-4)
    if slots:
        assert "1 tile " not in result.report.plan
    np.testing.assert_array_equal(result.flag, observed.flag)  # nobody asked for flags


def test_counting_and_replacing_data(observed: Any) -> None:
    """NElements counts what is not flagged; what is replaced is written."""
    counted = written(observed.path, lambda p, q: Meq.NElements(Meq.Spigot(p, q), axes="freq"))
    good = by_baseline(observed.path, ~observed.flag)
    np.testing.assert_array_equal(
        by_baseline(observed.path, counted.out).real, np.broadcast_to(good.sum(2, keepdims=True), good.shape)
    )
    replaced = written(observed.path, lambda p, q: Meq.ReplaceFlagged(clipped(p, q), value=7.0, flag_mask=2))
    np.testing.assert_allclose(replaced.out, np.where(observed.rfi, 7, observed.data), rtol=1e-5)


def test_sinks_write_flags_where_asked(observed: Any) -> None:
    result = written(observed.path, clipped, flag=True)
    np.testing.assert_array_equal(result.flag, observed.flag | observed.rfi)
    np.testing.assert_allclose(result.out, observed.data, rtol=1e-5)
    put(observed.path, FLAG=observed.flag)
    spread = written(observed.path, lambda p, q: clipped(p, q, merge_all=True), flag=True, slots=3)
    every = (observed.rfi | False).any(2, keepdims=True) | (observed.flag.any(2, keepdims=True))
    np.testing.assert_array_equal(spread.flag, np.broadcast_to(every, spread.flag.shape))
    put(observed.path, FLAG=observed.flag)
    masked = written(observed.path, clipped, flag=True, flag_mask=4)
    np.testing.assert_array_equal(masked.flag, observed.flag)


def test_flags_of_other_visibilities_reach_a_sink(observed: Any) -> None:
    """A mixture of correlations is flagged where one of them is, though nothing in the tree makes flags."""
    turn = Meq.Constant([[0.6, 0.8], [-0.8, 0.6]])
    result = written(observed.path, lambda p, q: Meq.MatrixMultiply(turn, Meq.Spigot(p, q)), flag=True)
    xx, xy, yx, yy = np.moveaxis(observed.flag, 2, 0)
    np.testing.assert_array_equal(result.flag, np.stack([xx | yx, xy | yy, xx | yx, xy | yy], 2))


def test_masks_say_which_flags_count(observed: Any) -> None:
    """Without the bit of Spigots an equation takes data that FLAG calls bad; without that of the flagger, all the rest."""
    put(observed.path, FLAG=np.zeros_like(observed.flag))
    unflagged = gains(observed.path, clipped)
    put(observed.path, FLAG=observed.flag)
    np.testing.assert_allclose(gains(observed.path, clipped, condeq={"flag_mask": 2}), unflagged, rtol=1e-9)
    everything = gains(observed.path, lambda p, q: Meq.Spigot(p, q))
    np.testing.assert_allclose(gains(observed.path, clipped, condeq={"flag_mask": 1}), everything, rtol=1e-9)


def test_replaced_data_enter_a_solve(observed: Any) -> None:
    """What is replaced is no longer flagged: the solution is that of data which hold these values."""
    inside = gains(observed.path, lambda p, q: Meq.ReplaceFlagged(clipped(p, q), value=2.0))
    values = np.where(observed.flag | observed.rfi, 2.0, observed.data).astype(np.complex64)
    put(observed.path, DATA=values, FLAG=np.zeros_like(observed.flag))
    np.testing.assert_allclose(inside, gains(observed.path, lambda p, q: Meq.Spigot(p, q)), rtol=1e-6)


def test_missing_rows(observed: Any) -> None:
    """A row that is not there is flagged: it counts in no mean and no equation, and nothing is written for it."""
    from casacore.tables import table

    kept = np.sort(np.random.default_rng(2).permutation(len(observed.data))[: len(observed.data) - 9])
    path = observed.path.with_name("part.ms")
    with table(str(observed.path), ack=False) as main:
        main.selectrows(kept).copy(str(path), deep=True, valuecopy=True).close()
    result = written(path, lambda p, q: Meq.Mean(clipped(p, q), axes="time"), flag=True)
    bad = observed.flag | observed.rfi
    bad[np.setdiff1d(np.arange(len(bad)), kept)] = True
    mean = by_baseline(observed.path, np.ma.array(observed.data, mask=bad)).mean(0, keepdims=True)
    every = np.broadcast_to(mean.filled(0), by_baseline(observed.path, bad).shape).reshape(bad.shape)
    np.testing.assert_allclose(result.out, every[kept], rtol=1e-4, atol=1e-4)
    inside = gains(path, clipped)
    put(path, FLAG=bad[kept])
    np.testing.assert_allclose(inside, gains(path, lambda p, q: Meq.Spigot(p, q)), rtol=1e-9, atol=1e-9)


def test_intervals_fitted_jointly(observed: Any) -> None:
    """Gains of two slots times one number per channel: the joint fit sees the same flags."""

    def fitted(data: Any) -> np.ndarray:
        ns = rt.Scope()
        with rt.MeasurementSet(observed.path) as ms:
            for p in ms.antennas:
                ns.g(p) << Meq.Parm(1.0, tags="fit", solint=(2, None))
            ns.b << Meq.Parm(2.0 + 0j, tags="fit", solint=(None, 1))
            for p, q in ms.baselines:
                model = Meq.Matrix22(ns.b, 0, 0, ns.b) * ns.g(p) * ns.g(q)
                ns.eq(p, q) << Meq.Condeq(model, data(p, q))
            ns.solve << Meq.Solver(*ns.eq, solvable="fit")
            report = ns.forest().run(ms, progress=False)
        return np.concatenate([abs(table.values).ravel() for table in report.tables.groups[0].parms])

    inside = fitted(clipped)
    put(observed.path, FLAG=observed.flag | observed.rfi)
    np.testing.assert_allclose(inside, fitted(lambda p, q: Meq.Spigot(p, q)), rtol=1e-6)


def test_equations_on_cells_without_data() -> None:
    """y = a x + b fitted to values of which one is wrong, and flagged."""
    ns = rt.Scope()
    ns.a << Meq.Parm(1.0, tags="fit")
    ns.b << Meq.Parm(0.0, tags="fit")
    truth = 3 * Meq.Freq() + 2
    wrong = truth + Meq.Constant([0.0, 0, 50, 0, 0], axes="freq")
    ns.eq << Meq.Condeq(ns.a * Meq.Freq() + ns.b, Meq.MergeFlags(wrong, Meq.ZeroFlagger(wrong, oper="GT", limit=30.0)))
    ns.solve << Meq.Solver(ns.eq, solvable="fit")
    report = ns.forest().run(rt.Cells(time=(0, 1, 1), freq=(0, 5, 5)), progress=False)
    for name, value in (("a", 3.0), ("b", 2.0)):
        np.testing.assert_allclose(report.tables.parm(name).values.item(), value, rtol=1e-9)
    assert report.solvers[0].dof.sum() == 2


def test_all_flagged(observed: Any) -> None:
    """Nothing left is no solution, and no number."""
    every = gains_report(observed.path, lambda p, q: Meq.ZeroFlagger(Meq.Spigot(p, q), oper="NE"))
    assert not every.converged and "every datum is flagged" in str(every)


def gains_report(path: Any, data: Any) -> Any:
    ns = rt.Scope()
    with rt.MeasurementSet(path) as ms:
        for p in ms.antennas:
            ns.g(p) << Meq.Parm(1 + 0j, tags="gain")
        for p, q in ms.baselines:
            model = Meq.Matrix22(2 * ns.g(p) * Meq.Conj(ns.g(q)), 0, 0, 2.0)
            ns.eq(p, q) << Meq.Condeq(model, data(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain")
        return ns.forest().run(ms, progress=False)


def test_flags_by_what_is_being_fitted_are_refused(observed: Any) -> None:
    ns = rt.Scope()
    with rt.MeasurementSet(observed.path) as ms:
        ns.g << Meq.Parm(1.0 + 0j, tags="gain")
        for p, q in ms.baselines:
            residual = Meq.Spigot(p, q) - ns.g
            flagged = Meq.MergeFlags(Meq.Spigot(p, q), Meq.ZeroFlagger(Meq.Abs(residual), oper="GT", limit=5.0))
            ns.eq(p, q) << Meq.Condeq(ns.g, flagged)
        ns.solve << Meq.Solver(*ns.eq, solvable="gain")
        with pytest.raises(rt.ForestError, match=r"ZeroFlagger.*test_in_solves\.py:\d+.*depend on g, which solve fits"):
            ns.forest().run(ms, progress=False)


def test_a_sink_writes_a_flagset(observed: Any) -> None:
    """New flags only, in tiles of any size, read back by casacore; FLAG stays as it was unless asked for."""
    result = written(observed.path, clipped, flagset="rfi", slots=3)
    np.testing.assert_array_equal(column(observed.path, "BITFLAG"), observed.flag * 1 + observed.rfi * 2)
    np.testing.assert_array_equal(result.flag, observed.flag)
    both = written(observed.path, clipped, flagset="rfi", flag=True)
    np.testing.assert_array_equal(column(observed.path, "BITFLAG"), observed.flag * 1 + observed.rfi * 2)
    np.testing.assert_array_equal(both.flag, observed.flag | observed.rfi)
    with rt.MeasurementSet(observed.path) as ms:
        ms.restore_flags()
    np.testing.assert_array_equal(column(observed.path, "FLAG"), observed.flag)


def test_spigots_take_flagsets_instead_of_flag(observed: Any) -> None:
    """Old flags and new ones, either or both, whatever FLAG says."""
    written(observed.path, clipped, flagset="rfi")

    def of(*names: str) -> np.ndarray:
        return gains(observed.path, lambda p, q: Meq.Spigot(p, q, flagsets=names))

    found = {names: of(*names) for names in (("legacy",), ("rfi",), ("legacy", "rfi"))}
    for names, flag in (
        (("legacy",), observed.flag),
        (("rfi",), observed.rfi),
        (("legacy", "rfi"), observed.flag | observed.rfi),
    ):
        put(observed.path, FLAG=flag)
        np.testing.assert_allclose(found[names], gains(observed.path, lambda p, q: Meq.Spigot(p, q)), rtol=1e-9)


def test_invalid_solutions_and_clipped_data_enter_a_flagset(observed: Any) -> None:
    """Where an antenna has no data at all there is no solution; what a robust Solver clips is in the flagset as well."""
    antenna = column(observed.path, "ANTENNA1") == 0
    flag = observed.flag | antenna[:, None, None]
    put(observed.path, FLAG=flag)
    ns = rt.Scope()
    with rt.MeasurementSet(observed.path) as ms:
        for p in ms.antennas:
            ns.g(p) << Meq.Parm(1 + 0j, tags="gain")
        for p, q in ms.baselines:
            model = Meq.Matrix22(2.0, 0, 0, 2.0) * ns.g(p) * Meq.Conj(ns.g(q))
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
            ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q) / (ns.g(p) * Meq.Conj(ns.g(q))), flagset="unsolved")
        ns.solve << Meq.Solver(*ns.eq, solvable="gain", robust="clip", clip=20.0)
        report = ns.forest().run(ms, progress=False)
    words = column(observed.path, "BITFLAG")
    np.testing.assert_array_equal(words & 1, flag)
    outliers = observed.rfi & ~flag & np.array([True, False, False, True])  # the cross-hands have no equations
    np.testing.assert_array_equal(words & 2 != 0, antenna[:, None, None] | outliers)
    assert report.clipped == outliers.sum() and report.invalid > 0
    np.testing.assert_array_equal(column(observed.path, "FLAG"), flag)


def test_bad_flagsets_are_refused_before_anything_is_written(observed: Any) -> None:
    def run(definition: Any, **options: Any) -> None:
        written(observed.path, definition, **options)

    with pytest.raises(rt.DataError, match=r"x\.ms: no flagset 'rfi'; there are none"):
        run(lambda p, q: Meq.Spigot(p, q, flagsets="rfi"))
    with pytest.raises(rt.DataError, match="'a b' cannot be the name of a flagset"):
        run(clipped, flagset="a b")
    with pytest.raises(rt.DataError, match="the flagset 'legacy' keeps what FLAG held before"):
        run(clipped, flagset="legacy")
    bit = Meq.ZeroFlagger
    with pytest.raises(rt.ForestError, match=r"a ZeroFlagger below it has flag_bit=1, the bit of bad data"):
        run(lambda p, q: bit(Meq.Spigot(p, q), flag_bit=1), flagset="rfi")
    with pytest.raises(rt.ForestError, match="flagsets must be a name or a list of names"):
        run(lambda p, q: Meq.Spigot(p, q, flagsets=("",)))
    from casacore.tables import table

    with table(str(observed.path), ack=False) as main:
        assert "BITFLAG" not in main.colnames() and "CORRECTED_DATA" not in main.colnames()


def test_flagsets_of_several_measurement_sets(make_ms: Any) -> None:
    """Read and written in each, whose bits differ."""
    paths = [make_ms(f"{i}.ms", antennas=4, times=(5e9 + 1000 * i, 3, 10.0), noise=0.1) for i in (0, 1)]
    rng = np.random.default_rng(8)
    flags = [rng.random((18, 5, 4)) < 0.3 for _ in paths]
    for path, flag in zip(paths, flags, strict=True):
        put(path, FLAG=flag)
    with rt.MeasurementSet(paths[1]) as ms:
        ms.ensure_flagset("other")

    def run(column: str, definition: Any, **options: Any) -> None:
        ns = rt.Scope()
        with rt.MeasurementSets(paths) as both:
            for p, q in both.baselines:
                ns.out(p, q) << Meq.Sink(definition(p, q), p, q, column=column, **options)
            ns.forest().run(both, progress=False)

    run("MODEL_DATA", lambda p, q: Meq.ZeroFlagger(Meq.Spigot(p, q), oper="NE"), flagset="all", flag=True)
    for path, flag, bit in zip(paths, flags, (2, 4), strict=True):
        np.testing.assert_array_equal(column(path, "BITFLAG"), flag + bit)
        assert column(path, "FLAG").all()
    run(
        "MODEL_DATA",
        lambda p, q: Meq.ReplaceFlagged(Meq.Constant([[1.0, 1], [1, 1]]) + 0 * Meq.Spigot(p, q), value=0.0),
    )
    assert (column(paths[0], "MODEL_DATA") != 0).all()  # 0 hides the flags of what it multiplies
    run(
        "MODEL_DATA",
        lambda p, q: Meq.ReplaceFlagged(
            Meq.Constant([[1.0, 1], [1, 1]]), Meq.Spigot(p, q, flagsets="legacy"), value=0.0
        ),
    )
    for path, flag in zip(paths, flags, strict=True):
        np.testing.assert_array_equal(column(path, "MODEL_DATA") == 0, flag)


def test_weights_of_reduced_data_are_those_of_their_own_correlation(observed: Any) -> None:
    """A gain of means over frequency is the weighted mean of these over baselines, though other correlations weigh nothing."""
    weight = np.random.default_rng(9).uniform(0.5, 2, observed.data.shape).astype(np.float32)
    weight[..., 1:3] = 0
    put(observed.path, WEIGHT_SPECTRUM=weight)
    ns = rt.Scope()
    with rt.MeasurementSet(observed.path) as ms:
        ns.g << Meq.Parm(1 + 0j, tags="gain")
        for p, q in ms.baselines:
            ns.eq(p, q) << Meq.Condeq(Meq.Matrix22(ns.g, 0, 0, ns.g), Meq.Mean(clipped(p, q), axes="freq"))
        ns.solve << Meq.Solver(*ns.eq, solvable="gain")
        report = ns.forest().run(ms, progress=False)
    mean = np.ma.array(observed.data, mask=observed.flag | observed.rfi).mean(1, keepdims=True)
    every = np.ma.array(np.ma.repeat(mean, 6, 1), mask=np.repeat(np.ma.getmaskarray(mean), 6, 1))[..., [0, 3]]
    expected = np.ma.average(every, weights=weight[..., [0, 3]])
    np.testing.assert_allclose(report.tables.parm("g").values.item(), expected, rtol=1e-5)
