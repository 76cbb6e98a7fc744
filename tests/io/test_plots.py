"""Plots: which pictures there are, what they show (read back from the figures), and that odd solutions do no harm."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from rimetree.errors import DataError
from rimetree.io import convergence, plots
from rimetree.io.panels import Curves, Series, draw, freq_axis, time_axis
from rimetree.io.plots import plot
from rimetree.io.solutions import GroupSolutions, JonesTable, ParmTable, Solutions, SolverTable
from rimetree.status import Status


def jones(label="G", na=3, nf=1, nt=12, off=0.0, amplitude=1.5, rate=0.1):
    values = np.zeros((na, nf, nt, 2, 2), complex)
    values[..., 0, 0] = amplitude * np.exp(1j * rate * np.arange(nt))
    values[..., 1, 1] = amplitude * np.exp(0.5j * rate)
    values[..., 0, 1] = off
    time, freq = 4.9e9 + 10.0 * np.arange(nt), 1e9 + 1e6 * np.arange(nf)
    errors, flags = np.full(values.shape, 0.01), np.zeros((na, nf, nt), bool)
    return JonesTable(label, [f"ant{i}" for i in range(na)], values, flags, time, freq, errors, "linear")


def parm(label="tau", n=3, nt=1, nf=1, powers=(1, 1), value=5e-9):
    values = np.full((n, nt, nf, *powers), value)
    time = 4.9e9 + 100.0 * np.stack([np.arange(nt), np.arange(nt) + 1], 1)
    freq = 1e9 + 1e6 * np.stack([np.arange(nf), np.arange(nf) + 1], 1)
    names = [f"{label}:ant{i}" for i in range(n)]
    return ParmTable(label, names, [("x",)] * n, values, 0.1 * abs(values), np.zeros((n, nt, nf), np.uint8), time, freq)


def solver(nt=20, nf=1, status=Status.CONVERGED):
    shape = (1, nt, nf)
    codes, ones = np.full(shape, status, np.uint8), np.ones(shape, int)
    time, freq = np.zeros((nt, 2)) + np.arange(nt)[:, None], np.full((nf, 2), 1e9)
    return SolverTable(
        "solve",
        codes,
        5 * ones,
        9.0 * ones,
        100.0 * ones,
        100 * ones,
        ones,
        ones,
        1.0 * ones,
        time,
        freq,
        ["x"],
        0 * ones,
        [""],
    )


def names_of(tmp_path, **tables):
    group = GroupSolutions("3C 48", "0", tables.get("parms", []), tables.get("jones", []), tables.get("solvers", []))
    paths = plot(Solutions([group]), tmp_path / "plots")
    assert sorted((tmp_path / "plots").glob("*.png")) == sorted(paths)
    assert all(imread(path).std() > 0.01 for path in paths)
    return [path.name.removesuffix("_3C_48_spw0.png") for path in paths]


def axes_of(tmp_path, monkeypatch, **tables):
    """The panels of every figure by file stem: the figures are caught on their way to the disk."""
    figures = {}
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: figures.update({path.stem: self}))
    group = GroupSolutions("f", "0", tables.get("parms", []), tables.get("jones", []), tables.get("solvers", []))
    plot(Solutions([group]), tmp_path)
    return {stem.removesuffix("_f_spw0"): figure.axes for stem, figure in figures.items()}


def line(ax, label):
    return next(item for item in ax.get_lines() if item.get_label() == label)


def test_jones_against_time_only_where_time_varies(tmp_path):
    assert names_of(tmp_path, jones=[jones()]) == ["G_amplitude_time", "G_phase_time"]


def test_jones_against_time_and_frequency(tmp_path):
    found = names_of(tmp_path, jones=[jones(nf=4, na=2)])
    assert found == ["G_amplitude_time", "G_amplitude_freq", "G_phase_time", "G_phase_freq"]


def test_jones_with_one_cell_is_drawn_against_antenna(tmp_path, monkeypatch):
    table = jones(nt=1, off=0.2)
    (ax,) = axes_of(tmp_path, monkeypatch, jones=[table])["G_amplitude"]
    assert [t.get_text() for t in ax.get_xticklabels()] == table.antennas
    heights = {c.get_label(): c.lines[0].get_ydata() for c in ax.containers}
    assert np.allclose(heights["XX"], 1.5) and np.allclose(heights["XY"], 0.2) and "YX" not in heights


def test_trivial_amplitudes_and_phases_are_left_out(tmp_path):
    assert names_of(tmp_path, jones=[jones("P", amplitude=1.0), jones("A", rate=0.0)]) == [
        "P_phase_time",
        "A_amplitude_time",
    ]


def test_panels_show_the_values_in_their_units(tmp_path, monkeypatch):
    table = jones()
    panels = axes_of(tmp_path, monkeypatch, jones=[table])
    for k, ax in enumerate(panels["G_phase_time"]):
        assert ax.get_title(loc="left") == f"ant{k}"
        assert np.allclose(line(ax, "XX").get_xdata(), 10.0 * np.arange(12))
        assert np.allclose(line(ax, "XX").get_ydata(), np.degrees(0.1 * np.arange(12)))
    band = panels["G_amplitude_time"][0].collections[0].get_datalim(panels["G_amplitude_time"][0].transData)
    assert band.y0 == pytest.approx(1.49) and band.y1 == pytest.approx(1.51)


def test_errors_far_above_the_values_do_not_cover_them(tmp_path, monkeypatch):
    """Weights that are far too small make such errors: the values fill the panel, and the figure says what is not drawn."""
    table = jones(rate=0.001)
    table.errors[:] = 40.0
    for name, height in (("G_amplitude_time", 1.0), ("G_phase_time", 10.0)):
        ax = axes_of(tmp_path, monkeypatch, jones=[table])[name][0]
        assert not ax.collections and np.ptp(ax.get_ylim()) < height
        assert any("are not drawn" in text.get_text() for text in ax.figure.texts)


def test_angles_are_drawn_in_degrees_of_one_turn(tmp_path, monkeypatch):
    figures = {}
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: figures.update({path.stem: self}))
    tables = [parm("K0.phase", value=5.0), parm("Z0.tec", value=0.3)]
    units = {"K0.phase": "rad", "Z0.tec": "TECU"}
    plot(Solutions([GroupSolutions("", "0", tables, [], [])]), tmp_path, units)
    (angle,), (content,) = (figures[f"{stem}_all_fields_spw0"].axes for stem in ("K0.phase_phase", "Z0.tec_value"))
    assert angle.get_ylabel() == "phase (deg)" and content.get_ylabel() == "value (TECU)"
    assert np.allclose(angle.containers[0].lines[0].get_ydata(), np.degrees(5.0) - 360)
    assert [t.get_text() for t in angle.get_xticklabels()] == ["ant0", "ant1", "ant2"]


def test_failed_intervals_are_marked_and_their_values_hidden(tmp_path, monkeypatch):
    table = jones()
    table.flags[1, 0, 3:5] = True
    panels = axes_of(tmp_path, monkeypatch, jones=[table])["G_amplitude_time"]
    assert np.allclose(line(panels[1], "no solution").get_xdata(), [30, 40])
    assert np.isnan(line(panels[1], "XX").get_ydata()[3:5]).all()
    assert "no solution" not in [item.get_label() for item in panels[0].get_lines()]


def test_lines_are_cut_at_phase_wraps_and_gaps(tmp_path, monkeypatch):
    table = jones(na=1, nt=12, rate=1.0)
    table.time[6:] += 600
    (ax,) = axes_of(tmp_path, monkeypatch, jones=[table])["G_phase_time"]
    drawn = line(ax, "XX")
    x, y = drawn.get_xdata(), drawn.get_ydata()
    inside = np.isfinite(y[1:]) & np.isfinite(y[:-1])
    assert np.abs(np.diff(y))[inside].max() < 180 and np.diff(x)[inside].max() < 5
    assert np.isfinite(y).sum() == 12


def test_pages_of_thirty_antennas(tmp_path):
    found = names_of(tmp_path, jones=[jones(na=31, rate=0.0, nt=3)])
    assert found == ["G_amplitude_time_page1", "G_amplitude_time_page2"]


def test_two_terms_of_one_label_get_files_of_their_own(tmp_path):
    group = GroupSolutions("f", "0", [], [jones(rate=0.0), jones(rate=0.0)], [])
    assert [p.name for p in plot(Solutions([group]), tmp_path)] == [
        "G_amplitude_time_f_spw0.png",
        "G_amplitude_time_f_spw0_2.png",
    ]


def test_odd_names_make_plain_files_inside_the_folder(tmp_path):
    group = GroupSolutions("../up", "0/1", [], [jones("a/b c", rate=0.0, nt=2)], [])
    (path,) = plot(Solutions([group]), tmp_path)
    assert path.parent == tmp_path and path.is_file() and "/" not in path.name and " " not in path.name


def test_delays_in_nanoseconds(tmp_path, monkeypatch):
    (ax,) = axes_of(tmp_path, monkeypatch, parms=[parm()])["tau_delay"]
    assert ax.get_ylabel() == "delay (ns)"
    assert np.allclose(ax.containers[0].lines[0].get_ydata(), 5)


def test_polynomials_are_drawn_over_their_intervals(tmp_path, monkeypatch):
    table = parm("slope", nt=2, powers=(2, 1), value=1.0)
    ax = axes_of(tmp_path, monkeypatch, parms=[table])["slope_value_time"][0]
    (drawn,) = ax.get_lines()
    x, y = drawn.get_xdata(), drawn.get_ydata()
    # 1 + x with x from -1 to 1 over each interval of 100 s; the line is cut between the two intervals
    assert np.allclose(y[~np.isnan(y)], np.tile(np.linspace(0, 2, 9), 2))
    assert np.isnan(y[9]) and x[0] == 0 and x[8] == 100 and x[10] == 100 and x[-1] == 200


def test_solver_statistics_by_status(tmp_path, monkeypatch):
    table = solver()
    table.status[0, 4, 0], table.chi2[0, 4, 0], table.iterations[0, 4, 0] = Status.ITERATION_LIMIT, 5000.0, 60
    top, bottom = axes_of(tmp_path, monkeypatch, solvers=[table])["solver_solve"]
    assert np.allclose(line(top, "converged (19)").get_ydata(), 1) and line(top, "iteration limit (1)").get_ydata() == [
        50
    ]
    assert line(bottom, "iteration limit (1)").get_ydata() == [60]
    assert top.get_yscale() == "log"
    assert np.allclose(line(top, "before").get_ydata(), 9 / 100)


def test_a_solver_with_intervals_in_time_and_frequency_is_drawn_as_images_too(tmp_path, monkeypatch):
    table = solver(5, 6)
    table.status[0, 2, 3], table.chi2[0, 2, 3] = Status.DIVERGED, 1e4
    axes = axes_of(tmp_path, monkeypatch, solvers=[table])["solver_solve"]
    chi2, status = (axes[i].collections[0].get_array().reshape(6, 5) for i in (1, 3))
    assert chi2[3, 2] == pytest.approx(2) and status[3, 2] == Status.DIVERGED and (status == Status.DIVERGED).sum() == 1


def test_a_solver_of_one_interval_is_no_picture(tmp_path):
    assert names_of(tmp_path, solvers=[solver(1, 1)]) == []


@pytest.mark.parametrize("shape", [(1, 6), (5, 1), (5, 6)])
def test_solver_of_any_shape(tmp_path, shape):
    assert names_of(tmp_path, solvers=[solver(*shape)]) == ["solver_solve"]


def test_nothing_solved_draws_without_warnings(tmp_path):
    """All flagged, all NaN, no data, unknown limits: pytest turns a warning into an error."""
    failed, nan, nothing = jones(), jones(), solver(status=Status.NO_DATA)
    failed.flags[:] = True
    nan.jones[:], nan.errors[:] = np.nan, np.nan
    nothing.dof[:], nothing.time[:], nothing.iterations[:] = 0, np.nan, 0
    found = names_of(tmp_path, jones=[failed, nan], solvers=[nothing])
    assert found == ["G_amplitude_time", "G_amplitude_time_3C_48_spw0_2.png", "solver_solve"]


def test_empty_tables_draw_nothing(tmp_path):
    assert names_of(tmp_path, jones=[jones(na=0)], parms=[parm(n=0)], solvers=[solver(nt=0)]) == []


def test_a_few_wild_values_do_not_flatten_the_rest():
    values = np.ones((2, 1, 1000)) + 0.01 * np.sin(np.arange(1000))
    values[0, 0, 0] = 1e6
    series = Series("XX", "blue", values, np.full(values.shape, np.nan), np.zeros(values.shape, bool))
    (figure,) = draw(Curves("t", "place", ["a", "b"], np.arange(1000.0), "x", "amplitude", [series]))
    low, high = figure.axes[0].get_ylim()
    assert 0.97 < low < 0.99 and 1.01 < high < 1.03
    assert any("1 point outside" in text.get_text() for text in figure.texts)


def test_axes_in_readable_units():
    x, label = time_axis(4.9e9 + np.arange(3) * 600.0)
    assert np.allclose(x, [0, 10, 20]) and label == "time (min since 2014-02-24 23:06:40 UTC)"
    x, label = time_axis(np.arange(3) * 7200.0)
    assert np.allclose(x, [0, 2, 4]) and label == "time (h)"
    x, label = freq_axis(np.array([3.63e10]))
    assert np.allclose(x, 36.3) and label == "frequency (GHz)"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"plots cannot be written into .*file/plots \(not a directory\)"):
        plot(Solutions([GroupSolutions("f", "0", [], [jones()], [])]), tmp_path / "file" / "plots")


def test_plotting_needs_no_display(monkeypatch, tmp_path):
    """No pyplot: its windows and global figures have no place in a batch program."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", SimpleNamespace())
    assert plots.plot(Solutions([GroupSolutions("f", "0", [], [jones(rate=0.0)], [])]), tmp_path)


def test_complex_parms_are_drawn_unless_a_jones_term_shows_them(tmp_path):
    """Differential gains have an antenna and a direction: no Jones term of antennas holds them."""
    gains, off = jones(nt=12), np.exp(0.3j)
    elements = parm("g", nt=12, value=1j)
    elements.values[:, :, 0, 0, 0] = gains.jones[:, 0, :, 0, 0]
    elements.values[1, 2] = np.nan
    elements.names, elements.qualifiers = [f"g:ant{i}:x" for i in range(3)], [(f"ant{i}", "x") for i in range(3)]
    assert names_of(tmp_path / "alone", parms=[elements]) == ["g_amplitude_time", "g_phase_time"]
    directions = parm("dE", nt=12, value=off)
    directions.qualifiers = [("ant0", "3C"), ("ant1", "3C"), ("ant2", "3C")]
    assert not any(name.startswith("g_") for name in names_of(tmp_path / "gains", jones=[gains], parms=[elements]))
    drawn = names_of(tmp_path, jones=[gains], parms=[elements, directions])
    assert any(name.startswith("dE_phase_time") for name in drawn) and not any(name.startswith("g_") for name in drawn)


def test_every_status_has_a_colour_of_its_own():
    assert len(set(convergence.COLOURS)) == len(convergence.COLOURS) == len(Status)


@pytest.mark.parametrize(("value", "power"), [(5e-7, -7), (3.2e6, 6), (0.02, 0), (300.0, 0)])
def test_numbers_at_axes_are_short_and_say_their_power_of_ten(tmp_path, monkeypatch, value, power):
    table = parm("flux", n=2, nt=9, value=value)
    left, right = axes_of(tmp_path, monkeypatch, parms=[table])["flux_value_time"]
    label = left.get_figure().get_supylabel()
    assert label == (f"value / 1e{power}" if power else "value")
    numbers = [t.get_text() for t in left.get_yticklabels()]
    assert [float(n) * 10.0**power for n in numbers] == pytest.approx(left.get_yticks()) and max(map(len, numbers)) <= 5
    assert not any(t.get_text() for t in right.get_yticklabels()) and left.get_ylim() == right.get_ylim()
