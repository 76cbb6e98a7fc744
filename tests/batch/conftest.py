"""Small observations with known gains, the diagonal-gain tree, and its slow, obvious solution."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq


def getcol(path: Path, name: str) -> np.ndarray:
    """A whole column, by casacore."""
    from casacore.tables import table

    with table(str(path), ack=False) as main:
        return np.asarray(main.getcol(name))


def putcol(path: Path, **columns: np.ndarray) -> None:
    """Write whole columns, created like DATA where they do not exist."""
    from casacore.tables import maketabdesc, table

    with table(str(path), readonly=False, ack=False) as main:
        for name, values in columns.items():
            if name not in main.colnames():
                main.addcols(maketabdesc({"name": name, "desc": main.getcoldesc("DATA") | {"dataManagerGroup": name}}))
            main.putcol(name, values)


def element(corr: str) -> tuple[int, int]:
    """Place of a correlation in a 2x2 matrix."""
    return "XRYL".index(corr[0]) // 2, "XRYL".index(corr[1]) // 2


def observe(path: Path, *, gain: Any = None, spread: float = 0.3, seed: int = 0, **options: Any) -> SimpleNamespace:
    """An MS with MODEL_DATA and DATA = G_p MODEL G_q^H + noise.

    `gain(shape)` gives the gains (slot, antenna, 2, channel) to use; without it they are constant, 1 + N(0, spread).
    """
    given = {"antennas": 5, "times": (5e9, 6, 10.0), "freqs": (1.4e9, 4, 1e6), "noise": 0.1, "seed": seed} | options
    rt.simulate(path, **given)
    rng = np.random.default_rng(seed + 1)
    p, q = getcol(path, "ANTENNA1"), getcol(path, "ANTENNA2")
    slot = np.unique(getcol(path, "TIME"), return_inverse=True)[1]
    noise = getcol(path, "DATA")
    corrs = rt.MeasurementSet(path).groups[0].corrs
    nant, nslot = int(q.max()) + 1, int(slot.max()) + 1
    shape = (nslot, nant, 2, noise.shape[1])
    if gain is None:
        gains = np.broadcast_to(1 + spread * noisy(rng, (1, nant, 2, 1)), shape)
    else:
        gains = np.broadcast_to(gain(shape), shape)
    model = noisy(rng, noise.shape) + 2
    data = np.empty_like(noise)
    for k, (i, j) in enumerate(map(element, corrs)):
        data[..., k] = gains[slot, p, i] * model[..., k] * gains[slot, q, j].conj() + noise[..., k]
    putcol(path, MODEL_DATA=model.astype(np.complex64), DATA=data)
    return SimpleNamespace(path=path, gains=gains, model=model, slot=slot, p=p, q=q, corrs=corrs, sigma=given["noise"])


def noisy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Complex normal numbers with E|n|^2 = 1."""
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)


def diagonal(ms: Any, solint: Any = None, sink: bool = True, **sink_options: Any) -> rt.Scope:
    """The tree of the issue: one complex gain per antenna and feed."""
    ns = rt.Scope()
    for p in ms.antennas:
        for g in (ns.gx, ns.gy):
            g(p) << Meq.Parm(1 + 0j, tags="gain", solint=solint)
        ns.G(p) << Meq.Matrix22(ns.gx(p), 0, 0, ns.gy(p))
    for p, q in ms.baselines:
        model = Meq.MatrixMultiply(ns.G(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.G(q)))
        ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
        if sink:
            inverse = Meq.MatrixInvert22(ns.G(p)), Meq.ConjTranspose(Meq.MatrixInvert22(ns.G(q)))
            ns.out(p, q) << Meq.Sink(Meq.MatrixMultiply(inverse[0], Meq.Spigot(p, q), inverse[1]), **sink_options)
    ns.solve << Meq.Solver(*ns.eq, solvable="gain")
    return ns


def linear(ms: Any, solint: Any) -> rt.Scope:
    """One complex number for all baselines: DATA = a MODEL_DATA, whose solution is a ratio of two sums."""
    ns = rt.Scope()
    ns.a << Meq.Parm(1 + 0j, solint=solint)
    for p, q in ms.baselines:
        ns.eq(p, q) << Meq.Condeq(ns.a * Meq.Spigot(p, q, column="MODEL_DATA"), Meq.Spigot(p, q))
    ns.solve << Meq.Solver(*ns.eq, solvable="a")
    return ns


def keep_rows(path: Path, rows: np.ndarray, name: str) -> Path:
    """A copy of the Measurement Set with some of its rows."""
    from casacore.tables import table

    with table(str(path), ack=False) as main:
        main.selectrows(rows).copy(str(path.with_name(name)), deep=True, valuecopy=True).close()
    return path.with_name(name)


def solved(report: Any, group: int = 0) -> np.ndarray:
    """Gains (slot interval, antenna, 2, channel interval) of `diagonal`."""
    tables = {table.label: table for table in report.tables.groups[group].parms}
    return np.stack([tables[g].values[..., 0, 0] for g in ("gx", "gy") if g in tables]).transpose(2, 1, 0, 3)


def solved_file(path: Path) -> np.ndarray:
    """`solved` of a solution file."""
    return solved(SimpleNamespace(tables=rt.Solutions.load(path)))


@pytest.fixture
def kit(tmp_path: Path) -> SimpleNamespace:
    """The helpers of this folder, and `kit.observe(name="x.ms", **options)` in the folder of the test."""

    def here(name: str = "x.ms", **options: Any) -> SimpleNamespace:
        return observe(tmp_path / name, **options)

    return SimpleNamespace(
        observe=here,
        diagonal=diagonal,
        linear=linear,
        solved=solved,
        solved_file=solved_file,
        getcol=getcol,
        putcol=putcol,
        keep_rows=keep_rows,
        element=element,
        path=tmp_path,
    )
