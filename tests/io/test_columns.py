"""Columns created and written: the right cells, DATA's layout, and a Measurement Set that survives."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from casacore.tables import makearrcoldesc, maketabdesc, table

from rimetree.errors import DataError
from rimetree.io import MeasurementSet

LINEAR = ("XX", "XY", "YX", "YY")
ROWS = [(p, q, 10.0 * t, 1, 0, d) for t in range(6) for p, q in itertools.combinations(range(4), 2) for d in (0, 1)]


def column(path, name):
    with table(str(path), ack=False) as main:
        return main.getcol(name)


def tiles(info):
    return {key: (list(cube["TileShape"]), list(cube["CubeShape"])) for key, cube in info["SPEC"]["HYPERCUBES"].items()}


def test_new_column_is_like_data(make_ms):
    path = make_ms()
    MeasurementSet(path).ensure_column("CORRECTED_DATA")
    with table(str(path), ack=False) as main:
        data, new = main.getdminfo("DATA"), main.getdminfo("CORRECTED_DATA")
        assert data["TYPE"] == new["TYPE"] == "TiledColumnStMan" and tiles(data) == tiles(new)
        np.testing.assert_array_equal(main.getcoldesc("CORRECTED_DATA")["shape"], main.getcoldesc("DATA")["shape"])
        assert main.coldatatype("CORRECTED_DATA") == "complex"
        np.testing.assert_array_equal(main.getcol("CORRECTED_DATA"), np.zeros((36, 5, 4)))


def test_new_column_of_variable_shape_has_every_cell(raw_ms):
    path = raw_ms(ROWS, [(3, LINEAR), (5, ("XX",))])
    MeasurementSet(path, spw=0).ensure_column("MODEL_DATA")
    with table(str(path), ack=False) as main:
        assert main.getdminfo("MODEL_DATA")["TYPE"] == "TiledShapeStMan"
        for row, spec in enumerate(ROWS):
            np.testing.assert_array_equal(main.getcell("MODEL_DATA", row), np.zeros([(3, 4), (5, 1)][spec[5]]))


@pytest.mark.parametrize("manager", ["StandardStMan", "IncrementalStMan"])
def test_other_storage_managers(make_ms, edit, manager):
    path = make_ms()
    data = column(path, "DATA")
    with edit(path) as main:
        main.removecols(["DATA"])
        main.addcols(
            maketabdesc(makearrcoldesc("DATA", 0j, ndim=2, valuetype="complex")), {"TYPE": manager, "NAME": "other"}
        )
        main.putcol("DATA", data)
    ms = MeasurementSet(path)
    ms.ensure_column("CORRECTED_DATA")
    with table(str(path), ack=False) as main:
        expected = manager if manager == "StandardStMan" else "TiledShapeStMan"  # incremental is no place for data
        assert main.getdminfo("CORRECTED_DATA")["TYPE"] == expected
        np.testing.assert_array_equal(main.getcol("CORRECTED_DATA"), np.zeros_like(data))


def test_an_existing_column_is_left_alone(make_ms):
    path = make_ms()
    before = column(path, "DATA")
    MeasurementSet(path).ensure_column("DATA")
    np.testing.assert_array_equal(column(path, "DATA"), before)


def test_a_half_filled_column_is_completed(raw_ms, edit):
    path = raw_ms(ROWS, [(3, LINEAR), (5, ("XX",))])
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("NEW", 0j, ndim=2, valuetype="complex")))
        main.putcell("NEW", 0, np.full((3, 4), 7j))
    MeasurementSet(path).ensure_column("NEW")
    with table(str(path), ack=False) as main:
        assert all(main.iscelldefined("NEW", row) for row in range(len(ROWS)))
        assert (main.getcell("NEW", 0) == 7j).all() and (main.getcell("NEW", 1) == 0).all()


def test_without_data_like_column(make_ms, edit):
    path = make_ms()
    with edit(path) as main:
        main.renamecol("DATA", "RAW")
    MeasurementSet(path).ensure_column("CORRECTED_DATA")
    with table(str(path), ack=False) as main:
        assert tiles(main.getdminfo("RAW")) == tiles(main.getdminfo("CORRECTED_DATA"))
    with edit(path) as main:
        main.removecols(["RAW", "CORRECTED_DATA"])
    ms = MeasurementSet(path)
    with pytest.raises(DataError, match="cannot create column CORRECTED_DATA: there is no column with visibilities"):
        ms.ensure_column("CORRECTED_DATA")
    assert ms.obstacles(set(), {"CORRECTED_DATA"}) == [
        f"{path}: cannot create column CORRECTED_DATA: there is no column with visibilities to make it like"
    ]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("channels", [None, "1~2"])
def test_write_touches_only_its_cells(raw_ms, shuffle, channels):
    order = np.random.default_rng(5).permutation(len(ROWS)) if shuffle else range(len(ROWS))
    path = raw_ms([ROWS[i] for i in order], [(4, LINEAR), (5, ("XX",))])
    with table(str(path), ack=False) as main:
        expected = [main.getcell("DATA", row) for row in range(len(ROWS))]
    ms = MeasurementSet(path, channels=channels, spw=1, antennas=[0, 1, 3])
    rng = np.random.default_rng(6)
    for tile in ms.reader(ms.groups[0], ["DATA"], 2):
        values = (rng.normal(size=tile.shape) + 1j * rng.normal(size=tile.shape)).astype(np.complex64)
        ms.write(tile, "DATA", values)
        for row, value in zip(tile.ms_rows, values, strict=True):
            expected[row][slice(1, 3) if channels else slice(None)] = value
    with table(str(path), ack=False) as main:
        for row, value in enumerate(expected):
            np.testing.assert_array_equal(main.getcell("DATA", row), value)


def test_write_flags(make_ms):
    path = make_ms()
    ms = MeasurementSet(path, scans=1, channels="3")
    tile = ms.read(ms.groups[0], slice(1, 3))
    ms.write_flags(tile, np.ones(tile.shape, np.uint8))
    expected = np.zeros((36, 5, 4), bool)
    expected[6:18, 3] = True
    np.testing.assert_array_equal(column(path, "FLAG"), expected)


def test_wrong_shape_or_column(make_ms):
    ms = MeasurementSet(make_ms())
    tile = ms.read(ms.groups[0])
    with pytest.raises(ValueError, match=r"shape \(3, 5, 4\), expected \(36, 5, 4\)"):
        ms.write(tile, "DATA", np.zeros((3, 5, 4)))
    with pytest.raises(DataError, match="column NEW does not exist; create it first"):
        ms.write(tile, "NEW", np.zeros(tile.shape))


def test_others_read_while_we_work(make_ms):
    """Nothing stays locked, and what was written is there for another process at once."""
    path = make_ms()
    ms = MeasurementSet(path)
    tile = ms.read(ms.groups[0])
    ms.write(tile, "DATA", np.full(tile.shape, 3j))
    code = f"""
from casacore.tables import table
t = table({str(path)!r}, ack=False, readonly=False)
t.lock(True, 1)
print(t.getcol("DATA").imag.min())
"""
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert other.stdout.strip() == "3.0", other.stderr


def run_limited(path, call):
    """In a process that may not make a file longer than 20 kB, which looks like a full disk to casacore."""
    code = f"""
import resource, numpy as np
from rimetree.errors import DataError
from rimetree.io import MeasurementSet
ms = MeasurementSet({str(path)!r})
tile = ms.read(ms.groups[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
try:
    {call}
except DataError as error:
    print(error)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_full_disk(raw_ms):
    path = raw_ms(ROWS, [(60, LINEAR), (50, ("XX",))])
    before = MeasurementSet(path).read(MeasurementSet(path).groups[0]).columns["DATA"]
    done = run_limited(path, "ms.ensure_column('NEW')")
    assert f"{path}: writing the new column NEW failed" in done.stdout and "check free disk space" in done.stdout, done
    ms = MeasurementSet(path)
    np.testing.assert_array_equal(ms.read(ms.groups[0]).columns["DATA"], before)
    ms.ensure_column("NEW")
    assert not ms.read(ms.groups[0], columns=["NEW"]).columns["NEW"].any()


def test_full_disk_while_a_flagset_is_made(raw_ms):
    """FLAG is as it was, and the same call succeeds when there is room."""
    path = raw_ms(ROWS, [(60, LINEAR), (50, ("XX",))])
    before = [MeasurementSet(path).read(group).flags for group in MeasurementSet(path).groups]
    done = run_limited(path, "ms.ensure_flagset('rfi')")
    assert f"{path}: writing " in done.stdout and "check free disk space" in done.stdout, done
    ms = MeasurementSet(path)
    ms.ensure_flagset("rfi")
    assert MeasurementSet(path).flagsets == {"legacy": 1, "rfi": 2}
    for group, flags in zip(ms.groups, before, strict=True):
        tile = ms.read(group)
        np.testing.assert_array_equal(tile.flags, flags)
        ms.write_flags(tile, None, {"rfi": flags})


KILLED = """
import numpy as np, sys
from rimetree.io import MeasurementSet
ms = MeasurementSet(sys.argv[1])
print("ready", flush=True)
for name in ("A", "B", "C", "D", "E", "F"):
    ms.ensure_column(name)
    for group in ms.groups:
        for tile in ms.reader(group, ["DATA"], 1):
            ms.write(tile, name, tile.columns["DATA"])
print("done", flush=True)
"""


@pytest.mark.parametrize("delay", [0.001, 0.01, 0.03, 0.08])
def test_killed_at_any_moment(raw_ms, delay):
    """The set opens, DATA is as it was, and a second run gives what one run gives."""
    path = raw_ms(ROWS, [(3, LINEAR), (5, ("XX",))])
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    MeasurementSet(path)
    again = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, timeout=120)
    assert again.stdout == "ready\ndone\n", again.stderr
    with table(str(path), ack=False) as main:
        for row, spec in enumerate(ROWS):
            channel, corr = np.ogrid[: (3, 5)[spec[5]], : (4, 1)[spec[5]]]
            for name in ("DATA", "A", "F"):
                np.testing.assert_array_equal(main.getcell(name, row), row + 1000 * channel + 1j * corr)


def test_truncated_header_is_mended(make_ms):
    """A process killed while casacore rewrites the header of a tiled column leaves it empty."""
    path = make_ms()
    before = column(path, "DATA")
    number = MeasurementSet(path)._table.getdminfo("DATA")["SEQNR"]
    code = f"""
import os, signal
from rimetree.io import MeasurementSet
from rimetree.io.table import writing
with writing(MeasurementSet({str(path)!r}).path, "a test") as table:
    open({str(path / f"table.f{number}")!r}, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL and os.path.getsize(path / f"table.f{number}") == 0
    ms = MeasurementSet(path)
    np.testing.assert_array_equal(ms.read(ms.groups[0]).columns["DATA"], before)
    assert not (path / ".rimetree").exists()


def test_lock_file_older_than_the_table_is_mended(make_ms):
    """A process killed after it wrote table.dat and before table.lock leaves a count of columns that is wrong."""
    path = make_ms()
    old = (path / "table.lock").read_bytes()
    code = f"from rimetree.io import MeasurementSet; MeasurementSet({str(path)!r}).ensure_column('A')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    (path / "table.lock").write_bytes(old)
    (path / ".rimetree").mkdir()
    MeasurementSet(path).ensure_column("B")
    assert not column(path, "A").any() and not column(path, "B").any()
