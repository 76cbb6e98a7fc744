"""Every kind of equation: explain tells the cells that a run sums data into, and why not fewer; the solution is the truth.

Data are made by numpy: sum over directions of J_p X J_q^H, 6 slots of 10 s and 4 channels. Cells are counted by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.batch import joint_sums, span
from rimetree.solve.joint.cell_sums import CellSums
from rimetree.status import Status

SLOTS, CHANNELS, ANTENNAS, NOISE = 6, 4, 5, 0.01
FREQ = 1.4e9 + 1e6 * np.arange(CHANNELS)


@dataclass
class Kind:
    """`jones(ns, p, direction)`; truth (slot, antenna, channel, 2, 2) per direction; cells per class; what explain says on each axis."""

    jones: Any
    truth: Any
    cells: list[tuple[int, int]]
    time: str = "the slots of an interval are summed"
    freq: str = "the channels of an interval are summed"
    equate: dict[str, Any] = field(default_factory=dict)
    reduced: float | None = 1
    """chi2 per degree of freedom, where weights are those of the residual."""
    algorithm: str = "auto"
    joint: tuple[int, int] | None = None


def drawn(seed, *shape):
    rng = np.random.default_rng(seed)
    return 0.2 * (rng.normal(size=shape) + 1j * rng.normal(size=shape))


def whole(values):
    """(slot, antenna, channel, 2, 2) of values that broadcast to it."""
    return np.broadcast_to(values, (SLOTS, ANTENNAS, CHANNELS, 2, 2))


def diagonal(x, y):
    zero = np.zeros(np.broadcast_shapes(np.shape(x), np.shape(y)), complex)
    return whole(np.stack([x + zero, zero, zero, y + zero], -1).reshape(*zero.shape, 2, 2))


def both(values):
    return diagonal(values, values)


HALVES, WITHIN = np.arange(SLOTS) // 3, (np.arange(SLOTS) % 3 - 1)[:, None, None]
EYE = np.eye(2)


def parm(ns, name, p, value, **options):
    return ns[name](p) << Meq.Parm(value, tags="x", **options)


def scalar(make):
    return lambda ns, p, d: Meq.Matrix22(g := make(ns, p, d), 0, 0, g)


KINDS = {
    "diagonal": Kind(
        lambda ns, p, d: Meq.Matrix22(
            parm(ns, "gx", p, 1 + 0j, solint=3), 0, 0, parm(ns, "gy", p, 1 + 0j, solint=3)
        ),
        lambda: [diagonal(*(1 + drawn(s, 2, ANTENNAS, 1)[HALVES] for s in (1, 2)))],
        [(2, 1)],
    ),
    "scalar": Kind(
        scalar(lambda ns, p, d: parm(ns, "g", p, 1 + 0j, solint=(3, 2))),
        lambda: [both(1 + drawn(1, 2, ANTENNAS, 2)[HALVES][:, :, [0, 0, 1, 1]])],
        [(2, 2)],
    ),
    "full Jones": Kind(
        lambda ns, p, d: Meq.Matrix22(*(parm(ns, f"g{e}", p, v, solint=2) for e, v in enumerate([1 + 0j, 0j, 0j, 1 + 0j]))),
        lambda: [whole((EYE + drawn(3, 3, ANTENNAS, 1, 2, 2))[np.arange(SLOTS) // 2])],
        [(3, 1)],
    ),
    "leakage": Kind(
        lambda ns, p, d: Meq.Matrix22(1, parm(ns, "dx", p, 0j, solint=(None, 1)), parm(ns, "dy", p, 0j, solint=(None, 1)), 1),
        lambda: [whole(EYE + 0.3 * drawn(4, 1, ANTENNAS, CHANNELS, 2, 2) * (1 - EYE))],
        [(1, 4)],
    ),
    "phase only": Kind(
        scalar(lambda ns, p, d: Meq.Exp(1j * parm(ns, "phi", p, 0.0, solint=2))),
        lambda: [both(np.exp(1j * 5 * drawn(5, 3, ANTENNAS, 1).real[np.arange(SLOTS) // 2]))],
        [(3, 1)],
    ),
    "amplitude only": Kind(
        scalar(lambda ns, p, d: parm(ns, "a", p, 1.0, solint=3)),
        lambda: [both(1 + drawn(6, 2, ANTENNAS, 1).real[HALVES] + 0j)],
        [(2, 1)],
    ),
    "differential gains": Kind(
        scalar(lambda ns, p, d: parm(ns, f"dE{d}", p, 1 + 0j, solint=3)),
        lambda: [both(1 + drawn(7 + d, 2, ANTENNAS, 1)[HALVES]) for d in range(2)],
        [(2, 1)],
    ),
    "fluxes": Kind(
        lambda ns, p, d: Meq.Matrix22(f := Meq.Sqrt(ns.flux(d) << Meq.Parm(1.0 + d, tags="x")), 0, 0, f),
        lambda: [whole(np.sqrt(2.5 - d) * EYE) for d in range(2)],
        [(1, 1)],
    ),
    "polynomial in time": Kind(
        scalar(lambda ns, p, d: parm(ns, "g", p, [[1 + 0j], [0j]], solint=3)),
        lambda: [
            both(1 + drawn(9, 2, ANTENNAS, 1)[HALVES] + drawn(10, 2, ANTENNAS, 1)[HALVES] * WITHIN)
        ],
        [(6, 1)],
        time=r"slots are kept apart, because g:\w+ is a polynomial along it",
    ),
    "delay": Kind(
        scalar(lambda ns, p, d: Meq.Exp(2e3j * np.pi * parm(ns, "K", p, 0.0, solint=3) * (Meq.Freq() * 1e-9 - 1.4))),
        lambda: [both(np.exp(2e3j * np.pi * 0.3 * drawn(11, 2, ANTENNAS, 1).real[HALVES] * (FREQ * 1e-9 - 1.4)))],
        [(2, 4)],
        freq=r"channels are kept apart, because .* varies along it",
    ),
    "two intervals": Kind(
        scalar(lambda ns, p, d: parm(ns, "g", p, 1 + 0j, solint=3) * parm(ns, "b", p, 1 + 0j, solint=(None, 2))),
        lambda: [
            both((1 + drawn(12, 2, ANTENNAS, 1)[HALVES]) * (1 + drawn(13, 1, ANTENNAS, 2)[:, :, [0, 0, 1, 1]]))
        ],
        [(2, 1), (1, 2)],
        joint=(2, 2),
    ),
    "two intervals in turn": Kind(
        scalar(lambda ns, p, d: parm(ns, "g", p, 1 + 0j, solint=3) * parm(ns, "b", p, 1 + 0j, solint=(None, 2))),
        lambda: [
            both((1 + drawn(12, 2, ANTENNAS, 1)[HALVES]) * (1 + drawn(13, 1, ANTENNAS, 2)[:, :, [0, 0, 1, 1]]))
        ],
        [(2, 1), (1, 2)],
        algorithm="lm",
    ),
    "amplitudes equated": Kind(
        scalar(lambda ns, p, d: parm(ns, "a", p, 1.0, solint=3)),
        lambda: [both(1 + drawn(14, 2, ANTENNAS, 1).real[HALVES] + 0j)],
        [(2, 1)],
        equate={"on": "amplitude"},
    ),
    "phases equated": Kind(
        scalar(lambda ns, p, d: Meq.Exp(1j * parm(ns, "phi", p, 0.0, solint=3))),
        lambda: [both(np.exp(1j * drawn(15, 2, ANTENNAS, 1).real[HALVES]))],
        [(6, 4)],
        time=r"slots are kept apart, because .*Spigot.*, which is a part of .*, varies along it",
        freq=r"channels are kept apart, because .*Spigot.*, which is a part of .*, varies along it",
        equate={"on": "phase"},
        reduced=None,
    ),
}  # fmt: skip


BY_JAX = ("full Jones", "differential gains", "polynomial in time", "delay", "two intervals", "amplitudes equated")
"""Solved by JAX too, which fits in turn where intervals differ and finds the same."""


@pytest.mark.parametrize("name", KINDS)
def test_kind(kit, monkeypatch, name):
    kind = KINDS[name]
    o = kit.observe(times=(5e9, SLOTS, 10.0), freqs=(FREQ[0], CHANNELS, 1e6), antennas=ANTENNAS, noise=NOISE)
    clean = simulated(kit, o, kind.truth())
    ms = rt.MeasurementSet(o.path)
    forest = tree(ms, kind, len(kind.truth())).forest()
    text = forest.explain(data=ms)
    made = recorded(monkeypatch)
    report = forest.run(ms, progress=False)
    # What was explained is what was done, and what it should be.
    stated = [tuple(map(int, cells)) for cells in re.findall(r"data: summed into (\d+) x (\d+) cells", text)]
    stated += [(SLOTS, CHANNELS)] if "40 residuals of 6 x 4 data: every one by itself" in text else []
    assert stated == kind.cells
    summed = kind.cells if kind.cells != [(SLOTS, CHANNELS)] else []
    assert set(made) == set(summed + ([kind.joint] if kind.joint else []))
    if kind.joint:
        assert f"then gn-cg for all together on {kind.joint[0]} x {kind.joint[1]} cells" in text
    assert re.search(f"\n    time: {kind.time}", text) and re.search(f"\n    freq: {kind.freq}", text)
    # The truth is found: the model explains data without noise much better than the noise is.
    assert all(set(np.unique(t.status)) <= {Status.CONVERGED, Status.SINGULAR} for t in report.tables.groups[0].parms)
    predicted = kit.getcol(o.path, "PREDICTED")
    assert np.sqrt((np.abs(predicted - clean) ** 2).mean()) < 0.6 * NOISE
    if kind.reduced:
        assert report.solvers[0].chi2_per_dof() == pytest.approx(kind.reduced, abs=0.25)
    if name not in BY_JAX:
        return
    made.clear()
    other = tree(ms, kind, len(kind.truth()), backend="jax").forest().run(ms, progress=False)
    assert set(made) <= set(summed)
    alike = len(kind.cells) == 1  # the same steps; in turn, others
    np.testing.assert_allclose(other.solvers[0].chi2.sum(), report.solvers[0].chi2.sum(), rtol=1e-9 if alike else 1e-4)
    assert np.abs(kit.getcol(o.path, "PREDICTED") - predicted).max() < (1e-4 if alike else 0.1) * NOISE
    for a, b in zip(report.solvers, other.solvers, strict=True):
        np.testing.assert_array_equal(b.status, a.status)


def simulated(kit, o, truth):
    """Fill DATA and MODEL0, MODEL1, ...; returns data without noise."""
    rng = np.random.default_rng(0)
    clean = np.zeros(o.model.shape, complex)
    noise = kit.getcol(o.path, "DATA")
    noise = NOISE * (rng.normal(size=noise.shape) + 1j * rng.normal(size=noise.shape)) / np.sqrt(2)
    for d, jones in enumerate(truth):
        model = (2 + rng.normal(size=o.model.shape) + 1j * rng.normal(size=o.model.shape)).astype(np.complex64)
        matrix = model.reshape(*model.shape[:2], 2, 2)
        first, second = jones[o.slot, o.p], jones[o.slot, o.q]
        clean += (first @ matrix @ second.conj().swapaxes(-1, -2)).reshape(model.shape)
        kit.putcol(o.path, **{f"MODEL{d}": model})
    kit.putcol(o.path, DATA=(clean + noise).astype(np.complex64))
    return clean


def tree(ms, kind, directions, **options):
    ns = rt.Scope()
    for d in range(directions):
        for p in ms.antennas:
            ns.J(d, p) << kind.jones(ns, p, d)
    for p, q in ms.baselines:
        parts = [
            Meq.MatrixMultiply(ns.J(d, p), Meq.Spigot(p, q, column=f"MODEL{d}"), Meq.ConjTranspose(ns.J(d, q)))
            for d in range(directions)
        ]
        ns.model(p, q) << (Meq.Add(*parts) if len(parts) > 1 else parts[0])
        ns.eq(p, q) << Meq.Condeq(ns.model(p, q), Meq.Spigot(p, q), **kind.equate)
        ns.out(p, q) << Meq.Sink(ns.model(p, q), column="PREDICTED")
    ns.solve << Meq.Solver(*ns.eq, solvable="x", **{"algorithm": kind.algorithm} | options)
    return ns


def recorded(monkeypatch):
    """Numbers of cells of all sums that are made from here on."""
    made = []
    gram, cells, contracted = span.empty_gram, CellSums.empty, joint_sums.contracted

    def empty(elements, members, times, freqs):
        made.append((times, freqs))
        return gram(elements, members, times, freqs)

    def of_cells(table, shape, *places):
        made.append(shape)
        return cells(table, shape, *places)

    def of_class(sums, stems, points, interval, shape):
        made.append(shape)
        return contracted(sums, stems, points, interval, shape)

    monkeypatch.setattr(span, "empty_gram", empty)
    monkeypatch.setattr(CellSums, "empty", of_cells)
    monkeypatch.setattr(joint_sums, "contracted", of_class)
    return made


def test_explain_names_tiles_robust_bounds_ties_and_what_stops_a_run(kit):
    o = kit.observe(times=(5e9, SLOTS, 10.0))
    ms = rt.MeasurementSet(o.path)

    def text(value, explained=None, **options):
        given = {name: options.pop(name) for name in ("bounds", "smooth", "prior", "solint") if name in options}
        ns = rt.Scope()
        for p in ms.antennas:
            g = parm(ns, "g", p, value, **({"solint": 1} | given))
            ns.G(p) << Meq.Matrix22(g, 0, 0, g)
        for p, q in ms.baselines:
            model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
            ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        ns.solve << Meq.Solver(*ns.eq, solvable="x", **options)
        return ns.forest().explain(data=ms, **(explained or {}))

    plain = text(1 + 0j)
    assert "Run on field0/spw0: 6 slots x 4 channels x 10 baselines, XX XY YX YY\n" in plain
    assert "1 tile of up to 6 slots, about " in plain
    assert "solve: lm; backend numba, at most 60 iterations" in plain and "robust" not in plain.split("Run on")[1]
    assert "g: 6 x 1 solution intervals, 10 unknowns in each" in plain
    assert "10 unknowns" in plain and "40 residuals of 6 x 4 data: summed into 6 x 1 cells" in plain
    tiles = re.search(
        r"(\d) tiles of up to (\d) slots?, about (\S+) kB of the 40 kB that", text(1 + 0j, {"memory": 4e4})
    )
    assert tiles and int(tiles[1]) == -(-SLOTS // int(tiles[2])) and 0 < float(tiles[3]) <= 40
    joined = text(1 + 0j, {"memory": 4e4}, solint=None)
    assert re.search(r"solutions join 6 slots, which are read in \d tiles, again for every class and round", joined)
    assert "robust='clip' (clip 4 sigma)" in text(1 + 0j, robust="clip", clip=4.0)
    assert "g: kept within bounds at every step" in text(1 + 0j, bounds=(0.5, 2))
    assert "g: 5 with a prior, one more datum" in text(1 + 0j, prior=(1, 0.1))
    assert "g: tied to its neighbours along time, whose intervals are fitted together" in text(1 + 0j, smooth="0.1/60s")
    assert "solve: newton; backend numba" in text(1 + 0j, algorithm="newton")
    assert "solve: lm; backend jax" in text(1 + 0j, backend="jax")
    assert text(1 + 0j, {"memory": 10}).splitlines()[-1].startswith("a run would stop: memory=10 bytes is too little")
