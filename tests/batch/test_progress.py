"""What a run shows while it works: counts and rates that follow from the clock, on a terminal of any width and in a log."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import numpy as np
import pytest

from rimetree.batch.progress import Log, Progress, Terminal, duration, fitting
from rimetree.status import Status
from rimetree.telling import listening, tell


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def outcome(status, chi2=10.0, dof=10):
    codes = np.asarray(status, np.uint8)
    return SimpleNamespace(status=codes, chi2=np.full(codes.shape, chi2), dof=np.full(codes.shape, dof))


def words(progress: Progress) -> str:
    return fitting(progress.parts(), 1000)


def test_rates_and_time_left_are_since_the_first_tile():
    """That holds the compiling: 60 s for it, 2 s for each of the others."""
    clock = Clock()
    watch = Progress(11, clock=clock)
    for seconds in (60, 2, 2, 2):
        clock.now += seconds
        watch.read(4_000_000, 80_000_000)
        watch.done(1, [outcome([Status.CONVERGED, Status.STALLED], 15.0), outcome([Status.NO_DATA])])
    assert words(watch) == (
        "tiles 4 of 11 (36 %), 4 of 8 intervals converged, chi2/dof 1.5, 2 M visibilities/s, 40 MB/s, about 14 s left"
    )


def test_chi2_is_that_of_all_components_of_the_last_tile():
    watch = Progress(2)
    watch.done(1, [outcome([Status.CONVERGED], 1.0)])
    watch.done(
        1, [outcome([Status.CONVERGED], 30.0), outcome([Status.CONVERGED], 10.0), outcome([Status.DIVERGED], 1e9)]
    )
    assert "chi2/dof 2," in f"{words(watch)}," and "4 of 4" not in words(watch) and "3 of 4 intervals" in words(watch)


def test_passes_and_iterations_within_tiles_are_told():
    clock, seen = Clock(), []
    watch = Progress(4, lambda watch: seen.append(words(watch)), clock)
    with listening(watch.told):
        for turn in range(2):
            for _ in watch.reading(range(4), 4, lambda tile: (1_000_000, 8_000_000)):
                clock.now += 5
            tell(f"iteration {turn + 1}, chi2/dof 3.1")
    tell("nobody listens")
    assert [line.partition(" left")[0].partition(", 0.2 M")[0] for line in seen] == [
        *(f"tiles 0 of 4 (0 %), pass 1, tile {n} of 4, {20 - 5 * (n - 1)} s" for n in (2, 3, 4)),
        "tiles 0 of 4 (0 %), solving",
        "tiles 0 of 4 (0 %), iteration 1, chi2/dof 3.1",
        *(f"tiles 0 of 4 (0 %), pass 2, tile {n} of 4, {20 - 5 * (n - 1)} s" for n in (2, 3, 4)),
        "tiles 0 of 4 (0 %), solving",
        "tiles 0 of 4 (0 %), iteration 2, chi2/dof 3.1",
    ]
    assert "0.2 M visibilities/s, 2 MB/s" in seen[-1]


def test_a_pass_that_ends_early_closes_what_it_reads():
    closed = []

    def tiles():
        try:
            yield from range(9)
        finally:
            closed.append(True)

    reading = Progress(9).reading(tiles(), 9, lambda tile: (0, 0))
    next(iter(reading))
    reading.close()
    assert closed == [True]


@pytest.mark.parametrize("width", [200, 100, 60, 40, 20, 5, 1])
def test_a_narrow_terminal_keeps_what_matters(width: int):
    parts = [
        (0, "tiles 4 of 11"),
        (3, "8 of 8 intervals converged"),
        (4, "chi2/dof 1"),
        (6, "40 MB/s"),
        (2, "about 14 s left"),
    ]
    text = fitting(parts, width)
    assert len(text) < width
    if width == 200:
        assert text == "tiles 4 of 11, 8 of 8 intervals converged, chi2/dof 1, 40 MB/s, about 14 s left"
    if width == 60:
        assert text == "tiles 4 of 11, 8 of 8 intervals converged, about 14 s left"
    if width == 20:
        assert text == "tiles 4 of 11"


def showing(*parts):
    return SimpleNamespace(finished=1, parts=lambda: list(parts))


@pytest.mark.parametrize(("columns", "left"), [(100, ", about 14 s left"), (40, "")])
def test_a_terminal_shows_what_has_room_beside_the_bar_and_is_left_clean(columns: int, left: str, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    file = io.StringIO()
    screen = Terminal(file, 4)
    screen(showing((0, "tiles 1 of 4"), (2, "about 14 s left")))
    screen.bar.refresh()
    screen.close()
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    shown = [line.strip() for line in re.split("[\r\n]", text) if "tiles" in line]
    assert shown and all(line.endswith(f"tiles 1 of 4{left}") and len(line) <= columns for line in shown)
    assert file.getvalue().endswith("\x1b[2K")  # the line is erased


def test_a_log_has_few_lines_however_long_it_takes():
    clock, file = Clock(), io.StringIO()
    screen = Log(file, clock)
    for _ in range(9):
        clock.now += 1
        screen(showing((0, "tiles")))
    assert file.getvalue() == ""  # over soon: nothing
    for _ in range(24 * 3600):
        clock.now += 1
        screen(showing((0, "tiles 1 of 2"), (6, "3 MB/s")))
    lines = file.getvalue().splitlines()
    assert set(lines) == {"tiles 1 of 2, 3 MB/s"} and 50 < len(lines) < 100


def test_durations():
    assert [duration(s) for s in (0.4, 59.4, 59.6, 200, 7500)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
