"""Named flagsets in BITFLAG: what casacore alone reads back, and that nothing is ever lost."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest
from casacore.tables import makearrcoldesc, maketabdesc, table

from rimetree.errors import DataError
from rimetree.io import MeasurementSet
from rimetree.io import flagsets as flag_io

LINEAR = ("XX", "XY", "YX", "YY")


def read(path, *names):
    with table(str(path), ack=False) as main:
        return [main.getcol(name) for name in names]


def keywords(path):
    with table(str(path), ack=False) as main:
        return main.getcolkeywords("BITFLAG")


def put(path, **columns):
    with table(str(path), ack=False, readonly=False) as main:
        for name, values in columns.items():
            main.putcol(name, values)


@pytest.fixture
def flagged(make_ms):
    """A set with random FLAG and FLAG_ROW, and these."""
    path = make_ms()
    rng = np.random.default_rng(1)
    flag, row = rng.random((36, 5, 4)) < 0.3, rng.random(36) < 0.2
    put(path, FLAG=flag, FLAG_ROW=row)
    return path, flag, row


def whole(path):
    ms = MeasurementSet(path)
    return ms, ms.read(ms.groups[0])


def test_a_new_flagset_keeps_what_flag_held(flagged):
    path, flag, row = flagged
    ms = MeasurementSet(path)
    assert ms.flagsets == {} and ms.flagset_obstacles(set(), {"rfi"}) == []
    ms.ensure_flagset("rfi")
    words, rows, after = read(path, "BITFLAG", "BITFLAG_ROW", "FLAG")
    assert words.dtype == rows.dtype == np.int32
    np.testing.assert_array_equal(words, flag)
    np.testing.assert_array_equal(rows, row)
    np.testing.assert_array_equal(after, flag)
    assert keywords(path) == {"FLAGSETS": "legacy,rfi", "FLAGSET_legacy": 1, "FLAGSET_rfi": 2}
    MeasurementSet(path).ensure_flagset("rfi")
    assert MeasurementSet(path).flagsets == {"legacy": 1, "rfi": 2}


def test_written_removed_restored(flagged):
    path, flag, _ = flagged
    rng = np.random.default_rng(2)
    one, two = rng.random((2, *flag.shape)) < 0.3
    ms, tile = whole(path)
    for name in ("one", "two"):
        ms.ensure_flagset(name)
    ms.write_flags(tile, one, {"one": one})
    ms.write_flags(tile, two, {"two": two})
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(words, flag * 1 + one * 2 + two * 4)
    np.testing.assert_array_equal(after, flag | one | two)
    parts = MeasurementSet(path).flagged()
    assert parts == pytest.approx({"FLAG": after.mean(), "legacy": flag.mean(), "one": one.mean(), "two": two.mean()})
    MeasurementSet(path).remove_flagset("one")
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(words, flag * 1 + two * 4)
    np.testing.assert_array_equal(after, flag | two)
    assert keywords(path) == {"FLAGSETS": "legacy,two", "FLAGSET_legacy": 1, "FLAGSET_two": 4}
    MeasurementSet(path).restore_flags()
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(after, flag)
    np.testing.assert_array_equal(words, flag * 1 + two * 4)
    MeasurementSet(path).ensure_flagset("three")  # the bit of the one that was removed
    assert MeasurementSet(path).flagsets == {"legacy": 1, "three": 2, "two": 4}


def test_writing_again_replaces(flagged):
    """A flagset holds what was written last; FLAG loses what only its old content flagged."""
    path, flag, _ = flagged
    first, second = np.random.default_rng(3).random((2, *flag.shape)) < 0.3
    ms, tile = whole(path)
    ms.ensure_flagset("rfi")
    ms.write_flags(tile, first, {"rfi": first})
    ms.write_flags(tile, second, {"rfi": second})
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(words, flag * 1 + second * 2)
    np.testing.assert_array_equal(after, flag | second)
    ms.write_flags(tile, None, {"rfi": first})  # FLAG is not touched unless asked for
    np.testing.assert_array_equal(read(path, "FLAG")[0], flag | second)


def test_flags_made_by_others_since_are_kept(flagged):
    """What another program puts into FLAG after the first flagset becomes part of legacy, and survives removals."""
    path, flag, _ = flagged
    ms, tile = whole(path)
    ms.ensure_flagset("rfi")
    other = flag | (np.random.default_rng(4).random(flag.shape) < 0.2)
    put(path, FLAG=other)
    everywhere = np.ones(flag.shape, bool)
    ms.write_flags(tile, everywhere, {"rfi": everywhere})
    ms.remove_flagset("rfi")
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(after, other)
    np.testing.assert_array_equal(words, other * 1)


def test_only_the_cells_of_the_tile(flagged):
    path, flag, _ = flagged
    ms = MeasurementSet(path, channels="1~2", antennas=[0, 1, 3])
    ms.ensure_flagset("rfi")
    expected, marked = flag.copy(), np.zeros(flag.shape, bool)
    for tile in ms.reader(ms.groups[0], ["DATA"], 2):
        ms.write_flags(tile, np.ones(tile.shape, bool), {"rfi": np.ones(tile.shape, bool)})
        marked[tile.ms_rows, 1:3] = True
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(after, expected | marked)
    np.testing.assert_array_equal(words, flag * 1 + marked * 2)


def test_rows_of_several_shapes(raw_ms):
    rows = [(0, 1, 0.0, 1, 0, 0), (0, 2, 0.0, 1, 0, 1), (0, 1, 10.0, 1, 0, 0), (0, 2, 10.0, 1, 0, 1)]
    path = raw_ms(rows, [(4, LINEAR), (5, ("XX",))])
    with table(str(path), ack=False, readonly=False) as main:
        for row in range(4):
            main.putcell(
                "FLAG",
                row,
                np.arange(main.getcell("DATA", row).size).reshape(main.getcell("DATA", row).shape) % 3 == row % 3,
            )
    ms = MeasurementSet(path)
    ms.ensure_flagset("rfi")
    for group in ms.groups:
        tile = ms.read(group)
        ms.write_flags(tile, None, {"rfi": np.ones(tile.shape, bool)})
    with table(str(path), ack=False) as main:
        for row in range(4):
            np.testing.assert_array_equal(main.getcell("BITFLAG", row), 2 + main.getcell("FLAG", row))
    ms.remove_flagset("rfi")
    assert ms.flagged()["legacy"] == ms.flagged()["FLAG"]


def test_rows_without_flags(raw_ms):
    """A row of which FLAG holds no array has no bits, and is in nobody's way."""
    path = raw_ms([(0, 1, 10.0 * i, 1, 0, 0) for i in range(3)], [(4, LINEAR)])
    with table(str(path), ack=False, readonly=False) as main:
        for row in (0, 2):
            main.putcell("FLAG", row, np.full((4, 4), row == 2))
        empty = not main.iscelldefined("FLAG", 1)
    ms = MeasurementSet(path)
    ms.ensure_flagset("rfi")
    assert ms.flagged()["legacy"] == (0.5 if empty else 1 / 3)
    assert [read_cell(path, "BITFLAG", row).max() for row in range(3)] == [0, 0, 1]


def read_cell(path, name, row):
    with table(str(path), ack=False) as main:
        return main.getcell(name, row)


def test_flagsets_of_another_program(flagged):
    """Its names and bits stay, also bits without a name; legacy is added."""
    path, flag, _ = flagged
    with table(str(path), ack=False, readonly=False) as main:
        main.addcols(maketabdesc(makearrcoldesc("BITFLAG", 0, ndim=2, valuetype="int")))
        main.putcol("BITFLAG", np.full(flag.shape, 1 | 4, np.int32))
        main.putcolkeyword("BITFLAG", "FLAGSETS", "cubical")
        main.putcolkeyword("BITFLAG", "FLAGSET_cubical", 1)
    ms, tile = whole(path)
    ms.ensure_flagset("rfi")
    assert MeasurementSet(path).flagsets == {"cubical": 1, "legacy": 2, "rfi": 8}
    ms.write_flags(tile, None, {"rfi": flag})
    np.testing.assert_array_equal(read(path, "BITFLAG")[0], 5 + flag * 2 + flag * 8)


@pytest.mark.parametrize("moment", range(1, 9))
def test_killed_at_any_write(flagged, monkeypatch, moment):
    """Stopped after any number of writes of a piece and done again: as if it had been done once."""
    path, flag, _ = flagged
    marks = np.random.default_rng(5).random(flag.shape) < 0.4

    def work():
        ms, tile = whole(path)
        ms.ensure_flagset("rfi")
        ms.write_flags(tile, marks, {"rfi": marks})
        ms.ensure_flagset("next")
        ms.write_flags(tile, None, {"next": marks})
        ms.remove_flagset("next")

    class Killed(BaseException):
        pass

    calls = []
    pieces = flag_io._pieces
    named = flag_io._name

    def counted():
        calls.append(1)
        if len(calls) == moment:
            raise Killed

    def interrupted(table):
        for item in pieces(table):
            counted()
            yield item

    def name(*arguments):
        counted()
        return named(*arguments)

    monkeypatch.setattr(flag_io, "CHUNK_BYTES", 4000)  # several pieces
    monkeypatch.setattr(flag_io, "_pieces", interrupted)
    monkeypatch.setattr(flag_io, "_name", name)
    try:
        work()
    except Killed:
        calls.append(100)
        work()
    words, after = read(path, "BITFLAG", "FLAG")
    np.testing.assert_array_equal(words, flag * 1 + marks * 2)
    np.testing.assert_array_equal(after, flag | marks)
    assert keywords(path) == {"FLAGSETS": "legacy,rfi", "FLAGSET_legacy": 1, "FLAGSET_rfi": 2}


KILLED = """
import numpy as np, sys
from rimetree.io import MeasurementSet
ms = MeasurementSet(sys.argv[1])
tiles = [ms.read(ms.groups[0], slice(i, i + 1)) for i in range(6)]
print("ready", flush=True)
ms.ensure_flagset("rfi")
for tile in tiles:
    marks = np.abs(tile.columns["DATA"]) > 0.4
    ms.write_flags(tile, marks, {"rfi": marks})
ms.ensure_flagset("next")
ms.remove_flagset("next")
print("done", flush=True)
"""


@pytest.mark.parametrize("delay", [0.002, 0.02, 0.05, 0.1])
def test_killed_by_a_signal(flagged, delay):
    """The set opens, what FLAG held is there, and a second run gives what one run gives."""
    path, flag, _ = flagged
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    MeasurementSet(path).close()
    again = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, timeout=120)
    assert again.stdout == "ready\ndone\n", again.stderr
    words, after, data = read(path, "BITFLAG", "FLAG", "DATA")
    marks = np.abs(data) > 0.4
    np.testing.assert_array_equal(words, flag * 1 + marks * 2)
    np.testing.assert_array_equal(after, flag | marks)


def test_obstacles(flagged, monkeypatch):
    path, _, _ = flagged
    ms = MeasurementSet(path)
    assert ms.flagset_obstacles({"rfi"}, {"a b", "legacy"}) == [
        f"{path}: no flagset 'rfi'; there are none",
        f"{path}: 'a b' cannot be the name of a flagset; use letters, digits, _ . + and -",
        f"{path}: the flagset 'legacy' keeps what FLAG held before; choose another name",
    ]
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 100))
        assert "not enough free disk space to create BITFLAG" in ms.flagset_obstacles(set(), {"rfi"})[0]
    for i in range(30):
        ms.ensure_flagset(f"f{i}")
    assert MeasurementSet(path).flagset_obstacles({"f30"}, {"more"}) == [
        f"{path}: no flagset 'f30' (did you mean 'f3'?); there are {', '.join(MeasurementSet(path).flagsets)}",
        f"{path}: 31 flagsets leave no bits for more; remove one",
    ]
    with pytest.raises(DataError, match="leave no bit for 'more'"):
        ms.ensure_flagset("more")


def test_what_is_not_there(flagged, edit):
    path, flag, _ = flagged
    ms, tile = whole(path)
    with pytest.raises(DataError, match="no flagset 'legacy'; there are none"):
        ms.restore_flags()
    with pytest.raises(DataError, match="no flagset 'rfi'; there are none"):
        ms.remove_flagset("rfi")
    ms.ensure_flagset("rfi")
    with pytest.raises(DataError, match=re.escape("no flagset 'rfl' (did you mean 'rfi'?); there are legacy, rfi")):
        ms.remove_flagset("rfl")
    with pytest.raises(DataError, match="'legacy' keeps what FLAG held before the others; it cannot be removed"):
        ms.remove_flagset("legacy")
    with pytest.raises(DataError, match="no flagset 'x'; create it first"):
        ms.write_flags(tile, None, {"x": flag})
    with pytest.raises(ValueError, match="flags have shape"):
        ms.write_flags(tile, flag[:3])
    with edit(path) as main:
        main.putcolkeyword("BITFLAG", "FLAGSET_bad", "three")
    with pytest.raises(DataError, match="keyword FLAGSET_bad of BITFLAG is 'three', expected a bit"):
        _ = MeasurementSet(path).flagsets


def test_a_bitflag_of_another_kind(make_ms, edit):
    path = make_ms()
    with edit(path) as main:
        main.addcols(maketabdesc(makearrcoldesc("BITFLAG", 0.0, ndim=2)))
    with pytest.raises(DataError, match="column BITFLAG holds double, expected arrays of int; rename it"):
        MeasurementSet(path).ensure_flagset("rfi")


def test_tiles_bring_words(flagged):
    path, flag, row = flagged
    ms, tile = whole(path)
    ms.ensure_flagset("rfi")
    ms.write_flags(tile, None, {"rfi": ~flag})
    ms = MeasurementSet(path)
    found = np.concatenate([t.words.copy() for t in ms.reader(ms.groups[0], ["DATA"], 2, words=True)])
    np.testing.assert_array_equal(found, np.where(flag, 1, 2) | row[:, None, None])
    assert next(ms.reader(ms.groups[0], ["DATA"], 2)).words is None
