"""Solution files: what is saved comes back, whole or not at all, and every fault has its one clear message."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rimetree.errors import DataError
from rimetree.io.solutions import (
    GroupSolutions,
    JonesTable,
    ParmTable,
    Solutions,
    SolverTable,
    check_writable,
    counts,
    info,
)
from rimetree.status import Status


def parm_table(label="gx", n=3, nt=4, nf=2, powers=(1, 1), dtype=complex, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, nt, nf, *powers)
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if dtype is complex else 0)
    errors = np.where(rng.random(shape) < 0.1, np.nan, rng.random(shape))
    status = rng.integers(0, len(Status), shape[:3], np.uint8)
    edges = np.sort(rng.random((nt, 2)), 1) + np.arange(nt)[:, None]
    bands = 1e8 + np.sort(rng.random((nf, 2)), 1)
    names = [f"{label}:m{i:03d}" for i in range(n)]
    return ParmTable(label, names, [(f"m{i:03d}",) for i in range(n)], values, errors, status, edges, bands)


def jones_table(label="G", na=3, nf=2, nt=4, seed=1):
    rng = np.random.default_rng(seed)
    jones = rng.normal(size=(na, nf, nt, 2, 2)) + 1j * rng.normal(size=(na, nf, nt, 2, 2))
    flags = rng.random((na, nf, nt)) < 0.3
    antennas = [f"m{i:03d}" for i in range(na)]
    return JonesTable(label, antennas, jones, flags, np.arange(nt) * 10.0, 1e8 + np.arange(nf), abs(jones), "linear")


def solver_table(name="solve", nc=1, nt=4, nf=2):
    shape = (nc, nt, nf)
    ints = [np.full(shape, value) for value in (7, 95, 6, 6)]
    its, dof, rank, unknowns = ints
    time, freq = np.zeros((nt, 2)), np.zeros((nf, 2))
    names = [f"part {i}" for i in range(nc)]
    status = np.zeros(shape, np.uint8)
    return SolverTable(
        name,
        status,
        its,
        np.full(shape, 200.0),
        np.full(shape, 95.0),
        dof,
        rank,
        unknowns,
        np.ones(shape),
        time,
        freq,
        names,
        np.zeros(shape, int),
        ["phase of all gx"],
    )


def small(**meta):
    return Solutions([GroupSolutions("3C343", "0", [parm_table()], [jones_table()], [solver_table()])], meta)


def same(a, b):
    """Equality of tables, field by field: types, shapes, NaN and all."""
    assert type(a) is type(b)
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"), f.name
        else:
            assert x == y, f.name


def same_solutions(a, b):
    assert a.meta == b.meta
    assert [(g.field, g.spw) for g in a.groups] == [(g.field, g.spw) for g in b.groups]
    for one, other in zip(a.groups, b.groups, strict=True):
        for kind in ("parms", "jones", "solvers"):
            for x, y in zip(getattr(one, kind), getattr(other, kind), strict=True):
                same(x, y)


def test_round_trip(tmp_path):
    path = tmp_path / "sols.h5"
    solutions = small(data="x.ms", slots=12, seconds=1.5, resumed=True, script="x\n" * 100_000)
    solutions.save(path)
    same_solutions(solutions, Solutions.load(path))
    assert os.listdir(tmp_path) == ["sols.h5"]


# HDF5 has no place for "/" or "." as a name, and a NUL can be in no node name.
odd_names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8) | st.sampled_from(
    ["a/b", "/", ".", "..", "a b", "%", "a%2Fb", "parms", "meta", "solvers", "", "α°", "field_x", "~2", "G~2"]
)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(odd_names, max_size=4),
    places=st.lists(st.tuples(odd_names, odd_names), min_size=1, max_size=3),
    sizes=st.tuples(*[st.integers(0, 3)] * 3),
    powers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dtype=st.sampled_from([float, complex]),
)
def test_round_trip_of_any_names_and_shapes(tmp_path_factory, labels, places, sizes, powers, dtype):
    n, nt, nf = sizes
    groups = []
    for field, spw in places:
        parms = [parm_table(label, n, nt, nf, powers, dtype, seed=i) for i, label in enumerate(labels)]
        jones = [jones_table(label, n, nf, nt, seed=i) for i, label in enumerate(labels)]
        groups.append(GroupSolutions(field, spw, parms, jones, [solver_table(label, n, nt, nf) for label in labels]))
    solutions = Solutions(groups, {})
    path = tmp_path_factory.mktemp("any") / "sols.h5"
    solutions.save(path)
    same_solutions(solutions, Solutions.load(path))


def test_layout_is_what_other_programs_may_rely_on(tmp_path):
    path = tmp_path / "sols.h5"
    table = jones_table()
    Solutions([GroupSolutions("3C 48/a", "1", [parm_table()], [table], [solver_table()])], {"data": "x.ms"}).save(path)
    with h5py.File(path) as file:
        group = file["G/field_3C 48%2Fa/spw_1"]
        assert np.array_equal(group["jones"][...], table.jones)
        assert group["jones"].compression == "gzip" and group["jones"].attrs["axes"] == "a f t 2 2"
        assert group["time"].attrs["unit"] == "s"
        assert [name.decode() for name in group["antennas"][...]] == table.antennas
        assert "gx" in file["parms/field_3C 48%2Fa/spw_1"] and "solve" in file["solvers/field_3C 48%2Fa/spw_1"]
        assert file["meta"].attrs["data"] == "x.ms"


def test_narrow_types_are_widened_and_wrong_ones_refused(tmp_path):
    solutions = small()
    table = solutions.groups[0].jones[0]
    table.jones, table.flags = table.jones.astype(np.complex64), table.flags.astype(np.uint8)
    solutions.save(tmp_path / "a.h5")
    assert Solutions.load(tmp_path / "a.h5").groups[0].jones[0].jones.dtype == np.complex128
    table.time = np.array(["noon"] * 4)
    with pytest.raises(DataError, match=r"G/field_3C343/spw_0/time: expected numbers of type float64, found <U4"):
        solutions.save(tmp_path / "b.h5")
    table.time = np.zeros(5)
    with pytest.raises(DataError, match=r"spw_0/time: expected axes \(t\) = \(4\), found shape \(5,\)"):
        solutions.save(tmp_path / "b.h5")
    assert os.listdir(tmp_path) == ["a.h5"]


def test_meta_holds_strings_and_numbers_only(tmp_path):
    with pytest.raises(DataError, match=r"meta\['when'\] must be a string or a number, not list"):
        small(when=[1]).save(tmp_path / "a.h5")


# --- where files may be written ---


def test_an_existing_file_needs_overwrite(tmp_path):
    path = tmp_path / "sols.h5"
    small(run=1).save(path)
    for refuse in (lambda: small(run=2).save(path), lambda: check_writable(path)):
        with pytest.raises(DataError, match=r"sols.h5 exists; choose another name, or allow overwriting"):
            refuse()
    assert Solutions.load(path).meta == {"run": 1}
    small(run=2).save(path, overwrite=True)
    assert Solutions.load(path).meta == {"run": 2}


def test_a_link_keeps_pointing_at_the_file(tmp_path):
    small(run=1).save(tmp_path / "real.h5")
    (tmp_path / "link.h5").symlink_to("real.h5")
    small(run=2).save(tmp_path / "link.h5", overwrite=True)
    assert (tmp_path / "link.h5").is_symlink() and Solutions.load(tmp_path / "real.h5").meta == {"run": 2}


def test_missing_folder_and_folder_as_name(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*absent; create it first"):
        small().save(tmp_path / "absent" / "sols.h5")
    with pytest.raises(DataError, match=r"is a folder; give the name of a file"):
        check_writable(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    # The tests may run as root, whom no mode of a folder stops: let the system refuse instead.
    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(DataError, match=r"the folder .* cannot be written \(permission denied\)"):
        check_writable(tmp_path / "sols.h5")


def run_python(code, *args):
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=120)


SAVE_UNDER_A_SIZE_LIMIT = """
import resource, signal, sys
import numpy as np
from rimetree.errors import DataError
from rimetree.io.solutions import GroupSolutions, JonesTable, Solutions
noise = np.random.default_rng(0).normal(size=(40, 10, 10, 2, 2)) * (1 + 1j)
table = JonesTable("G", ["a"] * 40, noise, np.zeros((40, 10, 10), bool), np.zeros(10), np.zeros(10), abs(noise))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    Solutions([GroupSolutions("f", "0", [], [table], [])]).save(sys.argv[1], overwrite=True)
except DataError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "sols.h5"
    small(run=1).save(path)
    done = run_python(SAVE_UNDER_A_SIZE_LIMIT, path)
    assert "sols.h5 could not be written (file too large); nothing was changed" in done.stdout, done.stderr
    assert os.listdir(tmp_path) == ["sols.h5"] and Solutions.load(path).meta == {"run": 1}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", ["h5py.Group.create_dataset", "os.fsync", "os.replace"])
def test_an_interrupt_midway_leaves_the_old_file(tmp_path, monkeypatch, stop, where):
    path = tmp_path / "sols.h5"
    small(run=1).save(path)
    calls = []

    def interrupt(*args, **kwargs):
        calls.append(args)
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(where, interrupt)
        with pytest.raises(stop):
            small(run=2).save(path, overwrite=True)
    assert len(calls) == 1
    assert os.listdir(tmp_path) == ["sols.h5"] and Solutions.load(path).meta == {"run": 1}


SAVE_AND_HANG = """
import os, sys, time
from rimetree.io.atomic import write_atomically
def hang(handle):
    print("half", flush=True)
    time.sleep(100)
os.fsync = hang
write_atomically(sys.argv[1], b"new", overwrite=True)
"""


def test_a_kill_midway_leaves_the_old_file(tmp_path):
    path = tmp_path / "sols.h5"
    small(run=1).save(path)
    with subprocess.Popen([sys.executable, "-c", SAVE_AND_HANG, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert Solutions.load(path).meta == {"run": 1}
    left = sorted(set(os.listdir(tmp_path)) - {"sols.h5"})
    assert left == [f".sols.h5.{process.pid}.partial"]
    small(run=2).save(path, overwrite=True)
    assert Solutions.load(path).meta == {"run": 2}


def test_readers_never_see_a_half_written_file(tmp_path):
    """Overwriting again and again while reading: every read finds one of the whole files."""
    path = tmp_path / "sols.h5"
    small(run=0).save(path)
    code = "import sys\nfrom pathlib import Path\nfrom rimetree.io.atomic import write_atomically\n"
    code += "content = Path(sys.argv[1]).read_bytes()\nprint('go', flush=True)\n"
    code += "while True: write_atomically(sys.argv[1], content, overwrite=True)"
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        stop = time.monotonic() + 0.5
        while time.monotonic() < stop:
            assert Solutions.load(path).meta == {"run": 0}
        process.kill()


# --- what load refuses ---


def test_load_refuses_what_is_no_solution_file(tmp_path):
    with pytest.raises(DataError, match=r"absent.h5: no such file"):
        Solutions.load(tmp_path / "absent.h5")
    with pytest.raises(DataError, match=r"this is a folder; expected an HDF5 solution file"):
        Solutions.load(tmp_path)
    (tmp_path / "text.h5").write_text("gain 1.0")
    with pytest.raises(DataError, match=r"text.h5 is not an HDF5 file; expected solutions written by rimetree"):
        Solutions.load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match=r"other.h5 is an HDF5 file, but not one with rimetree solutions"):
        Solutions.load(tmp_path / "other.h5")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_load_refuses_a_truncated_file(tmp_path, keep):
    path = tmp_path / "cut.h5"
    small().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match=r"cut.h5 is damaged or half-written \(.*\); make the solutions anew"):
        Solutions.load(path)


def drop(name):
    def change(file):
        del file[name]

    return change


def set_attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


def reshape(file):
    del file["G/field_3C343/spw_0/flags"]
    file["G/field_3C343/spw_0/flags"] = np.zeros((9, 9), bool)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("G/field_3C343/spw_0/flags"), r"x.h5: dataset G/field_3C343/spw_0/flags is missing"),
        (drop("parms/field_3C343/spw_0/gx/values"), r"x.h5: dataset parms/field_3C343/spw_0/gx/values is missing"),
        (drop("G"), r"x.h5: expected 3 tables, found 2; make the solutions anew"),
        (drop("meta"), r"x.h5 is incomplete: .*meta.*; make the solutions anew"),
        (reshape, r"x.h5: G/field_3C343/spw_0/flags: expected axes \(a, f, t\) = \(3, 2, 4\), found shape \(9, 9\)"),
        (set_attribute("version", 99), r"x.h5 has version 99 of the solution format, this rimetree reads version 3"),
        (set_attribute("complete", False), r"x.h5 is half-written: its writer never finished"),
        (set_attribute("groups", "["), r"x.h5 is damaged or half-written"),
        (set_attribute("groups", json.dumps([])), r"x.h5 is damaged or half-written"),
    ],
)
def test_load_names_what_is_wrong(tmp_path, change, message):
    path = tmp_path / "x.h5"
    small().save(path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        Solutions.load(path)


# --- looking things up ---


def test_parm_by_node_name_and_by_label():
    table = parm_table()
    found = Solutions([GroupSolutions("a", "0", [table], [], [])]).parm("gx:m001")
    assert found.names == ["gx:m001"] and found.qualifiers == [("m001",)]
    assert np.array_equal(found.values, table.values[1:2]) and np.array_equal(found.time, table.time)
    assert Solutions([GroupSolutions("a", "0", [table], [], [])]).parm("gx") is table


def test_parm_says_what_there_is():
    groups = [GroupSolutions("a", spw, [parm_table(), parm_table("gy")], [], []) for spw in ("0", "1")]
    solutions = Solutions(groups)
    assert solutions.parm("gx", spw=1) is groups[1].parms[0]
    with pytest.raises(DataError, match=r"solved for field 'a' spw '0' .*, field 'a' spw '1' .*: say which"):
        solutions.parm("gx")
    with pytest.raises(
        DataError, match=r"no solutions of Parm 'gx:m00l' \(did you mean 'gx:m00.'\?\); solved Parms: gx, gy"
    ):
        solutions.parm("gx:m00l")
    with pytest.raises(DataError, match=r"no solutions of Parm 'gx'; solved Parms: none"):
        solutions.parm("gx", field="b")


def test_info_summarises(tmp_path):
    path = tmp_path / "sols.h5"
    solutions = small(data="x.ms")
    solutions.groups[0].solvers[0].status[0, 0, 0] = Status.NO_DATA
    solutions.groups[0].solvers[0].iterations[0, 0, 0] = 31
    solutions.save(path)
    text = info(path)
    table = solutions.groups[0].jones[0]
    flagged = 100 * table.flags.sum() / table.flags.size
    assert "data: x.ms" in text and "field 3C343, spw 0" in text
    assert f"Jones G: 3 antennas x 2 frequencies x 4 times, linear feeds, {flagged:.3g} % flagged" in text
    assert "Parm gx: 3 complex x 4 time x 2 frequency intervals: " in text
    assert "Solver solve [part 0]: 7 converged, 1 no data; chi2/dof 1; iterations 7 (most 31)" in text
    assert "free in 8 intervals: phase of all gx" in text


def test_info_of_empty_solutions(tmp_path):
    Solutions([GroupSolutions("f", "0", [parm_table(n=0)], [jones_table(nt=0)], [solver_table(nt=0)])]).save(
        tmp_path / "e.h5"
    )
    assert "0 complex x 4 time x 2 frequency intervals: none" in info(tmp_path / "e.h5")


def test_counts_knows_codes_of_the_future():
    assert counts(np.array([0, 0, 6, 77], np.uint8)) == "2 converged, 1 no data, 1 status 77"


def test_every_status_has_its_sentence():
    assert [s.value for s in Status] == list(range(9))
    assert len({s.message for s in Status}) == 9 and all(s.message for s in Status)
    assert Status.ITERATION_LIMIT.word == "iteration limit"


def test_bytes_are_a_plain_hdf5_file(tmp_path):
    """No user block, no custom filter: h5py opens what was written from memory."""
    small().save(tmp_path / "a.h5")
    with h5py.File(io.BytesIO((tmp_path / "a.h5").read_bytes())) as file:
        assert file.attrs["complete"]
