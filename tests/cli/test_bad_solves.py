"""What can go wrong in a solve, from a script and from Python: a clear status or one line, and no harm to the other intervals.

6 slots in 2 scans, 4 antennas; one gain per antenna and slot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casacore.tables import table

import rimetree as rt
from rimetree.solve.result.report import counted
from rimetree.status import Status

SCRIPT = """
from rimetree import Meq

def define_forest(ns, ms, _):
    options = OPTIONS
    chosen = {key: options[key] for key in ("bounds", "prior", "smooth") if key in options}
    for p in ms.antennas:
        ns.g(p) << Meq.Parm(options.get("value", 1 + 0j), tags="gain", solint=options.get("solint", (1, None)), **chosen)
        ns.G(p) << Meq.Matrix22(ns.g(p), 0, 0, ns.g(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, "MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q, "DATA"))
        ns.out(p, q) << Meq.Sink(Meq.Spigot(p, q, "DATA") / (ns.g(p) * Meq.Conj(ns.g(q))))
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
"""


ROWS = ("iterations", "chi2_start", "chi2", "reduced", "dof", "rank", "condition")
"""Columns of `report.full()`."""


@pytest.fixture
def both(rimetree: Any, ms: Path, tmp_path: Path) -> Any:
    """`both(**options)`: what the command printed, and the error or report of Python."""
    path = tmp_path / "bad.py"

    def run(memory: Any = None, **options: Any) -> tuple[Any, Any]:
        source = SCRIPT.replace("OPTIONS", repr(options).replace("nan", "float('nan')"))
        path.write_text(source)
        space: dict[str, Any] = {}
        exec(source, space)
        limit = ["--memory", memory] if memory else []
        printed = rimetree("run", path, "--ms", ms, "--solutions", tmp_path / "s.h5", "--overwrite", *limit)
        with rt.MeasurementSet(ms) as opened:
            ns = rt.Scope()
            try:
                space["define_forest"](ns, opened, None)
                return printed, ns.forest().run(opened, progress=False, memory=memory and float(memory[:-1]))
            except rt.RimetreeError as error:
                return printed, error

    return run


def edit(ms: Path, **columns: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns changed by functions of (values, slot, p, q)."""
    with table(str(ms), readonly=False, ack=False) as main:
        p, q = main.getcol("ANTENNA1"), main.getcol("ANTENNA2")
        slot = np.unique(main.getcol("TIME"), return_inverse=True)[1]
        for name, change in columns.items():
            main.putcol(name, change(main.getcol(name), slot, p, q))
    return slot, p, q


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bounds": (2.0, 1.0)}, "bounds must be (lower, upper) with lower < upper, not (2.0, 1.0)"),
        ({"bounds": (1.5, 2.0)}, "its value 1+0j is outside its bounds (1.5, 2) (and 3 more from this line)"),
        ({"bounds": (0.5, 2.0), "prior": (3.0, 0.1)}, "the mean of its prior, 3, is outside its bounds (0.5, 2)"),
        ({"bounds": (-2.0, -1.0)}, "bounds hold for the amplitude of a complex Parm, which is never below -1"),
        ({"solint": 0}, "solint in time must be a number of slots"),
        ({"value": float("nan")}, "value must be finite, not nan"),
    ],
)
def test_contradictions_are_one_line_before_any_work(both, ms, tmp_path, options, words):
    printed, error = both(**options)
    assert printed.code == 1 and printed.out == ""
    assert words in printed.err and "bad.py:" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert isinstance(error, rt.RimetreeError) and words in str(error)
    assert not (tmp_path / "s.h5").exists()


def test_memory_too_small_for_one_interval(both, tmp_path):
    printed, error = both(memory="5000B", solint=(None, None))
    assert printed.code == 1 and len(printed.err.splitlines()) == 1
    assert "memory=5000 bytes is too little" in printed.err and "give more memory" in str(error)
    assert isinstance(error, rt.ConfigError) and not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("solint", [1000, "900h", (None, "900GHz"), (1000, 1000)])
def test_intervals_longer_than_the_data(both, solint):
    """One interval per scan (or one of all), as if it were exactly as long."""
    printed, _ = both(solint=solint)
    assert printed.code == 0, printed.err
    _, report = both(solint=(None, None) if solint == (None, "900GHz") else "scan")
    (summary,) = report.solvers
    assert f"x {counted(summary.status.size, 'interval')}: {summary.status.size} converged" in printed.out


def test_a_model_of_zeros(both, ms):
    edit(ms, MODEL_DATA=lambda v, slot, p, q: np.where((slot >= 3)[:, None, None], v, 0))
    printed, report = both()
    assert printed.code == 3 and "some solution intervals did not converge" in printed.err
    np.testing.assert_array_equal(report.solvers[0].status.ravel() == Status.CONVERGED, [0, 0, 0, 1, 1, 1])
    assert set(report.solvers[0].status.ravel()[:3]) <= {Status.SINGULAR, Status.LOW_SNR}
    written(ms, lambda slot, p, q: slot >= 3)


def test_all_weights_zero(both, ms):
    edit(ms, WEIGHT_SPECTRUM=lambda v, slot, p, q: np.where((slot == 1)[:, None, None], 0, v))
    printed, report = both()
    assert printed.code == 0 and "5 converged, 1 no data" in printed.out
    np.testing.assert_array_equal(report.solvers[0].status.ravel(), [0, Status.NO_DATA, 0, 0, 0, 0])
    written(ms, lambda slot, p, q: slot != 1)
    edit(ms, WEIGHT_SPECTRUM=lambda v, slot, p, q: 0 * v)
    printed, report = both()
    assert printed.code == 3 and "6 no data" in printed.out and not report.converged
    written(ms, lambda slot, p, q: slot < 0)


def test_an_antenna_that_is_only_in_flagged_baselines(both, ms):
    """In slots 2 and 3 antenna 1 has no data: nothing is written for its baselines there, all else as ever."""
    lost = lambda slot, p, q: ((p == 1) | (q == 1)) & ((slot == 2) | (slot == 3))  # noqa: E731
    _, before = both()
    edit(ms, FLAG=lambda v, slot, p, q: v | lost(slot, p, q)[:, None, None])
    printed, report = both()
    assert printed.code == 0 and "6 converged" in printed.out
    (own,), (other,) = report.tables.groups[0].parms, before.tables.groups[0].parms
    expected = np.zeros((4, 6))
    expected[1, 2:4] = Status.NO_DATA
    np.testing.assert_array_equal(own.status[..., 0], expected)
    assert np.isnan(own.errors[1, 2:4]).all()
    np.testing.assert_allclose(own.values[:, [0, 1, 4, 5]], other.values[:, [0, 1, 4, 5]], rtol=1e-9)
    written(ms, lambda slot, p, q: ~lost(slot, p, q))


def test_parameters_that_nothing_constrains(both, ms):
    """In slot 4 baselines join antennas 0-1 and 2-3 only: amplitudes may grow and shrink against each other."""
    apart = lambda slot, p, q: (slot == 4) & ~((p == 0) & (q == 1) | (p == 2) & (q == 3))  # noqa: E731
    edit(ms, FLAG=lambda v, slot, p, q: v | apart(slot, p, q)[:, None, None])
    printed, report = both()
    assert printed.code == 3 and "singular: the data do not constrain the parameters" in printed.out
    np.testing.assert_array_equal(report.solvers[0].status.ravel(), [0, 0, 0, 0, Status.SINGULAR, 0])
    full = report.full()
    assert "patterns of values of g:ant00, g:ant01, g:ant02, g:ant03" in full.split("free a: ")[1]
    assert full.count(" singular ") == 1
    (summary,), rows = report.solvers, [line.split() for line in full.splitlines() if line.startswith("solve  ")]
    words = [Status(code).word for code in summary.status.ravel()]
    assert [row[5] for row in rows] == words and [row[3] for row in rows] == list("012345")
    for row, names in zip(np.array([row[6:13] for row in rows], float).T, ROWS, strict=True):
        expected = summary.chi2 / summary.dof if names == "reduced" else getattr(summary, names)
        np.testing.assert_allclose(row, expected.ravel(), rtol=1e-2 if names == "condition" else 1e-4)
    assert [row[-1] for row in rows] == ["a"] * 4 + ["b", "a"]
    written(ms, lambda slot, p, q: slot != 4)


def written(ms: Path, expected: Any) -> None:
    """Rows that have corrected data are those that should, and no number is NaN."""
    with table(str(ms), ack=False) as main:
        column, p, q = (main.getcol(name) for name in ("CORRECTED_DATA", "ANTENNA1", "ANTENNA2"))
        slot = np.unique(main.getcol("TIME"), return_inverse=True)[1]
    assert np.isfinite(column).all()
    np.testing.assert_array_equal(column.any((1, 2)), expected(slot, p, q))
