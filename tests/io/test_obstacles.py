"""What is in the way, found before anything is written; and Measurement Sets that are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from casacore.tables import makearrcoldesc, makescacoldesc, maketabdesc, table

from rimetree.errors import DataError
from rimetree.io import MeasurementSet


def snapshot(path):
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*")}


def test_nothing_in_the_way(make_ms):
    path = make_ms()
    ms = MeasurementSet(path)
    before = snapshot(path)
    assert ms.obstacles({"DATA"}, {"CORRECTED_DATA", "DATA", "FLAG"}) == []
    assert snapshot(path) == before


def test_all_faults_at_once(make_ms, edit):
    path = make_ms()
    with edit(path) as main:
        main.addcols(maketabdesc([makearrcoldesc("COUNT", 0, ndim=2), makescacoldesc("NOTE", "")]))
    found = MeasurementSet(path).obstacles({"DAAT", "MODEL", "COUNT"}, {"NOTE", "a b", "CORRECTED_DATA"})
    assert found == [
        f"{path}: column COUNT holds no visibilities (int); columns with visibilities: DATA",
        f"{path}: column DAAT does not exist (did you mean 'DATA'?); columns with visibilities: DATA",
        f"{path}: column MODEL does not exist; columns with visibilities: DATA",
        f"{path}: cannot write visibilities into column NOTE, which holds string; name another column",
        f"{path}: 'a b' cannot be a column name; use letters, digits and underscores",
    ]


def test_read_only(make_ms, monkeypatch):
    """The superuser may write anything, so the mode bits are what the test asks for."""
    path = make_ms()
    monkeypatch.setattr(os, "access", lambda p, mode: bool(os.stat(p).st_mode & 0o200) or not mode & os.W_OK)
    ms = MeasurementSet(path)
    os.chmod(path / "table.f1", 0o400)
    assert ms.obstacles({"DATA"}, {"NEW"}) == [
        f"{path}: read-only: table.f1; make them writable (chmod -R u+w) or work on a copy"
    ]
    os.chmod(path, 0o500)
    assert ms.obstacles({"DATA"}, {"NEW"}) == [
        f"{path}: the folder is read-only; make it writable (chmod -R u+w) or work on a copy"
    ]
    assert ms.obstacles({"DATA"}, set()) == []
    assert ms.read(ms.groups[0]).nrow == 36
    os.chmod(path, 0o700)


@pytest.mark.parametrize("write", [True, False])
def test_locked_by_another_process(make_ms, write):
    path = make_ms()
    code = f"""
from casacore.tables import table
t = table({str(path)!r}, ack=False, readonly={not write}, lockoptions="user")
t.lock({write})
print("locked", flush=True)
input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"locked\n"
    ms = MeasurementSet(path)
    assert ms.obstacles({"DATA"}, {"NEW"}) == [
        f"{path}: locked by another process (process {other.pid}); close it and run again"
    ]
    assert ms.obstacles({"DATA"}, set()) == []
    assert ms.read(ms.groups[0]).nrow == 36
    other.communicate(b"\n")
    assert ms.obstacles({"DATA"}, {"NEW"}) == []


def test_no_room(make_ms, monkeypatch):
    path = make_ms(antennas=10, times=(5e9, 100, 10.0))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 100))
    assert MeasurementSet(path).obstacles({"DATA"}, {"A", "B", "DATA"}) == [
        f"{path}: not enough free disk space to create A, B: 0.00 GB needed, 0.00 GB free; make room"
    ]
    assert MeasurementSet(path).obstacles({"DATA"}, {"DATA"}) == []


def test_table_gone(make_ms):
    path = make_ms()
    ms = MeasurementSet(path)
    (path / "table.dat").unlink()
    assert ms.obstacles({"DATA"}, set()) == [f"{path}: its file table.dat has gone; copy the Measurement Set again"]


def test_not_a_measurement_set(tmp_path, make_ms):
    with pytest.raises(DataError, match=r"nothing\.ms: no such Measurement Set; check the path"):
        MeasurementSet(tmp_path / "nothing.ms")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder: not a Measurement Set; expected a folder with a file table.dat"):
        MeasurementSet(tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: not a Measurement Set"):
        MeasurementSet(tmp_path / "file")
    with pytest.raises(
        DataError, match="ANTENNA: a casacore table but not a Measurement Set; it lacks the columns ANTENNA1"
    ):
        MeasurementSet(make_ms() / "ANTENNA")


def test_incomplete_copies(make_ms):
    path = make_ms()
    (path / "table.dat").rename(path / "elsewhere")
    with pytest.raises(DataError, match="its file table.dat is missing"):
        MeasurementSet(path)
    (path / "table.dat").write_bytes(b"rubbish")
    with pytest.raises(DataError, match="x.ms: casacore cannot open it"):
        MeasurementSet(path)


@pytest.mark.parametrize("name", ["ANTENNA", "FIELD", "SPECTRAL_WINDOW", "POLARIZATION", "DATA_DESCRIPTION"])
def test_missing_or_empty_sub_table(make_ms, edit, name):
    path = make_ms()
    with edit(path / name) as sub:
        sub.removerows(range(sub.nrows()))
    with pytest.raises(DataError, match=f"sub-table {name} has no rows"):
        MeasurementSet(path)
    shutil.rmtree(path / name)
    with pytest.raises(DataError, match=f"sub-table {name} is missing"):
        MeasurementSet(path)


def test_no_rows(make_ms):
    path = make_ms()
    with table(str(path), ack=False) as main:
        main.query("FALSE").copy(str(path.with_name("empty.ms")), deep=True).close()
    with pytest.raises(DataError, match="the main table has no rows"):
        MeasurementSet(path.with_name("empty.ms"))


def test_only_autocorrelations(raw_ms):
    path = raw_ms([(0, 0, 0.0, 1, 0, 0), (1, 1, 0.0, 1, 0, 0)], [(1, ("XX",))])
    with pytest.raises(DataError, match="no cross-correlations. There are only auto-correlations"):
        MeasurementSet(path)


def test_unknown_correlation_type(make_ms, edit):
    path = make_ms()
    with edit(path / "POLARIZATION") as sub:
        sub.putcell("CORR_TYPE", 0, np.array([0, 1, 2, 3], np.int32))
    with pytest.raises(DataError, match="POLARIZATION holds correlation type 0"):
        MeasurementSet(path)


def test_time_that_is_no_number(make_ms, edit):
    path = make_ms()
    with edit(path) as main:
        main.putcell("TIME", 3, np.nan)
    with pytest.raises(DataError, match="TIME holds NaN or Inf"):
        MeasurementSet(path)


def test_windows_without_frequencies_and_correlations_that_are_the_same(make_ms, edit):
    for value in (np.nan, 0.0, np.inf):
        path = make_ms(overwrite=True)
        with edit(path / "SPECTRAL_WINDOW") as table:
            freq = table.getcell("CHAN_FREQ", 0)
            freq[2] = value
            table.putcell("CHAN_FREQ", 0, freq)
        with pytest.raises(DataError, match="SPECTRAL_WINDOW row 0: expected a positive frequency"):
            MeasurementSet(path)
    path = make_ms(overwrite=True)
    with edit(path / "POLARIZATION") as table:
        table.putcell("CORR_TYPE", 0, np.array([9, 9, 12, 12], np.int32))
    with pytest.raises(DataError, match="POLARIZATION row 0 has correlations XX XX YY YY, expected different ones"):
        MeasurementSet(path)


def test_a_set_that_is_open_is_not_overwritten_and_one_that_could_not_be_opened_is_not_open(make_ms, edit):
    path = make_ms()
    with MeasurementSet(path) as ms, pytest.raises(DataError, match="is open in this program; close it before"):
        make_ms(overwrite=True)
    assert len(ms.antennas) == 4
    with edit(path) as table:
        table.putcol("TIME", np.full(table.nrows(), np.nan))
    with pytest.raises(DataError, match="TIME holds NaN") as kept:  # its traceback holds the set
        MeasurementSet(path)
    make_ms(overwrite=True, antennas=5)
    with MeasurementSet(path) as ms:
        assert len(ms.antennas) == 5 and kept.tb is not None
