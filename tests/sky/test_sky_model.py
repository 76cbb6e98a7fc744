"""Sky models: files, and their visibilities against sums written down by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rimetree as rt
from rimetree import Meq
from rimetree.sky.predict import stations
from rimetree.sky.read import angle

LIGHT = 299792458.0
CENTRE = (0.3, 0.6)
TEXT = """\
format = Name, Type, Patch, Ra, Dec, I, Q, U, V, ReferenceFrequency='1.4e9', SpectralIndex='[]', MajorAxis, MinorAxis, Orientation

 , , east, 01:08:45.3, +34.22.38
a, POINT, east, 01:09:20.5, +34.31.00.0, 2.0, 0.1, -0.2, 0.05
# a comment
b, GAUSSIAN, west, 01:08:10.0, +34.10.30.5, 1.5, , , , 1.3e9, [-0.7, 0.2], 20.0, 10.0, 30.0
c, POINT, west, 17.2, 34.3deg, -0.25, , , , , [-1.0]
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.sky"
    path.write_text(TEXT)
    return path


def test_bbs_file(model):
    sky = rt.read_sky(model)
    assert sky.names.tolist() == ["a", "b", "c"] and sky.patches.tolist() == ["east", "west", "west"]
    np.testing.assert_allclose(np.rad2deg(sky.radec[0]), [15 * (1 + 9 / 60 + 20.5 / 3600), 34 + 31 / 60])
    np.testing.assert_allclose(np.rad2deg(sky.radec[2]), [17.2, 34.3])
    assert sky.stokes.tolist() == [[2, 0.1, -0.2, 0.05], [1.5, 0, 0, 0], [-0.25, 0, 0, 0]]
    assert sky.freq0.tolist() == [1.4e9, 1.3e9, 1.4e9]
    assert sky.index.tolist() == [[0, 0], [-0.7, 0.2], [-1, 0]]
    np.testing.assert_allclose(np.rad2deg(sky.shape[1]) * [3600, 3600, 1], [20, 10, 30])
    assert sky.points.tolist() == [True, False, True]
    assert len(sky.brightest(2)) == 2


def test_other_headers(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(
        "# (Name, Type, Ra, Dec, I, SpectralIndex, LogarithmicSI, ReferenceFrequency='150e6', MajorAxis) = format\n"
        "s0, POINT, 08:28:05.152, 39.35.08.511, 2.0, [0.5, -0.25], false,\n"
    )
    sky = rt.read_sky(path)
    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(sky.brightness(x * 150e6)[0, 0], 2 + 0.5 * (x - 1) - 0.25 * (x - 1) ** 2)
    path = tmp_path / "table.csv"
    path.write_text("name,ra,dec,I,alpha,freq0,rm\nx,10.0,-20.5,1.5,-0.7,1e9,3\n")
    sky = rt.read_sky(path)
    np.testing.assert_allclose(sky.radec, np.deg2rad([[10.0, -20.5]]))
    np.testing.assert_allclose(sky.brightness(np.array([1e9, 2e9]))[0, 0], 1.5 * np.array([1, 2]) ** -0.7)
    assert sky.rm.tolist() == [3.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12:30:00", 187.5), ("-12:30:00", -187.5), ("12h30m00s", 187.5), ("187.5", 187.5), ("187.5deg", 187.5),
     ("-1rad", np.rad2deg(-1))],
)  # fmt: skip
def test_right_ascensions(text, expected):
    assert np.rad2deg(angle(text, hours=True)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("+31.39.42.012", 31.66167), ("-00:30:00", -0.5), ("-62.11.18", -62.188333), ("48.25", 48.25)],
)
def test_declinations(text, expected):
    assert np.rad2deg(angle(text, hours=False)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("format = Name, Type, Ra, Dec, I\n", "no sources"),
        ("format = Name, Ra, I\na, 1, 2", "no column dec"),
        ("name,ra,dec,I,alfa\na,1,2,3,4", "m.sky:1: column 'alfa'.*did you mean 'alpha'"),
        ("name,ra,dec,I\na,1,2,three", "m.sky:2: i is 'three', expected a number"),
        ("name,ra,dec,I\na,1,2,nan", "m.sky:2: i is 'nan', expected a finite number"),
        ("name,ra,dec,I\na,1h,2,3", "m.sky:2: '1h' is not an angle"),
        ("name,ra,dec,I\na,1,2,3,4", "m.sky:2: 5 fields, but the header names 4"),
        ("name,type,ra,dec,I\na,DISK,1,2,3", "m.sky:2: type 'DISK'"),
        ("name,ra,dec,I,alpha\na,1,2,3,-0.7", "m.sky:2: a source with a spectral index needs a reference frequency"),
    ],
)
def test_wrong_files(tmp_path, text, message):
    path = tmp_path / "m.sky"
    path.write_text(text)
    with pytest.raises(rt.DataError, match=message) as caught:
        rt.read_sky(path)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(rt.DataError, match="cannot be read: No such file"):
        rt.read_sky(tmp_path / "none.sky")


def expected(sky, uvw, freq, sign):
    """(..., nchan, XX XY YX YY): the sum over sources, one after the other, in float64."""
    total = 0
    for s in range(len(sky)):
        (a, d), (a0, d0) = sky.radec[s], CENTRE
        l = np.cos(d) * np.sin(a - a0)
        m = np.sin(d) * np.cos(d0) - np.cos(d) * np.sin(d0) * np.cos(a - a0)
        u, v, w = (uvw[..., i, None] * freq / LIGHT for i in range(3))
        k = np.exp(sign * 2j * np.pi * (u * l + v * m + w * (np.sqrt(1 - l * l - m * m) - 1)))
        major, minor, pa = sky.shape[s]
        along, across = u * np.sin(pa) + v * np.cos(pa), u * np.cos(pa) - v * np.sin(pa)
        k *= np.exp(-(np.pi**2) / (4 * np.log(2)) * ((major * along) ** 2 + (minor * across) ** 2))
        x = freq / sky.freq0[s]
        spectrum = x ** sum(c * np.log10(x) ** i for i, c in enumerate(sky.index[s]))
        I, Q, U, V = sky.stokes[s]
        matrix = np.array([I + Q, U + 1j * V, U - 1j * V, I - Q])
        total = total + (k * spectrum)[..., None] * matrix
    return total


@pytest.mark.parametrize(("sign", "corrs"), [(-1, "linear"), (1, ("YY", "XX"))])
def test_predicted_into_a_column(make_ms, model, sign, corrs):
    path = make_ms(antennas=6, corrs=corrs, phase_dir=CENTRE)
    ms = rt.MeasurementSet(path)
    first, second = np.array(ms.baselines).T
    ns = rt.Scope()
    node = Meq.SkyModel(first, second, str(model), sign=sign)
    ns.out.over(first, second) << Meq.Sink(node, first, second, column="MODEL_DATA")
    report = ns.forest().run(ms, progress=False)
    assert report.written == {"MODEL_DATA": ms.groups[0].rows.size * 5 * len(ms.groups[0].corrs)}
    again = rt.MeasurementSet(path)
    tile = again.read(again.groups[0], columns=("MODEL_DATA",), uvw=True)
    truth = expected(rt.read_sky(model), tile.uvw, tile.freq, sign)
    order = [("XX", "XY", "YX", "YY").index(c) for c in tile.corrs]
    np.testing.assert_allclose(tile.columns["MODEL_DATA"][tile.rows], truth[..., order], atol=4e-6)


def test_kernel_is_the_tree(make_ms, model):
    """The same sources as nodes, with smearing: a family over baseline x source."""
    ms = rt.MeasurementSet(make_ms(antennas=4, phase_dir=CENTRE, freqs=(1.4e9, 5, 2e7), times=(5e9, 3, 100.0)))
    sky = rt.read_sky(model)
    first, second = np.array(ms.baselines).T
    p, q, s = first[:, None], second[:, None], np.arange(3)
    ns = rt.Scope()
    ns.uvw.over(first, second) << Meq.Spigot(first, second, "UVW")
    ns.lmn.over(s) << Meq.LMN(sky.radec)
    I, Q, U, V = sky.stokes.T
    terms = [Meq.Constant(sky.index[:, i]) for i in range(2)]
    scale = Meq.PowerLaw(1.0, terms[0], sky.freq0, terms[1], log="log10")
    ns.flux.over(s) << Meq.PointSource(I, Q, U, V) * scale
    uvw = ns.uvw.at(p, q)
    phase = Meq.PhaseDelay(ns.lmn.at(s), uvw) * Meq.Smearing(ns.lmn.at(s), uvw, Meq.UVWRate(uvw))
    ns.term.over(p, q, s) << phase * Meq.GaussianShape(*sky.shape.T, uvw) * ns.flux.at(s)
    ns.tree.over(first, second) << Meq.Sink(Meq.Add(ns.term.at(p, q, s)), first, second, column="TREE")
    node = Meq.SkyModel(first, second, str(model), smear=True)
    ns.kernel.over(first, second) << Meq.Sink(node, first, second, column="KERNEL")
    ns.forest().run(ms, progress=False)
    again = rt.MeasurementSet(ms.path)
    tile = again.read(again.groups[0], columns=("TREE", "KERNEL"), uvw=True)
    tree, kernel = tile.columns["TREE"], tile.columns["KERNEL"]
    np.testing.assert_allclose(kernel, tree, atol=4e-6)
    plain = expected(sky, tile.uvw, tile.freq, -1)
    assert np.abs(tree[tile.rows] - plain).max() > 0.1


def test_gains_are_found_against_a_sky_model(make_ms, model):
    """One direction per patch, a gain each, without any model column."""
    path = make_ms(antennas=7, phase_dir=CENTRE, noise=0.0)
    ms = rt.MeasurementSet(path)
    first, second = np.array(ms.baselines).T
    truth = {"east": 0.7, "west": 1.4}
    ns = rt.Scope()
    parts = [Meq.SkyModel(first, second, str(model), patch=patch) * g for patch, g in truth.items()]
    ns.out.over(first, second) << Meq.Sink(parts[0] + parts[1], first, second, column="DATA")
    ns.forest().run(ms, progress=False)
    ns = rt.Scope()
    for patch in truth:
        ns.g(patch) << Meq.Parm(1.0)
    parts = [Meq.SkyModel(first, second, str(model), patch=patch) * ns.g(patch) for patch in truth]
    ns.eq.over(first, second) << Meq.Condeq(parts[0] + parts[1], Meq.Spigot(first, second))
    ns.solve << Meq.Solver(ns.eq.all(), solvable=[f"g:{patch}" for patch in truth])
    report = ns.forest().run(rt.MeasurementSet(path), progress=False)
    table = report.tables.groups[0].parms[0]
    found = dict(zip(table.names, table.values.ravel().real, strict=True))
    for patch, gain in truth.items():
        assert found[f"g:{patch}"] == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sky": "none.sky"}, rt.DataError, "none.sky: the sky model cannot be read"),
        ({"patch": "eats"}, rt.ConfigError, "there is no patch 'eats'.*did you mean 'east'.*it has east, west"),
    ],
)
def test_wrong_models(make_ms, model, options, error, message):
    ms = rt.MeasurementSet(make_ms())
    p, q = ms.baselines[0]
    ns = rt.Scope()
    ns.out << Meq.Sink(Meq.SkyModel(p, q, **({"sky": str(model)} | options)), p, q)
    with pytest.raises(error, match=message):
        ns.forest().run(ms, progress=False)
    assert not (ms.path / "CORRECTED_DATA").exists()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(0, 1000), st.floats(0, 0.9))
def test_stations_of_baselines(count, seed, missing):
    random = np.random.default_rng(seed)
    p, q = np.triu_indices(count, 1)
    truth = random.normal(0, 1000, (4, count, 3))
    uvw = (truth[:, p] - truth[:, q]).transpose(1, 0, 2)
    uvw[random.random(uvw.shape[:2]) < missing] = np.nan
    found, pairs = stations(uvw, list(zip(p.tolist(), q.tolist(), strict=True)))
    there = np.isfinite(uvw[..., 0])
    difference = (found[:, pairs[:, 0]] - found[:, pairs[:, 1]]).transpose(1, 0, 2)
    np.testing.assert_allclose(difference[there], uvw[there], atol=1e-9)


def test_baselines_that_are_no_differences_of_stations():
    uvw = np.random.default_rng(0).normal(0, 1000, (3, 2, 3))
    found, pairs = stations(uvw, [("a", "b"), ("a", "c"), ("b", "c")])
    np.testing.assert_array_equal((found[:, pairs[:, 0]] - found[:, pairs[:, 1]]).transpose(1, 0, 2), uvw)
