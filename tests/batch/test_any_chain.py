"""Chains of any terms, intervals and flags on tiny observations: an outcome with statuses, or one line, never a traceback or a warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rimetree as rt
from rimetree import Meq
from rimetree.status import Status

CASES = 60


def spoilt(rng: np.random.Generator, o: Any, data: np.ndarray) -> dict[str, np.ndarray]:
    """Data and flags as bad as may be."""
    flags = rng.random(data.shape) < rng.choice([0, 0.3, 0.8])
    flags |= (rng.random() < 0.3) & ((o.p == 1) | (o.q == 1))[:, None, None]
    flags |= (rng.random() < 0.2) & (o.slot == 0)[:, None, None]
    flags[..., 3] |= rng.random() < 0.2
    flags[:, 0] |= rng.random() < 0.2
    flags |= rng.random() < 0.1
    bad = (rng.random() < 0.3) & (rng.random(data.shape) < 0.1)
    return {"DATA": np.where(bad, np.nan, data).astype(np.complex64), "FLAG": flags}


def term(rng: np.random.Generator, ns: Any, name: str, antennas: list[str]) -> None:
    """A diagonal matrix per station, of one hand or both."""
    kind, hands = (
        str(rng.choice(words))
        for words in (["gain", "phase", "amplitude", "slope", "delay", "common"], ["xy", "x", "y"])
    )
    solint = tuple(None if n == 0 else int(n) for n in rng.integers(0, 4, 2))
    for p in antennas:
        diagonal: list[Any] = [1, 1]
        for i, h in enumerate("xy"):
            if h not in hands or (kind == "common" and p != antennas[0]):
                continue
            start: Any = {"gain": 1 + 0j, "slope": [[1 + 0j, 0], [0, 0]], "phase": 0.0, "delay": 0.0}.get(kind, 1.0)
            own = ns[name + h](p) << Meq.Parm(start, tags="any", solint=solint)
            turn = own * (Meq.Freq() - 1.402e9) * 1e-6 if kind == "delay" else own
            diagonal[i] = Meq.Polar(1, turn) if kind in ("phase", "delay") else own
        ns[name](p) << Meq.Matrix22(diagonal[0], 0, 0, diagonal[1])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["auto", "gn-cg"])
def test_whatever_is_asked_something_is_said(kit: Any, tmp_path: Any, algorithm: str) -> None:
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        size, slots, channels = (int(rng.integers(*limits)) for limits in ((2, 6), (1, 7), (1, 6)))
        path = tmp_path / f"{seed}.ms"
        o = kit.observe(
            path, antennas=size, times=(5e9, slots, 10.0), freqs=(1.4e9, channels, 1e6), noise=0.3, seed=seed
        )
        kit.putcol(path, **spoilt(rng, o, kit.getcol(path, "DATA")))
        with rt.MeasurementSet(path) as ms:
            ns = rt.Scope()
            names = [f"t{i}" for i in range(rng.integers(1, 4))]
            for name in names:
                term(rng, ns, name, ms.antennas)
            for p in ms.antennas:
                ns.J(p) << (Meq.MatrixMultiply(*(ns[name](p) for name in names)) if len(names) > 1 else ns.t0(p))
            for p, q in ms.baselines:
                model = Meq.MatrixMultiply(ns.J(p), Meq.Spigot(p, q, column="MODEL_DATA"), Meq.ConjTranspose(ns.J(q)))
                ns.eq(p, q) << Meq.Condeq(model, Meq.Spigot(p, q))
            ns.solve << Meq.Solver(*ns.eq, solvable="any", algorithm=algorithm)
            report = ns.forest().run(ms, progress=False, ref_antenna=ms.antennas[0] if seed % 3 == 0 else None)
        for table in report.tables.groups[0].parms:
            good = table.status == Status.CONVERGED
            assert np.isfinite(table.values[good]).all(), f"seed {seed}: {table.label}"
